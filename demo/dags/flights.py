# SPDX-License-Identifier: Apache-2.0
"""Flights: from the topic `flights` to checked gold tables.

An ordinary Airflow 3 file: Millrace runs it, and so does Airflow (with a connection `millrace_default` of type postgres that points at
Millrace's PostgreSQL door). Every task can be run again alone and leaves the same tables.
"""

from __future__ import annotations

import json
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import BaseHook, Param, PokeReturnValue, dag, get_current_context, task

CONN = "millrace_default"
HERE = Path(__file__).resolve().parent
SUITE = HERE.parent / "suites" / "flights.json"


def post(event: dict[str, Any]) -> None:
    """Sends the event to the webhook of the run's params; without one it is only printed."""
    url = get_current_context()["params"]["webhook"]
    body = json.dumps(event, default=str)
    print(body)
    if url:
        request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            print("webhook answered", answer.status)


@dag(
    dag_id="flights",
    description="Topic flights to bronze, silver and gold tables, checked",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=1)},
    params={"webhook": Param("", type="string", description="URL that hears how the run ended; empty = none")},
    template_searchpath=[str(HERE / "sql")],
    tags=["demo"],
)
def flights() -> None:
    def sql(task_id: str, statement: str) -> SQLExecuteQueryOperator:
        return SQLExecuteQueryOperator(task_id=task_id, conn_id=CONN, sql=statement, split_statements=True)

    @task.sensor(poke_interval=1, timeout=600, mode="reschedule")
    def wait_for_events() -> PokeReturnValue:
        """Done when the topic holds events; what is not yet in bronze goes on as XCom."""
        hook = BaseHook.get_hook(CONN)
        ends = {row[0]: int(row[1]) for row in hook.get_records("select _partition, max(_offset) + 1 from topics.flights group by 1")}
        known = hook.get_records("select 1 from information_schema.tables where table_schema = 'bronze' and table_name = 'flights'")
        taken = {row[0]: int(row[1]) for row in hook.get_records("select _partition, max(_offset) + 1 from bronze.flights group by 1")} if known else {}
        lag = {str(p): end - taken.get(p, 0) for p, end in sorted(ends.items())}
        return PokeReturnValue(is_done=bool(ends), xcom_value={"events": sum(ends.values()), "lag": lag})

    space = BashOperator(task_id="disk_space", bash_command="df -h --output=avail . | tail -n 1 | tr -d ' '")
    bronze = sql("bronze", "bronze.sql")
    silver = sql("silver", "silver.sql")
    gold = [sql("gold_airport_days", "gold_airport_days.sql"), sql("gold_routes", "gold_routes.sql"), sql("gold_hours", "gold_hours.sql")]
    checks = sql("checks", f"check silver.flights using '{SUITE}'")

    @task
    def notify(waited_for: dict[str, Any], free: str) -> None:
        post({"dag": "flights", "status": "success", "lag": sum(waited_for["lag"].values()), "disk_free": free})

    @task(trigger_rule="one_failed", retries=0)
    def notify_failure() -> None:
        """Says which checks failed, when it was the checks; their rows are in quarantine.flights_checks."""
        hook = BaseHook.get_hook(CONN)
        kept = hook.get_records("select 1 from information_schema.tables where table_schema = 'quarantine' and table_name = 'flights_checks'")
        failed = hook.get_records("select expectation, column_name, count(*) from quarantine.flights_checks group by 1, 2 order by 1, 2") if kept else []
        post({"dag": "flights", "status": "failed", "checks": [{"expectation": e, "column": c, "rows_kept": int(n)} for e, c, n in failed]})

    waited = wait_for_events()
    done = notify(waited, space.output)
    waited >> [space, bronze]
    bronze >> silver >> gold >> checks >> done
    [bronze, silver, *gold, checks] >> notify_failure()


flights()
