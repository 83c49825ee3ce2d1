# SPDX-License-Identifier: Apache-2.0
"""Requests that no client library sends, as raw frames, and Apache Kafka's error for each: one table, each row one request.

What stands here was compared with Apache Kafka 4.3.1, which answers each row with the same code.
"""

from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Server
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka_frames import Connection

NONE, CORRUPT, TOPIC_UNKNOWN, BAD_TOPIC, INCONSISTENT, BAD_GROUP, NO_MEMBER, EXISTS, BAD_CONFIG = 0, 2, 3, 17, 23, 24, 25, 36, 40
INVALID_REQUEST, POLICY, NO_GROUP, BAD_CODEC, BAD_RECORD = 42, 44, 69, 76, 87
ATTRIBUTES, ZSTD = 22, 4


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 if crc & 1 else crc >> 1
    return crc ^ 0xFFFFFFFF


def batch(attributes: int = 0, base_offset: int = 0, magic: int = 2) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    builder.append(0, timestamp=int(time.time() * 1000), key=b"k", value=b"v", headers=[])
    out = bytearray(builder.build())
    out[:8] = struct.pack(">q", base_offset)
    out[16] = magic
    out[ATTRIBUTES] |= attributes
    out[17:21] = struct.pack(">I", crc32c(bytes(out[21:])))
    return bytes(out)


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    with Connection(server.kafka) as c:
        yield c


def create(connection: Connection, *topics: dict[str, Any]) -> list[dict[str, Any]]:
    full = [{"num_partitions": 1, "replication_factor": 1} | t for t in topics]
    answered: list[dict[str, Any]] = connection.ask("CreateTopics", 7, {"topics": full, "timeout_ms": 30000})["topics"]
    return answered


@pytest.fixture
def topic(connection: Connection) -> str:
    name = f"bad-{uuid.uuid4().hex[:8]}"
    assert create(connection, {"name": name})[0]["error_code"] == NONE
    return name


@pytest.mark.parametrize(
    ("what", "version", "records", "error"),
    [
        ("one batch", 9, batch(), NONE),
        ("two batches", 9, batch() + batch(), BAD_RECORD),
        ("half a batch", 9, batch()[:-3], BAD_RECORD),
        ("half a header", 9, batch()[:20], BAD_RECORD),
        ("nothing", 9, b"", BAD_RECORD),
        ("format 1", 9, batch(magic=1), BAD_RECORD),
        ("format 3", 9, batch(magic=3), CORRUPT),
        ("offset 44", 9, batch(base_offset=44), BAD_RECORD),
        ("zstd in version 6", 6, batch(ZSTD), BAD_CODEC),
    ],
)
def test_produce(connection: Connection, topic: str, what: str, version: int, records: bytes, error: int) -> None:
    body = {"acks": -1, "timeout_ms": 30000, "topic_data": [{"name": topic, "partition_data": [{"index": 0, "records": records}]}]}
    part = connection.ask("Produce", version, body)["responses"][0]["partition_responses"][0]
    assert (part["error_code"], part["base_offset"]) == (error, 0 if error == NONE else -1), what
    asked = {"replica_id": -1, "topics": [{"name": topic, "partitions": [{"partition_index": 0, "current_leader_epoch": -1, "timestamp": -1}]}]}
    end = connection.ask("ListOffsets", 7, asked)["topics"][0]["partitions"][0]["offset"]
    assert end == (1 if error == NONE else 0), "what was refused is not in the log"


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("delete.retention.ms", " 5 ", NONE),
        ("compression.gzip.level", "0", BAD_CONFIG),
        ("compression.gzip.level", "-1", NONE),
        ("compression.gzip.level", "9", NONE),
        ("follower.replication.throttled.replicas", "abc", BAD_CONFIG),
        ("leader.replication.throttled.replicas", "0:1,none", BAD_CONFIG),
        ("leader.replication.throttled.replicas", "0:1,1:1", NONE),
        ("follower.replication.throttled.replicas", "*", NONE),
        ("retention.ms", None, BAD_CONFIG),
        ("nope", "1", BAD_CONFIG),
    ],
)
def test_topic_configs(connection: Connection, name: str, value: str | None, error: int) -> None:
    topic = f"bad-{uuid.uuid4().hex[:8]}"
    told = create(connection, {"name": topic, "configs": [{"name": name, "value": value}]})[0]
    assert told["error_code"] == error and (told["error_message"] is None) == (error == NONE), told
    if error != NONE:
        assert told["configs"] == [], "an empty list, not null"
        return
    wanted = {"resources": [{"resource_type": 2, "resource_name": topic, "configuration_keys": [name]}]}
    shown = connection.ask("DescribeConfigs", 4, wanted)["results"][0]["configs"]
    assert [c["value"] for c in shown] == [None if value is None else value.strip()]


