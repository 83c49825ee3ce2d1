# SPDX-License-Identifier: Apache-2.0
"""Authorization of every API that the server advertises: the table of gates.py, and what a user sees of the things that are not its to see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gates
import pytest
from conftest import Server
from gates import ROWS, Case, Guarded, Right, Row, errors
from kafka_frames import Connection
from machine import free_ports

MISSING_INTERNAL_TOPICS = 3  # of a streams group's statuses


@pytest.fixture(scope="module")
def guarded(scratch: Path) -> Iterator[Guarded]:
    port, = free_ports(1)
    path = scratch / "server.properties"
    path.write_text(gates.properties(port))
    server = Server(scratch / "guarded", {"broker.properties": str(path)}).start()
    yield Guarded(f"127.0.0.1:{port}")
    server.stop()


def test_every_api_has_a_row(guarded: Guarded) -> None:
    assert set(guarded.versions) - gates.LOGGING_IN == {row.api for row in ROWS}
    for api in {row.api for row in ROWS}:
        low, high = guarded.versions[api]
        seen = {v for row in ROWS if row.api == api for v in guarded.served(row)}
        assert set(range(low, high + 1)) - seen == set(UNSEEN.get(api, ())), f"{api}: versions without a row"


UNSEEN = {
    "Produce": range(3),  # refused whoever asks
    "CreateDelegationToken": range(1, 3),  # for oneself only
    "DescribeLogDirs": range(1, 3),  # without a place for an error: see below
}


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.id)
def test_without_rights(guarded: Guarded, row: Row) -> None:
    gates.refused(guarded, row)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.id)
def test_with_the_right_rights(guarded: Guarded, row: Row) -> None:
    gates.passed(guarded, row)


@pytest.mark.parametrize("row", [r for r in ROWS if r.needs], ids=lambda r: r.id)
def test_with_every_other_right(guarded: Guarded, row: Row) -> None:
    gates.others_do_not_help(guarded, row)


# ---- what is shown of what is not one's own ---------------------------------------------------------------------------------
def test_the_old_description_of_log_folders(guarded: Guarded) -> None:
    _, user = guarded.user()
    for version in (1, 2):
        assert user.ask("DescribeLogDirs", version, {"topics": None})["results"] == []
        assert guarded.admin.ask("DescribeLogDirs", version, {"topics": None})["results"] != []


def test_lists_show_what_may_be_described(guarded: Guarded) -> None:
    """Topics, groups and transactions without a name in the request."""
    case, other, (name, user) = guarded.case(), guarded.case(), guarded.user()
    for c in (case, other):
        guarded.with_group(c)
        guarded.admin.ask("InitProducerId", 4, {"transactional_id": c.transaction, "transaction_timeout_ms": 10000, "producer_id": -1, "producer_epoch": -1})

    def shown(by: Connection) -> tuple[set[str], ...]:
        return (
            {t["name"] for t in by.ask("Metadata", 12, {"topics": None})["topics"]},
            {t["name"] for t in by.ask("DescribeTopicPartitions", 0, {"response_partition_limit": 2000})["topics"]},
            {g["group_id"] for g in by.ask("ListGroups", 5, {})["groups"]},
            {t["transactional_id"] for t in by.ask("ListTransactions", 2, {"duration_filter": -1})["transaction_states"]},
        )

    assert shown(user) == (set(), set(), set(), set())
    for right in ("TOPIC DESCRIBE", "GROUP DESCRIBE", "TRANSACTION DESCRIBE"):
        guarded.give(name, Right(*right.split()), case)
    assert shown(user) == ({case.topic}, {case.topic}, {case.group}, {case.transaction})
    for mine, all_of_them in zip((case.topic, case.topic, case.group, case.transaction), shown(guarded.admin), strict=True):
        assert mine in all_of_them and len(all_of_them) > 1
    for c in (case, other):
        guarded.rule(name, "GROUP", c.group, "DESCRIBE")
    asked = {"groups": [{"group_id": c.group, "member_epoch": -1, "topics": None} for c in (case, other)]}
    shown_offsets = user.ask("OffsetFetch", 9, asked)["groups"]
    assert [[t["name"] for t in g["topics"]] for g in shown_offsets] == [[case.topic], []]


def test_a_name_opens_no_topic_that_is_asked_for_by_id(guarded: Guarded) -> None:
    """Metadata goes by the id when an element has both: so do the rights."""
    mine, other, (name, user) = guarded.case(), guarded.case(), guarded.user()
    guarded.rule(name, "TOPIC", mine.topic, "DESCRIBE")
    for version in range(12, guarded.highest("Metadata") + 1):
        for asked in (mine.topic, None):
            topic, = user.ask("Metadata", version, {"topics": [{"name": asked, "topic_id": other.topic_id}]})["topics"]
            assert (topic["error_code"], topic["name"], topic["partitions"]) == (gates.ERRORS["UNKNOWN_TOPIC_ID"], None, [])
        topic, = user.ask("Metadata", version, {"topics": [{"name": other.topic, "topic_id": mine.topic_id}]})["topics"]
        assert (topic["error_code"], topic["name"], len(topic["partitions"])) == (0, mine.topic, 1)


def test_a_cluster_tells_what_one_may(guarded: Guarded) -> None:
    name, user = guarded.user()
    asked = {"include_cluster_authorized_operations": True, "endpoint_type": 1}
    assert user.ask("DescribeCluster", 2, asked)["cluster_authorized_operations"] == 0
    guarded.rule(name, "CLUSTER", "kafka-cluster", "ALTER")
    assert user.ask("DescribeCluster", 2, asked)["cluster_authorized_operations"] == 1 << 7 | 1 << 8  # ALTER, and DESCRIBE with it


@pytest.mark.parametrize(("kind", "request_body"), [("Consumer", gates.heartbeat), ("Share", gates.heartbeat), ("Streams", gates.streams_heartbeat)])
def test_a_group_with_topics_of_others_is_not_described(guarded: Guarded, kind: str, request_body: Callable[[Case], dict[str, Any]]) -> None:
    case, (name, user) = guarded.case(), guarded.user()
    api = f"{kind}Group"
    assert errors(guarded.admin.ask(api + "Heartbeat", guarded.highest(api + "Heartbeat"), request_body(case))) == {"NONE"}
    guarded.rule(name, "GROUP", case.group, "DESCRIBE")

    def described(by: Connection) -> dict[str, Any]:
        one, = by.ask(api + "Describe", guarded.highest(api + "Describe"), gates.groups(case) | {"include_authorized_operations": True})["groups"]
        return one

    hidden = described(user)
    assert errors(hidden) == {"TOPIC"} and hidden["members"] == [] and hidden["group_state"] == "" and not hidden.get("topology")
    assert "not authorized to describe" in hidden["error_message"]
    guarded.rule(name, "TOPIC", case.topic, "DESCRIBE")
    seen, whole = described(user), described(guarded.admin)
    assert seen["authorized_operations"] == 1 << 8 and whole["authorized_operations"] > 1 << 8
    assert len(seen["members"]) == 1 and seen | {"authorized_operations": 0} == whole | {"authorized_operations": 0}


def test_offsets_of_a_share_group(guarded: Guarded) -> None:
    """Of topics that are not named in the request: those that may be described."""
    case, other, (name, user) = guarded.case(), guarded.case(), guarded.user()
    parts = [{"partition_index": 0, "start_offset": 0}]
    said = guarded.admin.ask("AlterShareGroupOffsets", 0, {"group_id": case.group, "topics": [{"topic_name": c.topic, "partitions": parts} for c in (case, other)]})
    assert errors(said) == {"NONE"}
    guarded.rule(name, "GROUP", case.group, "DESCRIBE")
    guarded.rule(name, "TOPIC", case.topic, "DESCRIBE")

    def topics(by: Connection) -> set[str]:
        said = by.ask("DescribeShareGroupOffsets", 1, {"groups": [{"group_id": case.group, "topics": None}]})
        assert errors(said) == {"NONE"}
        return {t["topic_name"] for t in said["groups"][0]["topics"]}

    assert topics(guarded.admin) == {case.topic, other.topic}
    assert topics(user) == {case.topic}
    named = [{"topic_name": c.topic, "partitions": [0]} for c in (other, case)]
    said = user.ask("DescribeShareGroupOffsets", 1, {"groups": [{"group_id": case.group, "topics": named}]})
    assert {t["topic_name"]: t["partitions"][0]["error_code"] for t in said["groups"][0]["topics"]} == {case.topic: 0, other.topic: gates.ERRORS["TOPIC"]}


def test_internal_topics_are_made_with_the_members_rights(guarded: Guarded) -> None:
    case, (name, user) = guarded.case(), guarded.user()
    mine, next_ = f"{case.group}-a-changelog", f"{case.group}-b-changelog"
    for right in ("GROUP READ", "TOPIC DESCRIBE"):
        guarded.give(name, Right(*right.split()), case)
    for topic in (mine, next_):
        assert errors(user.ask("StreamsGroupHeartbeat", 0, gates.streams_heartbeat(case, (topic,)))) == {"TOPIC"}
        guarded.rule(name, "TOPIC", topic, "DESCRIBE")
    guarded.rule(name, "TOPIC", mine, "CREATE")

    def beat() -> str:
        said = user.ask("StreamsGroupHeartbeat", 0, gates.streams_heartbeat(case, (mine, next_)))
        assert errors(said) == {"NONE"}, said
        return "; ".join(s["status_detail"] for s in said["status"] or [] if s["status_code"] == MISSING_INTERNAL_TOPICS)

    def there() -> set[str]:
        said = guarded.admin.ask("Metadata", 12, {"topics": [{"name": t} for t in (mine, next_)]})
        return {t["name"] for t in said["topics"] if t["error_code"] == 0}

    for _ in range(3):
        assert beat().endswith(f"Unauthorized to CREATE on topics {next_}.")
        assert there() == set(), "all or none"
    guarded.rule(name, "TOPIC", next_, "CREATE")
    guarded.until(lambda: {beat()}, {""}, 60)
    assert there() == {mine, next_}


def test_a_share_session_ends_with_the_right(guarded: Guarded) -> None:
    case, (name, user) = guarded.case(), guarded.user()
    for right in ("GROUP READ", "TOPIC READ"):
        guarded.give(name, Right(*right.split()), case)
    guarded.with_group(case, "member")
    assert errors(user.ask("ShareFetch", 1, gates.share_session(case))) == {"NONE"}
    guarded.give(name, Right("TOPIC", "READ"), case, gates.DENY)
    assert errors(user.ask("ShareAcknowledge", 1, gates.share_acknowledge(case))) == {"TOPIC"}
