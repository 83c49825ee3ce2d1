# SPDX-License-Identifier: Apache-2.0
"""A full disk under the running server: nothing is acknowledged that is not kept, the message says why, and all goes on when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

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
