# SPDX-License-Identifier: Apache-2.0
"""Members of a share group (KIP-932) for the history checker, from single frames, so that what was asked and answered is known exactly.

A member fetches, then accepts, releases or rejects each record that it acquired, some of them later. Checked afterwards:

- what was accepted or rejected (the answer came) is in no answer to a later fetch, whatever happened to the server between;   again
- what was released comes again;                                                                                              released, lost
- each acknowledged record of the topic was accepted or rejected in the end, or its last acknowledgement had no answer;       missing
- no two members hold a record at the same time;                                                                              twice at once
- a record comes with the content that it has in the log.                                                                     changed

A record that came as often as the group's limit (five times) may end without an acknowledgement.
"""

from __future__ import annotations

import itertools
import random
import struct
import time
import uuid
from collections import defaultdict
from typing import Any

from frames import Frame, Wire
from kafka.protocol.admin.configs import IncrementalAlterConfigsRequest
from kafka.protocol.metadata import FindCoordinatorRequest, MetadataRequest
from kafka.record import MemoryRecords
from kafka_frames import Reader, varint

HEARTBEAT, FETCH, ACKNOWLEDGE = 76, 78, 79
ACCEPT, RELEASE, REJECT = 1, 2, 3
UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH, SHARE_SESSION_NOT_FOUND, INVALID_SHARE_SESSION_EPOCH = 25, 110, 122, 123
DELIVERIES_MAX = 5
BEAT_SECONDS = 1.0
DRAIN_SECONDS = 75.0  # a lock of a member that is gone lasts thirty
GROUP_RESOURCE = 32


# ---- frames -----------------------------------------------------------------------------------------------------------------------


def text(s: str | None) -> bytes:
    return b"\0" if s is None else varint(len(s) + 1) + s.encode()


def array(parts: list[bytes]) -> bytes:
    return varint(len(parts) + 1) + b"".join(parts)


def request(key: int, body: bytes) -> bytes:
    head = struct.pack(">hhih", key, 1, 9, 5) + b"share" + b"\0"
    return struct.pack(">i", len(head) + len(body)) + head + body


class Answer(Reader):
    """A flexible answer, field by field."""

    def field(self, form: str) -> Any:
        return self.number(">" + form)

    def bytes(self) -> bytes:
        return self.take(max(self.varint() - 1, 0))

    def text(self) -> str:
        return self.bytes().decode()

    def tags(self) -> None:
        for _ in range(self.varint()):
            self.varint()
            self.take(self.varint())

    def length(self) -> int:
        return self.count(compact=True)


Acks = dict[int, list[tuple[int, int, int]]]  # by partition: first offset, last offset, kind


def topics_of(topic_id: uuid.UUID, partitions: dict[int, list[tuple[int, int, int]]]) -> bytes:
    def one(partition: int, acks: list[tuple[int, int, int]]) -> bytes:
        batches = [struct.pack(">qq", first, last) + array([struct.pack(">b", kind)]) + b"\0" for first, last, kind in acks]
        return struct.pack(">i", partition) + array(batches) + b"\0"

    return array([topic_id.bytes + array([one(p, a) for p, a in partitions.items()]) + b"\0"] if partitions else [])


def heartbeat(group: str, member: str, epoch: int, topics: list[str] | None) -> bytes:
    names = b"\0" if topics is None else array([text(t) for t in topics])
    return request(HEARTBEAT, text(group) + text(member) + struct.pack(">i", epoch) + text(None) + names + b"\0")


def fetch(group: str, member: str, session: int, topics: bytes, wait_ms: int) -> bytes:
    limits = struct.pack(">iiiiii", session, wait_ms, 1, 1 << 20, 300, 100)
    return request(FETCH, text(group) + text(member) + limits + topics + array([]) + b"\0")


def acknowledge(group: str, member: str, session: int, topics: bytes) -> bytes:
    return request(ACKNOWLEDGE, text(group) + text(member) + struct.pack(">i", session) + topics + b"\0")


class Bad(Exception):
    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what}: error {code}")
        self.code = code


def read_heartbeat(data: bytes) -> tuple[int, dict[uuid.UUID, list[int]] | None]:
    """The member's epoch and its assignment, where it is told."""
    r = Answer(data)
    r.field("i")
    r.tags()
    r.field("i")
    code, message = r.field("h"), r.text()
    if code != 0:
        raise Bad(code, f"heartbeat {message}")
    r.text()
    epoch = r.field("i")
    r.field("i")
    if r.field("b") < 0:
        return epoch, None
    assigned = {}
    for _ in range(r.length()):
        topic = uuid.UUID(bytes=r.take(16))
        assigned[topic] = [r.field("i") for _ in range(r.length())]
        r.tags()
    return epoch, assigned


