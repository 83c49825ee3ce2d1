# SPDX-License-Identifier: Apache-2.0
"""Record batches byte by byte: records whose every field may lie, and the streams of Kafka's codecs, written by hand as far as Python has none.

lz4, snappy and zstd store here what they are given and pack only runs of zeros; that is enough to say what is wrong in any place of a stream.
"""

from __future__ import annotations

import gzip
import struct
import time

from record_batch import crc32c, varint

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
LOG_APPEND_TIME, TRANSACTIONAL, CONTROL, DELETE_HORIZON = 0x8, 0x10, 0x20, 0x40
CODECS = {"none": 0, "gzip": GZIP, "xerial": SNAPPY, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}
NOW = int(time.time() * 1000)


# ---- records --------------------------------------------------------------------------------------------------------------------
def field(data: bytes | None, length: int | None = None) -> bytes:
    """A key or value with its length, or with another one."""
    return varint((-1 if data is None else len(data)) if length is None else length) + (data or b"")


def record(
    offset: int = 0,
    key: bytes | None = b"k",
    value: bytes | None = b"v",
    *,
    key_length: int | None = None,
    value_length: int | None = None,
    headers: bytes = b"",
    header_count: int = 0,
    attributes: int = 0,
    moment: bytes = b"\0",
    where: bytes | None = None,
    slack: bytes = b"",
    length: bytes | None = None,
) -> bytes:
    """`moment` and `where` are the deltas of time and offset as written, `length` the record's, `slack` what follows the last field within it."""
    body = bytes([attributes]) + moment + (varint(offset) if where is None else where) + field(key, key_length) + field(value, value_length)
    body += varint(header_count) + headers + slack
    return (varint(len(body)) if length is None else length) + body


def batch(
    payload: bytes,
    attributes: int = 0,
    count: int = 1,
    *,
    last: int | None = None,
    base: int = NOW,
    latest: int = NOW,
    producer: tuple[int, int, int] = (-1, -1, -1),
    wrong_crc: bool = False,
) -> bytes:
    tail = struct.pack(">hiqqqhii", attributes, count - 1 if last is None else last, base, latest, *producer, count) + payload
    return struct.pack(">qiibI", 0, 9 + len(tail), -1, 2, crc32c(tail) ^ wrong_crc) + tail


class Batch:
    """What a batch says that was fetched."""

    def __init__(self, data: bytes) -> None:
        self.base_offset, length, self.leader_epoch, self.magic, crc = struct.unpack(">qiibI", data[:21])
        data = data[: 12 + length]
        assert crc == crc32c(data[21:]), "the checksum of a batch that was fetched"
        self.attributes, self.last_delta, self.base, self.latest = struct.unpack(">hiqq", data[21:43])
        self.count = struct.unpack(">i", data[57:61])[0]
        self.payload = data[61:]

    def offsets(self) -> list[tuple[int, bytes]]:
        """What its records say of their offsets, and their keys; of short records with short keys, not packed or packed by gzip."""
        data, at, found = gzip.decompress(self.payload) if self.attributes & 7 == GZIP else self.payload, 0, []
        assert self.attributes & 7 in (0, GZIP)
        for _ in range(self.count):
            length, at = read(data, at)
            _, key = read(data, at + 1)
            delta, key = read(data, key)
            size, key = read(data, key)
            found.append((delta, data[key : key + size]))
            at += length
        assert at == len(data)
        return found


