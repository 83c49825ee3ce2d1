# SPDX-License-Identifier: Apache-2.0
"""What a log keeps and forgets, seen by clients that know nothing of us: compaction, deleting records, offsets by time, sizes."""

from __future__ import annotations

import uuid

import confluent_kafka
import kafka
import kafka.errors
import pytest
from conftest import Server
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from kafka.admin import KafkaAdminClient


def make(admin: AdminClient, partitions: int = 1, **config: str) -> str:
    topic = f"log-{uuid.uuid4().hex[:8]}"
    admin.create_topics([NewTopic(topic, num_partitions=partitions, config={k.replace("_", "."): v for k, v in config.items()})])[topic].result(30)
    return topic


@pytest.fixture
def admin(server) -> AdminClient:
    return AdminClient({"bootstrap.servers": server.kafka})


@pytest.fixture
def python_admin(server):
    client = KafkaAdminClient(bootstrap_servers=server.kafka)
    yield client
    client.close()


def produce(server, topic: str, records: list[tuple[str | None, str | None]], **config) -> None:
    errors: list[confluent_kafka.KafkaError] = []
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "linger.ms": 5} | config)
    for key, value in records:
        producer.produce(topic, key=key, value=value, partition=0, on_delivery=lambda err, _: errors.append(err) if err else None)
    assert producer.flush(60) == 0
    if errors:
        raise confluent_kafka.KafkaException(errors[0])


