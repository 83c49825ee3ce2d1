# SPDX-License-Identifier: Apache-2.0
"""DAG, TaskGroup, edges, and the @dag and @task_group decorators."""

from __future__ import annotations

import copy
import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow import not_supported
from airflow._core.params import NOTSET, DagParam, Param, ParamsDict
from airflow._core.timetables import check_utc, describe_schedule
from airflow.exceptions import AirflowDagCycleException, AirflowException, DuplicateTaskIdFound, TaskNotFound

KEY = re.compile(r"^[\w.-]+$", re.ASCII)
GROUP_KEY = re.compile(r"^[\w-]+$", re.ASCII)
KEY_MAX = 250


def check_key(k: str, what: str = "id", rx: re.Pattern[str] = KEY) -> str:
    if not isinstance(k, str):
        raise TypeError(f"{what} must be a string, not {k!r}")
    if not rx.match(k) or len(k) > KEY_MAX:
        raise AirflowException(f"{what} {k!r} must be made of letters, digits, '_', '-' and '.' and at most {KEY_MAX} long")
    return k


class Stack:
    """The DAG and the task group that a `with` block is in, and the DAGs that registered themselves."""

    dags: list[DAG] = []
    groups: list[TaskGroup] = []
    registered: list[DAG] = []
    setups: list[tuple[list[Any], list[Any], list[Any]]] = []  # set-up tasks, teardowns, what was made in their block

    @classmethod
    def reset(cls) -> None:
        cls.dags, cls.groups, cls.registered, cls.setups = [], [], [], []


def to_utc(d: datetime | None, what: str) -> datetime | None:
    if d is None:
        return None
    if not isinstance(d, datetime):
        raise TypeError(f"{what} must be a datetime, not {d!r}")
    return d.replace(tzinfo=timezone.utc) if d.tzinfo is None else d.astimezone(timezone.utc)


class EdgeModifier:
    """`a >> Label("when done") >> b`."""

    def __init__(self, label: str | None = None) -> None:
        self.label = label
        self.left: list[Any] = []
        self.right: list[Any] = []

    @property
    def roots(self) -> list[Any]:
        return self.right

    @property
    def leaves(self) -> list[Any]:
        return self.left

    def _join(self) -> None:
        for up in self.left:
            for down in self.right:
                up.set_downstream(down, self)

    def __rshift__(self, other: Any) -> Any:
        self.right += as_list(other)
        self._join()
        return other

    def __lshift__(self, other: Any) -> Any:
        self.left += as_list(other)
        self._join()
        return other

    def __rrshift__(self, other: Any) -> Any:
        self.left += as_list(other)
        self._join()
        return self

    def __rlshift__(self, other: Any) -> Any:
        self.right += as_list(other)
        self._join()
        return self


def Label(label: str) -> EdgeModifier:  # noqa: N802
    return EdgeModifier(label)


def as_list(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (list, tuple, set)) else [x]


class DependencyMixin:
    """`>>`, `<<`, set_upstream, set_downstream over `roots` and `leaves`."""

    roots: Iterable[Any]
    leaves: Iterable[Any]

    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        for o in as_list(other):
            if isinstance(o, EdgeModifier):
                o.left += [self]
                o._join()
                continue
            for up in self.leaves:
                for down in _ends(o, "roots"):
                    up.link(down, edge_modifier)

    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        for o in as_list(other):
            if isinstance(o, EdgeModifier):
                o.right += [self]
                o._join()
                continue
            for down in self.roots:
                for up in _ends(o, "leaves"):
                    up.link(down, edge_modifier)

    def __rshift__(self, other: Any) -> Any:
        self.set_downstream(other)
        return other

    def __lshift__(self, other: Any) -> Any:
        self.set_upstream(other)
        return other

    def __rrshift__(self, other: Any) -> Any:
        self.set_upstream(other)
        return self

    def __rlshift__(self, other: Any) -> Any:
        self.set_downstream(other)
        return self


def _ends(o: Any, which: str) -> list[Any]:
    ends = getattr(o, which, None)
    if ends is None:
        raise AirflowException(f"only tasks, task groups and what tasks return can be linked, not {o!r}")
    return list(ends)


