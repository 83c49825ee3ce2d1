create schema if not exists gold;

create or replace table gold.airport_days as
select
    origin as airport,
    day,
    count(*) as flights,
    count(distinct destination) as destinations,
    avg(delay) as avg_delay,
    quantile_cont(delay, 0.95) as p95_delay,
    count(*) filter (where late) as late_flights,
    count(*) filter (where late) / count(*) as late_share
from silver.flights
group by all
order by airport, day;
