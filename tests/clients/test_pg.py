# SPDX-License-Identifier: Apache-2.0
"""The PostgreSQL door with psql, psycopg (text and binary, simple and extended protocol), and with raw bytes."""

from __future__ import annotations

import datetime
import decimal
import random
import socket
import struct
import subprocess
import threading
import uuid
from typing import Any
from urllib.parse import urlparse

import psycopg
import pytest
from conftest import Server


@pytest.fixture
def connection(server: Server) -> Any:
    with psycopg.connect(server.pg, autocommit=True) as c:
        yield c


def raw(server: Server) -> socket.socket:
    url = urlparse(server.pg)
    assert url.hostname is not None and url.port is not None
    return socket.create_connection((url.hostname, url.port), timeout=30)


def psql(server: Server, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["psql", "-X", "-d", server.pg, *args], capture_output=True, text=True, timeout=60)


VALUES = [
    ("true", True), ("null", None), ("12::tinyint", 12), ("-5::smallint", -5), ("7", 7), ("9223372036854775807", 9223372036854775807),
    ("1.5::float", 1.5), ("0.1::double", 0.1), ("'nan'::double", "nan"), ("12.345::decimal(10,3)", decimal.Decimal("12.345")),
    ("-0.05::decimal(18,2)", decimal.Decimal("-0.05")), ("100000000::decimal(20,0)", decimal.Decimal(100000000)),
    ("170141183460469231731687303715884105727::hugeint", decimal.Decimal("170141183460469231731687303715884105727")),
    ("'héllo ''x'' 東京'", "héllo 'x' 東京"), ("''", ""), (r"'\x00\xFFab'::blob", b"\x00\xffab"), ("date '2024-02-29'", datetime.date(2024, 2, 29)),
    ("date '1969-12-31'", datetime.date(1969, 12, 31)), ("time '23:59:59.5'", datetime.time(23, 59, 59, 500000)),
    ("timestamp '2001-01-01 00:01:00'", datetime.datetime(2001, 1, 1, 0, 1)),
    ("timestamp '1950-06-07 08:09:10.000011'", datetime.datetime(1950, 6, 7, 8, 9, 10, 11)),
    ("timestamptz '2001-01-01 02:00:00+02'", datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)),
    ("interval '1 day 2 hours'", datetime.timedelta(days=1, hours=2)), ("'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid", uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
    ("[1, 2, null]", [1, 2, None]), ("['a', 'b,c', '\"', 'null']", ["a", "b,c", '"', "null"]), ("{'a': 1, 'b': [1, 2]}", {"a": 1, "b": [1, 2]}), ("[]::int[]", []),
]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(("expression", "expected"), VALUES, ids=[v[0] for v in VALUES])
def test_values(connection: Any, expression: str, expected: Any, binary: bool) -> None:
    got = connection.execute(f"select {expression}", binary=binary).fetchone()[0]
    assert str(got) == expected if expected == "nan" else got == expected


PARAMETERS = [True, -3, 2**40, 1.25, decimal.Decimal("-123456789.000123"), "text 'with' quotes", b"\x00\x01\xfe", datetime.date(1999, 12, 31),
              datetime.datetime(2024, 5, 6, 7, 8, 9, 10), uuid.UUID(int=5), None]


@pytest.mark.parametrize("binary", ["t", "b", "s"])
@pytest.mark.parametrize("value", PARAMETERS, ids=[repr(p) for p in PARAMETERS])
def test_parameters(connection: Any, value: Any, binary: str) -> None:
    if value is None and binary == "b":
        binary = "s"
    got, is_null = connection.execute(f"select %{binary}, %{binary} is null", (value, value)).fetchone()
    assert got == value if not isinstance(value, decimal.Decimal) else decimal.Decimal(got) == value
    assert is_null == (value is None)


def test_many_rows_stream_in_order(connection: Any) -> None:
    n = 300_000
    got = connection.execute(f"select i, 'row ' || i from range({n}) t(i) order by i").fetchall()
    assert got[0] == (0, "row 0") and got[-1] == (n - 1, f"row {n - 1}") and len(got) == n
    assert [r[0] for r in got] == list(range(n))


