# SPDX-License-Identifier: Apache-2.0
"""Record batches that no client library makes, as raw frames: what is refused, with which error, and what the header says of what is taken.

Each row was compared with Apache Kafka 4.3.1; with its address in MILLRACE_TEST_KAFKA the same file asks it instead. `KAFKA` marks the few
places where this broker refuses on purpose what Kafka takes.
"""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Server
from kafka_frames import Connection
from packed import (
    CODECS,
    CONTROL,
    LOG_APPEND_TIME,
    LZ4_MAGIC,
    NOW,
    TRANSACTIONAL,
    XERIAL,
    ZSTD_MAGIC,
    Batch,
    batch,
    field,
    lz4,
    nothing,
    pack,
    record,
    snappy,
    zeros_in_a_record,
    zstd,
)
from record_batch import varint

NONE, UNKNOWN, CORRUPT, TOO_LARGE, LATE, TXN_DENIED, BAD_CODEC, BAD_RECORD = 0, -1, 2, 10, 32, 53, 76, 87
NOT_YET = (3, 6)  # what Kafka says of a topic that it has just made
KAFKA = os.environ.get("MILLRACE_TEST_KAFKA")
PACKED = tuple(c for c in CODECS if c != "none")
HOURS = varint(7_200_000)


class Broker:
    """A connection, and one topic for each set of configs."""

    def __init__(self, address: str) -> None:
        self.address, self.connection = address, Connection(address)
        self.made: dict[tuple[tuple[str, str], ...], str] = {}

    def new_topic(self, partitions: int = 1, **configs: str) -> str:
        name = f"records-{uuid.uuid4().hex[:8]}"
        topic = {"name": name, "num_partitions": partitions, "replication_factor": 1}
        topic["configs"] = [{"name": n.replace("_", "."), "value": v} for n, v in configs.items()]
        said = self.connection.ask("CreateTopics", 7, {"topics": [topic], "timeout_ms": 30000})["topics"][0]
        assert said["error_code"] == NONE, said
        while any(self.offset(name, partition=p)["error_code"] in NOT_YET for p in range(partitions)):
            pass
        return name

    def topic(self, **configs: str) -> str:
        key = tuple(sorted(configs.items()))
        if key not in self.made:
            self.made[key] = self.new_topic(**configs)
        return self.made[key]

    def offset(self, topic: str, timestamp: int = -1, partition: int = 0) -> dict[str, Any]:
        asked = {"partition_index": partition, "current_leader_epoch": -1, "timestamp": timestamp}
        body = {"replica_id": -1, "topics": [{"name": topic, "partitions": [asked]}]}
        found: dict[str, Any] = self.connection.ask("ListOffsets", 8, body)["topics"][0]["partitions"][0]
        return found

    def end(self, topic: str, partition: int = 0) -> int:
        return int(self.offset(topic, partition=partition)["offset"])

    def send(self, topic: str, *records: bytes, version: int = 9) -> list[dict[str, Any]]:
        """One request with a batch for each partition; the answers by partition."""
        data = [{"index": i, "records": r} for i, r in enumerate(records)]
        body = {"acks": -1, "timeout_ms": 30000, "topic_data": [{"name": topic, "partition_data": data}]}
        while True:
            said = self.connection.ask("Produce", version, body)["responses"][0]["partition_responses"]
            if said[0]["error_code"] not in NOT_YET:
                return sorted(said, key=lambda p: p["index"])

    def produce(self, topic: str, records: bytes, version: int = 9) -> dict[str, Any]:
        """One batch. What is refused must not be in the log, and what is taken must be where the answer says."""
        before = self.end(topic)
        said = self.send(topic, records, version=version)[0]
        grown = self.end(topic) - before
        if said["error_code"] == NONE:
            assert (said["base_offset"], grown) == (before, struct.unpack(">i", records[57:61])[0]), said
        else:
            assert (said["base_offset"], said["log_append_time_ms"], grown) == (-1, -1, 0), said
        return said

    def fetch(self, topic: str, offset: int) -> Batch:
        part = {"partition": 0, "current_leader_epoch": -1, "fetch_offset": offset, "last_fetched_epoch": -1, "log_start_offset": -1, "partition_max_bytes": 1 << 20}
        body = {"replica_id": -1, "max_wait_ms": 5000, "min_bytes": 1, "max_bytes": 1 << 20, "session_epoch": -1, "topics": [{"topic": topic, "partitions": [part]}]}
        one = self.connection.ask("Fetch", 12, body)["responses"][0]["partitions"][0]
        assert one["error_code"] == NONE
        found = Batch(one["records"])
        assert found.base_offset == offset
        return found

    def taken(self, topic: str, records: bytes) -> Batch:
        """As it is fetched after it was produced."""
        said = self.produce(topic, records)
        assert said["error_code"] == NONE, said
        return self.fetch(topic, said["base_offset"])


@pytest.fixture(scope="module")
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    server: Server | None = None if KAFKA else request.getfixturevalue("server")
    one = Broker(KAFKA if server is None else server.kafka)
    yield one
    one.connection.wire.close()


