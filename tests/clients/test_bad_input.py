# SPDX-License-Identifier: Apache-2.0
"""Requests that no client library sends, as raw frames, and Apache Kafka's error for each: one table, each row one request.

What stands here was compared with Apache Kafka 4.3.1, which answers each row with the same code.
"""

from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Server
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka_frames import Connection

NONE, CORRUPT, TOPIC_UNKNOWN, BAD_TOPIC, INCONSISTENT, BAD_GROUP, NO_MEMBER, EXISTS, BAD_CONFIG = 0, 2, 3, 17, 23, 24, 25, 36, 40
INVALID_REQUEST, POLICY, NO_GROUP, BAD_CODEC, BAD_RECORD = 42, 44, 69, 76, 87
BAD_ACKS = 21
ATTRIBUTES, GZIP, ZSTD = 22, 1, 4


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
    ("what", "topic", "acks", "records", "closed"),
    [
        ("one batch", None, 0, batch(), False),
        ("two batches", None, 0, batch() + batch(), True),
        ("no stream", None, 0, batch(GZIP), True),
        ("no topic", "none", 0, batch(), True),
        ("no such acks", None, 5, batch(), False),
    ],
)
def test_produce_without_an_answer(connection: Connection, server: Server, what: str, topic: str | None, acks: int, records: bytes, closed: bool) -> None:
    """Without acknowledgements an error can be told in one way only, which is Kafka's."""
    name = f"bad-{uuid.uuid4().hex[:8]}"
    create(connection, {"name": name})
    body = {"acks": acks, "timeout_ms": 30000, "topic_data": [{"name": topic or name, "partition_data": [{"index": 0, "records": records}]}]}
    with Connection(server.kafka) as c:
        if acks != 0:
            assert c.ask("Produce", 9, body)["responses"][0]["partition_responses"][0]["error_code"] == BAD_ACKS
            return
        c.tell("Produce", 9, body)
        if closed:
            with pytest.raises(ConnectionError):
                c.ask("ApiVersions", 0, {})
        else:
            assert c.ask("ApiVersions", 0, {})["error_code"] == NONE


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


def said(connection: Connection, api: str, version: int, body: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in connection.ask(api, version, body).items() if k != "throttle_time_ms"}


def test_messages_of_quotas(connection: Connection) -> None:
    """Null where there is nothing to say, and Kafka's words where there is."""

    def change(parts: list[tuple[str, str | None]], key: str, value: float, remove: bool = False) -> dict[str, Any]:
        return {"entity": [{"entity_type": t, "entity_name": n} for t, n in parts], "ops": [{"key": key, "value": value, "remove": remove}]}

    user, ip = [("user", "bad-m")], "connection_creation_rate"
    rows = [
        (change(user, "producer_byte_rate", 5.0), NONE, None),
        (change(user, "producer_byte_rate", 5.0, True), NONE, None),
        (change(user, "producer_byte_rate", 0.0), INVALID_REQUEST, "Quota producer_byte_rate must be greater than 0"),
        (change(user, "producer_byte_rate", float("nan")), INVALID_REQUEST, "Quota producer_byte_rate must be a finite number"),  # as 4.4: 4.3.1 takes it
        (change(user, "request_percentage", float("inf")), INVALID_REQUEST, "Quota request_percentage must be a finite number"),
        (change(user, "producer_byte_rate", 1.5), INVALID_REQUEST, "producer_byte_rate cannot be a fractional value."),
        (change(user, "nope", 5.0), INVALID_REQUEST, "Invalid configuration key nope"),
        (change(user, ip, 5.0), INVALID_REQUEST, f"Invalid configuration key {ip}"),
        (change([], "producer_byte_rate", 5.0), INVALID_REQUEST, "Invalid empty client quota entity"),
        (change([("colour", "x")], "producer_byte_rate", 5.0), INVALID_REQUEST, "Unhandled client quota entity type: colour"),
        (change([("user", "")], "producer_byte_rate", 5.0), INVALID_REQUEST, "Empty user not supported"),
        (change([("ip", "1.2.3.4.5.6")], ip, 5.0), INVALID_REQUEST, "1.2.3.4.5.6 is not a valid IP or resolvable host."),
        (change([("ip", "1.2.3.4")], ip, 1e10), INVALID_REQUEST, f"Proposed value for {ip} is too large for an INT."),
    ]
    for version in (0, 1):
        for entry, error, message in rows:
            wanted = {"error_code": error, "error_message": message, "entity": entry["entity"]}
            assert said(connection, "AlterClientQuotas", version, {"entries": [entry]}) == {"entries": [wanted]}
        twice = said(connection, "AlterClientQuotas", version, {"entries": [change(user, ip, 1.0)] * 2})["entries"]
        assert [e["error_message"] for e in twice] == ["Ignoring duplicate entity ClientQuotaEntity(entries={user=bad-m})"]
    for parts, error, message in (
        ([("", 0, "x")], INVALID_REQUEST, "Invalid empty entity type."),
        ([("colour", 0, "x")], 35, "Unsupported entity type colour"),
        ([("user", 2, None)] * 2, INVALID_REQUEST, "Entity type user cannot appear more than once in the filter."),
        ([("user", 7, None)], INVALID_REQUEST, "Unknown match type 7"),
        ([("user", 0, None)], INVALID_REQUEST, "Request specified MATCH_TYPE_EXACT, but set match string to null."),
        ([("user", 1, "x")], INVALID_REQUEST, "Request specified MATCH_TYPE_DEFAULT, but also specified a match string."),
        ([("user", 2, "x")], INVALID_REQUEST, "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string."),
        ([("user", 2, None), ("ip", 2, None)], INVALID_REQUEST,
         "Invalid entity filter component combination. IP filter component should not be used with user or clientId filter component."),
    ):
        asked = {"components": [{"entity_type": t, "match_type": m, "match": x} for t, m, x in parts]}
        assert said(connection, "DescribeClientQuotas", 1, asked) == {"error_code": error, "error_message": message, "entries": None}
    assert said(connection, "DescribeClientQuotas", 1, {"components": [{"entity_type": "user", "match_type": 0, "match": "none"}]}) == {
        "error_code": NONE, "error_message": "", "entries": []}


