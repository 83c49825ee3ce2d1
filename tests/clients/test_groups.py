# SPDX-License-Identifier: Apache-2.0
"""Consumer groups with librdkafka in both protocols: balance, restart of the server in the middle, static members, regular expressions, upgrade."""

from __future__ import annotations

import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupType, KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

PROPERTIES = """group.consumer.heartbeat.interval.ms=200
group.consumer.min.heartbeat.interval.ms=200
group.consumer.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=6000
group.min.session.timeout.ms=1000
group.initial.rebalance.delay.ms=0
"""


@pytest.fixture
def fast(new_server, scratch: Path):
    """A server whose members report often."""
    path = scratch / f"{uuid.uuid4().hex}.properties"
    path.write_text(PROPERTIES)
    return new_server({"broker.properties": str(path)}).start()


def name(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def create(server, topic: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": server.kafka})
    admin.create_topics([NewTopic(topic, num_partitions=partitions)])[topic].result(30)


def fill(server, topic: str, partitions: int, each: int) -> None:
    producer = Producer({"bootstrap.servers": server.kafka})
    for p in range(partitions):
        for i in range(each):
            producer.produce(topic, partition=p, value=f"{p}/{i}")
    assert producer.flush(30) == 0


class Group:
    """Consumers of one group, polled by turns on this thread; what each has and what each read."""

    def __init__(self, server, group: str) -> None:
        self.server, self.group = server, group
        self.members: dict[str, Consumer] = {}
        self.owned: dict[str, set[tuple[str, int]]] = {}
        self.read: list[tuple[str, int, int]] = []
        self.errors: list[KafkaError] = []

    def add(self, who: str, topics: list[str], protocol: str = "consumer", **config) -> None:
        base = {"bootstrap.servers": self.server.kafka, "group.id": self.group, "auto.offset.reset": "earliest", "group.protocol": protocol}
        if protocol == "classic":
            base |= {"session.timeout.ms": 6000, "heartbeat.interval.ms": 200, "partition.assignment.strategy": "cooperative-sticky"}
        consumer = Consumer(base | {"enable.auto.commit": False, "topic.metadata.refresh.interval.ms": 500} | config)
        self.owned[who] = set()

        def assigned(c, partitions) -> None:
            taken = {(p.topic, p.partition) for p in partitions}
            for other, has in self.owned.items():
                assert other == who or not (taken & has), f"{taken & has} is of {other} still"
            self.owned[who] |= taken
            c.incremental_assign(partitions)

        def revoked(c, partitions) -> None:
            self.owned[who] -= {(p.topic, p.partition) for p in partitions}
            c.incremental_unassign(partitions)

        def lost(c, partitions) -> None:
            self.owned[who] -= {(p.topic, p.partition) for p in partitions}

        consumer.subscribe(topics, on_assign=assigned, on_revoke=revoked, on_lost=lost)
        self.members[who] = consumer

    def close(self, who: str) -> None:
        self.members.pop(who).close()
        self.owned.pop(who)

    def until(self, done: Callable[[], bool], seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, (self.owned, self.errors)
            for consumer in list(self.members.values()):
                message = consumer.poll(0.02)
                if message is None:
                    continue
                if message.error():
                    self.errors.append(message.error())
                else:
                    self.read.append((message.topic(), message.partition(), message.offset()))

    def sizes(self) -> list[int]:
        return sorted(len(has) for has in self.owned.values())


@pytest.fixture
def group(fast) -> Iterator[Group]:
    one = Group(fast, name("g"))
    yield one
    for consumer in one.members.values():
        consumer.close()


def describe(group: Group):
    admin = AdminClient({"bootstrap.servers": group.server.kafka})
    return admin.describe_consumer_groups([group.group])[group.group].result(30)


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_balance(group: Group, protocol: str) -> None:
    topic = name("t")
    create(group.server, topic, 6)
    fill(group.server, topic, 6, 20)
    group.add("a", [topic], protocol)
    group.until(lambda: group.sizes() == [6])
    before = set(group.owned["a"])
    group.add("b", [topic], protocol)
    group.add("c", [topic], protocol)
    group.until(lambda: group.sizes() == [2, 2, 2])
    assert group.owned["a"] < before  # it kept, it did not shuffle
    group.until(lambda: len(set(group.read)) == 120)
    described = describe(group)
    assert described.state == ConsumerGroupState.STABLE
    assert described.type == (ConsumerGroupType.CONSUMER if protocol == "consumer" else ConsumerGroupType.CLASSIC)
    assert len(described.members) == 3
    group.close("b")
    group.until(lambda: group.sizes() == [3, 3])
    assert not group.errors


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_restart_of_the_server(group: Group, protocol: str) -> None:
    topic = name("t")
    create(group.server, topic, 4)
    for who in "ab":
        group.add(who, [topic], protocol)
    group.until(lambda: group.sizes() == [2, 2])
    fill(group.server, topic, 4, 5)
    group.until(lambda: len(set(group.read)) == 20)
    owned = {who: set(has) for who, has in group.owned.items()}
    for who in "ab":  # who has to look for its place anew finds it
        group.members[who].commit(asynchronous=False)
    epoch = describe(group)
    address = group.server.kafka
    group.server.kill()
    group.server.settings["kafka.listen"] = address
    group.server.start()
    fill(group.server, topic, 4, 5)
    group.until(lambda: len(set(group.read)) == 40)
    assert group.owned == owned  # nobody had to join again
    assert {m.member_id for m in describe(group).members} == {m.member_id for m in epoch.members}
    assert len(group.read) == 40


def test_topics_grow_and_match(group: Group) -> None:
    """A regular expression finds topics that come later; more partitions are taken."""
    prefix = name("rx")
    create(group.server, f"{prefix}-1", 2)
    create(group.server, f"other-{prefix}", 2)
    group.add("a", [f"^{prefix}-.*"])
    group.until(lambda: group.sizes() == [2])
    create(group.server, f"{prefix}-2", 3)
    group.until(lambda: group.sizes() == [5])
    admin = AdminClient({"bootstrap.servers": group.server.kafka})
    admin.create_partitions([NewPartitions(f"{prefix}-1", 4)])[f"{prefix}-1"].result(30)
    group.until(lambda: group.sizes() == [7])
    group.add("b", [f"{prefix}-2"])
    group.until(lambda: group.sizes() == [3, 4])


def test_lag_in_metrics(group: Group) -> None:
    """The broker computes lag itself: records behind the committed offset, per partition and in all."""
    topic = name("t")
    create(group.server, topic, 2)
    fill(group.server, topic, 2, 5)
    group.add("a", [topic])
    group.until(lambda: len(set(group.read)) == 10)
    group.members["a"].commit(asynchronous=False)
    fill(group.server, topic, 1, 3)  # partition 0
    with urllib.request.urlopen(f"{group.server.http}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    assert f'kafka_consumergroup_lag{{consumergroup="{group.group}",topic="{topic}",partition="0"}} 3' in lines
    assert f'kafka_consumergroup_lag{{consumergroup="{group.group}",topic="{topic}",partition="1"}} 0' in lines
    assert f'kafka_consumergroup_current_offset{{consumergroup="{group.group}",topic="{topic}",partition="0"}} 5' in lines
    assert f'kafka_consumergroup_lag_sum{{consumergroup="{group.group}"}} 3' in lines
    assert 'millrace_groups{type="Consumer",state="Stable"} 1' in lines


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_static_member(group: Group, protocol: str) -> None:
    topic = name("t")
    create(group.server, topic, 4)
    group.add("a", [topic], protocol, **{"group.instance.id": "one"})
    group.add("b", [topic], protocol, **{"group.instance.id": "two"})
    group.until(lambda: group.sizes() == [2, 2])
    had, other = set(group.owned["a"]), set(group.owned["b"])
    group.close("a")  # it says that it comes back
    group.add("a", [topic], protocol, **{"group.instance.id": "one"})
    group.until(lambda: group.owned["a"] == had)
    assert group.owned["b"] == other


def test_upgrade_and_downgrade(group: Group) -> None:
    """Classic members and members of the new protocol in one group, one way and back, without two of them having one partition."""
    topic = name("t")
    create(group.server, topic, 6)
    fill(group.server, topic, 6, 5)
    group.add("a", [topic], "classic")
    group.add("b", [topic], "classic")
    group.until(lambda: group.sizes() == [3, 3])
    assert describe(group).type == ConsumerGroupType.CLASSIC
    group.add("c", [topic], "consumer")
    group.until(lambda: group.sizes() == [2, 2, 2])
    assert describe(group).type == ConsumerGroupType.CONSUMER
    group.close("a")
    group.until(lambda: group.sizes() == [3, 3])
    group.add("d", [topic], "consumer")
    group.close("b")
    group.until(lambda: group.sizes() == [3, 3])
    group.add("e", [topic], "classic")
    group.until(lambda: group.sizes() == [2, 2, 2])
    group.close("c")
    group.close("d")
    group.until(lambda: group.sizes() == [6])
    assert describe(group).type == ConsumerGroupType.CLASSIC
    group.until(lambda: len(set(group.read)) == 30)


def test_assignors_by_their_classes(new_server, scratch: Path) -> None:
    """A server.properties that names Kafka's own classes: members ask for them by their short names."""
    path, kafka = scratch / f"{uuid.uuid4().hex}.properties", "org.apache.kafka.coordinator.group.assignor"
    path.write_text(f"{PROPERTIES}group.consumer.assignors={kafka}.RangeAssignor, {kafka}.UniformAssignor\n")
    group = Group(new_server({"broker.properties": str(path)}).start(), name("g"))
    topic = name("t")
    create(group.server, topic, 3)
    group.add("a", [topic], **{"group.remote.assignor": "uniform"})
    group.add("b", [topic], **{"group.remote.assignor": "range"})
    group.until(lambda: group.sizes() in ([1, 2], [2, 1]))
    group.close("a")
    group.close("b")
