# SPDX-License-Identifier: Apache-2.0
"""Airflow's own example DAG files, read by real Airflow and by our package: what ours takes is the same graph, what it does not take says so."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp())
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

import airflow.example_dags  # noqa: E402
import airflow.providers.standard.example_dags  # noqa: E402
from airflow.dag_processing.dagbag import DagBag  # noqa: E402

TOP = Path(__file__).resolve().parents[2]
FOLDERS = [Path(p) for m in (airflow.example_dags, airflow.providers.standard.example_dags) for p in m.__path__] + [TOP / "demo/dags"]
OURS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from millrace_worker import child
print(json.dumps({p: child.parse({"file": p}, None) for p in sys.argv[2:]}), file=sys.__stdout__)
"""
MISSING_HERE = ("No module named",)  # an example's own third-party import


def read_by_ours(paths: list[str]) -> dict[str, Any]:
    """A process per file, as the worker does it."""
    out: dict[str, Any] = {}
    for p in paths:
        done = subprocess.run(["/usr/bin/python3", "-c", OURS, str(TOP / "python"), p], capture_output=True, text=True, timeout=60, cwd="/",
                              check=True)
        out.update(json.loads(done.stdout.splitlines()[-1]))
    return out


def us(d: timedelta | None) -> int | None:
    return None if d is None else round(d.total_seconds() * 1e6)


def test_same_graph() -> None:
    files = sorted(str(p) for folder in FOLDERS for p in folder.glob("*.py") if p.name != "__init__.py")
    ours = read_by_ours(files)
    taken = refused = 0
    for path in files:
        mine = ours[path]
        if mine["error"]:
            refused += 1
            assert "docs/LIMITS.md" in mine["error"] or any(m in mine["error"] for m in MISSING_HERE), (path, mine["error"])
            continue
        bag = DagBag(path)
        assert bag.import_errors == {}, path
        assert {d["dag_id"] for d in mine["dags"]} == set(bag.dags), path
        for d in mine["dags"]:
            taken += 1
            compare(d, bag.dags[d["dag_id"]])
    assert taken >= 25
    print(f"{taken} DAGs are the same, {refused} files are refused")


def compare(mine: dict[str, Any], real: Any) -> None:
    where = mine["dag_id"]
    tasks = {t["task_id"]: t for t in mine["tasks"]}
    assert set(tasks) == set(real.task_ids), where
    for t in real.tasks:
        m = tasks[t.task_id]
        assert set(m["upstream"]) == set(t.upstream_task_ids), (where, t.task_id)
        assert m["trigger_rule"] == str(t.trigger_rule.value), (where, t.task_id)
        assert m["retries"] == t.retries and m["retry_delay_us"] == us(t.retry_delay), (where, t.task_id)
        assert m["execution_timeout_us"] == us(t.execution_timeout), (where, t.task_id)
        assert (m["pool"], m["pool_slots"], m["priority_weight"], m["owner"]) == (t.pool, t.pool_slots, t.priority_weight, t.owner), (where,
                                                                                                                                      t.task_id)
        assert m["group"] == (t.task_group.group_id or ""), (where, t.task_id)
        assert (m["is_setup"], m["is_teardown"], m["depends_on_past"]) == (t.is_setup, t.is_teardown, t.depends_on_past), (where, t.task_id)
        assert m["operator"] == t.operator_name, (where, t.task_id)
    assert mine["tags"] == sorted(real.tags)
    assert (mine["max_active_runs"], mine["max_active_tasks"], mine["catchup"]) == (real.max_active_runs, real.max_active_tasks, real.catchup), where
    assert set(mine["params"]) == set(real.params), where
