# SPDX-License-Identifier: Apache-2.0
"""The main job with `kill -9` of the server in the middle of each stage: started again, it ends in exactly the same tables.

The topic is produced once; every case works on a copy of that data directory, so that offsets and times are the same.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import TOP, Server
from deltalake import DeltaTable
from machine import until

SOURCE = TOP / "node_modules/vega-datasets/data"
ROWS = 400_000
SETTINGS = {"flow.dags": str(TOP / "demo/dags"), "flow.paused_at_creation": "true", "engine.files": str(SOURCE)}
TABLES = ("bronze/flights", "silver/flights", "quarantine/flights", "gold/airport_days", "gold/routes", "gold/hours")

if not (SOURCE / "flights-3m.parquet").exists():
    pytest.skip("the flights are not there: scripts/setup demo", allow_module_level=True)


def rest(server: Server, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(server.http + path, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"},
                                     method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def dag_is_read(server: Server) -> bool:
    try:
        return bool(rest(server, "GET", "/api/v2/dags/flights"))
    except urllib.error.HTTPError as e:
        assert e.code == 404
        return False


def digests(data: Path) -> dict[str, tuple[Any, ...]]:
    """Rows and an order-free digest of every table, as deltalake sees it."""
    out = {}
    with duckdb.connect() as db:
        for name in TABLES:
            files = DeltaTable(str(data / "lake" / name)).file_uris()
            out[name] = db.sql(f"select count(*), sum(hash(t::varchar)::hugeint) from read_parquet({files!r}) t").fetchall()[0]
    return out


def dead_letters(server: Server) -> list[str]:
    out = subprocess.run(["kcat", "-q", "-b", server.kafka, "-C", "-t", "flights.dlq", "-o", "beginning", "-e", "-f", "%h\n"], check=True, capture_output=True,
                         text=True).stdout
    return sorted(out.splitlines())


@pytest.fixture(scope="module")
def produced(scratch: Path) -> Path:
    """A data directory with the topic, the faulty events and the airports, and no run yet."""
    server = Server(scratch / "produced", SETTINGS).start()
    server.cli("produce", "--topic", "flights", "--partitions", "6", "--key", "origin", "--timestamp", "date", "--limit", str(ROWS),
               str(SOURCE / "flights-3m.parquet"))
    with urllib.request.urlopen(f"{server.registry}/subjects/flights-value/versions/latest", timeout=10) as answer:
        latest = json.load(answer)
    work = scratch / "bad"
    work.mkdir()
    (work / "schema.json").write_text(latest["schema"])
    good = subprocess.run(["kcat", "-q", "-b", server.kafka, "-C", "-t", "flights", "-p", "0", "-o", "beginning", "-c", "17", "-f", "%S\n%s"], check=True,
                          capture_output=True).stdout
    (work / "good").write_bytes(good)
    subprocess.run([sys.executable, str(TOP / "demo/bad_events.py"), str(latest["id"]), str(work / "schema.json"), str(work / "good"), str(work / "out")],
                   check=True, capture_output=True)
    for kind in sorted((work / "out").iterdir()):
        subprocess.run(["kcat", "-q", "-b", server.kafka, "-P", "-t", "flights", "-k", "FAULTY", *sorted(map(str, kind.iterdir()))], check=True)
    server.cli("sql", "-c", f"create schema if not exists ref; create or replace table ref.airports as select * from read_csv('{SOURCE}/airports.csv')")
    server.stop()
    return server.data


def start_run(server: Server) -> str:
    until(lambda: dag_is_read(server), "the DAG file is read", 120)
    run = rest(server, "POST", "/api/v2/dags/flights/dagRuns", {"logical_date": None})
    rest(server, "PATCH", "/api/v2/dags/flights", {"is_paused": False})
    return str(run["dag_run_id"])


def state_of(server: Server, run: str) -> str:
    return str(rest(server, "GET", f"/api/v2/dags/flights/dagRuns/{run}")["state"])


def finish(server: Server, run: str) -> None:
    until(lambda: state_of(server, run) in ("success", "failed"), "the run's end", 120)
    tasks = rest(server, "GET", f"/api/v2/dags/flights/dagRuns/{run}/taskInstances")["task_instances"]
    assert state_of(server, run) == "success", {t["task_id"]: t["state"] for t in tasks}


@pytest.fixture(scope="module")
def undisturbed(scratch: Path, produced: Path) -> tuple[dict[str, tuple[Any, ...]], list[str]]:
    data = scratch / "undisturbed"
    shutil.copytree(produced, data)
    server = Server(data, SETTINGS).start()
    finish(server, start_run(server))
    letters = dead_letters(server)
    server.stop()
    assert len(letters) == 12
    return digests(data), letters


@pytest.mark.parametrize("stage", ["wait_for_events", "bronze", "silver", "gold_airport_days", "gold_routes", "gold_hours", "checks", "notify"])
def test_kill_in_the_middle_of(stage: str, scratch: Path, produced: Path, undisturbed: tuple[Any, Any]) -> None:
    data = scratch / f"kill-{stage}"
    shutil.copytree(produced, data)
    server = Server(data, SETTINGS).start()
    run = start_run(server)
    states = ("running", "success")  # a stage may be too short to be seen while it runs

    def reached() -> bool:
        return bool(rest(server, "GET", f"/api/v2/dags/flights/dagRuns/{run}/taskInstances/{stage}")["state"] in states)

    until(reached, f"{stage} runs", 120)
    server.kill()
    server.start()
    finish(server, run)
    assert dead_letters(server) == undisturbed[1]
    server.stop()
    assert digests(data) == undisturbed[0]
    shutil.rmtree(data)


@pytest.mark.parametrize("delay_ms", [5, 20, 40, 60, 80, 120, 180])
def test_kill_in_the_middle_of_bronze_after(delay_ms: int, scratch: Path, produced: Path, undisturbed: tuple[Any, Any]) -> None:
    """The same at chosen times after the copy began: while it reads, writes files, and commits."""
    data = scratch / f"bronze-{delay_ms}"
    shutil.copytree(produced, data)
    server = Server(data, SETTINGS).start()
    copy = subprocess.Popen(["psql", "-X", "-q", "-d", server.pg, "-c", "copy into bronze.flights from topic flights"], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)
    try:
        copy.wait(delay_ms / 1000)  # the time is the case's parameter; what holds afterwards does not depend on it
    except subprocess.TimeoutExpired:
        pass
    server.kill()
    copy.wait()
    server.start()
    finish(server, start_run(server))
    assert dead_letters(server) == undisturbed[1]
    server.stop()
    assert digests(data) == undisturbed[0]
    shutil.rmtree(data)