def test_the_same_name_twice_is_answered_once(connection: Connection, topic: str) -> None:
    twice = create(connection, {"name": "bad-twice"}, {"name": "bad-twice"}, {"name": topic})
    assert sorted((t["name"], t["error_code"]) for t in twice) == sorted([("bad-twice", INVALID_REQUEST), (topic, EXISTS)])
    grown = connection.ask("CreatePartitions", 3, {"topics": [{"name": topic, "count": 2}, {"name": topic, "count": 3}], "timeout_ms": 30000})
    assert [(r["name"], r["error_code"]) for r in grown["results"]] == [(topic, INVALID_REQUEST)]
    gone = connection.ask("DeleteTopics", 6, {"topics": [{"name": topic}, {"name": topic}, {"name": "none"}], "timeout_ms": 30000})
    assert {r["name"]: r["error_code"] for r in gone["responses"]} == {topic: INVALID_REQUEST, "none": TOPIC_UNKNOWN}
    part = {"partition_index": 0, "current_leader_epoch": -1, "timestamp": -1}
    asked = {"replica_id": -1, "topics": [{"name": topic, "partitions": [part, part, part | {"partition_index": 7}]}]}
    parts = connection.ask("ListOffsets", 7, asked)["topics"][0]["partitions"]
    assert [(p["partition_index"], p["error_code"], p["offset"]) for p in parts] == [(0, INVALID_REQUEST, -1), (7, TOPIC_UNKNOWN, -1)]


def test_topics_that_cannot_be(connection: Connection) -> None:
    assert create(connection, {"name": "bad-huge", "num_partitions": 20000})[0]["error_code"] == POLICY
    for name, error in (("a b", BAD_TOPIC), ("", BAD_TOPIC), ("none", TOPIC_UNKNOWN)):
        asked = {"resources": [{"resource_type": 2, "resource_name": name, "configuration_keys": None}]}
        assert connection.ask("DescribeConfigs", 4, asked)["results"][0]["error_code"] == error


def test_groups_without_a_name(connection: Connection) -> None:
    member = {"group_id": "", "generation_id": 1, "member_id": "m"}
    assert connection.ask("Heartbeat", 4, member)["error_code"] == BAD_GROUP
    assert connection.ask("SyncGroup", 5, member | {"protocol_type": "consumer", "protocol_name": "range"})["error_code"] == BAD_GROUP
    assert connection.ask("SyncGroup", 5, member | {"group_id": "g"})["error_code"] == INCONSISTENT, "without protocol type and name"
    left = connection.ask("LeaveGroup", 5, {"group_id": "", "members": [{"member_id": "m"}]})
    assert (left["error_code"], left["members"]) == (BAD_GROUP, [])
    for api in ("ConsumerGroupDescribe", "ShareGroupDescribe", "StreamsGroupDescribe"):
        groups = connection.ask(api, 1, {"group_ids": ["", "none"]})["groups"]
        assert [g["error_code"] for g in groups] == [BAD_GROUP, NO_GROUP], api
    joining = {"group_id": "bad-8", "member_id": " ", "member_epoch": 0, "rebalance_timeout_ms": 5000, "subscribed_topic_names": ["t"], "topic_partitions": []}
    assert connection.ask("ConsumerGroupHeartbeat", 1, joining)["error_code"] == INVALID_REQUEST, "an id of white space"


