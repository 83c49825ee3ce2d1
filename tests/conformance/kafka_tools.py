#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Apache Kafka's own command line tools against our server.

With the peers' harness (shared/peers/kafka): its check-tools, 70 checks. Always, over jars of our own: ProducerPerformance and
ConsumerPerformance, VerifiableProducer and -Consumer, EndToEndLatency, the console tools, StreamsResetter, the administration commands.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time

from lib import SERVER_ENDS, WORK, Results, Server, arguments, environment, java_command, kafka_home, main_of, shared_peers

LIMIT = 90
SHORT = ("api-versions", "topic-", "console", "get-offsets", "producer-performance", "verifiable", "group-", "config-topic", "log-dirs", "transactional-copier", "read-committed", "share-consumer", "acl-")
TOOLS = "org.apache.kafka.tools"


def tool(server: Server, name: str, main: str, args: list[str], wanted: str, results: Results, stdin: str | None = None, exits: int = 0) -> bool:
    log = WORK / f"logs/tool-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    start, code = time.monotonic(), 124
    try:
        done = subprocess.run(java_command(main, *args), input=stdin if stdin is not None else "", capture_output=True, text=True, timeout=LIMIT, env=environment())
        code, output = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as e:
        output = ((e.stdout or b"") + (e.stderr or b"")).decode(errors="replace")
    log.write_text(output)
    ok = code == exits and re.search(wanted, output, re.S) is not None
    last = [x for x in output.splitlines() if x.strip() and not re.match(r"\s+at |\s*\.\.\.", x)]
    results.add(f"own: {name}", "passed" if ok else "failed", time.monotonic() - start, "" if ok else f"exit {code}: {' | '.join(last[-2:])[:200]}")
    return ok


def own(server: Server, results: Results) -> None:
    boot = ["--bootstrap-server", server.address]
    tool(server, "TopicCommand create", f"{TOOLS}.TopicCommand", [*boot, "--create", "--topic", "t", "--partitions", "3", "--replication-factor", "1"], "Created topic t", results)
    tool(server, "ProducerPerformance", f"{TOOLS}.ProducerPerformance", ["--topic", "t", "--num-records", "100000", "--record-size", "100", "--throughput", "-1", "--producer-props", f"bootstrap.servers={server.address}", "acks=all", "compression.type=lz4"], "100000 records sent", results)
    tool(server, "ConsumerPerformance", f"{TOOLS}.ConsumerPerformance", [*boot, "--topic", "t", "--num-records", "100000", "--hide-header", "--timeout", "60000"], ", 100[0-9]{3}, ", results)
    tool(server, "VerifiableProducer", f"{TOOLS}.VerifiableProducer", [*boot, "--topic", "v", "--max-messages", "2000", "--acks", "-1", "--throughput", "-1"], '"acked":2000', results)
    for protocol in ("CLASSIC", "CONSUMER"):
        tool(server, f"VerifiableConsumer {protocol.lower()}", f"{TOOLS}.VerifiableConsumer", [*boot, "--topic", "v", "--group-id", f"v-{protocol}", "--group-protocol", protocol, "--max-messages", "2000"], "offsets_committed.*shutdown_complete", results)
    tool(server, "EndToEndLatency", f"{TOOLS}.EndToEndLatency", [*boot, "--topic", "e2e", "--num-records", "2000", "--producer-acks", "all", "--record-size", "100"], "Percentiles", results)
    tool(server, "StreamsResetter", f"{TOOLS}.StreamsResetter", [*boot, "--application-id", "nothing", "--input-topics", "t", "--force"], "Done|Reset-offsets", results)
    tool(server, "TransactionalMessageCopier", f"{TOOLS}.TransactionalMessageCopier", ["--broker-list", server.address, "--input-topic", "v", "--input-partition", "0", "--output-topic", "copy", "--consumer-group", "copier", "--transactional-id", "copier", "--transaction-size", "50", "--enable-random-aborts"], '"remaining":0', results)
    tool(server, "ConfigCommand describe", "kafka.admin.ConfigCommand", [*boot, "--describe", "--topic", "t", "--all"], "retention.ms=", results)
    tool(server, "ConsumerGroupCommand describe", f"{TOOLS}.consumer.group.ConsumerGroupCommand", [*boot, "--describe", "--group", "v-CLASSIC"], "CURRENT-OFFSET", results)


