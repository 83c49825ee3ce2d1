# SPDX-License-Identifier: Apache-2.0
"""confluent-kafka (librdkafka): codecs, groups under both protocols with a rebalance, transactions, admin."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType

BROKER, RUN = sys.argv[1:3]
TOPIC = f"confluent-{RUN}"
admin = AdminClient({"bootstrap.servers": BROKER})


def check(name: str, fn: Callable[[], None]) -> None:
    try:
        fn()
        print(f"ok {name}", flush=True)
    except Exception as e:  # noqa: BLE001
        print(f"FAIL {name} {type(e).__name__}: {e}".replace("\n", " "), flush=True)


def until(what: str, step: Callable[[], bool], seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not step():
        assert time.monotonic() < end, f"not in time: {what}"


def administration() -> None:
    admin.create_topics([NewTopic(TOPIC, 4, 1, config={"retention.ms": "3600000"})])[TOPIC].result(20)
    resource = ConfigResource(ResourceType.TOPIC, TOPIC, incremental_configs=[ConfigEntry("retention.ms", "7200000", incremental_operation=AlterConfigOpType.SET)])
    admin.incremental_alter_configs([resource])[resource].result(20)
    resource = ConfigResource(ResourceType.TOPIC, TOPIC)
    assert admin.describe_configs([resource])[resource].result(20)["retention.ms"].value == "7200000"
    admin.create_partitions([NewPartitions(TOPIC, 5)])[TOPIC].result(20)
    assert len(admin.list_topics(TOPIC, 20).topics[TOPIC].partitions) == 5
    assert len(admin.describe_cluster().result(20).nodes) == 1


def codecs() -> None:
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        failed: list[str] = []
        producer = Producer({"bootstrap.servers": BROKER, "compression.type": codec, "enable.idempotence": True, "linger.ms": 20})
        for i in range(200):
            producer.produce(TOPIC, f"{codec}{i}" * 10, f"k{i}", headers={"h": b"x"}, on_delivery=lambda e, m: failed.append(str(e)) if e else None)
        assert producer.flush(20) == 0 and not failed, failed[:1]
    spec = {TopicPartition(TOPIC, p): OffsetSpec.latest() for p in range(5)}
    assert sum(f.result(20).offset for f in admin.list_offsets(spec).values()) == 1000


def group(protocol: str) -> None:
    config = {"bootstrap.servers": BROKER, "group.id": f"g-{protocol}-{TOPIC}", "group.protocol": protocol, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    seen: dict[str, int] = {}
    a, b = Consumer(config), Consumer(config)

    def poll(*consumers: Consumer) -> None:
        for c in consumers:
            for m in c.consume(500, 0.1):
                assert m.error() is None, m.error()
                seen[m.value().decode()] = seen.get(m.value().decode(), 0) + 1

    def all_seen() -> bool:
        poll(a)
        return len(seen) == 1000

    def shared() -> bool:
        poll(a, b)
        return bool(a.assignment()) and bool(b.assignment()) and len(a.assignment()) + len(b.assignment()) == 5

    try:
        a.subscribe([TOPIC])
        until("1,000 messages", all_seen)
        assert max(seen.values()) == 1
        a.commit(asynchronous=False)
        b.subscribe([TOPIC])
        until("both have partitions", shared)
    finally:
        b.close()
        a.close()
    committed = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(config["group.id"])])[config["group.id"]].result(20)
    assert sum(max(0, p.offset) for p in committed.topic_partitions) == 1000, committed
    described = admin.describe_consumer_groups([config["group.id"]])[config["group.id"]].result(20)
    assert not described.members
    admin.delete_consumer_groups([config["group.id"]])[config["group.id"]].result(20)


def transactions() -> None:
    out = f"{TOPIC}-tx"
    admin.create_topics([NewTopic(out, 1, 1)])[out].result(20)
    producer = Producer({"bootstrap.servers": BROKER, "transactional.id": f"t-{TOPIC}", "transaction.timeout.ms": 30000})
    producer.init_transactions(20)
    source = Consumer({"bootstrap.servers": BROKER, "group.id": f"tg-{TOPIC}", "auto.offset.reset": "earliest", "enable.auto.commit": False})
    source.subscribe([TOPIC])
    until("a message to work on", lambda: source.poll(0.5) is not None)
    for end in ("abort", "commit", "abort", "commit"):
        producer.begin_transaction()
        producer.produce(out, end)
        producer.produce(out, end)
        if end == "commit":
            producer.send_offsets_to_transaction([TopicPartition(TOPIC, 0, 7)], source.consumer_group_metadata(), 20)
            producer.commit_transaction(20)
        else:
            producer.flush(20)
            producer.abort_transaction(20)
    source.close()
    fenced = Producer({"bootstrap.servers": BROKER, "transactional.id": f"t-{TOPIC}"})
    fenced.init_transactions(20)
    try:
        producer.begin_transaction()
        producer.produce(out, "fenced")
        producer.commit_transaction(20)
        raise AssertionError("the old producer was not fenced")
    except KafkaException as e:
        assert e.args[0].fatal(), e
    for level, wanted in (("read_committed", 4), ("read_uncommitted", 8)):
        reader = Consumer({"bootstrap.servers": BROKER, "group.id": f"r-{TOPIC}-{level}", "auto.offset.reset": "earliest", "isolation.level": level, "enable.partition.eof": True})
        reader.assign([TopicPartition(out, 0, 0)])
        got: list[str] = []
        while True:
            m = reader.poll(20)
            assert m is not None, f"{level}: no end of partition, {len(got)} messages"
            if m.error() is not None:
                break
            got.append(m.value().decode())
        reader.close()
        assert len(got) == wanted and (level != "read_committed" or set(got) == {"commit"}), (level, got)
    offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(f"tg-{TOPIC}", [TopicPartition(TOPIC, 0)])])[f"tg-{TOPIC}"].result(20)
    assert offsets.topic_partitions[0].offset == 7


def deletion() -> None:
    target = TopicPartition(TOPIC, 0, 10)
    assert admin.delete_records([target])[target].result(20).low_watermark == 10
    admin.delete_topics([TOPIC])[TOPIC].result(20)
    until("topic is gone", lambda: TOPIC not in admin.list_topics(timeout=20).topics)


check("admin: topics, configs, partitions", administration)
check("produce: none, gzip, snappy, lz4, zstd, idempotent", codecs)
check("group (classic): consume, rebalance, commit", lambda: group("classic"))
check("group (consumer): consume, rebalance, commit", lambda: group("consumer"))
check("transactions: commit, abort, offsets, fencing", transactions)
check("admin: delete records and topics", deletion)
