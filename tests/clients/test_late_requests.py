# SPDX-License-Identifier: Apache-2.0
"""Requests of an earlier transaction that come late, twice or in another order: whatever they answer, a later transaction is not touched.

Each request is a frame whose bytes are kept and sent again over another connection. After every attack the topic is read with both isolation
levels by a client that knows nothing of it. With MILLRACE_TEST_KAFKA=HOST:PORT the same frames go to that broker (Apache Kafka 4.3 answers as
is written here; ours must too); what needs a kill of the server is then left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import Server
from frames import (
    Error,
    Frame,
    Wire,
    add_offsets,
    add_partitions,
    base_offset,
    commit_offset,
    describe_transaction,
    end_txn,
    error_of,
    fetch_offset,
    init_producer,
    once,
    produce,
    records,
)
from kafka.protocol.metadata import FindCoordinatorRequest
from machine import free_ports, until
from test_transactions import name, read

OUTSIDE = os.environ.get("MILLRACE_TEST_KAFKA")
NO_LEADER_YET = (3, 6)
COME_BACK = (*NO_LEADER_YET, 14, Error.COORDINATOR_NOT_AVAILABLE, Error.NOT_COORDINATOR, Error.CONCURRENT_TRANSACTIONS)  # not there yet
RACES = int(os.environ.get("MILLRACE_TEST_RACES", "60"))


@dataclass
class Outside:
    """A broker that is not ours."""

    kafka: str


Broker = Server | Outside


@pytest.fixture(scope="module")
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    yield Outside(OUTSIDE) if OUTSIDE else request.getfixturevalue("server")


def make_topic(broker: Broker, partitions: int = 3) -> str:
    topic = name("late")
    admin = AdminClient({"bootstrap.servers": broker.kafka})  # it must live until the answer is there
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    return topic


@dataclass
class Producer:
    """A transactional producer as a list of frames: what it sent is kept by name, and can be sent again."""

    broker: Broker
    topic: str
    v2: bool
    id: str = field(default_factory=lambda: name("id"))
    group: str = field(default_factory=lambda: name("group"))
    producer_id: int = -1
    epoch: int = -1
    sequences: dict[int, int] = field(default_factory=dict)
    timeout_ms: int = 60000

    def start(self) -> Producer:
        self.wire = Wire(self.broker.kafka)
        for kind, key in ((0, self.group), (1, self.id)):
            find = Frame(FindCoordinatorRequest[4](key_type=kind, coordinator_keys=[key]))
            until(lambda find=find: self.wire.ask(find), good=lambda a: a.coordinators[0].error_code == 0)
        return self.take_id(init_producer(self.id, timeout_ms=self.timeout_ms))

    def take_id(self, frame: Frame) -> Producer:
        answer = until(lambda: self.wire.ask(frame), good=lambda a: a.error_code not in COME_BACK)
        assert answer.error_code == 0, answer
        self.producer_id, self.epoch = answer.producer_id, answer.producer_epoch
        self.sequences = {}
        return self

    # the frames

    def batch(self, partition: int, value: str, sequence: int | None = None) -> Frame:
        """The next batch, or one with a sequence of its own."""
        at = self.sequences.get(partition, 0) if sequence is None else sequence
        if sequence is None:
            self.sequences[partition] = at + 1
        return produce(self.topic, partition, records([value], self.producer_id, self.epoch, at, True), self.id, 12 if self.v2 else 11)

    def add(self, *partitions: int) -> Frame:
        return add_partitions(self.id, self.producer_id, self.epoch, self.topic, list(partitions))

    def add_group(self) -> Frame:
        return add_offsets(self.id, self.producer_id, self.epoch, self.group)

    def offset(self, offset: int) -> Frame:
        return commit_offset(self.id, self.producer_id, self.epoch, self.group, self.topic, 0, offset, 5 if self.v2 else 4)

    def ended(self, commit: bool) -> Frame:
        return end_txn(self.id, self.producer_id, self.epoch, commit, 5 if self.v2 else 4)

    # what a client does with them

    def must(self, frame: Frame) -> Any:
        answer = until(lambda: self.wire.ask(frame), good=lambda a: error_of(a) not in COME_BACK)
        assert error_of(answer) == Error.NONE, (frame.name, error_of(answer))
        return answer

    def begin(self, *partitions: int, group: bool = False) -> None:
        """Before V2 the coordinator is told first."""
        if not self.v2 and partitions:
            self.must(self.add(*partitions))
        if not self.v2 and group:
            self.must(self.add_group())

    def send(self, partition: int, value: str) -> Frame:
        frame = self.batch(partition, value)
        self.must(frame)
        return frame

    def end(self, commit: bool) -> Frame:
        """Ends it, and waits until that is done. Gives the frame that did it."""
        frame = self.ended(commit)
        answer = self.must(frame)
        self.settled()
        if self.v2:
            assert (answer.producer_id, answer.producer_epoch) == (self.producer_id, self.epoch + 1)
            self.producer_id, self.epoch = answer.producer_id, answer.producer_epoch
            self.sequences = {}
        return frame

    def state(self) -> str:
        return str(self.wire.ask(describe_transaction(self.id)).transaction_states[0].transaction_state)

    def settled(self) -> None:
        until(self.state, good=lambda s: s not in ("PrepareCommit", "PrepareAbort", "Ongoing"))

    def committed_offset(self) -> tuple[int, int]:
        part = self.wire.ask(fetch_offset(self.group, self.topic, 0)).groups[0].topics[0].partitions[0]
        return part.committed_offset, part.error_code


def answers(broker: Broker, frames: dict[str, Frame]) -> dict[str, Error | int]:
    """Each frame over a connection of its own."""
    return {k: error_of(until(lambda f=f: once(broker.kafka, f), good=lambda a: error_of(a) not in NO_LEADER_YET)) for k, f in frames.items()}


def seen(broker: Broker, topic: str, isolation: str = "read_committed") -> list[str]:
    return sorted(read(broker, topic, isolation))  # type: ignore[arg-type]


# ---- V2: each transaction has an epoch of its own ---------------------------------------------------------------------------


def first_of_v2(p: Producer, commit: bool) -> dict[str, Frame]:
    """A whole transaction; gives its frames, and those that it could have sent as well and that are still under way."""
    frames = {
        "batch that was written": p.send(0, "first"),
        "next batch": p.batch(0, "late"),
        "batch of another partition": p.batch(1, "late"),
        "offset": p.offset(10),
        "add partitions": p.add(1),
        "add offsets": p.add_group(),
        "commit": p.ended(True),
        "abort": p.ended(False),
    }
    p.must(frames["offset"])
    frames["offset, old form"] = commit_offset(p.id, p.producer_id, p.epoch, p.group, p.topic, 0, 99, 4)
    frames["offset of another time"] = p.offset(77)
    p.end(commit)
    return frames


LATE_V2 = {
    "batch that was written": Error.INVALID_PRODUCER_EPOCH,
    "next batch": Error.INVALID_PRODUCER_EPOCH,
    "batch of another partition": Error.INVALID_PRODUCER_EPOCH,
    "offset": Error.INVALID_PRODUCER_EPOCH,
    "offset, old form": Error.INVALID_PRODUCER_EPOCH,
    "offset of another time": Error.INVALID_PRODUCER_EPOCH,
    "add partitions": Error.PRODUCER_FENCED,
    "add offsets": Error.PRODUCER_FENCED,
}


@pytest.mark.parametrize("commit", [True, False], ids=["committed", "aborted"])
def test_v2(broker: Broker, commit: bool) -> None:
    p = Producer(broker, make_topic(broker), v2=True).start()
    late = first_of_v2(p, commit)
    # between two transactions: the same end once more is told again, the other one is refused
    done, other = ("commit", "abort") if commit else ("abort", "commit")
    assert answers(broker, late) == LATE_V2 | {done: Error.NONE, other: Error.INVALID_TXN_STATE}
    assert p.state() == ("CompleteCommit" if commit else "CompleteAbort")
    # in the middle of the next one
    p.send(0, "second")
    p.must(p.offset(20))
    assert answers(broker, late) == LATE_V2 | {"commit": Error.PRODUCER_FENCED, "abort": Error.PRODUCER_FENCED}
    assert p.state() == "Ongoing"
    assert p.committed_offset() == (-1, Error.UNSTABLE_OFFSET_COMMIT)
    p.send(0, "second too")
    second = p.end(True)
    first = ["first"] if commit else []
    assert seen(broker, p.topic) == sorted([*first, "second", "second too"])
    assert p.committed_offset() == (20, 0)
    # behind it: two epochs back even the end that was is no repeat any more
    assert answers(broker, late) == LATE_V2 | {"commit": Error.PRODUCER_FENCED, "abort": Error.PRODUCER_FENCED}
    assert error_of(once(broker.kafka, second)) == Error.NONE
    assert seen(broker, p.topic) == sorted([*first, "second", "second too"])
    assert seen(broker, p.topic, "read_uncommitted") == sorted(["first", "second", "second too"])
    assert p.committed_offset() == (20, 0)


def test_v2_end_is_overtaken_by_nothing(broker: Broker) -> None:
    """The end comes before the last batch and the last offset of its transaction: they are refused, and are in no later one."""
    p = Producer(broker, make_topic(broker), v2=True).start()
    p.send(0, "in time")
    behind = {"batch": p.batch(0, "behind"), "other": p.batch(2, "behind"), "offset": p.offset(5)}
    p.end(True)
    p.send(2, "next")
    assert answers(broker, behind) == dict.fromkeys(behind, Error.INVALID_PRODUCER_EPOCH)
    p.end(True)
    assert seen(broker, p.topic) == ["in time", "next"]
    assert p.committed_offset() == (-1, 0)


def test_v2_sequences_of_a_new_epoch(broker: Broker) -> None:
    p = Producer(broker, make_topic(broker), v2=True).start()
    p.send(0, "a")
    p.end(True)
    assert error_of(p.wire.ask(p.batch(0, "gap", 1))) == Error.OUT_OF_ORDER_SEQUENCE_NUMBER
    first = p.send(0, "b")
    again = once(broker.kafka, first)
    assert (error_of(again), base_offset(again)) == (Error.NONE, 2)  # behind the marker at 1
    assert error_of(p.wire.ask(p.batch(0, "gap", 3))) == Error.OUT_OF_ORDER_SEQUENCE_NUMBER
    p.end(True)
    assert seen(broker, p.topic) == ["a", "b"]


# ---- before V2: the epoch stays; the coordinator's word on each batch, and sequences, tell what is late ------------------------


def first_of_v1(p: Producer, commit: bool) -> dict[str, Frame]:
    p.begin(0, group=True)
    frames = {"batch that was written": p.send(0, "first"), "offset": p.offset(10), "commit": p.ended(True), "abort": p.ended(False)}
    p.must(frames["offset"])
    frames["batch with a gap"] = p.batch(0, "late", 7)
    frames["batch of another partition"] = p.batch(1, "late", 0)
    p.end(commit)
    frames["next batch"] = p.batch(0, "late", 1)
    return frames


@pytest.mark.parametrize("commit", [True, False], ids=["committed", "aborted"])
def test_v1(broker: Broker, commit: bool) -> None:
    p = Producer(broker, make_topic(broker), v2=False).start()
    late = first_of_v1(p, commit)
    done, other = ("commit", "abort") if commit else ("abort", "commit")
    wanted = {
        "batch that was written": Error.TRANSACTION_ABORTABLE,
        "batch with a gap": Error.TRANSACTION_ABORTABLE,
        "batch of another partition": Error.TRANSACTION_ABORTABLE,
        "next batch": Error.TRANSACTION_ABORTABLE,
        "offset": Error.TRANSACTION_ABORTABLE,
        done: Error.NONE,
        other: Error.INVALID_TXN_STATE,
    }
    assert answers(broker, late) == wanted
    # in the middle of the next one, which has other partitions: what could be told apart is
    p.begin(2)
    p.send(2, "second")
    still = {k: late[k] for k in wanted if k not in (done, other)}
    assert answers(broker, still) == {k: wanted[k] for k in still}
    assert p.state() == "Ongoing"
    p.end(True)
    first = ["first"] if commit else []
    assert seen(broker, p.topic) == sorted([*first, "second"])
    assert seen(broker, p.topic, "read_uncommitted") == ["first", "second"]
    assert p.committed_offset() == (10 if commit else -1, 0)


def test_v1_old_forms(broker: Broker) -> None:
    """Versions from before the errors of KIP-890 and KIP-588 get those that their clients know."""
    p = Producer(broker, make_topic(broker), v2=False).start()
    p.begin(0)
    p.send(0, "first")
    p.end(True)
    batch = records(["late"], p.producer_id, p.epoch, 1, True)
    assert error_of(once(broker.kafka, produce(p.topic, 0, batch, p.id, 10))) == Error.INVALID_TXN_STATE
    assert error_of(once(broker.kafka, commit_offset(p.id, p.producer_id, p.epoch, p.group, p.topic, 0, 9, 3))) == Error.INVALID_TXN_STATE
    old = (p.producer_id, p.epoch)
    p.take_id(init_producer(p.id))
    assert p.epoch == old[1] + 1
    assert error_of(once(broker.kafka, end_txn(p.id, *old, True, 1))) == Error.INVALID_PRODUCER_EPOCH
    assert error_of(once(broker.kafka, end_txn(p.id, *old, True, 2))) == Error.PRODUCER_FENCED
    assert error_of(once(broker.kafka, add_partitions(p.id, *old, p.topic, [0], 1))) == Error.INVALID_PRODUCER_EPOCH
    assert error_of(once(broker.kafka, add_offsets(p.id, *old, p.group, 1))) == Error.INVALID_PRODUCER_EPOCH
    assert seen(broker, p.topic, "read_uncommitted") == ["first"]


# ---- fenced -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v2", [True, False], ids=["v2", "v1"])
def test_a_newer_instance(broker: Broker, v2: bool) -> None:
    """The old one's transaction is aborted by the new one's start; what the old one then says reaches nothing."""
    topic = make_topic(broker)
    old = Producer(broker, topic, v2).start()
    old.begin(0, group=True)
    old.send(0, "old")
    old.must(old.offset(10))
    late = {
        "batch": old.batch(0, "late"), "other": old.batch(1, "late", 0), "offset": old.offset(11), "add": old.add(1), "group": old.add_group(),
        "commit": old.ended(True), "abort": old.ended(False),
    }  # fmt: skip
    again = {"id": init_producer(old.id, old.producer_id, old.epoch)}
    new = Producer(broker, topic, v2, old.id, old.group).start()
    assert new.producer_id == old.producer_id and new.epoch > old.epoch
    wanted: dict[str, Error | int] = dict.fromkeys(("batch", "other", "offset"), Error.INVALID_PRODUCER_EPOCH)
    wanted |= dict.fromkeys(("add", "group", "commit", "abort"), Error.PRODUCER_FENCED)
    assert answers(broker, late | again) == wanted | {"id": Error.PRODUCER_FENCED}
    new.begin(0, group=True)
    new.send(0, "new")
    new.must(new.offset(20))
    assert answers(broker, late) == wanted
    if not OUTSIDE:  # Apache Kafka aborts the newer instance's transaction
        assert answers(broker, again) == {"id": Error.PRODUCER_FENCED}
    assert new.state() == "Ongoing"
    new.end(True)
    assert seen(broker, topic) == ["new"]
    assert new.committed_offset() == (20, 0)
    assert answers(broker, late) == wanted
    assert seen(broker, topic) == ["new"]
    assert seen(broker, topic, "read_uncommitted") == ["new", "old"]


@pytest.mark.parametrize("version", [1, 4])
def test_v1_end_of_nothing(broker: Broker, version: int) -> None:
    """A client whose first request of a transaction never came through ends what is not there: refused, as it cannot be told from a late end."""
    p = Producer(broker, make_topic(broker), v2=False).start()
    assert error_of(once(broker.kafka, end_txn(p.id, p.producer_id, p.epoch, True, version))) == Error.INVALID_TXN_STATE
    assert error_of(once(broker.kafka, end_txn(p.id, p.producer_id, p.epoch, False, version))) == Error.INVALID_TXN_STATE
    for commit in (True, False):
        p.begin(0)
        p.send(0, "one")
        p.end(commit)
        assert error_of(once(broker.kafka, end_txn(p.id, p.producer_id, p.epoch, commit, version))) == Error.NONE
        assert error_of(once(broker.kafka, end_txn(p.id, p.producer_id, p.epoch, not commit, version))) == Error.INVALID_TXN_STATE


@pytest.mark.parametrize("v2", [True, False], ids=["v2", "v1"])
def test_id_of_a_client_that_raises_its_epoch(broker: Broker, v2: bool) -> None:
    """KIP-360: the same request for the next epoch once more is a repeat, one that is older still is fenced."""
    p = Producer(broker, make_topic(broker), v2).start()
    raise_it = init_producer(p.id, p.producer_id, p.epoch)
    older = p.epoch
    p.take_id(raise_it)
    assert p.epoch == older + 1
    again = once(broker.kafka, raise_it)
    assert (again.error_code, again.producer_epoch) == (0, p.epoch)
    p.take_id(init_producer(p.id, p.producer_id, p.epoch))
    assert p.epoch == older + 2
    p.begin(0)
    p.send(0, "kept")
    if not OUTSIDE:  # Apache Kafka aborts what is open
        assert error_of(once(broker.kafka, raise_it)) == Error.PRODUCER_FENCED
    assert p.state() == "Ongoing"
    p.end(True)
    assert seen(broker, p.topic) == ["kept"]


# ---- sequences --------------------------------------------------------------------------------------------------------------------


def idempotent(topic: str, producer_id: int, epoch: int, sequence: int, values: list[str]) -> Frame:
    return produce(topic, 0, records(values, producer_id, epoch, sequence))


def test_sequences(broker: Broker) -> None:
    topic = make_topic(broker)
    me = once(broker.kafka, init_producer(None))
    pid = me.producer_id
    batches = [idempotent(topic, pid, 0, 2 * i, [f"{2 * i}", f"{2 * i + 1}"]) for i in range(8)]
    until(lambda: once(broker.kafka, batches[0]), good=lambda a: error_of(a) not in COME_BACK)
    assert [base_offset(once(broker.kafka, b)) for b in batches[:7]] == [0, 2, 4, 6, 8, 10, 12]
    for i in (6, 2, 5, 3, 4):  # the last five, in any order: where they are
        again = once(broker.kafka, batches[i])
        assert (error_of(again), base_offset(again)) == (Error.NONE, 2 * i)
    assert error_of(once(broker.kafka, batches[1])) == Error.OUT_OF_ORDER_SEQUENCE_NUMBER
    for first, n in ((13, 1), (12, 1), (12, 3), (15, 1), (0, 2)):  # a part of a known one, more than one, a gap, the beginning
        frame = idempotent(topic, pid, 0, first, ["no"] * n)
        assert error_of(once(broker.kafka, frame)) == Error.OUT_OF_ORDER_SEQUENCE_NUMBER, (first, n)
    assert error_of(once(broker.kafka, batches[7])) == Error.NONE
    raised = idempotent(topic, pid, 1, 0, ["raised"])
    assert error_of(once(broker.kafka, idempotent(topic, pid, 1, 3, ["no"]))) == Error.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert base_offset(once(broker.kafka, raised)) == 16
    assert error_of(once(broker.kafka, batches[7])) == Error.INVALID_PRODUCER_EPOCH
    assert base_offset(once(broker.kafka, raised)) == 16
    assert seen(broker, topic) == sorted([*(str(i) for i in range(16)), "raised"])


# ---- at the same time ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v2", [True, False], ids=["v2", "v1"])
def test_race_with_the_end(broker: Broker, v2: bool) -> None:
    """A batch, the first of a partition, and an offset come over other connections while the transaction ends. Each is wholly in it, or refused.

    None may be in the next transaction, none may hold back the readers for ever (a hanging transaction).
    """
    p = Producer(broker, make_topic(broker), v2).start()
    wires = [Wire(broker.kafka) for _ in range(4)]
    wanted, taken, offset = [], 0, -1
    for i in range(RACES):
        commit = i % 3 != 0
        p.begin(0, 1, 2, group=True)
        p.send(0, f"{i}")
        sent = [p.ended(commit), p.batch(0, f"{i} second"), p.batch(1, f"{i} other"), p.offset(i)]
        order = list(range(4)) if i % 2 else [2, 3, 1, 0]
        for k in order:
            wires[k].send(sent[k])
        end, *others = [w.answer(f) for w, f in zip(wires, sent, strict=True)]
        if error_of(end) in COME_BACK:
            end = p.must(sent[0])
        assert error_of(end) == Error.NONE
        p.settled()
        got = [error_of(a) == Error.NONE for a in others]
        taken += sum(got)
        if commit:
            wanted += [f"{i}"] + [f"{i} {what}" for what, ok in zip(("second", "other"), got, strict=False) if ok]
            offset = i if got[2] else offset
        if v2:
            p.producer_id, p.epoch, p.sequences = end.producer_id, end.producer_epoch, {}
        else:  # a sequence that was refused is used again
            p.sequences = {part: n - (not ok) for (part, n), ok in zip(sorted(p.sequences.items()), got, strict=False)}
    for w in wires:
        w.close()
    assert p.committed_offset() == (offset, 0)
    assert seen(broker, p.topic) == sorted(wanted)
    assert taken > 0


# ---- with the server killed between ------------------------------------------------------------------------------------------------


@pytest.fixture
def killed(new_server: Callable[..., Server]) -> Server:
    if OUTSIDE:
        pytest.skip("the outside broker is not killed")
    doors = ("kafka", "registry", "pg", "http")
    settings = {f"{door}.listen": f"127.0.0.1:{port}" for door, port in zip(doors, free_ports(4), strict=True)}
    return new_server(settings).start()


def kill(server: Server, *producers: Producer) -> None:
    server.kill()
    server.start()
    for p in producers:
        p.wire.close()
        p.wire = Wire(server.kafka)


def test_killed_sequences(killed: Server) -> None:
    topic = make_topic(killed)
    pid = once(killed.kafka, init_producer(None)).producer_id
    batches = [idempotent(topic, pid, 0, i, [f"{i}"]) for i in range(8)]
    for b in batches[:7]:
        assert error_of(once(killed.kafka, b)) == Error.NONE
    kill(killed)
    for i in (6, 5, 4, 3, 2):
        again = once(killed.kafka, batches[i])
        assert (error_of(again), base_offset(again)) == (Error.NONE, i)
    assert error_of(once(killed.kafka, batches[1])) == Error.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert error_of(once(killed.kafka, idempotent(topic, pid, 0, 8, ["no"]))) == Error.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert base_offset(once(killed.kafka, batches[7])) == 7
    assert seen(killed, topic) == [str(i) for i in range(8)]


@pytest.mark.parametrize("commit", [True, False], ids=["committed", "aborted"])
def test_killed_v2(killed: Server, commit: bool) -> None:
    p = Producer(killed, make_topic(killed), v2=True).start()
    late = first_of_v2(p, commit)
    kill(killed, p)
    done, other = ("commit", "abort") if commit else ("abort", "commit")
    assert answers(killed, late) == LATE_V2 | {done: Error.NONE, other: Error.INVALID_TXN_STATE}
    p.send(0, "second")
    p.must(p.offset(20))
    kill(killed, p)
    assert answers(killed, late) == LATE_V2 | {"commit": Error.PRODUCER_FENCED, "abort": Error.PRODUCER_FENCED}
    assert p.state() == "Ongoing"
    p.send(0, "second too")
    p.end(True)
    kill(killed, p)
    assert answers(killed, late) == LATE_V2 | {"commit": Error.PRODUCER_FENCED, "abort": Error.PRODUCER_FENCED}
    first = ["first"] if commit else []
    assert seen(killed, p.topic) == sorted([*first, "second", "second too"])
    assert seen(killed, p.topic, "read_uncommitted") == sorted(["first", "second", "second too"])
    assert p.committed_offset() == (20, 0)


def test_killed_v1(killed: Server) -> None:
    p = Producer(killed, make_topic(killed), v2=False).start()
    late = first_of_v1(p, True)
    kill(killed, p)
    wanted = {k: Error.TRANSACTION_ABORTABLE for k in late} | {"commit": Error.NONE, "abort": Error.INVALID_TXN_STATE}
    assert answers(killed, late) == wanted
    p.begin(2)
    p.send(2, "second")
    kill(killed, p)
    still = {k: f for k, f in late.items() if k not in ("commit", "abort")}
    assert answers(killed, still) == {k: wanted[k] for k in still}
    p.end(True)
    assert seen(killed, p.topic) == ["first", "second"]
    assert p.committed_offset() == (10, 0)


# ---- at its time-out -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v2", [True, False], ids=["v2", "v1"])
def test_behind_a_time_out(new_server: Callable[..., Server], tmp_path: Any, v2: bool) -> None:
    """Aborted by the coordinator while the client was away: its commit comes late, and changes nothing."""
    if OUTSIDE:
        broker: Broker = Outside(OUTSIDE)  # started with the same property, or this takes ten seconds
    else:
        properties = tmp_path / "server.properties"
        properties.write_text("transaction.abort.timed.out.transaction.cleanup.interval.ms=20\n")
        broker = new_server({"broker.properties": str(properties)}).start()
    p = Producer(broker, make_topic(broker), v2, timeout_ms=100).start()
    p.begin(0, group=True)
    p.send(0, "gone")
    p.must(p.offset(10))
    late = {"commit": p.ended(True), "abort": p.ended(False), "batch": p.batch(0, "late"), "offset": p.offset(11), "add": p.add(1)}
    p.settled()
    assert p.state() == "CompleteAbort"
    wanted: dict[str, Error | int] = {"batch": Error.INVALID_PRODUCER_EPOCH, "offset": Error.INVALID_PRODUCER_EPOCH, "add": Error.PRODUCER_FENCED}
    ends = {"commit": Error.INVALID_TXN_STATE, "abort": Error.NONE} if v2 else dict.fromkeys(("commit", "abort"), Error.PRODUCER_FENCED)
    assert answers(broker, late) == wanted | ends
    p.take_id(init_producer(p.id))
    p.begin(0, group=True)
    p.send(0, "kept")
    p.must(p.offset(20))
    assert answers(broker, late) == wanted | dict.fromkeys(ends, Error.PRODUCER_FENCED)
    p.end(True)
    assert seen(broker, p.topic) == ["kept"]
    assert p.committed_offset() == (20, 0)
