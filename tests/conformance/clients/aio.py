# SPDX-License-Identifier: Apache-2.0
"""aiokafka: codecs, a group with a rebalance, transactions, admin."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
BROKER, RUN = sys.argv[1:3]
TOPIC = f"aiokafka-{RUN}"


async def check(name: str, fn: Callable[[], Awaitable[None]]) -> None:
    try:
        await fn()
        print(f"ok {name}", flush=True)
    except Exception as e:  # noqa: BLE001
        print(f"FAIL {name} {type(e).__name__}: {e}".replace("\n", " "), flush=True)


async def administration() -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=BROKER)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 4, 1), NewTopic(f"{TOPIC}-tx", 1, 1)])
    assert len((await admin.describe_topics([TOPIC]))[0]["partitions"]) == 4
    await admin.close()


async def codecs() -> None:
    for codec in (None, "gzip"):
        producer = AIOKafkaProducer(bootstrap_servers=BROKER, compression_type=codec, enable_idempotence=True)
        await producer.start()
        await asyncio.gather(*[await producer.send(TOPIC, f"{codec}{i}".encode(), f"k{i}".encode(), headers=[("h", b"x")]) for i in range(500)])
        await producer.stop()


async def group() -> None:
    seen: set[bytes] = set()
    kw = {"bootstrap_servers": BROKER, "group_id": f"g-{TOPIC}", "auto_offset_reset": "earliest", "session_timeout_ms": 10000, "heartbeat_interval_ms": 500}
    a, b = AIOKafkaConsumer(TOPIC, **kw), AIOKafkaConsumer(TOPIC, **kw)

    async def poll(c: AIOKafkaConsumer) -> None:
        for records in (await c.getmany(timeout_ms=200)).values():
            seen.update(r.value for r in records)

    await a.start()
    end = time.monotonic() + 40
    while len(seen) < 1000:
        assert time.monotonic() < end, f"{len(seen)} of 1,000 messages"
        await poll(a)
    await b.start()
    while not (len(a.assignment()) == 2 and len(b.assignment()) == 2):
        assert time.monotonic() < end, "not both have partitions"
        await poll(a)
        await poll(b)
    await a.stop()
    await b.stop()


async def transactions() -> None:
    out = f"{TOPIC}-tx"
    producer = AIOKafkaProducer(bootstrap_servers=BROKER, transactional_id=f"t-{TOPIC}")
    await producer.start()
    for which in ("abort", "commit", "abort", "commit"):
        await producer.begin_transaction()
        for _ in range(2):
            await producer.send_and_wait(out, which.encode())
        if which == "commit":
            await producer.send_offsets_to_transaction({TopicPartition(TOPIC, 0): 7}, f"tg-{TOPIC}")
            await producer.commit_transaction()
        else:
            await producer.abort_transaction()
    await producer.stop()
    reader = AIOKafkaConsumer(bootstrap_servers=BROKER, isolation_level="read_committed", auto_offset_reset="earliest")
    await reader.start()
    reader.assign([TopicPartition(out, 0)])
    await reader.seek_to_beginning()
    got: list[bytes] = []
    end = time.monotonic() + 20
    while len(got) < 4 and time.monotonic() < end:
        for records in (await reader.getmany(timeout_ms=500)).values():
            got += [r.value for r in records]
    await reader.stop()
    assert got == [b"commit"] * 4, got


async def main() -> None:
    await check("admin: topics", administration)
    await check("produce: none, gzip, idempotent", codecs)
    await check("group: consume, rebalance", group)
    await check("transactions: commit, abort, offsets", transactions)


async def limited() -> None:
    await asyncio.wait_for(main(), 150)


asyncio.run(limited())
