# SPDX-License-Identifier: Apache-2.0
"""Airflow's path for these names."""

import logging
from typing import Any


class LoggingMixin:
    """Gives `self.log`."""

    @property
    def log(self) -> Any:
        return logging.getLogger(f"airflow.task.{type(self).__name__}")


__all__ = ["LoggingMixin"]


def __getattr__(name):  # type: ignore[no-untyped-def]
    if name.startswith("__"):
        raise AttributeError(name)
    from airflow import not_supported

    raise not_supported(f"airflow.utils.log.logging_mixin.{name}")
