# SPDX-License-Identifier: Apache-2.0
"""BaseOperator, sensors, and how their arguments get DAG defaults."""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import os
import time
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from airflow import not_supported
from airflow._core.dag import DAG, DependencyMixin, EdgeModifier, Stack, TaskGroup, as_list, check_key, to_utc
from airflow._core.enums import TriggerRule, WeightRule
from airflow._core.params import ParamsDict
from airflow._core.timetables import us
from airflow._core.xcom import XComArg, iter_refs
from airflow.exceptions import AirflowException, AirflowRescheduleException, AirflowSensorTimeout, AirflowSkipException

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _wrap_init(init: Any) -> Any:
    """Fills arguments that the caller left out from default_args of the task group and the DAG; links XComs when all is set."""
    names = [p.name for p in list(inspect.signature(init).parameters.values())[1:] if p.kind in _NAMED]

    @functools.wraps(init)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        if args:
            raise TypeError(f"{type(self).__name__}: use keyword arguments only")
        dag = kwargs.get("dag") or (Stack.dags[-1] if Stack.dags else None)
        group = kwargs.get("task_group") or (Stack.groups[-1] if Stack.groups else None)
        defaults: dict[str, Any] = dict(dag.default_args) if dag is not None else {}
        if group is not None:
            defaults.update(group.default_args)
        defaults.update(kwargs.get("default_args") or {})
        for n in names:
            if n not in kwargs and n in defaults and n not in ("params", "start_date", "end_date", "dag", "task_group"):
                kwargs[n] = defaults[n]
        outer = not getattr(self, "_in_init", False)
        self._in_init = True
        init(self, **kwargs)
        if outer:
            self._in_init = False
            if not hasattr(self, "task_id"):
                raise AirflowException(f"{type(self).__name__}.__init__ must call super().__init__(**kwargs)")
            self._link_references()

    wrapper._wrapped = True  # type: ignore[attr-defined]
    return wrapper


