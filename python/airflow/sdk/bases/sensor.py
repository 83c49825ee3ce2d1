# SPDX-License-Identifier: Apache-2.0
"""Airflow's path for these names."""

from airflow._core.operator import BaseSensorOperator, PokeReturnValue

__all__ = ["BaseSensorOperator", "PokeReturnValue"]


def __getattr__(name):  # type: ignore[no-untyped-def]
    if name.startswith("__"):
        raise AttributeError(name)
    from airflow import not_supported

    raise not_supported(f"airflow.sdk.bases.sensor.{name}")