def test_the_group_without_a_name_has_offsets(connection: Connection, topic: str) -> None:
    """Clients without a group.id commit to it: for offsets alone it is a group like others."""
    part = {"partition_index": 0, "committed_offset": 5, "committed_leader_epoch": 0, "committed_metadata": "m"}
    commit = {"group_id": "", "generation_id_or_member_epoch": -1, "member_id": "", "topics": [{"name": topic, "partitions": [part]}]}
    assert connection.ask("OffsetCommit", 8, commit)["topics"][0]["partitions"][0]["error_code"] == NONE
    fetch = {"groups": [{"group_id": "", "topics": [{"name": topic, "partition_indexes": [0]}]}]}
    assert connection.ask("OffsetFetch", 8, fetch)["groups"][0]["topics"][0]["partitions"][0]["committed_offset"] == 5
    assert connection.ask("DeleteGroups", 2, {"groups_names": [""]})["results"][0]["error_code"] == NONE
    assert connection.ask("DeleteGroups", 2, {"groups_names": [""]})["results"][0]["error_code"] == NO_GROUP


def test_groups_that_are_not_there(connection: Connection) -> None:
    fetch = {"groups": [{"group_id": "none", "member_id": "m", "member_epoch": 4, "topics": [{"name": "t", "partition_indexes": [0]}]}]}
    told = connection.ask("OffsetFetch", 9, fetch)["groups"][0]
    assert (told["error_code"], told["topics"][0]["partitions"][0]["committed_offset"]) == (NONE, -1)
    shown = connection.ask("DescribeGroups", 6, {"groups": ["none"], "include_authorized_operations": 1})["groups"][0]
    assert (shown["error_code"], shown["authorized_operations"]) == (NO_GROUP, -(1 << 31)), "nothing is told of what is not there"
    key = "g:AAAAAAAAAAAAAAAAAAAAAA:0"
    for version, error in ((5, INVALID_REQUEST), (6, NONE)):
        found = connection.ask("FindCoordinator", version, {"key_type": 2, "coordinator_keys": [key]})["coordinators"]
        assert found[0]["error_code"] == error


def test_types_of_groups_are_in_small_letters(connection: Connection, topic: str) -> None:
    part = {"partition_index": 0, "committed_offset": 1, "committed_leader_epoch": -1, "committed_metadata": ""}
    commit = {"group_id": "bad-type", "generation_id_or_member_epoch": -1, "member_id": "", "topics": [{"name": topic, "partitions": [part]}]}
    connection.ask("OffsetCommit", 8, commit)
    groups = connection.ask("ListGroups", 5, {"types_filter": ["CLASSIC"]})["groups"]
    assert {g["group_id"]: g["group_type"] for g in groups}["bad-type"] == "classic"


def alter(connection: Connection, kind: int, name: str, *configs: tuple[str, str | None, int], api: str = "IncrementalAlterConfigs") -> tuple[int, str | None]:
    changes = [{"name": n, "value": v, "config_operation": op} for n, v, op in configs]
    body = {"resources": [{"resource_type": kind, "resource_name": name, "configs": changes}]}
    told = connection.ask(api, 1, body)["responses"][0]
    return told["error_code"], told["error_message"]


