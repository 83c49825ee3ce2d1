# SPDX-License-Identifier: Apache-2.0
"""Kafka's messages as dictionaries, and a connection that asks with them: for APIs and versions that no client library speaks.

The messages are described by the field tables of the server, which ``make check-kafka`` compares with Kafka's own definitions. Fields have the
names of src/kafka/messages.h; what a dictionary does not say is zero, empty or null, and what a version does not know is left out.
"""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from frames import Wire

TOP = Path(__file__).resolve().parents[2]
PROGRAM = TOP / "build/release/tools/kafka_schema"
NUMBERS = {"boolean": ">?", "int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "int64": ">q", "float64": ">d"}


@dataclass
class Field:
    name: str
    kind: str
    compact: bool
    nullable: bool
    array: bool
    tag: int | None
    fields: list[Field] = field(default_factory=list)


@dataclass
class Message:
    key: int
    header: int
    fields: list[Field]
    flexible: bool


@cache
def messages() -> dict[tuple[str, int], Message]:
    """Every message and version, by name ("FetchRequest") and version."""
    if not PROGRAM.exists():
        subprocess.run(["make", "-s", str(PROGRAM.relative_to(TOP))], cwd=TOP, check=True, capture_output=True)
    found: dict[tuple[str, int], Message] = {}
    levels: list[list[Field]] = []
    for line in subprocess.run([str(PROGRAM), "codec"], check=True, capture_output=True, text=True).stdout.splitlines():
        if line.startswith("=="):
            words = line.split()
            said = dict(zip(words[3::2], words[4::2], strict=True))
            message = Message(int(said.get("key", -1)), int(said.get("header", "v0")[1:]), [], False)
            found[words[1], int(words[2][1:])] = message
            levels = [message.fields]
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        text = line.strip()
        if text == "tagged_fields":
            message.flexible = True
            continue
        tag = None
        if text.startswith("tag "):
            tag, text = int(text.split()[1]), text.split(" ", 2)[2]
        name, kind = text.split(": ")
        array = " of " in kind or kind.endswith("array of")
        outer, inner = kind.split("array of ") if array else ("", kind)
        words = (outer if array else inner).split("_")
        one = Field(name, inner.split("_")[-1], "compact" in words, "nullable" in words, array, tag)
        del levels[depth:]
        levels[depth - 1].append(one)
        levels.append(one.fields)
    return found


# ---- writing ----------------------------------------------------------------------------------------------------------------
def varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def count(n: int, compact: bool, short: bool = False) -> bytes:
    """A length; -1 is null."""
    return varint(n + 1) if compact else struct.pack(">h" if short else ">i", n)


def put_one(f: Field, value: Any, flexible: bool) -> bytes:
    if f.kind in NUMBERS:
        return struct.pack(NUMBERS[f.kind], value or 0)
    if f.kind == "uuid":
        return value or bytes(16)
    if f.kind == "struct":
        return put_struct(f.fields, value or {}, flexible)
    data = value.encode() if isinstance(value, str) else value
    if data is None:
        data = None if f.nullable and not f.array else b""
    return count(-1 if data is None else len(data), flexible, f.kind == "string") + (data or b"")


def put_field(f: Field, value: Any, flexible: bool) -> bytes:
    if f.array:
        if value is None and f.nullable:
            return count(-1, flexible)
        return count(len(value or []), flexible) + b"".join(put_one(f, v, flexible) for v in value or [])
    if f.kind == "struct" and f.nullable:
        return b"\xff" if value is None else b"\1" + put_one(f, value, flexible)
    return put_one(f, value, flexible)


def put_struct(fields: list[Field], value: dict[str, Any], flexible: bool) -> bytes:
    out = b"".join(put_field(f, value.get(f.name), flexible) for f in fields if f.tag is None)
    if not flexible:
        return out
    tagged = [(f.tag, put_field(f, value[f.name], flexible)) for f in fields if f.tag is not None and f.name in value]
    return out + varint(len(tagged)) + b"".join(varint(tag) + varint(len(data)) + data for tag, data in tagged if tag is not None)


# ---- reading ----------------------------------------------------------------------------------------------------------------
class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        assert self.at + n <= len(self.data), "the answer ends too soon"
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def count(self, compact: bool, short: bool = False) -> int:
        return self.varint() - 1 if compact else self.number(">h" if short else ">i")


def get_one(f: Field, r: Reader, flexible: bool) -> Any:
    if f.kind in NUMBERS:
        return r.number(NUMBERS[f.kind])
    if f.kind == "uuid":
        return r.take(16)
    if f.kind == "struct":
        return get_struct(f.fields, r, flexible)
    n = r.count(flexible, f.kind == "string")
    data = None if n < 0 else r.take(n)
    return data.decode() if data is not None and f.kind == "string" else data


def get_field(f: Field, r: Reader, flexible: bool) -> Any:
    if f.array:
        n = r.count(flexible)
        return None if n < 0 else [get_one(f, r, flexible) for _ in range(n)]
    if f.kind == "struct" and f.nullable and r.number(">b") < 0:
        return None
    return get_one(f, r, flexible)


def get_struct(fields: list[Field], r: Reader, flexible: bool) -> dict[str, Any]:
    out = {f.name: get_field(f, r, flexible) for f in fields if f.tag is None}
    if flexible:
        known = {f.tag: f for f in fields if f.tag is not None}
        for _ in range(r.varint()):
            tag, data = r.varint(), Reader(r.take(r.varint()))
            if tag in known:
                out[known[tag].name] = get_field(known[tag], data, flexible)
    return out


@cache
def names() -> dict[int, str]:
    """The APIs by key."""
    return {m.key: name.removesuffix("Request") for (name, _), m in messages().items() if m.key >= 0 and name.endswith("Request")}


def knows(message: str, version: int, name: str) -> bool:
    """Whether that version of a message has a field of that name anywhere."""

    def within(fields: list[Field]) -> bool:
        return any(f.name == name or within(f.fields) for f in fields)

    return within(messages()[message, version].fields)


# ---- asking -----------------------------------------------------------------------------------------------------------------
class Connection:
    """One connection; with a user's name and password it logs in by SASL/PLAIN."""

    def __init__(self, address: str, user: str | None = None, password: str = "") -> None:
        self.wire = Wire(address, 60)
        self.correlation = 0
        if user is not None:
            assert self.ask("SaslHandshake", 1, {"mechanism": "PLAIN"})["error_code"] == 0
            said = self.ask("SaslAuthenticate", 2, {"auth_bytes": f"\0{user}\0{password}".encode()})
            assert said["error_code"] == 0, said

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    def ask(self, api: str, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """ConnectionError when the server closes instead of answering."""
        response = messages()[api + "Response", version]
        self.tell(api, version, body)
        answer = Reader(self.wire.take())
        assert answer.number(">i") == self.correlation
        if response.header == 1:
            assert answer.varint() == 0
        said = get_struct(response.fields, answer, response.flexible)
        assert answer.at == len(answer.data), "the answer goes on"
        return said

    def tell(self, api: str, version: int, body: dict[str, Any]) -> None:
        """Sends it; no answer is waited for."""
        request = messages()[api + "Request", version]
        self.correlation += 1
        frame = struct.pack(">hhih", request.key, version, self.correlation, -1) + (b"\0" if request.header == 2 else b"")
        frame += put_struct(request.fields, body, request.flexible)
        self.wire.socket.sendall(struct.pack(">i", len(frame)) + frame)
