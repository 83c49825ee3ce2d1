#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""History checker: clients write down what they sent and saw while the server is killed, stopped and restarted; then what is there is checked.

    .venv/bin/python tests/soak/history.py --kills 20 [--seed S] [--no-proxy] [--parts plain,idempotent,...]

Writers: plain, idempotent, transactional (commits and aborts; librdkafka's, and the second form by single frames, txn_v2.py), and a
consume-transform-produce loop. Readers: both isolation levels, groups under both protocols that commit as they go, members of a share group
(share_group.py says what is checked of them). The coordinators' topics and one of the writers' are compacted all the time. All speak through late_proxy.py, which delays, doubles, reorders and cuts, and sends
requests of earlier transactions again. Afterwards

- each acknowledged record is at the offset that was told, with its content;                              lost, changed
- under idempotence nothing is there twice and each writer's records are in order in each partition;      doubled, reordered
- a committed transaction is there as a whole, an aborted one not at all, an unknown one wholly or not;   torn, aborted read
- no reader saw an offset go back, a record that is not there at the end, or (read_committed) an aborted one;
- of a compacted topic each key's last value is the last acknowledged one or one behind it, and no record is at another offset;
- a group's committed offset is never below one that was acknowledged;                                    lost commit
- consume-transform-produce: the output is each input below the committed offset, once.

The seed is printed; from it come the faults' kinds and times (the threads' own timing is the machine's). On a failure the histories
(JSON lines) and the data directory stay. MILLRACE_TEST_PROGRAM names another program. Threads: one a client, one for the faults; each
writes a list of its own, read after all have ended.
"""

from __future__ import annotations

import argparse
import atexit
import faulthandler
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "conformance"), str(HERE.parent / "clients")]
import share_group  # noqa: E402
import txn_v2  # noqa: E402
from frames import Frame, once  # noqa: E402
from kafka.protocol.admin.configs import IncrementalAlterConfigsRequest  # noqa: E402
from lib import Server  # noqa: E402
from machine import free_port  # noqa: E402

PARTITIONS = 3
PARTS = ("plain", "idempotent", "transactions", "v2", "groups", "consumer-groups", "share", "compacted")
INTERNAL_TOPICS = ("__consumer_offsets", "__transaction_state", "__share_group_state")
KEYS = 40
PROPERTIES = {
    "group.consumer.session.timeout.ms": "45000", "group.min.session.timeout.ms": "1000",
    # what is compacted is compacted all the time
    "log.cleaner.backoff.ms": "200", "log.cleaner.min.cleanable.ratio": "0.05", "log.cleaner.delete.retention.ms": "2000",
}  # fmt: skip
CLIENT: dict[str, Any] = {
    "topic.metadata.refresh.interval.ms": 2000, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20, "retry.backoff.max.ms": 200,
    "socket.timeout.ms": 6000, "log_level": 0,
    # Where librdkafka 2.16 bootstraps anew, it may wait for a group's coordinator by a handle that is gone (send_offsets_to_transaction never returns)
    "metadata.recovery.strategy": "none",
}
SYNC_SECONDS = 60.0


class History:
    """One client's list of what happened, as dictionaries."""

    def __init__(self, name: str, topic: str = "") -> None:
        self.name = name
        self.topic = topic  # of a writer that writes records of its own
        self.events: list[dict[str, Any]] = []

    def add(self, **event: Any) -> None:
        self.events.append(event)


class Network:
    """The bad network in front of the server, a process of its own."""

    def __init__(self, to: str, seed: int) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.process = subprocess.Popen([sys.executable, HERE / "late_proxy.py", "--listen", self.address, "--to", to, "--seed", str(seed)], stdout=subprocess.PIPE)
        atexit.register(self.process.kill)
        assert self.process.stdout is not None and self.process.stdout.readline() == b"ready\n"

    def calm(self) -> None:
        self.process.send_signal(signal.SIGUSR1)

    def end(self) -> str:
        self.process.terminate()
        told = json.loads(self.process.communicate(timeout=30)[0])
        return ", ".join(f"{n} {what}" for what, n in sorted(told.items()))


class Run:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.random = random.Random(args.seed)
        settings = {"kafka.listen": f"127.0.0.1:{free_port()}"}
        self.network = None if args.no_proxy else Network(settings["kafka.listen"], args.seed)
        if self.network is not None:
            settings["kafka.advertised"] = self.network.address
        self.server = Server(PROPERTIES, settings).start()
        self.address = self.network.address if self.network is not None else self.server.address
        self.stop = threading.Event()  # writers and groups end
        self.writers_over = threading.Event()
        self.over = threading.Event()  # readers end
        self.share_members: list[share_group.Member] = []
        self.histories: list[History] = []
        self.faults = History("faults")
        self.problems: list[str] = []
        self.crashed: list[str] = []

    def history(self, name: str, topic: str = "") -> History:
        h = History(name, topic)
        self.histories.append(h)
        return h

    def config(self, **more: Any) -> dict[str, Any]:
        return CLIENT | {"bootstrap.servers": self.address} | {k.replace("_", "."): v for k, v in more.items()}

    def problem(self, kind: str, what: str) -> None:
        if len(self.problems) < 200:
            self.problems.append(f"{kind}: {what}")


# ---- writers -------------------------------------------------------------------------------------------------------------------
CODECS = ("none", "lz4", "zstd", "snappy", "gzip")
PAD = [("pad", bytes(300_000))]  # packs to little, and takes long enough to look at that the server has a worker do it


def pad(rand: random.Random, codec: str) -> list[tuple[str, bytes]] | None:
    return PAD if codec != "none" and rand.random() < 0.01 else None


def write(run: Run, name: str, topic: str, idempotent: bool) -> None:
    """Sends numbered records; writes down the offsets that were acknowledged."""
    h = run.history(name, topic)
    rand = random.Random(f"{run.args.seed}{name}")
    codec = CODECS[len(run.histories) % len(CODECS)]
    config = run.config(enable_idempotence=idempotent, acks="all", linger_ms=2, message_timeout_ms=300000, batch_size=4000, compression_type=codec)
    producer = Producer(config | ({} if idempotent else {"max.in.flight": 5}))

    def done(error: KafkaError | None, message: Any) -> None:
        value = message.value().decode()
        if error is None:
            h.add(ack=value, partition=message.partition(), offset=message.offset())
        else:
            h.add(nack=value, error=str(error))

    number = 0
    while not run.stop.is_set():
        for _ in range(rand.randrange(1, 40)):
            key = number % KEYS if topic == "compacted" else None  # of a partition that is always the same
            producer.produce(topic, f"{name}/{number}", None if key is None else f"{key}", rand.randrange(PARTITIONS) if key is None else key % PARTITIONS, done, headers=pad(rand, codec))
            number += 1
        producer.poll(0)
        run.stop.wait(rand.random() * (0.4 if topic == "share" else 0.05))
        while len(producer) > 5000 and not run.stop.is_set():
            producer.poll(0.1)
    left = producer.flush(120)
    h.add(sent=number, left=left)
    if left:
        run.problem("stuck", f"{name}: {left} records were not answered in 120 s after the last restart")


class Restart(Exception):
    """The transactional producer has to be made anew."""


def ended(call: Callable[[], None], producer: Producer) -> str:
    """commit or abort until it is through: done, abort (the client must abort) or anew (a new producer)."""
    for _ in range(200):
        try:
            call()
            return "done"
        except KafkaException as e:
            error = e.args[0]
            if error.retriable():
                continue
            if error.txn_requires_abort():
                return "abort"
            return "anew"
    return "anew"


def shorten(run: Run) -> None:
    """Short segments for the coordinators' topics, as soon as each is there: only closed segments are compacted."""
    resource = IncrementalAlterConfigsRequest.AlterConfigsResource
    config = resource.AlterableConfig(name="internal.segment.bytes", config_operation=0, value="50000")
    left = set(INTERNAL_TOPICS if "share" in run.args.parts else INTERNAL_TOPICS[:2])
    while left and not run.stop.is_set():
        for topic in list(left):
            ask = Frame(IncrementalAlterConfigsRequest[1](resources=[resource(resource_type=2, resource_name=topic, configs=[config])], validate_only=False))
            try:
                if once(run.server.address, ask).responses[0].error_code == 0:
                    left.discard(topic)
            except OSError:
                pass
        run.stop.wait(0.5)
    if left:
        run.problem("run", f"{left} kept long segments")


def transactional(run: Run, name: str, h: History) -> Producer:
    """A fatal INVALID_TXN_STATE that librdkafka prints is its own: it sends EndTxn(abort) for a transaction whose AddPartitionsToTxn was lost with the
    server (and that it gave up within a flush), which the server, as Apache Kafka, cannot tell from a late end of the one before. The next producer goes on."""
    while True:
        producer = Producer(run.config(transactional_id=name, transaction_timeout_ms=20000, linger_ms=1, message_timeout_ms=15000, compression_type="zstd"))
        try:
            producer.init_transactions(30)
            return producer
        except KafkaException as e:
            h.add(init=str(e))
            if run.over.is_set():
                raise


def finish(producer: Producer, h: History, txn: str, commit: bool) -> None:
    """Ends the transaction and writes down what is known of it."""
    if commit:
        h.add(txn=txn, state="unknown")  # until the answer is there
        how = ended(lambda: producer.commit_transaction(20), producer)
        if how == "done":
            h.add(txn=txn, state="committed")
            return
    else:
        h.add(txn=txn, state="aborted")  # whatever happens, this one may not be seen
        how = "abort"
    if how == "abort":
        how = ended(lambda: producer.abort_transaction(20), producer)
    if how != "done":
        raise Restart


def write_transactions(run: Run, name: str) -> None:
    """Transactions of some records in several partitions; a third is aborted."""
    h = run.history(name)
    rand = random.Random(f"{run.args.seed}{name}")
    producer = transactional(run, name, h)
    number = 0
    while not run.stop.is_set():
        txn = f"{name}/{number}"
        number += 1
        size = rand.randrange(1, 12)
        try:
            producer.begin_transaction()
            h.add(txn=txn, state="aborted", size=size)  # until a commit is asked for
            for i in range(size):
                producer.produce("transactions", f"{txn}/{i}", partition=rand.randrange(PARTITIONS), headers=pad(rand, "zstd"))
            if rand.random() < 0.3:
                producer.flush(5)
            finish(producer, h, txn, rand.random() < 0.7)
        except (KafkaException, Restart, BufferError) as e:
            h.add(anew=str(e))
            producer = transactional(run, name, h)


def transform(run: Run, name: str) -> None:
    """Consume-transform-produce: input of `idempotent`, output and offsets in one transaction."""
    h = run.history(name)
    rand = random.Random(f"{run.args.seed}{name}")
    parts = [TopicPartition("idempotent", p) for p in range(PARTITIONS)]
    while not run.stop.is_set():
        producer = transactional(run, name, h)
        consumer = Consumer(run.config(group_id=name, enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed"))
        try:
            committed = committed_of(consumer, parts)
            consumer.assign([TopicPartition(p.topic, p.partition, max(0, p.offset)) for p in committed])
            while not run.stop.is_set():
                got = [m for m in consumer.consume(rand.randrange(1, 300), 0.2) if m.error() is None]
                if not got:
                    continue
                producer.begin_transaction()
                for m in got:
                    producer.produce("transformed", m.value(), partition=m.partition())
                producer.send_offsets_to_transaction([p for p in consumer.position(parts) if p.offset >= 0], consumer.consumer_group_metadata(), 20)
                finish(producer, h, f"{name}/{len(h.events)}", rand.random() < 0.8)
                if h.events[-1]["state"] != "committed":
                    raise Restart
        except (KafkaException, Restart, BufferError) as e:
            h.add(anew=str(e))
        finally:
            consumer.close()
            del producer


def committed_of(consumer: Consumer, parts: list[TopicPartition]) -> list[TopicPartition]:
    end = time.monotonic() + SYNC_SECONDS
    while True:
        try:
            found = consumer.committed(parts, 10)
            if all(p.error is None for p in found):
                return found
        except KafkaException:
            pass
        if time.monotonic() > end:
            raise Restart


# ---- readers -------------------------------------------------------------------------------------------------------------------


def tail(run: Run, name: str, topics: list[str], isolation: str) -> None:
    """Reads all as it comes, for itself."""
    h = run.history(name)
    consumer = Consumer(run.config(group_id=name, enable_auto_commit=False, isolation_level=isolation, auto_offset_reset="error", fetch_wait_max_ms=50))
    consumer.assign([TopicPartition(t, p, 0) for t in topics for p in range(PARTITIONS)])
    while not run.over.is_set():
        for m in consumer.consume(1000, 0.2):
            if m.error() is None:
                h.add(topic=m.topic(), partition=m.partition(), offset=m.offset(), value=m.value().decode())
            elif m.error().code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                run.problem("offset out of range", f"{name}: {m.error()}")
    consumer.close()


def member(run: Run, name: str, group: str, protocol: str) -> None:
    """A member of a group: commits what it read, now and then leaves and comes back."""
    h = run.history(name)
    rand = random.Random(f"{run.args.seed}{name}")
    while not run.stop.is_set():
        more = {"session_timeout_ms": 3000, "heartbeat_interval_ms": 300} if protocol == "classic" else {}
        consumer = Consumer(run.config(group_id=group, group_protocol=protocol, enable_auto_commit=False, auto_offset_reset="earliest", **more))
        consumer.subscribe(["plain"] if "plain" in run.args.parts else ["idempotent"])
        h.add(start=True)
        leave = time.monotonic() + rand.uniform(5, 30)
        while not run.stop.is_set() and time.monotonic() < leave:
            got = consumer.consume(rand.randrange(1, 500), 0.3)
            last: dict[tuple[str, int], int] = {}
            for m in got:
                if m.error() is None:
                    last[m.topic(), m.partition()] = m.offset() + 1
            if not last:
                continue
            try:
                for p in consumer.commit(offsets=[TopicPartition(t, p, o) for (t, p), o in last.items()], asynchronous=False):
                    if p.error is None:
                        h.add(commit=p.offset, topic=p.topic, partition=p.partition, at=time.monotonic())
            except KafkaException as e:
                h.add(commit_failed=str(e))
        consumer.close()


def watch_commits(run: Run, groups: list[str]) -> None:
    """Asks for the groups' offsets all the time: they may never be below what was acknowledged before it asked."""
    # librdkafka's admin calls abort the process when the connection goes at the wrong moment; a consumer's do not
    h = run.history("commits seen")
    topic = "plain" if "plain" in run.args.parts else "idempotent"
    askers = {g: Consumer(run.config(group_id=g, enable_auto_commit=False)) for g in groups}
    while not run.stop.is_set():
        for group, asker in askers.items():
            before = time.monotonic()
            try:
                found = asker.committed([TopicPartition(topic, p) for p in range(PARTITIONS)], 5)
            except KafkaException:
                continue
            for p in found:
                if p.error is None:
                    h.add(group=group, topic=p.topic, partition=p.partition, offset=p.offset, asked=before)
        run.stop.wait(0.2)
    for asker in askers.values():
        asker.close()


# ---- faults --------------------------------------------------------------------------------------------------------------------


def faults(run: Run) -> None:
    """Kill -9 (also while it starts), SIGSTOP for a while, and clean restarts, until the wanted number of kills is reached."""
    server, kills, number = run.server, 0, 0
    while kills < run.args.kills:
        time.sleep(run.random.uniform(0.2, run.args.every))
        kind = run.random.choices(("kill", "kill while starting", "stop", "restart"), (7, 1, 2, 1))[0]
        number += 1
        assert server.process is not None
        if not server.alive():
            raise RuntimeError(f"the server ended by itself with {server.process.returncode}")
        if kind == "stop":
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(run.random.uniform(0.1, 3.0))
            if run.random.random() < 0.5:
                server.process.send_signal(signal.SIGCONT)
            else:
                kind = "kill while stopped"
        if kind.startswith("kill"):
            server.kill()
            kills += 1
            time.sleep(run.random.choice((0.0, 0.05, 0.5)))
            while kind == "kill while starting" and run.random.random() < 0.7:
                server.launch()
                time.sleep(run.random.uniform(0.0, 0.15))
                server.kill()
                kills += 1
            begin = time.monotonic()
            server.start()
            run.faults.add(kind=kind, start_ms=round((time.monotonic() - begin) * 1000))
        elif kind == "restart":
            server.process.send_signal(signal.SIGTERM)
            code = server.process.wait(60)
            if code != 0:
                run.problem("bad end", f"exit code {code} after SIGTERM")
            server.process = None
            server.start()
            run.faults.add(kind=kind)
        else:
            run.faults.add(kind=kind)
        if number % 20 == 0:
            print(f"  {kills} kills", flush=True)


# ---- checks ----------------------------------------------------------------------------------------------------------------------


def read_all(run: Run, topic: str, isolation: str) -> dict[int, dict[int, str]]:
    """The topic's content, partition by partition: offset to value."""
    content: dict[int, dict[int, str]] = {}
    for partition in range(PARTITIONS):
        consumer = Consumer(run.config(group_id="final", enable_auto_commit=False, isolation_level=isolation, enable_partition_eof=True, auto_offset_reset="error"))
        consumer.assign([TopicPartition(topic, partition, 0)])
        found: dict[int, str] = {}
        last, end = -1, time.monotonic() + 120
        while True:
            m = consumer.poll(1)
            if m is None:
                if time.monotonic() > end:
                    run.problem("stuck", f"{topic}-{partition} {isolation}: no end in 120 s, {len(found)} records")
                    break
                continue
            if m.error() is not None:
                if m.error().code() == KafkaError._PARTITION_EOF:
                    break
                run.problem("read", f"{topic}-{partition}: {m.error()}")
                break
            if m.offset() <= last:
                run.problem("reordered", f"{topic}-{partition}: offset {m.offset()} after {last}")
            last = m.offset()
            found[last] = m.value().decode()
        consumer.close()
        content[partition] = found
    return content


def check_writer(run: Run, h: History, content: dict[int, dict[int, str]], idempotent: bool) -> int:
    acked = [e for e in h.events if "ack" in e]
    for e in acked:
        there = content[e["partition"]].get(e["offset"])
        if there != e["ack"]:
            run.problem("lost" if there is None else "changed", f"{h.name}: {e['ack']} was acknowledged at {e['partition']}:{e['offset']}, there is {there}")
    if idempotent:
        seen: set[str] = set()
        for partition, records in content.items():
            last = -1
            for offset, value in sorted(records.items()):
                writer, _, number = value.rpartition("/")
                if writer != h.name:
                    continue
                if value in seen:
                    run.problem("doubled", f"{value} again at {partition}:{offset}")
                seen.add(value)
                if int(number) < last:
                    run.problem("reordered", f"{value} behind number {last} at {partition}:{offset}")
                last = max(last, int(number))
    return len(acked)


def check_compacted(run: Run, h: History, content: dict[int, dict[int, str]]) -> str:
    acked = {(e["partition"], e["offset"]): e["ack"] for e in h.events if "ack" in e}
    told: dict[int, int] = {}
    there: dict[int, int] = {}
    for value in acked.values():
        number = int(value.rpartition("/")[2])
        told[number % KEYS] = max(number, told.get(number % KEYS, -1))
    for partition, records in content.items():
        for offset, value in sorted(records.items()):
            number = int(value.rpartition("/")[2])
            if number < there.get(number % KEYS, -1):
                run.problem("reordered", f"{value} behind number {there[number % KEYS]} at {partition}:{offset}")
            there[number % KEYS] = number
            if acked.get((partition, offset), value) != value:
                run.problem("changed", f"{partition}:{offset} was acknowledged as {acked[partition, offset]}, it is {value}")
    for key, number in told.items():
        if there.get(key, -1) < number:
            run.problem("lost", f"compacted key {key}: number {number} was acknowledged, the last one is {there.get(key)}")
    return f"compacted {len(acked)} acknowledged, {sum(len(r) for r in content.values())} left"


def check_transactions(run: Run, h: History, committed: dict[int, dict[int, str]], everything: dict[int, dict[int, str]]) -> dict[str, int]:
    state: dict[str, str] = {}
    size: dict[str, int] = {}
    for e in h.events:
        if "txn" in e:
            state[e["txn"]] = e["state"]
            size[e["txn"]] = e.get("size", size.get(e["txn"], 0))
    found: dict[str, list[str]] = defaultdict(list)
    for records in committed.values():
        for value in records.values():
            if value.startswith(h.name + "/"):
                found[value.rpartition("/")[0]].append(value)
    count: dict[str, int] = defaultdict(int)
    for txn, s in state.items():
        count[s] += 1
        have = found.get(txn, [])
        if len(have) != len(set(have)):
            run.problem("doubled", f"{txn} has {len(have)} records, {len(set(have))} different")
        if s == "committed" and len(have) != size[txn]:
            run.problem("torn" if have else "lost", f"{txn} was committed with {size[txn]} records, {len(have)} are there")
        if s == "aborted" and have:
            run.problem("aborted read", f"{txn} was aborted, {len(have)} of {size[txn]} records are there")
        if s == "unknown" and len(have) not in (0, size[txn]):
            run.problem("torn", f"{txn} (unknown): {len(have)} of {size[txn]} records are there")
    for partition, records in committed.items():
        for offset, value in records.items():
            if everything[partition].get(offset) != value:
                run.problem("changed", f"transactions-{partition}:{offset}: {value} with read_committed, {everything[partition].get(offset)} without")
    return count


def check_reader(run: Run, h: History, content: dict[str, dict[int, dict[int, str]]]) -> int:
    last: dict[tuple[str, int], int] = {}
    seen: dict[tuple[str, int], set[int]] = defaultdict(set)
    for e in h.events:
        if "value" not in e:
            continue
        at = (e["topic"], e["partition"])
        seen[at].add(e["offset"])
        if e["offset"] <= last.get(at, -1):
            run.problem("went back", f"{h.name}: {at} {e['offset']} after {last[at]}")
        last[at] = e["offset"]
        there = content[e["topic"]][e["partition"]].get(e["offset"])
        if there != e["value"]:
            run.problem("unread" if there is None else "changed", f"{h.name}: saw {e['value']} at {at} {e['offset']}, at the end there is {there}")
    for topic, parts in content.items():
        for partition, records in parts.items():
            missing = sorted(o for o in records if o not in seen[topic, partition])
            if missing and (topic, partition) in last:
                run.problem("skipped", f"{h.name}: {topic}-{partition}: {len(missing)} records never came, first {missing[0]}")
    return len(h.events)


def check_commits(run: Run, group: str) -> int:
    acked = sorted(((e["at"], e["topic"], e["partition"], e["commit"]) for h in run.histories if h.name.startswith(group + " ") for e in h.events if "commit" in e), key=lambda x: x[0])
    seen = [e for h in run.histories if h.name == "commits seen" for e in h.events if e.get("group") == group]
    highest: dict[tuple[str, int], int] = {}
    i = 0
    for e in sorted(seen, key=lambda x: x["asked"]):
        while i < len(acked) and acked[i][0] < e["asked"]:
            _, topic, partition, offset = acked[i]
            highest[topic, partition] = max(offset, highest.get((topic, partition), 0))
            i += 1
        wanted = highest.get((e["topic"], e["partition"]), 0)
        if max(0, e["offset"]) < wanted:
            run.problem("lost commit", f"{group}: {e['topic']}-{e['partition']} is {e['offset']}, {wanted} was acknowledged")
    admin = AdminClient(run.config())  # it must live until the answer is there
    final = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(30)
    there = {(p.topic, p.partition): p.offset for p in final.topic_partitions}
    for _, topic, partition, offset in acked:
        if there.get((topic, partition), -1) < offset:
            run.problem("lost commit", f"{group}: {topic}-{partition} is {there.get((topic, partition))} at the end, {offset} was acknowledged")
    return len(acked)


def check_transform(run: Run, inputs: dict[int, dict[int, str]], outputs: dict[int, dict[int, str]]) -> int:
    admin = AdminClient(run.config())
    final = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("transform")])["transform"].result(30)
    total = 0
    for p in final.topic_partitions:
        wanted = [v for o, v in sorted(inputs[p.partition].items()) if o < p.offset]
        got = [v for _, v in sorted(outputs[p.partition].items())]
        total += len(got)
        if got != wanted:
            run.problem("not exactly once", f"partition {p.partition}: {len(wanted)} inputs below offset {p.offset}, {len(got)} outputs, {len(got) - len(set(got))} doubled, {len(set(wanted) - set(got))} missing")
    return total


# ---- all ----------------------------------------------------------------------------------------------------------------------------


def clients(run: Run) -> tuple[list[threading.Thread], list[threading.Thread], list[threading.Thread], list[str]]:
    """Threads that write, that share, that read, and the groups' names."""
    parts, writers, sharers, readers, groups, topics = run.args.parts, [], [], [], [], []

    def thread(to: list[threading.Thread], fn: Callable[..., None], *args: Any) -> None:
        def body() -> None:
            try:
                fn(run, *args)
            except BaseException as e:  # noqa: BLE001
                run.crashed.append(f"{args[0]}: {type(e).__name__}: {e}")
                raise

        to.append(threading.Thread(target=body, name=str(args[0])))

    if "plain" in parts:
        thread(writers, write, "plain", "plain", False)
        topics.append("plain")
    if "idempotent" in parts:
        for i in range(2):
            thread(writers, write, f"idempotent-{i}", "idempotent", True)
        topics.append("idempotent")
    if "compacted" in parts:
        thread(writers, write, "compacted", "compacted", True)  # no reader from the beginning: its records go
    if "share" in parts:
        share_group.prepare(run.server.address, "share-group")
        thread(writers, write, "share", "share", True)
        topics.append("share")
        for i in range(2):
            thread(sharers, share_group.member, f"share member {i}", "share-group", "share")
    if "transactions" in parts:
        for i in range(2):
            thread(writers, write_transactions, f"txn-{i}")
        if "idempotent" in parts:
            thread(writers, transform, "transform")
    if "v2" in parts:
        thread(writers, txn_v2.write_v2, "txn-v2", "transactions", PARTITIONS)
    if "transactions" in parts or "v2" in parts:
        topics += ["transactions", "transformed"]
        thread(readers, tail, "read_committed", topics, "read_committed")
    thread(readers, tail, "read_uncommitted", topics, "read_uncommitted")
    for part, protocol in (("groups", "classic"), ("consumer-groups", "consumer")):
        if part in parts:
            groups.append(protocol)
            for i in range(2):
                thread(writers, member, f"{protocol} {i}", protocol, protocol)
    if groups:
        thread(writers, watch_commits, groups)
    return writers, sharers, readers, groups


def check(run: Run, groups: list[str]) -> list[str]:
    parts, told = run.args.parts, []
    txn = "transactions" if "transactions" in parts else "v2"
    topics = [t for t, p in (("plain", "plain"), ("idempotent", "idempotent"), ("transactions", txn), ("transformed", txn), ("share", "share"), ("compacted", "compacted")) if p in parts]
    everything = {t: read_all(run, t, "read_uncommitted") for t in topics}
    committed = {t: read_all(run, t, "read_committed") for t in topics}
    for h in run.histories:
        if h.topic == "compacted":
            told.append(check_compacted(run, h, everything["compacted"]))
        elif h.topic:
            n = check_writer(run, h, everything[h.topic], h.name != "plain")
            told.append(f"{h.name} {n} acknowledged")
        elif h.name.startswith("txn-"):
            count = check_transactions(run, h, committed["transactions"], everything["transactions"])
            anew = sum("anew" in e for e in h.events)
            told.append(f"{h.name} " + ", ".join(f"{n} {s}" for s, n in sorted(count.items())) + f", {anew} times anew")
            if h.name == "txn-v2":
                told.append(txn_v2.check_v2(run, h, committed["transactions"]))
        elif h.name in ("read_committed", "read_uncommitted"):
            told.append(f"{h.name} {check_reader(run, h, committed if h.name == 'read_committed' else everything)} seen")
    for group in groups:
        told.append(f"group ({group}) {check_commits(run, group)} commits")
    if "transactions" in parts and "idempotent" in parts:
        told.append(f"transformed {check_transform(run, committed['idempotent'], committed['transformed'])}")
    if "share" in parts:
        told.append(f"share group {share_group.check(run, 'share', everything['share'])}")
    return told


def join(run: Run, threads: list[threading.Thread]) -> None:
    for t in threads:
        t.join(180)
        if t.is_alive():
            run.problem("stuck", f"{t.name} did not end in 180 s")
            faulthandler.dump_traceback()


def keep(run: Run) -> Path:
    folder = run.server.folder / "histories"
    folder.mkdir(exist_ok=True)
    for h in [*run.histories, run.faults]:
        (folder / f"{h.name.replace(' ', '-')}.jsonl").write_text("".join(json.dumps(e) + "\n" for e in h.events))
    return run.server.folder


def make_topics(run: Run) -> None:
    """The network may cut the connection before the answer is there: then again, until all are there."""
    topics = [NewTopic(t, PARTITIONS, 1) for t in ("plain", "idempotent", "transactions", "transformed", "share")]
    topics.append(NewTopic("compacted", PARTITIONS, 1, config={"cleanup.policy": "compact", "internal.segment.bytes": "20000"}))
    admin = AdminClient(run.config())
    until = time.monotonic() + SYNC_SECONDS
    for topic in topics:
        while True:
            try:
                admin.create_topics([topic])[topic.topic].result(20)
                break
            except KafkaException as e:
                if e.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                    break
                if time.monotonic() > until:
                    raise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between faults at most")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("HISTORY_SEED", time.time_ns() % 1_000_000_000)))
    parser.add_argument("--no-proxy", action="store_true", help="clients speak to the server itself")
    parser.add_argument("--parts", type=lambda s: s.split(","), default=list(PARTS))
    run = Run(parser.parse_args())
    print(f"history: seed {run.args.seed}, {run.args.kills} kills, {','.join(run.args.parts)}", flush=True)
    make_topics(run)
    writers, sharers, readers, groups = clients(run)
    if "transactions" in run.args.parts:
        writers.append(threading.Thread(target=shorten, args=(run,), name="segments"))
    for t in [*writers, *sharers, *readers]:
        t.start()
    told: list[str] = []
    try:
        begin = time.monotonic()
        faults(run)
        print(f"  faults over after {time.monotonic() - begin:.0f} s", flush=True)
        time.sleep(1)
        if run.network is not None:
            run.network.calm()
        run.stop.set()
        join(run, writers)
        run.writers_over.set()
        join(run, sharers)
        print(f"  clients over after {time.monotonic() - begin:.0f} s", flush=True)
        time.sleep(2)  # readers come to the end
        run.over.set()
        join(run, readers)
        for what in run.crashed:
            run.problem("client", what)
        told = check(run, groups)
        starts = sorted(e["start_ms"] for e in run.faults.events if "start_ms" in e)
        told.append(f"start after a kill: median {starts[len(starts) // 2]} ms, longest {starts[-1]} ms" if starts else "")
    except (RuntimeError, AssertionError, KafkaException, OSError) as e:
        run.problem("run", f"{type(e).__name__}: {e}")
    finally:
        run.stop.set()
        run.writers_over.set()
        run.over.set()
    if run.network is not None:
        told.append(f"network: {run.network.end()}")
    print("  " + "; ".join(told))
    if run.problems:
        folder = keep(run)
        run.server.stop(keep=True)
        kinds: dict[str, int] = defaultdict(int)
        for p in run.problems:
            kinds[p.split(":")[0]] += 1
        print("\n".join(run.problems[:30]))
        print(f"FAILED with seed {run.args.seed}: {dict(kinds)}; histories and data: {folder}\n0 passed, 1 failed")
        sys.stdout.flush()
        os._exit(1)
    if run.server.stop() != 0:
        print("the server ended badly\n0 passed, 1 failed")
        return 1
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