def test_changes_of_configs(connection: Connection, topic: str) -> None:
    set_, delete, topics, broker, group = 0, 1, 2, 4, 32
    assert alter(connection, topics, topic, ("retention.ms", "5000", set_)) == (NONE, None)
    assert alter(connection, topics, topic, ("nope", None, delete)) == (NONE, None), "taking away what is not there"
    assert alter(connection, topics, topic, ("nope", "1", set_))[0] == BAD_CONFIG
    assert alter(connection, topics, "", ("retention.ms", "1", set_))[0] == INVALID_REQUEST
    assert alter(connection, topics, "a b", ("retention.ms", "1", set_))[0] == BAD_TOPIC
    twice = (("retention.ms", "1", set_), ("retention.ms", "2", set_))
    for api in ("AlterConfigs", "IncrementalAlterConfigs"):
        assert alter(connection, topics, topic, *twice, api=api) == (INVALID_REQUEST, "Error due to duplicate config keys")
    overrides = "max.connections.per.ip.overrides"
    for bad in ("zz:q", "127.0.0.1", ":5", "127.0.0.1:-1"):
        assert alter(connection, broker, "1", (overrides, bad, set_))[0] == INVALID_REQUEST, bad
    assert alter(connection, broker, "1", (overrides, "127.0.0.9:5, ::1:7", set_))[0] == NONE
    assert alter(connection, broker, "1", (overrides, None, delete))[0] == NONE
    for value, error in (("by_duration:PT1H", NONE), ("by_duration:P1DT2S", NONE), ("by_duration:Pfoo", BAD_CONFIG), ("by_duration:PT", BAD_CONFIG)):
        assert alter(connection, group, "g", ("share.auto.offset.reset", value, set_))[0] == error, value


def test_commits_tell_of_topics_that_are_not_there(connection: Connection, topic: str) -> None:
    part = {"partition_index": 0, "committed_offset": 5, "committed_leader_epoch": 0, "committed_metadata": ""}
    topics = [{"name": topic, "partitions": [part]}, {"name": "none", "partitions": [part]}]
    said = connection.ask("OffsetCommit", 8, {"group_id": "bad-new", "generation_id_or_member_epoch": 5, "member_id": "m", "topics": topics})
    assert {t["name"]: t["partitions"][0]["error_code"] for t in said["topics"]} == {topic: 22, "none": TOPIC_UNKNOWN}


def test_ids_count_more_than_names(connection: Connection, topic: str) -> None:
    said = connection.ask("Metadata", 12, {"topics": [{"name": topic, "topic_id": b"1" * 16}]})["topics"][0]
    assert (said["error_code"], said["name"]) == (100, None)


def test_elections_and_cursors(connection: Connection, topic: str) -> None:
    said = connection.ask("ElectLeaders", 2, {"election_type": 5, "topic_partitions": [{"topic": topic, "partitions": [0]}], "timeout_ms": 1000})
    assert said["replica_election_results"][0]["partition_result"][0]["error_code"] == INVALID_REQUEST
    asked = {"topics": [{"name": topic}], "response_partition_limit": 10, "cursor": {"topic_name": topic, "partition_index": -2}}
    said = connection.ask("DescribeTopicPartitions", 0, asked)
    assert [(t["error_code"], t["partitions"]) for t in said["topics"]] == [(INVALID_REQUEST, [])]


@pytest.mark.parametrize(("name", "version", "error"), [("a b", "1", INVALID_REQUEST), ("", "1", INVALID_REQUEST), ("a-b.c", "1.0-x", NONE), ("a", "1-", INVALID_REQUEST)])
def test_names_of_software(connection: Connection, name: str, version: str, error: int) -> None:
    said = connection.ask("ApiVersions", 4, {"client_software_name": name, "client_software_version": version})
    assert (said["error_code"], len(said["api_keys"]) > 0) == (error, error == NONE)


def test_internal_topics_join_no_transaction(connection: Connection) -> None:
    asked = {"transactional_id": "bad-txn", "transaction_timeout_ms": 60000, "producer_id": -1, "producer_epoch": -1}
    producer = connection.ask("InitProducerId", 5, asked)
    body = {f"v3_and_below_{n}": v for n, v in {"transactional_id": "bad-txn", "producer_id": producer["producer_id"], "producer_epoch": 0}.items()}
    said = connection.ask("AddPartitionsToTxn", 3, body | {"v3_and_below_topics": [{"name": "__consumer_offsets", "partitions": [0]}]})
    assert said["results_by_topic_v3_and_below"][0]["results_by_partition"][0]["partition_error_code"] == 29


