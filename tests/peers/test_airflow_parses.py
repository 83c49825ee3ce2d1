# SPDX-License-Identifier: Apache-2.0
"""The demo's DAG file is an ordinary Airflow 3 file: real Airflow reads it and sees the same tasks and edges."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp()
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

from airflow.dag_processing.dagbag import DagBag  # noqa: E402

DAGS = Path(__file__).resolve().parents[2] / "demo/dags"


def test_real_airflow_parses_the_demo() -> None:
    bag = DagBag(str(DAGS))
    assert bag.import_errors == {}
    dag = bag.dags["flights"]
    edges = {t.task_id: set(t.downstream_task_ids) for t in dag.tasks}
    assert edges["bronze"] == {"silver", "notify_failure"}
    assert edges["silver"] == {"gold_airport_days", "gold_routes", "gold_hours", "notify_failure"}
    assert edges["checks"] == {"notify", "notify_failure"}
    assert dag.task_dict["notify_failure"].trigger_rule == "one_failed"
    assert {t.task_id: t.retries for t in dag.tasks}["bronze"] == 3