class BaseOperator(DependencyMixin):
    template_fields: Collection[str] = ()
    template_ext: Sequence[str] = ()
    template_fields_renderers: dict[str, str] = {}
    ui_color = "#fff"
    ui_fgcolor = "#000"
    operator_extra_links: Collection[Any] = ()
    is_sensor = False
    _task_type: str | None = None

    def __init_subclass__(cls, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        if "__init__" in cls.__dict__ and not getattr(cls.__init__, "_wrapped", False):
            cls.__init__ = _wrap_init(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, *, task_id: str, owner: str = "airflow", email: Any = None, email_on_retry: bool = True, email_on_failure: bool = True,
                 retries: int | None = 0, retry_delay: Any = timedelta(minutes=5), retry_exponential_backoff: Any = False,
                 max_retry_delay: Any = None, start_date: datetime | None = None, end_date: datetime | None = None, depends_on_past: bool = False,
                 ignore_first_depends_on_past: bool = True, wait_for_past_depends_before_skipping: bool = False, wait_for_downstream: bool = False,
                 dag: DAG | None = None, params: Any = None, default_args: Any = None, priority_weight: int = 1, weight_rule: Any = "downstream",
                 queue: str = "default", pool: str | None = None, pool_slots: int = 1, execution_timeout: Any = None,
                 on_execute_callback: Any = None, on_failure_callback: Any = None, on_success_callback: Any = None, on_retry_callback: Any = None,
                 on_skipped_callback: Any = None, pre_execute: Any = None, post_execute: Any = None, trigger_rule: Any = "all_success",
                 resources: Any = None, run_as_user: str | None = None, map_index_template: str | None = None,
                 max_active_tis_per_dag: int | None = None,
                 max_active_tis_per_dagrun: int | None = None, executor: str | None = None, executor_config: Any = None, do_xcom_push: bool = True,
                 multiple_outputs: bool = False, inlets: Any = None, outlets: Any = None, task_group: TaskGroup | None = None, doc: str | None = None,
                 doc_md: str | None = None, doc_json: str | None = None, doc_yaml: str | None = None, doc_rst: str | None = None,
                 task_display_name: str | None = None, logger_name: str | None = None, allow_nested_operators: bool = True,
                 start_from_trigger: bool = False) -> None:
        dag = dag or (Stack.dags[-1] if Stack.dags else None)
        group = task_group or (Stack.groups[-1] if Stack.groups and Stack.groups[-1].dag is dag else dag.task_group if dag else None)
        check_key(task_id, "task_id")
        self.label = task_id
        self.task_id = group.child_id(task_id) if group is not None else task_id
        if start_from_trigger:
            raise not_supported("a deferrable task (start_from_trigger)")
        if run_as_user:
            raise not_supported("run_as_user")
        if inlets or outlets:
            raise not_supported("inlets and outlets (assets)")
        if wait_for_downstream:
            raise not_supported("wait_for_downstream")
        if max_active_tis_per_dagrun is not None:
            raise not_supported("max_active_tis_per_dagrun")
        self.owner, self.email = owner, email
        self.retries = int(retries or 0)
        self.retry_delay = retry_delay if isinstance(retry_delay, timedelta) else timedelta(seconds=float(retry_delay))
        self.retry_exponential_backoff = 2.0 if retry_exponential_backoff is True else float(retry_exponential_backoff or 0)
        self.max_retry_delay = max_retry_delay
        if max_retry_delay is not None and not isinstance(max_retry_delay, timedelta):
            self.max_retry_delay = timedelta(seconds=float(max_retry_delay))
        self.start_date, self.end_date = to_utc(start_date, "start_date"), to_utc(end_date, "end_date")
        self.depends_on_past = bool(depends_on_past)
        self.params = ParamsDict(params)
        self.priority_weight, self.weight_rule = int(priority_weight), WeightRule(str(weight_rule))
        self.queue, self.pool, self.pool_slots = queue, pool or "default_pool", int(pool_slots)
        if self.pool_slots < 1:
            raise ValueError(f"pool_slots of {self.task_id!r} must be at least 1")
        if execution_timeout is not None and not isinstance(execution_timeout, timedelta):
            raise ValueError(f"execution_timeout of {self.task_id!r} must be a timedelta")
        self.execution_timeout = execution_timeout
        self.on_execute_callback, self.on_failure_callback = on_execute_callback, on_failure_callback
        self.on_success_callback, self.on_retry_callback, self.on_skipped_callback = on_success_callback, on_retry_callback, on_skipped_callback
        self._pre_execute_hook, self._post_execute_hook = pre_execute, post_execute
        try:
            self.trigger_rule = TriggerRule(str(trigger_rule))
        except ValueError:
            raise AirflowException(f"task {self.task_id!r}: unknown trigger_rule {trigger_rule!r}") from None
        self.max_active_tis_per_dag = max_active_tis_per_dag
        self.executor_config = executor_config or {}
        self.do_xcom_push, self.multiple_outputs = bool(do_xcom_push), bool(multiple_outputs)
        self.doc_md = doc_md or doc
        self.task_display_name = task_display_name or self.task_id
        self.upstream_task_ids: set[str] = set()
        self.downstream_task_ids: set[str] = set()
        self.is_setup = self.is_teardown = False
        self.on_failure_fail_dagrun = False
        self.dag = dag
        self.task_group = group
        self.log = logging.getLogger(logger_name or f"airflow.task.operators.{type(self).__module__}.{type(self).__name__}")
        if dag is not None:
            dag.add_task(self)
            assert group is not None
            group.children[self.task_id] = self
        for _, _, inside in Stack.setups:
            inside.append(self)

    # -- what DAG files use ----------------------------------------------------------------------------------
    @property
    def dag_id(self) -> str:
        return self.dag.dag_id if self.dag is not None else "adhoc_airflow"

    @property
    def task_type(self) -> str:
        return self._task_type or type(self).__name__

    operator_name = task_type

    @property
    def output(self) -> XComArg:
        return XComArg(self)

    @property
    def roots(self) -> list[Any]:
        return [self]

    leaves = roots

    @property
    def upstream_list(self) -> list[Any]:
        return [self.dag.get_task(t) for t in sorted(self.upstream_task_ids)] if self.dag else []

    @property
    def downstream_list(self) -> list[Any]:
        return [self.dag.get_task(t) for t in sorted(self.downstream_task_ids)] if self.dag else []

    def link(self, down: Any, edge: EdgeModifier | None = None) -> None:
        if self.dag is None or down.dag is None or self.dag is not down.dag:
            raise AirflowException(f"tasks {self.task_id!r} and {down.task_id!r} must be in the same DAG to be linked")
        if down is self:
            from airflow.exceptions import AirflowDagCycleException

            raise AirflowDagCycleException(f"DAG {self.dag.dag_id!r} has a cycle: {self.task_id} -> {self.task_id}")
        self.downstream_task_ids.add(down.task_id)
        down.upstream_task_ids.add(self.task_id)
        if edge is not None and edge.label:
            self.dag.edge_labels[(self.task_id, down.task_id)] = edge.label

    def get_flat_relative_ids(self, upstream: bool = False) -> set[str]:
        seen: set[str] = set()
        todo = list(self.upstream_task_ids if upstream else self.downstream_task_ids)
        while todo:
            k = todo.pop()
            if k not in seen:
                seen.add(k)
                t = self.dag.get_task(k)
                todo += t.upstream_task_ids if upstream else t.downstream_task_ids
        return seen

    def _link_references(self) -> None:
        for f in self.template_fields:
            for op in iter_refs(getattr(self, f, None)):
                if op is not self and op.task_id not in self.upstream_task_ids:
                    op.link(self)

    def as_setup(self) -> Any:
        self.is_setup = True
        return self

    def as_teardown(self, *, setups: Any = None, on_failure_fail_dagrun: bool = False) -> Any:
        self.is_teardown, self.on_failure_fail_dagrun = True, on_failure_fail_dagrun
        self.trigger_rule = TriggerRule.ALL_DONE_SETUP_SUCCESS
        for s in as_list(setups) if setups is not None else []:
            s = getattr(s, "operator", s)
            s.is_setup = True
            s.set_downstream(self)
        return self

    def __enter__(self) -> Any:
        if not (self.is_setup or self.is_teardown):
            raise AirflowException("only setup and teardown tasks can be used in a `with` statement")
        setups = [t for t in self.upstream_list if t.is_setup] if self.is_teardown else [self]
        teardowns = [self] if self.is_teardown else [t for t in self.downstream_list if t.is_teardown]
        Stack.setups.append((setups, teardowns, []))
        return self

    def __exit__(self, *exc: Any) -> None:
        """What was made inside: the first tasks follow the set-ups, the teardowns follow the last."""
        setups, teardowns, made = Stack.setups.pop()
        inside = [t for t in made if not t.is_setup and not t.is_teardown]
        firsts = [t for t in inside if not t.upstream_task_ids] or inside[:1]
        lasts = [t for t in inside if not t.downstream_task_ids] or inside[-1:]
        for setup_task in setups:
            setup_task.set_downstream([t for t in firsts if t is not setup_task])
        for t in lasts:
            t.set_downstream([x for x in teardowns if x is not t])

    @classmethod
    def partial(cls, **kw: Any) -> Any:
        raise not_supported(f"{cls.__name__}.partial/expand (dynamic task mapping)")

    expand = partial

    def defer(self, **kw: Any) -> None:
        raise not_supported("a deferrable task (defer)")

    # -- running ------------------------------------------------------------------------------------------------
    def pre_execute(self, context: Any) -> None:
        if self._pre_execute_hook is not None:
            self._pre_execute_hook(context)

    def execute(self, context: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no execute()")

    def post_execute(self, context: Any, result: Any = None) -> None:
        if self._post_execute_hook is not None:
            self._post_execute_hook(context, result)

    def on_kill(self) -> None:
        """Called when the task is ended from outside."""

    def xcom_push(self, context: Any, key: str, value: Any) -> None:
        context["ti"].xcom_push(key=key, value=value)

    def xcom_pull(self, context: Any, **kw: Any) -> Any:
        return context["ti"].xcom_pull(**kw)

    def resolve_template_files(self) -> None:
        """Hook of Airflow's; files are read when fields are rendered."""

    def get_template_env(self, dag: DAG | None = None) -> Any:
        from airflow._core.render import environment

        return environment(dag or self.dag)

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        from airflow._core.render import render_fields

        render_fields(self, context, jinja_env)

    def render_template(self, content: Any, context: Any, jinja_env: Any = None, seen_oids: Any = None) -> Any:
        from airflow._core.render import environment, render_value

        return render_value(content, context, jinja_env or environment(self.dag), self.template_ext)

    def __repr__(self) -> str:
        return f"<Task({self.task_type}): {self.task_id}>"


BaseOperator.__init__ = _wrap_init(BaseOperator.__init__)  # type: ignore[method-assign]


class SkipMixin:
    """skip(): names tasks that the server sets to skipped when this one has succeeded."""

    _skip_ids: set[str]

    def skip_ids(self, ids: Any) -> None:
        self._skip_ids = getattr(self, "_skip_ids", set()) | set(ids)

    def skip_all_except(self, ti: Any = None, branch_task_ids: Any = None, context: Any = None) -> None:
        op: Any = context["task"] if context is not None else self
        if branch_task_ids is None:
            chosen: list[str] = []
        elif isinstance(branch_task_ids, str):
            chosen = [branch_task_ids]
        else:
            chosen = list(branch_task_ids)
            if not all(isinstance(c, str) for c in chosen):
                raise AirflowException(f"a branch must return a task_id, a list of them or None, not {branch_task_ids!r}")
        dag = op.dag
        wanted: list[str] = []
        for c in chosen:
            if c in dag.group_ids:
                wanted += [t.task_id for t in dag.group_ids[c].roots]
            elif c in dag.task_dict:
                wanted.append(c)
            else:
                raise AirflowException(f"a branch returned {c!r}, which is no task of DAG {dag.dag_id!r}")
        wrong = [c for c in wanted if c not in op.downstream_task_ids]
        if wrong:
            raise AirflowException(f"a branch returned {wrong[0]!r}, which is not directly downstream of {op.task_id!r}")
        keep = set(wanted)
        for c in wanted:
            keep |= dag.get_task(c).get_flat_relative_ids()
        self.skip_ids(t for t in op.downstream_task_ids if t not in keep)

    def skip(self, dag_run: Any = None, tasks: Any = (), **kw: Any) -> None:
        self.skip_ids(t.task_id for t in tasks)


class BranchMixIn(SkipMixin):
    def do_branch(self, context: Any, branches_to_execute: Any) -> Any:
        self.skip_all_except(branch_task_ids=branches_to_execute, context=context)
        return branches_to_execute


class BaseBranchOperator(BaseOperator, BranchMixIn):
    def choose_branch(self, context: Any) -> Any:
        raise NotImplementedError

    def execute(self, context: Any) -> Any:
        return self.do_branch(context, self.choose_branch(context))


class PokeReturnValue:
    def __init__(self, is_done: bool, xcom_value: Any = None) -> None:
        self.is_done, self.xcom_value = is_done, xcom_value

    def __bool__(self) -> bool:
        return self.is_done


class BaseSensorOperator(BaseOperator, SkipMixin):
    """poke() is asked until it is true. mode="poke" keeps the process; "reschedule" gives the slot back between the questions."""

    is_sensor = True

    def __init__(self, *, poke_interval: Any = 60, timeout: Any = 7 * 24 * 3600, soft_fail: bool = False, mode: str = "poke",
                 exponential_backoff: bool = False, max_wait: Any = None, silent_fail: bool = False, never_fail: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.poke_interval = us(poke_interval) / 1e6
        self.timeout = us(timeout) / 1e6
        if self.poke_interval < 0 or self.timeout < 0:
            raise AirflowException(f"sensor {self.task_id!r}: poke_interval and timeout must not be negative")
        if mode not in ("poke", "reschedule"):
            raise AirflowException(f"sensor {self.task_id!r}: mode must be 'poke' or 'reschedule', not {mode!r}")
        if soft_fail and never_fail:
            raise ValueError("soft_fail and never_fail cannot both be set")
        self.mode, self.soft_fail, self.never_fail, self.silent_fail = mode, soft_fail, never_fail, silent_fail
        self.exponential_backoff, self.max_wait = exponential_backoff, None if max_wait is None else us(max_wait) / 1e6

    @property
    def reschedule(self) -> bool:
        return self.mode == "reschedule"

    def poke(self, context: Any) -> bool | PokeReturnValue:
        raise NotImplementedError(f"{type(self).__name__} has no poke()")

    def _wait(self, n: int) -> float:
        if not self.exponential_backoff:
            return self.poke_interval
        low = self.poke_interval * 2.0 ** min(n - 1, 30)
        h = int.from_bytes(hashlib.sha1(f"{self.dag_id}#{self.task_id}#{n}".encode(), usedforsecurity=False).digest()[:4], "big")
        w = low + (h % 1000) / 1000.0 * low
        return min(w, self.max_wait) if self.max_wait is not None else w

    def execute(self, context: Any) -> Any:
        ti = context["ti"]
        started = ti.first_start_time if self.reschedule else time.time()
        n = int(getattr(ti, "reschedule_count", 0)) + 1 if self.reschedule else 1
        while True:
            try:
                r = self.poke(context)
            except (AirflowSkipException, AirflowSensorTimeout):
                raise
            except Exception as e:
                if self.silent_fail:
                    self.log.exception("poke failed; asked again later")
                    r = False
                elif self.soft_fail:
                    raise AirflowSkipException("skipped: poke failed and soft_fail is set") from e
                elif self.never_fail:
                    raise AirflowSkipException("skipped: poke failed and never_fail is set") from e
                else:
                    raise
            if r:
                self.log.info("Success criteria met")
                return r.xcom_value if isinstance(r, PokeReturnValue) else None
            gone = time.time() - started
            if gone > self.timeout:
                text = f"Sensor has timed out; run duration of {gone:.1f} seconds exceeds the specified timeout of {self.timeout}."
                if self.soft_fail or self.never_fail:
                    raise AirflowSkipException(text)
                raise AirflowSensorTimeout(text)
            wait = self._wait(n)
            if self.reschedule:
                raise AirflowRescheduleException(time.time() + wait)
            time.sleep(wait)
            n += 1


def tasklog() -> logging.Logger:
    return logging.getLogger("airflow.task")


def task_env(context: Any) -> dict[str, str]:
    """AIRFLOW_CTX_* as Airflow gives them to commands."""
    ti, run = context["ti"], context["dag_run"]
    env = {"AIRFLOW_CTX_DAG_OWNER": ti.task.owner, "AIRFLOW_CTX_DAG_ID": ti.dag_id, "AIRFLOW_CTX_TASK_ID": ti.task_id,
           "AIRFLOW_CTX_TRY_NUMBER": str(ti.try_number), "AIRFLOW_CTX_DAG_RUN_ID": run.run_id}
    if run.logical_date is not None:
        env["AIRFLOW_CTX_LOGICAL_DATE"] = run.logical_date.isoformat()
    return {k: v for k, v in env.items() if v is not None} | {k: v for k, v in os.environ.items() if k.startswith("MILLRACE_")}
