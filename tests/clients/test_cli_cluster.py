# SPDX-License-Identifier: Apache-2.0
"""The commands that administer a Kafka cluster, as a user types them: groups and their offsets, nodes and configs."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from conftest import Server


def name(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:8]}"


def as_json(server: Server, *args: str) -> Any:
    return json.loads(server.cli(*args, "--output", "json").stdout)


def refused(server: Server, code: int, *args: str, says: str) -> None:
    done = server.cli(*args, check=False)
    assert done.returncode == code and says in done.stderr, f"{args}: {done.returncode} {done.stdout}{done.stderr}"


def consumer(server: Server, group: str) -> confluent_kafka.Consumer:
    return confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
                                     "client.id": "reader", "session.timeout.ms": 6000})


@pytest.fixture
def orders(server: Server) -> str:
    """A topic of two partitions with 4 and 6 records, their timestamps a second apart from 1,000,000,000,000 on."""
    topic = name("orders")
    server.cli("topic", "create", topic, "--partitions", "2", "--config", "retention.ms=-1")
    p = confluent_kafka.Producer({"bootstrap.servers": server.kafka})
    for partition, count in ((0, 4), (1, 6)):
        for i in range(count):
            p.produce(topic, f"v{i}", partition=partition, timestamp=1_000_000_000_000 + i * 1000)
    assert p.flush(30) == 0
    return topic


def offsets(server: Server, group: str) -> list[tuple[int, int | None, int, int | None]]:
    return [(r["partition"], r["current_offset"], r["log_end_offset"], r["lag"]) for r in as_json(server, "group", "describe", group)]


def test_a_group_with_a_member(server: Server, orders: str) -> None:
    group = name("billing")
    c = consumer(server, group)
    c.subscribe([orders])
    got = 0
    while got < 10:
        m = c.poll(30)
        assert m is not None and m.error() is None
        got += 1
    c.commit(asynchronous=False)
    assert {"group": group, "state": "Stable", "protocol": "consumer"}.items() <= next(g for g in as_json(server, "group", "list") if g["group"] == group).items()
    assert [g["group"] for g in as_json(server, "group", "list", "--state", "empty") if g["group"] == group] == []
    assert offsets(server, group) == [(0, 4, 4, 0), (1, 6, 6, 0)]
    rows = as_json(server, "group", "describe", group)
    assert {r["client"] for r in rows} == {"reader"} and rows[0]["member"].startswith("reader-")
    members = as_json(server, "group", "describe", group, "--members")
    assert len(members) == 1 and members[0]["assignment"] == f"{orders}(0,1)" and members[0]["partitions"] == 2
    state = as_json(server, "group", "describe", group, "--state")
    assert state[0]["state"] == "Stable" and state[0]["members"] == 1 and state[0]["assignor"] == "range"
    refused(server, 5, "group", "reset-offsets", group, "--all-topics", "--to-earliest", "--execute", says="stop its consumers first")
    refused(server, 5, "group", "delete", group, says="NON_EMPTY_GROUP")
    c.close()
    assert as_json(server, "group", "describe", group, "--state")[0]["state"] == "Empty"
    server.cli("group", "delete", group)
    refused(server, 4, "group", "describe", group, says=f"no group '{group}'")


def test_words_that_no_broker_knows_are_refused(server: Server) -> None:
    for option, word in (("--state", "foo"), ("--type", "bar")):
        done = server.cli("group", "list", option, word, check=False)
        assert done.returncode == 2 and f"{option} {word}: there are" in done.stderr
    assert server.cli("group", "list", "--state", "empty", "--type", "Classic").returncode == 0


def test_reset_offsets(server: Server, orders: str, tmp_path: Path) -> None:
    group = name("billing")
    reset = ("group", "reset-offsets", group)
    refused(server, 2, *reset, "--topic", orders, says="say where to, once")
    refused(server, 2, *reset, "--topic", orders, "--to-earliest", "--to-latest", says="say where to, once")
    refused(server, 2, *reset, "--to-earliest", says="which topics?")
    refused(server, 4, *reset, "--topic", "nope", "--to-earliest", says="no topic 'nope'")
    refused(server, 2, *reset, "--topic", orders, "--by-duration", "1h", says="PT30M")

    done = server.cli(*reset, "--topic", orders, "--to-latest")  # a look only
    assert "nothing was changed" in done.stderr and group not in {g["group"] for g in as_json(server, "group", "list")}

    def new(*args: str) -> list[int]:
        rows = as_json(server, *reset, *args, "--execute")
        assert [(r["group"], r["topic"]) for r in rows] == [(group, orders)] * len(rows)
        return [r["new_offset"] for r in rows]

    assert new("--topic", orders, "--to-latest") == [4, 6]
    assert offsets(server, group) == [(0, 4, 4, 0), (1, 6, 6, 0)]
    assert new("--all-topics", "--shift-by=-5") == [0, 1]
    assert offsets(server, group) == [(0, 0, 4, 4), (1, 1, 6, 5)]
    assert new("--topic", f"{orders}:1", "--to-offset", "3") == [3]
    assert new("--all-topics", "--to-datetime", "2001-09-09T01:46:42.500Z") == [3, 3]
    assert new("--all-topics", "--to-datetime", "2030-01-01T00:00:00Z") == [4, 6]
    assert new("--all-topics", "--by-duration", "P20000D") == [0, 0]
    assert new("--topic", orders, "--to-earliest") == [0, 0]

    assert new("--topic", f"{orders}:1", "--to-offset", "5") == [5]
    kept = server.cli(*reset, "--all-topics", "--to-current", "--export").stdout
    assert kept == f"{orders},0,0\n{orders},1,5\n"
    (tmp_path / "offsets.csv").write_text(kept)
    assert new("--all-topics", "--to-latest") == [4, 6]
    assert new("--from-file", str(tmp_path / "offsets.csv")) == [0, 5]
    (tmp_path / "bad.csv").write_text(f"{orders},0\n")
    refused(server, 2, *reset, "--from-file", str(tmp_path / "bad.csv"), says="bad.csv:1: topic,partition,offset")

    c = consumer(server, group)  # and a real consumer goes on there
    c.subscribe([orders])
    first: dict[int, int] = {}
    while len(first) < 2:
        m = c.poll(30)
        assert m is not None and m.error() is None
        first.setdefault(m.partition(), m.offset())
    assert first == {0: 0, 1: 5}
    c.close()


def test_nodes_and_configs(server: Server, orders: str) -> None:
    nodes = as_json(server, "broker", "list")
    assert len(nodes) == 1 and nodes[0]["controller"] is True and f"{nodes[0]['host']}:{nodes[0]['port']}" == server.kafka
    server.cli("broker", "alter", "--topic", orders, "--set", "retention.ms=7200000", "--set", "max.message.bytes=2000000")
    server.cli("broker", "alter", "--topic", orders, "--delete", "max.message.bytes")
    set_ones = as_json(server, "broker", "configs", "--topic", orders)
    assert [(r["config"], r["value"], r["source"]) for r in set_ones] == [("retention.ms", "7200000", "topic")]
    every = {r["config"]: r for r in as_json(server, "broker", "configs", "--broker", str(nodes[0]["id"]), "--all")}
    assert every["num.partitions"]["value"] == "1"
    refused(server, 78, "broker", "alter", "--topic", orders, "--set", "retention.ms=soon", says="retention.ms")
    refused(server, 2, "broker", "alter", "--topic", orders, says="nothing to change")
    refused(server, 2, "broker", "configs", says="whose configs?")
    refused(server, 69, "broker", "list", "--brokers", "127.0.0.1:1", says="no broker answers at 127.0.0.1:1")


def test_records_and_offsets(server: Server, orders: str) -> None:
    assert [r["offset"] for r in as_json(server, "topic", "offsets", orders)] == [4, 6]
    at = as_json(server, "topic", "offsets", orders, "--time", "2001-09-09T01:46:42Z", "--partition", "1")
    assert at == [{"partition": 1, "offset": 2, "timestamp_ms": 1_000_000_002_000}]
    assert as_json(server, "topic", "delete-records", orders, "--partition", "1", "--before", "3") == [{"partition": 1, "low_watermark": 3}]
    assert [r["offset"] for r in as_json(server, "topic", "offsets", orders, "--time", "earliest")] == [0, 3]
    assert [r["low_watermark"] for r in as_json(server, "topic", "delete-records", orders, "--before", "end")] == [4, 6]
    refused(server, 2, "topic", "delete-records", orders, "--before", "9", says="OFFSET_OUT_OF_RANGE")
    refused(server, 2, "topic", "delete-records", orders, says="up to where?")
    refused(server, 4, "topic", "offsets", orders, "--partition", "7", says="no partition 7")
    sizes = as_json(server, "broker", "log-dirs", "--topic", orders)
    assert [(r["topic"], r["partition"]) for r in sizes] == [(orders, 0), (orders, 1)]


def test_quotas(server: Server) -> None:
    user, client = name("alice"), name("etl")
    server.cli("quota", "alter", "--user", user, "--client-id", client, "--set", "producer_byte_rate=1048576", "--set", "request_percentage=50.5")
    rows = [r for r in as_json(server, "quota", "list", "--user", user) if user in r["entity"]]
    assert sorted((r["quota"], r["value"]) for r in rows) == [("producer_byte_rate", 1048576), ("request_percentage", 50.5)]
    server.cli("quota", "alter", "--user", user, "--client-id", client, "--remove", "producer_byte_rate,request_percentage")
    assert [r for r in as_json(server, "quota", "list") if user in r["entity"]] == []
    refused(server, 2, "quota", "alter", "--user", user, "--set", "producer_byte_rate=much", says="NAME=NUMBER")
    refused(server, 2, "quota", "alter", "--set", "producer_byte_rate=1", says="whose?")


def test_users(server: Server, tmp_path: Path) -> None:
    user = name("alice")
    (tmp_path / "password").write_text("secret word\n")
    server.cli("user", "set", user, "--password-file", str(tmp_path / "password"))
    server.cli("user", "set", user, "--mechanism", "scram-sha-256", "--password", "x", "--iterations", "8192")
    assert [r for r in as_json(server, "user", "list") if r["user"] == user] == [
        {"user": user, "mechanism": "SCRAM-SHA-256", "iterations": 8192}, {"user": user, "mechanism": "SCRAM-SHA-512", "iterations": 4096}]
    server.cli("user", "remove", user)
    server.cli("user", "remove", user, "--mechanism", "SCRAM-SHA-256")
    assert [r for r in as_json(server, "user", "list") if r["user"] == user] == []
    refused(server, 4, "user", "remove", user, says=user)
    refused(server, 2, "user", "set", user, says="--password-file")


def test_transactions(server: Server, orders: str) -> None:
    who = name("etl")
    p = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "transactional.id": who})
    p.init_transactions(30)
    p.begin_transaction()
    p.produce(orders, "in a transaction", partition=0)
    p.flush(30)
    mine = next(r for r in as_json(server, "txn", "list", "--state", "Ongoing") if r["transactional_id"] == who)
    described = as_json(server, "txn", "describe", who)[0]
    assert described["state"] == "Ongoing" and described["partitions"] == f"{orders}-0" and described["producer_id"] == mine["producer_id"]
    producers = as_json(server, "txn", "producers", "--topic", orders, "--partition", "0")
    assert next(r for r in producers if r["producer_id"] == mine["producer_id"])["transaction_start_offset"] == 4
    assert as_json(server, "txn", "find-hanging", "--topic", orders, "--max-transaction-timeout", "0") == []  # its coordinator knows it
    p.abort_transaction(30)
    assert as_json(server, "txn", "describe", who)[0]["state"] in ("CompleteAbort", "PrepareAbort")
    refused(server, 4, "txn", "describe", "nobody", says="TRANSACTIONAL_ID_NOT_FOUND")
    refused(server, 4, "txn", "abort", "--topic", orders, "--partition", "0", "--start-offset", "4", says="no open transaction")


def test_access_rules(new_server: Any, tmp_path: Path) -> None:
    (tmp_path / "server.properties").write_text("authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:ANONYMOUS\n")
    server = new_server(settings={"broker.properties": str(tmp_path / "server.properties")}).start()
    rules = as_json(server, "acl", "add", "--allow-principal", "User:app", "--consumer", "--topic", "orders", "--group", "billing")
    assert [(r["resource"], r["name"], r["operation"], r["permission"]) for r in rules] == [
        ("Topic", "orders", "Read", "Allow"), ("Topic", "orders", "Describe", "Allow"), ("Group", "billing", "Read", "Allow")]
    server.cli("acl", "add", "--deny-principal", "User:bob", "--deny-host", "10.0.0.1", "--operation", "Write", "--topic", "raw.", "--resource-pattern-type", "prefixed")
    assert len(as_json(server, "acl", "list")) == 4
    matching = as_json(server, "acl", "list", "--topic", "raw.events", "--resource-pattern-type", "match")
    assert [(r["pattern"], r["principal"], r["host"], r["permission"]) for r in matching] == [("Prefixed", "User:bob", "10.0.0.1", "Deny")]
    assert len(as_json(server, "acl", "remove", "--allow-principal", "User:app", "--consumer", "--topic", "orders", "--group", "billing")) == 3
    assert len(as_json(server, "acl", "list")) == 1
    names = ["User:CN=app,O=Example", "User:CN=two,O=Example"]  # a principal of a certificate has commas
    who = ["--allow-principal", names[0], "--allow-principal", names[1]]
    assert [r["principal"] for r in as_json(server, "acl", "add", *who, "--operation", "Read", "--topic", "orders")] == names
    assert [r["principal"] for r in as_json(server, "acl", "list", "--principal", names[0])] == names[:1]
    assert len(as_json(server, "acl", "remove", *who, "--operation", "Read", "--topic", "orders")) == 2
    refused(server, 2, "acl", "add", "--allow-principal", "User:app", says="what about?")
    refused(server, 2, "acl", "add", "--topic", "orders", says="who?")
    refused(server, 2, "acl", "add", "--topic", "orders", "--allow-principal", "User:app", "--operation", "Sing", says="Sing")
