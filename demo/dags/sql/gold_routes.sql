create schema if not exists gold;

-- Routes by month; rank 1 to 10 is the month's top 10 by flights.
create or replace table gold.routes as
select
    *,
    cast(rank() over (partition by month order by flights desc, origin, destination) as integer) as rank
from (
    select
        cast(date_trunc('month', day) as date) as month,
        origin,
        destination,
        count(*) as flights,
        max(distance) as distance,
        median(delay) as median_delay,
        quantile_cont(delay, 0.95) as p95_delay
    from silver.flights
    group by all
)
order by month, rank;
