# SPDX-License-Identifier: Apache-2.0
"""Airflow's path for these names."""

from airflow.providers.standard.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator, get_current_context

__all__ = ["BranchPythonOperator", "PythonOperator", "ShortCircuitOperator", "get_current_context"]


def __getattr__(name):  # type: ignore[no-untyped-def]
    if name.startswith("__"):
        raise AttributeError(name)
    from airflow import not_supported

    raise not_supported(f"airflow.operators.python.{name}")
