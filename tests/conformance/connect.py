#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kafka Connect 4.x, distributed: a FileStream source and a FileStream sink; the worker is killed (-9) and started again."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from pathlib import Path

from lib import SERVER_ENDS, WORK, Results, Server, arguments, environment, java_command, kafka_home, main_of
from machine import free_port, until


def ask(url: str, body: object | None = None) -> object:
    request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def answers(url: str) -> bool:
    try:
        return ask(url) == []
    except OSError:  # a URLError too: it is not there yet
        return False


def case(exactly_once: str, results: Results, keep: bool) -> None:
    name = f"exactly.once.source.support={exactly_once}"
    results.again(name)
    server = Server(properties={"num.partitions": "1"}).start()  # order is a partition's: the source's producer changes it every 16 KiB
    folder, port, log = server.folder, free_port(), WORK / f"logs/connect-{exactly_once}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    source, sink = folder / "in.txt", folder / "out.txt"
    (folder / "worker.properties").write_text(
        "".join(
            f"{k}={v}\n"
            for k, v in {
                "bootstrap.servers": server.address, "group.id": "connect", "key.converter": "org.apache.kafka.connect.storage.StringConverter",
                "value.converter": "org.apache.kafka.connect.storage.StringConverter", "offset.storage.topic": "connect-offsets", "config.storage.topic": "connect-configs",
                "status.storage.topic": "connect-status", "offset.storage.replication.factor": 1, "config.storage.replication.factor": 1, "status.storage.replication.factor": 1,
                "offset.flush.interval.ms": 500, "listeners": f"http://127.0.0.1:{port}", "plugin.discovery": "hybrid_warn", "exactly.once.source.support": exactly_once,
            }.items()
        )
    )

    def worker() -> subprocess.Popen[bytes]:
        command = java_command("org.apache.kafka.connect.cli.ConnectDistributed", str(folder / "worker.properties"), heap="384m")
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log.open("ab"), stderr=subprocess.STDOUT, env=environment())

    def lines(path: Path) -> list[str]:
        return path.read_text().splitlines() if path.exists() else []

    base, start, why = f"http://127.0.0.1:{port}", time.monotonic(), ""
    process = worker()
    try:
        until(lambda: answers(f"{base}/connectors"), "the worker's REST door", 90)
        results.add(f"{name}: the worker starts", "passed", time.monotonic() - start)
        source.write_text("".join(f"line {i}\n" for i in range(1000)))
        ask(f"{base}/connectors", {"name": "src", "config": {"connector.class": "FileStreamSource", "tasks.max": "1", "file": str(source), "topic": "connect-file"}})
        ask(f"{base}/connectors", {"name": "snk", "config": {"connector.class": "FileStreamSink", "tasks.max": "1", "file": str(sink), "topics": "connect-file"}})
        until(lambda: len(lines(sink)) >= 1000, "1,000 lines in the sink", 90)
        assert lines(sink) == [f"line {i}" for i in range(1000)], "the sink's lines differ"
        results.add(f"{name}: FileStream source and sink", "passed", time.monotonic() - start)
        time.sleep(1.5)  # its offsets are flushed every half second
        process.kill()
        process.wait()
        with source.open("a") as f:
            f.write("".join(f"line {i}\n" for i in range(1000, 2000)))
        process = worker()
        until(lambda: len(set(lines(sink))) >= 2000, "2,000 lines after the restart", 120)
        state = ask(f"{base}/connectors/src/status")
        assert isinstance(state, dict) and state["connector"]["state"] == "RUNNING", state
        assert list(dict.fromkeys(lines(sink))) == [f"line {i}" for i in range(2000)], "the sink's lines after the restart differ"
        results.add(f"{name}: killed (-9) and restarted, goes on where it was", "passed", time.monotonic() - start)
    except (AssertionError, OSError) as e:
        problem = [x for x in log.read_text(errors="replace").splitlines() if " ERROR " in x or "Exception" in x]
        why = f"{e}; {problem[-1][:200] if problem else ''} ({log})"
        results.add(name, "failed", time.monotonic() - start, why)
    finally:
        process.kill()
        process.wait()
        if server.stop(keep or bool(why)) != 0:
            results.add(SERVER_ENDS, "failed", why=str(server.folder))


def main() -> int:
    args = arguments(__doc__ or "").parse_args()
    results = Results("connect", "Kafka Connect, distributed", "Kafka 4.3.1", keep=bool(args.only), short=args.short)
    kafka_home()
    for exactly_once in ("disabled",) if args.short else ("disabled", "enabled"):
        if not args.only or any(o in exactly_once for o in args.only):
            case(exactly_once, results, args.keep)
    return results.end()


if __name__ == "__main__":
    main_of(main)
