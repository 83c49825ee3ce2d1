# SPDX-License-Identifier: Apache-2.0
"""Airflow's path for these names."""

from airflow._core.enums import DagRunState, TaskInstanceState


class State:
    """The names as plain attributes."""

    SUCCESS, FAILED, RUNNING, QUEUED, SKIPPED = "success", "failed", "running", "queued", "skipped"
    UPSTREAM_FAILED, UP_FOR_RETRY, UP_FOR_RESCHEDULE = "upstream_failed", "up_for_retry", "up_for_reschedule"
    SCHEDULED, REMOVED = "scheduled", "removed"


__all__ = ["DagRunState", "State", "TaskInstanceState"]


def __getattr__(name):  # type: ignore[no-untyped-def]
    if name.startswith("__"):
        raise AttributeError(name)
    from airflow import not_supported

    raise not_supported(f"airflow.utils.state.{name}")
