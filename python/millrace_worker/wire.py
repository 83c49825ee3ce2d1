# SPDX-License-Identifier: Apache-2.0
"""Frames: 4 bytes big-endian length, then JSON. `op` comes first in what a child sends, so that the parent need not parse it."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

FRAME_MAX = 64 << 20


def pack(message: dict[str, Any]) -> bytes:
    body = json.dumps(message, separators=(",", ":"), default=str).encode()
    if len(body) > FRAME_MAX:
        raise ValueError(f"a message of {len(body)} bytes is larger than {FRAME_MAX}")
    return struct.pack(">I", len(body)) + body


class Frames:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._buf = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        self._buf += data
        out = []
        while len(self._buf) >= 4:
            (n,) = struct.unpack_from(">I", self._buf)
            if n > FRAME_MAX:
                raise ValueError(f"a frame of {n} bytes is larger than {FRAME_MAX}")
            if len(self._buf) < 4 + n:
                break
            out.append(bytes(self._buf[4 : 4 + n]))
            del self._buf[: 4 + n]
        return out


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def recv_frame(sock: socket.socket) -> bytes:
    def exactly(n: int) -> bytes:
        parts = bytearray()
        while len(parts) < n:
            more = sock.recv(n - len(parts))
            if not more:
                raise EOFError("the server has gone")
            parts += more
        return bytes(parts)

    (n,) = struct.unpack(">I", exactly(4))
    return exactly(n)
