# SPDX-License-Identifier: Apache-2.0
"""Topology descriptions of streams groups (KIP-1331) by raw frames: no client library in these tests sends them yet."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Server
from kafka_frames import Connection

UPDATE, HEARTBEAT, DESCRIBE = "StreamsGroupTopologyDescriptionUpdate", "StreamsGroupHeartbeat", "StreamsGroupDescribe"
UNSUPPORTED_VERSION, INVALID_REQUEST, UNKNOWN_MEMBER_ID, GROUP_ID_NOT_FOUND, UPDATE_FAILED = 35, 42, 25, 69, 135
NOT_REQUESTED, NOT_STORED, AVAILABLE = 0, 1, 3
SOURCE, PROCESSOR, SINK = 1, 2, 3
PLUGIN = "group.streams.topology.description.plugin.class=org.apache.kafka.server.streams.InMemoryTopologyDescriptionPlugin"
EPOCH = 4


def node(name: str, kind: int, *successors: str, **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"source_topics": [], "sink_topic": None, "stores": []}
    return {"name": name, "node_type": kind, "successors": list(successors)} | empty | more


NODES = [node("in", SOURCE, "count", source_topics=["words", "more words"]), node("count", PROCESSOR, "out", stores=["counts"]), node("out", SINK, sink_topic="counted")]
GLOBAL = {"source": node("table", SOURCE, "load", source_topics=["table"]), "processor": node("load", PROCESSOR, stores=["all"])}
DESCRIPTION = {"subtopologies": [{"subtopology_id": "0", "nodes": NODES}], "global_stores": [GLOBAL]}


class Group:
    """A streams group with one member."""

    def __init__(self, server: Server) -> None:
        self.server, self.id, self.epoch = server, f"g-{uuid.uuid4().hex[:8]}", 0

    def ask(self, api: str, version: int, body: dict[str, Any]) -> dict[str, Any]:
        with Connection(self.server.kafka) as connection:
            return connection.ask(api, version, body)

    def beat(self, version: int = 1) -> bool:
        topology = {"epoch": EPOCH, "subtopologies": [{"subtopology_id": "0", "source_topics": ["words"]}]}
        none: dict[str, Any] = {"active_tasks": [], "standby_tasks": [], "warmup_tasks": [], "topology": topology, "rebalance_timeout_ms": 10000}
        body = {"group_id": self.id, "member_id": "m", "member_epoch": self.epoch, "process_id": "p"} | (none if self.epoch == 0 else {"rebalance_timeout_ms": -1})
        said = self.ask(HEARTBEAT, version, body)
        assert said["error_code"] == 0, said
        self.epoch = said["member_epoch"]
        return bool(said.get("topology_description_required", False))

    def push(self, description: dict[str, Any] = DESCRIPTION, **other: Any) -> tuple[int, str | None]:
        said = self.ask(UPDATE, 0, {"group_id": self.id, "member_id": "m", "topology_epoch": EPOCH, "topology_description": description} | other)
        return said["error_code"], said["error_message"]

    def described(self, wanted: bool = True) -> tuple[int, Any]:
        (said,) = self.ask(DESCRIBE, 1, {"group_ids": [self.id], "include_topology_description": wanted})["groups"]
        return said["topology_description_status"], said["topology_description"]


@pytest.fixture(scope="module")
def keeper(scratch: Path) -> Iterator[Server]:
    properties = scratch / "kafka.properties"
    properties.write_text(PLUGIN + "\n")
    s = Server(scratch / "keeper", {"broker.properties": str(properties)}).start()
    yield s
    s.stop()


def test_without_the_config_nobody_is_asked(server: Server) -> None:
    group = Group(server)
    assert not group.beat()
    assert group.push() == (UNSUPPORTED_VERSION, "The broker has no streams group topology description plugin configured.")
    assert group.described() == (NOT_STORED, None)


def test_a_description_is_kept(keeper: Server) -> None:
    group = Group(keeper)
    assert not group.beat(version=0), "this version has no field for it"
    assert group.beat() and not group.beat(), "asked once, then left alone for a while"
    assert group.described() == (NOT_STORED, None)
    assert group.push() == (0, None)
    assert group.described() == (AVAILABLE, DESCRIPTION)
    assert group.described(wanted=False) == (NOT_REQUESTED, None)
    with urllib.request.urlopen(f"{keeper.http}/metrics", timeout=30) as metrics:
        assert 'millrace_streams_topology_descriptions_total{event="set"} 1\n' in metrics.read().decode()
    keeper.kill()
    keeper.start()
    assert group.described() == (AVAILABLE, DESCRIPTION), "durable before it was acknowledged"
    brokers = ("--brokers", keeper.kafka)
    rows = json.loads(keeper.cli("group", "describe", group.id, "--topology", "--output", "json", *brokers).stdout)
    assert [(r["subtopology"], r["node"], r["type"], r["topics"], r["stores"], r["successors"]) for r in rows] == [
        ("0", "in", "source", "words, more words", None, "count"),
        ("0", "count", "processor", None, "counts", "out"),
        ("0", "out", "sink", "counted", None, None),
        ("global", "table", "source", "table", None, "load"),
        ("global", "load", "processor", None, "all", None),
    ]
    assert group.ask("DeleteGroups", 3, {"groups_names": [group.id]})["results"][0]["error_code"] == 68, "there is a member"
    group.epoch = -1
    group.beat()
    assert group.ask("DeleteGroups", 3, {"groups_names": [group.id]})["results"][0]["error_code"] == 0
    none = keeper.cli("group", "describe", group.id, "--topology", *brokers, check=False)
    assert none.returncode != 0 and group.id in none.stderr


def test_what_is_refused(keeper: Server) -> None:
    group = Group(keeper)
    assert group.push()[0] == GROUP_ID_NOT_FOUND
    group.beat()
    assert group.push(member_id="z") == (UNKNOWN_MEMBER_ID, f"Member z is not a member of group {group.id}.")
    assert group.push(member_id="") == (INVALID_REQUEST, "MemberId can't be empty.")
    assert group.push(topology_epoch=1) == (INVALID_REQUEST, "Topology epoch 1 does not match the group's current topology epoch 4.")
    unknown = {"subtopologies": [{"subtopology_id": "0", "nodes": [node("x", 9)]}], "global_stores": []}
    assert group.push(unknown) == (INVALID_REQUEST, "Unknown topology node type: 9")
    swapped = {"subtopologies": [], "global_stores": [{"source": GLOBAL["processor"], "processor": GLOBAL["source"]}]}
    assert group.push(swapped) == (INVALID_REQUEST, "Global store must be composed of a source and a processor node.")
    large = {"subtopologies": [{"subtopology_id": "0", "nodes": [node("x", SOURCE, source_topics=[f"{i:0200}" for i in range(6000)])]}], "global_stores": []}
    code, message = group.push(large)
    assert code == UPDATE_FAILED and message is not None and "more than 1000000" in message
    assert group.described() == (NOT_STORED, None)
    surplus = {"subtopologies": [{"subtopology_id": "0", "nodes": [node("x", SOURCE, source_topics=["b", "a", "b"], sink_topic="b", stores=["c"])]}], "global_stores": []}
    assert group.push(surplus) == (0, None)
    kept = group.described()[1]["subtopologies"][0]["nodes"][0]
    assert (kept["source_topics"], kept["sink_topic"], kept["stores"]) == (["b", "a"], None, []), "what a source has, once"


def test_the_same_group_many_times(keeper: Server) -> None:
    """The answer would have gigabytes: the connection is closed before they are gathered, and others are served."""
    group = Group(keeper)
    group.beat()
    many = {"subtopologies": [{"subtopology_id": "0", "nodes": [node("x", PROCESSOR)] * 60000}], "global_stores": []}
    assert group.push(many) == (0, None)
    with pytest.raises(ConnectionError):
        group.ask(DESCRIBE, 1, {"group_ids": [group.id] * 1000, "include_topology_description": True})
    assert group.described(wanted=False) == (NOT_REQUESTED, None)
    status = Path(f"/proc/{keeper.process.pid}/status").read_text() if keeper.process is not None else ""
    assert int(status.partition("VmHWM:")[2].split()[0]) < 1 << 20, "KiB at most"
