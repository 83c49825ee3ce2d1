# SPDX-License-Identifier: Apache-2.0
"""Errors and texts of topic administration and of what topics' configs refuse, as clients of Kafka know them."""

from __future__ import annotations

import uuid

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic


@pytest.fixture
def admin(server) -> AdminClient:
    return AdminClient({"bootstrap.servers": server.kafka})


def fresh() -> str:
    return f"topics-{uuid.uuid4().hex[:8]}"


def error_of(future) -> KafkaError:
    with pytest.raises(KafkaException) as e:
        future.result(30)
    return e.value.args[0]


def create(admin: AdminClient, topic: str, **options):
    return admin.create_topics([NewTopic(topic, **options)])[topic]


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ({"num_partitions": 1, "replication_factor": 3}, KafkaError.INVALID_REPLICATION_FACTOR, "only 1 broker(s) are registered"),
        ({"num_partitions": 2, "replica_assignment": [[1], [2]]}, KafkaError.INVALID_REPLICA_ASSIGNMENT, "includes broker 2, but no such broker is registered"),
        ({"config": {"retention.ms": "x"}}, KafkaError.INVALID_CONFIG, "Invalid value x for configuration retention.ms: Not a number of type LONG"),
        ({"config": {"retention.ms": "-2"}}, KafkaError.INVALID_CONFIG, "Invalid value -2 for configuration retention.ms: Value must be at least -1"),
        ({"config": {"cleanup.policy": "burn"}}, KafkaError.INVALID_CONFIG, "String must be one of: compact, delete"),
        ({"config": {"no.such": "1"}}, KafkaError.INVALID_CONFIG, "Unknown topic config name: no.such"),
        (
            {"config": {"min.compaction.lag.ms": "5", "max.compaction.lag.ms": "4"}},
            KafkaError.INVALID_CONFIG,
            "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)",
        ),
    ],
)
def test_refused_topics(admin, options, code, text) -> None:
    error = error_of(create(admin, fresh(), **{"num_partitions": 1} | options))
    assert error.code() == code
    assert text in error.str()


def test_topics_that_collide(admin) -> None:
    topic = fresh() + ".a"
    create(admin, topic, num_partitions=1).result(30)
    error = error_of(create(admin, topic.replace(".", "_"), num_partitions=1))
    assert error.code() == KafkaError.TOPIC_EXCEPTION and "collides with existing topic" in error.str()
    error = error_of(create(admin, topic, num_partitions=1))
    assert error.code() == KafkaError.TOPIC_ALREADY_EXISTS and error.str() == f"Topic '{topic}' already exists."


def test_assignments(admin) -> None:
    topic = fresh()
    create(admin, topic, num_partitions=2, replica_assignment=[[1], [1]]).result(30)
    assert len(admin.list_topics(topic, timeout=30).topics[topic].partitions) == 2

    def grow(total: int, assignment: list[list[int]] | None = None):
        more = NewPartitions(topic, total) if assignment is None else NewPartitions(topic, total, replica_assignment=assignment)
        return admin.create_partitions([more])[topic]

    error = error_of(grow(2))
    assert error.code() == KafkaError.INVALID_PARTITIONS and error.str() == "Topic already has 2 partition(s)."
    error = error_of(grow(1))
    assert error.code() == KafkaError.INVALID_PARTITIONS and "currently has 2 partition(s); 1 would not be an increase" in error.str()
    assert error_of(grow(3, [[7]])).code() == KafkaError.INVALID_REPLICA_ASSIGNMENT
    grow(4, [[1], [1]]).result(30)
    assert len(admin.list_topics(topic, timeout=30).topics[topic].partitions) == 4


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_compacted_topics_want_keys(server, admin, codec) -> None:
    topic = fresh()
    create(admin, topic, num_partitions=1, config={"cleanup.policy": "compact"}).result(30)
    errors = []
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "compression.type": codec, "linger.ms": 100})
    for _ in range(5):
        producer.produce(topic, value="no key " * 20, on_delivery=lambda err, _: errors.append(err))
    producer.flush(30)
    assert len(errors) == 5 and {e.code() for e in errors} == {KafkaError.INVALID_RECORD}


@pytest.mark.parametrize("kept", ["uncompressed", "gzip", "snappy", "lz4", "zstd"])
def test_compression_of_the_topic(server, admin, kept) -> None:
    topic = fresh()
    create(admin, topic, num_partitions=1, config={"compression.type": kept}).result(30)
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "compression.type": codec, "linger.ms": 50})
        for i in range(50):
            producer.produce(topic, key=str(i), value="a value to be compressed " * 10)
        assert producer.flush(30) == 0
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    got = []
    while len(got) < 250:
        batch = consumer.consume(250 - len(got), timeout=30)
        assert batch
        got += batch
    consumer.close()
    assert all(m.error() is None and m.value() == b"a value to be compressed " * 10 for m in got)


def test_metadata_of_a_name_that_no_topic_can_have(admin):
    for name in ("topic abc", "a/b", "x" * 250):
        assert admin.list_topics(name, timeout=30).topics[name].error.code() == KafkaError.TOPIC_EXCEPTION