def read_partitions(data: bytes, is_fetch: bool) -> list[tuple[int, int, bytes, list[tuple[int, int, int]]]]:
    """Of each partition in the answer: its number, its error, and of a fetch the records and what was acquired (first, last, count)."""
    r = Answer(data)
    r.field("i")
    r.tags()
    r.field("i")
    code, message = r.field("h"), r.text()
    if code != 0:
        raise Bad(code, f"{'fetch' if is_fetch else 'acknowledge'} {message}")
    if is_fetch:
        r.field("i")
    out = []
    for _ in range(r.length()):
        r.take(16)
        for _ in range(r.length()):
            partition, code = r.field("i"), r.field("h")
            r.text()
            batches, acquired = b"", []
            if is_fetch:
                r.field("h")
                r.text()
            r.field("i")
            r.field("i")
            r.tags()
            if is_fetch:
                batches = r.bytes()
                for _ in range(r.length()):
                    acquired.append((r.field("q"), r.field("q"), r.field("h")))
                    r.tags()
            r.tags()
            out.append((partition, code, batches, acquired))
        r.tags()
    return out


# ---- a member -----------------------------------------------------------------------------------------------------------------------


class Member:
    def __init__(self, run: Any, name: str, group: str, topic: str) -> None:
        self.run, self.group, self.topic = run, group, topic
        self.h = run.history(name)
        self.random = random.Random(f"{run.args.seed}{name}")
        self.member = str(uuid.UUID(int=self.random.getrandbits(128)))
        self.epoch = 0
        self.wire: Wire | None = None
        self.assigned: dict[uuid.UUID, list[int]] = {}
        self.session = 0
        self.in_session: list[int] = []
        self.beat, self.whole = 0.0, True
        self.held: dict[tuple[int, int], tuple[float, int]] = {}  # partition, offset: when it came, which time
        self.empty = 0

    def forget(self) -> None:
        """The connection is gone, and with it the session and what was held."""
        if self.wire is not None:
            self.wire.close()
        self.wire = None
        self.session, self.in_session, self.held = 0, [], {}
        self.beat, self.whole = 0.0, True

    def ask(self, data: bytes) -> bytes:
        if self.wire is None:
            self.wire = Wire(self.run.address, 15)
        return self.wire.exchange(data)

    def heartbeat(self) -> None:
        """Whole where an answer may have been lost: only then is the assignment told again."""
        if self.epoch > 0 and time.monotonic() - self.beat < BEAT_SECONDS:
            return
        whole = self.whole or self.epoch == 0
        self.epoch, assigned = read_heartbeat(self.ask(heartbeat(self.group, self.member, self.epoch, [self.topic] if whole else None)))
        self.beat, self.whole = time.monotonic(), False
        if assigned is not None:
            self.assigned = assigned

    def next_session(self) -> int:
        now, self.session = self.session, self.session + 1
        return now

    def fetch(self) -> None:
        topic_id, partitions = next(iter(self.assigned.items()))
        whole = sorted(partitions) != sorted(self.in_session)
        if whole and self.session > 0:
            self.forget()  # the assignment is another one: a new session
        asked = time.monotonic()
        answer = self.ask(fetch(self.group, self.member, self.next_session(), topics_of(topic_id, {p: [] for p in partitions} if whole else {}), 300))
        self.in_session = list(partitions)
        got, n = time.monotonic(), 0
        for partition, code, batches, acquired in read_partitions(answer, True):
            if code != 0:
                self.h.add(partition=partition, fetch_error=code, at=got)
                continue
            values = dict(self.values(batches))
            for first, last, count in acquired:
                for offset in range(first, last + 1):
                    n += 1
                    self.held[partition, offset] = (got, count)
                    self.h.add(came=offset, partition=partition, count=count, asked=asked, got=got, value=values.get(offset), member=self.member)
        self.empty = 0 if n else self.empty + 1

    @staticmethod
    def values(batches: bytes) -> list[tuple[int, str]]:
        out = []
        records = MemoryRecords(batches)
        while records.has_next():
            out += [(r.offset, r.value.decode()) for r in records.next_batch()]
        return out

    def decide(self) -> list[tuple[int, int, int]]:
        """What to do with what is held: partition, offset, kind. Some stays for later."""
        done = []
        for (partition, offset), (_, count) in sorted(self.held.items()):
            x = self.random.random()
            if x < 0.1 and not self.run.stop.is_set():
                continue
            kind = RELEASE if x < 0.25 and count < 3 else REJECT if x < 0.3 else ACCEPT
            done.append((partition, offset, kind))
        return done

    def acknowledge(self) -> None:
        done = self.decide()
        if not done:
            return
        acks: Acks = defaultdict(list)
        for (partition, kind), same in itertools.groupby(done, lambda d: (d[0], d[2])):
            for _, near in itertools.groupby(enumerate(same), lambda x: x[1][1] - x[0]):
                offsets = [d[1] for _, d in near]
                acks[partition].append((offsets[0], offsets[-1], kind))
        asked = time.monotonic()
        codes: dict[int, int] = {}
        try:
            answer = self.ask(acknowledge(self.group, self.member, self.next_session(), topics_of(next(iter(self.assigned)), acks)))
            codes = {p: code for p, code, _, _ in read_partitions(answer, False)}
        finally:
            got = time.monotonic()
            for partition, offset, kind in done:
                since, _ = self.held.pop((partition, offset), (0.0, 0))
                sure = codes.get(partition, -1) == 0
                self.h.add(ack=kind, offset=offset, partition=partition, sure=sure, since=since, asked=asked, got=got, member=self.member, code=codes.get(partition))

    def step(self) -> None:
        try:
            self.heartbeat()
            if self.assigned and any(self.assigned.values()):
                self.fetch()
                self.acknowledge()
            else:
                time.sleep(0.05)
        except (OSError, ConnectionError):
            self.forget()
            time.sleep(0.02)
        except Bad as e:
            self.h.add(error=str(e), at=time.monotonic())
            if e.code in (UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH):
                self.epoch = 0
            self.forget()
            time.sleep(0.02)

    def leave(self) -> None:
        try:
            self.ask(heartbeat(self.group, self.member, -1, None))
        except (OSError, ConnectionError):
            pass
        self.forget()


