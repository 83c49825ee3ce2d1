# SPDX-License-Identifier: Apache-2.0
"""A group that has nothing but offsets of an open transaction, by raw frames: an empty group that lists, is described and can be deleted.

With MILLRACE_TEST_KAFKA=HOST:PORT the same frames go to that broker (Apache Kafka 4.3 answers as is written here; ours must too); what needs a
kill of the server is then left out.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Server
from kafka_frames import Connection
from machine import free_ports, until

OUTSIDE = os.environ.get("MILLRACE_TEST_KAFKA")
NOT_YET = (3, 14, 15, 16, 51)  # the topic is new; the coordinator is loading, not there or elsewhere; the transaction before is not over
NOT_FOUND, UNSTABLE = 69, 88
NOTHING = (-1, 0)


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    yield OUTSIDE or request.getfixturevalue("server").kafka


class Transaction:
    """A transactional producer of one connection, and a group."""

    def __init__(self, address: str) -> None:
        tag = uuid.uuid4().hex[:8]
        self.connection = Connection(address)
        self.topic, self.id, self.group = f"pending-{tag}", f"id-{tag}", f"g-{tag}"
        made = self.ask("CreateTopics", 7, {"topics": [{"name": self.topic, "num_partitions": 2, "replication_factor": 1}], "timeout_ms": 10000})
        assert made["topics"][0]["error_code"] == 0
        for kind, key in enumerate((self.group, self.id)):
            where = {"key_type": kind, "coordinator_keys": [key]}
            until(lambda where=where: self.ask("FindCoordinator", 4, where)["coordinators"][0]["error_code"] == 0)
        said = self.patient("InitProducerId", 4, {"transactional_id": self.id, "transaction_timeout_ms": 60000, "producer_id": -1, "producer_epoch": -1})
        self.producer = {"producer_id": said["producer_id"], "producer_epoch": said["producer_epoch"]}

    def ask(self, api: str, version: int, body: dict[str, Any]) -> dict[str, Any]:
        return self.connection.ask(api, version, body)

    def patient(self, api: str, version: int, body: dict[str, Any], code: Callable[[Any], int] = lambda said: said["error_code"]) -> dict[str, Any]:
        """Asks until the coordinator has time; must then be answered without an error."""
        said = until(lambda: self.ask(api, version, body), api, good=lambda said: code(said) not in NOT_YET)
        assert code(said) == 0, said
        return said

    def write(self, partition: int, offset: int) -> None:
        self.patient("AddOffsetsToTxn", 3, {"transactional_id": self.id, "group_id": self.group} | self.producer)
        part = {"partition_index": partition, "committed_offset": offset, "committed_leader_epoch": -1, "committed_metadata": ""}
        body = {"transactional_id": self.id, "group_id": self.group, "generation_id_or_member_epoch": -1, "member_id": ""} | self.producer
        body["topics"] = [{"name": self.topic, "partitions": [part]}]
        self.patient("TxnOffsetCommit", 3, body, lambda said: said["topics"][0]["partitions"][0]["error_code"])

    def end(self, commit: bool) -> None:
        self.patient("EndTxn", 3, {"transactional_id": self.id, "committed": commit} | self.producer)
        self.patient("AddOffsetsToTxn", 3, {"transactional_id": self.id, "group_id": "nobody"} | self.producer)  # the one before is over
        self.patient("EndTxn", 3, {"transactional_id": self.id, "committed": False} | self.producer)

    def delete(self) -> int:
        return self.ask("DeleteGroups", 2, {"groups_names": [self.group]})["results"][0]["error_code"]

    def delete_offset(self, partition: int) -> tuple[int, list[int]]:
        body = {"group_id": self.group, "topics": [{"name": self.topic, "partitions": [{"partition_index": partition}]}]}
        said = self.ask("OffsetDelete", 0, body)
        return said["error_code"], [p["error_code"] for t in said["topics"] for p in t["partitions"]]

    def offsets(self, stable: bool = True) -> list[tuple[int, int]]:
        """Offset and error code of both partitions."""
        topics = [{"name": self.topic, "partition_indexes": [0, 1]}]
        said = self.ask("OffsetFetch", 8, {"groups": [{"group_id": self.group, "topics": topics}], "require_stable": stable})
        return [(p["committed_offset"], p["error_code"]) for p in said["groups"][0]["topics"][0]["partitions"]]

    def all_offsets(self) -> list[Any]:
        return self.ask("OffsetFetch", 8, {"groups": [{"group_id": self.group, "topics": None}], "require_stable": True})["groups"][0]["topics"]

    def is_there(self) -> bool:
        """As an empty group without a protocol; else nowhere."""
        listed = [g for g in self.ask("ListGroups", 5, {})["groups"] if g["group_id"] == self.group]
        said = self.ask("DescribeGroups", 6, {"groups": [self.group]})["groups"][0]
        if not listed:
            assert (said["error_code"], said["group_state"]) == (NOT_FOUND, "Dead")
            return False
        assert [(g["protocol_type"], g["group_state"], g["group_type"]) for g in listed] == [("", "Empty", "classic")]
        assert (said["error_code"], said["group_state"], said["protocol_type"], said["members"]) == (0, "Empty", "", [])
        return True


@pytest.mark.parametrize("commit", [True, False])
def test_deleted_in_the_transaction(address: str, commit: bool) -> None:
    t = Transaction(address)
    t.write(0, 5)
    assert t.is_there()
    assert t.offsets() == [(-1, UNSTABLE), NOTHING]
    assert t.offsets(stable=False) == [NOTHING, NOTHING]
    assert t.all_offsets() == []
    assert t.delete() == 0
    assert not t.is_there()
    assert t.offsets() == [NOTHING, NOTHING]
    assert t.delete() == NOT_FOUND
    t.end(commit)
    assert not t.is_there()
    assert t.offsets() == [NOTHING, NOTHING]


def test_deleted_after_an_abort(address: str) -> None:
    t = Transaction(address)
    t.write(0, 5)
    t.end(False)
    assert t.is_there()
    assert t.offsets() == [NOTHING, NOTHING]
    assert t.delete() == 0
    assert not t.is_there()


def test_one_offset_deleted(address: str) -> None:
    t = Transaction(address)
    assert t.delete_offset(0) == (NOT_FOUND, [])
    t.write(0, 5)
    t.write(1, 6)
    assert t.delete_offset(0) == (0, [0])
    assert t.offsets() == [NOTHING, (-1, UNSTABLE)]
    t.end(True)
    assert t.offsets() == [NOTHING, (6, 0)]
    assert t.delete() == 0


def test_written_behind_the_deletion(address: str) -> None:
    t = Transaction(address)
    t.write(0, 5)
    assert t.delete() == 0
    t.write(1, 6)
    assert t.is_there()
    t.end(True)
    assert t.offsets() == [NOTHING, (6, 0)]


@pytest.mark.skipif(OUTSIDE is not None, reason="kills the server")
def test_killed_in_the_transaction(new_server: Callable[..., Server]) -> None:
    doors = ("kafka", "registry", "pg", "http")
    server = new_server({f"{door}.listen": f"127.0.0.1:{port}" for door, port in zip(doors, free_ports(4), strict=True)}).start()
    t = Transaction(server.kafka)
    for deleted_before in (True, False):
        t.write(0, 5)
        if deleted_before:
            assert t.delete() == 0
        server.kill()
        server.start()
        t.connection = Connection(server.kafka)
        assert t.is_there() is not deleted_before
        if not deleted_before:
            assert t.delete() == 0
        t.end(True)
        assert not t.is_there()
        assert t.offsets() == [NOTHING, NOTHING]
