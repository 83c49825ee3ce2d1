# SPDX-License-Identifier: Apache-2.0
"""Airflow's exceptions that DAG files catch or raise."""

from __future__ import annotations

from typing import Any


class AirflowException(Exception):
    """Base of all."""


class AirflowBadRequest(AirflowException):
    pass


class AirflowNotFoundException(AirflowException):
    pass


class AirflowConfigException(AirflowException):
    pass


class AirflowSkipException(AirflowException):
    """The task ends as skipped."""


class AirflowFailException(AirflowException):
    """The task fails and is not tried again."""


class AirflowTaskTimeout(BaseException):
    """execution_timeout is over."""


class AirflowTaskTerminated(BaseException):
    """The task is ended from outside."""


class AirflowSensorTimeout(AirflowException):
    pass


class AirflowRescheduleException(AirflowException):
    """A sensor in reschedule mode wants to be asked again."""

    def __init__(self, reschedule_date: Any) -> None:
        super().__init__(str(reschedule_date))
        self.reschedule_date = reschedule_date


class AirflowOptionalProviderFeatureException(AirflowException):
    pass


class DagNotFound(AirflowNotFoundException):
    pass


class DuplicateTaskIdFound(AirflowException):
    pass


class TaskAlreadyInTaskGroup(AirflowException):
    pass


class AirflowDagCycleException(AirflowException):
    pass


class AirflowDagInconsistent(AirflowException):
    pass


class ParamValidationError(AirflowException):
    pass


class XComNotFound(AirflowException):
    pass


class TaskNotFound(AirflowNotFoundException):
    pass


def __getattr__(name: str) -> Any:
    from airflow import not_supported

    if name.startswith("__"):
        raise AttributeError(name)
    raise not_supported(f"airflow.exceptions.{name}")
