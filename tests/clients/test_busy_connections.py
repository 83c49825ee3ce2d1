# SPDX-License-Identifier: Apache-2.0
"""Many connections that all produce and fetch at the same time stay within a stated memory: raw frames, one process, asyncio.

MILLRACE_TEST_BUSY and MILLRACE_TEST_BUSY_ROUNDS make it larger and longer than the quick one.
"""

from __future__ import annotations

import asyncio
import os
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic
from conftest import Server
from kafka.record.default_records import DefaultRecordBatchBuilder

CONNECTIONS = int(os.environ.get("MILLRACE_TEST_BUSY", "2000"))
ROUNDS = int(os.environ.get("MILLRACE_TEST_BUSY_ROUNDS", "2"))
PARTITIONS, VALUE = 8, 4000
BYTES_EACH = 40_000  # as for idle ones; here with a request under way, and the records of all rounds in the log's cache
PRODUCE, FETCH = 0, 1


def batch() -> bytes:
    b = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    b.append(0, timestamp=1_700_000_000_000, key=None, value=b"v" * VALUE, headers=[])
    return bytes(b.build())


def frame(key: int, version: int, correlation: int, body: bytes) -> bytes:
    return struct.pack(">ihhih", 10 + len(body), key, version, correlation, -1) + body


def produce(partition: int, records: bytes) -> bytes:
    head = struct.pack(">hhiih1sii", -1, -1, 30000, 1, 1, b"t", 1, partition)
    return head + struct.pack(">i", len(records)) + records


def fetch(partition: int, offset: int) -> bytes:
    return struct.pack(">iiiibi", -1, 500, 1, 64 << 10, 0, 1) + struct.pack(">h1siiqi", 1, b"t", 1, partition, offset, 64 << 10)


async def ask(at: tuple[asyncio.StreamReader, asyncio.StreamWriter], key: int, version: int, correlation: int, body: bytes) -> bytes:
    reader, writer = at
    writer.write(frame(key, version, correlation, body))
    await writer.drain()
    answer = await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])
    assert struct.unpack(">i", answer[:4])[0] == correlation
    return answer


async def play(at: tuple[asyncio.StreamReader, asyncio.StreamWriter], partition: int, records: bytes) -> int:
    """Produces, then fetches from where its record is. How many rounds were answered rightly."""
    for i in range(ROUNDS):
        answer = await ask(at, PRODUCE, 3, 2 * i, produce(partition, records))
        error, offset = struct.unpack(">hq", answer[4 + 4 + 3 + 4 + 4 :][:10])
        assert error == 0
        answer = await ask(at, FETCH, 4, 2 * i + 1, fetch(partition, offset))
        assert struct.unpack(">h", answer[4 + 4 + 4 + 3 + 4 + 4 :][:2]) == (0,)
        assert b"v" * VALUE in answer
    return ROUNDS


async def all_at_once(address: str) -> int:
    host, port = address.rsplit(":", 1)
    records, conns = batch(), []
    try:
        for _ in range(CONNECTIONS):
            conns.append(await asyncio.wait_for(asyncio.open_connection(host, int(port)), 30))
        async with asyncio.timeout(300):
            return sum(await asyncio.gather(*(play(at, i % PARTITIONS, records) for i, at in enumerate(conns))))
    finally:
        for _, writer in conns:
            writer.close()


def peak(server: Server) -> int:
    assert server.process is not None
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def test_busy_connections_stay_within_their_memory(new_server: Callable[..., Server]) -> None:
    server = new_server({"kafka.connections_max": str(CONNECTIONS + 100)}).start()
    admin = AdminClient({"bootstrap.servers": server.kafka})
    admin.create_topics([NewTopic("t", num_partitions=PARTITIONS)])["t"].result(30)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(CONNECTIONS + 200, hard), hard))
    before, begin = peak(server), time.monotonic()
    try:
        assert asyncio.run(all_at_once(server.kafka)) == CONNECTIONS * ROUNDS
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    used = peak(server) - before
    print(f"{CONNECTIONS} connections, {ROUNDS} rounds: {used >> 10} KiB at the most, {time.monotonic() - begin:.1f} s")
    assert used < CONNECTIONS * BYTES_EACH
