# SPDX-License-Identifier: Apache-2.0
"""Airflow 2's path."""

from airflow._core.context import TaskInstance

__all__ = ["TaskInstance"]


def __getattr__(name):  # type: ignore[no-untyped-def]
    if name.startswith("__"):
        raise AttributeError(name)
    from airflow import not_supported

    raise not_supported(f"airflow.models.taskinstance.{name}")
