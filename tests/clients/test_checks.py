# SPDX-License-Identifier: Apache-2.0
"""Data quality checks from outside: the command runs a suite, the REST door shows the stored results."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SUITE = {
    "name": "numbers",
    "expectations": [
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a"}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "a", "min_value": 1, "max_value": 3}},
    ],
}


def get(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_results_of_checks(server: Any, scratch: Path) -> None:
    base = server.http + "/api/millrace/checks"
    assert get(base) == (200, {"checks": [], "total_entries": 0})
    suite = scratch / "suite.json"
    suite.write_text(json.dumps(SUITE))
    server.cli("sql", "-c", "create schema s")
    server.cli("sql", "-c", "create table s.t as select * from (values (1), (2), (3)) v(a)")
    server.cli("check", "s.t", str(suite))
    status, listed = get(base)
    assert status == 200 and listed["total_entries"] == 1
    assert listed["checks"][0]["table"] == "s.t" and listed["checks"][0]["success"] is True
    server.cli("sql", "-c", "insert into s.t values (7), (null)")
    failed = server.cli("check", "s.t", str(suite), check=False)
    assert failed.returncode == 1, failed.stderr
    status, listed = get(base + "/s.t")
    assert status == 200 and [c["success"] for c in listed["checks"]] == [False, True]
    assert get(base + "/s.t?limit=1&offset=1")[1]["checks"][0]["success"] is True
    status, result = get(base + "/s.t/latest")
    assert status == 200 and result["success"] is False and result["statistics"]["unsuccessful_expectations"] == 2
    assert get(f"{base}/s.t/{listed['checks'][1]['time']}")[1]["success"] is True
    assert get(base + "/s.u")[0] == 404
    assert get(base + "/s.t/1999")[0] == 404
    for bad in ("..", "%2e%2e", "..%2f..%2flog", "s.t%2f..", "%2fetc"):
        assert get(f"{base}/{bad}")[0] == 404
        assert get(f"{base}/{bad}/latest")[0] == 404