def test_quotas(connection: Connection) -> None:
    def entry(name: str, key: str, value: float, remove: bool = False) -> dict[str, Any]:
        return {"entity": [{"entity_type": "user", "entity_name": name}], "ops": [{"key": key, "value": value, "remove": remove}]}

    twice = connection.ask("AlterClientQuotas", 1, {"entries": [entry("u", "producer_byte_rate", 5.0), entry("u", "consumer_byte_rate", 6.0)]})["entries"]
    assert [(e["entity"][0]["entity_name"], e["error_code"]) for e in twice] == [("u", INVALID_REQUEST)]
    others = [entry("v", "producer_byte_rate", 5.0), entry("w", "nope", 0.0, True), entry("x", "nope", 1.0)]
    assert [e["error_code"] for e in connection.ask("AlterClientQuotas", 1, {"entries": others})["entries"]] == [NONE, NONE, INVALID_REQUEST]
    many = entry("w", "", 0.0)
    many["ops"] = [{"key": f"nope{i}", "value": 0.0, "remove": True} for i in range(300_000)]
    assert [e["error_code"] for e in connection.ask("AlterClientQuotas", 1, {"entries": [many]})["entries"]] == [NONE], "in time"
    many["ops"].append(many["ops"][7])
    assert [e["error_code"] for e in connection.ask("AlterClientQuotas", 1, {"entries": [many]})["entries"]] == [INVALID_REQUEST]
    for match, text, error in ((0, "v", NONE), (0, None, INVALID_REQUEST), (1, None, NONE), (1, "v", INVALID_REQUEST), (2, "v", INVALID_REQUEST)):
        asked = {"components": [{"entity_type": "user", "match_type": match, "match": text}]}
        assert connection.ask("DescribeClientQuotas", 1, asked)["error_code"] == error, (match, text)
    connection.ask("AlterClientQuotas", 1, {"entries": [entry("v", "producer_byte_rate", 0.0, True)]})


def test_fetch_of_no_bytes_is_one_batch(connection: Connection, topic: str) -> None:
    for _ in range(3):
        body = {"acks": -1, "timeout_ms": 30000, "topic_data": [{"name": topic, "partition_data": [{"index": 0, "records": batch()}]}]}
        assert connection.ask("Produce", 9, body)["responses"][0]["partition_responses"][0]["error_code"] == NONE
    part = {"partition": 0, "current_leader_epoch": -1, "fetch_offset": 0, "last_fetched_epoch": -1, "log_start_offset": -1, "partition_max_bytes": 100000}
    asked = {"replica_id": -1, "max_wait_ms": 100, "min_bytes": 1, "session_epoch": -1, "topics": [{"topic": topic, "partitions": [part]}]}
    sizes = [len(connection.ask("Fetch", 12, asked | {"max_bytes": n})["responses"][0]["partitions"][0]["records"]) for n in (0, 1, 100000)]
    assert sizes == [len(batch()), len(batch()), 3 * len(batch())]


def test_share_groups(connection: Connection, topic: str) -> None:
    topics = [{"topic_name": topic, "partitions": [0, 9]}, {"topic_name": "none", "partitions": [0]}]
    said = connection.ask("DescribeShareGroupOffsets", 1, {"groups": [{"group_id": "none", "topics": topics}, {"group_id": "none", "topics": None}]})["groups"]
    assert [(g["error_code"], len(g["topics"])) for g in said] == [(NONE, 2), (NONE, 0)]
    assert {(p["error_code"], p["start_offset"], p["lag"]) for t in said[0]["topics"] for p in t["partitions"]} == {(NONE, -1, -1)}
    joining = {"group_id": "bad-share", "member_id": "AAAAAAAAAAAAAAAAAAAAAA", "member_epoch": 0, "subscribed_topic_names": [topic]}
    assert connection.ask("ShareGroupHeartbeat", 1, joining)["error_code"] == NONE
    gone = {"group_id": "bad-share", "topics": [{"name": topic, "partitions": [{"partition_index": 0}]}]}
    assert connection.ask("OffsetDelete", 0, gone)["error_code"] == NO_GROUP, "a share group has no committed offsets"
    assert connection.ask("ShareGroupHeartbeat", 1, joining | {"member_epoch": -1})["error_code"] == NONE
