# SPDX-License-Identifier: Apache-2.0
"""PythonSensor: waits until a function is true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow._core.decorators import call_with_context
from airflow._core.operator import BaseSensorOperator, PokeReturnValue


class PythonSensor(BaseSensorOperator):
    template_fields = ("templates_dict", "op_args", "op_kwargs")

    def __init__(self, *, python_callable: Callable[..., Any], op_args: Any = None, op_kwargs: Any = None, templates_dict: Any = None,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.python_callable, self.templates_dict = python_callable, templates_dict
        self.op_args, self.op_kwargs = list(op_args or []), dict(op_kwargs or {})

    def poke(self, context: Any) -> Any:
        if self.templates_dict is not None:
            context["templates_dict"] = self.templates_dict
        r = call_with_context(self.python_callable, self.op_args, self.op_kwargs, context)
        return r if isinstance(r, PokeReturnValue) else bool(r)
