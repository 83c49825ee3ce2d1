# SPDX-License-Identifier: Apache-2.0
"""Epochs of consumer, streams and share groups by raw frames: what no client library shows. The answers are those of Apache Kafka 4.4.0, but for
the number of a group's first epoch (2 there, 1 here): with intervals set, assignments wait; commits of older epochs count for what the member has
had since then; static members of streams groups come back to their tasks; partitions that come to a share group are read from their beginning."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from conftest import Server
from kafka_frames import Connection

STALE_MEMBER_EPOCH, FENCED_MEMBER_EPOCH, UNRELEASED, FENCED_INSTANCE, UNKNOWN_MEMBER_ID, INVALID_REQUEST = 113, 110, 111, 82, 25, 42
GROUP = 32


def name(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


class Asker:
    def __init__(self, server: Server) -> None:
        self.connection = Connection(server.kafka)

    def ask(self, api: str, version: int, body: dict[str, Any]) -> dict[str, Any]:
        return self.connection.ask(api, version, body)

    def topic(self, partitions: int) -> tuple[str, Any]:
        topic = name("t")
        made = self.ask("CreateTopics", 7, {"topics": [{"name": topic, "num_partitions": partitions, "replication_factor": 1}], "timeout_ms": 30000})
        assert made["topics"][0]["error_code"] == 0, made
        return topic, made["topics"][0]["topic_id"]

    def set(self, group: str, config: str, value: str) -> None:
        change = {"resource_type": GROUP, "resource_name": group, "configs": [{"name": config, "value": value}]}
        assert self.ask("IncrementalAlterConfigs", 1, {"resources": [change]})["responses"][0]["error_code"] == 0


@pytest.fixture
def asker(server: Server) -> Asker:
    return Asker(server)


class Consumers(Asker):
    """A consumer group whose members are played here."""

    def __init__(self, server: Server, partitions: int) -> None:
        super().__init__(server)
        self.id = name("g")
        self.topic_name, self.topic_id = self.topic(partitions)
        self.has: dict[str, list[int]] = {}
        self.epochs: dict[str, int] = {}

    def beat(self, member: str, owned: list[int] | None = None, **more: Any) -> int:
        """Its epoch. What it was told it has from then on is in `has`."""
        epoch = self.epochs.get(member, 0)
        body: dict[str, Any] = {"group_id": self.id, "member_id": member, "member_epoch": epoch, "rebalance_timeout_ms": -1, "subscribed_topic_names": None, "topic_partitions": None}
        if epoch == 0:
            body |= {"rebalance_timeout_ms": 10000, "subscribed_topic_names": [self.topic_name], "topic_partitions": []}
        elif owned is not None:
            body["topic_partitions"] = [{"topic_id": self.topic_id, "partitions": owned}] if owned else []
        said = self.ask("ConsumerGroupHeartbeat", 1, body | more)
        assert said["error_code"] == 0, said
        if said["assignment"] is not None:
            self.has[member] = [p for t in said["assignment"]["topic_partitions"] for p in t["partitions"]]
        self.epochs[member] = said["member_epoch"]
        return self.epochs[member]

    def settle(self, *members: str) -> None:
        for _ in range(3):
            for member in members:
                self.beat(member, self.has[member])

    def commit(self, member: str, epoch: int, *partitions: int) -> set[int]:
        offsets = [{"partition_index": p, "committed_offset": 1, "committed_leader_epoch": -1, "committed_metadata": ""} for p in partitions]
        body = {"group_id": self.id, "generation_id_or_member_epoch": epoch, "member_id": member, "topics": [{"name": self.topic_name, "partitions": offsets}]}
        return {p["error_code"] for p in self.ask("OffsetCommit", 9, body)["topics"][0]["partitions"]}

    def epochs_of_group(self) -> tuple[str, int, int]:
        (said,) = self.ask("ConsumerGroupDescribe", 1, {"group_ids": [self.id]})["groups"]
        return said["group_state"], said["group_epoch"], said["assignment_epoch"]


def test_an_interval_gathers_changes(server: Server) -> None:
    group = Consumers(server, 4)
    group.set(group.id, "consumer.assignment.interval.ms", "15000")
    first = group.beat("x" * 22)
    assert group.has["x" * 22] == [0, 1, 2, 3]
    assert group.beat("y" * 22) == first and group.has["y" * 22] == []
    group.beat("x" * 22, group.has["x" * 22])
    assert group.has["x" * 22] == [0, 1, 2, 3]
    assert group.epochs_of_group() == ("Assigning", first + 1, first)
    group.beat("x" * 22, group.has["x" * 22], subscribed_topic_names=[name("none")])
    assert group.has["x" * 22] == [], "what it does not subscribe any more it gives up at once"
    group.beat("x" * 22, [], subscribed_topic_names=[group.topic_name])
    group.set(group.id, "consumer.assignment.interval.ms", "0")
    assert group.beat("x" * 22, []) == first + 3
    group.settle("x" * 22, "y" * 22)
    assert sorted(group.has["x" * 22] + group.has["y" * 22]) == [0, 1, 2, 3]
    assert group.epochs_of_group() == ("Stable", first + 3, first + 3)


def test_commits_of_older_epochs(server: Server) -> None:
    group, x, y = Consumers(server, 4), "x" * 22, "y" * 22
    first = group.beat(x)
    group.beat(y)
    group.beat(x, group.has[x])
    given = [p for p in range(4) if p not in group.has[x]]
    kept = group.has[x]
    assert group.commit(x, first, *kept) == {0} and group.commit(x, first, *given) == {0}, "it may still finish what it gives up"
    group.settle(x, y)
    assert group.epochs[x] == group.epochs[y] == first + 1 and group.has[y] == given
    assert group.commit(x, first, *kept) == {0}, "it has had them since then"
    assert group.commit(x, first, *given) == {STALE_MEMBER_EPOCH}
    assert group.commit(x, first, kept[0], given[0]) == {STALE_MEMBER_EPOCH}, "one stale offset refuses all"
    assert group.commit(x, first - 1, *kept) == {STALE_MEMBER_EPOCH}
    assert group.commit(x, first + 9, *kept) == {STALE_MEMBER_EPOCH}
    assert group.commit(y, first, *given) == {STALE_MEMBER_EPOCH}
    assert group.commit(y, first + 1, *given) == {0}
    assert group.commit("n" * 22, first + 1, *kept) == {UNKNOWN_MEMBER_ID}


class Streams(Asker):
    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.id = name("s")
        topic, _ = self.topic(4)
        self.topology = {"epoch": 0, "subtopologies": [{"subtopology_id": "0", "source_topics": [topic]}]}
        self.set(self.id, "streams.initial.rebalance.delay.ms", "0")

    def beat(self, member: str, epoch: int, instance: str | None = None, **more: Any) -> tuple[int, str | None, int, Any]:
        body: dict[str, Any] = {"group_id": self.id, "member_id": member, "member_epoch": epoch, "instance_id": instance, "rebalance_timeout_ms": -1,
                                "topology": None, "active_tasks": None, "standby_tasks": None, "warmup_tasks": None, "process_id": None}
        if epoch == 0:
            body |= {"rebalance_timeout_ms": 10000, "topology": self.topology, "active_tasks": [], "standby_tasks": [], "warmup_tasks": [], "process_id": "p"}
        said = self.ask("StreamsGroupHeartbeat", 1, body | more)
        return said["error_code"], said["error_message"], said["member_epoch"], said["active_tasks"]


def test_static_members_of_streams_groups(server: Server) -> None:
    group = Streams(server)
    tasks = [{"subtopology_id": "0", "partitions": [0, 1, 2, 3]}]
    error, _, epoch, had = group.beat("a", 0, "i")
    assert (error, had) == (0, tasks)
    owned = "Static member b with instance id i cannot join the group because the instance id is owned by a member."
    assert group.beat("b", 0, "i")[:2] == (UNRELEASED, owned)
    assert group.beat("b", epoch, "i")[:2] == (FENCED_INSTANCE, "Static member b with instance id i was fenced by member a.")
    assert group.beat("a", epoch, "j")[:2] == (UNKNOWN_MEMBER_ID, "Instance id j is unknown.")
    assert group.beat("a", -2)[:2] == (INVALID_REQUEST, "InstanceId can't be null.")
    assert group.beat("a", -3, "i")[:2] == (INVALID_REQUEST, "MemberEpoch is -3, but must be greater than or equal to -2.")
    assert group.beat("a", epoch, "i", active_tasks=[])[:2] == (INVALID_REQUEST, "If one task-type is non-null, all must be non-null.")
    assert group.beat("a", epoch, "i", topology=group.topology)[:2] == (INVALID_REQUEST, "Topology can only be provided when (re-)joining.")
    assert group.beat("a", -2, "i")[::2] == (0, -2)
    fenced = f"The streams group member has a greater member epoch ({epoch}) than the one known by the group coordinator (-2). The member must abandon all its partitions and rejoin."
    assert group.beat("a", epoch, "i")[:2] == (FENCED_MEMBER_EPOCH, fenced)
    assert group.beat("b", 0, "i") == (0, None, epoch, tasks), "its tasks, and the group in the same epoch"
    (said,) = group.ask("StreamsGroupDescribe", 1, {"group_ids": [group.id]})["groups"]
    (member,) = said["members"]
    assert (said["group_epoch"], said["assignment_epoch"], member["member_id"], member["instance_id"]) == (epoch, epoch, "b", "i")
    assert group.beat("b", -1, "i")[::2] == (0, -1)


def test_members_of_streams_groups_that_join_again(server: Server) -> None:
    group = Streams(server)
    tasks = [{"subtopology_id": "0", "partitions": [0, 1, 2, 3]}]

    def described() -> tuple[int, Any]:
        (said,) = group.ask("StreamsGroupDescribe", 1, {"group_ids": [group.id]})["groups"]
        assert said["group_epoch"] == said["assignment_epoch"]
        return said["group_epoch"], said["members"][0]

    error, _, epoch, had = group.beat("a", 0)
    assert (error, had) == (0, tasks)
    assert group.beat("a", 0) == (0, None, epoch, tasks), "as it was: nothing moves"
    at, ends = [{"subtopology_id": "0", "partition": 1, "offset": 7}], [{"subtopology_id": "0", "partition": 1, "offset": 9}]
    assert group.beat("a", epoch, task_offsets=at)[::2] == (0, epoch)
    assert group.beat("a", epoch, task_end_offsets=ends)[::2] == (0, epoch)
    assert group.beat("a", epoch, task_offsets=at * 2)[:2] == (INVALID_REQUEST, "Task offsets contain a duplicate entry for subtopology 0 and partition 1.")
    assert group.beat("a", 0) == (0, None, epoch, tasks)
    now, member = described()
    assert (now, member["task_offsets"], member["task_end_offsets"]) == (epoch, at, ends)
    group.set(group.id, "streams.rack.aware.assignment.tags", "zone")
    assert group.beat("a", epoch)[::2] == (0, epoch + 1), "it belongs to what an assignment is made with"
    assert group.beat("a", 0, process_id="q") == (0, None, epoch + 2, tasks), "another process"
    assert group.beat("a", 0, process_id="q", user_endpoint={"host": "h", "port": 1})[::2] == (0, epoch + 3)
    assert described()[1]["user_endpoint"] == {"host": "h", "port": 1}
    assert group.beat("a", 0, process_id="q")[::2] == (0, epoch + 4), "it is not reached there any more"
    assert described()[1]["user_endpoint"] is None
    assert group.beat("a", -1)[::2] == (0, -1)


def test_partitions_that_come_to_a_share_group(asker: Asker) -> None:
    group, (topic, _) = name("s"), asker.topic(1)
    body: dict[str, Any] = {"group_id": group, "member_id": "m" * 22, "subscribed_topic_names": [topic]}
    epoch = 0

    def assigned() -> int:
        nonlocal epoch
        said = asker.ask("ShareGroupHeartbeat", 1, body | {"member_epoch": epoch})
        assert said["error_code"] == 0, said
        epoch = said["member_epoch"]
        return sum(len(t["partitions"]) for t in said["assignment"]["topic_partitions"])

    assert assigned() == 1
    asker.ask("CreatePartitions", 3, {"topics": [{"name": topic, "count": 3, "assignments": None}], "timeout_ms": 30000})
    deadline = time.monotonic() + 60
    while assigned() != 3:
        assert time.monotonic() < deadline
    want = {"groups": [{"group_id": group, "topics": [{"topic_name": topic, "partitions": [0, 1, 2]}]}]}
    said = asker.ask("DescribeShareGroupOffsets", 1, want)["groups"][0]["topics"][0]["partitions"]
    assert sorted((p["partition_index"], p["start_offset"]) for p in said) == [(0, -1), (1, 0), (2, 0)], "the first one as share.auto.offset.reset says, at its first fetch"