def test_a_slow_reader_slows_the_query_not_the_server(server: Server) -> None:
    with psycopg.connect(server.pg, autocommit=True) as slow, psycopg.connect(server.pg, autocommit=True) as other:
        stream = slow.cursor().stream("select i, repeat('x', 1000) from range(200000) t(i)")
        next(stream)
        assert other.execute("select 42").fetchone() == (42,)
        assert sum(1 for _ in stream) == 199_999


def test_prepared_statements_and_portals(connection: Any) -> None:
    for i in range(10):  # psycopg prepares on the server after 5
        assert connection.execute("select %s::int + 1", (i,), prepare=True).fetchone() == (i + 1,)
    with psycopg.ServerCursor(connection, "c") as cursor, pytest.raises(psycopg.errors.FeatureNotSupported):
        cursor.execute("select 1")


def test_errors_have_state_and_position(connection: Any) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable) as e:
        connection.execute("select 1 from nowhere.nothing")
    assert e.value.diag.sqlstate == "42P01"
    with pytest.raises(psycopg.errors.SyntaxError) as syntax:
        connection.execute("select 1 frm x y")
    assert syntax.value.diag.statement_position is not None
    with pytest.raises(psycopg.errors.UndefinedColumn):
        connection.execute("select nope from (select 1 as a)")
    assert connection.execute("select 1").fetchone() == (1,)


def test_psql_shows_the_place(server: Server) -> None:
    done = psql(server, "-c", "select 1;\nselect foo\nfrom (select 1 as bar)")
    assert done.returncode != 0 and "LINE 2: select foo" in done.stderr and "       ^" in done.stderr


def test_several_statements_stop_at_the_first_error(server: Server) -> None:
    done = psql(server, "-At", "-c", "select 1; select 2; select x; select 4")
    assert done.stdout.split() == ["1", "2"] and "ERROR" in done.stderr


def test_cancel(server: Server) -> None:
    with psycopg.connect(server.pg, autocommit=True) as c:
        timer = threading.Timer(0.2, c.cancel)  # psycopg sends CancelRequest on a connection of its own
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            c.execute("select count(*) from range(100000000) a, range(100000) b")
        timer.join()
        assert c.execute("select 1").fetchone() == (1,)


def test_transactions(server: Server) -> None:
    with psycopg.connect(server.pg) as c:
        c.execute("create schema if not exists tx")
        c.execute("create or replace table tx.t as select 1 as a")
        c.commit()
        assert c.execute("select a from tx.t").fetchone() == (1,)
        c.rollback()  # nothing was changed since
        with pytest.raises(psycopg.Error):
            c.execute("select nope")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            c.execute("select 1")
        c.rollback()
        c.execute("insert into tx.t select 2")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="committed by itself"):
            c.rollback()
        assert c.execute("select count(*) from tx.t").fetchone() == (2,)


@pytest.mark.parametrize("command", ["\\dt", "\\d", "\\dn", "\\l", "\\du", "\\dv", "\\di", "\\ds", "\\df", "\\dT", "\\dx", "\\dp", "\\db", "\\dt tx.*", "\\d+"])
def test_psql_commands(server: Server, command: str) -> None:
    done = psql(server, "-c", command)
    assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr


def test_describe_follows_the_catalog(server: Server) -> None:
    with psycopg.connect(server.pg, autocommit=True) as c:
        c.execute("create schema if not exists d")
        c.execute("create or replace table d.t as select 1::smallint as small, 1.5::decimal(8,3) as price, ['a'] as tags")
        one = psql(server, "-c", "\\d d.t").stdout
        assert "smallint" in one and "numeric(8,3)" in one and "text[]" in one
        c.execute("create or replace table d.t as select now() as at")
        assert "timestamp with time zone" in psql(server, "-c", "\\d d.t").stdout
        c.execute("drop table d.t")
        assert "Did not find any relation" in psql(server, "-c", "\\d d.t").stderr


