#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A bad network between clients and a broker: requests come late, twice, in another order, or not whole.

    tests/soak/late_proxy.py --listen 127.0.0.1:PORT --to 127.0.0.1:PORT [--seed S]

Knows frames (four bytes of size) and the first four bytes of a request (key, version). One connection of a client is one to the broker, which
keeps its order, as TCP does. What it does to requests, by chance:

- delayed: held for a while, with all that is behind it on that connection; so requests of different connections are reordered;
- doubled: sent and answered over another connection first; the client's own one is then the second;
- late: sent once more over another connection up to eight seconds later, when its sender has long gone on (also behind a restart);
- cut: a part of it is sent, then both connections are closed. Answers are cut and delayed too.

`doubled` is for requests that mean the same twice (SAFE_TWICE), `late` for those that the protocol fences: each batch of a producer (by epoch and
sequence), and what ends a transaction or commits its offsets where each transaction has an epoch of its own (KIP-890). An older EndTxn that
is late cannot be told from the next one's, in Apache Kafka neither; nor can a plain commit of offsets.

SIGUSR1: from now on all goes through as it is. SIGTERM ends it; the counts are printed as one JSON line. One thread, one loop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import struct
from collections import Counter

PRODUCE, OFFSET_COMMIT, INIT_PRODUCER_ID, ADD_PARTITIONS, ADD_OFFSETS, END_TXN, TXN_OFFSET_COMMIT, CONSUMER_HEARTBEAT = 0, 8, 22, 24, 25, 26, 28, 68
SAFE_TWICE = {PRODUCE, OFFSET_COMMIT, ADD_PARTITIONS, ADD_OFFSETS, END_TXN, TXN_OFFSET_COMMIT, CONSUMER_HEARTBEAT}
SAFE_LATE = {PRODUCE: 0, END_TXN: 5, TXN_OFFSET_COMMIT: 5}  # from this version on
CHANCES = {"cut": 0.002, "delayed": 0.01, "doubled": 0.05, "late": 0.08}
LATE_SECONDS, DELAY_SECONDS = 8.0, 0.3
LATE_MAX = 200  # frames that wait to be late


class Proxy:
    def __init__(self, to: str, seed: int) -> None:
        host, _, port = to.rpartition(":")
        self.to = (host, int(port))
        self.random = random.Random(seed)
        self.calm = False
        self.counts: Counter[str] = Counter()
        self.late: set[asyncio.Task[None]] = set()

    def happens(self, what: str) -> bool:
        if self.calm or self.random.random() >= CHANCES[what]:
            return False
        self.counts[what] += 1
        return True

    async def alone(self, frame: bytes) -> None:
        """Over a connection of its own; waits for the answer, or for the end of the connection. Never gives up before."""
        try:
            reader, writer = await asyncio.open_connection(*self.to)
        except OSError:
            return
        try:
            writer.write(frame)
            await writer.drain()
            await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])
            self.counts["answered alone"] += 1
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def send_late(self, frame: bytes) -> None:
        await asyncio.sleep(self.random.uniform(0.05, LATE_SECONDS))
        if not self.calm:
            await self.alone(frame)

    @staticmethod
    async def frame_of(reader: asyncio.StreamReader) -> bytes:
        size = await reader.readexactly(4)
        return size + await reader.readexactly(struct.unpack(">i", size)[0])

    async def is_cut(self, frame: bytes, writer: asyncio.StreamWriter) -> bool:
        """Whether only a part of the frame came through; else it may have been held up for a while."""
        if self.happens("cut"):
            writer.write(frame[: self.random.randrange(1, len(frame))])
            await writer.drain()
            return True
        if self.happens("delayed"):
            await asyncio.sleep(self.random.uniform(0, DELAY_SECONDS))
        return False

    async def requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            frame = await self.frame_of(reader)
            key, version = struct.unpack(">hh", frame[4:8])
            self.counts["requests"] += 1
            if await self.is_cut(frame, writer):
                return
            if version >= SAFE_LATE.get(key, 1 << 15) and len(self.late) < LATE_MAX and self.happens("late"):
                task = asyncio.create_task(self.send_late(frame))
                self.late.add(task)
                task.add_done_callback(self.late.discard)
            if key in SAFE_TWICE and self.happens("doubled"):
                await self.alone(frame)
            writer.write(frame)
            await writer.drain()

    async def answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            frame = await self.frame_of(reader)
            if await self.is_cut(frame, writer):
                return
            writer.write(frame)
            await writer.drain()

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ways: list[asyncio.Task[None]] = []
        broker_writer = None
        try:
            broker_reader, broker_writer = await asyncio.open_connection(*self.to)
            ways = [asyncio.create_task(self.requests(reader, broker_writer)), asyncio.create_task(self.answers(broker_reader, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            if broker_writer is not None:
                broker_writer.close()


async def serve(listen: str, to: str, seed: int) -> None:
    proxy = Proxy(to, seed)
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: setattr(proxy, "calm", True))
    host, _, port = listen.rpartition(":")
    server = await asyncio.start_server(proxy.client, host, int(port), limit=1 << 20)
    print("ready", flush=True)
    await over.wait()
    server.close()
    print(json.dumps(proxy.counts), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--to", required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    asyncio.run(serve(args.listen, args.to, args.seed))


if __name__ == "__main__":
    main()
