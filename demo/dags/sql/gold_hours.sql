create schema if not exists gold;

create or replace table gold.hours as
select
    hour,
    count(*) as flights,
    avg(delay) as avg_delay,
    median(delay) as median_delay,
    quantile_cont(delay, 0.95) as p95_delay,
    count(*) filter (where late) / count(*) as late_share
from silver.flights
group by all
order by hour;
