# SPDX-License-Identifier: Apache-2.0
"""PythonOperator and its branching forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow._core.context import get_current_context
from airflow._core.decorators import call_with_context
from airflow._core.operator import BaseOperator, SkipMixin

__all__ = ["BranchPythonOperator", "PythonOperator", "ShortCircuitOperator", "get_current_context"]


class PythonOperator(BaseOperator):
    template_fields = ("templates_dict", "op_args", "op_kwargs")
    template_fields_renderers = {"templates_dict": "json", "op_args": "py", "op_kwargs": "py"}
    ui_color = "#ffefeb"

    def __init__(self, *, python_callable: Callable[..., Any], op_args: Any = None, op_kwargs: Any = None, templates_dict: Any = None,
                 templates_exts: Any = None, show_return_value_in_logs: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not callable(python_callable):
            raise TypeError("`python_callable` param must be callable")
        self.python_callable, self.templates_dict = python_callable, templates_dict
        self.op_args, self.op_kwargs = list(op_args or ()), dict(op_kwargs or {})
        self.show_return_value_in_logs = show_return_value_in_logs
        if templates_exts:
            self.template_ext = templates_exts

    def _call(self, context: Any) -> Any:
        if self.templates_dict is not None:
            context["templates_dict"] = self.templates_dict
        return call_with_context(self.python_callable, self.op_args, self.op_kwargs, context)

    def execute(self, context: Any) -> Any:
        r = self._call(context)
        if self.show_return_value_in_logs:
            self.log.info("Done. Returned value was: %s", r)
        return r


class BranchPythonOperator(PythonOperator, SkipMixin):
    def execute(self, context: Any) -> Any:
        chosen = self._call(context)
        self.log.info("Branch into %s", chosen)
        self.skip_all_except(branch_task_ids=chosen, context=context)
        return chosen


class ShortCircuitOperator(PythonOperator, SkipMixin):
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


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    from airflow import not_supported

    raise not_supported(f"airflow.providers.standard.operators.python.{name}")
