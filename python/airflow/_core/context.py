# SPDX-License-Identifier: Apache-2.0
"""What a task sees while it runs: the template context, the task instance, the run."""

from __future__ import annotations

import contextvars
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow import not_supported
from airflow._core import server
from airflow._core.params import ParamsDict
from airflow._core.settings import ConnAccessor, VarAccessor
from airflow._core.xcom import XCOM_RETURN_KEY, dumps, loads
from airflow.exceptions import AirflowException

try:
    import pendulum
except ImportError:  # the DAG file must not need it then
    pendulum = None  # type: ignore[assignment]

Context = dict  # Airflow's is a TypedDict

_current: contextvars.ContextVar[Any] = contextvars.ContextVar("context", default=None)

CONTEXT_KEYS = frozenset(
    "conn dag dag_run data_interval_end data_interval_start ds ds_nodash exception expanded_ti_count inlets inlet_events outlets outlet_events "
    "logical_date macros map_index_template params prev_data_interval_start_success prev_data_interval_end_success prev_start_date_success "
    "prev_end_date_success reason run_id start_date task task_instance task_instance_key_str task_reschedule_count test_mode templates_dict ti "
    "triggering_asset_events ts ts_nodash ts_nodash_with_tz try_number var".split()
)


def from_us(us: int | None) -> Any:
    if us is None:
        return None
    d = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=us)
    return pendulum.instance(d) if pendulum is not None else d


def get_current_context() -> Any:
    c = _current.get()
    if c is None:
        raise RuntimeError("Current context was requested but no context was found! Are you running within an Airflow task?")
    return c


def set_current(c: Any) -> Any:
    return _current.set(c)


def get_parsing_context() -> Any:
    return type("AirflowParsingContext", (), {"dag_id": None, "task_id": None})()


class DagRun:
    def __init__(self, d: dict[str, Any]) -> None:
        self.dag_id, self.run_id, self.run_type = d["dag_id"], d["run_id"], d.get("run_type")
        self.logical_date, self.run_after = from_us(d.get("logical_us")), from_us(d.get("run_after_us"))
        self.data_interval_start, self.data_interval_end = from_us(d.get("interval_start_us")), from_us(d.get("interval_end_us"))
        self.start_date, self.end_date = from_us(d.get("run_start_us")), None
        self.conf: dict[str, Any] = d.get("conf") or {}
        self.state = d.get("run_state", "running")
        self.note = d.get("note")
        self.triggered_by = d.get("triggered_by")

    def get_task_instance(self, task_id: str, **_: Any) -> Any:
        raise not_supported("dag_run.get_task_instance (use ti.get_task_states)")

    get_task_instances = get_task_instance


class TaskInstance:
    map_index = -1
    hostname = "localhost"

    def __init__(self, d: dict[str, Any], task: Any, run: DagRun) -> None:
        self.task, self.dag_run = task, run
        self.dag_id, self.task_id, self.run_id = d["dag_id"], d.get("task_id", ""), d["run_id"]
        self.try_number, self.max_tries = d.get("try_number", 1), d.get("max_tries", 0)
        self.id = d.get("ti_id")
        self.start_date, self.end_date = from_us(d.get("start_us")), None
        self.first_start_time = (d.get("first_start_us") or d.get("start_us") or 0) / 1e6
        self.reschedule_count = d.get("reschedules", 0)
        self.state = d.get("state", "running")
        self.pushed: list[tuple[str, str]] = []
        self.log = task.log if task is not None else None
        self.operator = getattr(task, "task_type", None)

    logical_date = property(lambda self: self.dag_run.logical_date)

    @property
    def key_str(self) -> str:
        ds = self.dag_run.logical_date.strftime("%Y%m%d") if self.dag_run.logical_date is not None else self.run_id
        return f"{self.dag_id}__{self.task_id}__{ds}"

    def xcom_push(self, key: str, value: Any, **_: Any) -> None:
        server.call("xcom_set", key=key, value=dumps(value))

    def xcom_pull(self, task_ids: Any = None, dag_id: str | None = None, key: str = XCOM_RETURN_KEY, include_prior_dates: bool = False, *,
                  map_indexes: Any = None, run_id: str | None = None, default: Any = None) -> Any:
        if include_prior_dates:
            raise not_supported("xcom_pull(include_prior_dates=True)")

        def one(t: str) -> Any:
            v = server.call("xcom_get", dag_id=dag_id or self.dag_id, run_id=run_id or self.run_id, task_id=t, key=key)
            return default if v is None else loads(v)

        if task_ids is None:
            return one(self.task_id)
        if isinstance(task_ids, str):
            return one(task_ids)
        return [one(t) for t in task_ids]

    def get_task_states(self, task_ids: Any = None, **_: Any) -> dict[str, Any]:
        out: dict[str, Any] = server.call("task_states", task_ids=list(task_ids) if task_ids is not None else None)
        return {self.run_id: out}

    def get_relevant_upstream_map_indexes(self, *a: Any, **k: Any) -> Any:
        return None

    def get_dagrun(self) -> DagRun:
        return self.dag_run


