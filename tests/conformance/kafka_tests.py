#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Apache Kafka's own integration tests (its clients, and with --streams Kafka Streams') against our server, a fresh one for each test.

They run in the peers' harness (shared/peers/kafka/conformance/run, MILLRACE_PEERS names another folder); without it, this is left out and
says so. A test that looks inside the broker, or wants TLS or SASL, is aborted there: here it is excluded, with its words.
Words select classes or, with a dot, one test (ShareConsumerTest.testPoll): whose name contains it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator

from lib import HERE, WORK, Results, arguments, environment, shared_peers

# Classes of which no test can pass from outside, and why (the harness says the same one by one, but slowly).
EXCLUDED = {
    "CreateTopicsRequestWithPolicyTest": "policy classes inside the broker's JVM",
    "AdminClientWithPoliciesIntegrationTest": "policy classes inside the broker's JVM",
    "CustomQuotaCallbackTest": "a quota class inside the broker's JVM",
    "ConsumerWithLegacyMessageFormatIntegrationTest": "writes old formats into the broker's own log object",
    "SocketServerMemoryPoolTest": "metrics inside the broker's JVM",
    "MetadataVersionIntegrationTest": "downgrades Kafka's metadata log",
}
SHORT = ("ProducerIntegrationTest", "PlaintextConsumerFetchTest", "PlaintextConsumerCommitTest", "PlaintextConsumerAssignTest", "TransactionsWithMaxInFlightOneTest", "ListOffsetsIntegrationTest", "AdminFenceProducersTest", "ProducerCompressionTest")
EVENT = re.compile(r"^JUnit Jupiter > (\w+) > (.*) :: (STARTED|SUCCESSFUL|FAILED|ABORTED|SKIPPED)\s*$")


def classes(run: str) -> list[str]:
    listed = subprocess.run([run, "--list"], check=True, capture_output=True, text=True, env=environment()).stdout
    return re.findall(r"org\.apache\.kafka\.\S+", listed)


def events(command: list[str], limit: int, log: str) -> Iterator[tuple[str, str, str, float, str]]:
    """(class, test, state, seconds, first line of the failure) as they come."""
    env = environment(BROKER=str(HERE / "broker-millrace"), LIMIT=str(limit), LOG=log)
    for name in ("MILLRACE_TEST_PROGRAM",):
        if name in os.environ:
            env[name] = os.environ[name]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    began: dict[str, float] = {}
    open_event: tuple[str, str, str, float] | None = None
    for line in process.stdout:
        found = EVENT.match(line)
        if open_event is not None:
            yield (*open_event, "" if found else " ".join(line.split())[:240])
            open_event = None
        if not found:
            continue
        cls, test, state = found.groups()
        if state == "STARTED":
            began[cls + test] = time.monotonic()
            continue
        seconds = time.monotonic() - began.pop(cls + test, time.monotonic())
        short = re.sub(r"^.* > ", "", test) if "[" in test else test
        short = re.sub(r"\{([^}]{0,40})[^}]*\}", r"{\1}", short)
        if state == "SUCCESSFUL" or (state == "SKIPPED"):
            yield cls, short, state, seconds, ""
        else:
            open_event = (cls, short, state, seconds)
    if open_event is not None:
        yield (*open_event, "")
    process.wait()
    for left in began:
        yield left.split(" ")[0], left, "FAILED", 0.0, "the run ended (time limit) while it ran"


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--streams", action="store_true", help="the classes of Kafka Streams")
    parser.add_argument("--limit", type=int, default=7200, help="seconds for all")
    args = parser.parse_args()
    title = "Apache Kafka's integration tests: " + ("Streams" if args.streams else "clients")
    results = Results("kafka-tests-streams" if args.streams else "kafka-tests", title, "Kafka 4.3.1")
    peers = shared_peers()
    if peers is None:
        results.add("all", "excluded", why="the peers' harness (shared/peers/kafka) is not on this machine")
        return results.end()
    runner = str(peers / "conformance/run")
    picked = []
    for name in classes(runner):
        last = name.rsplit(".", 1)[1]
        if (".streams." in name) != args.streams:
            continue
        if args.only and not any(o in last for o in args.only):
            continue
        if args.short and last not in SHORT:
            continue
        if last in EXCLUDED and not args.only:
            results.add(last, "excluded", why=EXCLUDED[last])
            continue
        picked.append(name)
    (WORK / "logs").mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    for name in picked:  # one JVM a class: one that hangs does not take the others with it
        left = int(args.limit - (time.monotonic() - start))
        if left < 30:
            results.add(name.rsplit(".", 1)[1], "failed", why="no time was left")
            continue
        seen = 0
        for cls, test, state, seconds, why in events([runner, name], min(left, 1200), str(WORK / f"logs/{name}.log")):
            seen += 1
            state = {"SUCCESSFUL": "passed", "FAILED": "failed"}.get(state, "excluded")
            results.add(f"{cls}.{test}", state, seconds, why.replace("org.opentest4j.", ""))
        if seen == 0:
            results.add(name.rsplit(".", 1)[1], "failed", why="nothing ran")
    return results.end()


if __name__ == "__main__":
    sys.exit(main())
