# SPDX-License-Identifier: Apache-2.0
"""@task and its forms."""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

from airflow import not_supported
from airflow._core.context import CONTEXT_KEYS
from airflow._core.dag import Stack
from airflow._core.operator import BaseOperator, BaseSensorOperator, PokeReturnValue, SkipMixin
from airflow._core.xcom import XComArg, has_refs
from airflow.exceptions import AirflowException


def kwargs_for(fn: Callable[..., Any], args: Any, context: Mapping[str, Any]) -> dict[str, Any]:
    """The context entries that `fn` asks for by name, or all when it has **kwargs."""
    params = inspect.signature(fn).parameters
    names = list(params)
    taken = set(names[: len(args)])
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in params.values()):
        return {k: v for k, v in context.items() if k not in taken}
    out = {}
    for k, p in params.items():
        if k not in taken and k in CONTEXT_KEYS and p.kind is not inspect.Parameter.POSITIONAL_ONLY:
            try:
                out[k] = context[k]
            except KeyError:
                if p.default is inspect.Parameter.empty:
                    raise
    return out


def call_with_context(fn: Callable[..., Any], args: Any, kwargs: dict[str, Any], context: Any) -> Any:
    return fn(*args, **{**kwargs_for(fn, args, context), **kwargs})


def unique_id(task_id: str, group: Any, dag: Any) -> str:
    """step, step__1, step__2 ... as Airflow names the second call of the same function."""
    if dag is None:
        return task_id
    full = group.child_id(task_id) if group is not None else task_id
    if full not in dag.task_dict:
        return task_id
    core = re.split(r"__\d+$", task_id)[0]
    base = group.child_id(core) if group is not None else core
    used = [int(m.group(1)) for k in dag.task_dict if (m := re.fullmatch(re.escape(base) + r"__(\d+)", k))]
    return f"{core}__{max(used, default=0) + 1}"


def _many(fn: Callable[..., Any]) -> bool:
    """A function that says it returns a dict gives one XCom per key too."""
    try:
        r = typing.get_type_hints(fn).get("return")
    except Exception:
        return False
    origin = typing.get_origin(r) or r
    return isinstance(origin, type) and issubclass(origin, Mapping)


