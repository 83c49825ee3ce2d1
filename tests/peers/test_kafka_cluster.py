# SPDX-License-Identifier: Apache-2.0
"""The main job on a real Kafka cluster of three nodes (broker.mode=external), one of which is killed with -9 while bronze is being copied.

PEERS (default ../shared/peers) must hold kafka/start-kafka-cluster and Java be there; skipped with a message else.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
PEERS = Path(os.environ.get("PEERS", TOP.parent / "shared/peers")) / "kafka"


def free_ports() -> int:
    """A port such that it and the five that the nodes and their controllers take are free."""
    while True:
        port = random.randrange(20000, 30000)
        try:
            for p in (0, 1, 10, 11, 20, 21):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port + p))
            return port
        except OSError:
            continue


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    if not (PEERS / "start-kafka-cluster").exists() or shutil.which("java") is None:
        pytest.skip(f"no Kafka to be started: {PEERS}/start-kafka-cluster and Java are needed")
    port = free_ports()
    env = os.environ | {"DIR": str(tmp_path / "kafka"), "PORT": str(port)}
    started = subprocess.run([str(PEERS / "start-kafka-cluster")], env=env, capture_output=True, text=True, timeout=600)
    if started.returncode != 0:
        pytest.fail(started.stderr[-2000:])
    yield ",".join(f"127.0.0.1:{port + 10 * n}" for n in range(3)), tmp_path / "kafka"
    subprocess.run([str(PEERS / "start-kafka-cluster")], env=env | {"STOP": "1", "WIPE": "1"}, capture_output=True, timeout=120)


def leader(brokers: str, topic: str) -> str:
    said = subprocess.run(["kcat", "-b", brokers, "-L", "-J", "-t", topic], check=True, capture_output=True, text=True, timeout=60).stdout
    return str(json.loads(said)["topics"][0]["partitions"][0]["leader"])


def test_main_job_with_a_broker_killed(cluster: tuple[str, Path], tmp_path: Path) -> None:
    brokers, nodes = cluster
    env = os.environ | {"MILLRACE_BROKER_MODE": "external", "MILLRACE_BOOTSTRAP_SERVERS": brokers, "DATA": str(tmp_path / "data")}
    demo = subprocess.Popen([str(TOP / "demo/demo"), "--check", "--rows", os.environ.get("ROWS", "3000000")], env=env, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    assert demo.stdout is not None
    said, killed = [], False
    for line in demo.stdout:
        said.append(line)
        print(line, end="", flush=True)  # shown by pytest when the test is ended for its time
        if not killed and line.split()[:2] == ["bronze", "running"]:
            # the leader of the registry's topic, which also leads partitions of `flights`: bronze asks it for both
            os.kill(int((nodes / leader(brokers, "_schemas") / "pid").read_text()), signal.SIGKILL)
            killed = True
    assert demo.wait(30) == 0 and killed, "".join(said)[-4000:]
