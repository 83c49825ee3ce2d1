# SPDX-License-Identifier: Apache-2.0
"""The dead-letter queue of a share group (KIP-1191) with librdkafka's ShareConsumer: rejected records go there, also over a kill of the server."""

from __future__ import annotations

import time
import uuid

from confluent_kafka import AcknowledgeType, Consumer, Producer, ShareConsumer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

RECORDS = 40


def configure(admin: AdminClient, group: str, **configs: str) -> None:
    entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in configs.items()]
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=entries)
    admin.incremental_alter_configs([resource])[resource].result(30)


def letters(server, queue: str, want: int) -> list:
    reader = Consumer({"bootstrap.servers": server.kafka, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    reader.subscribe([queue])
    got: list = []
    deadline = time.monotonic() + 60
    while len({header(m, "offset") for m in got}) < want and time.monotonic() < deadline:
        m = reader.poll(0.5)
        if m is not None and m.error() is None:
            got.append(m)
    reader.close()
    return got


def member(server, group: str, topic: str) -> ShareConsumer:
    made = ShareConsumer({"bootstrap.servers": server.kafka, "group.id": group, "share.acknowledgement.mode": "explicit"})
    made.subscribe([topic])
    return made


def header(m, name: str) -> str:
    return dict(m.headers())[f"__dlq.errors.{name}"].decode()


def test_rejected_records_are_in_the_queue_after_a_kill(new_server) -> None:
    server = new_server({"server.workers": "1"}).start()  # what writes letters must not take the thread that makes them durable
    topic, group = f"share-{uuid.uuid4().hex[:8]}", f"g-{uuid.uuid4().hex[:8]}"
    queue = f"dlq.{topic}"
    admin = AdminClient({"bootstrap.servers": server.kafka})
    admin.create_topics([NewTopic(topic, num_partitions=1)])[topic].result(30)
    admin.create_topics([NewTopic(queue, num_partitions=1, config={"errors.deadletterqueue.group.enable": "true"})])[queue].result(30)
    configure(admin, group, **{"share.auto.offset.reset": "earliest", "errors.deadletterqueue.topic.name": queue, "errors.deadletterqueue.copy.record.enable": "true"})
    producer = Producer({"bootstrap.servers": server.kafka})
    for i in range(RECORDS):
        producer.produce(topic, key=f"k{i}", value=f"v{i}")
    assert producer.flush(30) == 0
    one = member(server, group, topic)
    seen: set[int] = set()
    deadline = time.monotonic() + 60
    while len(seen) < RECORDS and time.monotonic() < deadline:
        for m in one.poll(timeout=0.5) or []:
            assert m.error() is None
            one.acknowledge(m, AcknowledgeType.REJECT if m.offset() % 2 == 0 else AcknowledgeType.ACCEPT)
            seen.add(m.offset())
        one.commit_sync(timeout=10)
    assert len(seen) == RECORDS
    server.kill()  # some letters may be written already, the others are when the group reads again
    server.start()
    producer, one = Producer({"bootstrap.servers": server.kafka}), member(server, group, topic)
    producer.produce(topic, value="one more")
    assert producer.flush(30) == 0
    more: list = []
    deadline = time.monotonic() + 60
    while not more and time.monotonic() < deadline:
        more = [m for m in one.poll(timeout=0.5) or [] if m.error() is None]
    assert [m.value() for m in more] == [b"one more"]
    one.acknowledge(more[0], AcknowledgeType.ACCEPT)
    got = letters(server, queue, RECORDS // 2)
    one.close()
    assert {int(header(m, "offset")) for m in got} == set(range(0, RECORDS, 2))
    for m in got:
        offset = int(header(m, "offset"))
        assert (m.key(), m.value()) == (f"k{offset}".encode(), f"v{offset}".encode())
        assert (header(m, "topic"), header(m, "partition"), header(m, "group")) == (topic, "0", group)
        assert (header(m, "delivery.count"), header(m, "message")) == ("1", "Offset rejected by client.")
