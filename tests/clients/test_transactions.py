# SPDX-License-Identifier: Apache-2.0
"""Exactly once, with clients that know nothing of us: confluent-kafka (librdkafka) and kafka-python; also with the server killed in the middle."""

from __future__ import annotations

import subprocess
import threading
import uuid
from collections.abc import Callable

import kafka
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import Server
from machine import free_ports


def name(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def create(server: Server, topic: str, partitions: int = 3) -> str:
    admin = AdminClient({"bootstrap.servers": server.kafka})
    admin.create_topics([NewTopic(topic, partitions)])[topic].result(30)
    return topic


def producer(server: Server, transactional_id: str, **config: object) -> Producer:
    p = Producer({"bootstrap.servers": server.kafka, "transactional.id": transactional_id, "linger.ms": 0} | config)
    p.init_transactions(60)
    return p


def read(server: Server, topic: str, isolation: str, partitions: int = 3) -> list[str]:
    """Everything from the beginning to the end that the isolation level shows."""
    settings = {"bootstrap.servers": server.kafka, "group.id": name("r"), "isolation.level": isolation, "enable.partition.eof": True}
    c = Consumer(settings)
    c.assign([TopicPartition(topic, i, 0) for i in range(partitions)])
    out, ended = [], set()
    while len(ended) < partitions:
        m = c.poll(10)
        assert m is not None
        if m.error() is None:
            out.append(m.value().decode())
        else:
            ended.add(m.partition())
    c.close()
    return out


def transaction(p: Producer, topic: str, values: list[str], commit: bool = True) -> None:
    p.begin_transaction()
    for i, value in enumerate(values):
        p.produce(topic, value, partition=i % 3)
    p.flush(30)
    if commit:
        p.commit_transaction(30)
    else:
        p.abort_transaction(30)


def test_commit_and_abort(server: Server) -> None:
    topic = create(server, name("tx"))
    p = producer(server, name("id"))
    transaction(p, topic, [f"a{i}" for i in range(6)])
    transaction(p, topic, [f"b{i}" for i in range(6)], commit=False)
    transaction(p, topic, [f"c{i}" for i in range(6)])
    wanted = sorted([f"a{i}" for i in range(6)] + [f"c{i}" for i in range(6)])
    assert sorted(read(server, topic, "read_committed")) == wanted
    assert len(read(server, topic, "read_uncommitted")) == 18
    # what SQL shows of the topic is committed too
    done = subprocess.run(["psql", "-XqAt", "-d", server.pg, "-c", f'select count(*) from topics."{topic}"'], capture_output=True, text=True)
    assert done.stdout.strip() == "12", done.stderr


def test_open_transaction_is_not_seen(server: Server) -> None:
    topic = create(server, name("tx"), 1)
    p = producer(server, name("id"))
    p.begin_transaction()
    p.produce(topic, "open", partition=0)
    p.flush(30)
    plain = Producer({"bootstrap.servers": server.kafka})
    plain.produce(topic, "plain", partition=0)
    plain.flush(30)
    c = Consumer({"bootstrap.servers": server.kafka, "group.id": name("r"), "isolation.level": "read_committed"})
    assert c.get_watermark_offsets(TopicPartition(topic, 0))[1] == 0  # the last stable offset
    assert read(server, topic, "read_committed", 1) == []  # behind an open transaction nothing is stable
    assert read(server, topic, "read_uncommitted", 1) == ["open", "plain"]
    c.assign([TopicPartition(topic, 0, 0)])
    seen: list[str] = []
    waiting = threading.Thread(target=lambda: seen.extend(m.value().decode() for m in c.consume(2, 30)))
    waiting.start()  # a long poll that the marker wakes
    p.commit_transaction(30)
    waiting.join()
    assert seen == ["open", "plain"]
    c.close()


def test_fencing(server: Server) -> None:
    topic = create(server, name("tx"))
    identity = name("id")
    old = producer(server, identity)
    old.begin_transaction()
    old.produce(topic, "lost", partition=0)
    old.flush(30)
    new = producer(server, identity)
    transaction(new, topic, ["kept"])
    with pytest.raises(KafkaException) as raised:
        old.commit_transaction(30)
    assert raised.value.args[0].fatal()
    assert read(server, topic, "read_committed") == ["kept"]


def test_timeout(server: Server) -> None:
    """A producer that is gone: its transaction ends by itself, and does not hold back readers for ever."""
    with pytest.raises(KafkaException):
        producer(server, name("id"), **{"transaction.timeout.ms": 900_001})


def test_kafka_python(server: Server) -> None:
    topic = create(server, name("tx"), 1)
    p = kafka.KafkaProducer(bootstrap_servers=server.kafka, transactional_id=name("id"))
    p.init_transactions()
    for commit in (True, False, True):
        p.begin_transaction()
        p.send(topic, b"yes" if commit else b"no", partition=0)
        if commit:
            p.commit_transaction()
        else:
            p.abort_transaction()
    p.close()
    assert read(server, topic, "read_committed", 1) == ["yes", "yes"]
    c = kafka.KafkaConsumer(bootstrap_servers=server.kafka, isolation_level="read_committed", consumer_timeout_ms=3000)
    c.assign([kafka.TopicPartition(topic, 0)])
    c.seek_to_beginning()
    assert [next(c).value for _ in range(2)] == [b"yes", b"yes"]
    c.close()


def test_killed_in_the_middle(new_server: Callable[..., Server]) -> None:
    """kill -9 with a transaction open: it goes on in the next process, and ends as its producer says."""
    doors = ("kafka", "registry", "pg", "http")
    server = new_server({f"{door}.listen": f"127.0.0.1:{port}" for door, port in zip(doors, free_ports(4), strict=True)}).start()
    topic = create(server, name("tx"))
    p = producer(server, name("id"))
    for number, commit in enumerate((True, False, True)):
        p.begin_transaction()
        for i in range(6):
            p.produce(topic, f"{number}-{i}", partition=i % 3)
        p.flush(30)
        server.kill()
        server.start()
        if commit:
            p.commit_transaction(60)
        else:
            p.abort_transaction(60)
    assert sorted(read(server, topic, "read_committed")) == sorted(f"{n}-{i}" for n in (0, 2) for i in range(6))
    assert len(read(server, topic, "read_uncommitted")) == 18


def test_consume_transform_produce(server: Server) -> None:
    source, target = create(server, name("source")), create(server, name("target"))
    group = name("pipe")
    transaction(producer(server, name("id")), source, [f"{i}" for i in range(300)])
    c = Consumer({"bootstrap.servers": server.kafka, "group.id": group, "isolation.level": "read_committed", "auto.offset.reset": "earliest",
                  "enable.auto.commit": False})  # fmt: skip
    c.subscribe([source])
    p = producer(server, group)
    done, abort = 0, True
    while done < 300:
        messages = [m for m in c.consume(20, 0.2) if m.error() is None]
        if not messages:
            continue
        p.begin_transaction()
        for m in messages:
            p.produce(target, b"did " + m.value(), partition=m.partition())
        p.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), 30)
        if abort:  # once: its offsets and its output are as if they had never been
            p.abort_transaction(30)
            at = c.committed([TopicPartition(source, i) for i in range(3)], 30)
            assert all(a.offset < 0 for a in at)
            for a in at:
                c.seek(TopicPartition(source, a.partition, 0))
            abort = False
            continue
        p.commit_transaction(30)
        done += len(messages)
    at = c.committed([TopicPartition(source, i) for i in range(3)], 30)
    assert all(a.offset in (100, 101) for a in at)  # before or behind the marker
    c.close()
    assert sorted(read(server, target, "read_committed")) == sorted(f"did {i}" for i in range(300))