def own_features(server: Server, results: Results) -> None:
    """kafka-features: the levels that hold, other ones, and back."""
    main, boot = f"{TOOLS}.FeatureCommand", ["--bootstrap-server", server.address]
    tool(server, "FeatureCommand describe", main, [*boot, "describe"], r"Feature: transaction\.version\s+SupportedMinVersion: 0\s+SupportedMaxVersion: 2\s+FinalizedVersionLevel: 2\s+Epoch: 1", results)
    tool(server, "FeatureCommand downgrade", main, [*boot, "downgrade", "--feature", "transaction.version=1", "--feature", "group.version=0"], r"transaction\.version was downgraded to 1\.", results)
    tool(server, "FeatureCommand upgrade", main, [*boot, "upgrade", "--feature", "transaction.version=2", "--feature", "group.version=1"], r"transaction\.version was upgraded to 2\.", results)
    tool(server, "FeatureCommand disable", main, [*boot, "disable", "--feature", "streams.version"], r"streams\.version was disabled\.", results)
    tool(server, "FeatureCommand disabled", main, [*boot, "describe"], r"Feature: streams\.version\s+SupportedMinVersion: 0\s+SupportedMaxVersion: 1\s+FinalizedVersionLevel: 0\s+Epoch: 4", results)
    tool(server, "FeatureCommand dry run", main, [*boot, "upgrade", "--feature", "streams.version=1", "--dry-run"], r"streams\.version can be upgraded to 1\.", results)
    tool(server, "FeatureCommand upgrade again", main, [*boot, "upgrade", "--feature", "streams.version=1"], r"streams\.version was upgraded to 1\.", results)
    tool(server, "FeatureCommand refused", main, [*boot, "downgrade", "--feature", "metadata.version=25"], r"Unsupported metadata\.version downgrade", results, exits=1)


def peers_checks(server: Server, results: Results, only: list[str], short: bool) -> None:
    peers = shared_peers()
    if peers is None:
        results.add("check-tools", "excluded", why="the peers' harness (shared/peers/kafka) is not on this machine")
        return
    out = WORK / "check-tools"
    shutil.rmtree(out, ignore_errors=True)  # a source connector goes on where its file of offsets says
    out.mkdir(parents=True)
    words = only or (list(SHORT) if short else [])
    process = subprocess.Popen([str(peers / "check-tools"), *words], stdout=subprocess.PIPE, text=True, env=environment(BROKERS=server.address, WORK=str(out), NODE="1"), stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    for line in process.stdout:
        found = re.match(r"(ok|FAIL)\s+(\S+)\s+(\d+) s\s*(.*)", line)
        if found:
            results.add(found[2], "passed" if found[1] == "ok" else "failed", float(found[3]), found[4])
    process.wait()


def main() -> int:
    args = arguments(__doc__ or "").parse_args()
    results = Results("kafka-tools", "Apache Kafka's command line tools", "Kafka 4.3.1", keep=bool(args.only), short=args.short)
    kafka_home()
    # one partition, as check-tools expects: TransactionalMessageCopier reads partition 0 of a topic that another tool filled
    server = Server(properties={"num.partitions": "1", "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users": "User:ANONYMOUS"}).start()
    if not args.only:
        own(server, results)
        own_features(server, results)
    peers_checks(server, results, args.only, args.short)
    if not server.alive() or server.stop(args.keep) != 0:
        results.add(SERVER_ENDS, "failed", why=str(server.folder))
    return results.end()


if __name__ == "__main__":
    main_of(main)
