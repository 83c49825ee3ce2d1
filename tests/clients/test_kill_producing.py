# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the server while `millrace produce` runs: the producer goes on when the server is back, and every event is there once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from conftest import PROGRAM, Server, clean_environment
from machine import free_ports

ROWS = 400_000


def psql(server: Server, sql: str) -> str:
    done = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-d", server.pg, "-c", sql], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_killed_while_producing(new_server: Callable[..., Server], tmp_path: Path) -> None:
    doors = ("kafka", "registry", "pg", "http")
    one = new_server({f"{door}.listen": f"127.0.0.1:{port}" for door, port in zip(doors, free_ports(4), strict=True)}).start()
    events = tmp_path / "events.jsonl"
    with events.open("w") as f:
        for i in range(ROWS):
            f.write(json.dumps({"id": i, "text": f"event {i % 97}"}) + "\n")
    command = [str(PROGRAM), "produce", "--data", str(one.data), "--topic", "events", "--partitions", "6", str(events)]
    producer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=clean_environment())
    kills = 0
    try:
        while kills < 2 and producer.poll() is None:  # in the middle, when another megabyte was written
            before = one.log_size()
            while producer.poll() is None and one.log_size() < before + 1_000_000:
                pass
            if producer.poll() is None:
                one.kill()
                one.start()
                kills += 1
        output = producer.communicate(timeout=120)[0].decode()
    finally:
        producer.kill()
    assert producer.returncode == 0, output
    assert kills >= 1, "the producer was too fast to be disturbed"
    assert psql(one, "select count(*), count(distinct id), min(id), max(id) from topics.events") == f"{ROWS}|{ROWS}|0|{ROWS - 1}"
