# SPDX-License-Identifier: Apache-2.0
"""TimeDeltaSensor: waits until some time after the run's data interval."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow._core.operator import BaseSensorOperator


class TimeDeltaSensor(BaseSensorOperator):
    def __init__(self, *, delta: timedelta, deferrable: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if deferrable:
            from airflow import not_supported

            raise not_supported("TimeDeltaSensor(deferrable=True)")
        self.delta = delta

    def poke(self, context: Any) -> bool:
        base = context["data_interval_end"] or context["dag_run"].run_after
        return bool(datetime.now(tz=timezone.utc) > base + self.delta)
