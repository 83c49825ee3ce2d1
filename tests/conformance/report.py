#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the section "Conformance" of docs/KAFKA.md from build/conformance/results, between its two marks.

A row says which form its run had, and of which revision and day it is; results that were run again by themselves at another revision are
told apart. A short run stands there only where there is no other. Nothing is written while an excluded result has no reason.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from typing import Any

from lib import TOP, WORK

ORDER = ("librdkafka", "librdkafka-consumer", "kafka-tests", "kafka-tests-streams", "kafka-tools", "kafka-newer", "streams", "connect", "clients")
BEGIN, END = "<!-- conformance: begin -->", "<!-- conformance: end -->"


def clean(text: str) -> str:
    return " ".join(text.replace("|", "/").replace(str(TOP), "").replace("/tmp/", "").split())[:200]


class Part:
    """One file of results."""

    def __init__(self, name: str, head: dict[str, Any], results: list[dict[str, Any]]) -> None:
        self.name, self.title, self.results = name, head["title"], results
        self.version, self.when = head["version"] or "see below", head["when"]
        self.revision = head.get("revision", "unknown")
        self.form = head.get("form", "unknown") + ("" if head.get("finished", True) else ", not to its end")
        self.count: dict[str, int] = defaultdict(int)
        self.later: dict[tuple[str, str], list[str]] = defaultdict(list)  # results of another revision, by it and its day
        for r in results:
            self.count[r["state"]] += 1
            if "revision" in r:
                self.later[r["revision"], r["when"]].append(r["name"])

    def revisions(self) -> set[str]:
        return {self.revision} | {revision for revision, _ in self.later}

    def row(self) -> str:
        others = "".join(f"; {len(names)} at {revision}, {when}" for (revision, when), names in self.later.items())
        count = self.count
        return f"| {self.title} ({self.version}) | {count['passed']} | {count['failed']} | {count['excluded']} | {clean(self.form)} | {self.revision}{others} | {self.when} |"

    def without_reason(self) -> list[str]:
        return [f"{self.title}: {r['name']}" for r in self.results if r["state"] == "excluded" and not r["why"].strip()]

    def section(self) -> list[str]:
        """Its paragraphs: lists, each after its heading."""
        lines = self.programs() if self.name == "clients" else self.failures() + self.exclusions()
        for (revision, when), names in self.later.items():
            lines += [f"Run again at {revision}, {when}:", "", "- " + few(names), ""]
        return [f"### {self.title}", "", *lines] if lines else []

    def programs(self) -> list[str]:
        by: dict[str, list[str]] = defaultdict(list)
        for r in self.results:
            title, _, what = r["name"].partition(": ")
            by[title].append(("" if r["state"] == "passed" else f"**{r['state']}** ") + (what or r["why"]))
        return [*(f"- {title}: " + "; ".join(clean(w) for w in whats) + "." for title, whats in by.items()), ""] if by else []

    def failures(self) -> list[str]:
        failed = [f"- `{clean(r['name'])}`: {clean(r['why']) or 'no words'}" for r in self.results if r["state"] == "failed"]
        return ["Failed:", "", *failed, ""] if failed else []

    def exclusions(self) -> list[str]:
        reasons: dict[str, list[str]] = defaultdict(list)
        for r in self.results:
            if r["state"] == "excluded":
                reasons[clean(r["why"])].append(r["name"])
        return ["Excluded:", "", *(f"- {why}: {few(names)}" for why, names in reasons.items()), ""] if reasons else []


def few(names: list[str]) -> str:
    return ", ".join(f"`{clean(n)}`" for n in names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def read(name: str) -> Part | None:
    for file in (WORK / "results" / f"{name}.jsonl", WORK / "results" / f"short-{name}.jsonl"):
        if file.exists():
            head, *results = [json.loads(line) for line in file.read_text().splitlines()]
            return Part(name, head, results)
    return None


def section(parts: list[Part]) -> list[str]:
    text = [BEGIN, "", "Written by `tests/conformance/report.py` from the runs of `make conformance`; do not edit.", ""]
    text += ["| programs | passed | failed | excluded | form | revision | day |", "| --- | --- | --- | --- | --- | --- | --- |", *(p.row() for p in parts), ""]
    revisions = set().union(*(p.revisions() for p in parts))
    if len(revisions) > 1:
        text += [f"These are results of {len(revisions)} revisions: {', '.join(sorted(revisions))}.", ""]
    for p in parts:
        text += p.section()
    return [*text, END]


def main() -> int:
    parts = [p for p in map(read, ORDER) if p is not None]
    bare = [x for p in parts for x in p.without_reason()]
    if bare:
        print("report: excluded without a reason (docs/KAFKA.md is left as it was):", *bare, sep="\n  ", file=sys.stderr)
        return 1
    text = "\n".join(section(parts))
    page = TOP / "docs/KAFKA.md"
    old = page.read_text() if page.exists() else "# Kafka\n"
    if BEGIN in old:
        new = old[: old.index(BEGIN)] + text + old[old.index(END) + len(END) :]
    else:
        new = old.rstrip() + "\n\n## Conformance\n\nPrograms that no one here wrote, each from its registry, against this server.\n\n" + text + "\n"
    page.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