def drained(run: Any, members: list[Member], topic: str) -> bool:
    """Every acknowledged record of the topic was dealt with, and nothing comes any more."""
    if any(m.empty < 4 for m in members):
        return False
    wanted = {(e["partition"], e["offset"]) for h in run.histories if h.topic == topic for e in list(h.events) if "ack" in e}
    dealt: set[tuple[int, int]] = set()
    for m in members:
        for e in list(m.h.events):
            if "came" in e and e["count"] >= DELIVERIES_MAX:
                dealt.add((e["partition"], e["came"]))
            elif "ack" in e and e["ack"] != RELEASE:
                dealt.add((e["partition"], e["offset"]))
    return wanted <= dealt


def member(run: Any, name: str, group: str, topic: str) -> None:
    me = Member(run, name, group, topic)
    run.share_members.append(me)
    while not run.stop.is_set():
        me.step()
    end = time.monotonic() + DRAIN_SECONDS
    while not run.writers_over.is_set() or (not drained(run, run.share_members, topic) and time.monotonic() < end):
        me.step()
    me.leave()


def prepare(address: str, group: str) -> None:
    """The group begins at the beginning."""
    resource = IncrementalAlterConfigsRequest.AlterConfigsResource
    config = resource.AlterableConfig(name="share.auto.offset.reset", config_operation=0, value="earliest")
    with Wire(address) as wire:
        answer = wire.ask(Frame(IncrementalAlterConfigsRequest[1](resources=[resource(resource_type=GROUP_RESOURCE, resource_name=group, configs=[config])], validate_only=False)))
        assert answer.responses[0].error_code == 0, answer
        wire.ask(Frame(FindCoordinatorRequest[4](key_type=0, coordinator_keys=[group])))
        wire.ask(Frame(MetadataRequest[1](topics=None)))


# ---- the check ------------------------------------------------------------------------------------------------------------------------


def check(run: Any, topic: str, content: dict[int, dict[int, str]]) -> str:
    came: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    acks: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for m in run.share_members:
        for e in m.h.events:
            if "came" in e:
                came[e["partition"], e["came"]].append(e)
            elif "ack" in e:
                acks[e["partition"], e["offset"]].append(e)
    count = {"accepted": 0, "released": 0, "rejected": 0, "without an answer": 0}
    for partition, records in content.items():
        for offset, value in records.items():
            at = (partition, offset)
            check_record(run, f"{topic}-{partition}:{offset}", value, came[at], acks[at], count)
    for partition, offset in came:
        if offset not in content[partition]:
            run.problem("changed", f"{topic}-{partition}:{offset} came, and is not in the log")
    return ", ".join(f"{n} {k}" for k, n in count.items())


def check_record(run: Any, what: str, value: str, came: list[dict[str, Any]], acks: list[dict[str, Any]], count: dict[str, int]) -> None:
    ended = last_unsure = False
    for e in came:
        if e["value"] != value:
            run.problem("changed", f"{what} came as {e['value']}, it is {value}")
    for a in acks:
        later = [e for e in came if e["asked"] > a["got"]]
        if not a["sure"]:
            count["without an answer"] += 1
            last_unsure = last_unsure or (a["ack"] != RELEASE and not later)
        elif a["ack"] == RELEASE:
            count["released"] += 1
            if not [e for e in came if e["got"] > a["asked"]]:
                run.problem("released, lost", f"{what} was released and never came again")
        else:
            count["accepted" if a["ack"] == ACCEPT else "rejected"] += 1
            ended = True
            if later:
                run.problem("again", f"{what} was {'accepted' if a['ack'] == ACCEPT else 'rejected'} and came again {later[0]['asked'] - a['got']:.2f} s later")
        if a["sure"]:
            for e in came:
                if e["member"] != a["member"] and e["asked"] >= a["since"] and e["got"] <= a["asked"]:
                    run.problem("twice at once", f"{what} was held by two members")
    if not ended and not last_unsure and not any(e["count"] >= DELIVERIES_MAX for e in came):
        run.problem("missing", f"{what} ({value}) came {len(came)} times, and was neither accepted nor rejected")
