# SPDX-License-Identifier: Apache-2.0
"""FileSensor: waits for a file, or for a folder with a file in it."""

from __future__ import annotations

import glob
import os
from typing import Any

from airflow._core.operator import BaseSensorOperator
from airflow._core.settings import BaseHook
from airflow.exceptions import AirflowNotFoundException


class FileSensor(BaseSensorOperator):
    template_fields = ("filepath",)

    def __init__(self, *, filepath: str, fs_conn_id: str = "fs_default", recursive: bool = False, deferrable: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if deferrable:
            from airflow import not_supported

            raise not_supported("FileSensor(deferrable=True)")
        self.filepath, self.fs_conn_id, self.recursive = filepath, fs_conn_id, recursive

    def poke(self, context: Any) -> bool:
        base = "/"
        if not os.path.isabs(self.filepath):
            try:
                base = BaseHook.get_connection(self.fs_conn_id).extra_dejson.get("path", "/")
            except AirflowNotFoundException:
                base = "/"
        full = os.path.join(base, self.filepath)
        self.log.info("Poking for file %s", full)
        for path in glob.glob(full, recursive=self.recursive):
            if os.path.isfile(path) or any(files for _, _, files in os.walk(path)):
                self.log.info("Found %s", path)
                return True
        return False
