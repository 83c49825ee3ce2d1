# SPDX-License-Identifier: Apache-2.0
"""SQLExecuteQueryOperator: run inside the server, without a Python process."""

from __future__ import annotations

from typing import Any

from airflow import not_supported
from airflow._core.operator import BaseOperator
from airflow._core.settings import DbApiHook
from airflow.providers.common.sql.hooks.handlers import fetch_all_handler, fetch_one_handler


class SQLExecuteQueryOperator(BaseOperator):
    template_fields = ("sql", "parameters", "conn_id", "hook_params")
    template_ext = (".sql", ".json")
    template_fields_renderers = {"sql": "sql", "parameters": "json"}
    ui_color = "#cdaaed"

    def __init__(self, *, sql: Any, autocommit: bool = False, parameters: Any = None, handler: Any = fetch_all_handler, output_processor: Any = None,
                 conn_id: Any = "millrace_default", database: str | None = None, split_statements: bool | None = None, return_last: bool = True,
                 show_return_value_in_logs: bool = False, requires_result_fetch: bool = False, hook_params: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if output_processor is not None:
            raise not_supported("SQLExecuteQueryOperator(output_processor=...)")
        if handler not in (None, fetch_all_handler, fetch_one_handler):
            raise not_supported("SQLExecuteQueryOperator(handler=...) other than fetch_all_handler and fetch_one_handler")
        if database or hook_params:
            raise not_supported("SQLExecuteQueryOperator(database=..., hook_params=...)")
        if not return_last:
            raise not_supported("SQLExecuteQueryOperator(return_last=False)")
        if parameters:
            raise not_supported("SQLExecuteQueryOperator(parameters=...) (use the template's params)")
        self.sql, self.autocommit, self.parameters, self.conn_id = sql, autocommit, parameters, conn_id
        self.hook_params: dict[str, Any] = {}
        self.handler, self.split_statements, self.return_last = handler, split_statements, return_last
        self.show_return_value_in_logs = show_return_value_in_logs
        self.fetch = "all" if handler is fetch_all_handler else "one" if handler is fetch_one_handler else "none"

    def execute(self, context: Any) -> Any:
        """Only subclasses get here; the class itself is run by the server."""
        return DbApiHook(self.conn_id).run(self.sql, handler=self.handler if self.do_xcom_push else None)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise not_supported(f"airflow.providers.common.sql.operators.sql.{name}")
