# SPDX-License-Identifier: Apache-2.0
"""Airflow's path for these names."""

from airflow._core.settings import DbApiHook
from airflow.providers.common.sql.hooks.handlers import fetch_all_handler, fetch_one_handler

__all__ = ["DbApiHook", "fetch_all_handler", "fetch_one_handler"]


def __getattr__(name):  # type: ignore[no-untyped-def]
    if name.startswith("__"):
        raise AttributeError(name)
    from airflow import not_supported

    raise not_supported(f"airflow.providers.common.sql.hooks.sql.{name}")
