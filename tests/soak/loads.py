#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads at the edge, with the server's memory watched: 10,000 idle and 2,000 busy connections, 10,000 partitions, a fetch of 100 MB by a
reader that stops, clients that send one byte a second; and the start after kill -9 with a large log.

    tests/soak/loads.py [--short] [connections|partitions|slow|trickle|recovery ...] [--gib 10]

Raw sockets and requests built here (ApiVersions 0, CreateTopics 4, Produce 3, Fetch 4, Metadata 1), so that the client takes no memory.
Each case prints the largest resident memory beside its bound; a bound that is broken fails. `recovery`: writes a log of --gib GiB, kills the
server, and measures from the start of the process to the first acknowledged produce; the bound is one second.
"""

from __future__ import annotations

import argparse
import resource
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "conformance"))
from lib import Server  # noqa: E402
from record_batch import batch  # noqa: E402

MIB = 1 << 20


def text(s: str) -> bytes:
    return struct.pack(">h", len(s)) + s.encode()


def request(key: int, version: int, body: bytes, correlation: int = 1) -> bytes:
    head = struct.pack(">hhi", key, version, correlation) + text("loads")
    return struct.pack(">i", len(head) + len(body)) + head + body


API_VERSIONS = request(18, 0, b"")


def produce(topic: str, partition: int, records: bytes) -> bytes:
    return request(0, 3, text("")[:0] + struct.pack(">hhi", -1, -1, 30000) + struct.pack(">i", 1) + text(topic) + struct.pack(">iii", 1, partition, len(records)) + records)


def fetch(topic: str, partition: int, offset: int, max_bytes: int, wait_ms: int = 0) -> bytes:
    return request(1, 4, struct.pack(">iiiib", -1, wait_ms, 1, max_bytes, 0) + struct.pack(">i", 1) + text(topic) + struct.pack(">iiqi", 1, partition, offset, max_bytes))


def create(topic: str, partitions: int, configs: dict[str, str] | None = None) -> bytes:
    c = b"".join(text(k) + text(v) for k, v in (configs or {}).items())
    return request(19, 4, struct.pack(">i", 1) + text(topic) + struct.pack(">ihi", partitions, 1, 0) + struct.pack(">i", len(configs or {})) + c + struct.pack(">ib", 60000, 0))


def connect(server: Server) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), 60)


def answer(sock: socket.socket) -> bytes:
    def take(n: int) -> bytes:
        out = bytearray()
        while len(out) < n:
            got = sock.recv(min(MIB, n - len(out)))
            if not got:
                raise ConnectionError("the server closed the connection")
            out += got
        return bytes(out)

    return take(struct.unpack(">i", take(4))[0])


def ask(sock: socket.socket, data: bytes) -> bytes:
    sock.sendall(data)
    return answer(sock)


def must_create(server: Server, topic: str, partitions: int, configs: dict[str, str] | None = None) -> None:
    with connect(server) as s:
        got = ask(s, create(topic, partitions, configs))
        at = 4 + 4 + 4 + 2 + len(topic)
        assert got[at : at + 2] == b"\0\0", f"create {topic}: error {struct.unpack('>h', got[at : at + 2])[0]}"


def produce_error(got: bytes, topic: str) -> int:
    at = 4 + 4 + 2 + len(topic) + 4 + 4
    return int(struct.unpack(">h", got[at : at + 2])[0])


def memory(server: Server) -> int:
    assert server.process is not None
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


class Peak:
    def __init__(self, server: Server) -> None:
        self.server, self.before = server, memory(server)
        self.most = self.before

    def look(self) -> None:
        self.most = max(self.most, memory(self.server))


failures = 0


def tell(name: str, ok: bool, what: str) -> None:
    global failures
    failures += not ok
    print(f"{'ok   ' if ok else 'FAIL '} {name:<14} {what}", flush=True)


def connections(server: Server, idle: int, busy: int) -> None:
    peak, all_, begin = Peak(server), [], time.monotonic()
    must_create(server, "busy", 8)
    for _ in range(idle + busy):
        all_.append(connect(server))
    for s in all_[::100]:
        ask(s, API_VERSIONS)
    peak.look()
    opened = time.monotonic() - begin
    per = (peak.most - peak.before) / len(all_)
    data = batch([b"x" * 100] * 10)
    active = all_[:busy]
    done, begin, rounds = 0, time.monotonic(), 5
    for _ in range(rounds):
        for i, s in enumerate(active):
            s.sendall(produce("busy", i % 8, data))
        for s in active:
            assert produce_error(answer(s), "busy") == 0
            done += 1
        peak.look()
    seconds = time.monotonic() - begin
    grown = peak.most - peak.before
    bound = 64 * MIB + (idle + busy) * 16 * 1024
    for s in all_:
        s.close()
    tell("connections", grown < bound, f"{idle} idle and {busy} busy, opened in {opened:.1f} s, {per / 1024:.1f} KiB each; {done} produces in {seconds:.1f} s; grew by {grown / MIB:.0f} of {bound / MIB:.0f} MiB allowed")


def partitions(server: Server, n: int) -> None:
    peak, begin = Peak(server), time.monotonic()
    made = 0
    while made < n:
        step = min(1000, n - made)
        must_create(server, f"many-{made}", step)
        made += step
        peak.look()
    seconds = time.monotonic() - begin
    with connect(server) as s:
        data = batch([b"x" * 100])
        for p in range(0, min(1000, n), 10):
            assert produce_error(ask(s, produce("many-0", p, data)), "many-0") == 0
        begin = time.monotonic()
        ask(s, request(3, 1, struct.pack(">i", -1)))
        metadata = time.monotonic() - begin
    peak.look()
    bound = 64 * MIB + n * 24 * 1024
    tell("partitions", peak.most - peak.before < bound, f"{n} made in {seconds:.1f} s, metadata of all {metadata * 1000:.0f} ms; grew by {(peak.most - peak.before) / MIB:.0f} of {bound / MIB:.0f} MiB allowed")


def fill(server: Server, topic: str, partition: int, total: int) -> None:
    value = b"".join(struct.pack(">Q", i * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) for i in range(12500))
    data = produce(topic, partition, batch([value] * 9))  # 900 KB
    with connect(server) as s:
        left = waiting = 0
        left = -(-total // len(data))
        while left or waiting:
            while left and waiting < 8:
                s.sendall(data)
                left, waiting = left - 1, waiting + 1
            assert produce_error(answer(s), topic) == 0
            waiting -= 1


def slow(server: Server, readers: int) -> None:
    must_create(server, "large", 1)
    fill(server, "large", 0, 100 * MIB)
    peak, socks = Peak(server), []
    for _ in range(readers):
        s = connect(server)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(fetch("large", 0, 0, 100 * MIB))
        socks.append(s)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        for s in socks:
            s.recv(100)
        peak.look()
        time.sleep(0.02)
    with connect(server) as s:
        begin = time.monotonic()
        ask(s, API_VERSIONS)
        other = time.monotonic() - begin
    for s in socks:
        s.close()
    bound = 320 * MIB
    tell("slow", peak.most - peak.before < bound and other < 1, f"{readers} readers of 100 MB that take 5 KB a second; another client is answered in {other * 1000:.0f} ms; grew by {(peak.most - peak.before) / MIB:.0f} of {bound / MIB:.0f} MiB allowed")


def trickle(server: Server, n: int, seconds: int) -> None:
    """What they announce is more than all frames may have: those that are too slow are closed when others wait for it, and the others get on."""
    must_create(server, "quick", 1)
    peak, socks, closed, longest = Peak(server), [connect(server) for _ in range(n)], 0, 0.0
    head = struct.pack(">i", 90 * MIB) + request(0, 3, b"")[4:]  # a frame that says 90 MiB and comes byte by byte
    data = produce("quick", 0, batch([b"x" * 100]))
    for i in range(seconds):
        for s in list(socks):
            try:
                s.sendall(head[i : i + 1] or b"x")
            except OSError:
                s.close()
                socks.remove(s)
                closed += 1
        peak.look()
        begin = time.monotonic()
        with connect(server) as s:
            assert produce_error(ask(s, data), "quick") == 0
        longest = max(longest, time.monotonic() - begin)
        time.sleep(max(0.0, 1 - (time.monotonic() - begin)))
    for s in socks:
        s.close()
    bound = 32 * MIB
    tell("trickle", peak.most - peak.before < bound and longest < 15, f"{n} clients that send one byte a second of 90 MiB: {closed} were closed, another one waited for {longest:.1f} s at most; grew by {(peak.most - peak.before) / MIB:.0f} of {bound / MIB:.0f} MiB allowed")


def recovery(server: Server, gib: float) -> None:
    must_create(server, "recover", 4, {"retention.ms": "-1"})
    begin = time.monotonic()
    for p in range(4):
        fill(server, "recover", p, int(gib * (1 << 30) / 4))
    wrote = time.monotonic() - begin
    data = produce("recover", 0, batch([b"first"]))
    with connect(server) as s:
        ask(s, data)
    times = []
    for _ in range(3):
        server.kill()
        begin = time.monotonic()
        server.start()
        with connect(server) as s:
            assert produce_error(ask(s, data), "recover") == 0
        times.append(time.monotonic() - begin)
    tell("recovery", max(times) < 1.0, f"{gib:g} GiB of log (written in {wrote:.0f} s), kill -9: first produce acknowledged after {', '.join(f'{t * 1000:.0f}' for t in times)} ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--gib", type=float, default=None)
    args = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    cases = args.cases or ["connections", "partitions", "slow", "trickle", "recovery"]
    idle = 2000 if args.short else 10000
    for case in cases:
        server = Server(settings={"kafka.connections_max": "20000", "broker.partitions_max": "20000"}).start()
        try:
            {
                "connections": lambda s: connections(s, idle, 500 if args.short else 2000),
                "partitions": lambda s: partitions(s, 1000 if args.short else 10000),
                "slow": lambda s: slow(s, 4),
                "trickle": lambda s: trickle(s, 200, 5 if args.short else 30),
                "recovery": lambda s: recovery(s, args.gib or (0.5 if args.short else 10)),
            }[case](server)
        except (AssertionError, OSError) as e:
            tell(case, False, f"{type(e).__name__}: {e}")
        if not server.alive() or server.stop() != 0:
            tell(case, False, f"the server ended badly: {server.folder}")
    print(f"{len(cases) - failures} passed, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