# ---- streams --------------------------------------------------------------------------------------------------------------------
ONE = record()
GZIP, BIG = pack("gzip", ONE), pack("gzip", record(value=b"v" * 5000))
RAW, FRAMED, LZ, ZS = pack("snappy", ONE), pack("xerial", ONE), pack("lz4", ONE), pack("zstd", ONE)
SKIPPED = b"\x50\x2a\x4d\x18\3\0\0\0abc"


def framed(*blocks: bytes) -> bytes:
    return XERIAL + b"".join(struct.pack(">i", len(b)) + b for b in blocks)


def lz4_blocks(*blocks: bytes) -> bytes:
    """A frame with the blocks as they are, lengths and all."""
    return LZ[:7] + b"".join(blocks) + bytes(4)


def zstd_block(header: int, data: bytes) -> bytes:
    return ZS[:6] + struct.pack("<I", header)[:3] + data


def sized(size: int) -> bytes:
    """A zstd frame that tells the size of its content."""
    return ZSTD_MAGIC + bytes([0x20, size]) + struct.pack("<I", len(ONE) << 3 | 1)[:3] + ONE


def every_codec() -> Iterator[tuple[str, str, bytes, int]]:
    for codec in PACKED:
        good, large = pack(codec, ONE), pack(codec, record(value=b"v" * 5000))
        yield codec, "good", good, NONE
        yield codec, "good and large", large, NONE
        yield codec, "empty", b"", BAD_RECORD if codec == "zstd" else UNKNOWN
        yield codec, "garbage", b"k\0v garbage, no stream of any codec", UNKNOWN
        yield codec, "records that are not packed", ONE, UNKNOWN
        yield codec, "cut in the middle", large[: len(large) // 2], UNKNOWN
        yield codec, "a byte short", good[:-1], UNKNOWN
        yield codec, "a byte behind", good + b"\0", UNKNOWN if codec in ("snappy", "zstd") else NONE
        yield codec, "garbage behind", good + b"garbage behind", NONE if codec in ("gzip", "lz4") else UNKNOWN
        yield codec, "the same again", good + good, {"snappy": UNKNOWN, "lz4": NONE}.get(codec, BAD_RECORD)
        yield codec, "a stream of nothing", nothing(codec), BAD_RECORD
        halves = pack(codec, ONE[:3]) + pack(codec, ONE[3:])
        yield codec, "half a record in each of two", halves, {"snappy": UNKNOWN, "lz4": BAD_RECORD}.get(codec, NONE)
        yield codec, "nothing, then the records", nothing(codec) + good, {"snappy": UNKNOWN, "lz4": BAD_RECORD}.get(codec, NONE)


STREAMS = [
    *every_codec(),
    ("gzip", "without trailer", GZIP[:-8], UNKNOWN),
    ("gzip", "half a trailer", GZIP[:-4], UNKNOWN),
    ("gzip", "wrong checksum", GZIP[:-8] + bytes([GZIP[-8] ^ 1]) + GZIP[-7:], UNKNOWN),
    ("gzip", "wrong length", GZIP[:-4] + bytes([GZIP[-4] ^ 1]) + GZIP[-3:], UNKNOWN),
    ("gzip", "wrong magic", b"\x1f\x8c" + GZIP[2:], UNKNOWN),
    ("gzip", "another method", GZIP[:2] + b"\7" + GZIP[3:], UNKNOWN),
    ("gzip", "reserved flags", GZIP[:3] + b"\xe0" + GZIP[4:], NONE),
    ("gzip", "header alone", GZIP[:10], UNKNOWN),
    ("gzip", "half a header", GZIP[:5], UNKNOWN),
    ("gzip", "a name", GZIP[:3] + b"\x08" + GZIP[4:10] + b"name\0" + GZIP[10:], NONE),
    ("gzip", "wrong checksum of the header", GZIP[:3] + b"\2" + GZIP[4:10] + bytes(2) + GZIP[10:], UNKNOWN),
    ("gzip", "zeros behind", GZIP + bytes(16), NONE),
    ("gzip", "half a header behind", GZIP + GZIP[:5], NONE),
    ("gzip", "a header behind", GZIP + GZIP[:10], UNKNOWN),
    ("gzip", "a damaged member behind", GZIP + GZIP[:10] + b"\xff" * 4, UNKNOWN),
    ("xerial", "header alone", XERIAL, BAD_RECORD),
    ("xerial", "half a header", XERIAL[:10], UNKNOWN),
    ("xerial", "magic alone", XERIAL[:8], UNKNOWN),
    ("xerial", "another version", XERIAL[:8] + struct.pack(">ii", 2, 99) + FRAMED[16:], NONE),
    ("xerial", "a block of length 0", XERIAL + bytes(4) + FRAMED[16:], UNKNOWN),
    ("xerial", "a block of length 0 behind", FRAMED + bytes(4), UNKNOWN),
    ("xerial", "negative length", XERIAL + b"\xff\xff\xff\xf0" + RAW, UNKNOWN),
    ("xerial", "length beyond", XERIAL + struct.pack(">i", len(RAW) + 5) + RAW, UNKNOWN),
    ("xerial", "huge length", XERIAL + b"\x7f\xff\xff\xf0" + RAW, UNKNOWN),
    ("xerial", "length too small", XERIAL + struct.pack(">i", len(RAW) - 1) + RAW, UNKNOWN),
    ("xerial", "half a length behind", FRAMED + bytes(2), NONE),
    ("xerial", "a block of garbage", framed(b"\x08garbage"), UNKNOWN),
    ("xerial", "two blocks", framed(snappy(ONE[:4]), snappy(ONE[4:])), NONE),
    ("xerial", "a block of nothing", framed(b"\0", RAW), NONE),
    ("xerial", "a size too large", framed(bytes([RAW[0] + 1]) + RAW[1:]), UNKNOWN),
    ("xerial", "a size too small", framed(bytes([RAW[0] - 1]) + RAW[1:]), UNKNOWN),
    ("xerial", "a huge size", framed(b"\xff\xff\xff\xff\7" + RAW[1:]), UNKNOWN),
    ("xerial", "a copy from before the start", framed(b"\x08\x1e\x09\0"), UNKNOWN),
    ("snappy", "a size too large", bytes([RAW[0] + 1]) + RAW[1:], UNKNOWN),
    ("snappy", "a size too small", bytes([RAW[0] - 1]) + RAW[1:], UNKNOWN),
    ("snappy", "a huge size", b"\xff\xff\xff\xff\7" + RAW[1:], UNKNOWN),
    ("snappy", "a copy from before the start", b"\x08\x1e\x09\0", UNKNOWN),
    ("lz4", "without end mark", LZ[:-4], UNKNOWN),
    ("lz4", "half an end mark", LZ[:-2], UNKNOWN),
    ("lz4", "content checksum", lz4(ONE, flags=0x64), NONE),
    ("lz4", "wrong content checksum", lz4(ONE, flags=0x64, content_sum=1), NONE),
    ("lz4", "no content checksum", lz4(ONE, flags=0x64)[:-4], UNKNOWN),
    ("lz4", "half a content checksum", lz4(ONE, flags=0x64)[:-2], UNKNOWN),
    ("lz4", "block checksum", lz4(ONE, flags=0x70), NONE),
    ("lz4", "wrong block checksum", lz4(ONE, flags=0x70, block_sum=1), UNKNOWN),
    ("lz4", "wrong header checksum", lz4(ONE, header=1), UNKNOWN),
    ("lz4", "wrong magic", b"\5" + LZ[1:], UNKNOWN),
    ("lz4", "version 0", lz4(ONE, flags=0x20), UNKNOWN),
    ("lz4", "version 2", lz4(ONE, flags=0xA0), UNKNOWN),
    ("lz4", "reserved bit of FLG", lz4(ONE, flags=0x62), UNKNOWN),
    ("lz4", "a dictionary", lz4(ONE, flags=0x61, more=b"\1\0\0\0"), UNKNOWN),
    ("lz4", "dependent blocks", lz4(ONE, flags=0x40), UNKNOWN),
    ("lz4", "content size", lz4(ONE, flags=0x68, more=struct.pack("<Q", len(ONE))), NONE),
    ("lz4", "wrong content size", lz4(ONE, flags=0x68, more=struct.pack("<Q", len(ONE) + 1)), NONE),
    ("lz4", "block size 3", lz4(ONE, blocks=0x30), UNKNOWN),
    ("lz4", "block size 7", lz4(ONE, blocks=0x70), NONE),
    ("lz4", "reserved bit of BD", lz4(ONE, blocks=0x41), UNKNOWN),
    ("lz4", "top bit of BD", lz4(ONE, blocks=0xC0), UNKNOWN),
    ("lz4", "a block larger than BD says", lz4_blocks(struct.pack("<I", 70000 | 1 << 31), bytes(70000)), UNKNOWN),
    ("lz4", "a block beyond the end", LZ[:7] + struct.pack("<I", len(ONE) + 5 | 1 << 31) + ONE, UNKNOWN),
    ("lz4", "a packed block of garbage", lz4_blocks(struct.pack("<I", 8), b"\xf0garbage"), UNKNOWN),
    ("lz4", "a block of no bytes", lz4_blocks(struct.pack("<I", 1 << 31), LZ[7:-4]), BAD_RECORD),
    ("lz4", "a frame to skip before", SKIPPED + LZ, UNKNOWN),
    ("lz4", "header alone", LZ[:7], UNKNOWN),
    ("lz4", "half a header", LZ[:5], UNKNOWN),
    ("lz4", "magic alone", LZ4_MAGIC, UNKNOWN),
    ("zstd", "no content checksum", zstd(ONE, checksum=False), NONE),
    ("zstd", "wrong content checksum", zstd(ONE, content_sum=1), UNKNOWN),
    ("zstd", "content checksum missing", ZS[:-4], UNKNOWN),
    ("zstd", "half a content checksum", ZS[:-2], UNKNOWN),
    ("zstd", "wrong magic", b"\x29" + ZS[1:], UNKNOWN),
    ("zstd", "no last block", zstd(ONE, last=False, checksum=False), UNKNOWN),
    ("zstd", "reserved bit", ZS[:4] + bytes([ZS[4] | 8]) + ZS[5:], UNKNOWN),
    ("zstd", "unused bit", ZS[:4] + bytes([ZS[4] | 16]) + ZS[5:], NONE),
    ("zstd", "a dictionary", ZS[:4] + bytes([ZS[4] | 1]) + ZS[5:6] + b"\7" + ZS[6:], UNKNOWN),
    ("zstd", "reserved type of block", ZS[:6] + bytes([ZS[6] | 6]) + ZS[7:], UNKNOWN),
    ("zstd", "a block of more than 128 KiB", zstd_block(131073 << 3 | 3, b"\0" + ZS[-4:]), UNKNOWN),
    ("zstd", "a packed block of garbage", zstd_block(8 << 3 | 5, b"\xffgarbage"), UNKNOWN),
    ("zstd", "a block beyond the end", zstd_block(len(ONE) + 50 << 3 | 1, ONE), UNKNOWN),
    ("zstd", "a frame to skip before", SKIPPED + ZS, NONE),
    ("zstd", "a frame to skip behind", ZS + SKIPPED, NONE),
    ("zstd", "half a frame to skip behind", ZS + SKIPPED[:-2], NONE),
    ("zstd", "header alone", ZS[:6], UNKNOWN),
    ("zstd", "half a header", ZS[:5], UNKNOWN),
    ("zstd", "magic alone", ZSTD_MAGIC, UNKNOWN),
    ("zstd", "content size", sized(len(ONE)), NONE),
    ("zstd", "content size too large", sized(len(ONE) + 1), UNKNOWN),
    ("zstd", "content size too small", sized(len(ONE) - 1), UNKNOWN),
    ("zstd", "a window of 128 MiB", zstd(ONE, window=17 << 3), NONE),
    ("zstd", "a window of 256 MiB", zstd(ONE, window=18 << 3), UNKNOWN),
]
STRICTER = {  # KAFKA takes most of them, though not every consumer's library does; two lz4 frames it reads only in part
    ("gzip", "a byte behind"): UNKNOWN,
    ("gzip", "garbage behind"): UNKNOWN,
    ("gzip", "half a header behind"): UNKNOWN,
    ("gzip", "reserved flags"): UNKNOWN,
    ("gzip", "zeros behind"): UNKNOWN,
    ("xerial", "a byte behind"): UNKNOWN,
    ("xerial", "half a length behind"): UNKNOWN,
    ("lz4", "a byte behind"): UNKNOWN,
    ("lz4", "garbage behind"): UNKNOWN,
    ("lz4", "the same again"): UNKNOWN,
    ("lz4", "a block of no bytes"): UNKNOWN,
    ("lz4", "half a record in each of two"): UNKNOWN,
    ("lz4", "nothing, then the records"): UNKNOWN,
    ("lz4", "wrong content checksum"): UNKNOWN,
    ("lz4", "wrong content size"): UNKNOWN,
    ("zstd", "half a frame to skip behind"): UNKNOWN,
}


@pytest.mark.parametrize(("codec", "what", "stream", "error"), STREAMS, ids=[f"{c}-{w}" for c, w, _, _ in STREAMS])
def test_streams(broker: Broker, codec: str, what: str, stream: bytes, error: int) -> None:
    if not KAFKA:
        error = STRICTER.get((codec, what), error)
    for configs in ({}, {"compression_type": "uncompressed"}):
        assert broker.produce(broker.topic(**configs), batch(stream, CODECS[codec]))["error_code"] == error, configs
    good = broker.produce(broker.topic(), batch(pack(codec, ONE), CODECS[codec]))
    assert good["error_code"] == NONE, "what was damaged does not linger"


# ---- records --------------------------------------------------------------------------------------------------------------------
HEADER = field(b"h") + field(b"x")


def cut(length: int) -> bytes:
    return record(length=varint(length))


RECORDS = [
    ("one", ONE, 1, NONE),
    ("two", ONE + record(1), 2, NONE),
    ("fewer than the header says", ONE, 2, BAD_RECORD),
    ("more than the header says", ONE + record(1), 1, BAD_RECORD),
    ("a byte behind", ONE + b"\0", 1, BAD_RECORD),
    ("bytes behind", ONE + b"behind them", 1, BAD_RECORD),
    ("none at all", b"", 1, BAD_RECORD),
    ("one, and the header says none", ONE, 0, BAD_RECORD),
    ("none, and the header says so", b"", 0, BAD_RECORD),
    ("a negative count", ONE, -1, BAD_RECORD),
    ("a huge count", ONE, 0x7FFFFFFF, BAD_RECORD),
    ("a length of 0 and nothing", b"\0", 1, BAD_RECORD),
    ("a length of 1 and attributes", b"\2\0", 1, BAD_RECORD),
    ("half a length", b"\x80", 1, BAD_RECORD),
    ("slack", record(slack=b"slack"), 1, BAD_RECORD),
    ("slack before another", record(slack=bytes(4)) + record(1), 2, BAD_RECORD),
    ("key beyond", record(key_length=100), 1, BAD_RECORD),
    ("key beyond into the next", record(key_length=100) + record(1), 2, BAD_RECORD),
    ("the longest key", record(key_length=0x7FFFFFFF), 1, BAD_RECORD),
    ("key null", record(key=None), 1, NONE),
    ("key of length -2", record(key=None, key_length=-2), 1, NONE),
    ("key of the least length", record(key=None, key_length=-(1 << 31)), 1, NONE),
    ("value beyond", record(value_length=100), 1, BAD_RECORD),
    ("value beyond into the next", record(value_length=4) + record(1), 2, BAD_RECORD),
    ("the longest value", record(value_length=0x7FFFFFFF), 1, BAD_RECORD),
    ("value null", record(value=None), 1, NONE),
    ("value of length -2", record(value=None, value_length=-2), 1, NONE),
    ("headers", record(headers=HEADER * 2, header_count=2), 1, NONE),
    ("header with an empty key", record(headers=field(b"") + field(b"x"), header_count=1), 1, NONE),
    ("header with a value of null", record(headers=field(b"h") + field(None), header_count=1), 1, NONE),
    ("header with a value of length -2", record(headers=field(b"h") + varint(-2), header_count=1), 1, NONE),
    ("header with a key of null", record(headers=field(None) + field(b"x"), header_count=1), 1, BAD_RECORD),
    ("header with a key of length -2", record(headers=varint(-2) + field(b"x"), header_count=1), 1, BAD_RECORD),
    ("header with a key beyond", record(headers=field(b"h", 100) + field(b"x"), header_count=1), 1, BAD_RECORD),
    ("header with a value beyond", record(headers=field(b"h") + field(b"x", 100), header_count=1), 1, BAD_RECORD),
    ("header with a key of no text", record(headers=field(b"\xff") + field(b"x"), header_count=1), 1, NONE),
    ("headers of a negative count", record(header_count=-1), 1, BAD_RECORD),
    ("fewer headers than counted", record(headers=HEADER, header_count=2), 1, BAD_RECORD),
    ("more headers than counted", record(headers=HEADER * 2, header_count=1), 1, BAD_RECORD),
    ("more headers than counted before another", record(headers=HEADER * 2, header_count=1) + record(1), 2, BAD_RECORD),
    ("headers of a huge count", record(headers=HEADER, header_count=0x7FFFFFFF), 1, BAD_RECORD),
    ("no count of headers", varint(len(ONE) - 2) + ONE[1:-1], 1, BAD_RECORD),
    ("attributes 1", record(attributes=1), 1, NONE),
    ("attributes 255", record(attributes=255), 1, NONE),
    ("time of 10 bytes", record(moment=b"\x80" * 9 + b"\0"), 1, NONE),
    ("time of 11 bytes", record(moment=b"\x80" * 10 + b"\0"), 1, BAD_RECORD),
    ("time far beyond", record(moment=b"\xfe" + b"\xff" * 8 + b"\x01"), 1, LATE),
    ("offset of 5 bytes", record(where=b"\x80" * 4 + b"\0"), 1, NONE),
    ("offset of 6 bytes", record(where=b"\x80" * 5 + b"\0"), 1, BAD_RECORD),
    ("the second is malformed", ONE + record(1, key_length=100), 2, BAD_RECORD),
    ("the third is cut short", ONE + record(1) + record(2)[:-3], 3, BAD_RECORD),
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("what", "records", "count", "error"), RECORDS, ids=[r[0] for r in RECORDS])
def test_records(broker: Broker, codec: str, what: str, records: bytes, count: int, error: int) -> None:
    sent = batch(pack(codec, records) if records else nothing(codec), CODECS[codec], count)
    for configs in ({}, {"compression_type": "gzip"}):
        assert broker.produce(broker.topic(**configs), sent)["error_code"] == error, configs


LENGTHS = [
    ("too large", cut(len(ONE) + 5)),
    ("one too large", cut(len(ONE))),
    ("one too small", cut(len(ONE) - 2)),
    ("0", cut(0)),
    ("negative", cut(-1)),
    ("the least", cut(-(1 << 31))),
    ("more than 32 bits", record(length=b"\x8e\x80\x80\x80\x70")),
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("what", "records"), LENGTHS, ids=[w for w, _ in LENGTHS])
def test_lengths_of_records(broker: Broker, codec: str, what: str, records: bytes) -> None:
    """KAFKA does not look at them in a compressed batch that may stay as it is, and its consumers cannot read what it took."""
    for compression, looks in (("producer", codec == "none"), ("uncompressed", True)):
        said = broker.produce(broker.topic(compression_type=compression), batch(pack(codec, records), CODECS[codec]))
        assert said["error_code"] == (BAD_RECORD if looks or not KAFKA else NONE), compression


# ---- offsets --------------------------------------------------------------------------------------------------------------------
OFFSETS = [
    ("swapped", (1, 0)),
    ("the same", (0, 0)),
    ("from 5", (5, 6)),
    ("one, and it is 5", (5,)),
    ("with a gap", (0, 5)),
    ("negative", (-2, -1)),
    ("the largest", ((1 << 31) - 1,)),
    ("the least", (-(1 << 31),)),
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("what", "deltas"), OFFSETS, ids=[w for w, _ in OFFSETS])
def test_offsets(broker: Broker, codec: str, what: str, deltas: tuple[int, ...]) -> None:
    """They become 0, 1, 2 when the batch is packed anew. KAFKA keeps those of an uncompressed batch as they came."""
    sent = batch(pack(codec, b"".join(record(d, key=b"%d" % i) for i, d in enumerate(deltas))), CODECS[codec], len(deltas))
    right = [(i, b"%d" % i) for i in range(len(deltas))]
    for compression in ("producer", "uncompressed", "gzip"):
        said = broker.produce(topic := broker.topic(compression_type=compression), sent)
        if codec != "none" and compression in ("producer", codec):
            assert said["error_code"] == UNKNOWN
            continue
        assert said["error_code"] == NONE
        found = broker.fetch(topic, said["base_offset"])
        assert (found.last_delta, found.count) == (len(deltas) - 1, len(deltas))
        kept = KAFKA and codec == "none" and compression != "gzip"
        assert found.offsets() == ([(d, key) for d, (_, key) in zip(deltas, right, strict=True)] if kept else right), compression


# ---- times ----------------------------------------------------------------------------------------------------------------------
APART = record() + record(1, moment=varint(5))
TIMES = [
    ("as it is", APART, NOW, NOW + 5, NOW + 5),
    ("too small", APART, NOW, NOW, NOW + 5),
    ("too large", APART, NOW, NOW + 1000, NOW + 5),
    ("-1", APART, NOW, -1, NOW + 5),
    ("-5", APART, NOW, -5, NOW + 5),
    ("huge", APART, NOW, 1 << 62, NOW + 5),
    ("-1, as the base", APART, -1, -1, 4),
    ("now, and the base is -1", APART, -1, NOW, 4),
    ("-1 of records that have no time", record() + record(1), -1, -1, -1),
    ("now of records that have no time", record() + record(1), -1, NOW, -1),
    ("that of the first", record(moment=varint(7)) + record(1, moment=varint(-7)), NOW, NOW, NOW + 7),
    ("later than a time that is earlier than the base", record(moment=varint(-9)) + record(1, moment=varint(-10)), NOW, NOW, NOW - 9),
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("what", "records", "base", "said", "latest"), TIMES, ids=[t[0] for t in TIMES])
def test_the_latest_time(broker: Broker, codec: str, what: str, records: bytes, base: int, said: int, latest: int) -> None:
    """It is that of the records, whatever the header says; the checksum is looked at with each batch that is read back."""
    sent = batch(pack(codec, records), CODECS[codec], 2, base=base, latest=said)
    found = broker.taken(broker.topic(), sent)
    assert (found.attributes, found.base, found.latest) == (CODECS[codec], base, latest), what
    if codec != "gzip":
        found = broker.taken(broker.topic(compression_type="gzip"), sent)
        assert (found.attributes, found.latest) == (1, latest), "packed anew"
    answer = broker.produce(topic := broker.topic(message_timestamp_type="LogAppendTime"), sent)
    found = broker.fetch(topic, answer["base_offset"])
    assert answer["log_append_time_ms"] >= NOW
    assert (found.attributes, found.base, found.latest) == (CODECS[codec] | LOG_APPEND_TIME, base, answer["log_append_time_ms"])


@pytest.mark.parametrize("codec", ["none", "gzip"])
@pytest.mark.parametrize("said", [NOW - 9, NOW + 9, -1])
def test_offsets_by_time(broker: Broker, codec: str, said: int) -> None:
    """A latest time that is wrong in what a producer sent leads to no wrong record."""
    topic = broker.new_topic()
    broker.taken(topic, batch(pack(codec, APART), CODECS[codec], 2, latest=said))
    for asked, offset, time in ((-3, 1, NOW + 5), (NOW, 0, NOW), (NOW + 1, 1, NOW + 5), (NOW + 5, 1, NOW + 5), (NOW + 6, -1, -1)):
        found = broker.offset(topic, asked)
        assert (found["offset"], found["timestamp"]) == (offset, time), asked


LATE_TIMES = [
    ("two hours ahead", record(moment=HOURS), {"latest": NOW + 7_200_000}, [(0, NOW + 7_200_000)]),
    ("two hours ahead and the header says now", record(moment=HOURS), {}, [(0, NOW + 7_200_000)]),
    ("two of three", ONE + record(1, moment=HOURS) + record(2, moment=HOURS), {"count": 3}, [(1, NOW + 7_200_000), (2, NOW + 7_200_000)]),
    ("overflowing", record(moment=varint((1 << 63) - 1)), {}, [(0, NOW - (1 << 63) - 1)]),
    ("the largest", ONE, {"base": (1 << 63) - 1}, [(0, (1 << 63) - 1)]),
    ("the least", ONE, {"base": -(1 << 63)}, [(0, -(1 << 63))]),
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("what", "records", "header", "refused"), LATE_TIMES, ids=[t[0] for t in LATE_TIMES])
def test_times_out_of_range(broker: Broker, codec: str, what: str, records: bytes, header: dict[str, int], refused: list[tuple[int, int]]) -> None:
    sent = batch(pack(codec, records), CODECS[codec], **header)
    if "overflow" in what:
        refused = [(i, t + (1 << 64) if t < -(1 << 63) else t) for i, t in refused]
    for compression in ("producer", "gzip"):
        said = broker.produce(broker.topic(compression_type=compression), sent)
        assert (said["error_code"], said["error_message"]) == (LATE, "One or more records have been rejected due to invalid timestamp")
        assert [e["batch_index"] for e in said["record_errors"]] == [i for i, _ in refused]
        for told, (i, time) in zip(said["record_errors"], refused, strict=True):
            begin = f"Timestamp {time} of message with offset {i} is out of range. The timestamp should be within ["
            assert told["batch_index_error_message"].startswith(begin) and told["batch_index_error_message"].endswith("]")
    assert broker.produce(broker.topic(message_timestamp_type="LogAppendTime"), sent)["error_code"] == NONE


# ---- headers --------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("bits", [0x80, 0x100, 0x4000, -0x8000, 0x7F80])
def test_unused_attributes(broker: Broker, codec: str, bits: int) -> None:
    """They are kept in a batch that stays as it is, and lost with the first field that has to be set anew."""
    for latest, kept in ((NOW, bits), (NOW + 9, 0)):
        sent = batch(pack(codec, ONE), CODECS[codec] | bits, latest=latest)
        assert broker.taken(broker.topic(), sent).attributes == CODECS[codec] | kept
        assert broker.taken(broker.topic(message_timestamp_type="LogAppendTime"), sent).attributes == CODECS[codec] | LOG_APPEND_TIME
        if codec != "gzip":
            assert broker.taken(broker.topic(compression_type="gzip"), sent).attributes == 1


HEADERS = [
    ("a control batch", CONTROL, {}, BAD_RECORD),
    ("transactional without an id", TRANSACTIONAL, {}, TXN_DENIED),
    ("transactional control without an id", TRANSACTIONAL | CONTROL, {}, TXN_DENIED),
    ("transactional of a producer without an id", TRANSACTIONAL, {"producer": (7_777_777, 0, 0)}, TXN_DENIED),
    ("a producer without a sequence", 0, {"producer": (7_777_777, 0, -1)}, BAD_RECORD),
    ("no producer, but epoch and sequence", 0, {"producer": (-1, 3, 4)}, NONE),
    ("wrong checksum", 0, {"wrong_crc": True}, CORRUPT),
    ("last offset too large", 0, {"last": 5}, BAD_RECORD),
    ("last offset too small", 0, {"last": -1}, BAD_RECORD),
    ("the least last offset", 0, {"last": -(1 << 31)}, BAD_RECORD),
    ("the largest last offset", 0, {"last": (1 << 31) - 1}, BAD_RECORD),
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("what", "bits", "header", "error"), HEADERS, ids=[h[0] for h in HEADERS])
def test_headers(broker: Broker, codec: str, what: str, bits: int, header: dict[str, Any], error: int) -> None:
    sent = batch(pack(codec, ONE), CODECS[codec] | bits, **header)
    for configs in ({}, {"compression_type": "gzip"}, {"message_timestamp_type": "LogAppendTime"}):
        assert broker.produce(broker.topic(**configs), sent)["error_code"] == error, configs


@pytest.mark.parametrize("codec", CODECS)
def test_the_time_of_appending_is_not_a_producers(broker: Broker, codec: str) -> None:
    sent = batch(pack(codec, ONE), CODECS[codec] | LOG_APPEND_TIME)
    found = broker.taken(broker.topic(), sent)
    assert (found.attributes, found.latest) == (CODECS[codec], NOW)
    said = broker.produce(broker.topic(message_timestamp_type="LogAppendTime"), sent)
    assert (said["error_code"], [e["batch_index"] for e in said["record_errors"]]) == (LATE, [0])


@pytest.mark.parametrize("number", [5, 6, 7])
def test_codecs_that_are_not_there(broker: Broker, number: int) -> None:
    assert broker.produce(broker.topic(), batch(ONE, number))["error_code"] == UNKNOWN


# ---- compacted topics -----------------------------------------------------------------------------------------------------------
def keyless(i: int = 0, **fields: Any) -> bytes:
    return record(i, key=None, **fields)


COMPACTED = [
    ("one", keyless(), 1, BAD_RECORD, [0]),
    ("the second and third", ONE + keyless(1) + keyless(2) + record(3), 4, BAD_RECORD, [1, 2]),
    ("five", b"".join(keyless(i) for i in range(5)), 5, BAD_RECORD, list(range(5))),
    ("five hundred", b"".join(keyless(i) for i in range(500)), 500, BAD_RECORD, list(range(500))),
    ("a key of length -2", keyless(key_length=-2), 1, BAD_RECORD, [0]),
    ("one that is late as well", keyless(moment=HOURS), 1, BAD_RECORD, [0]),
    ("one, and one that is late", keyless() + record(1, moment=HOURS), 2, LATE, [0, 1]),
    ("one, and one that is malformed", keyless() + record(1, key_length=100), 2, BAD_RECORD, []),
    ("one, and a byte behind", keyless() + b"\0", 1, BAD_RECORD, []),
    ("an empty key", record(key=b""), 1, NONE, []),
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("what", "records", "count", "error", "refused"), COMPACTED, ids=[c[0] for c in COMPACTED])
def test_records_without_keys(broker: Broker, codec: str, what: str, records: bytes, count: int, error: int, refused: list[int]) -> None:
    for configs in ({}, {"compression_type": "lz4"}):
        topic = broker.topic(cleanup_policy="compact", **configs)
        said = broker.produce(topic, batch(pack(codec, records), CODECS[codec], count))
        assert (said["error_code"], [e["batch_index"] for e in said["record_errors"]]) == (error, refused)
        text = f"Compacted topic cannot accept message without key in topic partition {topic}-0"
        if error == BAD_RECORD and refused:
            assert {e["batch_index_error_message"] for e in said["record_errors"]} == {text}
            first = ", ".join(f"RecordError(batchIndex={i}, message='{text}')" for i in refused[:3])
            begin = f"One or more records have been rejected due to {len(refused)} record errors in total, and only showing the first three errors at most: "
            assert said["error_message"] == f"{begin}[{first}]"


# ---- versions, partitions -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("version", [3, 5, 6, 7, 8, 11, 12])
def test_versions(broker: Broker, codec: str, version: int) -> None:
    topic, compacted = broker.topic(), broker.topic(cleanup_policy="compact")
    early = codec == "zstd" and version < 7
    rows = [("good", ONE, topic, NONE), ("a byte behind", ONE + b"\0", topic, BAD_RECORD), ("no key", keyless(), compacted, BAD_RECORD), ("late", record(moment=HOURS), topic, LATE)]
    for what, records, name, error in rows:
        said = broker.produce(name, batch(pack(codec, records), CODECS[codec]), version)
        assert said["error_code"] == (BAD_CODEC if early else error), what
        if version >= 8:
            assert len(said["record_errors"]) == (what in ("no key", "late") and not early), what
    if codec != "none":
        assert broker.produce(topic, batch(b"garbage", CODECS[codec]), version)["error_code"] == (BAD_CODEC if early else UNKNOWN)


@pytest.mark.parametrize("codec", CODECS)
def test_the_other_partitions_of_a_request(broker: Broker, codec: str) -> None:
    good = batch(pack(codec, ONE), CODECS[codec])
    bad = batch(pack(codec, ONE + b"\0"), CODECS[codec])
    for n, order in enumerate(((good, bad, good), (bad, good, good))):
        topic = broker.new_topic(partitions=3)
        assert [p["error_code"] for p in broker.send(topic, *order)] == [NONE if b is good else BAD_RECORD for b in order], n
        assert [broker.end(topic, i) for i in range(3)] == [1 if b is good else 0 for b in order]


@pytest.mark.parametrize("codec", CODECS)
def test_a_transactional_batch_without_an_id_refuses_the_request(broker: Broker, codec: str) -> None:
    topic = broker.new_topic(partitions=2)
    good, bad = (batch(pack(codec, ONE), CODECS[codec] | bits) for bits in (0, TRANSACTIONAL))
    for order in ((good, bad), (bad, good)):
        assert [p["error_code"] for p in broker.send(topic, *order)] == [TXN_DENIED, TXN_DENIED]
    assert [broker.end(topic, i) for i in range(2)] == [0, 0]


# ---- large ----------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [500_000, 3_000_000, 64_000_000])
def test_large_records(broker: Broker, codec: str, size: int) -> None:
    """What counts is how much is sent and kept, not how much that is unpacked."""
    if size > 3_000_000 and codec in ("none", "snappy", "xerial"):
        return  # larger than a batch may be
    sent = batch(zeros_in_a_record(codec, size), CODECS[codec])
    assert (len(sent) > 1 << 20) == (codec == "none" and size > 1 << 20)
    taken = TOO_LARGE if len(sent) > 1 << 20 else NONE
    for configs, error in (({}, taken), ({"cleanup_policy": "compact"}, taken), ({"compression_type": "uncompressed"}, NONE if size < 1 << 20 else TOO_LARGE)):
        assert broker.produce(broker.topic(**configs), sent)["error_code"] == error, configs


@pytest.mark.parametrize("codec", CODECS)
def test_many_records(broker: Broker, codec: str) -> None:
    count = 20_000
    records = b"".join(record(i) for i in range(count))
    topic = broker.topic()
    assert broker.produce(topic, batch(pack(codec, records), CODECS[codec], count))["error_code"] == NONE
    for wrong in (records + b"\0", records[:-1], records[:200] + b"\xff\xff" + records[202:]):
        assert broker.produce(topic, batch(pack(codec, wrong), CODECS[codec], count))["error_code"] == BAD_RECORD