class Pipe:
    """Reads a topic, writes each event changed into another one, offsets and output in one transaction; whatever fails, it goes on."""

    def __init__(self, server: Server, source: str, target: str, group: str) -> None:
        self.server, self.source, self.target, self.group = server, source, target, group
        self.done = 0
        self.moved = threading.Condition()

    def run(self, events: int) -> None:
        while True:
            try:
                if self._run_until_failure(events):
                    return
            except KafkaException:
                pass  # anew: producer and consumer

    def _run_until_failure(self, events: int) -> bool:
        # Where it bootstraps anew, librdkafka 2.16 keeps waiting for the group's coordinator by a handle that is gone, with Apache Kafka too
        p = producer(self.server, self.group, **{"metadata.recovery.strategy": "none"})
        c = Consumer({"bootstrap.servers": self.server.kafka, "group.id": self.group, "isolation.level": "read_committed",
                      "auto.offset.reset": "earliest", "enable.auto.commit": False, "session.timeout.ms": 6000})  # fmt: skip
        c.subscribe([self.source])
        try:
            while True:
                messages = [m for m in c.consume(20, 0.5) if m.error() is None]
                if not messages and self._all_committed(c, events):
                    return True
                if not messages:
                    continue
                p.begin_transaction()
                for m in messages:
                    p.produce(self.target, b"did " + m.value(), partition=m.partition())
                p.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), 60)
                p.commit_transaction(60)
                with self.moved:
                    self.done += len(messages)
                    self.moved.notify_all()
        finally:
            c.close()

    def _all_committed(self, c: Consumer, events: int) -> bool:
        return sum(max(p.offset, 0) for p in c.committed([TopicPartition(self.source, i) for i in range(3)], 30)) == events

    def wait_for(self, n: int) -> None:
        with self.moved:
            self.moved.wait_for(lambda: self.done >= n, 60)


def fill(server: Server, topic: str, events: int) -> None:
    p = Producer({"bootstrap.servers": server.kafka})
    for i in range(events):
        p.produce(topic, f"{i}", partition=i % 3)
    p.flush(60)


def test_consume_transform_produce_killed(new_server: Callable[..., Server]) -> None:
    events = 1500
    doors = ("kafka", "registry", "pg", "http")
    server = new_server({f"{door}.listen": f"127.0.0.1:{port}" for door, port in zip(doors, free_ports(4), strict=True)}).start()
    source, target = create(server, "source"), create(server, "target")
    fill(server, source, events)
    pipe = Pipe(server, source, target, "pipe")
    thread = threading.Thread(target=pipe.run, args=(events,), daemon=True)
    thread.start()
    for part in (1, 2, 3):  # in the middle, three times
        pipe.wait_for(part * events // 5)
        server.kill()
        server.start()
    thread.join(120)
    assert not thread.is_alive()
    assert sorted(read(server, target, "read_committed")) == sorted(f"did {i}" for i in range(events))
