# SPDX-License-Identifier: Apache-2.0
"""The program as a user starts and stops it: readiness, faults at start with their messages and exit codes, random bytes on the doors."""

from __future__ import annotations

import json
import random
import re
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def post(url: str, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_health_metrics_and_version(server: Any) -> None:
    assert get(server.http + "/healthz") == (200, "ok\n")
    status, text = get(server.http + "/metrics")
    assert status == 200 and "# TYPE millrace_http_requests_total counter" in text
    status, text = get(server.http + "/api/v2/version")
    assert status == 200 and json.loads(text)["version"].startswith("3.")
    status, text = get(server.http + "/api/v2/monitor/health")
    assert status == 200 and json.loads(text)["metadatabase"]["status"] == "healthy"


def test_what_is_not_there_answers_501(server: Any) -> None:
    status, text = get(server.http + "/api/v2/assets")
    assert status == 501 and "not supported" in json.loads(text)["detail"]
    assert get(server.http + "/api/v3")[0] == 404


def test_pages_of_others_are_refused(server: Any) -> None:
    assert get(server.http + "/api/v2/version", {"Origin": "http://example.com"})[0] == 403
    assert get(server.http + "/api/v2/version", {"Host": "rebound.example.com"})[0] == 403
    assert get(server.http + "/api/v2/version", {"Origin": "http://localhost:3000"})[0] == 200


def test_ready_soon(new_server: Callable[..., Any]) -> None:
    one = new_server().start()
    one.stop()  # by then the line is written
    line = next(x for x in one.log().splitlines() if "server ready" in x)
    match = re.search(r"\bms=(\d+)", line)
    assert match and int(match[1]) <= 500, line  # the goal is 100; a loaded test machine gets more


def test_stops_and_starts_again(new_server: Callable[..., Any]) -> None:
    one = new_server().start()
    status, token = post(one.http + "/auth/token", {"username": "a", "password": "b"})
    assert status == 201
    one.stop()
    one.start()
    assert get(one.http + "/api/v2/version", {"Authorization": "Bearer " + token["access_token"]})[0] == 200
    one.kill()
    one.start()  # the old addresses.json names a dead process: it is replaced


def test_users_must_log_in(new_server: Callable[..., Any]) -> None:
    one = new_server({"http.auth": "users", "http.users": "ann:s3cret,bob:x"}).start()
    assert get(one.http + "/healthz")[0] == 200
    assert get(one.http + "/api/v2/dags")[0] == 401
    assert get(one.http + "/auth/token")[0] == 403
    assert post(one.http + "/auth/token", {"username": "ann", "password": "wrong"})[0] == 401
    assert post(one.http + "/auth/token", {"username": "eve", "password": "s3cret"})[0] == 401
    status, answer = post(one.http + "/auth/token", {"username": "ann"})
    assert status == 422 and answer["detail"][0]["loc"] == ["body", "password"]
    status, answer = post(one.http + "/auth/token", {"username": "ann", "password": "s3cret"})
    assert status == 201
    token = answer["access_token"]
    assert get(one.http + "/api/v2/assets", {"Authorization": "Bearer " + token})[0] == 501
    head, claims, mac = token.split(".")
    assert get(one.http + "/api/v2/dags", {"Authorization": f"Bearer {head}.{claims}.{mac[::-1]}"})[0] == 401
    none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"  # {"alg":"none","typ":"JWT"}
    assert get(one.http + "/api/v2/dags", {"Authorization": f"Bearer {none}.{claims}."})[0] == 401


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"kafka.listn": "x"}, ["kafka.listn", "did you mean kafka.listen?"]),
        ({"flow.parallelism": "many"}, ["flow.parallelism", "whole number"]),
        ({"http.listen": "0.0.0.0:0"}, ["http.auth=users"]),
        ({"http.listen": "no.such.host.invalid:0"}, ["no.such.host.invalid"]),
    ],
)
def test_bad_configuration_stops_it(millrace: Run, tmp_path: Path, settings: dict[str, str], parts: list[str]) -> None:
    args = [x for k, v in settings.items() for x in ("--set", f"{k}={v}")]
    for door in ("kafka", "registry", "pg", "http"):
        if f"{door}.listen" not in settings:
            args += ["--set", f"{door}.listen=127.0.0.1:0"]
    done = millrace("server", "--data", str(tmp_path / "d"), *args)
    assert done.returncode == 78, done.stderr
    for part in parts:
        assert part in done.stderr


