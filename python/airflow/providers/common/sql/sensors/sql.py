# SPDX-License-Identifier: Apache-2.0
"""SqlSensor: waits until a query's first cell is true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow._core.operator import BaseSensorOperator
from airflow._core.settings import BaseHook
from airflow.exceptions import AirflowException


class SqlSensor(BaseSensorOperator):
    template_fields = ("sql", "hook_params", "parameters")
    template_ext = (".hql", ".sql")

    def __init__(self, *, conn_id: str, sql: str, parameters: Any = None, success: Callable[[Any], bool] | None = None,
                 failure: Callable[[Any], bool] | None = None, fail_on_empty: bool = False, hook_params: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id, self.sql, self.parameters, self.success, self.failure = conn_id, sql, parameters, success, failure
        self.fail_on_empty, self.hook_params = fail_on_empty, hook_params

    def poke(self, context: Any) -> bool:
        rows = BaseHook.get_hook(self.conn_id).get_records(self.sql, self.parameters)
        if not rows:
            if self.fail_on_empty:
                raise AirflowException("No rows returned, raising as per fail_on_empty flag")
            return False
        cell = rows[0][0]
        if self.failure is not None and self.failure(cell):
            raise AirflowException(f"Failure criteria met. self.failure({cell}) returned True")
        return bool(self.success(cell)) if self.success is not None else bool(cell)
