# SPDX-License-Identifier: Apache-2.0
"""EmptyOperator: does nothing."""

from __future__ import annotations

from typing import Any

from airflow._core.operator import BaseOperator


class EmptyOperator(BaseOperator):
    ui_color = "#e8f7e4"

    def execute(self, context: Any) -> Any:
        return None