class TaskGroup(DependencyMixin):
    def __init__(self, group_id: str | None, prefix_group_id: bool = True, parent_group: TaskGroup | None = None, dag: DAG | None = None,
                 default_args: dict[str, Any] | None = None, tooltip: str = "", ui_color: str = "CornflowerBlue", ui_fgcolor: str = "#000",
                 add_suffix_on_collision: bool = False, group_display_name: str = "") -> None:
        self.dag = dag or (Stack.dags[-1] if Stack.dags else None)
        self.children: dict[str, Any] = {}
        self.tooltip, self.group_display_name = tooltip, group_display_name
        self.prefix_group_id = prefix_group_id
        self.default_args = copy.copy(default_args or {})
        if group_id is None:  # a DAG's root
            self.parent_group: TaskGroup | None = None
            self._id = ""
            return
        check_key(group_id, "group_id", GROUP_KEY)
        if self.dag is None:
            raise AirflowException(f"TaskGroup {group_id!r} is in no DAG")
        parent = parent_group or (Stack.groups[-1] if Stack.groups else self.dag.task_group)
        self.parent_group = parent
        self.default_args = {**parent.default_args, **self.default_args}
        self._id = parent.child_id(group_id)
        if self._id in self.dag.group_ids or self._id in self.dag.task_dict:
            if not add_suffix_on_collision:
                raise DuplicateTaskIdFound(f"group_id {self._id!r} is used twice in DAG {self.dag.dag_id!r}")
            self._id = next(f"{self._id}__{i}" for i in range(1, 1 << 30) if f"{self._id}__{i}" not in self.dag.group_ids)
        self.dag.group_ids[self._id] = self
        parent.children[self._id] = self

    @property
    def group_id(self) -> str | None:
        return self._id or None

    @property
    def node_id(self) -> str:
        return self._id

    def child_id(self, label: str) -> str:
        g: TaskGroup | None = self
        while g is not None and not g.prefix_group_id:
            g = g.parent_group
        return f"{g._id}.{label}" if g is not None and g._id else label

    def tasks(self) -> Iterator[Any]:
        for c in self.children.values():
            if isinstance(c, TaskGroup):
                yield from c.tasks()
            else:
                yield c

    @property
    def roots(self) -> list[Any]:
        ids = {t.task_id for t in self.tasks()}
        return [t for t in self.tasks() if not (t.upstream_task_ids & ids)]

    @property
    def leaves(self) -> list[Any]:
        ids = {t.task_id for t in self.tasks() if not t.is_teardown}
        return [t for t in self.tasks() if not t.is_teardown and not (t.downstream_task_ids & ids)]

    def __enter__(self) -> TaskGroup:
        Stack.groups.append(self)
        return self

    def __exit__(self, *exc: Any) -> None:
        Stack.groups.pop()


_DAG_ARGS = (
    "description schedule start_date end_date template_searchpath template_undefined user_defined_macros user_defined_filters default_args "
    "max_active_tasks max_active_runs max_consecutive_failed_dag_runs dagrun_timeout catchup on_success_callback on_failure_callback doc_md params "
    "access_control is_paused_upon_creation jinja_environment_kwargs render_template_as_native_obj tags owner_links auto_register fail_fast "
    "dag_display_name disable_bundle_versioning"
).split()


