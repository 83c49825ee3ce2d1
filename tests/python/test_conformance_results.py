# SPDX-License-Identifier: Apache-2.0
"""What the conformance scripts keep of their runs (lib.Results), and the section that report.py makes of it; and how `run` ends its parts."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import signal
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).resolve().parents[1] / "conformance"
sys.path.append(str(HERE))
before = signal.getsignal(signal.SIGTERM)
import lib  # noqa: E402
import report  # noqa: E402

signal.signal(signal.SIGTERM, before)


def load_run() -> Any:
    loader = importlib.machinery.SourceFileLoader("conformance_run", str(HERE / "run"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


class Kept(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name)
        (self.top / "docs").mkdir()
        self.page = self.top / "docs/KAFKA.md"
        self.page.write_text(f"# Kafka\n\nbefore\n\n{report.BEGIN}\nold\n{report.END}\n\nafter\n")
        for module, name, value in ((lib, "WORK", self.top), (report, "WORK", self.top), (report, "TOP", self.top)):
            patch = mock.patch.object(module, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        self.said = io.StringIO()
        quiet = contextlib.redirect_stdout(self.said)
        quiet.__enter__()
        self.addCleanup(quiet.__exit__, None, None, None)

    def part(self, at: str, results: dict[str, tuple[str, str]], part: str = "streams", end: bool = True, **how: bool) -> None:
        with mock.patch.dict(os.environ, {"CONFORMANCE_REVISION": at}):
            kept = lib.Results(part, "Kafka Streams", "Kafka 4", **how)
        for name, (state, why) in results.items():
            kept.add(name, state, 0.1, why)
        if end:
            kept.end()

    def text(self) -> str:
        self.assertEqual(report.main(), 0)
        return self.page.read_text()

    def test_a_short_run_leaves_the_full_one(self) -> None:
        self.part("aaa", {"one": ("passed", ""), "two": ("failed", "broke")})
        self.part("bbb", {"one": ("passed", "")}, short=True)
        text = self.text()
        self.assertIn("| Kafka Streams (Kafka 4) | 1 | 1 | 0 | all | aaa | ", text)
        self.assertNotIn("bbb", text)
        self.assertTrue(text.startswith("# Kafka\n\nbefore\n\n") and text.endswith("\n\nafter\n") and "old" not in text)
        self.assertNotIn("\n\n\n", text)

    def test_a_short_run_is_told_where_there_is_no_other(self) -> None:
        self.part("bbb", {"one": ("passed", "")}, short=True)
        text = self.text()
        self.assertIn("| 1 | 0 | 0 | short | bbb | ", text)
        self.assertNotIn("Failed:", text)

    def test_single_tests_keep_the_others_and_their_revision(self) -> None:
        self.part("aaa", {"One.a": ("passed", ""), "One.b": ("failed", "broke"), "Two.a": ("passed", "")})
        self.part("bbb", {"One.b": ("passed", "")}, keep=True)
        head, *lines = [json.loads(line) for line in (self.top / "results/streams.jsonl").read_text().splitlines()]
        self.assertEqual((head["revision"], head["form"], head["finished"]), ("aaa", "all", True))
        self.assertEqual({line["name"]: line.get("revision") for line in lines}, {"One.a": None, "Two.a": None, "One.b": "bbb"})
        text = self.text()
        self.assertIn("| 3 | 0 | 0 | all | aaa; 1 at bbb, ", text)
        self.assertIn("These are results of 2 revisions: aaa, bbb.", text)
        self.assertIn("\n- `One.b`\n", text)

    def test_a_run_that_was_cut_is_told(self) -> None:
        self.part("aaa", {"one": ("passed", "")}, end=False)
        self.assertIn("| all, not to its end | aaa | ", self.text())

    def test_an_exclusion_wants_a_reason(self) -> None:
        self.part("aaa", {"one": ("excluded", " ")})
        old, words = self.page.read_text(), io.StringIO()
        with contextlib.redirect_stderr(words):
            self.assertEqual(report.main(), 1)
        self.assertIn("Kafka Streams: one", words.getvalue())
        self.assertEqual(self.page.read_text(), old)


class Lanes(unittest.TestCase):
    def outcome(self, script: str, limit: int = 60) -> tuple[Any, bool, str]:
        run = load_run()
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "part.py").write_text(script)
            (Path(folder) / "logs").mkdir()
            said = io.StringIO()
            with (mock.patch.object(run, "HERE", Path(folder)), mock.patch.object(run, "WORK", Path(folder)), mock.patch.object(run, "TOP", Path(folder)),
                  mock.patch.dict(run.PARTS, {"part": run.Part(("part.py",), limit)}), mock.patch.object(run, "revision", lambda: "aaa"),
                  contextlib.redirect_stdout(said)):
                lanes = run.Run(["part"], short=False)
                lanes.outcomes["part"] = lanes.one("part")
                return lanes.outcomes["part"], lanes.table(1.0), said.getvalue()

    def test_counts_and_shows_what_is_done(self) -> None:
        found, well, said = self.outcome("print('== fetch it')\nprint('ok    one   0.1 s')\nprint('-     two   0.0 s  no')\nprint('ok then')")
        self.assertEqual((found.state, found.passed, found.failed, found.excluded, well), ("ok", 1, 0, 1, True))
        self.assertIn("part: == fetch it", said)
        self.assertTrue(said.endswith("1 passed, 0 failed\n"))

    def test_a_failure_shows_the_end_of_the_log(self) -> None:
        found, well, said = self.outcome("print('words before')\nprint('FAIL  one   0.1 s  broke')\nraise SystemExit(1)")
        self.assertEqual((found.state, found.failed, well), ("FAILED", 1, False))
        self.assertIn("    | words before", said)

    def test_what_fails_without_a_result_is_one_failure(self) -> None:
        _, well, said = self.outcome("raise SystemExit(3)")
        self.assertFalse(well)
        self.assertTrue(said.endswith("0 passed, 1 failed\n"))

    def test_the_time_limit_ends_it(self) -> None:
        found, well, _ = self.outcome("import signal\nprint('ok    one   0.1 s', flush=True)\nsignal.pause()", limit=1)
        self.assertEqual((found.state, found.passed, well), ("FAILED: not done in 1 s", 1, False))


if __name__ == "__main__":
    unittest.main()
