# SPDX-License-Identifier: Apache-2.0
"""Questions to the server from inside a parse or a task: one channel per process, set by the worker."""

from __future__ import annotations

from typing import Any


class NoServer(RuntimeError):
    pass


class Channel:
    """Overridden by millrace_worker."""

    def call(self, method: str, **args: Any) -> Any:
        raise NoServer(f"{method}: this process has no connection to a Millrace server")


channel: Channel = Channel()


def set_channel(c: Channel) -> None:
    global channel
    channel = c


def call(method: str, **args: Any) -> Any:
    return channel.call(method, **args)
