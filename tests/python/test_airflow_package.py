# SPDX-License-Identifier: Apache-2.0
"""The authoring package: what DAG files build, and the JSON that the server schedules by. Standard library only."""

from __future__ import annotations

import json
import sys
import tempfile
import unittest
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "python"))

from airflow._core import server, xcom  # noqa: E402
from airflow._core.context import make_context  # noqa: E402
from airflow._core.render import environment, render_value  # noqa: E402
from airflow.exceptions import AirflowException, AirflowSkipException, ParamValidationError  # noqa: E402
from airflow.sdk import DAG, Param, chain, cross_downstream, dag, task, task_group  # noqa: E402
from millrace_worker import child  # noqa: E402
from millrace_worker.wire import Frames, pack  # noqa: E402


def parse(text: str) -> dict[str, Any]:
    """As the worker does it: the outcome of a file with this text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.py"
        path.write_text("# airflow dag\n" + text)
        out = child.parse({"file": str(path)}, None)
    return json.loads(json.dumps(out))


def only(text: str) -> dict[str, Any]:
    out = parse(text)
    if out["error"]:
        raise AssertionError(out["error"])
    (d,) = out["dags"]
    return d


def tasks(d: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {t["task_id"]: t for t in d["tasks"]}


class Fake(server.Channel):
    def __init__(self, **values: Any) -> None:
        self.values, self.calls = values, []

    def call(self, method: str, **args: Any) -> Any:
        self.calls.append((method, args))
        v = self.values.get(method)
        return v(**args) if callable(v) else v


BASE = {"dag_id": "d", "task_id": "t", "run_id": "r", "logical_us": 1_792_535_400_123_456, "run_after_us": 1_792_535_400_123_456, "conf": {}}


class Building(unittest.TestCase):
    def test_edges_of_every_spelling(self) -> None:
        d = only("""
from airflow.sdk import DAG, Label, TaskGroup, chain, cross_downstream
from airflow.operators.empty import EmptyOperator as E
with DAG("d", schedule=None):
    a, b, c, e, f, g, h = (E(task_id=x) for x in "abcefgh")
    a >> [b, c] >> e
    f << e
    chain(f, [g, h])
    with TaskGroup("tg") as tg:
        x, y = E(task_id="x"), E(task_id="y")
        x >> Label("then") >> y
    [g, h] >> tg >> E(task_id="end")
    cross_downstream([a], [f])
""")
        up = {k: t["upstream"] for k, t in tasks(d).items()}
        self.assertEqual(up, {"a": [], "b": ["a"], "c": ["a"], "e": ["b", "c"], "f": ["a", "e"], "g": ["f"], "h": ["f"],
                              "tg.x": ["g", "h"], "tg.y": ["tg.x"], "end": ["tg.y"]})
        self.assertEqual(d["edges"], [{"from": "tg.x", "to": "tg.y", "label": "then"}])
        self.assertEqual(tasks(d)["a"]["weight"], 10)
        self.assertEqual(tasks(d)["end"]["weight"], 1)

    def test_taskflow_links_what_it_is_given(self) -> None:
        d = only("""
from airflow.sdk import dag, task, task_group
@dag(schedule="0 6 * * 1-5", params={"p": 1}, default_args={"retries": 2, "owner": "me"})
def flow():
    "The doc."
    @task
    def one(n): return n
    @task(multiple_outputs=True)
    def two(): return {"k": 1}
    @task_group
    def grp(v):
        return one(v)
    t = two()
    one({"deep": [t["k"]]})
    grp(one(t))
flow()
""")
        t = tasks(d)
        self.assertEqual(list(t), ["two", "one", "one__1", "grp.one"])
        self.assertEqual(t["grp.one"]["upstream"], ["one__1"])
        self.assertEqual(t["one"]["upstream"], ["two"])
        self.assertEqual((t["one"]["retries"], t["one"]["owner"], t["one"]["kind"]), (2, "me", "python"))
        self.assertEqual(d["schedule"]["cron"], "0 6 * * 1-5")
        self.assertEqual(d["doc_md"], "The doc.")

    def test_kinds(self) -> None:
        d = only("""
