# SPDX-License-Identifier: Apache-2.0
"""kafka-python: codecs, a group with a rebalance, transactions, admin."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.structs import OffsetAndMetadata

logging.getLogger("kafka").setLevel(logging.CRITICAL)
BROKER, RUN = sys.argv[1:3]
TOPIC = f"kafka-python-{RUN}"
admin = KafkaAdminClient(bootstrap_servers=BROKER)


def check(name: str, fn: Callable[[], None]) -> None:
    try:
        fn()
        print(f"ok {name}", flush=True)
    except Exception as e:  # noqa: BLE001
        print(f"FAIL {name} {type(e).__name__}: {e}".replace("\n", " "), flush=True)


def administration() -> None:
    admin.create_topics([NewTopic(TOPIC, 4, 1)])
    assert TOPIC in admin.list_topics()
    assert len(admin.describe_topics([TOPIC])[0]["partitions"]) == 4


def codecs() -> None:
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        try:
            producer = KafkaProducer(bootstrap_servers=BROKER, compression_type=codec, linger_ms=20, acks="all")
        except AssertionError:
            print(f"# {codec}: its library is not there")
            continue
        sent = [producer.send(TOPIC, f"{codec}{i}".encode() * 10, f"k{i}".encode(), headers=[("h", b"x")]) for i in range(200)]
        producer.flush(20)
        assert all(f.get(20).offset >= 0 for f in sent)
        producer.close()


def group() -> None:
    seen: set[bytes] = set()
    assignments: dict[str, int] = {}
    stop, errors = threading.Event(), []

    def member(name: str) -> None:
        try:
            c = KafkaConsumer(TOPIC, bootstrap_servers=BROKER, group_id=f"g-{TOPIC}", auto_offset_reset="earliest", session_timeout_ms=10000, heartbeat_interval_ms=500)
            while not stop.is_set():
                for records in c.poll(200).values():
                    seen.update(r.value for r in records)
                assignments[name] = len(c.assignment())
            c.commit()
            c.close()
        except Exception as e:  # noqa: BLE001
            errors.append(e)

    threads = [threading.Thread(target=member, args=(name,)) for name in "ab"]

    def until(what: str, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 40
        while not condition():
            assert not errors, errors
            assert time.monotonic() < end, f"not in time: {what}"
            time.sleep(0.05)

    consumer = KafkaConsumer(bootstrap_servers=BROKER)
    ends = consumer.end_offsets([TopicPartition(TOPIC, p) for p in range(4)])
    consumer.close()
    try:
        threads[0].start()
        until("all messages", lambda: len(seen) == sum(ends.values()))
        threads[1].start()
        until("both have partitions", lambda: assignments.get("a") == 2 and assignments.get("b") == 2)
    finally:
        stop.set()
        for t in threads:
            if t.is_alive():
                t.join(20)
    assert not errors, errors


def transactions() -> None:
    out = f"{TOPIC}-tx"
    admin.create_topics([NewTopic(out, 1, 1)])
    producer = KafkaProducer(bootstrap_servers=BROKER, transactional_id=f"t-{TOPIC}", acks="all")
    producer.init_transactions()
    for end in ("abort", "commit", "abort", "commit"):
        producer.begin_transaction()
        for _ in range(2):
            producer.send(out, end.encode()).get(20)
        if end == "commit":
            producer.send_offsets_to_transaction({TopicPartition(TOPIC, 0): OffsetAndMetadata(7, "", -1)}, f"tg-{TOPIC}")
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    producer.close()
    reader = KafkaConsumer(bootstrap_servers=BROKER, isolation_level="read_committed", auto_offset_reset="earliest", consumer_timeout_ms=5000)
    reader.assign([TopicPartition(out, 0)])
    reader.seek_to_beginning()
    got = [m.value for m in reader]
    reader.close()
    assert got == [b"commit"] * 4, got


check("admin: topics", administration)
check("produce: every codec it has", codecs)
check("group: consume, rebalance, commit", group)
check("transactions: commit, abort, offsets", transactions)
check("admin: delete topics", lambda: admin.delete_topics([TOPIC]) and None)