def test_messages_of_reassignments(connection: Connection, topic: str) -> None:
    other = "The manual partition assignment includes broker {}, but no such broker is registered."
    rows: list[tuple[str, int, list[int] | None, int, str | None]] = [
        (topic, 0, [1], NONE, None),
        (topic, 0, None, 85, None),
        (topic, 0, [], 39, "The manual partition assignment includes an empty replica list."),
        (topic, 0, [2], 39, other.format(2)),
        (topic, 0, [-1], 39, other.format(-1)),
        (topic, 0, [1, 1], 39, "The manual partition assignment includes the broker 1 more than once."),
        (topic, 9, [1], TOPIC_UNKNOWN, f"Unable to find partition {topic}:9."),
        ("none", 0, [1], TOPIC_UNKNOWN, "Unable to find a topic named none."),
        ("none", 0, None, TOPIC_UNKNOWN, "Unable to find a topic named none."),
    ]
    for name, index, replicas, error, message in rows:
        asked = {"timeout_ms": 30000, "topics": [{"name": name, "partitions": [{"partition_index": index, "replicas": replicas}]}]}
        part = {"partition_index": index, "error_code": error, "error_message": message}
        assert said(connection, "AlterPartitionReassignments", 1, asked) == {
            "allow_replication_factor_change": False, "error_code": NONE, "error_message": None, "responses": [{"name": name, "partitions": [part]}]}
    assert said(connection, "AlterPartitionReassignments", 1, {"timeout_ms": 30000}) == {
        "allow_replication_factor_change": True, "error_code": NONE, "error_message": "", "responses": []}
    for topics in (None, [], [{"name": topic, "partition_indexes": [0]}], [{"name": "none", "partition_indexes": [0]}]):
        assert said(connection, "ListPartitionReassignments", 0, {"timeout_ms": 30000, "topics": topics}) == {
            "error_code": NONE, "error_message": None, "topics": []}