class DAG:
    """One workflow. Used as `with DAG(...)`, as an argument `dag=`, or through @dag."""

    def __init__(self, dag_id: str, description: str | None = None, schedule: Any = None, **kw: Any) -> None:
        unknown = [k for k in kw if k not in _DAG_ARGS]
        if unknown:
            if "schedule_interval" in unknown or "timetable" in unknown:
                raise TypeError("DAG() has no argument schedule_interval or timetable in Airflow 3: use schedule=")
            if "deadline" in unknown:
                raise not_supported("DAG(deadline=...)")
            raise TypeError(f"DAG() got an unexpected argument {unknown[0]!r}")
        self.dag_id = check_key(dag_id, "dag_id")
        self.description, self.schedule = description, schedule
        self.default_args = copy.deepcopy(kw.get("default_args") or {})
        start = kw.get("start_date") or self.default_args.get("start_date")
        if isinstance(start, datetime) and start.tzinfo is not None and schedule is not None:
            check_utc(start.tzinfo)
        self.start_date = to_utc(start, "start_date")
        self.end_date = to_utc(kw.get("end_date") or self.default_args.get("end_date"), "end_date")
        self.timezone = timezone.utc
        ts = kw.get("template_searchpath")
        self.template_searchpath = [ts] if isinstance(ts, str) else list(ts or [])
        self.user_defined_macros = kw.get("user_defined_macros")
        self.user_defined_filters = kw.get("user_defined_filters")
        self.jinja_environment_kwargs = kw.get("jinja_environment_kwargs") or {}
        self.template_undefined = kw.get("template_undefined")
        self.max_active_tasks = int(kw.get("max_active_tasks", 16))
        self.max_active_runs = int(kw.get("max_active_runs", 16))
        if schedule == "@continuous" and self.max_active_runs > 1 and "max_active_runs" in kw:
            raise AirflowException("a @continuous DAG needs max_active_runs=1")
        self.max_consecutive_failed_dag_runs = int(kw.get("max_consecutive_failed_dag_runs", 0))
        self.dagrun_timeout = kw.get("dagrun_timeout")
        self.catchup = bool(kw.get("catchup", False))
        self.on_success_callback = kw.get("on_success_callback")
        self.on_failure_callback = kw.get("on_failure_callback")
        self.doc_md = inspect.cleandoc(kw["doc_md"]) if kw.get("doc_md") else None
        self.params = ParamsDict(kw.get("params"))
        if isinstance(self.default_args.get("params"), dict):
            for k, v in self.default_args.pop("params").items():
                if k not in self.params:
                    self.params[k] = v
        self.is_paused_upon_creation = kw.get("is_paused_upon_creation")
        self.render_template_as_native_obj = bool(kw.get("render_template_as_native_obj", False))
        self.tags = sorted(set(kw.get("tags") or ()))
        self.owner_links = kw.get("owner_links") or {}
        self.auto_register = bool(kw.get("auto_register", True))
        self.fail_fast = bool(kw.get("fail_fast", False))
        self.dag_display_name = kw.get("dag_display_name") or dag_id
        self.task_dict: dict[str, Any] = {}
        self.group_ids: dict[str, TaskGroup] = {}
        self.task_group = TaskGroup(None, dag=self)
        self.edge_labels: dict[tuple[str, str], str] = {}
        self.fileloc = _caller_file()
        self.timetable = describe_schedule(schedule)

    # -- building ---------------------------------------------------------------------------------------------
    def __enter__(self) -> DAG:
        Stack.dags.append(self)
        Stack.groups.append(self.task_group)
        return self

    def __exit__(self, *exc: Any) -> None:
        Stack.groups.pop()
        Stack.dags.pop()
        if self.auto_register and self not in Stack.registered:
            Stack.registered.append(self)

    def add_task(self, task: Any) -> None:
        if task.task_id in self.task_dict and self.task_dict[task.task_id] is not task or task.task_id in self.group_ids:
            raise DuplicateTaskIdFound(f"task_id {task.task_id!r} is used twice in DAG {self.dag_id!r}")
        self.task_dict[task.task_id] = task

    @property
    def tasks(self) -> list[Any]:
        return list(self.task_dict.values())

    @property
    def task_ids(self) -> list[str]:
        return list(self.task_dict)

    def has_task(self, task_id: str) -> bool:
        return task_id in self.task_dict

    def get_task(self, task_id: str) -> Any:
        try:
            return self.task_dict[task_id]
        except KeyError:
            raise TaskNotFound(f"DAG {self.dag_id!r} has no task {task_id!r}") from None

    @property
    def roots(self) -> list[Any]:
        return [t for t in self.tasks if not t.upstream_task_ids]

    @property
    def leaves(self) -> list[Any]:
        return [t for t in self.tasks if not t.downstream_task_ids]

    @property
    def folder(self) -> str:
        import os.path

        return os.path.dirname(self.fileloc)

    def topological(self) -> list[Any]:
        """Tasks, upstream first. Raises AirflowDagCycleException that names the cycle."""
        left = {t.task_id: len(t.upstream_task_ids) for t in self.tasks}
        ready = [k for k, n in left.items() if n == 0]
        out: list[Any] = []
        while ready:
            k = ready.pop()
            out.append(self.task_dict[k])
            for d in self.task_dict[k].downstream_task_ids:
                left[d] -= 1
                if left[d] == 0:
                    ready.append(d)
        if len(out) < len(left):
            at = next(k for k, n in left.items() if n > 0)
            seen: list[str] = []
            while at not in seen:  # walk back along edges that are left: ends in the cycle
                seen.append(at)
                at = next(u for u in sorted(self.task_dict[at].upstream_task_ids) if left[u] > 0)
            cycle = [at, *reversed(seen[seen.index(at) + 1:]), at]
            raise AirflowDagCycleException(f"DAG {self.dag_id!r} has a cycle: {' -> '.join(cycle)}")
        return out

    def param(self, name: str, default: Any = NOTSET) -> DagParam:
        return DagParam(self, name, default)

    def test(self, *args: Any, **kw: Any) -> None:
        raise not_supported("dag.test()")

    def cli(self) -> None:
        raise not_supported("dag.cli()")


