# SPDX-License-Identifier: Apache-2.0
"""Airflow 2's path."""

from airflow._core.dag import chain, chain_linear, cross_downstream
from airflow._core.operator import BaseOperator

__all__ = ["BaseOperator", "chain", "chain_linear", "cross_downstream"]


def __getattr__(name):  # type: ignore[no-untyped-def]
    if name.startswith("__"):
        raise AttributeError(name)
    from airflow import not_supported

    raise not_supported(f"airflow.models.baseoperator.{name}")