class DecoratedOperator(BaseOperator):
    template_fields = ("templates_dict", "op_args", "op_kwargs")
    template_fields_renderers = {"templates_dict": "json", "op_args": "py", "op_kwargs": "py"}
    custom_operator_name = "@task"

    def __init__(self, *, python_callable: Callable[..., Any], op_args: Any = None, op_kwargs: Any = None, templates_dict: Any = None,
                 templates_exts: Any = None, show_return_value_in_logs: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.python_callable, self.templates_dict = python_callable, templates_dict
        self.op_args, self.op_kwargs = list(op_args or []), dict(op_kwargs or {})
        self.show_return_value_in_logs = show_return_value_in_logs
        if templates_exts:
            self.template_ext = templates_exts

    @property
    def operator_name(self) -> str:
        return self.custom_operator_name

    def _call(self, context: Any) -> Any:
        if self.templates_dict is not None:
            context["templates_dict"] = self.templates_dict
        return call_with_context(self.python_callable, self.op_args, self.op_kwargs, context)

    def execute(self, context: Any) -> Any:
        r = self._call(context)
        if self.show_return_value_in_logs:
            self.log.info("Done. Returned value was: %s", r)
        return r


class _BranchOperator(DecoratedOperator, SkipMixin):
    custom_operator_name = "@task.branch"

    def execute(self, context: Any) -> Any:
        chosen = self._call(context)
        self.log.info("Branch into %s", chosen)
        self.skip_all_except(branch_task_ids=chosen, context=context)
        return chosen


class _ShortCircuitOperator(DecoratedOperator, SkipMixin):
    custom_operator_name = "@task.short_circuit"

    def __init__(self, *, ignore_downstream_trigger_rules: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_downstream_trigger_rules = ignore_downstream_trigger_rules

    def execute(self, context: Any) -> Any:
        condition = self._call(context)
        self.log.info("Condition result is %s", condition)
        if not condition:
            ids = self.get_flat_relative_ids() if self.ignore_downstream_trigger_rules else set(self.downstream_task_ids)
            self.skip_ids(t for t in ids if not self.dag.get_task(t).is_teardown)
        return condition


class _SensorOperator(BaseSensorOperator):
    template_fields = ("op_args", "op_kwargs")
    custom_operator_name = "@task.sensor"

    def __init__(self, *, python_callable: Callable[..., Any], op_args: Any = None, op_kwargs: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.python_callable = python_callable
        self.op_args, self.op_kwargs = list(op_args or []), dict(op_kwargs or {})

    @property
    def operator_name(self) -> str:
        return self.custom_operator_name

    def poke(self, context: Any) -> Any:
        r = call_with_context(self.python_callable, self.op_args, self.op_kwargs, context)
        return r if isinstance(r, PokeReturnValue) else bool(r)


class _BashTask(DecoratedOperator):
    template_fields = ("op_args", "op_kwargs", "env", "cwd")
    custom_operator_name = "@task.bash"

    def __init__(self, *, env: Any = None, append_env: bool = False, skip_on_exit_code: Any = 99, cwd: Any = None, output_encoding: str = "utf-8",
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.env, self.append_env, self.skip_on_exit_code, self.cwd = env, append_env, skip_on_exit_code, cwd

    def execute(self, context: Any) -> Any:
        from airflow.providers.standard.operators.bash import run_command

        command = self._call(context)
        if not isinstance(command, str) or not command.strip():
            raise TypeError("a @task.bash function must return a non-empty string: the command")
        command = self.render_template(command, context)
        return run_command(self, command, context)


class TaskDecorator:
    """A decorated function: calling it inside a DAG makes a task."""

    def __init__(self, fn: Callable[..., Any], operator: type[BaseOperator], kw: dict[str, Any]) -> None:
        if inspect.isclass(fn) or not callable(fn):
            raise TypeError("@task decorates functions")
        self.function, self.operator_class, self.kw = fn, operator, kw
        self.is_setup = self.is_teardown = self.on_failure_fail_dagrun = False
        functools.update_wrapper(self, fn)
        if inspect.iscoroutinefunction(fn):
            raise not_supported("an async function as a task")
        for name, p in inspect.signature(fn).parameters.items():
            if name in CONTEXT_KEYS and p.default not in (None, inspect.Parameter.empty):
                raise ValueError(f"the context argument {name!r} of {fn.__name__} must have the default None or none")

    def __call__(self, *args: Any, **kwargs: Any) -> XComArg:
        kw = dict(self.kw)
        dag = kw.get("dag") or (Stack.dags[-1] if Stack.dags else None)
        if dag is None:
            raise AirflowException(f"{self.function.__name__}: a @task function is called inside a DAG; use .function to call the plain function")
        group = kw.get("task_group") or (Stack.groups[-1] if Stack.groups else dag.task_group)
        self._check_args(args, kwargs)
        kw["task_id"] = unique_id(kw.get("task_id") or self.function.__name__, group, dag)
        if "multiple_outputs" not in kw and issubclass(self.operator_class, DecoratedOperator) and self.operator_class is not _BashTask:
            kw["multiple_outputs"] = _many(self.function)
        if self.function.__doc__ and "doc_md" not in kw:
            kw["doc_md"] = inspect.getdoc(self.function)
        op = self.operator_class(python_callable=self.function, op_args=args, op_kwargs=kwargs, **kw)
        if self.is_setup:
            op.as_setup()
        if self.is_teardown:
            op.as_teardown(on_failure_fail_dagrun=self.on_failure_fail_dagrun)
        return XComArg(op)

    def _check_args(self, args: Any, kwargs: Any) -> None:
        sig = inspect.signature(self.function)
        params = [p.replace(default=None) if n in CONTEXT_KEYS and p.default is inspect.Parameter.empty else p for n, p in sig.parameters.items()]
        seen_default, fixed = False, []
        for p in params:  # a default makes those behind it need one; only the count matters here
            if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and seen_default and p.default is inspect.Parameter.empty:
                p = p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            seen_default |= p.default is not inspect.Parameter.empty
            fixed.append(p)
        try:
            inspect.Signature(sorted(fixed, key=lambda p: p.kind)).bind(*args, **kwargs)
        except ValueError:
            sig.bind_partial(*args, **kwargs)
        except TypeError as e:
            raise TypeError(f"{self.function.__name__}(): {e}") from None

    def override(self, **kw: Any) -> TaskDecorator:
        out = TaskDecorator(self.function, self.operator_class, {**self.kw, **kw})
        out.is_setup, out.is_teardown, out.on_failure_fail_dagrun = self.is_setup, self.is_teardown, self.on_failure_fail_dagrun
        return out

    def expand(self, **_: Any) -> Any:
        raise not_supported(f"{self.function.__name__}.expand (dynamic task mapping)")

    def expand_kwargs(self, *_: Any, **__: Any) -> Any:
        raise not_supported(f"{self.function.__name__}.expand_kwargs (dynamic task mapping)")

    def partial(self, **_: Any) -> Any:
        raise not_supported(f"{self.function.__name__}.partial (dynamic task mapping)")


def _factory(operator: type[BaseOperator]) -> Callable[..., Any]:
    def deco(python_callable: Any = None, multiple_outputs: bool | None = None, **kw: Any) -> Any:
        if multiple_outputs is not None:
            kw["multiple_outputs"] = multiple_outputs
        if python_callable is not None:
            return TaskDecorator(python_callable, operator, kw)
        return lambda fn: TaskDecorator(fn, operator, kw)

    return deco


class _Task:
    """`task`, `task.branch`, `task.sensor` ..."""

    python = staticmethod(_factory(DecoratedOperator))
    branch = staticmethod(_factory(_BranchOperator))
    short_circuit = staticmethod(_factory(_ShortCircuitOperator))
    sensor = staticmethod(_factory(_SensorOperator))
    bash = staticmethod(_factory(_BashTask))

    def __call__(self, *args: Any, **kw: Any) -> Any:
        return self.python(*args, **kw)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise not_supported(f"@task.{name}")


task = _Task()


def _as_task(fn: Any) -> TaskDecorator:
    return fn if isinstance(fn, TaskDecorator) else TaskDecorator(fn, DecoratedOperator, {})


def setup(fn: Any) -> TaskDecorator:
    t = _as_task(fn)
    t.is_setup = True
    return t


def teardown(fn: Any = None, *, on_failure_fail_dagrun: bool = False) -> Any:
    def deco(f: Any) -> TaskDecorator:
        t = _as_task(f)
        t.is_teardown, t.on_failure_fail_dagrun = True, on_failure_fail_dagrun
        return t

    return deco(fn) if fn is not None else deco


__all__ = ["task", "setup", "teardown", "has_refs"]
