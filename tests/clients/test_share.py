# SPDX-License-Identifier: Apache-2.0
"""Share groups with librdkafka's ShareConsumer: each record goes to one consumer, what was accepted stays so over a kill of the server."""

from __future__ import annotations

import json
import time
import uuid

from confluent_kafka import AcknowledgeType, Producer, ShareConsumer
from confluent_kafka.admin import AdminClient, NewTopic

RECORDS = 60


def create(server, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": server.kafka})
    admin.create_topics([NewTopic(topic, num_partitions=2)])[topic].result(30)


def fill(server, topic: str, first: int, n: int) -> None:
    producer = Producer({"bootstrap.servers": server.kafka})
    for i in range(first, first + n):
        producer.produce(topic, value=str(i))
    assert producer.flush(30) == 0


def consumer(server, group: str, topic: str) -> ShareConsumer:
    made = ShareConsumer({"bootstrap.servers": server.kafka, "group.id": group, "share.acknowledgement.mode": "explicit"})
    made.subscribe([topic])
    return made


def poll(one: ShareConsumer) -> list:
    got = one.poll(timeout=0.5)
    messages = [] if got is None else list(got)
    assert all(m.error() is None for m in messages), [m.error() for m in messages]
    return messages


def test_each_record_once_and_none_again_after_a_kill(new_server) -> None:
    server = new_server().start()
    topic, group = f"share-{uuid.uuid4().hex[:8]}", f"g-{uuid.uuid4().hex[:8]}"
    create(server, topic)
    members = [consumer(server, group, topic) for _ in range(2)]
    deadline = time.monotonic() + 60
    accepted: list[str] = []
    begun: set[int] = set()
    filled = 0
    while (len(accepted) < RECORDS or len(begun) < 2) and time.monotonic() < deadline:
        if filled < RECORDS * 20 and len(begun) < 2:  # the group begins at the end of each partition: some come before it is there
            fill(server, topic, filled, RECORDS)
            filled += RECORDS
        for one in members:
            for m in poll(one):
                one.acknowledge(m, AcknowledgeType.ACCEPT)
                accepted.append(m.value().decode())
                begun.add(m.partition())
            one.commit_sync(timeout=10)
    assert len(accepted) >= RECORDS and len(begun) == 2
    assert len(set(accepted)) == len(accepted)
    rows = json.loads(server.cli("group", "describe", group, "--members", "-o", "json").stdout)
    assert len(rows) == len(members)
    for one in members:
        one.close()
    server.kill()
    server.start()
    fill(server, topic, filled, 10)
    again = consumer(server, group, topic)
    last = {str(i) for i in range(filled, filled + 10)}
    seen: list[str] = []
    while not last <= set(seen) and time.monotonic() < deadline + 60:
        for m in poll(again):
            again.acknowledge(m, AcknowledgeType.ACCEPT)
            seen.append(m.value().decode())
        again.commit_sync(timeout=10)
    again.close()
    assert last <= set(seen)
    assert not set(seen) & set(accepted)
