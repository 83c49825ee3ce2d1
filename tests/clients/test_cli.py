# SPDX-License-Identifier: Apache-2.0
"""The client commands of the program as a user types them: what they print, as a table and as JSON, and what they say when something is wrong."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from conftest import Server


def name(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:8]}"


def as_json(server: Server, *args: str) -> Any:
    return json.loads(server.cli(*args, "--output", "json").stdout)


def lines(server: Server, *args: str) -> list[Any]:
    return [json.loads(line) for line in server.cli(*args).stdout.splitlines()]


def refused(server: Server, code: int, *args: str, says: str | list[str], stdin: str | None = None) -> None:
    done = server.cli(*args, check=False, stdin=stdin)
    assert done.returncode == code, f"{args}: {done.returncode} {done.stdout}{done.stderr}"
    assert done.stderr.startswith("millrace " + args[0]), done.stderr
    for part in [says] if isinstance(says, str) else says:
        assert part in done.stderr, done.stderr


# ---- topic ----------------------------------------------------------------------------------------------------------


def test_topics(server: Server) -> None:
    topic = name("orders")
    server.cli("topic", "create", topic, "--partitions", "3", "--config", "retention.ms=604800000")
    refused(server, 5, "topic", "create", topic, says="already exists")
    server.cli("topic", "create", topic, "--if-not-exists")
    assert {"topic": topic, "partitions": 3, "records": 0} in as_json(server, "topic", "list")
    assert as_json(server, "topic", "describe", topic)[2] == {"partition": 2, "start": 0, "high_watermark": 0, "records": 0}

    server.cli("topic", "alter", topic, "--config", "max.message.bytes=2000000")  # leaves the other as it is
    server.cli("topic", "alter", topic, "--config", "retention.ms=3600000", "--partitions", "5")
    configs = as_json(server, "topic", "describe", topic, "--configs")
    assert configs == [
        {"config": "max.message.bytes", "value": "2000000", "source": "topic"},
        {"config": "retention.ms", "value": "3600000", "source": "topic"},
    ]
    assert len(as_json(server, "topic", "describe", topic)) == 5
    table = server.cli("topic", "describe", topic, "--configs", "--all").stdout
    assert table.splitlines()[0].split() == ["config", "value", "source"] and "cleanup.policy" in table

    refused(server, 78, "topic", "alter", topic, "--config", "retention.ms=soon", says=[topic, "retention.ms", "soon"])
    refused(server, 78, "topic", "alter", topic, "--config", "retention.mms=1", says=[topic, "retention.mms"])
    refused(server, 2, "topic", "alter", topic, "--config", "retention.ms", says="key=value")
    refused(server, 2, "topic", "alter", topic, says="nothing to change")
    refused(server, 2, "topic", "alter", topic, "--partitions", "2", says="has 5 partition(s)")
    assert as_json(server, "topic", "describe", topic, "--configs") == configs

    server.cli("topic", "delete", topic)
    for command in ("delete", "describe"):
        refused(server, 4, "topic", command, topic, says=topic)
    refused(server, 4, "topic", "alter", topic, "--config", "retention.ms=1", says=topic)
    refused(server, 2, "topic", "create", "a/b", says="a/b")
    refused(server, 78, "topic", "create", name("t"), "--config", "retention.ms=soon", says=["retention.ms", "soon"])


def test_no_server(server: Server, tmp_path: Path) -> None:
    done = server.cli("topic", "list", "--data", str(tmp_path), check=False)
    assert done.returncode == 69 and str(tmp_path) in done.stderr and "millrace server" in done.stderr, done.stderr
    done = server.cli("sql", "--server", "postgresql://millrace@127.0.0.1:1/millrace", "-c", "select 1", check=False)
    assert done.returncode == 69 and "127.0.0.1" in done.stderr, done.stderr


# ---- produce and consume ------------------------------------------------------------------------------------------------


def test_csv(server: Server, tmp_path: Path) -> None:
    topic = name("people")
    file = tmp_path / "people.csv"
    file.write_text('id,name,born,price\n1,ann,2020-01-02,1.50\n2,,2021-02-03,\n3,"x, ""y""",,9999.99\n')
    done = as_json(server, "produce", "--topic", topic, "--key", "id", "--timestamp", "born", str(file))
    assert done["topic"] == topic and done["records"] == 3
    events = lines(server, "consume", topic)
    assert [e["value"] for e in events] == [
        {"id": 1, "name": "ann", "born": "2020-01-02", "price": 1.5},
        {"id": 2, "name": None, "born": "2021-02-03", "price": None},
        {"id": 3, "name": 'x, "y"', "born": None, "price": 9999.99},
    ]
    assert [e["key"] for e in events] == ["1", "2", "3"]
    assert events[0]["timestamp"] == 1577923200000
    refused(server, 4, "produce", "--topic", topic, "--key", "no", str(file), says=["--key no", "id, name, born, price"])
    refused(server, 2, "produce", "--topic", topic, "--timestamp", "name", str(file), says=["--timestamp name", "date"])
    refused(server, 4, "produce", "--topic", topic, str(tmp_path / "none.csv"), says="none.csv")
    refused(server, 2, "produce", "--topic", topic, str(tmp_path / "people.what"), says=["people.what", "--format"])
    refused(server, 2, "produce", str(file), says="--topic")


