# SPDX-License-Identifier: Apache-2.0
"""The provider's re-export of airflow.sdk."""

from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException  # noqa: F401
from airflow.sdk import *  # noqa: F403


def __getattr__(name):  # type: ignore[no-untyped-def]
    if name.startswith("__"):
        raise AttributeError(name)
    from airflow import not_supported

    raise not_supported(f"airflow.providers.common.compat.sdk.{name}")
