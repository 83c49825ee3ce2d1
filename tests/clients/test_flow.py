# SPDX-License-Identifier: Apache-2.0
"""Workflows in the real server: a DAG of every kind of task, kill -9 in the middle of each, the time between tasks, faults of the Python side."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TOP
from machine import until

DAG = '''
from datetime import timedelta
from pathlib import Path
from airflow.sdk import DAG, task
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator

HERE = str(Path(__file__).parent)
WAIT = "touch {here}/{{{{ task.task_id }}}}.here; while test -e {here}/{{{{ task.task_id }}}}.hold; do sleep 0.02; done; echo bash".format(here=HERE)


def hold(name):
    import os, time
    open(HERE + "/" + name + ".here", "w").close()
    while os.path.exists(HERE + "/" + name + ".hold"):
        time.sleep(0.02)


with DAG("held", schedule=None, default_args={"retries": 2, "retry_delay": timedelta(0)}):
    @task
    def py() -> dict:
        hold("py")
        return {"n": 5}

    @task
    def last(a, b):
        return [a, b]

    sh = BashOperator(task_id="sh", bash_command=WAIT)
    sql = SQLExecuteQueryOperator(
        task_id="sql", sql=["create schema if not exists s", "create or replace table s.t as select 7 as x", "select x from s.t"])
    p = py()
    p >> sh >> sql >> EmptyOperator(task_id="nothing") >> last(p["n"], sh.output)
'''
CHAINS = '''
from airflow.sdk import DAG, chain, task
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
with DAG("empty", schedule=None):
    chain(*[EmptyOperator(task_id=f"t{i}") for i in range(20)])
with DAG("bash", schedule=None):
    chain(*[BashOperator(task_id=f"t{i}", bash_command="true") for i in range(20)])
with DAG("sql", schedule=None):
    chain(*[SQLExecuteQueryOperator(task_id=f"t{i}", sql="select 1") for i in range(20)])
with DAG("python", schedule=None):
    @task
    def step(): pass
    chain(*[step.override(task_id=f"t{i}")() for i in range(20)])
'''


def rest(server: Any, method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.http + "/api/v2" + path, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def has_dag(server: Any, dag_id: str) -> bool:
    return any(d["dag_id"] == dag_id for d in rest(server, "GET", "/dags")["dags"])


def trigger(server: Any, dag_id: str) -> str:
    until(lambda: has_dag(server, dag_id), f"DAG {dag_id}")
    return str(rest(server, "POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None})["dag_run_id"])


def run_state(server: Any, dag_id: str, run_id: str) -> str:
    return str(rest(server, "GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])


def ended(server: Any, dag_id: str, run_id: str) -> str:
    return str(until(lambda: s if (s := run_state(server, dag_id, run_id)) in ("success", "failed") else "", f"end of {run_id}"))


def instances(server: Any, dag_id: str, run_id: str) -> dict[str, Any]:
    return {t["task_id"]: t for t in rest(server, "GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=1000")["task_instances"]}


@pytest.mark.parametrize("place", ["py", "sh"])
def test_kill_9_in_the_middle_of_a_task(new_server: Callable[..., Any], tmp_path: Path, place: str) -> None:
    (tmp_path / "held.py").write_text(DAG)
    (tmp_path / f"{place}.hold").touch()
    server = new_server({"flow.dags": str(tmp_path)}).start()
    run_id = trigger(server, "held")
    until((tmp_path / f"{place}.here").exists, f"{place} to run")
    server.kill()
    (tmp_path / f"{place}.hold").unlink()
    server.start()
    assert ended(server, "held", run_id) == "success"
    tis = instances(server, "held", run_id)
    assert {k: (t["state"], t["try_number"]) for k, t in tis.items()} == {
        k: ("success", 2 if k == place else 1) for k in ("py", "sh", "sql", "nothing", "last")
    }
    value = rest(server, "GET", f"/dags/held/dagRuns/{run_id}/taskInstances/last/xcomEntries/return_value")["value"]
    assert (json.loads(value) if isinstance(value, str) else value) == [5, "bash"]


def test_an_orderly_stop_costs_no_try(new_server: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "held.py").write_text(DAG.replace('"retries": 2', '"retries": 0'))
    (tmp_path / "sh.hold").touch()
    server = new_server({"flow.dags": str(tmp_path)}).start()
    run_id = trigger(server, "held")
    until((tmp_path / "sh.here").exists, "sh to run")
    server.stop()
    (tmp_path / "sh.hold").unlink()
    server.start()
    assert ended(server, "held", run_id) == "success"


def test_the_interpreter_is_started_again(new_server: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "held.py").write_text(DAG)
    (tmp_path / "py.hold").touch()
    server = new_server({"flow.dags": str(tmp_path)}).start()
    run_id = trigger(server, "held")
    until((tmp_path / "py.here").exists, "py to run")
    (worker,) = workers(server)
    os.kill(worker, signal.SIGKILL)
    (tmp_path / "py.hold").unlink()
    assert ended(server, "held", run_id) == "success"
    assert instances(server, "held", run_id)["py"]["try_number"] >= 2


def test_who_has_no_dag_files_has_no_interpreter(new_server: Callable[..., Any], tmp_path: Path) -> None:
    server = new_server({"flow.dags": str(tmp_path)}).start()
    processor = "/monitor/health"
    until(lambda: rest(server, "GET", processor)["dag_processor"]["latest_dag_processor_heartbeat"], "the first look at the folder")
    assert rest(server, "GET", processor)["dag_processor"]["status"] == "healthy"
    assert workers(server) == []
    (tmp_path / "chains.py").write_text(CHAINS)
    assert ended(server, "python", trigger(server, "python")) == "success"
    assert len(workers(server)) == 1


def workers(server: Any) -> list[int]:
    return [int(p) for p in os.listdir("/proc") if p.isdigit() and is_worker(p, server.process.pid)]


def is_worker(pid: str, parent: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
        return int(status.rsplit(")", 1)[1].split()[1]) == parent and b"millrace_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("kind", ["empty", "sql", "bash", "python"])
def test_a_chain_runs_in_order(new_server: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    """Twenty tasks one behind the other; how fast is measured by bench/run dag."""
    (tmp_path / "chains.py").write_text(CHAINS)
    server = new_server({"flow.dags": str(tmp_path)}).start()
    run_id = trigger(server, kind)
    assert ended(server, kind, run_id) == "success"
    times = sorted((t["start_date"], t["end_date"]) for t in instances(server, kind, run_id).values())
    assert len(times) == 20
    assert all(before[1] <= after[0] for before, after in zip(times, times[1:], strict=False))


FLIGHTS = """date,delay,distance,origin,destination
2001-01-01 10:00:00,5,569,AAA,BBB
2001-01-01 11:00:00,25,9000,BBB,AAA
2001-01-01 12:00:00,-3,569,AAA,BBB
"""
AIRPORTS = "iata,name,city,state,country,latitude,longitude\nAAA,A,Aton,AA,USA,1.0,2.0\nBBB,B,Bton,BB,USA,3.0,4.0\n"


def test_a_check_that_fails_is_told_by_the_failure_path(new_server: Callable[..., Any], tmp_path: Path) -> None:
    """The demo's own DAG, with a suite that the data break: the task fails, its rows are kept, notify_failure says which expectation it was."""
    shutil.copytree(TOP / "demo/dags", tmp_path / "demo/dags")
    dag_file = tmp_path / "demo/dags/flights.py"
    dag_file.write_text(dag_file.read_text().replace('"retries": 3', '"retries": 0'))
    suite = json.loads((TOP / "demo/suites/flights.json").read_text())
    suite["expectations"].append({"type": "expect_column_values_to_be_between", "kwargs": {"column": "distance", "max_value": 600}})
    (tmp_path / "demo/suites").mkdir()
    (tmp_path / "demo/suites/flights.json").write_text(json.dumps(suite))
    (tmp_path / "flights.csv").write_text(FLIGHTS)
    (tmp_path / "airports.csv").write_text(AIRPORTS)
    server = new_server({"flow.dags": str(tmp_path / "demo/dags"), "flow.paused_at_creation": "true", "engine.files": str(tmp_path)}).start()
    server.cli("sql", "-c", f"create schema if not exists ref; create table ref.airports as select * from read_csv('{tmp_path}/airports.csv')")
    server.cli("produce", "--topic", "flights", "--partitions", "2", "--key", "origin", "--timestamp", "date", str(tmp_path / "flights.csv"))
    run_id = trigger(server, "flights")
    rest(server, "PATCH", "/dags/flights", {"is_paused": False})
    assert ended(server, "flights", run_id) == "failed"
    states = {k: t["state"] for k, t in instances(server, "flights", run_id).items()}
    assert states.pop("checks") == "failed"
    assert states.pop("notify") == "upstream_failed"
    assert set(states.values()) == {"success"}, states
    log = rest(server, "GET", f"/dags/flights/dagRuns/{run_id}/taskInstances/notify_failure/logs/1?full_content=true")
    told = next(json.loads(line) for c in log["content"] if (line := (c["event"] if isinstance(c, dict) else c)).startswith('{"dag"'))
    assert told["checks"] == [{"expectation": "expect_column_values_to_be_between", "column": "distance", "rows_kept": 1}]
