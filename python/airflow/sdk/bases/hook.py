# SPDX-License-Identifier: Apache-2.0
"""Airflow's path for these names."""

from airflow._core.settings import BaseHook

__all__ = ["BaseHook"]


def __getattr__(name):  # type: ignore[no-untyped-def]
    if name.startswith("__"):
        raise AttributeError(name)
    from airflow import not_supported

    raise not_supported(f"airflow.sdk.bases.hook.{name}")
