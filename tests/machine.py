# SPDX-License-Identifier: Apache-2.0
"""What the tests written in Python ask of the machine: free ports, openssl, and a wait for something that another process does.

For tests/clients, tests/conformance, tests/soak and tests/peers, which put this folder on their path.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def free_ports(n: int) -> list[int]:
    """Different ports of 127.0.0.1 that nobody listens at now; another process may take one before the caller does."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def free_port() -> int:
    return free_ports(1)[0]


def openssl(*args: str, cwd: Path | None = None, stdin: str | None = None) -> bytes:
    """What it prints; a failure is an error with its words."""
    done = subprocess.run(["openssl", *args], cwd=cwd, input=None if stdin is None else stdin.encode(), capture_output=True, timeout=60)
    assert done.returncode == 0, f"openssl {args[0]}: {done.stderr.decode(errors='replace')}"
    return done.stdout


def until(ask: Callable[[], T], what: str = "", seconds: float = 60, good: Callable[[T], object] = bool) -> T:
    """Asks until the answer is good (true, unless another judge is given), and returns it."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if good(answer):
            return answer
        assert time.monotonic() < end, f"not within {seconds:g} s: {what or 'a good answer'}; the last was {answer!r}"
        time.sleep(0.005)
