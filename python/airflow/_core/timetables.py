# SPDX-License-Identifier: Apache-2.0
"""Schedules: what DAG(schedule=...) takes. The server computes the ticks; here they are only described."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow import not_supported

PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
}


def us(delta: Any) -> int:
    """A duration as microseconds: a timedelta, or seconds."""
    if isinstance(delta, timedelta):
        return (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds
    if isinstance(delta, bool) or not isinstance(delta, (int, float)):
        raise TypeError(f"expected a timedelta or seconds, not {delta!r}")
    return int(delta * 1_000_000)


def check_utc(tz: Any) -> str:
    name = getattr(tz, "name", None) or getattr(tz, "key", None) or str(tz)
    if name not in ("UTC", "Etc/UTC", "utc", "Z", "GMT", "+00:00", "UTC+00:00"):
        raise not_supported(f"a schedule in time zone {name!r} (only UTC is)")
    return "UTC"


class Timetable:
    """Base class; own subclasses are not supported."""

    def describe(self) -> dict[str, Any]:
        raise not_supported(f"the timetable {type(self).__name__}")


class CronTriggerTimetable(Timetable):
    def __init__(self, cron: str, *, timezone: Any = "UTC", interval: Any = timedelta(), run_immediately: Any = False) -> None:
        self.cron, self.interval, self.run_immediately = cron, interval, run_immediately
        check_utc(timezone)

    def describe(self) -> dict[str, Any]:
        ri = self.run_immediately
        out: dict[str, Any] = {"type": "cron", "cron": PRESETS.get(self.cron, self.cron), "summary": self.cron, "interval_us": us(self.interval)}
        if isinstance(ri, timedelta):
            out["run_immediately_us"] = us(ri)
        elif ri:
            out["run_immediately"] = True
        return out


class CronDataIntervalTimetable(Timetable):
    def __init__(self, cron: str, timezone: Any = "UTC") -> None:
        self.cron = cron
        check_utc(timezone)

    def describe(self) -> dict[str, Any]:
        return {"type": "cron", "cron": PRESETS.get(self.cron, self.cron), "summary": self.cron, "data_interval": True}


class DeltaTriggerTimetable(Timetable):
    def __init__(self, delta: timedelta, *, interval: Any = timedelta()) -> None:
        if not isinstance(delta, timedelta):
            raise not_supported("a schedule by relativedelta")
        self.delta, self.interval = delta, interval

    def describe(self) -> dict[str, Any]:
        if us(self.delta) <= 0:
            raise ValueError("a schedule's timedelta must be positive")
        return {"type": "delta", "delta_us": us(self.delta), "summary": str(self.delta), "interval_us": us(self.interval)}


class DeltaDataIntervalTimetable(DeltaTriggerTimetable):
    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "data_interval": True}


def describe_schedule(schedule: Any) -> dict[str, Any]:
    if schedule is None:
        return {"type": "none", "summary": None}
    if isinstance(schedule, Timetable):
        return schedule.describe()
    if isinstance(schedule, timedelta):
        return DeltaTriggerTimetable(schedule).describe()
    if isinstance(schedule, str):
        if schedule == "@once":
            return {"type": "once", "summary": "@once"}
        if schedule == "@continuous":
            return {"type": "continuous", "summary": "@continuous"}
        if schedule == "@none":
            return {"type": "none", "summary": None}
        return CronTriggerTimetable(schedule).describe()
    raise not_supported(f"schedule={schedule!r} (assets and other timetables)")
