# SPDX-License-Identifier: Apache-2.0
"""Bad input at the real doors: what is wrong is refused with a message that names it, nothing else suffers, nothing acknowledged is lost.

Beside it: test_mutated.py (requests changed at random), test_disk_full.py, test_server.py (configuration, ports, directories), test_cli.py (files).
"""

from __future__ import annotations

import json
import socket
import struct
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import confluent_kafka
import psycopg
import pytest
from conftest import Server
from record_batch import batch, varint


def name(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:8]}"


def connect(server: Server, door: str) -> socket.socket:
    address = server.addresses[door]
    parts = urlsplit(address if "://" in address else "tcp://" + address)
    return socket.create_connection((str(parts.hostname), parts.port or 0), timeout=30)


def answer(sock: socket.socket) -> bytes:
    """All that comes until the server closes."""
    out = b""
    try:
        while piece := sock.recv(65536):
            out += piece
    except ConnectionResetError:
        pass
    return out


def call(url: str, method: str = "GET", body: Any = None, raw: bytes | None = None, kind: str = "application/json") -> tuple[int, Any]:
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=30) as got:
            return got.status, json.loads(got.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def rows(server: Server, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(server.pg, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


@pytest.fixture
def others(server: Server) -> Iterator[None]:
    """Connections of well-behaved clients at every door, opened before; they must go on afterwards."""
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka})
    topic = name("others")
    producer.produce(topic, b"before")
    assert producer.flush(30) == 0
    with psycopg.connect(server.pg, autocommit=True) as connection:
        yield
        assert connection.execute("select 1").fetchone() == (1,)
    producer.produce(topic, b"after")
    assert producer.flush(30) == 0
    assert call(server.registry + "/subjects")[0] == 200
    assert call(server.http + "/api/v2/version")[0] == 200


# ---- requests that are too long or too short ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("door", "request_", "reason"),
    [
        ("kafka", struct.pack(">ihhi", 2**31 - 1, 3, 1, 1), "frame too large"),
        ("kafka", struct.pack(">i", -5), "frame size too small"),
        ("pg", struct.pack(">ii", 2**31 - 1, 196608), "not PostgreSQL's start-up message"),
        ("pg", struct.pack(">ii", 8, 99 << 16), "protocol 99.0; Millrace speaks 3.0"),
    ],
)
def test_oversized_requests_are_closed_with_a_reason(server: Server, others: None, door: str, request_: bytes, reason: str) -> None:
    before = len(server.log_path.read_text())
    with connect(server, door) as sock:
        mine = sock.getsockname()[1]
        sock.sendall(request_)
        said = answer(sock)
    new = server.log_path.read_text()[before:]
    assert said or [line for line in new.splitlines() if f":{mine} " in line and "connection closed" in line], new
    assert reason in new or reason.encode() in said, new + repr(said)


@pytest.mark.parametrize("door", ["registry", "http"])
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n", (b"413",)),
        (b"GET /" + b"x" * 200_000 + b"%s HTTP/1.1\r\nHost: localhost\r\n\r\n", (b"414", b"431", b"400")),
        (b"GET /%s HTTP/1.1\r\nHost: localhost\r\n" + b"A: " + b"b" * 500_000 + b"\r\n\r\n", (b"431", b"400", b"413")),
    ],
)
def test_oversized_http_requests(server: Server, others: None, door: str, head: bytes, status: tuple[bytes, ...]) -> None:
    path = b"subjects/x/versions" if door == "registry" else b"auth/token"
    with connect(server, door) as sock:
        try:
            sock.sendall(head.replace(b"%s", path))
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before it was sent
        got = answer(sock)
    assert got == b"" or any(got.startswith(b"HTTP/1.1 " + s) for s in status), got[:300]


