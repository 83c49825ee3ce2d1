-- New events of the topic, exactly once; what does not decode goes to flights.dlq.
copy into bronze.flights from topic flights with (dlq = 'flights.dlq');
