#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Produces the flights as JSON events to a Kafka: idempotent, acks=all, keyed by origin, with the flight's time as timestamp.

    produce.py BROKERS TOPIC FLIGHTS.parquet [ROWS]

DuckDB makes the JSON (vectorised), confluent-kafka (librdkafka) sends it with the settings that `millrace produce` uses: the quickest way in
Python that was found, so that the peer is not measured by a slow client. Prints how many were acknowledged.
"""

import sys

import confluent_kafka
import duckdb


def main() -> None:
    brokers, topic, flights = sys.argv[1:4]
    limit = f"limit {int(sys.argv[4])}" if len(sys.argv) > 4 else ""
    failed = 0

    def report(error: object, _: object) -> None:
        nonlocal failed
        failed += error is not None

    producer = confluent_kafka.Producer({
        "bootstrap.servers": brokers, "enable.idempotence": True, "acks": "all", "partitioner": "murmur2_random", "compression.type": "lz4", "linger.ms": 5,
        "batch.size": 1_000_000, "batch.num.messages": 100_000, "queue.buffering.max.messages": 1_000_000, "delivery.report.only.error": True,
        "on_delivery": report})
    db = duckdb.connect(config={"threads": 2})
    rows = db.execute(f"""select origin, epoch_ms(date), '{{"date":' || epoch_us(date) || ',"delay":' || delay || ',"distance":' || distance
                          || ',"origin":"' || origin || '","destination":"' || destination || '"}}' from read_parquet(?) {limit}""", [flights])
    sent = 0
    produce, poll = producer.produce, producer.poll
    while batch := rows.fetchmany(10_000):
        for key, timestamp, value in batch:
            try:
                produce(topic, value, key, timestamp=timestamp)
            except BufferError:
                poll(1)
                produce(topic, value, key, timestamp=timestamp)
        sent += len(batch)
        poll(0)
    left = producer.flush(300)
    if failed or left:
        sys.exit(f"{failed + left} of {sent} events were not acknowledged")
    print(sent)


if __name__ == "__main__":
    main()
