# SPDX-License-Identifier: Apache-2.0
"""The options that DAG files ask for."""

from typing import Any


class _Conf:
    """There is no airflow.cfg: every option has the fallback that the caller gives."""

    def get(self, section: str, key: str, fallback: Any = None, **_: Any) -> Any:
        return fallback

    getboolean = getint = getfloat = get


conf = _Conf()
