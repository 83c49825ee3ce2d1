# SPDX-License-Identifier: Apache-2.0
"""A DAG as the JSON that the server keeps and schedules by."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow._core.dag import DAG, TaskGroup
from airflow._core.params import ParamsDict
from airflow._core.timetables import us
from airflow._core.xcom import has_refs
from airflow.exceptions import AirflowException

FORMAT = 1
TASKS_MAX = 100_000


def _us(d: datetime | None) -> int | None:
    if d is None:
        return None
    x = d.astimezone(timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return us(x)


def plain(v: Any) -> Any:
    """What JSON holds, the rest by its text."""
    if v is None or isinstance(v, (bool, int, float, str)):
        return v
    if isinstance(v, dict):
        return {str(k): plain(x) for k, x in v.items()}
    if isinstance(v, (list, tuple)):
        return [plain(x) for x in v]
    if isinstance(v, (set, frozenset)):
        return sorted((plain(x) for x in v), key=repr)
    return str(v)


def _is_plain(v: Any) -> bool:
    if v is None or isinstance(v, (bool, int, float, str)):
        return True
    if isinstance(v, dict):
        return all(isinstance(k, str) and _is_plain(x) for k, x in v.items())
    return isinstance(v, (list, tuple)) and all(_is_plain(x) for x in v)


def _kind(op: Any) -> tuple[str, dict[str, Any]]:
    """Which tasks the server runs itself: exactly the standard classes with nothing in them that is code."""
    from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.providers.standard.operators.empty import EmptyOperator

    if op._pre_execute_hook or op._post_execute_hook or op.on_execute_callback:
        return "python", {}
    t = type(op)
    if t is EmptyOperator:
        return "empty", {}
    if t is BashOperator and op.output_processor is None and _is_plain([op.env, op.cwd]) and isinstance(op.bash_command, str):
        return "bash", {"bash_command": op.bash_command, "env": op.env, "append_env": op.append_env, "cwd": op.cwd,
                        "skip_on_exit_code": op.skip_on_exit_code}
    if t is SQLExecuteQueryOperator:
        refs = has_refs([op.sql, op.conn_id, op.parameters])
        args = {"conn_id": op.conn_id if isinstance(op.conn_id, str) else None, "sql": None if refs else plain(op.sql),
                "parameters": None if refs else plain(op.parameters), "fetch": op.fetch, "refs": refs,
                "split_statements": op.split_statements, "show_return_value_in_logs": op.show_return_value_in_logs}
        return "sql", args
    return "python", {}


def _weights(dag: DAG) -> dict[str, int]:
    """priority_weight by rule: the sum over itself and all downstream (or upstream) tasks, each once."""
    order = dag.topological()
    if all(t.weight_rule == "downstream" and t.priority_weight == 1 for t in order) and len(order) > 2000:
        depth: dict[str, int] = {}  # sets of thousands of tasks would be quadratic: the depth orders them as well
        for t in reversed(order):
            depth[t.task_id] = 1 + max((depth[d] for d in t.downstream_task_ids), default=0)
        return depth
    out = {}
    for t in order:
        w = t.priority_weight
        if t.weight_rule != "absolute":
            w += sum(dag.get_task(r).priority_weight for r in t.get_flat_relative_ids(upstream=t.weight_rule == "upstream"))
        out[t.task_id] = w
    return out


def task_json(op: Any, weight: int) -> dict[str, Any]:
    kind, args = _kind(op)
    d: dict[str, Any] = {
        "task_id": op.task_id, "display_name": op.task_display_name, "kind": kind, "operator": op.operator_name, "module": type(op).__module__,
        "class": type(op).__qualname__, "upstream": sorted(op.upstream_task_ids), "downstream": sorted(op.downstream_task_ids),
        "group": (op.task_group.group_id or "") if op.task_group is not None else "", "trigger_rule": str(op.trigger_rule), "retries": op.retries,
        "retry_delay_us": us(op.retry_delay), "retry_exponential": op.retry_exponential_backoff,
        "max_retry_delay_us": us(op.max_retry_delay) if op.max_retry_delay is not None else None,
        "execution_timeout_us": us(op.execution_timeout) if op.execution_timeout is not None else None, "pool": op.pool, "pool_slots": op.pool_slots,
        "priority_weight": op.priority_weight, "weight": weight, "weight_rule": str(op.weight_rule), "depends_on_past": op.depends_on_past,
        "owner": op.owner, "queue": op.queue, "doc_md": op.doc_md, "is_sensor": op.is_sensor, "start_us": _us(op.start_date),
        "end_us": _us(op.end_date),
        "max_active_tis_per_dag": op.max_active_tis_per_dag, "do_xcom_push": op.do_xcom_push, "is_setup": op.is_setup, "is_teardown": op.is_teardown,
        "on_failure_fail_dagrun": op.on_failure_fail_dagrun, "template_fields": list(op.template_fields), "ui_color": op.ui_color,
        "ui_fgcolor": op.ui_fgcolor, "params": op.params.dump_full(),
        "callbacks": [n for n in ("failure", "success", "retry", "skipped") if getattr(op, f"on_{n}_callback")],
    }
    if args:
        d["args"] = args
    return d


def _group_json(g: TaskGroup) -> dict[str, Any]:
    return {"group_id": g.group_id or "", "label": g.group_display_name or (g.group_id or "").rsplit(".", 1)[-1], "tooltip": g.tooltip,
            "children": list(g.children)}


def dag_json(dag: DAG) -> dict[str, Any]:
    if len(dag.task_dict) > TASKS_MAX:
        raise AirflowException(f"DAG {dag.dag_id!r} has {len(dag.task_dict)} tasks; the maximum is {TASKS_MAX}")
    weights = _weights(dag)
    if dag.timetable["type"] not in ("none",):
        dag.params.validate()  # a schedule needs a default for every param
    return {
        "format": FORMAT, "dag_id": dag.dag_id, "display_name": dag.dag_display_name, "description": dag.description, "doc_md": dag.doc_md,
        "tags": dag.tags, "owners": sorted({t.owner for t in dag.tasks}), "fileloc": dag.fileloc, "schedule": dag.timetable,
        "start_us": _us(dag.start_date), "end_us": _us(dag.end_date), "timezone": "UTC", "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs, "max_active_tasks": dag.max_active_tasks,
        "max_consecutive_failed_dag_runs": dag.max_consecutive_failed_dag_runs,
        "dagrun_timeout_us": us(dag.dagrun_timeout) if dag.dagrun_timeout is not None else None,
        "is_paused_upon_creation": dag.is_paused_upon_creation, "params": dag.params.dump_full(), "default_args": plain(dag.default_args),
        "render_native": dag.render_template_as_native_obj, "template_searchpath": dag.template_searchpath,
        "user_templates": bool(dag.user_defined_macros or dag.user_defined_filters or dag.jinja_environment_kwargs or dag.template_undefined),
        "fail_fast": dag.fail_fast, "callbacks": [n for n in ("failure", "success") if getattr(dag, f"on_{n}_callback")],
        "tasks": [task_json(t, weights[t.task_id]) for t in dag.tasks],
        "groups": [_group_json(g) for g in (dag.task_group, *dag.group_ids.values())],
        "edges": [{"from": a, "to": b, "label": label} for (a, b), label in sorted(dag.edge_labels.items())],
    }


__all__ = ["dag_json", "plain", "ParamsDict"]
