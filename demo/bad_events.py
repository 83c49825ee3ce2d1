#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the files that the demo's faulty producer sends: one file is one event, to be sent by kcat.

    bad_events.py SCHEMA_ID SCHEMA.json GOOD OUT

SCHEMA_ID, SCHEMA.json: what the registry answered for the subject flights-value.
GOOD: events of the topic as `kcat -f '%S\\n%s'` prints them (length, line feed, bytes): the source of exact duplicates.
OUT: a folder; gets one folder per kind of fault: undecodable, unknown-schema, negative-distance, unknown-airport, duplicate.
Prints one line per kind: the kind and how many.
"""

import json
import struct
import sys
from pathlib import Path

COUNTS = {"undecodable": 7, "unknown-schema": 5, "negative-distance": 11, "unknown-airport": 13, "duplicate": 17}


def zigzag(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(schema: object, value: object) -> bytes:
    """One Avro datum: records, nullable unions, long, int, double, string; nothing else is in the flights' schema."""
    if isinstance(schema, list):
        for index, branch in enumerate(schema):
            if (branch == "null") == (value is None):
                return zigzag(index) + encode(branch, value)
        raise ValueError(f"no branch of {schema} takes {value!r}")
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        return b"".join(encode(field["type"], value[field["name"]]) for field in schema["fields"])
    if kind == "null":
        return b""
    if kind in ("int", "long"):
        return zigzag(int(value))
    if kind == "double":
        return struct.pack("<d", value)
    if kind == "string":
        text = str(value).encode()
        return zigzag(len(text)) + text
    raise ValueError(f"the type {kind} is not one of the flights' types")


def split_events(blob: bytes) -> list[bytes]:
    events = []
    while blob:
        length, _, rest = blob.partition(b"\n")
        events.append(rest[: int(length)])
        blob = rest[int(length) :]
    return events


def main() -> None:
    schema_id, schema = int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    good, out = split_events(Path(sys.argv[3]).read_bytes()), Path(sys.argv[4])
    header = b"\0" + struct.pack(">I", schema_id)
    micros = 978_350_400_000_000  # 2001-01-01 12:00

    def flight(i: int, **change: object) -> bytes:
        row = {"date": micros + i * 60_000_000, "delay": i, "distance": 500 + i, "origin": "SAN", "destination": "PHX", **change}
        return header + encode(schema, row)

    kinds = {
        "undecodable": lambda i: b"\0" + struct.pack(">I", schema_id) + b"\xff" * (i + 1) if i % 2 else f"not avro, {i}".encode(),
        "unknown-schema": lambda i: b"\0" + struct.pack(">I", 999_000 + i) + flight(i)[5:],
        "negative-distance": lambda i: flight(i, distance=-1 - i),
        "unknown-airport": lambda i: flight(i, destination=f"?{i:02d}"),
        "duplicate": lambda i: good[i],
    }
    for kind, make in kinds.items():
        folder = out / kind
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(COUNTS[kind]):
            (folder / f"{i:03d}").write_bytes(make(i))
        print(kind, COUNTS[kind])


if __name__ == "__main__":
    main()