def test_messages_of_scram(connection: Connection) -> None:
    good = {"name": "bad-s", "mechanism": 1, "iterations": 4096, "salt": b"salt1234", "salted_password": b"x" * 32}
    gone = {"name": "bad-s", "mechanism": 1}
    twice = "A user credential cannot be altered twice in the same request"
    rows: list[tuple[list[dict[str, Any]], list[dict[str, Any]], int, str | None]] = [
        ([], [good], NONE, None),
        ([], [good | {"mechanism": 9}], 33, "Unknown SCRAM mechanism"),
        ([], [good | {"iterations": 10}], 93, "Too few iterations"),
        ([], [good | {"iterations": 20000}], 93, "Too many iterations"),
        ([], [good, good], 92, twice),
        ([gone], [good], 92, twice),
        ([gone], [], NONE, None),
        ([gone], [], 91, "Attempt to delete a user credential that does not exist"),
    ]
    for deletions, upsertions, error, message in rows:
        wanted = {"results": [{"user": "bad-s", "error_code": error, "error_message": message}]}
        assert said(connection, "AlterUserScramCredentials", 0, {"deletions": deletions, "upsertions": upsertions}) == wanted
    shown = said(connection, "DescribeUserScramCredentials", 0, {"users": [{"name": "bad-s"}]})
    assert (shown["error_code"], shown["error_message"]) == (NONE, "")
    assert [(r["error_code"], r["error_message"]) for r in shown["results"]] == [(91, "Attempt to describe a user credential that does not exist: bad-s")]


def test_messages_of_acls(new_server: Any, tmp_path: Path) -> None:
    path = tmp_path / "server.properties"
    path.write_text("authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nallow.everyone.if.no.acl.found=true\nsuper.users=User:ANONYMOUS\n")
    rule = {"resource_type": 2, "resource_name": "t", "resource_pattern_type": 3, "principal": "User:a", "host": "*", "operation": 3, "permission_type": 3}
    colon = "no colon is present separating the principal type from the principal name"
    search = {"resource_type_filter": 2, "pattern_type_filter": 3, "operation": 3, "permission_type": 3}
    found = rule | {"pattern_type": 3, "error_code": NONE, "error_message": None}
    del found["resource_pattern_type"]
    with Connection(new_server({"broker.properties": str(path)}).start().kafka) as c:
        for change, error, message in (
            ({}, NONE, ""),
            ({"resource_type": 99}, INVALID_REQUEST, "Invalid resourceType UNKNOWN"),
            ({"resource_pattern_type": 9}, INVALID_REQUEST, "Invalid patternType UNKNOWN"),
            ({"operation": 99}, INVALID_REQUEST, "Invalid operation UNKNOWN"),
            ({"permission_type": 9}, INVALID_REQUEST, "Invalid permissionType UNKNOWN"),
            ({"resource_name": ""}, INVALID_REQUEST, "Invalid empty resource name"),
            ({"principal": "User"}, INVALID_REQUEST, f"Could not parse principal from `User` ({colon})"),
            ({"principal": ""}, INVALID_REQUEST, f"Could not parse principal from `` ({colon})"),
            ({"resource_type": 4}, INVALID_REQUEST, "The only valid name for the CLUSTER resource is kafka-cluster"),
        ):
            assert said(c, "CreateAcls", 3, {"creations": [rule | change]}) == {"results": [{"error_code": error, "error_message": message}]}, change
        for change, error, message, gone in (
            ({"resource_type_filter": 99}, INVALID_REQUEST, "Unknown patternFilter.", []),
            ({"pattern_type_filter": 9}, INVALID_REQUEST, "Unknown patternFilter.", []),
            ({"operation": 99}, INVALID_REQUEST, "Unknown entryFilter.", []),
            ({"permission_type": 9}, INVALID_REQUEST, "Unknown entryFilter.", []),
            ({}, NONE, None, [found]),
            ({}, NONE, None, []),
        ):
            wanted = {"filter_results": [{"error_code": error, "error_message": message, "matching_acls": gone}]}
            assert said(c, "DeleteAcls", 3, {"filters": [search | change]}) == wanted, change


INTERNAL = """controller.performance.always.log.threshold.ms controller.performance.sample.period.ms group.consumer.regex.refresh.interval.ms
group.share.initialize.retry.interval.ms group.share.persister.class.name internal.metadata.delete.delay.millis internal.metadata.log.segment.bytes
internal.metadata.max.batch.size.in.bytes log.initial.task.delay.ms producer.id.expiration.check.interval.ms remote.log.index.file.cache.ttl.ms
remote.log.manager.task.retry.backoff.max.ms remote.log.manager.task.retry.backoff.ms remote.log.manager.task.retry.jitter server.max.startup.time.ms
share.coordinator.cold.partition.snapshot.interval.ms share.coordinator.state.topic.prune.interval.ms unclean.leader.election.interval.ms
unstable.api.versions.enable unstable.feature.versions.enable""".split()