def read(server, topic: str) -> list[confluent_kafka.Message]:
    """All of partition 0, to its end."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": "none", "enable.auto.commit": False, "enable.partition.eof": True})
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, confluent_kafka.OFFSET_BEGINNING)])
    got = []
    while True:
        msg = consumer.poll(30)
        assert msg is not None, "the end of the partition did not come"
        if msg.error():
            assert msg.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
            break
        got.append(msg)
    consumer.close()
    return got


def offset(admin: AdminClient, topic: str, spec: OffsetSpec) -> int:
    partition = confluent_kafka.TopicPartition(topic, 0)
    return admin.list_offsets({partition: spec})[partition].result(30).offset


@pytest.fixture(scope="module")
def compacting_server(scratch):
    properties = scratch / "broker.properties"
    properties.write_text("log.cleaner.backoff.ms=50\n")
    one = Server(scratch / "compacting", {"broker.properties": str(properties)}).start()
    yield one
    one.stop()


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_compaction(compacting_server, codec) -> None:
    server = compacting_server
    admin = AdminClient({"bootstrap.servers": server.kafka})
    topic = make(admin, cleanup_policy="compact", internal_segment_bytes="50000", min_cleanable_dirty_ratio="0.01")
    want: dict[str, str] = {}
    sent = 0
    while True:  # writes on until the cleaner was there
        records = [(f"k{i % 20}", None if i % 13 == 0 else f"value {i} " + "x" * 100) for i in range(sent, sent + 3000)]
        produce(server, topic, records, **{"compression.type": codec, "batch.num.messages": 100})
        want |= dict(records)
        sent += 3000
        found = read(server, topic)
        table = {m.key().decode(): m.value() and m.value().decode() for m in found}
        assert {k: v for k, v in table.items() if v is not None} == {k: v for k, v in want.items() if v is not None}
        assert [m.offset() for m in found] == sorted({m.offset() for m in found})
        if len(found) < sent / 2:
            break
        assert sent < 500_000
    assert offset(admin, topic, OffsetSpec.latest()) == sent


def test_delete_records(server, admin) -> None:
    topic = make(admin)
    produce(server, topic, [(None, f"{i}") for i in range(100)])
    partition = confluent_kafka.TopicPartition(topic, 0, 37)
    assert admin.delete_records([partition])[partition].result(30).low_watermark == 37
    assert [int(m.value()) for m in read(server, topic)] == list(range(37, 100))
    assert offset(admin, topic, OffsetSpec.earliest()) == 37
    partition.offset = 10  # never back
    assert admin.delete_records([partition])[partition].result(30).low_watermark == 37
    partition.offset = 101
    with pytest.raises(confluent_kafka.KafkaException) as e:
        admin.delete_records([partition])[partition].result(30)
    assert e.value.args[0].code() == confluent_kafka.KafkaError.OFFSET_OUT_OF_RANGE
    partition.offset = confluent_kafka.OFFSET_END
    assert admin.delete_records([partition])[partition].result(30).low_watermark == 100
    assert read(server, topic) == []
    internal = confluent_kafka.TopicPartition("__consumer_offsets", 0, 0)
    with pytest.raises(confluent_kafka.KafkaException) as e:
        admin.delete_records([internal])[internal].result(30)
    assert e.value.args[0].code() == confluent_kafka.KafkaError.TOPIC_EXCEPTION
    compacted = confluent_kafka.TopicPartition(make(admin, cleanup_policy="compact"), 0, 0)
    with pytest.raises(confluent_kafka.KafkaException) as e:
        admin.delete_records([compacted])[compacted].result(30)
    assert e.value.args[0].code() == confluent_kafka.KafkaError.POLICY_VIOLATION


def test_deleted_records_stay_deleted(new_server) -> None:
    server = new_server().start()
    admin = AdminClient({"bootstrap.servers": server.kafka})
    topic = make(admin)
    produce(server, topic, [(None, f"{i}") for i in range(50)])
    partition = confluent_kafka.TopicPartition(topic, 0, 20)
    admin.delete_records([partition])[partition].result(30)
    server.kill()
    server.start()
    assert [int(m.value()) for m in read(server, topic)] == list(range(20, 50))


def test_offsets_by_time(server, admin) -> None:
    topic = make(admin)
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka})
    now = 1_700_000_000_000
    for i, t in enumerate([0, 50, 10, 90, 30]):
        producer.produce(topic, value=f"{i}", partition=0, timestamp=now + t)
    assert producer.flush(30) == 0
    assert offset(admin, topic, OffsetSpec.max_timestamp()) == 3
    assert offset(admin, topic, OffsetSpec.for_timestamp(now + 20)) == 1
    assert offset(admin, topic, OffsetSpec.for_timestamp(now + 60)) == 3
    assert offset(admin, topic, OffsetSpec.for_timestamp(now + 91)) == -1
    assert (offset(admin, topic, OffsetSpec.earliest()), offset(admin, topic, OffsetSpec.latest())) == (0, 5)


def test_log_dirs(server, admin, python_admin) -> None:
    topic = make(admin, partitions=2)
    produce(server, topic, [(None, "x" * 1000) for _ in range(100)])
    dirs = python_admin.describe_log_dirs()
    text = repr(dirs)
    assert topic in text
    sizes = {(t, p): size for t, p, size in walk_sizes(dirs)}
    assert sizes[topic, 0] > 100_000 and sizes[topic, 1] == 0


def walk_sizes(node, topic: str = ""):
    """(topic, partition, size) of whatever shape the client gives its answer."""
    if isinstance(node, dict):
        topic = node.get("name", node.get("topic", topic))
        if "partition_size" in node:
            yield topic, node["partition_index"], node["partition_size"]
        for value in node.values():
            yield from walk_sizes(value, topic)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from walk_sizes(value, topic)


def test_alter_replica_log_dirs(server, admin, python_admin) -> None:
    topic = make(admin)
    (here,) = {d["log_dir"] for node in python_admin.describe_log_dirs() for d in walk_dirs(node)}
    done = python_admin.alter_replica_log_dirs({(topic, 0, 1): here})
    assert set(done.values()) == {kafka.errors.NoError}
    done = python_admin.alter_replica_log_dirs({(topic, 0, 1): "/nowhere"})
    assert [e.__name__ for e in done.values()] == ["LogDirNotFoundError"]


def walk_dirs(node):
    if isinstance(node, dict):
        if "log_dir" in node:
            yield node
        for value in node.values():
            yield from walk_dirs(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from walk_dirs(value)


def test_describe_topic_partitions_in_pages(admin, python_admin) -> None:
    topics = sorted(make(admin, partitions=5) for _ in range(3))
    seen, cursor, pages = [], None, 0
    while True:
        page = python_admin.describe_topic_partitions([*topics, "no-such-topic"], response_partition_limit=4, cursor=cursor)
        pages += 1
        for t in page["topics"]:
            if t["name"] == "no-such-topic":
                assert t["error_code"] == 3
                continue
            assert t["error_code"] == 0
            seen += [(t["name"], p["partition_index"]) for p in t["partitions"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(set(seen)) == sorted(seen) == [(t, i) for t in topics for i in range(5)]
    assert pages >= 4
