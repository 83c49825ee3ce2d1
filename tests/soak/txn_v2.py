# SPDX-License-Identifier: Apache-2.0
"""A transactional producer of the second form (KIP-890) for the history checker, from single frames: librdkafka speaks the first one only.

Each transaction writes some records into several partitions and commits its own number as an offset of its group, then commits or aborts. A
request without an answer is sent again as it is, over a new connection, until there is one. What the history says of a transaction is what
the checker's other transactional writers say: aborted, unknown or committed.
"""

from __future__ import annotations

import random
import time
from typing import Any

from frames import Frame, Wire, commit_offset, end_txn, error_of, fetch_offset, init_producer, produce, records

RETRIED = {3, 6, 7, 14, 15, 16, 19, 20, 51}  # a partition or a coordinator that is not there yet, or is in the middle of something
SECONDS = 90.0


class Refused(Exception):
    """An answer that is the end of this transaction."""


class Sender:
    """One connection at a time, made anew when it goes."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.wire: Wire | None = None

    def ask(self, frame: Frame) -> Any:
        """The answer; again and again until there is one that is no invitation to come back."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            try:
                if self.wire is None:
                    self.wire = Wire(self.address, 10)
                answer = self.wire.ask(frame)
                if error_of(answer) not in RETRIED:
                    return answer
            except (OSError, ConnectionError):
                self.close()
            time.sleep(0.01)
        raise Refused(f"{frame.name}: no answer in {SECONDS:.0f} s")

    def must(self, frame: Frame) -> Any:
        answer = self.ask(frame)
        if error_of(answer) != 0:
            raise Refused(f"{frame.name}: {error_of(answer)!r}")
        return answer

    def close(self) -> None:
        if self.wire is not None:
            self.wire.close()
        self.wire = None


def committed_number(address: str, group: str, topic: str) -> int:
    sender = Sender(address)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            sender.wire = sender.wire or Wire(address, 10)
            part = sender.wire.ask(fetch_offset(group, topic, 0)).groups[0].topics[0].partitions[0]
            if part.error_code == 0:
                sender.close()
                return int(part.committed_offset)
        except (OSError, ConnectionError, IndexError):
            sender.close()
        time.sleep(0.05)
    return -2


def write_v2(run: Any, name: str, topic: str, partitions: int) -> None:
    h = run.history(name)
    rand = random.Random(f"{run.args.seed}{name}")
    sender = Sender(run.address)
    producer_id, epoch, number = -1, -1, 0
    sequences: dict[int, int] = {}

    def one(txn: str, size: int, commit: bool) -> None:
        nonlocal producer_id, epoch
        if producer_id < 0:
            answer = sender.must(init_producer(name, timeout_ms=20000))
            producer_id, epoch = answer.producer_id, answer.producer_epoch
            sequences.clear()
        left = [f"{txn}/{i}" for i in range(size)]
        while left:
            n, partition = rand.randrange(1, 4), rand.randrange(partitions)
            values, left = left[:n], left[n:]
            sequence = sequences.get(partition, 0)
            batch = records(values, producer_id, epoch, sequence, True)
            sender.must(produce(topic, partition, batch, name))
            sequences[partition] = sequence + len(values)
            if rand.random() < 0.2:
                sender.must(commit_offset(name, producer_id, epoch, name, topic, 0, number))
        sender.must(commit_offset(name, producer_id, epoch, name, topic, 0, number))
        if commit:
            h.add(txn=txn, state="unknown")
        answer = sender.must(end_txn(name, producer_id, epoch, commit))
        if commit:
            h.add(txn=txn, state="committed")
        if (answer.producer_id, answer.producer_epoch) == (producer_id, epoch):
            raise Refused("the epoch was not raised")
        producer_id, epoch = answer.producer_id, answer.producer_epoch
        sequences.clear()

    while not run.stop.is_set():
        number += 1
        txn, size = f"{name}/{number}", rand.randrange(1, 12)
        h.add(txn=txn, state="aborted", size=size)
        try:
            one(txn, size, rand.random() < 0.7)
        except Refused as e:
            h.add(anew=str(e))
            producer_id = -1
        run.stop.wait(rand.random() * 0.02)
    sender.close()


def check_v2(run: Any, h: Any, content: dict[int, dict[int, str]]) -> str:
    """The offset that is committed is the number of the last transaction whose records are there: both or neither."""
    numbers = [int(v.split("/")[1]) for records_ in content.values() for v in records_.values() if v.startswith(h.name + "/")]
    there = committed_number(run.address, h.name, "transactions")
    if there != max(numbers, default=-1):
        run.problem("torn", f"{h.name}: the offset says {there}, the last records are of {max(numbers, default=-1)}")
    for e in h.events:
        if "anew" in e and "epoch" in e["anew"]:
            run.problem("fenced", f"{h.name}: {e['anew']}")
    return f"offset of {there}"
