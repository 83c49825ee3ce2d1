# SPDX-License-Identifier: Apache-2.0
"""Single requests as bytes, for tests that say what a client library never would: late, doubled, reordered, of an earlier epoch.

A request is made from kafka-python's message classes (which come from Kafka's own definitions), becomes a whole frame once, and the same
frame can be sent again on any connection. ``Wire`` is one connection; it answers with kafka-python's response objects. Blocking, one thread
a connection.
"""

from __future__ import annotations

import enum
import socket
import struct
import time
from typing import Any

from kafka.protocol.admin.transactions import DescribeTransactionsRequest
from kafka.protocol.consumer import OffsetFetchRequest
from kafka.protocol.producer import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    ProduceRequest,
    TxnOffsetCommitRequest,
)
from kafka.record.default_records import DefaultRecordBatchBuilder

SECONDS = 30.0


class Error(enum.IntEnum):
    """Kafka's error codes that these tests speak of; any other stays a number."""

    NONE = 0
    UNKNOWN_TOPIC_OR_PARTITION = 3
    NOT_COORDINATOR = 16
    COORDINATOR_NOT_AVAILABLE = 15
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45
    INVALID_PRODUCER_EPOCH = 47
    INVALID_TXN_STATE = 48
    INVALID_PRODUCER_ID_MAPPING = 49
    CONCURRENT_TRANSACTIONS = 51
    UNKNOWN_PRODUCER_ID = 59
    UNSTABLE_OFFSET_COMMIT = 88
    PRODUCER_FENCED = 90
    TRANSACTION_ABORTABLE = 120


def error(code: int) -> Error | int:
    return Error(code) if code in Error._value2member_map_ else code


class Frame:
    """One request: its bytes, always the same, and how its answer is read."""

    def __init__(self, request: Any) -> None:
        request.with_header(77, "frames")
        self.name = type(request).__name__
        self.answer = request.header.get_response_class()
        self.bytes = bytes(request.encode(header=True, framed=True))


class Wire:
    """One connection."""

    def __init__(self, address: str, seconds: float = SECONDS) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def _take(self, n: int) -> bytes:
        out = bytearray()
        while len(out) < n:
            got = self.socket.recv(n - len(out))
            if not got:
                raise ConnectionError("the broker closed the connection")
            out += got
        return bytes(out)

    def exchange(self, data: bytes) -> bytes:
        """Sends a whole frame, and takes the next one that comes; without its size."""
        self.socket.sendall(data)
        return self.take()

    def take(self) -> bytes:
        """The next frame that comes, without its size."""
        return self._take(struct.unpack(">i", self._take(4))[0])

    def send(self, frame: Frame) -> None:
        self.socket.sendall(frame.bytes)

    def answer(self, frame: Frame) -> Any:
        return frame.answer.decode(self.take(), header=True)

    def ask(self, frame: Frame) -> Any:
        self.send(frame)
        return self.answer(frame)


def once(address: str, frame: Frame) -> Any:
    """On a connection of its own, as what is late comes."""
    with Wire(address) as wire:
        return wire.ask(frame)


# ---- requests -------------------------------------------------------------------------------------------------------------------


def records(values: list[str], producer_id: int = -1, epoch: int = -1, sequence: int = -1, transactional: bool = False) -> bytes:
    """One batch."""
    b = DefaultRecordBatchBuilder(2, 0, transactional, producer_id, epoch, sequence, 1 << 20)
    for i, value in enumerate(values):
        b.append(i, timestamp=int(time.time() * 1000), key=None, value=value.encode(), headers=[])
    return bytes(b.build())


def produce(topic: str, partition: int, batch: bytes, transactional_id: str | None = None, version: int = 12) -> Frame:
    data = ProduceRequest.TopicProduceData
    part = data.PartitionProduceData(index=partition, records=batch)
    return Frame(ProduceRequest[version](transactional_id=transactional_id, acks=-1, timeout_ms=10000, topic_data=[data(name=topic, partition_data=[part])]))


def init_producer(transactional_id: str | None, producer_id: int = -1, epoch: int = -1, timeout_ms: int = 60000, version: int = 5) -> Frame:
    return Frame(InitProducerIdRequest[version](transactional_id=transactional_id, transaction_timeout_ms=timeout_ms, producer_id=producer_id, producer_epoch=epoch))


def add_partitions(transactional_id: str, producer_id: int, epoch: int, topic: str, partitions: list[int], version: int = 3) -> Frame:
    topics = [AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name=topic, partitions=partitions)]
    return Frame(
        AddPartitionsToTxnRequest[version](
            v3_and_below_transactional_id=transactional_id, v3_and_below_producer_id=producer_id, v3_and_below_producer_epoch=epoch, v3_and_below_topics=topics
        )
    )


def add_offsets(transactional_id: str, producer_id: int, epoch: int, group: str, version: int = 4) -> Frame:
    return Frame(AddOffsetsToTxnRequest[version](transactional_id=transactional_id, producer_id=producer_id, producer_epoch=epoch, group_id=group))


def commit_offset(transactional_id: str, producer_id: int, epoch: int, group: str, topic: str, partition: int, offset: int, version: int = 5) -> Frame:
    one = TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
    part = one.TxnOffsetCommitRequestPartition(partition_index=partition, committed_offset=offset, committed_leader_epoch=-1, committed_metadata=None)
    return Frame(
        TxnOffsetCommitRequest[version](
            transactional_id=transactional_id, group_id=group, producer_id=producer_id, producer_epoch=epoch, generation_id=-1, member_id="",
            group_instance_id=None, topics=[one(name=topic, partitions=[part])],
        )
    )  # fmt: skip


def end_txn(transactional_id: str, producer_id: int, epoch: int, commit: bool, version: int = 5) -> Frame:
    return Frame(EndTxnRequest[version](transactional_id=transactional_id, producer_id=producer_id, producer_epoch=epoch, committed=commit))


def fetch_offset(group: str, topic: str, partition: int, stable: bool = True, version: int = 8) -> Frame:
    one = OffsetFetchRequest.OffsetFetchRequestGroup
    topics = [one.OffsetFetchRequestTopics(name=topic, partition_indexes=[partition])]
    return Frame(OffsetFetchRequest[version](groups=[one(group_id=group, topics=topics)], require_stable=stable))


def describe_transaction(transactional_id: str) -> Frame:
    return Frame(DescribeTransactionsRequest[0](transactional_ids=[transactional_id]))


# ---- the one error code in an answer ------------------------------------------------------------------------------------------


def error_of(answer: Any) -> Error | int:
    """Of an answer about one thing."""
    name = type(answer).__name__.split("_")[0]
    if name == "ProduceResponse":
        return error(answer.responses[0].partition_responses[0].error_code)
    if name == "AddPartitionsToTxnResponse":
        return error(answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code)
    if name == "TxnOffsetCommitResponse":
        return error(answer.topics[0].partitions[0].error_code)
    return error(answer.error_code)


def base_offset(answer: Any) -> int:
    return int(answer.responses[0].partition_responses[0].base_offset)