def read(data: bytes, at: int) -> tuple[int, int]:
    """The signed number there, and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value >> 1 ^ -(value & 1), at


# ---- streams --------------------------------------------------------------------------------------------------------------------
def literals(data: bytes) -> bytes:
    out = b""
    for at in range(0, len(data), 65536):
        part = data[at : at + 65536]
        out += bytes([61 << 2]) + struct.pack("<H", len(part) - 1) + part
    return out


def unsigned(n: int) -> bytes:
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def snappy(data: bytes, zeros: int = 0) -> bytes:
    """One block: the data, which ends with a zero, and so many more, of which 64 are a copy."""
    return unsigned(len(data) + zeros) + literals(data) + b"\xfe\1\0" * (zeros // 64)


XERIAL = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)


def xerial(data: bytes, zeros: int = 0) -> bytes:
    block = snappy(data, zeros)
    return XERIAL + struct.pack(">i", len(block)) + block


def xxh32(data: bytes) -> int:
    p1, p2, p3, p4, p5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393
    mask = 0xFFFFFFFF

    def turn(x: int, n: int) -> int:
        x &= mask
        return (x << n | x >> 32 - n) & mask

    at = 0
    h = p5
    if len(data) >= 16:
        lanes = [p1 + p2 & mask, p2, 0, -p1 & mask]
        while at + 16 <= len(data):
            lanes = [turn(v + w * p2, 13) * p1 & mask for v, w in zip(lanes, struct.unpack_from("<4I", data, at), strict=True)]
            at += 16
        h = turn(lanes[0], 1) + turn(lanes[1], 7) + turn(lanes[2], 12) + turn(lanes[3], 18)
    h = h + len(data) & mask
    while at + 4 <= len(data):
        h = turn(h + struct.unpack_from("<I", data, at)[0] * p3, 17) * p4 & mask
        at += 4
    for byte in data[at:]:
        h = turn(h + byte * p5, 11) * p1 & mask
    h = (h ^ h >> 15) * p2 & mask
    h = (h ^ h >> 13) * p3 & mask
    return h ^ h >> 16


assert xxh32(b"") == 0x02CC5D05 and xxh32(b"Nobody inspects the spammish repetition") == 0xE2293B2F

LZ4_MAGIC = b"\x04\x22\x4d\x18"


def lz4(
    data: bytes,
    zeros: int = 0,
    *,
    flags: int = 0x60,
    blocks: int = 0x40,
    header: int = 0,
    block_sum: int = 0,
    content_sum: int = 0,
    more: bytes = b"",
    end: bytes = b"\0\0\0\0",
) -> bytes:
    """A frame of blocks of 64 KiB. `flags` and `blocks` are the bytes FLG and BD, `more` what follows them; what `header`, `block_sum` and `content_sum` say is wrong in the checksums."""
    described = bytes([flags, blocks]) + more
    out = LZ4_MAGIC + described + bytes([(xxh32(described) >> 8 & 0xFF) ^ header])
    for at in range(0, len(data), 65536):
        block = data[at : at + 65536]
        out += struct.pack("<I", len(block) | 1 << 31) + block
        out += struct.pack("<I", xxh32(block) ^ block_sum) if flags & 0x10 else b""
    for _ in range(zeros // 65536):  # a zero, what repeats it, and five zeros
        left = 65536 - 1 - 5 - 4 - 15
        out += struct.pack("<I", len(run := b"\x1f\0\1\0" + b"\xff" * (left // 255) + bytes([left % 255]) + b"\x50" + bytes(5))) + run
    return out + end + (struct.pack("<I", xxh32(data) ^ content_sum) if flags & 4 else b"")


def xxh64(data: bytes) -> int:
    p1, p2, p3, p4, p5 = 11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261
    mask = (1 << 64) - 1

    def turn(x: int, n: int) -> int:
        x &= mask
        return (x << n | x >> 64 - n) & mask

    def round_(v: int, w: int) -> int:
        return turn(v + w * p2, 31) * p1 & mask

    at = 0
    h = p5
    if len(data) >= 32:
        lanes = [p1 + p2 & mask, p2, 0, -p1 & mask]
        while at + 32 <= len(data):
            lanes = [round_(v, w) for v, w in zip(lanes, struct.unpack_from("<4Q", data, at), strict=True)]
            at += 32
        h = turn(lanes[0], 1) + turn(lanes[1], 7) + turn(lanes[2], 12) + turn(lanes[3], 18)
        for v in lanes:
            h = ((h ^ round_(0, v)) * p1 + p4) & mask
    h = h + len(data) & mask
    while at + 8 <= len(data):
        h = (turn(h ^ round_(0, struct.unpack_from("<Q", data, at)[0]), 27) * p1 + p4) & mask
        at += 8
    if at + 4 <= len(data):
        h = (turn(h ^ struct.unpack_from("<I", data, at)[0] * p1, 23) * p2 + p3) & mask
        at += 4
    for byte in data[at:]:
        h = turn(h ^ byte * p5, 11) * p1 & mask
    h = (h ^ h >> 33) * p2 & mask
    h = (h ^ h >> 29) * p3 & mask
    return h ^ h >> 32


assert xxh64(b"") == 0xEF46DB3751D8E999 and xxh64(b"Nobody inspects the spammish repetition") == 0xFBCEA83C8A378BF1

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def zstd(data: bytes, zeros: int = 0, *, checksum: bool = True, content_sum: int = 0, window: int = 0x38, last: bool = True) -> bytes:
    """A frame with a window of 128 KiB, in raw blocks and runs."""
    blocks = [(0, data[at : at + 65536], len(data[at : at + 65536])) for at in range(0, len(data), 65536)]
    blocks += [(1, b"\0", 65536)] * (zeros // 65536)
    out = ZSTD_MAGIC + bytes([4 if checksum else 0, window])
    for i, (kind, block, size) in enumerate(blocks):
        out += struct.pack("<I", size << 3 | kind << 1 | (last and i == len(blocks) - 1))[:3] + block
    return out + (struct.pack("<I", (xxh64(data) & 0xFFFFFFFF) ^ content_sum) if checksum else b"")


def gz(data: bytes, zeros: int = 0) -> bytes:
    return gzip.compress(data + bytes(zeros), mtime=0)


def pack(codec: str, data: bytes, zeros: int = 0) -> bytes:
    """The data, and zeros behind it, as a stream of that codec."""
    if codec == "none":
        return data + bytes(zeros)
    unit = {"gzip": 1, "xerial": 64, "snappy": 64}.get(codec, 65536)
    some = zeros % unit + unit if zeros > unit else zeros
    data, zeros = data + bytes(some), zeros - some
    if codec == "zstd":
        return zstd(data, zeros, checksum=not zeros)
    return {"gzip": gz, "xerial": xerial, "snappy": snappy, "lz4": lz4}[codec](data, zeros)


def nothing(codec: str) -> bytes:
    """The stream of no bytes."""
    return ZSTD_MAGIC + b"\4\x38\1\0\0" + struct.pack("<I", xxh64(b"") & 0xFFFFFFFF) if codec == "zstd" else pack(codec, b"")


def zeros_in_a_record(codec: str, size: int) -> bytes:
    """A record with a value of so many zeros. The last is the number of its headers."""
    body = b"\0\0\0" + field(b"k") + varint(size)
    return pack(codec, varint(len(body) + size + 1) + body, size + 1)
