# SPDX-License-Identifier: Apache-2.0
"""The share coordinator's state APIs, which no client library speaks: raw frames. What is written is read again, also after a kill."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import Server
from frames import Wire

INITIALIZE, READ, WRITE, DELETE, SUMMARY = 83, 84, 85, 86, 87
UNKNOWN_TOPIC_OR_PARTITION, INVALID_REQUEST, FENCED_LEADER_EPOCH, FENCED_STATE_EPOCH = 3, 42, 74, 124
END = b"\0"  # no tagged fields


def ask(server: Server, key: int, version: int, group: str, topic: bytes, partition: bytes) -> tuple[int, bytes]:
    """The error of one partition, and what the answer says of it behind the error's message."""
    body = bytes([len(group) + 1]) + group.encode() + b"\2" + topic + b"\2" + partition + END + END + END
    frame = struct.pack(">hhih", key, version, 5, -1) + END + body
    with Wire(server.kafka) as wire:
        answer = wire.exchange(struct.pack(">i", len(frame)) + frame)
    assert answer[:22] == struct.pack(">i", 5) + END + b"\2" + topic
    assert answer[22] == 2 and struct.unpack(">i", answer[23:27]) == (0,)
    error, text = struct.unpack(">hB", answer[27:30])
    assert (text == 0) == (error == 0)
    return error, answer[30 + max(text - 1, 0) : -2]


def batch(first: int, last: int, state: int, count: int) -> bytes:
    return struct.pack(">qqbh", first, last, state, count) + END


def topic_with_id(server: Server) -> bytes:
    name = f"t-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": server.kafka})
    admin.create_topics([NewTopic(name, num_partitions=1)])[name].result(30)
    found = admin.describe_topics(TopicCollection([name]))[name].result(30).topic_id
    return struct.pack(">qq", found.get_most_significant_bits(), found.get_least_significant_bits())


def test_state_is_kept(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    topic, group = topic_with_id(server), f"g-{uuid.uuid4().hex[:8]}"

    def read() -> tuple[int, bytes]:
        return ask(server, READ, 0, group, topic, struct.pack(">ii", 0, -1))

    def write(version: int, state_epoch: int, leader_epoch: int, start: int, *batches: bytes) -> int:
        complete = struct.pack(">i", 2) if version > 0 else b""
        numbers = struct.pack(">iiiq", 0, state_epoch, leader_epoch, start) + complete
        return ask(server, WRITE, version, group, topic, numbers + bytes([len(batches) + 1]) + b"".join(batches))[0]

    assert ask(server, INITIALIZE, 0, group, bytes(15) + b"\7", struct.pack(">iiq", 0, 1, 10))[0] == UNKNOWN_TOPIC_OR_PARTITION
    assert write(1, 1, 1, 12) == INVALID_REQUEST, "there is none yet"
    assert ask(server, INITIALIZE, 0, group, topic, struct.pack(">iiq", 0, 1, 10)) == (0, END)
    assert read() == (0, struct.pack(">iq", 1, 10) + b"\1" + END)
    assert write(1, 1, 3, 12, batch(12, 13, 2, 1), batch(14, 20, 0, 2)) == 0
    assert write(0, 0, 3, 15) == FENCED_STATE_EPOCH
    assert write(0, 1, 2, 15) == FENCED_LEADER_EPOCH
    kept = (0, struct.pack(">iq", 1, 12) + b"\3" + batch(12, 13, 2, 1) + batch(14, 20, 0, 2) + END)
    server.kill()
    server.start()
    assert read() == kept
    summary = struct.pack(">ii", 0, -1)
    assert ask(server, SUMMARY, 0, group, topic, summary) == (0, struct.pack(">iiq", 1, 3, 12) + END)
    assert ask(server, SUMMARY, 1, group, topic, summary) == (0, struct.pack(">iiqi", 1, 3, 12, 2) + END)
    assert ask(server, DELETE, 0, group, topic, struct.pack(">i", 0)) == (0, END)
    assert read()[0] == INVALID_REQUEST
    assert ask(server, SUMMARY, 0, group, topic, summary) == (0, struct.pack(">iiq", 0, 0, -1) + END)
