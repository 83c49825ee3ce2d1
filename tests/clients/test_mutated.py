# SPDX-License-Identifier: Apache-2.0
"""Requests of real clients, recorded, then sent again with bytes changed, cut short, doubled or grown, at every door.

Whatever comes, the connection ends or answers, the others go on, and the server stops cleanly afterwards (the fixture looks at that).
"""

from __future__ import annotations

import json
import random
import select
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

ROUNDS = 1000


def endpoint(server: Any, door: str) -> tuple[str, int]:
    address = server.addresses[door]
    parts = urlsplit(address if "://" in address else "tcp://" + address)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port


def record(target: tuple[str, int], client: Callable[[int], Any]) -> list[bytes]:
    """Lets a client talk through a proxy; returns what it sent, a piece per connection."""
    pieces: list[bytearray] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def relay(near: socket.socket) -> None:
        sent = bytearray()
        pieces.append(sent)
        with near, socket.create_connection(target) as far:
            while True:
                ready, _, _ = select.select([near, far], [], [], 30)
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    if one is near:
                        sent += data
                    (far if one is near else near).sendall(data)
                if not ready:
                    return

    def accept() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=relay, args=(near,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    client(listener.getsockname()[1])
    listener.close()
    return [bytes(p) for p in pieces if p]


def kafka_client(port: int) -> None:
    """Talks to the server for real: it names its own address in its metadata, so that only the first connection comes this way."""
    for api, version, body in ((18, 0, b""), (3, 1, b"\xff\xff\xff\xff"), (3, 0, b"\x00\x00\x00\x01\x00\x01t"), (10, 0, b"\x00\x01g"), (16, 0, b""),
                               (1, 4, bytes.fromhex("ffffffff000000640000000100001000" "00" "00000001000174" "000000010000000000000000000000000000ffff")),
                               (2, 1, bytes.fromhex("ffffffff" "00000001" "000174" "00000001" "00000000" "ffffffffffffffff")),
                               (0, 3, bytes.fromhex("ffff" "ffff" "00001388" "00000001" "000174" "00000001" "00000000" "00000000")),
                               (11, 0, bytes.fromhex("000167" "00002710" "0000" "0008") + b"consumer" + bytes.fromhex("00000001" "000172" "00000000"))):
        frame = api.to_bytes(2, "big") + version.to_bytes(2, "big") + b"\x00\x00\x00\x07" + b"\x00\x01c" + body
        with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
            s.sendall(len(frame).to_bytes(4, "big") + frame)
            s.settimeout(2)
            try:
                s.recv(65536)
            except TimeoutError:
                pass


def pg_client(port: int) -> None:
    url = f"postgresql://millrace@127.0.0.1:{port}/millrace"
    for sql in ("select 1; select 'a', null, 2.5", "create schema if not exists m", "\\dt", "select $1::int + 1 \\bind 4 \\g"):
        subprocess.run(["psql", "-X", "-q", "-d", url, "-c", sql], capture_output=True, timeout=30)
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(url, autocommit=True) as connection:  # the extended protocol, text and binary
        connection.execute("select %s::int + 1, %s::text, %s::date", (1, "x", "2026-01-01")).fetchall()
        connection.cursor(binary=True).execute("select %s::bigint, %s::float8", (1, 2.5)).fetchall()


def http_request(method: str, path: str, body: Any = None) -> bytes:
    text = b"" if body is None else json.dumps(body).encode()
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text


HTTP = [
    http_request("GET", "/api/v2/dags?limit=3&order_by=-dag_id&tags=a"),
    http_request("POST", "/api/v2/dags/x%2Fy/dagRuns", {"logical_date": "2026-01-01T00:00:00Z", "conf": {"a": [1, None]}}),
    http_request("POST", "/api/v2/variables", {"key": "k", "value": {"a": 1}, "description": None}),
    http_request("POST", "/auth/token", {"username": "a", "password": "b"}),
    http_request("GET", "/api/millrace/checks/a.b/latest"),
    b"POST /api/v2/pools HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n",
]
SCHEMA = json.dumps({"type": "record", "name": "r", "fields": [{"name": "a", "type": ["null", "long"], "default": None}]})
REGISTRY = [
    http_request("POST", "/subjects/s-value/versions", {"schema": SCHEMA}),
    http_request("POST", "/compatibility/subjects/s-value/versions/latest", {"schema": SCHEMA}),
    http_request("GET", "/subjects/s-value/versions/1?deleted=true"),
    http_request("PUT", "/config/s-value", {"compatibility": "FULL"}),
    http_request("GET", "/schemas/ids/1"),
]


def mutate(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(out)) if out else 0
        kind = rng.randrange(6)
        if kind == 0 and out:
            out[at] = rng.randrange(256)
        elif kind == 1:
            out[at:] = b""  # cut short
        elif kind == 2:
            out[at:at] = rng.randbytes(rng.choice([1, 4, 100]))
        elif kind == 3:
            out[at:at] = out[at : at + 40] * rng.choice([1, 3, 50])
        elif kind == 4:
            out[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"\x80\x00\x00\x00"])
        else:
            out[at : at + rng.randrange(1, 9)] = b""
    return bytes(out)


def send(target: tuple[str, int], data: bytes, read: bool) -> None:
    with socket.create_connection(target, timeout=20) as s:
        try:
            s.sendall(data)
            if read:
                s.shutdown(socket.SHUT_WR)
                s.settimeout(20)
                while s.recv(65536):
                    pass
        except OSError:  # closed on us: as it should be
            pass


@pytest.fixture(scope="module")
def recorded(server: Any) -> dict[str, list[bytes]]:
    return {
        "kafka": record(endpoint(server, "kafka"), kafka_client),
        "pg": record(endpoint(server, "pg"), pg_client),
        "http": HTTP,
        "registry": REGISTRY,
    }


@pytest.mark.parametrize("door", ["kafka", "pg", "http", "registry"])
def test_mutated_requests(server: Any, recorded: dict[str, list[bytes]], door: str) -> None:
    rng = random.Random(door)
    target = endpoint(server, door)
    assert len(recorded[door]) >= 4
    for i in range(ROUNDS):
        send(target, mutate(rng, rng.choice(recorded[door])), read=i % 2 == 0)
    for piece in recorded[door]:  # every prefix length that a cut could leave, some of them
        for n in sorted(rng.sample(range(len(piece)), min(8, len(piece)))):
            send(target, piece[:n], read=False)
    assert server.process.poll() is None, server.log()
    assert "42" in server.cli("sql", "-c", "select 41 + 1").stdout