def test_bad_configuration_file(millrace: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("kafka:\n  listen: [1\n")
    done = millrace("server", "--data", str(tmp_path / "d"), "--config", str(tmp_path / "m.yaml"))
    assert done.returncode == 78 and "m.yaml" in done.stderr and "line 3" in done.stderr
    done = millrace("config", "--config", str(tmp_path / "none.yaml"))
    assert done.returncode == 78 and "none.yaml" in done.stderr


@pytest.mark.parametrize(
    ("lines", "features", "said"),
    [
        ("num.io.threads=3\n", "group.version=7", "--set: broker.features: Invalid update version 7 for feature group.version."),
        ("num.io.threads=3\nmessage.max.bytes=many\n", "", "broker.properties={path}:2: Invalid value many for configuration message.max.bytes"),
        ("# a\ngroup.consumer.heartbeat.interval.ms=1000\n", "",
         "broker.properties={path}:2: group.consumer.heartbeat.interval.ms must be greater than or equal to group.consumer.min.heartbeat.interval.ms"),
        ("group.share.max.size=3\ngroup.share.max.share.sessions=2\n", "group.version=0",
         "broker.properties={path}:2: group.share.max.share.sessions must be greater than or equal to group.share.max.size: they are 2 and 3, given at "
         "broker.properties={path}:1; change one of them"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(millrace: Run, tmp_path: Path, lines: str, features: str, said: str) -> None:
    path = tmp_path / "server.properties"
    path.write_text(lines)
    args = [x for door in ("kafka", "registry", "pg", "http") for x in ("--set", f"{door}.listen=127.0.0.1:0")]
    done = millrace("server", "--data", str(tmp_path / "d"), *args, "--set", f"broker.properties={path}", "--set", f"broker.features={features}")
    assert done.returncode == 78, done.stderr
    assert f"millrace server: broker: {said.format(path=path)}" in done.stderr, "nothing else stands in front"


def test_locked_directory(server: Any, millrace: Run) -> None:
    done = millrace("server", "--data", str(server.data))
    assert done.returncode == 75
    assert f"is used by another millrace, process {server.process.pid}" in done.stderr
    assert get(server.http + "/healthz")[0] == 200
    assert (server.data / "addresses.json").exists()


def test_directory_of_another_version(millrace: Run, tmp_path: Path) -> None:
    (tmp_path / "version").write_text("99\n")
    done = millrace("server", "--data", str(tmp_path))
    assert done.returncode == 65 and "layout version 99" in done.stderr and "newer millrace" in done.stderr


@pytest.mark.parametrize("door", ["kafka", "registry", "pg", "http"])
def test_port_in_use(new_server: Callable[..., Any], millrace: Run, tmp_path: Path, door: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        args = [x for d in ("kafka", "registry", "pg", "http") for x in ("--set", f"{d}.listen=127.0.0.1:{port if d == door else 0}")]
        done = millrace("server", "--data", str(tmp_path / "d"), *args)
    assert done.returncode != 0, done.stderr
    assert f"{door}.listen=127.0.0.1:{port}" in done.stderr and "another process listens" in done.stderr, done.stderr
    assert not (tmp_path / "d/addresses.json").exists()


def test_random_bytes_on_every_door(server: Any) -> None:
    rng = random.Random(7)
    for name in ("kafka", "registry", "pg", "http"):
        address = server.addresses[name]
        parts = urlsplit(address if "://" in address else "tcp://" + address)
        for round_ in range(20):
            with socket.create_connection((parts.hostname, parts.port), timeout=20) as s:
                try:
                    s.sendall(rng.randbytes(rng.choice([1, 7, 300, 70_000])))
                    if round_ % 3 == 0:
                        s.shutdown(socket.SHUT_WR)
                        while s.recv(65536):
                            pass
                except OSError:
                    pass  # closed on us: as it should be
    assert get(server.http + "/healthz")[0] == 200


def test_help_teaches(millrace: Run) -> None:
    overview = millrace()
    assert overview.returncode == 0 and "millrace server --data DIR" in overview.stdout
    for command in re.findall(r"^  (\w+) ", overview.stdout, re.M):
        text = millrace(command, "--help")
        assert text.returncode == 0 and "Usage: millrace " + command in text.stdout
    done = millrace("server", "--bogus")
    assert done.returncode == 2 and "unknown option --bogus" in done.stderr
    done = millrace("frobnicate")
    assert done.returncode == 2 and "unknown command" in done.stderr
    assert json.loads(millrace("version", "--output", "json").stdout)["version"]
