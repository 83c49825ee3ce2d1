# SPDX-License-Identifier: Apache-2.0
"""The table of tests/clients/gates.py against Apache Kafka: what it says of authorization is what Kafka does.

PEERS (default ../shared/peers) must hold kafka/start-kafka and Java be there; skipped with a message else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_kafka_cluster import PEERS, TOP, free_ports

sys.path.insert(0, str(TOP / "tests/clients"))
import gates  # noqa: E402

PATIENCE = 5.0  # seconds: Kafka's rules go through its metadata log before they hold


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gates.Guarded]:
    if not (PEERS / "start-kafka").exists() or shutil.which("java") is None:
        pytest.skip(f"no Kafka to be started: {PEERS}/start-kafka and Java are needed")
    port, folder = free_ports(), tmp_path_factory.mktemp("kafka")
    doors = [f"{name}://127.0.0.1:{port + n}" for name, n in (("PLAINTEXT", 0), ("CONTROLLER", 1), ("SASL_PLAINTEXT", 10))]
    more = gates.properties(port + 10).splitlines()[1:]
    properties = [f"listeners={','.join(doors)}", f"advertised.listeners={doors[0]},{doors[2]}",
                  "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT", *more]
    env = os.environ | {"DIR": str(folder), "PORT": str(port), "PROPS": "\n".join(properties)}
    started = subprocess.run([str(PEERS / "start-kafka")], env=env, capture_output=True, text=True, timeout=600)
    assert started.returncode == 0, started.stderr[-2000:]
    yield gates.Guarded(f"127.0.0.1:{port + 10}", PATIENCE)
    subprocess.run([str(PEERS / "stop-kafka")], env=env | {"WIPE": "1"}, capture_output=True, timeout=120)


@pytest.mark.parametrize("row", gates.ROWS, ids=lambda r: r.id)
def test_a_row(guarded: gates.Guarded, row: gates.Row) -> None:
    if row.api not in guarded.versions or not guarded.served(row):
        pytest.skip("this Kafka does not have it")
    gates.refused(guarded, row)
    gates.passed(guarded, row)
    gates.others_do_not_help(guarded, row)
