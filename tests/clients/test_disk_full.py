# SPDX-License-Identifier: Apache-2.0
"""A full disk under the running server: nothing is acknowledged that is not kept, the message says why, and all goes on when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import confluent_kafka
import pytest
from conftest import Server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(folder)], capture_output=True).returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def kcat(server: Server, *args: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["kcat", "-q", "-b", server.kafka, *args], input=text, capture_output=True, text=True, timeout=60)


def psql(server: Server, *statements: str) -> subprocess.CompletedProcess[str]:
    commands = [x for s in statements for x in ("-c", s)]
    return subprocess.run(["psql", "-X", "-q", "-A", "-t", "-d", server.pg, *commands], capture_output=True, text=True, timeout=60)


def test_disk_full(small_disk: Path, new_server: Callable[..., Server], tmp_path: Path) -> None:
    one = new_server(data=small_disk / "data").start()
    assert kcat(one, "-P", "-t", "before", text="kept\n").returncode == 0
    lines = tmp_path / "lines"
    lines.write_text("\n".join(os.urandom(500).hex() for _ in range(80_000)))  # 80 MB, and they do not compress to less than half
    refused = kcat(one, "-P", "-t", "big", "-X", "message.timeout.ms=4000", "-l", str(lines))
    assert refused.returncode != 0 or "failed" in refused.stderr, refused
    assert "the disk is full" in one.log()
    failed = psql(one, "create schema s", "create table s.t as select range as a, md5(range::varchar) as b from range(3000000)")
    assert "No space left" in failed.stderr or "disk is full" in failed.stderr, failed.stderr
    assert kcat(one, "-C", "-t", "before", "-e").stdout == "kept\n"  # reading goes on
    written = kcat(one, "-C", "-t", "big", "-e").stdout.splitlines()
    assert 0 < len(written) < 80_000
    one.cli("topic", "delete", "big")  # room again
    assert kcat(one, "-P", "-t", "before", text="and more\n").returncode == 0
    assert kcat(one, "-C", "-t", "before", "-e").stdout == "kept\nand more\n"
    done = psql(one, "create schema if not exists s", "create table s.t as select range as a from range(1000)", "select count(*) from s.t")
    assert done.stdout.strip() == "1000", done.stderr
    one.kill()
    one.start()
    assert kcat(one, "-C", "-t", "before", "-e").stdout == "kept\nand more\n"
    assert psql(one, "select count(*) from s.t").stdout.strip() == "1000"
    one.stop()


def fill(folder: Path) -> Path:
    """Takes all the room that is left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as f:
        for size in (1 << 20, 4096, 1):
            try:
                while f.write(b"\0" * size) == size:
                    pass
            except OSError:
                pass
    return filler


def test_nothing_acknowledged_is_lost_and_it_recovers_by_itself(small_disk: Path, new_server: Callable[..., Server]) -> None:
    one = new_server(data=small_disk / "data").start()
    one.cli("topic", "create", "t", "--partitions", "2")
    assert psql(one, "create schema s", "create table s.t as select range as a, md5(range::varchar) as b from range(1000)").returncode == 0
    acknowledged: list[int] = []
    refused: list[str] = []
    producer = confluent_kafka.Producer({"bootstrap.servers": one.kafka, "enable.idempotence": True, "message.timeout.ms": 60000, "linger.ms": 1})

    def send(ids: range) -> None:
        for i in ids:
            producer.produce("t", f"{i}:{os.urandom(100).hex()}", on_delivery=lambda e, m, i=i: refused.append(str(e)) if e else acknowledged.append(i))

    send(range(5000))
    assert producer.flush(60) == 0 and len(acknowledged) == 5000
    filler = fill(small_disk)
    send(range(5000, 60_000))  # 12 MB: more than any room that was set aside
    producer.flush(3)
    assert len(acknowledged) < 60_000
    insert = "insert into s.t select range, md5(range::varchar) from range(1000, 400000)"
    failed = psql(one, insert)
    assert failed.returncode != 0 and ("No space left" in failed.stderr or "disk is full" in failed.stderr), failed.stderr
    assert psql(one, "select count(*), max(a) from s.t").stdout.strip() == "1000|999"
    assert "the disk is full" in one.log()
    filler.unlink()
    assert producer.flush(60) == 0  # the client's own retries end well: the server was not started again
    done = psql(one, insert, "select count(*), count(distinct a) from s.t")
    assert done.stdout.strip() == "400000|400000", done.stderr
    one.kill()
    one.start()
    written = [int(line.split(":")[0]) for line in kcat(one, "-C", "-t", "t", "-e").stdout.splitlines()]
    assert set(acknowledged) <= set(written) and len(written) == len(set(written)), (len(acknowledged), len(written), refused[:3])
    assert len(acknowledged) == 60_000 or refused
    assert psql(one, "select count(*) from s.t").stdout.strip() == "400000"
