# SPDX-License-Identifier: Apache-2.0
"""BashSensor: waits until a command succeeds."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from airflow._core.operator import BaseSensorOperator, task_env
from airflow.exceptions import AirflowFailException


class BashSensor(BaseSensorOperator):
    template_fields = ("bash_command", "env")

    def __init__(self, *, bash_command: str, env: dict[str, str] | None = None, output_encoding: str = "utf-8", retry_exit_code: int | None = None,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bash_command, self.env, self.retry_exit_code = bash_command, env, retry_exit_code

    def poke(self, context: Any) -> bool:
        p = subprocess.run(["bash", "-c", self.bash_command], env=self.env if self.env is not None else {**os.environ, **task_env(context)},
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        for line in p.stdout.decode("utf-8", errors="backslashreplace").splitlines():
            self.log.info("%s", line)
        self.log.info("Command exited with return code %s", p.returncode)
        if p.returncode == 0:
            return True
        if self.retry_exit_code is not None and p.returncode != self.retry_exit_code:
            raise AirflowFailException(f"Command exited with return code {p.returncode}.")
        return False