def test_who_may_connect(server: Server) -> None:
    with pytest.raises(psycopg.OperationalError, match='role "nobody" does not exist'):
        psycopg.connect(server.pg.replace("millrace@", "nobody@"))
    with pytest.raises(psycopg.OperationalError, match='database "other" does not exist'):
        psycopg.connect(server.pg.removesuffix("/millrace") + "/other")


def test_settings(connection: Any) -> None:
    connection.execute("set application_name = 'my app'")
    assert connection.execute("show application_name").fetchone() == ("my app",)
    assert connection.info.parameter_status("application_name") == "my app"
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        connection.execute("set client_encoding = 'LATIN1'")
    assert "15.0" in connection.execute("show server_version").fetchone()[0]


def test_ssl_request_is_declined(server: Server) -> None:
    with raw(server) as s:
        s.sendall(struct.pack(">II", 8, 80877103))
        assert s.recv(1) == b"N"


def bad_bytes() -> list[bytes]:
    rng = random.Random(7)
    startup = struct.pack(">I", 3 << 16) + b"user\0millrace\0database\0millrace\0\0"
    good = struct.pack(">I", len(startup) + 4) + startup
    return [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">II", 0xFFFFFFFF, 196608),
        struct.pack(">II", 7, 196608),
        struct.pack(">I", 20) + struct.pack(">I", 3 << 16) + b"user\0millr",  # cut short
        good + b"Q" + struct.pack(">I", 0xFFFFFFF0),
        good + b"Q" + struct.pack(">I", 3),
        good + b"\x00" + struct.pack(">I", 4),
        good + b"P" + struct.pack(">I", 8) + b"abcd",  # no NUL
        good + b"B" + struct.pack(">I", 10) + b"\0\0\xff\xff\xff\xff",
        *[good + bytes(rng.randrange(256) for _ in range(rng.randrange(1, 400))) for _ in range(60)],
        *[bytes(rng.randrange(256) for _ in range(rng.randrange(1, 400))) for _ in range(60)],
    ]


def test_random_and_malformed_messages(server: Server) -> None:
    with psycopg.connect(server.pg, autocommit=True) as bystander:
        for data in bad_bytes():
            with raw(server) as s:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                try:
                    while s.recv(65536):
                        pass
                except ConnectionResetError:
                    pass
            assert bystander.execute("select 1").fetchone() == (1,)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


def test_result_formats_must_be_as_many_as_the_columns(server: Server) -> None:
    startup = struct.pack(">I", 3 << 16) + b"user\0millrace\0database\0millrace\0\0"
    query = b"select " + b", ".join(b"%d" % i for i in range(2000))
    with raw(server) as s:
        s.sendall(struct.pack(">I", len(startup) + 4) + startup)
        s.sendall(message(b"P", b"\0" + query + b"\0\0\0"))
        s.sendall(message(b"B", b"\0\0" + struct.pack(">HHHhh", 0, 0, 2, 0, 0)))  # two formats, 2000 columns
        s.sendall(message(b"E", b"\0\0\0\0\0") + message(b"S", b"") + message(b"X", b""))
        answer = b""
        while part := s.recv(65536):
            answer += part
    assert b"2 result formats but the query has 2000 columns" in answer


def test_many_cancels_race_with_closing_connections(server: Server) -> None:
    for _ in range(50):
        c = psycopg.connect(server.pg, autocommit=True)
        key = c.pgconn.get_cancel()
        threads = [threading.Thread(target=c.close), *[threading.Thread(target=key.cancel) for _ in range(3)]]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    with psycopg.connect(server.pg) as c:
        assert c.execute("select 1").fetchone() == (1,)


def test_a_truncated_parquet_file_is_an_error_not_a_crash(server: Server, scratch: Any, connection: Any) -> None:
    connection.execute("create schema if not exists cut")
    connection.execute("create or replace table cut.t as select i, 'x' || i as s from range(10000) t(i)")
    files = list((server.data / "lake/cut/t").glob("*.parquet"))
    files[0].write_bytes(files[0].read_bytes()[: files[0].stat().st_size // 2])
    with pytest.raises(psycopg.Error, match="parquet|Parquet|footer|magic"):
        connection.execute("select count(s) from cut.t").fetchall()
    assert connection.execute("select 1").fetchone() == (1,)
