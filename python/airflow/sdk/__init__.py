# SPDX-License-Identifier: Apache-2.0
"""The names that `from airflow.sdk import ...` gives in Airflow 3."""

from __future__ import annotations

import logging as _logging
from typing import Any

from airflow._core.context import Context, TaskInstance, get_current_context, get_parsing_context, macros
from airflow._core.dag import DAG, EdgeModifier, Label, TaskGroup, chain, chain_linear, cross_downstream, dag, task_group
from airflow._core.decorators import setup, task, teardown
from airflow._core.enums import DagRunState, TaskInstanceState, TriggerRule, WeightRule
from airflow._core.operator import BaseBranchOperator, BaseOperator, BaseSensorOperator, BranchMixIn, PokeReturnValue, SkipMixin
from airflow._core.params import Param, ParamsDict
from airflow._core.settings import BaseHook, Connection, Variable
from airflow._core.timetables import CronDataIntervalTimetable, CronTriggerTimetable, DeltaDataIntervalTimetable, DeltaTriggerTimetable
from airflow._core.xcom import XComArg

__version__ = "1.0.0"

__all__ = [
    "BaseBranchOperator", "BaseHook", "BaseOperator", "BaseSensorOperator", "BranchMixIn", "Connection", "Context", "CronDataIntervalTimetable",
    "CronTriggerTimetable", "DAG", "DagRunState", "DeltaDataIntervalTimetable", "DeltaTriggerTimetable", "EdgeModifier", "Label", "Param",
    "ParamsDict", "PokeReturnValue", "SkipMixin", "TaskGroup", "TaskInstance", "TaskInstanceState", "TriggerRule", "Variable", "WeightRule",
    "XComArg", "chain", "chain_linear", "cross_downstream", "dag", "get_current_context", "get_parsing_context", "literal", "macros", "setup", "task",
    "task_group", "teardown",
]


class _Literal:
    def __init__(self, value: Any) -> None:
        self.value = value

    def iter_references(self) -> Any:
        return iter(())

    def resolve(self, context: Any, **_: Any) -> Any:
        return self.value


def literal(value: Any) -> _Literal:
    """A value that templates leave alone."""
    return _Literal(value)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    from airflow import not_supported

    raise not_supported(f"airflow.sdk.{name}")


_logging.getLogger("airflow.task").setLevel(_logging.INFO)