def _caller_file() -> str:
    f = sys._getframe(1)
    here = __file__.rsplit("/", 2)[0]
    while f.f_back is not None and (f.f_code.co_filename.startswith(here) or f.f_code.co_filename.startswith("<")):
        f = f.f_back
    return f.f_code.co_filename


def dag(dag_id: Any = "", **kw: Any) -> Any:
    """@dag and @dag(...): the function's body builds the DAG; its arguments become params."""

    def decorate(fn: Callable[..., Any]) -> Callable[..., DAG]:
        @functools.wraps(fn)
        def build(*args: Any, **kwargs: Any) -> DAG:
            sig = inspect.signature(fn)
            bound = sig.bind_partial(*args, **kwargs)
            settings = dict(kw)
            if fn.__doc__ and not settings.get("doc_md"):
                settings["doc_md"] = fn.__doc__
            with DAG((dag_id if isinstance(dag_id, str) and dag_id else fn.__name__), **settings) as d:
                d.fileloc = fn.__code__.co_filename
                values = {}
                for name, p in sig.parameters.items():
                    v = bound.arguments.get(name, p.default)
                    v = Param() if v is inspect.Parameter.empty else v
                    if name not in d.params or name in bound.arguments:
                        d.params[name] = v
                    values[name] = DagParam(d, name)
                fn(**values)
            return d

        return build

    if callable(dag_id):
        fn, dag_id = dag_id, ""
        return decorate(fn)
    return decorate


class _TaskGroupFactory:
    def __init__(self, fn: Callable[..., Any], kw: dict[str, Any]) -> None:
        self.fn, self.kw = fn, kw
        functools.update_wrapper(self, fn)

    def override(self, **kw: Any) -> _TaskGroupFactory:
        return _TaskGroupFactory(self.fn, {**self.kw, **kw})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        kw = {"group_id": self.fn.__name__, "add_suffix_on_collision": True, "tooltip": inspect.getdoc(self.fn) or "", **self.kw}
        with TaskGroup(**kw) as g:
            out = self.fn(*args, **kwargs)
        return g if out is None else out

    def expand(self, **_: Any) -> Any:
        raise not_supported("task_group.expand (dynamic task mapping)")

    partial = expand_kwargs = expand


def task_group(group_id: Any = None, **kw: Any) -> Any:
    if callable(group_id):
        return _TaskGroupFactory(group_id, {})
    if group_id is not None:
        kw["group_id"] = group_id
    return lambda fn: _TaskGroupFactory(fn, kw)


def chain(*tasks: Any) -> None:
    """chain(a, [b, c], [d, e], f): lists of the same length are linked pairwise."""
    for left, right in zip(tasks, tasks[1:], strict=False):
        if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
            if len(left) != len(right):
                raise AirflowException(f"chain: lists of {len(left)} and {len(right)} tasks cannot be linked pairwise")
            for a, b in zip(left, right, strict=True):
                link_any(a, b)
        else:
            link_any(left, right)


def link_any(left: Any, right: Any) -> None:
    for a in as_list(left):
        a.set_downstream(right)


def chain_linear(*elements: Any) -> None:
    if len(elements) < 2:
        raise ValueError("chain_linear needs at least two elements")
    for left, right in zip(elements, elements[1:], strict=False):
        link_any(left, right)


def cross_downstream(from_tasks: Any, to_tasks: Any) -> None:
    for t in from_tasks:
        t.set_downstream(to_tasks)


def seconds(d: Any) -> float | None:
    return d.total_seconds() if isinstance(d, timedelta) else None if d is None else float(d)