@pytest.mark.parametrize("door", ["kafka", "registry", "pg", "http"])
def test_requests_cut_short(server: Server, others: None, door: str) -> None:
    whole = {
        "kafka": struct.pack(">ihhih", 30, 18, 0, 1, 20) + b"x" * 20,
        "pg": struct.pack(">ii", 40, 196608) + b"user\0millrace\0database\0mill",
        "registry": b'POST /subjects/x/versions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"schema": ',
        "http": b'POST /auth/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"username": ',
    }[door]
    for n in {1, 3, 5, 9, len(whole) // 2, len(whole) - 1}:
        with connect(server, door) as sock:
            sock.sendall(whole[:n])
            sock.shutdown(socket.SHUT_WR)
            answer(sock)  # ends: a hanging connection is a time-out here


# ---- Kafka --------------------------------------------------------------------------------------------------------------------


def produce_raw(server: Server, topic: str, partition: int, records: bytes) -> int:
    """A Produce request of version 3, acks=all; returns the partition's error code."""
    t = topic.encode()
    body = struct.pack(">hhi", -1, -1, 10000) + struct.pack(">ih", 1, len(t)) + t + struct.pack(">iii", 1, partition, len(records)) + records
    request = struct.pack(">hhih", 0, 3, 7, -1) + body
    with connect(server, "kafka") as sock:
        sock.sendall(struct.pack(">i", len(request)) + request)
        size = struct.unpack(">i", sock.recv(4, socket.MSG_WAITALL))[0]
        got = sock.recv(size, socket.MSG_WAITALL)
    at = 4 + 4 + 2 + len(t) + 4 + 4  # correlation id, topics, name, partitions, index
    return int(struct.unpack(">h", got[at : at + 2])[0])


def test_bad_crc_is_not_written(server: Server, others: None) -> None:
    topic = name("crc")
    server.cli("topic", "create", topic)
    assert produce_raw(server, topic, 0, batch([b"good"])) == 0
    assert produce_raw(server, topic, 0, batch([b"flipped"], wrong_crc=True)) == confluent_kafka.KafkaError.INVALID_MSG
    assert produce_raw(server, topic, 0, batch([b"cut short"])[:-4]) != 0
    assert produce_raw(server, topic, 0, b"not a batch") != 0
    assert produce_raw(server, topic, 0, batch([b"good again"])) == 0
    got = [json.loads(line)["value"] for line in server.cli("consume", topic, "--raw").stdout.splitlines()]
    assert got == ["good", "good again"]


def test_unknown_topics(server: Server, others: None) -> None:
    topic = name("nowhere")
    unknown = confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART
    assert produce_raw(server, topic, 0, batch([b"x"])) == unknown
    server.cli("topic", "create", topic)
    assert produce_raw(server, topic, 7, batch([b"x"])) == unknown
    gone = name("nowhere")
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": name("g"), "allow.auto.create.topics": False})
    consumer.subscribe([gone])
    message = consumer.poll(30)
    assert message is not None and message.error().code() == unknown
    consumer.close()
    with psycopg.connect(server.pg, autocommit=True) as connection:
        connection.execute("create schema if not exists faults")
        for sql in (f"select * from topics.{gone}", f"copy into faults.t from topic {gone}"):
            with pytest.raises(psycopg.Error, match=gone):
                connection.execute(sql.encode())


# ---- events that do not decode ----------------------------------------------------------------------------------------------------


def test_bad_events_become_dead_letters(server: Server) -> None:
    topic = name("events")
    schema = {"type": "record", "name": "e", "fields": [{"name": "id", "type": "long"}, {"name": "text", "type": "string"}]}
    status, registered = call(f"{server.registry}/subjects/{topic}-value/versions", "POST", {"schema": json.dumps(schema)})
    assert status == 200
    head = struct.pack(">bi", 0, registered["id"])
    good = head + varint(1) + varint(2) + b"ok"
    bad = {
        1: head + varint(2),  # cut short
        2: head + varint(3) + varint(1000) + b"too short",  # a length that is not there
        3: struct.pack(">bi", 0, 999_999) + varint(1) + varint(2) + b"no",  # no such schema
        4: b"just text",  # not the wire format
        5: b"\0\0",  # shorter than its header
        6: head + varint(4) + varint(2) + b"\xff\xfe",  # not UTF-8
    }
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka})
    for value in (good, *bad.values(), good):
        producer.produce(topic, value, partition=0)
    assert producer.flush(30) == 0
    with psycopg.connect(server.pg, autocommit=True) as connection:
        connection.execute("create schema if not exists faults")
        connection.execute(f"copy into faults.{topic} from topic {topic}".encode())
        assert connection.execute(f"select id, text from faults.{topic}".encode()).fetchall() == [(1, "ok"), (1, "ok")]
        connection.execute(f"copy into faults.{topic} from topic {topic}".encode())  # again: nothing is doubled
        assert connection.execute(f"select count(*) from faults.{topic}".encode()).fetchone() == (2,)
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": name("g"), "auto.offset.reset": "earliest", "enable.partition.eof": True})
    consumer.subscribe([topic + ".dlq"])
    letters: dict[int, tuple[bytes, dict[str, str]]] = {}
    while (message := consumer.poll(30)) is not None and not message.error():
        headers = {k.split(".")[-1]: v.decode() for k, v in message.headers()}
        letters[int(headers["offset"])] = (message.value(), headers)
    consumer.close()
    assert {k: v[0] for k, v in letters.items()} == bad
    assert all(h["topic"] == topic and any(h[k] for k in h if "reason" in k or "message" in k) for _, h in letters.values()), letters
    assert "999999" in json.dumps(letters[3][1])


