# SPDX-License-Identifier: Apache-2.0
"""Airflow 2's path."""

from airflow._core.context import DagRun, TaskInstance
from airflow._core.dag import DAG
from airflow._core.operator import BaseOperator
from airflow._core.params import Param
from airflow._core.settings import Connection, Variable
from airflow._core.xcom import XComArg

__all__ = ["BaseOperator", "Connection", "DAG", "DagRun", "Param", "TaskInstance", "Variable", "XComArg"]


def __getattr__(name):  # type: ignore[no-untyped-def]
    if name.startswith("__"):
        raise AttributeError(name)
    from airflow import not_supported

    raise not_supported(f"airflow.models.{name}")
