# SPDX-License-Identifier: Apache-2.0
"""Airflow's REST API v2: every answer is checked against Airflow's own OpenAPI description, and the official client works unchanged."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

SPEC_FILE = Path(__file__).resolve().parents[1] / "data/airflow_rest_v2.yaml"

GOOD_DAG = '''
"""Three tasks in a row, one of them in Python."""
from datetime import datetime, timedelta

from airflow.sdk import dag, task
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False, tags=["test", "api"], params={"who": "world"}, description="a test")
def api_test():
    begin = EmptyOperator(task_id="begin")
    say = BashOperator(task_id="say", bash_command="echo hello {{ params.who }}; echo second line")

    @task(retries=2, retry_delay=timedelta(seconds=0))
    def answer() -> dict:
        print("computing")
        return {"answer": 42}

    begin >> say >> answer()


api_test()
'''
FAILING_DAG = '''
from airflow.sdk import DAG
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG("api_failing", schedule=None):
    BashOperator(task_id="bad", bash_command="echo about to fail; exit 3") >> EmptyOperator(task_id="after")
'''
BROKEN_DAG = "from airflow.sdk import DAG\ndef broken(:\n"


def strict(node: Any) -> Any:
    """OpenAPI 3.0 to JSON Schema: nullable becomes a union, and objects with named properties allow no others."""
    if isinstance(node, list):
        return [strict(x) for x in node]
    if not isinstance(node, dict):
        return node
    out = {k: strict(v) for k, v in node.items() if k != "nullable"}
    if "properties" in out and out.get("type") == "object" and "additionalProperties" not in out:
        out["additionalProperties"] = False
    if node.get("nullable") is True:
        return {"anyOf": [out, {"type": "null"}]}
    return out


class Api:
    """Plain HTTP calls whose answers are checked against the description of the operation."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spec = yaml.load(SPEC_FILE.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self.components = {"components": {"schemas": strict(self.spec["components"]["schemas"])}}
        self.checked: set[tuple[str, str]] = set()

    def call(self, method: str, template: str, status: int, body: Any = None, query: str = "", headers: dict[str, str] | None = None, **params: Any) -> Any:
        path = template.format(**{k: urllib.request.quote(str(v), safe="") for k, v in params.items()})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path + query, data=data, method=method, headers={"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                got, kind, text = answer.status, answer.headers.get("Content-Type", ""), answer.read()
        except urllib.error.HTTPError as error:
            got, kind, text = error.code, error.headers.get("Content-Type", ""), error.read()
        assert got == status, f"{method} {path}{query}: {got} {text.decode()[:1000]}"
        if got == 204:
            assert text == b""
            return None
        if not kind.startswith("application/json"):
            return text.decode()
        value = json.loads(text)
        self.check(method, template, status, value)
        return value

    def check(self, method: str, template: str, status: int, value: Any) -> None:
        answers = self.spec["paths"][template][method.lower()]["responses"]
        if str(status) not in answers:
            assert status >= 400 and "detail" in value, f"{method} {template} does not describe status {status}"
            return
        schema = strict(answers[str(status)].get("content", {}).get("application/json", {}).get("schema", {}))
        validator = jsonschema.Draft202012Validator({**schema, **self.components}, format_checker=jsonschema.FormatChecker())
        errors = [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:400]}" for e in validator.iter_errors(value)]
        assert not errors, f"{method} {template} {status}:\n" + "\n".join(errors)
        self.checked.add((method, template))

    def wait(self, dag_id: str, run_id: str, seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            run = self.call("GET", RUN, 200, dag_id=dag_id, dag_run_id=run_id)
            if run["state"] in ("success", "failed"):
                return run
            assert time.monotonic() < deadline, run
            self.call("GET", RUN + "/wait", 200, query="?interval=1", dag_id=dag_id, dag_run_id=run_id)


DAG = "/api/v2/dags/{dag_id}"
RUN = DAG + "/dagRuns/{dag_run_id}"
TI = RUN + "/taskInstances/{task_id}"


@pytest.fixture(scope="module")
def api(server: Any) -> Iterator[Api]:
    folder = server.data / "dags"
    folder.mkdir(exist_ok=True)
    (folder / "good.py").write_text(GOOD_DAG)
    (folder / "failing.py").write_text(FAILING_DAG)
    (folder / "broken.py").write_text(BROKEN_DAG)
    one = Api(server.http)
    deadline = time.monotonic() + 60
    while True:  # the folder is looked at every few seconds
        dags = {d["dag_id"] for d in one.call("GET", "/api/v2/dags", 200)["dags"]}
        errors = one.call("GET", "/api/v2/importErrors", 200)["total_entries"]
        if {"api_test", "api_failing"} <= dags and errors == 1:
            break
        assert time.monotonic() < deadline, (dags, errors, server.log())
        time.sleep(0.1)
    one.call("PATCH", "/api/v2/dags", 200, {"is_paused": False}, "?dag_id_pattern=api_")
    yield one


@pytest.fixture(scope="module")
def run(api: Api) -> dict[str, Any]:
    started = api.call("POST", DAG + "/dagRuns", 200, {"logical_date": "2026-02-03T04:05:06Z", "conf": {"who": "mill"}, "note": "first"}, dag_id="api_test")
    assert started["run_type"] == "manual" and started["state"] in ("queued", "running")
    ended = api.wait("api_test", started["dag_run_id"])
    assert ended["state"] == "success", [api.call("GET", RUN + "/taskInstances", 200, dag_id="api_test", dag_run_id=started["dag_run_id"])]
    return ended


def test_dags(api: Api) -> None:
    listed = api.call("GET", "/api/v2/dags", 200, query="?limit=1&order_by=-dag_id")
    assert [d["dag_id"] for d in listed["dags"]] == ["api_test"] and listed["total_entries"] == 2
    assert api.call("GET", "/api/v2/dags", 200, query="?tags=test")["total_entries"] == 1
    assert api.call("GET", "/api/v2/dags", 200, query="?dag_id_pattern=fail")["total_entries"] == 1
    one = api.call("GET", DAG, 200, dag_id="api_test")
    assert sorted(t["name"] for t in one["tags"]) == ["api", "test"] and one["description"] == "a test"
    details = api.call("GET", DAG + "/details", 200, dag_id="api_test")
    assert details["catchup"] is False and "who" in details["params"] and details["latest_dag_version"]["version_number"] == 1
    tasks = api.call("GET", DAG + "/tasks", 200, dag_id="api_test")
    assert [t["task_id"] for t in tasks["tasks"]] and {t["task_id"] for t in tasks["tasks"]} == {"begin", "say", "answer"}
    task = api.call("GET", DAG + "/tasks/{task_id}", 200, dag_id="api_test", task_id="answer")
    assert task["retries"] == 2 and task["retry_delay"]["seconds"] == 0
    assert api.call("GET", "/api/v2/dagTags", 200)["tags"] == ["api", "test"]
    assert "def broken" not in api.call("GET", "/api/v2/dagSources/{dag_id}", 200, dag_id="api_test")["content"]
    assert "def api_test" in api.call("GET", "/api/v2/dagSources/{dag_id}", 200, dag_id="api_test", headers={"Accept": "text/plain"})
    assert api.call("GET", DAG + "/dagVersions", 200, dag_id="api_test")["total_entries"] == 1
    api.call("GET", DAG + "/dagVersions/{version_number}", 200, dag_id="api_test", version_number=1)
    api.call("GET", "/api/v2/dagWarnings", 200)


def test_pausing(api: Api) -> None:
    assert api.call("PATCH", DAG, 200, {"is_paused": True}, dag_id="api_failing")["is_paused"] is True
    assert api.call("GET", "/api/v2/dags", 200, query="?paused=true")["total_entries"] == 1
    assert api.call("PATCH", DAG, 200, {"is_paused": False}, dag_id="api_failing")["is_paused"] is False


def test_import_errors(api: Api) -> None:
    listed = api.call("GET", "/api/v2/importErrors", 200)["import_errors"]
    assert len(listed) == 1 and listed[0]["filename"].endswith("broken.py") and "SyntaxError" in listed[0]["stack_trace"]
    api.call("GET", "/api/v2/importErrors/{import_error_id}", 200, import_error_id=listed[0]["import_error_id"])


def test_a_run(api: Api, run: dict[str, Any]) -> None:
    assert run["logical_date"] == "2026-02-03T04:05:06Z" and run["conf"] == {"who": "mill"} and run["note"] == "first"
    assert run["duration"] >= 0 and run["dag_versions"][0]["version_number"] == 1
    ids = {"dag_id": "api_test", "dag_run_id": run["dag_run_id"]}
    tis = api.call("GET", RUN + "/taskInstances", 200, **ids)
    assert {t["task_id"]: t["state"] for t in tis["task_instances"]} == {"begin": "success", "say": "success", "answer": "success"}
    one = api.call("GET", TI, 200, task_id="say", **ids)
    assert one["try_number"] == 1 and one["map_index"] == -1
    api.call("GET", TI + "/{map_index}", 200, task_id="say", map_index=-1, **ids)
    api.call("GET", TI + "/{map_index}", 404, task_id="say", map_index=3, **ids)
    assert api.call("GET", TI + "/tries", 200, task_id="say", **ids)["total_entries"] == 1
    api.call("GET", TI + "/tries/{task_try_number}", 200, task_id="say", task_try_number=1, **ids)
    api.call("GET", TI + "/dependencies", 200, task_id="say", **ids)
    api.call("GET", TI + "/links", 200, task_id="say", **ids)
    batch = api.call("POST", RUN + "/taskInstances/list", 200, {"dag_ids": ["api_test"], "state": ["success"]}, dag_id="~", dag_run_id="~")
    assert batch["total_entries"] >= 3


def test_logs(api: Api, run: dict[str, Any]) -> None:
    ids = {"dag_id": "api_test", "dag_run_id": run["dag_run_id"], "try_number": 1}
    log = api.call("GET", TI + "/logs/{try_number}", 200, task_id="say", **ids)
    text = "\n".join(line["event"] for line in log["content"])
    assert "hello mill" in text and "second line" in text and log["continuation_token"] is None
    assert "computing" in json.dumps(api.call("GET", TI + "/logs/{try_number}", 200, task_id="answer", **ids))
    lines = api.call("GET", TI + "/logs/{try_number}", 200, task_id="say", headers={"Accept": "application/x-ndjson"}, **ids)
    assert any("hello mill" in json.loads(line)["event"] for line in lines.splitlines())
    api.call("GET", TI + "/logs/{try_number}", 404, task_id="nobody", **ids)


def test_xcom(api: Api, run: dict[str, Any]) -> None:
    ids = {"dag_id": "api_test", "dag_run_id": run["dag_run_id"], "task_id": "answer"}
    listed = api.call("GET", TI + "/xcomEntries", 200, **ids)
    assert "return_value" in [x["key"] for x in listed["xcom_entries"]]
    entry = TI + "/xcomEntries/{xcom_key}"
    assert api.call("GET", entry, 200, xcom_key="return_value", **ids)["value"] == {"answer": 42}
    assert json.loads(api.call("GET", entry, 200, xcom_key="return_value", query="?stringify=true", **ids)["value"]) == {"answer": 42}
    assert api.call("POST", TI + "/xcomEntries", 201, {"key": "mine", "value": [1, None, "x"]}, **ids)["value"] == [1, None, "x"]
    api.call("POST", TI + "/xcomEntries", 409, {"key": "mine", "value": 1}, **ids)
    assert api.call("PATCH", entry, 200, {"value": "new"}, xcom_key="mine", **ids)["value"] == "new"
    api.call("DELETE", entry, 204, xcom_key="mine", **ids)
    api.call("GET", entry, 404, xcom_key="mine", **ids)


def test_listing_runs(api: Api, run: dict[str, Any]) -> None:
    listed = api.call("GET", DAG + "/dagRuns", 200, query="?state=success&limit=5&order_by=-run_after", dag_id="api_test")
    assert run["dag_run_id"] in [x["dag_run_id"] for x in listed["dag_runs"]]
    assert api.call("GET", DAG + "/dagRuns", 200, query="?logical_date_lt=2026-02-03T04:05:06Z", dag_id="api_test")["total_entries"] == 0
    assert api.call("GET", DAG + "/dagRuns", 200, query="?logical_date_lte=2026-02-03T04:05:06Z", dag_id="api_test")["total_entries"] == 1
    assert api.call("POST", DAG + "/dagRuns/list", 200, {"dag_ids": ["api_test"], "page_limit": 1}, dag_id="~")["total_entries"] >= 1
    stats = api.call("GET", "/api/v2/dagStats", 200, query="?dag_ids=api_test")["dags"][0]["stats"]
    assert {"state": "success", "count": 1} in stats
    events = api.call("GET", "/api/v2/eventLogs", 200, query="?dag_id=api_test")
    if events["event_logs"]:
        api.call("GET", "/api/v2/eventLogs/{event_log_id}", 200, event_log_id=events["event_logs"][0]["event_log_id"])


def test_a_failing_run_cleared_and_marked(api: Api) -> None:
    started = api.call("POST", DAG + "/dagRuns", 200, {"logical_date": None, "dag_run_id": "mine:1"}, dag_id="api_failing")
    ids = {"dag_id": "api_failing", "dag_run_id": started["dag_run_id"]}
    assert api.wait(**{"dag_id": "api_failing", "run_id": "mine:1"})["state"] == "failed"
    states = {t["task_id"]: t["state"] for t in api.call("GET", RUN + "/taskInstances", 200, **ids)["task_instances"]}
    assert states == {"bad": "failed", "after": "upstream_failed"}
    would = api.call("POST", DAG + "/clearTaskInstances", 200, {"dry_run": True, "dag_run_id": "mine:1", "only_failed": True}, dag_id="api_failing")
    assert {t["task_id"] for t in would["task_instances"]} == {"bad", "after"}
    api.call("PATCH", TI + "/dry_run", 200, {"new_state": "success"}, task_id="bad", **ids)
    api.call("PATCH", TI, 200, {"new_state": "success", "note": "by hand"}, task_id="bad", **ids)
    one = api.call("GET", TI, 200, task_id="bad", **ids)
    assert one["state"] == "success" and one["note"] == "by hand"
    assert api.call("PATCH", RUN, 200, {"state": "success", "note": "fine"}, **ids)["note"] == "fine"
    assert api.wait("api_failing", "mine:1")["state"] == "success"
    assert api.call("POST", RUN + "/clear", 200, {"dry_run": False}, **ids)["state"] in ("queued", "running", "failed")
    assert api.wait("api_failing", "mine:1")["state"] == "failed"
    api.call("DELETE", RUN, 204, **ids)
    api.call("GET", RUN, 404, **ids)


def test_variables(api: Api) -> None:
    one = "/api/v2/variables/{variable_key}"
    assert api.call("POST", "/api/v2/variables", 201, {"key": "a", "value": "text", "description": "d"})["value"] == "text"
    api.call("POST", "/api/v2/variables", 409, {"key": "a", "value": "again"})
    api.call("POST", "/api/v2/variables", 201, {"key": "obj", "value": {"n": 1}})
    assert json.loads(api.call("GET", one, 200, variable_key="obj")["value"]) == {"n": 1}
    assert api.call("PATCH", one, 200, {"key": "a", "value": "new"}, variable_key="a")["description"] == "d"
    assert api.call("GET", "/api/v2/variables", 200, query="?variable_key_pattern=ob")["total_entries"] == 1
    api.call("DELETE", one, 204, variable_key="a")
    api.call("GET", one, 404, variable_key="a")


def test_connections(api: Api) -> None:
    one = "/api/v2/connections/{connection_id}"
    body = {"connection_id": "pg", "conn_type": "postgres", "host": "h", "port": 5432, "login": "u", "password": "secret", "extra": '{"api_token": "s", "x": 1}'}
    made = api.call("POST", "/api/v2/connections", 201, body)
    assert made["password"] == "***" and json.loads(made["extra"]) == {"api_token": "***", "x": 1}
    api.call("POST", "/api/v2/connections", 409, body)
    changed = api.call("PATCH", one, 200, {"connection_id": "pg", "conn_type": "postgres", "port": 1}, query="?update_mask=port", connection_id="pg")
    assert changed["port"] == 1 and changed["host"] == "h"
    assert "pg" in [c["connection_id"] for c in api.call("GET", "/api/v2/connections", 200)["connections"]]
    api.call("DELETE", one, 204, connection_id="pg")
    api.call("GET", one, 404, connection_id="pg")
    api.call("POST", "/api/v2/connections", 422, {"connection_id": "bad id", "conn_type": "x"})


def test_pools(api: Api) -> None:
    one = "/api/v2/pools/{pool_name}"
    assert "default_pool" in [p["name"] for p in api.call("GET", "/api/v2/pools", 200)["pools"]]
    assert api.call("POST", "/api/v2/pools", 201, {"name": "two", "slots": 2})["open_slots"] == 2
    assert api.call("PATCH", one, 200, {"slots": 3}, pool_name="two")["slots"] == 3
    api.call("DELETE", one, 204, pool_name="two")
    api.call("GET", one, 404, pool_name="two")


def test_bad_requests(api: Api) -> None:
    api.call("GET", DAG, 404, dag_id="nobody")
    api.call("POST", DAG + "/dagRuns", 404, {"logical_date": None}, dag_id="nobody")
    api.call("POST", DAG + "/dagRuns", 422, {"conf": "text"}, dag_id="api_test")
    api.call("POST", DAG + "/dagRuns", 422, {"logical_date": "yesterday"}, dag_id="api_test")
    api.call("POST", DAG + "/dagRuns", 422, {"surprise": 1}, dag_id="api_test")
    api.call("POST", DAG + "/dagRuns", 409, {"logical_date": "2026-02-03T04:05:06Z"}, dag_id="api_test") if _ran(api) else None
    api.call("GET", "/api/v2/dags", 422, query="?limit=-1")
    api.call("GET", DAG + "/dagRuns", 422, query="?state=tired", dag_id="api_test")
    api.call("GET", "/api/v2/dags", 501, query="?is_favorite=true")
    api.call("GET", "/api/v2/assets", 501)
    api.call("PATCH", DAG, 422, {}, dag_id="api_test")


def _ran(api: Api) -> bool:
    found = api.call("GET", DAG + "/dagRuns", 200, query="?logical_date_gte=2026-02-03T04:05:06Z&logical_date_lte=2026-02-03T04:05:06Z", dag_id="api_test")
    return bool(found["dag_runs"])


def test_every_operation_of_airflow_is_answered(api: Api) -> None:
    """What is not there says 501 with a message; nothing is an unknown path."""
    for template, operations in api.spec["paths"].items():
        for method in operations:
            if method not in ("get", "post", "put", "patch", "delete") or "/auth/" in template:
                continue
            path = template.replace("{dag_id}", "nobody").replace("{map_index}", "-1")
            for name in ("try_number", "task_try_number", "version_number", "asset_id", "event_log_id", "import_error_id", "backfill_id"):
                path = path.replace("{" + name + "}", "999999")
            path = path.replace("{", "").replace("}", "")
            request = urllib.request.Request(api.url + path, method=method.upper(), data=None if method in ("get", "delete") else b"{}")
            request.add_header("Content-Type", "application/json")
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    status, text = answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                status, text = error.code, error.read().decode()
            assert status in (200, 201, 204, 404, 409, 422, 501), (method, path, status, text)
            assert status < 400 or json.loads(text)["detail"], (method, path, status, text)
            assert "no such path" not in text, (method, path)


def test_official_client(api: Api, server: Any) -> None:
    client = pytest.importorskip("airflow_client.client")
    token = api_token(server.http)
    configuration = client.Configuration(host=server.http)
    configuration.access_token = token
    with client.ApiClient(configuration) as connection:
        assert client.VersionApi(connection).get_version().version.startswith("3.")
        assert client.MonitorApi(connection).get_health().scheduler.status == "healthy"
        dags = client.DAGApi(connection).get_dags(limit=10)
        assert "api_test" in [d.dag_id for d in dags.dags]
        runs = client.DagRunApi(connection)
        made = runs.trigger_dag_run("api_test", client.TriggerDAGRunPostBody(logical_date=None))
        assert api.wait("api_test", made.dag_run_id)["state"] == "success"
        assert runs.get_dag_run("api_test", made.dag_run_id).state == "success"
        instances = client.TaskInstanceApi(connection)
        tis = instances.get_task_instances("api_test", made.dag_run_id)
        assert {t.task_id for t in tis.task_instances} == {"begin", "say", "answer"}
        log = instances.get_log("api_test", made.dag_run_id, "say", 1)
        assert "hello world" in str(log.content)
        value = client.XComApi(connection).get_xcom_entry(dag_id="api_test", dag_run_id=made.dag_run_id, task_id="answer", xcom_key="return_value")
        assert value.actual_instance.value == {"answer": 42}


def api_token(url: str) -> str:
    with urllib.request.urlopen(url + "/auth/token", timeout=20) as answer:
        assert answer.status == 201
        return str(json.load(answer)["access_token"])


def test_commands(api: Api, server: Any, run: dict[str, Any]) -> None:
    listed = json.loads(server.cli("dags", "list", "--output", "json").stdout)
    assert "api_test" in [d["dag_id"] for d in listed]
    done = server.cli("dags", "trigger", "api_test", "--wait", "--conf", '{"who": "cli"}')
    run_id = done.stdout.strip()
    assert "success" in done.stderr
    assert "hello cli" in server.cli("dags", "logs", "api_test", run_id, "say").stdout
    assert "answer" in server.cli("dags", "tasks", "api_test").stdout
    assert run_id in server.cli("dags", "runs", "api_test").stdout
    assert "broken.py" in server.cli("dags", "errors").stdout
    failed = server.cli("dags", "trigger", "api_failing", "--wait", check=False)
    assert failed.returncode == 1 and "failed" in failed.stderr
    missing = server.cli("dags", "trigger", "nobody", check=False)
    assert missing.returncode == 4, missing.stderr