from airflow.sdk import DAG, task, BaseOperator
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
class Mine(BashOperator):
    pass
class Own(BaseOperator):
    def __init__(self, *, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size
with DAG("d", schedule=None, default_args={"size": 7}):
    @task
    def text(): return "select 1"
    BashOperator(task_id="bash", bash_command="true", env={"A": "b"}, skip_on_exit_code=[3])
    Mine(task_id="mine", bash_command="true")
    Own(task_id="own")
    EmptyOperator(task_id="empty")
    SQLExecuteQueryOperator(task_id="sql", sql=["select 1", "select 2"])
    SQLExecuteQueryOperator(task_id="refs", sql=text())
    BashOperator(task_id="hook", bash_command="true", pre_execute=print)
""")
        t = tasks(d)
        self.assertEqual({k: v["kind"] for k, v in t.items()}, {"text": "python", "bash": "bash", "mine": "python", "own": "python", "empty": "empty",
                                                               "sql": "sql", "refs": "sql", "hook": "python"})
        self.assertEqual(t["bash"]["args"]["skip_on_exit_code"], [3])
        self.assertEqual(t["sql"]["args"]["sql"], ["select 1", "select 2"])
        self.assertTrue(t["refs"]["args"]["refs"])
        self.assertEqual(t["refs"]["upstream"], ["text"])

    def test_setup_and_teardown(self) -> None:
        d = only("""
from airflow.sdk import DAG, setup, task, teardown
with DAG("d", schedule=None):
    @setup
    def make(): pass
    @task
    def work(): pass
    @teardown(on_failure_fail_dagrun=True)
    def clean(): pass
    m = make()
    m >> work() >> clean().as_teardown(setups=m, on_failure_fail_dagrun=True)
""")
        t = tasks(d)
        self.assertTrue(t["make"]["is_setup"])
        self.assertTrue(t["clean"]["is_teardown"] and t["clean"]["on_failure_fail_dagrun"])
        self.assertEqual(t["clean"]["trigger_rule"], "all_done_setup_success")
        self.assertEqual(t["clean"]["upstream"], ["make", "work"])

    def test_what_is_not_supported_says_so(self) -> None:
        for text, word in {
            "from airflow.sdk import Asset": "airflow.sdk.Asset",
            "from airflow.providers.amazon.aws.operators.s3 import S3ListOperator": "airflow.providers.amazon",
            "from airflow.sdk import task\n@task\ndef f(x): pass\nf.expand(x=[1])": "expand",
            "from airflow.operators.bash import BashOperator\nBashOperator.partial(task_id='x')": "partial",
            "from airflow.sdk import task\n@task.docker\ndef f(): pass": "task.docker",
            "from airflow.sdk import DAG\nfrom zoneinfo import ZoneInfo\nfrom datetime import datetime\n"
            "DAG('d', schedule='@daily', start_date=datetime(2026, 1, 1, tzinfo=ZoneInfo('Europe/Berlin')))": "time zone",
            "from airflow.sdk import DAG\nDAG('d', schedule=[1])": "assets",
        }.items():
            with self.subTest(text):
                error = parse(text)["error"]
                self.assertIn("docs/LIMITS.md", error)
                self.assertIn(word, error)

    def test_mistakes_are_named(self) -> None:
        empty = "from airflow.sdk import DAG, task\nfrom airflow.operators.empty import EmptyOperator as E\n"
        for text, word in {
            empty + "with DAG('d', schedule=None):\n    E(task_id='a'); E(task_id='a')": "used twice",
            empty + "with DAG('d d', schedule=None): pass": "dag_id 'd d'",
            empty + "with DAG('d', schedule=None):\n    E(task_id='a', colour='red')": "colour",
            empty + "with DAG('d', schedule=None):\n    a = E(task_id='a')\n    a >> a": "cycle: a -> a",
            empty + "with DAG('d', schedule=None):\n    a, b, c = E(task_id='a'), E(task_id='b'), E(task_id='c')\n    a >> b >> c >> b": "cycle",
            empty + "DAG('d', schedule_interval='@daily')": "schedule=",
            empty + "with DAG('d', schedule=None):\n    E(task_id='a', trigger_rule='all_god')": "all_god",
            empty + "with DAG('d', schedule=None):\n    @task\n    def f(x): pass\n    f()": "missing a required argument",
            empty + "with DAG('d', schedule='@daily', params={'p': __import__('airflow.sdk').sdk.Param(type='string')}): pass": "param 'p'",
            "1 / 0": "ZeroDivisionError",
            "import sys; sys.exit(3)": "SystemExit",
        }.items():
            with self.subTest(text):
                self.assertIn(word, parse(text)["error"])

    def test_a_helper_module_is_not_run(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "helper.py"
            path.write_text("raise RuntimeError('run')")
            self.assertEqual(child.parse({"file": str(path)}, None)["error"], None)

    def test_every_module_can_be_imported(self) -> None:
        import importlib
        import pkgutil

        import airflow

        names = [m.name for m in pkgutil.walk_packages(airflow.__path__, "airflow.")]
        self.assertGreater(len(names), 60)
        for name in names:
            with self.subTest(name):
                importlib.import_module(name)

    def test_chain_and_cross(self) -> None:
        from airflow.operators.empty import EmptyOperator

        with DAG("d", schedule=None) as d:
            a = [EmptyOperator(task_id=f"a{i}") for i in range(2)]
            b = [EmptyOperator(task_id=f"b{i}") for i in range(2)]
            c = [EmptyOperator(task_id=f"c{i}") for i in range(2)]
            chain(a, b)
            cross_downstream(b, c)
            with self.assertRaises(AirflowException):
                chain(a, b[:1])
        self.assertEqual(d.get_task("b1").upstream_task_ids, {"a1"})
        self.assertEqual(d.get_task("c0").upstream_task_ids, {"b0", "b1"})
        self.assertEqual([t.task_id for t in d.leaves], ["c0", "c1"])


class Running(unittest.TestCase):
    def context(self, fake: Fake, **more: Any) -> Any:
        server.set_channel(fake)
        return make_context({**BASE, **more}, None, None)

    def render(self, text: str, fake: Fake | None = None, **more: Any) -> Any:
        return render_value(text, self.context(fake or Fake(), **more), environment(None))

    def test_context_of_templates(self) -> None:
        for text, want in {
            "{{ ds }} {{ ds_nodash }}": "2026-10-20 20261020",
            "{{ ts }}": "2026-10-20T22:30:00.123456+00:00",
            "{{ ts_nodash }} {{ ts_nodash_with_tz }}": "20261020T223000 20261020T223000.123456+0000",
            "{{ macros.ds_add(ds, 5) }}": "2026-10-25",
            "{{ macros.ds_format(ds, '%Y-%m-%d', '%d.%m.%Y') }}": "20.10.2026",
            "{{ logical_date | ds }} {{ logical_date.strftime('%H') }}": "2026-10-20 22",
            "{{ run_id }} {{ dag_run.run_id }} {{ ti.task_id }} {{ ti.try_number }}": "r r t 1",
            "{{ var.value.get('x', 'd') }}": "d",
            "{% for i in range(3) %}{{ i }}{% endfor %}": "012",
        }.items():
            with self.subTest(text):
                self.assertEqual(self.render(text), want)

    def test_no_logical_date_no_ds(self) -> None:
        import jinja2

        with self.assertRaises(jinja2.UndefinedError):
            self.render("{{ ds }}", logical_us=None)

    def test_the_sandbox_holds(self) -> None:
        import jinja2

        for text in ("{{ ''.__class__.__mro__ }}", "{{ ti.__init__.__globals__ }}"):
            with self.subTest(text), self.assertRaises(jinja2.exceptions.SecurityError):
                self.render(text)

    def test_variables_and_connections_come_from_the_server(self) -> None:
        fake = Fake(var_get=lambda key: '{"a": 1}' if key == "v" else None,
                    conn_get=lambda conn_id: {"conn_id": conn_id, "conn_type": "postgres", "host": "h", "login": "l", "password": "p", "schema": "s",
                                              "extra": None, "description": None, "port": 5432})
        self.assertEqual(self.render("{{ var.json.v.a }} {{ var.value.v }}", fake), '1 {"a": 1}')
        self.assertEqual(self.render("{{ conn.c.host }}:{{ conn.c.port }}", fake), "h:5432")
        with self.assertRaises(KeyError):
            self.render("{{ var.value.absent }}", fake)

    def test_xcom_values(self) -> None:
        values = [1, 1.5, "ü", None, True, [1, {"a": []}], {"k": 1}, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc), date(2026, 1, 2),
                  timedelta(seconds=1.5), Decimal("1.10"), {1, 2}]
        for v in values:
            with self.subTest(v):
                self.assertEqual(xcom.loads(xcom.dumps(v)), v)
        for v in (b"x", object(), float("nan")):
            with self.subTest(v), self.assertRaises((TypeError, ValueError)):
                xcom.dumps(v)

    def test_params(self) -> None:
        p = Param(3, type="integer", minimum=1, maximum=5)
        self.assertEqual(p.resolve(5), 5)
        for bad in (0, 6, "3", True):
            with self.subTest(bad), self.assertRaises(ParamValidationError):
                p.resolve(bad)
        self.assertEqual(self.context(Fake(), conf={"x": 1})["params"]["x"], 1)

    def test_a_branch_skips_the_others(self) -> None:
        from airflow.operators.empty import EmptyOperator
        from airflow.operators.python import BranchPythonOperator, ShortCircuitOperator

        with DAG("d", schedule=None) as d:
            b = BranchPythonOperator(task_id="b", python_callable=lambda: "left")
            left, right, join = (EmptyOperator(task_id=x) for x in ("left", "right", "join"))
            b >> [left, right] >> join
            b >> join
            s = ShortCircuitOperator(task_id="s", python_callable=lambda: 0)
            s >> EmptyOperator(task_id="s1") >> EmptyOperator(task_id="s2")
        server.set_channel(Fake())
        context = make_context(BASE, d, b)
        b.execute(context)
        self.assertEqual(b._skip_ids, {"right"})  # join follows the chosen one too
        s.execute(make_context(BASE, d, s))
        self.assertEqual(s._skip_ids, {"s1", "s2"})
        b.python_callable = lambda: "absent"
        with self.assertRaises(AirflowException):
            b.execute(context)

    def test_bash_in_python(self) -> None:
        from airflow.operators.bash import BashOperator

        with DAG("d", schedule=None) as d:
            op = BashOperator(task_id="t", bash_command="echo one; echo $AIRFLOW_CTX_DAG_ID")
        context = make_context(BASE, d, op)
        self.assertEqual(op.execute(context), "d")
        op.bash_command = "exit 99"
        with self.assertRaises(AirflowSkipException):
            op.execute(context)
        op.bash_command = "exit 1"
        with self.assertRaises(AirflowException):
            op.execute(context)

    def test_arguments_from_the_context(self) -> None:
        @task
        def f(a: int, ti: Any = None, ds: Any = None, **context: Any) -> Any:
            return a, ti.task_id, ds, "params" in context

        with DAG("d", schedule=None) as d:
            f(1)
        server.set_channel(Fake())
        op = d.get_task("f")
        self.assertEqual(op.execute(make_context({**BASE, "task_id": "f"}, d, op)), (1, "f", "2026-10-20", True))


class Wire(unittest.TestCase):
    def test_frames_in_any_pieces(self) -> None:
        messages = [{"op": "x", "n": i, "t": "ä" * i} for i in range(50)]
        data = b"".join(pack(m) for m in messages)
        for size in (1, 3, 7, 4096):
            frames = Frames()
            got = [json.loads(f) for i in range(0, len(data), size) for f in frames.feed(data[i : i + size])]
            self.assertEqual(got, messages)
        with self.assertRaises(ValueError):
            Frames().feed(b"\xff\xff\xff\xff")


@dag(schedule=None)
def unused() -> None:
    @task_group
    def g() -> None:
        pass

    g()


if __name__ == "__main__":
    unittest.main()
