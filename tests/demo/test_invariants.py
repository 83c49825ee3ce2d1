# SPDX-License-Identifier: Apache-2.0
"""What must hold after the demo's main job, seen from outside: run by `demo/demo --check` while its server runs."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from deltalake import DeltaTable

if "MILLRACE_DEMO" not in os.environ:
    pytest.skip("run by demo/demo --check", allow_module_level=True)
DEMO: dict[str, Any] = json.loads(os.environ["MILLRACE_DEMO"])
A = DEMO["addresses"]
TABLES = ("bronze.flights", "silver.flights", "quarantine.flights", "gold.airport_days", "gold.routes", "gold.hours")
ORDER = {"bronze.flights": "_partition, _offset", "silver.flights": "_partition, _offset", "quarantine.flights": "_partition, _offset",
         "gold.airport_days": "airport, day", "gold.routes": "month, rank", "gold.hours": "hour"}


def sql(statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(A["pg"], autocommit=True) as connection:
        return connection.execute(statement).fetchall()  # type: ignore[arg-type]


def count(name: str) -> int:
    return int(sql(f"select count(*) from {name}")[0][0])


def rest(method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(A["http"] + path, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"},
                                     method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def kcat(*args: str) -> str:
    return subprocess.run(["kcat", "-q", "-b", A["kafka"], *args], check=True, capture_output=True, text=True).stdout


def delta(name: str) -> DeltaTable:
    schema, table = name.split(".")
    return DeltaTable(f"{DEMO['data']}/lake/{schema}/{table}")


def source() -> str:
    limit = f" limit {DEMO['rows']}" if DEMO["rows"] else ""
    return f"(select * from '{DEMO['source']}/flights-3m.parquet'{limit})"


def test_every_event_is_in_bronze_or_a_dead_letter() -> None:
    bad = DEMO["bad"]
    assert count('topics."flights.dlq"') == bad["undecodable"] + bad["unknown-schema"]
    assert count("bronze.flights") + count('topics."flights.dlq"') == DEMO["produced"] + sum(bad.values())
    assert count("bronze.flights") == sql("select count(distinct (_partition, _offset)) from bronze.flights")[0][0]


def test_every_bronze_row_is_in_silver_or_quarantine_or_a_duplicate() -> None:
    bad = DEMO["bad"]
    assert dict(sql("select rule, count(*) from quarantine.flights group by 1")) == {
        "distance_not_positive": bad["negative-distance"], "unknown_destination": bad["unknown-airport"]}
    distinct = duckdb.sql(f"select count(*) from (select distinct * from {source()})").fetchone()
    assert distinct is not None and count("silver.flights") == distinct[0]
    duplicates = DEMO["produced"] - distinct[0] + bad["duplicate"]
    assert count("bronze.flights") == count("silver.flights") + count("quarantine.flights") + duplicates


GOLD = {
    "gold.airport_days": """select origin as airport, date::date as day, count(*) as flights, count(distinct destination) as destinations,
        avg(delay) as avg_delay, quantile_cont(delay, 0.95) as p95_delay, count(*) filter (where delay > 15) as late_flights,
        count(*) filter (where delay > 15) / count(*) as late_share from flights group by 1, 2""",
    "gold.routes": """select *, rank() over (partition by month order by flights desc, origin, destination)::int as rank from (
        select date_trunc('month', date)::date as month, origin, destination, count(*) as flights, max(distance) as distance,
        median(delay) as median_delay, quantile_cont(delay, 0.95) as p95_delay from flights group by 1, 2, 3)""",
    "gold.hours": """select hour(date)::int as hour, count(*) as flights, avg(delay) as avg_delay, median(delay) as median_delay,
        quantile_cont(delay, 0.95) as p95_delay, count(*) filter (where delay > 15) / count(*) as late_share from flights group by 1""",
}


@pytest.mark.parametrize("name", GOLD)
def test_gold_equals_the_same_aggregates_straight_from_the_file(name: str) -> None:
    with duckdb.connect() as db:
        db.sql(f"create view flights as select distinct * from {source()}")
        expected = db.sql(f"select * from ({GOLD[name]}) order by {ORDER[name]}").fetchall()
        files = delta(name).file_uris()
        got = db.sql(f"select * from read_parquet({files!r}) order by {ORDER[name]}").fetchall()
    assert len(got) == len(expected) > 0
    for g, e in zip(got, expected, strict=True):
        assert g == pytest.approx(e) if any(isinstance(v, float) for v in e) else g == e


@pytest.mark.parametrize("name", TABLES)
def test_deltalake_reads_the_same_rows_and_schema(name: str) -> None:
    table = delta(name)
    files = table.file_uris()
    with duckdb.connect() as db:
        [(rows, digest)] = db.sql(f"select count(*), sum(hash(t::varchar)::hugeint) from read_parquet({files!r}) t").fetchall()
        assert rows == count(name) and digest is not None
    schema, relation = name.split(".")
    ours = sql(f"select column_name from information_schema.columns where table_schema = '{schema}' and table_name = '{relation}' order by ordinal_position")
    assert [f.name for f in table.schema().fields] == [c for (c,) in ours]


def test_checks_were_stored_as_gx_results() -> None:
    files = sorted((Path(DEMO["data"]) / "checks/silver.flights").glob("*.json"))
    result = json.loads(files[-1].read_text())
    assert result["success"] is True
    assert result["statistics"]["evaluated_expectations"] >= 12
    assert len({r["expectation_config"]["type"] for r in result["results"]}) >= 8


def test_a_second_run_adds_nothing() -> None:
    placed = [name for name in TABLES if "_offset" in ORDER[name]]
    version = delta("bronze.flights").version()
    before = {name: sql(f"select count(*), max(_offset) from {name}") for name in placed}
    run = rest("POST", "/api/v2/dags/flights/dagRuns", {"logical_date": None})
    request = urllib.request.Request(f"{A['http']}/api/v2/dags/flights/dagRuns/{run['dag_run_id']}/wait?interval=0.2")
    with urllib.request.urlopen(request, timeout=300) as answer:
        last = json.loads(answer.read().splitlines()[-1])
    assert last["state"] == "success"
    assert delta("bronze.flights").version() == version
    assert {name: sql(f"select count(*), max(_offset) from {name}") for name in placed} == before
    assert count('topics."flights.dlq"') == DEMO["bad"]["undecodable"] + DEMO["bad"]["unknown-schema"]


def test_kcat_lists_and_reads_the_topics() -> None:
    topics = {t["topic"]: len(t["partitions"]) for t in json.loads(kcat("-L", "-J"))["topics"]}
    assert topics["flights"] == 6 and "flights.dlq" in topics
    headers = kcat("-C", "-t", "flights.dlq", "-o", "beginning", "-e", "-f", "%h\n").splitlines()
    assert len(headers) == DEMO["bad"]["undecodable"] + DEMO["bad"]["unknown-schema"]
    for line in headers:
        for key in ("reason", "topic=flights", "partition", "offset"):
            assert f"millrace.dlq.{key}" in line
    assert sum("millrace.dlq.schema_id" in line for line in headers) >= DEMO["bad"]["unknown-schema"]


def test_confluent_kafka_produces_and_consumes_in_a_group() -> None:
    producer = Producer({"bootstrap.servers": A["kafka"], "enable.idempotence": True})
    for i in range(1000):
        producer.produce("demo-group", key=str(i), value=f"value {i}")
    assert producer.flush(30) == 0
    consumer = Consumer({"bootstrap.servers": A["kafka"], "group.id": "demo", "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe(["demo-group"])
    got: set[bytes] = set()
    while len(got) < 1000:
        message = consumer.poll(30)
        assert message is not None and message.error() is None
        got.add(message.value())
    consumer.commit(asynchronous=False)
    committed = consumer.committed([TopicPartition("demo-group", 0)])
    assert committed[0].offset == 1000
    consumer.close()


def psql(command: str) -> str:
    return subprocess.run(["psql", "-X", "-d", A["pg"], "-c", command], check=True, capture_output=True, text=True).stdout


def test_psql_lists_and_describes_tables() -> None:
    listed = psql("\\dt")
    for name in TABLES:
        schema, relation = name.split(".")
        assert any(line.split("|")[0].strip() == schema and line.split("|")[1].strip() == relation for line in listed.splitlines() if "|" in line), name
    described = psql("\\d silver.flights")
    assert "departure" in described and "timestamp without time zone" in described and "origin_city" in described


def test_curl_gets_the_schema_from_the_registry() -> None:
    out = subprocess.run(["curl", "-sf", f"{A['registry']}/subjects/flights-value/versions/latest"], check=True, capture_output=True, text=True).stdout
    answer = json.loads(out)
    assert answer["subject"] == "flights-value"
    assert [f["name"] for f in json.loads(answer["schema"])["fields"]] == ["date", "delay", "distance", "origin", "destination"]
