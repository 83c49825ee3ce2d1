# SPDX-License-Identifier: Apache-2.0
"""Kafka's record batches (format 2) written by hand, for tests that send what no client library would, or want no library's memory."""

from __future__ import annotations

import struct
import time


def crc32c_table() -> list[int]:
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


TABLE = crc32c_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for b in data:
        crc = TABLE[(crc ^ b) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


def varint(n: int) -> bytes:
    """Signed, zigzag: as in records (and in Avro). Those of messages are unsigned: kafka_frames.varint."""
    n = n << 1 ^ n >> 63
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def batch(values: list[bytes], wrong_crc: bool = False) -> bytes:
    """Records without keys, of now, of no producer."""
    now = int(time.time() * 1000)
    records = b""
    for i, v in enumerate(values):
        body = b"\0" + varint(0) + varint(i) + varint(-1) + varint(len(v)) + v + varint(0)
        records += varint(len(body)) + body
    tail = struct.pack(">hiqqqhii", 0, len(values) - 1, now, now, -1, -1, -1, len(values)) + records
    crc = crc32c(tail) ^ (1 if wrong_crc else 0)
    return struct.pack(">qiib", 0, 4 + 1 + 4 + len(tail), -1, 2) + struct.pack(">I", crc) + tail