def test_json_lines(server: Server, tmp_path: Path) -> None:
    topic = name("nested")
    rows = [
        {"id": 1, "who": {"name": "ann", "tags": ["a", "b"]}, "n": None},
        {"id": 2, "who": {"name": None, "tags": []}, "n": 2.5},
        {"id": 3, "who": None, "n": None},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    server.cli("produce", "--topic", topic, str(file))
    assert lines(server, "consume", topic, "--values") == rows
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": 1}\n{"id": \n')
    other = name("bad")
    done = server.cli("produce", "--topic", other, str(bad), check=False)
    assert done.returncode != 0 and "bad.jsonl" in done.stderr and "line" in done.stderr, done.stderr
    assert other not in [t["topic"] for t in as_json(server, "topic", "list")], "a topic was made for a file that cannot be read"


def test_parquet(server: Server, tmp_path: Path) -> None:
    topic = name("typed")
    noon = datetime.datetime(2020, 1, 2, 12, 30, 15, 123456)
    columns = {
        "id": pyarrow.array([1, 2], pyarrow.int64()),
        "small": pyarrow.array([-3, None], pyarrow.int16()),
        "ok": pyarrow.array([True, None]),
        "share": pyarrow.array([0.25, None], pyarrow.float32()),
        "day": pyarrow.array([datetime.date(1969, 12, 31), None]),
        "at": pyarrow.array([noon, None], pyarrow.timestamp("us")),
        "money": pyarrow.array([decimal.Decimal("-12345.67"), None], pyarrow.decimal128(9, 2)),
        "raw": pyarrow.array([b"\x00\xff", None], pyarrow.binary()),
        "list": pyarrow.array([[1, None, 3], None], pyarrow.list_(pyarrow.int32())),
        "place": pyarrow.array([{"city": "Bern", "zip": [3000]}, None], pyarrow.struct([("city", pyarrow.string()), ("zip", pyarrow.list_(pyarrow.int64()))])),
    }
    file = tmp_path / "typed.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    server.cli("produce", "--topic", topic, "--key", "id", "--timestamp", "at", str(file))
    one, two = lines(server, "consume", topic)
    assert one["timestamp"] == int(noon.replace(tzinfo=datetime.UTC).timestamp() * 1000)
    value = one["value"]
    assert (value["id"], value["small"], value["ok"], value["share"], value["day"]) == (1, -3, True, 0.25, "1969-12-31")
    assert value["at"].startswith("2020-01-02") and "12:30:15.123456" in value["at"]
    assert decimal.Decimal(str(value["money"])) == decimal.Decimal("-12345.67")
    assert value["list"] == [1, None, 3] and value["place"] == {"city": "Bern", "zip": [3000]}
    assert two["value"] == {k: 2 if k == "id" else None for k in columns}
    # and as SQL sees the topic: the same types
    row = as_json(server, "sql", "-c", f"select day + 1 as day, money * 2 as money, place.city as city, list[3] as l from topics.{topic} where id = 1")
    assert row == [{"day": "1970-01-01", "money": -24691.34, "city": "Bern", "l": 3}]

    whole = file.read_bytes()
    for size in (0, 3, 200, len(whole) - 9):
        cut, other = tmp_path / f"cut{size}.parquet", name("cut")
        cut.write_bytes(whole[:size])
        done = server.cli("produce", "--topic", other, str(cut), check=False)
        assert done.returncode != 0 and cut.name in done.stderr, done.stderr
        assert other not in [t["topic"] for t in as_json(server, "topic", "list")]


def test_consume(server: Server, tmp_path: Path) -> None:
    topic = name("numbers")
    server.cli("topic", "create", topic, "--partitions", "2")
    file = tmp_path / "n.jsonl"
    file.write_text("".join(f'{{"n": {i}}}\n' for i in range(20)))
    server.cli("produce", "--topic", topic, "--key", "n", str(file))
    everything = lines(server, "consume", topic)
    assert sorted(e["value"]["n"] for e in everything) == list(range(20))
    first = [e["value"] for e in everything if e["partition"] == 0]
    assert lines(server, "consume", topic, "--partition", "0", "--offset", "2", "--limit", "3", "--values") == first[2:5]
    assert lines(server, "consume", topic, "--offset", "end") == []
    group = name("g")
    some = lines(server, "consume", topic, "--group", group, "--limit", "7")
    rest = lines(server, "consume", topic, "--group", group)  # goes on there, and ends at the end
    assert len(some) == 7 and sorted(e["value"]["n"] for e in some + rest) == list(range(20))
    raw = lines(server, "consume", topic, "--raw", "--limit", "1")
    assert raw[0]["value"].startswith("\\x00") or raw[0]["value"].startswith("\x00")
    refused(server, 2, "consume", topic, "--offset", "soon", says="--offset soon")
    refused(server, 2, "consume", topic, "--limit", "-1", says="--limit")
    refused(server, 4, "consume", topic, "--partition", "7", says=["7", "2 partitions"])
    for more in ([], ["--group", name("g")]):
        refused(server, 4, "consume", "no-such-topic", *more, says="no-such-topic")


# ---- schema -------------------------------------------------------------------------------------------------------------


def test_schemas(server: Server, tmp_path: Path) -> None:
    subject = name("s") + "-value"
    fields: list[dict[str, str]] = [{"name": "a", "type": "int"}]

    def write(file: str, schema: Any) -> str:
        (tmp_path / file).write_text(json.dumps(schema))
        return str(tmp_path / file)

    good = write("a.avsc", {"type": "record", "name": "r", "fields": fields})
    other = write("b.avsc", {"type": "record", "name": "r", "fields": [*fields, {"name": "b", "type": "string"}]})
    id_ = json.loads(server.cli("schema", "register", subject, good).stdout)["id"]
    assert {"subject": subject, "versions": 1, "newest_id": id_} in as_json(server, "schema", "list")
    assert json.loads(server.cli("schema", "get", subject).stdout)["fields"] == fields
    assert json.loads(server.cli("schema", "get", str(id_)).stdout)["fields"] == fields
    found = as_json(server, "schema", "get", subject, "--version", "1")
    assert found["id"] == id_ and json.loads(found["schema"])["fields"] == fields
    assert server.cli("schema", "check", subject, good).stdout == "compatible\n"
    refused(server, 5, "schema", "check", subject, other, says=[subject, "READER_FIELD_MISSING_DEFAULT_VALUE", "'b'"])
    refused(server, 5, "schema", "register", subject, other, says="READER_FIELD_MISSING_DEFAULT_VALUE")
    bad = tmp_path / "bad.avsc"
    for text in ('{"type": "record", "name": "r", "fields": [', '{"type": "nosuch"}', "[]x"):
        bad.write_text(text)
        refused(server, 65, "schema", "register", name("x"), str(bad), says="nvalid schema")
    refused(server, 4, "schema", "register", subject, str(tmp_path / "none.avsc"), says="none.avsc")
    refused(server, 4, "schema", "get", "99999", says="99999")
    refused(server, 4, "schema", "get", "no-such-subject", says="no-such-subject")
    server.cli("schema", "delete", subject)
    refused(server, 4, "schema", "get", subject, says=subject)
    server.cli("schema", "delete", subject, "--permanent")  # the soft-deleted versions too
    assert server.cli("schema", "register", subject, other).returncode == 0


# ---- sql, table, check ------------------------------------------------------------------------------------------------------


def test_sql(server: Server, tmp_path: Path) -> None:
    row = as_json(
        server,
        "sql",
        "-c",
        """select 1 as a, 1.5::decimal(5,2) as d, '01' as t, true as b, null as n, 'nan'::double as nan, 'o''k' as q, date '2020-01-01' as day, {'a': 1} as s""",
    )
    assert row == [{"a": 1, "d": 1.5, "t": "01", "b": True, "n": None, "nan": "NaN", "q": "o'k", "day": "2020-01-01", "s": {"a": 1}}]
    assert server.cli("sql", "-c", "select 1 as a, 'x' as bcd; select null as c").stdout == "a  bcd\n1  x\nc\n\n"
    assert server.cli("sql", stdin="select 42 as answer;\n-- a comment\n").stdout == "answer\n42\n"
    script = tmp_path / "s.sql"
    script.write_text("select 1 as one;\nselect 'é', x\nfrom nowhere;\n")
    done = server.cli("sql", "-f", str(script), check=False)
    assert done.returncode == 4 and done.stdout == "one\n1\n"
    assert "line 3" in done.stderr and done.stderr.endswith("\n  from nowhere;\n       ^\n"), done.stderr
    done = server.cli("sql", "-c", "selct 1", check=False)
    assert done.returncode == 2 and done.stderr.endswith("\n  selct 1\n  ^\n"), done.stderr
    done = server.cli("sql", "-c", "select 1;\nselect nosuch from range(3)", check=False)
    assert done.returncode == 4 and "nosuch" in done.stderr and "\n         ^\n" in done.stderr, done.stderr
    done = server.cli("sql", "-c", "select 'é' as e; select 'never ended", check=False)  # the lexer's error after a statement that ran
    assert done.returncode == 2 and done.stdout == "e\né\n", done.stdout + done.stderr
    assert done.stderr.endswith("\n" + " " * 26 + "^\n"), done.stderr
    refused(server, 4, "sql", "-f", str(tmp_path / "none.sql"), says="none.sql")


def test_tables(server: Server, tmp_path: Path) -> None:
    schema = name("cli")
    server.cli("sql", "-c", f"create schema {schema}; create table {schema}.t as select 1 as id, 'a' as name union all select 2, null")
    assert as_json(server, "table", "list", schema) == [{"schema": schema, "table": "t", "columns": 2, "rows": 2}]
    described = as_json(server, "table", "describe", f"{schema}.t")
    assert [(c["column_name"], c["column_type"]) for c in described] == [("id", "INTEGER"), ("name", "VARCHAR")]
    assert as_json(server, "table", "show", f"{schema}.t") == [{"id": 1, "name": "a"}, {"id": 2, "name": None}]
    assert server.cli("table", "show", f"{schema}.t", "--limit", "1").stdout == "id  name\n1   a\n"
    refused(server, 2, "table", "show", "t", says="SCHEMA.TABLE")
    for command in ("describe", "show", "drop"):
        refused(server, 4, "table", command, f"{schema}.nope", says="nope")

    def suite(file: str, *expectations: Any) -> str:
        (tmp_path / file).write_text(json.dumps({"name": file, "expectations": [{"type": t, "kwargs": k} for t, k in expectations]}))
        return str(tmp_path / file)

    good = suite("good.json", ("expect_column_values_to_not_be_null", {"column": "id"}), ("expect_table_row_count_to_equal", {"value": 2}))
    result = as_json(server, "check", f"{schema}.t", good)
    assert [r["expectation"] for r in result] == ["expect_column_values_to_not_be_null", "expect_table_row_count_to_equal"]
    assert "expect_table_row_count_to_equal" in server.cli("check", f"{schema}.t", good).stdout
    bad = suite("bad.json", ("expect_column_values_to_not_be_null", {"column": "name"}))
    refused(server, 1, "check", f"{schema}.t", bad, says=["bad.json", f"{schema}.t", "expect_column_values_to_not_be_null(name)", "1 of 2"])
    odd = suite("odd.json", ("expect_the_unexpected", {}))
    done = server.cli("check", f"{schema}.t", odd, check=False)
    assert done.returncode != 0 and "expect_the_unexpected" in done.stderr, done.stderr
    (tmp_path / "cut.json").write_text('{"name": "x", "expectations": [')
    done = server.cli("check", f"{schema}.t", str(tmp_path / "cut.json"), check=False)
    assert done.returncode != 0 and "cut.json is not a suite" in done.stderr and "line 1" in done.stderr, done.stderr
    refused(server, 4, "check", f"{schema}.t", str(tmp_path / "none.json"), says="none.json")
    refused(server, 4, "check", f"{schema}.nope", good, says="nope")
    server.cli("table", "drop", f"{schema}.t")
    assert as_json(server, "table", "list", schema) == []


@pytest.mark.parametrize("command", ["topic", "schema", "table", "dags"])
def test_every_subcommand_shows_an_example(server: Server, command: str) -> None:
    overview = server.cli(command, "--help").stdout
    names = [line.split()[0] for line in overview.split("Commands:\n")[1].split("\n\n")[0].splitlines()]
    assert len(names) >= 4
    for one in names:
        text = server.cli(command, one, "--help").stdout
        assert f"\n  millrace {command} {one}" in text.split("Examples:")[1], text
