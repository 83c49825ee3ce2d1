# SPDX-License-Identifier: Apache-2.0
"""Times with a zone, as Airflow's module of this name makes them."""

from datetime import datetime as _datetime
from datetime import timezone as _timezone
from typing import Any

utc = _timezone.utc


def datetime(*args: Any, **kwargs: Any) -> _datetime:
    kwargs.setdefault("tzinfo", utc)
    return _datetime(*args, **kwargs)


def utcnow() -> _datetime:
    return _datetime.now(tz=utc)


def make_aware(value: _datetime, timezone: Any = None) -> _datetime:
    return value.replace(tzinfo=timezone or utc)


def parse(string: str, timezone: Any = None) -> _datetime:
    d = _datetime.fromisoformat(string)
    return d if d.tzinfo else d.replace(tzinfo=timezone or utc)


def __getattr__(name):  # type: ignore[no-untyped-def]
    if name.startswith("__"):
        raise AttributeError(name)
    from airflow import not_supported

    raise not_supported(f"airflow.utils.timezone.{name}")
