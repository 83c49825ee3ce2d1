#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the section "Conformance" of docs/KAFKA.md from build/conformance/results, between its two marks."""

from __future__ import annotations

import json
import sys
from collections import defaultdict

from lib import TOP, WORK

ORDER = ("librdkafka", "librdkafka-consumer", "kafka-tests", "kafka-tests-streams", "kafka-tools", "streams", "connect", "clients")
BEGIN, END = "<!-- conformance: begin -->", "<!-- conformance: end -->"


def clean(text: str) -> str:
    return " ".join(text.replace("|", "/").replace(str(TOP), "").replace("/tmp/", "").split())[:200]


def part(name: str) -> tuple[str, list[str]] | None:
    file = WORK / "results" / f"{name}.jsonl"
    if not file.exists():
        return None
    head, *results = [json.loads(line) for line in file.read_text().splitlines()]
    count: dict[str, int] = defaultdict(int)
    for r in results:
        count[r["state"]] += 1
    row = f"| {head['title']} ({head['version'] or 'see below'}) | {count['passed']} | {count['failed']} | {count['excluded']} | {head['when']} |"
    lines = []
    if name == "clients":
        by: dict[str, list[str]] = defaultdict(list)
        for r in results:
            title, _, what = r["name"].partition(": ")
            by[title].append(("" if r["state"] == "passed" else f"**{r['state']}** ") + (what or r["why"]))
        lines += [f"- {title}: " + "; ".join(clean(w) for w in whats) + "." for title, whats in by.items()]
    failed = [r for r in results if r["state"] == "failed"]
    if failed and name != "clients":
        lines += ["", "Failed:", ""] + [f"- `{clean(r['name'])}`: {clean(r['why'])}" for r in failed]
    reasons: dict[str, list[str]] = defaultdict(list)
    for r in results:
        if r["state"] == "excluded" and name != "clients":
            reasons[clean(r["why"])].append(clean(r["name"]))
    if reasons:
        lines += ["", "Excluded:", ""] + [f"- {why}: " + ", ".join(f"`{n}`" for n in names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") for why, names in reasons.items()]
    return row, ([f"### {head['title']}", "", *lines, ""] if lines else [])


def main() -> int:
    rows, sections = [], []
    for name in ORDER:
        found = part(name)
        if found:
            rows.append(found[0])
            sections += found[1]
    text = [BEGIN, "", "Written by `tests/conformance/report.py` from the runs of `make conformance`; do not edit.", ""]
    text += ["| programs | passed | failed | excluded | run |", "| --- | --- | --- | --- | --- |", *rows, "", *sections, END]
    page = TOP / "docs/KAFKA.md"
    old = page.read_text() if page.exists() else "# Kafka\n"
    if BEGIN in old:
        new = old[: old.index(BEGIN)] + "\n".join(text) + old[old.index(END) + len(END) :]
    else:
        new = old.rstrip() + "\n\n## Conformance\n\nPrograms that no one here wrote, each from its registry, against this server.\n\n" + "\n".join(text) + "\n"
    page.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
