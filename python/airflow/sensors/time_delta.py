# SPDX-License-Identifier: Apache-2.0
"""Airflow's path for these names."""

from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor

__all__ = ["TimeDeltaSensor"]


def __getattr__(name):  # type: ignore[no-untyped-def]
    if name.startswith("__"):
        raise AttributeError(name)
    from airflow import not_supported

    raise not_supported(f"airflow.sensors.time_delta.{name}")
