# SPDX-License-Identifier: Apache-2.0
"""BashOperator. The server runs the class itself; this code runs subclasses and @task.bash."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from typing import Any

from airflow._core.operator import BaseOperator, task_env
from airflow.exceptions import AirflowException, AirflowSkipException


def _codes(v: Any) -> list[int]:
    if v is None:
        return []
    return [v] if isinstance(v, int) else list(v)


def run_command(op: Any, command: str, context: Any) -> Any:
    """Runs it, logs each line, returns the last one."""
    env = {**os.environ, **(op.env or {})} if op.env is None or op.append_env else dict(op.env)
    env.update(task_env(context))
    with tempfile.TemporaryDirectory(prefix="airflowtmp") as tmp:
        cwd = op.cwd or tmp
        if not os.path.isdir(cwd):
            raise AirflowException(f"Can not find the cwd: {cwd}")
        op.log.info("Running command: %s", ["bash", "-c", command])
        with subprocess.Popen(
            ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd, env=env, start_new_session=True
        ) as p:
            op._process = p
            line = ""
            try:
                assert p.stdout is not None
                for raw in p.stdout:
                    line = raw.decode("utf-8", errors="backslashreplace").rstrip("\n")
                    op.log.info("%s", line)
                code = p.wait()
            except BaseException:  # the time limit, or an end from outside
                os.killpg(p.pid, signal.SIGTERM)
                raise
    op.log.info("Command exited with return code %s", code)
    if code in _codes(op.skip_on_exit_code):
        raise AirflowSkipException(f"Bash command returned exit code {code}. Skipping.")
    if code != 0:
        raise AirflowException(f"Bash command failed. The command returned a non-zero exit code {code}.")
    return line


class BashOperator(BaseOperator):
    template_fields = ("bash_command", "env", "cwd")
    template_fields_renderers = {"bash_command": "bash", "env": "json"}
    template_ext = (".sh", ".bash")
    ui_color = "#f0ede4"

    def __init__(self, *, bash_command: Any, env: dict[str, str] | None = None, append_env: bool = False, output_encoding: str = "utf-8",
                 skip_on_exit_code: Any = 99, cwd: str | None = None, output_processor: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bash_command, self.env, self.append_env, self.cwd, self.output_processor = bash_command, env, append_env, cwd, output_processor
        self.skip_on_exit_code = _codes(skip_on_exit_code)

    def execute(self, context: Any) -> Any:
        out = run_command(self, self.bash_command, context)
        return self.output_processor(out) if self.output_processor is not None else out

    def on_kill(self) -> None:
        p = getattr(self, "_process", None)
        if p is not None and p.poll() is None:
            os.killpg(p.pid, signal.SIGTERM)
