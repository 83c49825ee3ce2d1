# SPDX-License-Identifier: Apache-2.0
"""Delta tables between us and delta-rs: what SQL writes here the deltalake package reads, and the other way round; checkpoints of both;
several writers of both kinds at once. And data quality checks as a PostgreSQL client sees them."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import threading
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from conftest import Server
from deltalake import CommitProperties, DeltaTable, write_deltalake

UTC = dt.UTC


@pytest.fixture
def db(server: Server) -> psycopg.Connection:
    with psycopg.connect(server.pg, autocommit=True) as connection:
        yield connection


def table_dir(server: Server, schema: str, table: str) -> Path:
    return server.data / "lake" / schema / table


def rows_of(table: DeltaTable, key: str) -> list[dict]:
    return table.to_pyarrow_table().sort_by(key).to_pylist()


def test_every_type_reads_the_same(server: Server, db: psycopg.Connection) -> None:
    db.execute("create schema types")
    db.execute("""
        create table types.t as
        select range::bigint as id, range::integer as i, range::smallint as h, range::tinyint as y, 'näme ' || range as s,
               timestamptz '2024-01-01 00:00:00+00' + to_seconds(range) as at_utc, timestamp '2024-01-01 12:00:00.123456' as at_local,
               date '2024-01-01' + range::integer as d, (range / 3)::decimal(10, 2) as dec, range * 1.5::double as f, (range * 0.5)::float as g,
               range % 2 = 0 as b, 'x'::blob as bin, [range, null] as l, {'a': range, 'b': ['q']} as st, map {'k': range} as m
        from range(100)""")
    db.execute("insert into types.t (id) values (1000)")
    table = DeltaTable(table_dir(server, "types", "t"))
    assert table.version() == 1
    kinds = {f.name: f.type for f in pa.schema(table.schema()).remove_metadata()}
    assert kinds["id"] == pa.int64() and kinds["i"] == pa.int32() and kinds["h"] == pa.int16() and kinds["y"] == pa.int8()
    assert kinds["at_utc"] == pa.timestamp("us", "UTC") and kinds["at_local"] == pa.timestamp("us") and kinds["dec"] == pa.decimal128(10, 2)
    rows = rows_of(table, "id")
    assert len(rows) == 101
    assert rows[7] == {
        "id": 7, "i": 7, "h": 7, "y": 7, "s": "näme 7", "at_utc": dt.datetime(2024, 1, 1, 0, 0, 7, tzinfo=UTC),
        "at_local": dt.datetime(2024, 1, 1, 12, 0, 0, 123456), "d": dt.date(2024, 1, 8), "dec": decimal.Decimal("2.33"), "f": 10.5, "g": 3.5,
        "b": False, "bin": b"x", "l": [7, None], "st": {"a": 7, "b": ["q"]}, "m": [("k", 7)],
    }  # fmt: skip
    assert rows[100] == {name: 1000 if name == "id" else None for name in rows[100]}
    # The statistics are right, too: delta-rs prunes by them.
    assert table.to_pyarrow_table(filters=[("id", "=", 42)]).num_rows == 1
    assert table.to_pyarrow_table(filters=[("at_utc", ">", dt.datetime(2024, 1, 1, 0, 1, 30, tzinfo=UTC))]).num_rows == 9


def test_what_delta_rs_writes(server: Server, db: psycopg.Connection) -> None:
    db.execute("create schema foreign_writer")
    path = table_dir(server, "foreign_writer", "t")
    data = pa.table({"id": pa.array(range(6), pa.int64()), "part": ["a b", "a b", "ü/x", "ü/x", "z", None], "v": [0.5, None, 1.5, 2.5, 3.5, 4.5]})
    write_deltalake(path, data, partition_by=["part"])
    expected = [(r["id"], r["part"], r["v"]) for r in data.to_pylist()]
    assert db.execute("select id, part, v from foreign_writer.t order by id").fetchall() == expected
    assert db.execute("select count(*) from foreign_writer.t where part = 'ü/x'").fetchone() == (2,)
    assert db.execute("select count(*) from foreign_writer.t where part is null").fetchone() == (1,)
    table = DeltaTable(path)
    table.delete("id < 2")
    assert db.execute("select min(id), count(*) from foreign_writer.t").fetchone() == (2, 4)
    write_deltalake(path, data.slice(0, 1), mode="overwrite")
    assert db.execute("select id, part from foreign_writer.t").fetchall() == [(0, "a b")]
    DeltaTable(path).create_checkpoint()
    for version in range(DeltaTable(path).version()):  # only the checkpoint and the last commit are left
        (path / "_delta_log" / f"{version:020d}.json").unlink()
    server.stop()
    server.start()
    with psycopg.connect(server.pg) as again:
        assert again.execute("select id, part from foreign_writer.t").fetchall() == [(0, "a b")]


def test_our_checkpoints(server: Server, db: psycopg.Connection) -> None:
    db.execute("create schema check_points")
    db.execute("create table check_points.t as select 0::bigint as id, 'x' as s")
    for i in range(1, 12):
        db.execute(f"insert into check_points.t values ({i}, 'y')")  # noqa: S608
    path = table_dir(server, "check_points", "t")
    log = path / "_delta_log"
    assert json.loads((log / "_last_checkpoint").read_text())["version"] == 10
    for version in range(10):
        (log / f"{version:020d}.json").unlink()
    table = DeltaTable(path)
    assert table.version() == 11
    assert [r["id"] for r in rows_of(table, "id")] == list(range(12))
    assert db.execute("select count(*), max(id) from check_points.t").fetchone() == (12, 11)


def test_many_writers_lose_nothing(server: Server, db: psycopg.Connection) -> None:
    db.execute("create schema busy")
    db.execute("create table busy.t as select 0::bigint as id where false")
    path, commits, errors = table_dir(server, "busy", "t"), 12, []

    def by_sql(first: int) -> None:
        try:
            with psycopg.connect(server.pg, autocommit=True) as connection:
                for i in range(commits):
                    connection.execute(f"insert into busy.t values ({first + i})")  # noqa: S608
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    def by_delta(first: int) -> None:
        try:
            tries = CommitProperties(max_commit_retries=1000)  # it gives up after 15, and three others write as fast as they can
            for i in range(commits):
                write_deltalake(path, pa.table({"id": pa.array([first + i], pa.int64())}), mode="append", commit_properties=tries)
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=by_sql, args=(k * 100,)) for k in range(3)] + [threading.Thread(target=by_delta, args=(1000,))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    expected = sorted([k * 100 + i for k in (0, 1, 2, 10) for i in range(commits)])
    assert [r[0] for r in db.execute("select id from busy.t order by id")] == expected
    assert [r["id"] for r in rows_of(DeltaTable(path), "id")] == expected


SUITE = {
    "name": "small",
    "expectations": [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "id", "max_value": 2}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}},
    ],
}


def test_checks(server: Server, db: psycopg.Connection, tmp_path: Path) -> None:
    db.execute("create schema checked")
    db.execute("create table checked.t as select range as id from range(5)")
    with pytest.raises(psycopg.errors.CheckViolation) as failure:
        db.execute(f"check checked.t using '{json.dumps(SUITE)}'")
    assert "1 of 2 expectations of suite small failed" in str(failure.value)
    kept = db.execute("select expectation, column_name, value from quarantine.t_checks order by value").fetchall()
    assert kept == [("expect_column_values_to_be_between", "id", "3"), ("expect_column_values_to_be_between", "id", "4")]
    (stored,) = (server.data / "checks" / "checked.t").glob("*.json")
    result = json.loads(stored.read_text())
    assert result["success"] is False and result["statistics"]["successful_expectations"] == 1
    SUITE["expectations"][0]["severity"] = "warning"
    rows = db.execute(f"check checked.t using '{json.dumps(SUITE)}'").fetchall()
    assert [(r[0], r[2], r[3], r[4]) for r in rows] == [
        ("expect_column_values_to_be_between", "warning", "false", "2"),
        ("expect_column_values_to_not_be_null", "critical", "true", "0"),
    ]
    suite = tmp_path / "suite.json"
    suite.write_text(json.dumps(SUITE))
    assert server.cli("check", "checked.t", str(suite)).returncode == 0