def configs(c: Connection, kind: int, name: str, keys: list[str] | None = None, **more: bool) -> dict[str, dict[str, Any]]:
    asked = {"resources": [{"resource_type": kind, "resource_name": name, "configuration_keys": keys}]} | more
    return {e["name"]: e for e in c.ask("DescribeConfigs", 4, asked)["results"][0]["configs"]}


def test_internal_configs_are_told_where_they_are_set(connection: Connection, new_server: Any, tmp_path: Path) -> None:
    told = configs(connection, 4, "1")
    assert len(told) > 300 and not set(INTERNAL) & set(told)
    assert configs(connection, 4, "1", INTERNAL) == {}
    path = tmp_path / "server.properties"
    path.write_text("producer.id.expiration.check.interval.ms=7000\nunstable.api.versions.enable=false\n")
    with Connection(new_server({"broker.properties": str(path)}).start().kafka) as c:
        shown = configs(c, 4, "1", INTERNAL)
        assert {n: (e["value"], e["config_source"]) for n, e in shown.items()} == {
            "producer.id.expiration.check.interval.ms": ("7000", 4), "unstable.api.versions.enable": ("false", 4)}
        assert set(configs(c, 4, "1")) == set(told) | set(shown)


KAFKA_44 = """errors.deadletterqueue.auto.create.topics.enable errors.deadletterqueue.topic.name.prefix group.streams.assignors
group.streams.rack.aware.assignment.tags group.streams.topology.description.plugin.class log.remote.copy.lag.bytes log.remote.copy.lag.ms
max.decompressed.message.bytes sasl.oauthbearer.allow.unverified.audience sasl.oauthbearer.allow.unverified.issuer""".split()
OURS = ["log.cache.bytes"]


@pytest.mark.parametrize(("name", "message"), [("9", "Unexpected broker id, expected 1 or empty string, but received 9"), ("x", "Broker id must be an integer, but it is: x")])
def test_configs_of_other_brokers(connection: Connection, name: str, message: str) -> None:
    told = connection.ask("DescribeConfigs", 4, {"resources": [{"resource_type": 4, "resource_name": name, "configuration_keys": None}]})["results"][0]
    assert (told["error_code"], told["error_message"], told["configs"]) == (INVALID_REQUEST, message, [])


def test_the_configs_are_kafkas(connection: Connection, topic: str) -> None:
    table = Path(__file__).resolve().parents[3] / "shared/refdata/kafka_protocol/CONFIG_broker.tsv"
    if not table.exists():
        pytest.skip("the table of Kafka's configs is not here")
    kafkas = {line.split("\t")[0] for line in table.read_text().splitlines()[1:]}
    assert set(configs(connection, 4, "1")) == kafkas - set(INTERNAL) | set(KAFKA_44) | set(OURS)
    told = configs(connection, 2, topic, include_synonyms=True)
    assert told["remote.log.copy.disable"]["synonyms"] == [] and told["remote.log.copy.disable"]["documentation"] is None
    assert [s["name"] for s in told["segment.bytes"]["synonyms"]] == ["log.segment.bytes"]
    for name, above in (("flush.ms", "log.flush.interval.ms"), ("segment.ms", "log.roll.ms"), ("segment.jitter.ms", "log.roll.jitter.ms"), ("retention.ms", "log.retention.ms")):
        assert told[name]["synonyms"] == [] and told[name]["value"] is not None and configs(connection, 4, "1")[above]["value"] is None, name
    named = configs(connection, 32, "bad-g", include_synonyms=True)["streams.assignor.name"]["synonyms"]
    assert [(s["name"], s["value"]) for s in named] == [("group.streams.assignors", "sticky")]
    assert alter(connection, 16, "bad-m", ("interval.ms", "1000", 0)) == (NONE, None)
    metrics = configs(connection, 16, "bad-m", include_synonyms=True)
    assert {n: [s["value"] for s in e["synonyms"]] for n, e in metrics.items()} == {"interval.ms": ["1000"], "match": [], "metrics": []}
    assert alter(connection, 16, "bad-m", ("interval.ms", None, 1)) == (NONE, None)
