# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the client tests: a server on a fresh data directory with every door on a free port.

``server`` is shared by the tests of one file; ``new_server`` makes servers that a test may kill and start again.
A server that does not end with exit code 0, or that a sanitizer complained about, fails the test.
``MILLRACE_TEST_PROGRAM`` names another program than build/release/millrace (build/asan/millrace).
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.append(str(TOP / "tests"))  # machine.py, record_batch.py
PROGRAM = Path(os.environ.get("MILLRACE_TEST_PROGRAM", TOP / "build/release/millrace"))
DOORS = ("kafka", "registry", "pg", "http")
START_SECONDS = 60.0
STOP_SECONDS = 60.0


class Server:
    """One server process on one data directory."""

    def __init__(self, data: Path, settings: dict[str, str] | None = None, args: tuple[str, ...] = ()) -> None:
        self.data = data
        self.settings = {f"{door}.listen": "127.0.0.1:0" for door in DOORS} | (settings or {})
        self.args = args
        self.log_path = data.parent / f"{data.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.addresses: dict[str, Any] = {}

    def start(self) -> Server:
        """Starts it and waits until the doors are open (addresses.json of this very process), or it has ended."""
        command = [str(PROGRAM), "server", "--data", str(self.data), *self.args]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={value}"]
        log = self.log_path.open("ab")
        self.process = subprocess.Popen(command, stderr=log, stdout=log, stdin=subprocess.DEVNULL, env=clean_environment())
        log.close()
        pid_fd = os.pidfd_open(self.process.pid)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not self._addresses_are_there():
                assert time.monotonic() < deadline, f"not ready in {START_SECONDS} s:\n{self.log()}"
                ended, _, _ = select.select([pid_fd], [], [], 0.005)
                assert not ended, f"ended at start with exit code {self.process.wait()}:\n{self.log()}"
        finally:
            os.close(pid_fd)
        return self

    def _addresses_are_there(self) -> bool:
        assert self.process is not None
        try:
            found = json.loads((self.data / "addresses.json").read_text())
        except FileNotFoundError:
            return False
        if found.get("pid") != self.process.pid:
            return False
        self.addresses = found
        return True

    def stop(self) -> None:
        """SIGTERM; it must end by itself with exit code 0, and no sanitizer may have spoken."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"did not stop within {STOP_SECONDS} s of SIGTERM:\n{self.log()}")
        self.process = None
        log = self.log()
        assert code == 0, f"exit code {code}:\n{log}"
        self.check_sanitizers()
        assert not (self.data / "addresses.json").exists()

    def kill(self) -> None:
        """As a power cut of the process: SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def check_sanitizers(self) -> None:
        log = self.log()
        for word in ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:"):
            assert word not in log, log[log.index(word) - 200 :][:6000]

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")[-20000:] if self.log_path.exists() else ""

    def log_size(self) -> int:
        """Bytes of the event log on disk."""
        total = 0
        for path in (self.data / "log").glob("*/*.log"):
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                pass
        return total

    @property
    def http(self) -> str:
        return str(self.addresses["http"])

    @property
    def kafka(self) -> str:
        return str(self.addresses["kafka"])

    @property
    def registry(self) -> str:
        return str(self.addresses["registry"])

    @property
    def pg(self) -> str:
        return str(self.addresses["pg"])

    def cli(self, *args: str, check: bool = True, stdin: str | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Runs a client command of the program against this server."""
        done = subprocess.run(
            [str(PROGRAM), *args],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=clean_environment() | {"MILLRACE_DATA": str(self.data)},
        )
        assert not check or done.returncode == 0, f"{args}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done


def clean_environment() -> dict[str, str]:
    """Ours without what would configure a server."""
    return {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}


def run_millrace(*args: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
    """Runs a command that needs no server."""
    return subprocess.run([str(PROGRAM), *args], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, env=clean_environment())


@pytest.fixture
def millrace() -> Callable[..., subprocess.CompletedProcess[str]]:
    return run_millrace


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="millrace-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server(scratch: Path) -> Iterator[Server]:
    """One server for all tests of a file."""
    one = Server(scratch / "data").start()
    yield one
    if one.process is not None:
        one.stop()


@pytest.fixture
def new_server(scratch: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers: new_server(settings={...}).start(). What still runs at the end of the test is stopped and checked."""
    made: list[Server] = []

    def make(settings: dict[str, str] | None = None, args: tuple[str, ...] = (), data: Path | None = None) -> Server:
        folder = data or Path(tempfile.mkdtemp(dir=scratch)) / "data"
        one = Server(folder, settings, args)
        made.append(one)
        return one

    yield make
    for one in made:
        if one.process is not None:
            one.stop()
