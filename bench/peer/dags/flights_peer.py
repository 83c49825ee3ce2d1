# SPDX-License-Identifier: Apache-2.0
"""The demo's DAG (demo/dags/flights.py) for a real Airflow: the same tasks, each Spark task in a Spark process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Param, PokeReturnValue, dag, get_current_context, task

BROKERS = os.environ.get("PEER_JOB_BROKERS", "")
SPARK = f"exec {os.environ.get('PEER_JOB_PYTHON', 'python3')} {os.environ.get('PEER_JOB_TASK', 'spark_task.py')}"


def post(event: dict[str, Any]) -> None:
    url = get_current_context()["params"]["webhook"]
    body = json.dumps(event, default=str)
    if url:
        urllib.request.urlopen(urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"}), timeout=10).close()


@dag(dag_id="flights_peer", schedule=None, start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1,
     default_args={"retries": 3, "retry_delay": timedelta(seconds=1)}, params={"webhook": Param("", type="string")})
def flights_peer() -> None:
    @task.sensor(poke_interval=1, timeout=600, mode="reschedule")
    def wait_for_events() -> PokeReturnValue:
        asked = [part for p in range(6) for part in ("-t", f"flights:{p}:-1")]
        out = subprocess.run(["kcat", "-q", "-Q", "-b", BROKERS, *asked], check=True, capture_output=True, text=True).stdout
        ends = [int(line.rsplit("offset", 1)[1]) for line in out.splitlines()]
        return PokeReturnValue(is_done=sum(ends) > 0, xcom_value={"events": sum(ends)})

    def spark(name: str) -> BashOperator:
        return BashOperator(task_id=name, bash_command=f"{SPARK} {name}")

    space = BashOperator(task_id="disk_space", bash_command="df -h --output=avail . | tail -n 1 | tr -d ' '")
    bronze, silver, checks = spark("bronze"), spark("silver"), spark("checks")
    gold = [spark(name) for name in ("gold_airport_days", "gold_routes", "gold_hours")]

    @task
    def notify(waited_for: dict[str, Any], free: str) -> None:
        post({"dag": "flights_peer", "status": "success", "events": waited_for["events"], "disk_free": free})

    @task(trigger_rule="one_failed", retries=0)
    def notify_failure() -> None:
        post({"dag": "flights_peer", "status": "failed"})

    waited = wait_for_events()
    done = notify(waited, space.output)
    waited >> [space, bronze]
    bronze >> silver >> gold >> checks >> done
    [bronze, silver, *gold, checks] >> notify_failure()


flights_peer()
