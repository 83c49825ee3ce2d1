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