class _Macros:
    """`macros.*` of templates."""

    import random
    import time
    import uuid

    datetime = datetime
    timedelta = timedelta

    @property
    def dateutil(self) -> Any:
        import dateutil

        return dateutil

    @staticmethod
    def ds_add(ds: str, days: int) -> str:
        return (datetime.strptime(str(ds), "%Y-%m-%d") + timedelta(days=days)).strftime("%Y-%m-%d") if days else ds

    @staticmethod
    def ds_format(ds: str, input_format: str, output_format: str) -> str:
        return datetime.strptime(str(ds), input_format).strftime(output_format)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AirflowException(f"macros.{name} is not there (datetime, timedelta, dateutil, time, uuid, random, ds_add, ds_format are)")


macros = _Macros()


class _Lazy:
    """Values that need a question to the server, asked when used."""

    def __init__(self) -> None:
        self.prev: dict[str, Any] | None = None

    def get(self, key: str) -> Any:
        if self.prev is None:
            self.prev = server.call("prev_success") or {}
        return from_us(self.prev.get(key))


class TaskContext(dict):  # type: ignore[type-arg]
    """A dict whose prev_* entries are asked for when they are used."""

    _LAZY = {"prev_data_interval_start_success": "interval_start_us", "prev_data_interval_end_success": "interval_end_us",
             "prev_start_date_success": "start_us", "prev_end_date_success": "end_us"}

    def __init__(self, *a: Any, **k: Any) -> None:
        super().__init__(*a, **k)
        self._lazy = _Lazy()

    def __missing__(self, key: str) -> Any:
        if key in self._LAZY:
            self[key] = v = self._lazy.get(self._LAZY[key])
            return v
        raise KeyError(key)


def make_context(d: dict[str, Any], dag: Any, task: Any) -> TaskContext:
    """The context of templates-ref of Airflow's documentation, from what the server sends."""
    run = DagRun(d)
    ti = TaskInstance(d, task, run)
    params = ParamsDict(dag.params if dag is not None else None)
    if task is not None:
        for k in task.params:
            params[k] = task.params.get_param(k)
    for k, v in run.conf.items():
        params[k] = v
    c = TaskContext(
        conn=ConnAccessor(), dag=dag, dag_run=run, data_interval_start=run.data_interval_start, data_interval_end=run.data_interval_end,
        logical_date=run.logical_date, macros=macros, params=params.validate(), run_id=run.run_id, task=task, task_instance=ti, ti=ti,
        task_instance_key_str=ti.key_str, task_reschedule_count=ti.reschedule_count, test_mode=False, try_number=ti.try_number,
        var={"json": VarAccessor(True), "value": VarAccessor(False)}, start_date=ti.start_date, expanded_ti_count=None, map_index_template=None,
        inlets=[], outlets=[], triggering_asset_events={}, templates_dict=None,
    )
    if run.logical_date is None:
        del c["logical_date"]
    else:
        ld = run.logical_date
        ts = ld.isoformat()
        c.update(ds=ld.strftime("%Y-%m-%d"), ds_nodash=ld.strftime("%Y%m%d"), ts=ts, ts_nodash=ld.strftime("%Y%m%dT%H%M%S"),
                 ts_nodash_with_tz=ts.replace("-", "").replace(":", ""))
    return c
