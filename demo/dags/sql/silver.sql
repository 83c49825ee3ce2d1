create schema if not exists silver;
create schema if not exists quarantine;

-- Rows that break a rule, with the rule's name and where the event is.
create or replace table quarantine.flights as
select
    case
        when f.date is null or f.delay is null or f.distance is null or f.origin is null or f.destination is null then 'missing_value'
        when f.distance <= 0 then 'distance_not_positive'
        when o.iata is null then 'unknown_origin'
        else 'unknown_destination'
    end as rule,
    f._partition,
    f._offset,
    f.date,
    f.delay,
    f.distance,
    f.origin,
    f.destination
from bronze.flights f
left join ref.airports o on o.iata = f.origin
left join ref.airports d on d.iata = f.destination
where f.date is null or f.delay is null or f.distance is null or f.distance <= 0 or o.iata is null or d.iata is null;

-- All others: one row of exact duplicates (the first by partition and offset), typed, with both airports.
create or replace table silver.flights as
select
    f.date as departure,
    cast(f.date as date) as day,
    cast(hour(f.date) as integer) as hour,
    f.origin,
    o.city as origin_city,
    o.state as origin_state,
    f.destination,
    d.city as destination_city,
    d.state as destination_state,
    cast(f.distance as integer) as distance,
    cast(f.delay as integer) as delay,
    f.delay > 15 as late,
    cast(f.place >> 48 as integer) as _partition,
    f.place & ((1::bigint << 48) - 1) as _offset
from (
    select date, delay, distance, origin, destination, min((_partition::bigint << 48) | _offset) as place
    from bronze.flights
    where date is not null and delay is not null and distance > 0
    group by all
) f
join ref.airports o on o.iata = f.origin
join ref.airports d on d.iata = f.destination;