# ---- REST ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"{", b"", b"[1, 2", b"\xff\xfe", b'{"schema": 5}', b'{"schema": "{\\"type\\": "}', b"null", b'"text"', b"[" * 100_000])
def test_malformed_json(server: Server, others: None, body: bytes) -> None:
    status, said = call(server.registry + "/subjects/x-value/versions", "POST", raw=body)
    assert status in (400, 422) and said["error_code"] >= 400 and said["message"], (status, said)
    status, said = call(server.http + "/api/v2/variables", "POST", raw=body)
    assert status in (400, 422) and said["detail"], (status, said)


# ---- workflows ------------------------------------------------------------------------------------------------------------------

GOOD_DAG = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.bash import BashOperator
with DAG("good", schedule=None):
    BashOperator(task_id="sh", bash_command="echo well")
"""
SYNTAX_DAG = "from airflow.sdk import DAG\nwith DAG('syntax', schedule=None)\n    pass\n"
CYCLE_DAG = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator
with DAG("cycle", schedule=None):
    a, b = EmptyOperator(task_id="a"), EmptyOperator(task_id="b")
    a >> b >> a
"""
TEMPLATE_DAG = """
from airflow.sdk import DAG
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
with DAG("template", schedule=None):
    SQLExecuteQueryOperator(task_id="sql", sql="sql/not_there.sql")
"""
BROKEN_TEMPLATE_DAG = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.bash import BashOperator
with DAG("jinja", schedule=None):
    BashOperator(task_id="sh", bash_command="echo {{ never closed")
"""


def run_dag(server: Server, dag: str) -> str:
    status, run = call(f"{server.http}/api/v2/dags/{dag}/dagRuns", "POST", {"logical_date": None})
    assert status in (200, 201), run
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = str(call(f"{server.http}/api/v2/dags/{dag}/dagRuns/{run['dag_run_id']}")[1]["state"])
        if state in ("success", "failed"):
            return state
    raise AssertionError(f"{dag} did not end")


def test_bad_dag_files(new_server: Callable[..., Server], tmp_path: Path) -> None:
    files = {"good": GOOD_DAG, "syntax": SYNTAX_DAG, "cycle": CYCLE_DAG, "template": TEMPLATE_DAG, "jinja": BROKEN_TEMPLATE_DAG}
    for file, text in files.items():
        (tmp_path / f"{file}.py").write_text(text)
    one = new_server({"flow.dags": str(tmp_path)}).start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        errors = {Path(e["filename"]).stem: e["stack_trace"] for e in call(one.http + "/api/v2/importErrors")[1]["import_errors"]}
        dags = {d["dag_id"] for d in call(one.http + "/api/v2/dags")[1]["dags"]}
        if len(errors) + len(dags) >= len(files):
            break
    assert "SyntaxError" in errors["syntax"] and "line 2" in errors["syntax"]
    assert "a -> b -> a" in errors["cycle"]
    assert run_dag(one, "good") == "success"
    for dag, task, says in (("template", "sql", "sql/not_there.sql"), ("jinja", "sh", "in the field 'bash_command'")):
        if dag in errors:
            assert says in errors[dag]
            continue
        assert run_dag(one, dag) == "failed"
        log = one.cli("dags", "logs", dag, task).stdout
        assert says in log, log
    assert run_dag(one, "good") == "success"
    listed = one.cli("dags", "errors").stdout
    assert "syntax.py" in listed and "cycle.py" in listed
    (tmp_path / "syntax.py").write_text(GOOD_DAG.replace('"good"', '"mended"'))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and "mended" not in {d["dag_id"] for d in call(one.http + "/api/v2/dags")[1]["dags"]}:
        pass
    assert run_dag(one, "mended") == "success"
