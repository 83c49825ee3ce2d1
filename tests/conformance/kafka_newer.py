#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What only Apache Kafka 4.4's own clients and tools ask for: Streams' descriptions of topologies (KIP-1331), kafka-features, kafka-streams-groups.

The other parts use the version of the peers' harness; here Kafka 4.4's jars come from Maven, into a folder of their own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import lib
from lib import WORK, Results, Server, arguments, environment, java, java_command, main_of, prepare

VERSION = "4.4.0"
LIMIT = 120
PLUGIN = {"group.streams.topology.description.plugin.class": "org.apache.kafka.server.streams.InMemoryTopologyDescriptionPlugin"}
STREAMS_GROUPS, FEATURES = "org.apache.kafka.tools.streams.StreamsGroupCommand", "org.apache.kafka.tools.FeatureCommand"
TOLD = r"Source: KSTREAM-SOURCE-\d+ \(topics: \[words\]\).*Sink: \S+ \(topic: counted\).*for global store.*\(stores: \[all\]\)"


def home() -> Path:
    """Kafka 4.4's jars under build/conformance, where lib.kafka_home() finds them."""
    folder = WORK / f"kafka-{VERSION}"
    done = folder / ".complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        copy = ["dependency:copy-dependencies", f"-Dkafka.version={VERSION}", "-DincludeScope=runtime", f"-DoutputDirectory={folder}/libs"]
        prepare(f"Maven: the jars of Apache Kafka {VERSION}", ["mvn", "-B", "-ntp", "-q", "-Dstyle.color=never", "-f", lib.HERE / "java/newer-pom.xml", *copy], tries=2)
        done.write_text(VERSION)
    return folder


def compiled() -> Path:
    classes = WORK / "classes-newer"
    classes.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).parent / "java/TopologyProof.java"
    prepare(f"compile {source.name}", [Path(java()).parent / "javac", "--release", "17", "-nowarn", "-cp", f"{lib.kafka_home()}/libs/*", "-d", classes, source], 120)
    return classes


def check(results: Results, name: str, command: list[str], wanted: str) -> bool:
    log = WORK / f"logs/newer-{name.replace(' ', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    start, code = time.monotonic(), 124
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, env=environment())
        code, output = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as e:
        output = ((e.stdout or b"") + (e.stderr or b"")).decode(errors="replace")
    log.write_text(output)
    ok = code == 0 and re.search(wanted, output, re.S) is not None
    results.add(name, "passed" if ok else "failed", time.monotonic() - start, "" if ok else f"exit {code}, see {log}")
    return ok


def main() -> int:
    args = arguments(__doc__ or "").parse_args()
    results = Results("kafka-newer", "Apache Kafka 4.4: what is new in its clients and tools", f"Kafka {VERSION}", short=args.short)
    lib.KAFKA_VERSION, lib.KAFKA_HOME = VERSION, home()
    classes = compiled()
    server = Server(properties=PLUGIN).start()
    boot, state = ["--bootstrap-server", server.address], str(server.folder / "state")
    check(results, "Streams tells its topology", java_command("TopologyProof", server.address, "app", state, heap="384m", classes=classes), "topology description AVAILABLE")
    server.kill()
    server.start()
    check(results, "streams-groups describe topology after a crash", java_command(STREAMS_GROUPS, *boot, "--describe", "--group", "app", "--topology"), TOLD)
    check(results, "features describe", java_command(FEATURES, *boot, "describe"), r"Feature: metadata\.version .*FinalizedVersionLevel: 4\.4-IV2")
    check(results, "features downgrade", java_command(FEATURES, *boot, "downgrade", "--feature", "share.version=1"), r"share\.version was downgraded to 1\.")
    check(results, "features upgrade", java_command(FEATURES, *boot, "upgrade", "--feature", "share.version=2"), r"share\.version was upgraded to 2\.")
    if server.stop(args.keep) != 0:
        results.add(lib.SERVER_ENDS, "failed", why=str(server.folder))
    return results.end()


if __name__ == "__main__":
    main_of(main)
