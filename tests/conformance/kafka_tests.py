#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Apache Kafka's own integration tests (its clients, and with --streams Kafka Streams') against our server, a fresh one for each test.

The tests' jars and a part of what stands in for Kafka's in-process cluster come from the peers' harness (shared/peers/kafka/conformance;
MILLRACE_PEERS names another folder); without it, this is left out and says so. java/outside is the rest: it runs tests annotated ClusterTest
with one broker process. A test that looks inside the broker is aborted there: here it is excluded, with its words.
Words select classes whose name contains one, or with a dot one test (PlaintextConsumerTest.testHeaders); their results take the place of the
earlier ones in the kept file. --peer runs the same with Apache Kafka itself as the outside broker, in a file of its own: it tells which tests
can pass at all.
"""

from __future__ import annotations

import concurrent.futures
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lib import HERE, KAFKA_VERSION, WORK, Results, Unavailable, arguments, ending, environment, groups, java, main_of, only_one, prepare, say, shared_peers

CLASS_LIMIT = 2400  # seconds; the longest classes of Streams have hundreds of tests
# The test ends the only broker and waits for a commit. That is done at once while the client has no position to commit yet, and never afterwards.
FAILOVER = (
    "three brokers: the coordinator's goes and the others stay; with one, and so with Apache Kafka, it passes only when the client is the slower one"
)
# Classes of which no test can pass from outside, and why (the harness says the same one by one, but slowly);
# with a dot, single tests; in quotes, one set of arguments of a test. Each was run with --peer: see AS_WELL.
EXCLUDED = {
    "CreateTopicsRequestWithPolicyTest": "policy classes inside the broker's JVM",
    "AdminClientWithPoliciesIntegrationTest": "policy classes inside the broker's JVM",
    "CustomQuotaCallbackTest": "a quota class inside the broker's JVM",
    "GroupAuthorizerIntegrationTest": "a class for principals inside the broker's JVM",
    "ConsumerWithLegacyMessageFormatIntegrationTest": "writes old formats into the broker's own log object",
    "SocketServerMemoryPoolTest": "metrics inside the broker's JVM",
    "MetricsDuringTopicCreationDeletionTest": "metrics inside the broker's JVM",
    "DescribeFeaturesTest": "asks the controllers",
    "ClientRebootstrapTest": "two brokers: one goes and the other stays",
    "RackAwareAutoTopicCreationTest": "four brokers in three racks",
    "ShareConsumerRackAwareTest": "an assignor class inside the broker's JVM; Apache Kafka as an outside broker does not start with it either",
    "DeleteTopicTest": "topics with replicas on three brokers",
    "AutoTopicCreationTest.testAutoCreateTopicWithExplicitBrokerConfig": "two replicas",
    "AutoTopicCreationTest.testAutoCreateTopicWithImplicitBrokerConfig": "two replicas",
    "AutoTopicCreationTest.testAutoCreateTopicWithMixedConfig": "two replicas",
    "ConsumerBounceTest.testClassicClose": "three brokers: the coordinator's goes and the others stay",
    "ConsumerBounceTest.testAsyncClose": "three brokers: the coordinator's goes and the others stay",
    "ConsumerBounceTest.testClassicConsumerSeekAndCommitWithBrokerFailures": "looks into the broker's replica manager",
    "ConsumerBounceTest.testAsyncConsumerSeekAndCommitWithBrokerFailures": "looks into the broker's replica manager",
    "ConsumerIntegrationTest.testLeaderEpoch": "three brokers: the leader goes and the others stay",
    "ConsumerIntegrationTest.testRackAwareAssignment": "three brokers in three racks",
    "ConsumerIntegrationTest.testSingleCoordinatorOwnershipAfterPartitionReassignment": "metrics inside the broker's JVM; two brokers",
    "DescribeProducersWithBrokerIdTest.testDescribeProducersFromFollower": "two replicas",
    "DescribeProducersWithBrokerIdTest.testDescribeProducersWithInvalidBrokerId": "four brokers, one without a replica",
    "ListOffsetsIntegrationTest.testThreeCompressedRecordsInOneBatch": "moves the partition to a second broker",
    "ListOffsetsIntegrationTest.testThreeCompressedRecordsInSeparateBatch": "moves the partition to a second broker",
    "ListOffsetsIntegrationTest.testThreeNonCompressedRecordsInOneBatch": "moves the partition to a second broker",
    "ListOffsetsIntegrationTest.testThreeNonCompressedRecordsInSeparateBatch": "moves the partition to a second broker",
    "ListOffsetsIntegrationTest.testThreeRecordsInOneBatchHavingDifferentCompressionTypeWithServer": "moves the partition to a second broker",
    "ListOffsetsIntegrationTest.testThreeRecordsInSeparateBatchHavingDifferentCompressionTypeWithServer": "moves the partition to a second broker",
    "PlaintextConsumerTest.testAsyncConsumeCoordinatorFailover": FAILOVER,
    "PlaintextConsumerTest.testClassicConsumerCoordinatorFailover": FAILOVER,
    "PlaintextConsumerTest.testClassicConsumerQuotaMetricsNotCreatedIfNoQuotasConfigured": "metrics inside the broker's JVM",
    "PlaintextConsumerTest.testAsyncConsumerQuotaMetricsNotCreatedIfNoQuotasConfigured": "metrics inside the broker's JVM",
    "ProducerFailureHandlingTest.testCannotSendToInternalTopic": "asks the broker's group coordinator object",
    "ProducerIdExpirationTest.testDynamicProducerIdExpirationMs": "looks into the broker's log manager",
    "ProducerSendWhileDeletionTest.testSendWithRecreatedTopic": "looks into the broker's replica manager",
    "ProducerSendWhileDeletionTest.testSendWithTopicDeletionMidWay": "moves partitions to a second broker",
    "ProducerSendWhileDeletionTest.testSendWithTopicReassignmentIsMidWay": "moves partitions to a second broker",
    "SaslPlainPlaintextConsumerTest.testAsyncConsumeCoordinatorFailover": FAILOVER,
    "SaslPlainPlaintextConsumerTest.testClassicConsumerCoordinatorFailover": FAILOVER,
    "ShareConsumerTest.testComplexShareConsumer": "three replicas",
    "ShareConsumerTest.testShareConsumerAfterCoordinatorMovement": "three brokers: the coordinator's goes and the others stay",
    "ShareConsumerTest.testSharePartitionLagOnGroupCoordinatorMovement": "three brokers: the coordinator's goes and the others stay",
    "ShareConsumerTest.testSharePartitionLagOnShareCoordinatorMovement": "three brokers: the coordinator's goes and the others stay",
    "ShareConsumerTest.testRenewAcknowledgementInvalidStateRecord": "metrics inside the broker's JVM",
    "ShareConsumerTest.testRenewAcknowledgementNoResultInPoll": "metrics inside the broker's JVM",
    "ShareConsumerTest.testRenewAcknowledgementOnCommitSync": "metrics inside the broker's JVM",
    "ShareConsumerTest.testRenewAcknowledgementOnPoll": "metrics inside the broker's JVM",
    "StaticBrokerConfigTest.testInternalConfigsDoNotReturnForDescribeConfigs": "asks the controllers",
    "StaticBrokerConfigTest.testTopicConfigsGetImpactedIfStaticConfigsAddToBroker": "asks the controllers",
    "StaticBrokerConfigTest.testTopicConfigsGetImpactedIfStaticConfigsAddToController": "asks the controllers",
    "KafkaStreamsTelemetryIntegrationTest.shouldPushGlobalThreadMetricsToBroker": "reads what a metrics reporter class inside the broker's JVM got",
    "KafkaStreamsTelemetryIntegrationTest.shouldPushMetricsToBroker": "reads what a metrics reporter class inside the broker's JVM got",
    "FineGrainedAutoResetIntegrationTest": "makes its topics twice before the first test, which the outside broker refuses",
    "WordCountTest": "written in Scala: its library (kafka-streams-scala) is not among the harness' jars",
    "AtLeastOnceDeliveryMessageLossIntegrationTest.shouldCommitOffsetsAndProduceOutputRecordsWhenProducerFailsWithMessageTooLarge":
        "makes its topic twice, which the outside broker refuses",
    "AdjustStreamThreadCountTest.shouldResizeCacheAfterThreadReplacement": "reads the application's own log lines",
    "AdjustStreamThreadCountTest.shouldResizeCacheAfterThreadRemovalTimesOut": "reads the application's own log lines",
}
AS_WELL = "; does not pass with Apache Kafka as the outside broker either"
SHORT = (
    "AdminFenceProducersTest", "ClientTelemetryTest", "ConsumerTopicCreationTest", "DescribeAuthorizedOperationsTest", "DynamicGroupConfigIntegrationTest",
    "PlaintextConsumerAssignTest", "PlaintextConsumerCallbackTest", "PlaintextConsumerCommitTest", "PlaintextConsumerFetchTest",
    "PlaintextConsumerSubscriptionTest", "ProducerCompressionTest", "ProducerFailureHandlingTest", "ProducerIntegrationTest",
    "TransactionsWithMaxInFlightOneTest",
)
EVENT = re.compile(r"^JUnit Jupiter > (\w+)(?: > (.*))? :: (STARTED|SUCCESSFUL|FAILED|ABORTED|SKIPPED)\s*$")


# Of these tests, a broker has ended when their producers have forgotten it: the next record then waits for metadata, as the test expects, and not for
# the producer's connection. Others want it back at once.
FORGOTTEN = ("ProducerFailureHandlingTest",)


def why_not(key: str) -> str:
    """Why what EXCLUDED names cannot pass."""
    return EXCLUDED[key] + ("" if EXCLUDED[key] is FAILOVER else AS_WELL)


class Harness:
    """The jars of Kafka's tests (fetched by the peers' harness at first use) and our compiled stand-ins."""

    def __init__(self, peers: Path, part: str) -> None:
        self.peers = peers
        say("the list of Apache Kafka's tests (the harness fetches their jars by Maven the first time)")
        with only_one("kafka-tests"):
            done = subprocess.run([str(peers / "conformance/run"), "--list"], capture_output=True, text=True, env=environment())
        if done.returncode != 0:
            raise Unavailable(f"the jars of Kafka's tests: {' '.join(done.stderr.split())[-300:]}")
        listed = done.stdout
        self.classes: list[str] = re.findall(r"org\.apache\.kafka\.\S+", listed)
        home = Path(os.environ.get("KAFKA_HOME", Path(os.environ.get("TMPDIR", "/tmp")) / "kafka-peer"))
        self.libs = home / f"conformance-{os.environ.get('KAFKA_VERSION', KAFKA_VERSION)}/libs"
        self.stand_ins = WORK / f"outside-{part}"
        self.stand_ins.mkdir(parents=True, exist_ok=True)
        sources = [peers / "conformance/src" / f"{name}.java" for name in ("EmbeddedKafkaCluster", "ExternalBroker")]
        sources += sorted((HERE / "java/outside").glob("*.java"))
        compiler = Path(java()).with_name("javac")
        prepare("compile what stands in for Kafka's own cluster", [compiler, "--release", "17", "-proc:none", "-nowarn", "-d", self.stand_ins, "-cp", f"{self.libs}/*", *sources], 120)

    def command(self, name: str, test: str, excluded: list[str]) -> list[str]:
        """Runs the class, or of it `test`, without the tests excluded."""
        log = self.peers / "tool-log4j2.properties"
        select = ["-c", name] + [f"--exclude-methodname=.*[.#]{x}$" for x in excluded]
        if test:
            select.append(f"--include-methodname=.*[.#]{test}$")
        forgotten = ["-Dbroker.forgotten=true"] if name.rsplit(".", 1)[1] in FORGOTTEN else []
        options = ["execute", "--disable-banner", "--disable-ansi-colors", "--details=testfeed", *select]
        return [java(), "-Xmx1500m", *forgotten, f"-Dlog4j2.configurationFile={log}", "-cp", f"{self.stand_ins}:{self.libs}/*", "org.junit.platform.console.ConsoleLauncher", *options]


def events(command: list[str], limit: int, log: Path, broker: Path, peers: Path, ended: list[int]) -> Iterator[tuple[str, str, str, float, str]]:
    """(class, test, state, seconds, first line of the failure) as they come; then the exit code is in `ended`."""
    folder = Path(tempfile.mkdtemp(prefix="kafka-tests-"))  # of the tests and their brokers
    command = ["timeout", "-k", "10", str(limit), command[0], f"-Dbroker.script={broker}", f"-Djava.io.tmpdir={folder}", *command[1:]]
    env = environment(PEERS=str(peers), NODE_ID="0")
    for name in ("MILLRACE_TEST_PROGRAM",):
        if name in os.environ:
            env[name] = os.environ[name]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env, stdin=subprocess.DEVNULL, start_new_session=True)
    assert process.stdout is not None
    groups.add(process.pid)
    began: dict[tuple[str, str], float] = {}
    open_event: tuple[str, str, str, float] | None = None
    try:
        for line in process.stdout:
            found = EVENT.match(line)
            if open_event is not None:
                yield (*open_event, "" if found else " ".join(line.split())[:240])
                open_event = None
            if not found:
                continue
            cls, test, state = found.groups()
            short = re.sub(r"(\[\d+\]) \{.*", r"\1", test or "")  # nothing: the class itself; without the properties of the broker
            short = re.sub(r"^.* > ", "", short)
            if state == "STARTED":
                began[(cls, short)] = time.monotonic()
                continue
            now = time.monotonic()
            seconds = now - began.pop((cls, short), now)
            if state == "SUCCESSFUL" or (state == "SKIPPED"):
                yield cls, short, state, seconds, ""
            else:
                open_event = (cls, short, state, seconds)
        if open_event is not None:
            yield (*open_event, "")
        ended.append(process.wait())
    finally:
        if process.poll() is None:
            process.terminate()  # timeout passes it on
            process.wait()
        groups.discard(process.pid)
        for pid in folder.glob("external-broker*/pid"):  # of a test that was cut
            subprocess.run([broker, "stop"], env=env | {"DIR": str(pid.parent)}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)
    for (cls, test), since in began.items():
        yield cls, test, "FAILED", time.monotonic() - since, "the run was ended while it ran" if ending() else "the run ended (time limit) while it ran"


def one_class(harness: Harness, results: Results, broker: Path, name: str, test: str, end: float, peer: bool) -> None:
    """A class, or one test of it, in a JVM of its own: one that hangs does not take the others with it."""
    left, last = int(end - time.monotonic()), name.rsplit(".", 1)[1]
    if ending():
        return
    if left < 30:
        results.add(last, "failed", why="no time was left")
        return
    if not test:
        results.again(last)
    known = {} if test or peer else {key.partition(".")[2]: why_not(key) for key in EXCLUDED if key.startswith(last + ".") and '"' not in key}
    for excluded, why in known.items():
        results.add(f"{last}.{excluded}", "excluded", why=why)
    seen = 0
    ended: list[int] = []
    log = WORK / f"logs/{'peer-' if peer else ''}{name}.log"
    for cls, what, state, seconds, why in events(harness.command(name, test, list(known)), min(left, CLASS_LIMIT), log, broker, harness.peers, ended):
        seen += 1
        state = {"SUCCESSFUL": "passed", "FAILED": "failed"}.get(state, "excluded")
        title = f"{cls}.{what}" if what else cls
        key = title if title in EXCLUDED else cls
        if state == "failed" and not peer and key in EXCLUDED:
            state, why = "excluded", why_not(key)
        why = why.replace("org.opentest4j.", "") or ("disabled by its authors, or skipped by itself" if state == "excluded" else "")
        results.add(title, state, seconds, why)
    if seen == 0 and last.startswith("Abstract"):
        results.add(last, "excluded", why="abstract: has no tests of its own")
    elif seen == 0 and (not known or ended != [0]):
        results.add(last, "failed", why=f"nothing ran; exit {ended} ({log})")


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--streams", action="store_true", help="the classes of Kafka Streams")
    parser.add_argument("--peer", action="store_true", help="Apache Kafka is the broker")
    parser.add_argument("--limit", type=int, default=7200, help="seconds for all")
    parser.add_argument("-j", type=int, default=1, help="classes that run at a time (with --peer always one)")
    args = parser.parse_args()
    title = "Apache Kafka's integration tests: " + ("Streams" if args.streams else "clients")
    part = "kafka-tests-streams" if args.streams else "kafka-tests"
    results = Results(f"peer-{part}" if args.peer else part, title, "Kafka 4.3.1", keep=bool(args.only), short=args.short)
    peers = shared_peers()
    if peers is None:
        results.add("all", "excluded", why="the peers' harness (shared/peers/kafka) is not on this machine")
        return results.end()
    harness = Harness(peers, results.part)
    broker = HERE / ("broker-kafka" if args.peer else "broker-millrace")
    words = [o.partition(".") for o in args.only]
    whole = {name.rsplit(".", 1)[1] for name in harness.classes}  # a class's whole name is no part of others
    picked: list[tuple[str, str]] = []
    for name in harness.classes:
        last = name.rsplit(".", 1)[1]
        if (".streams." in name) != args.streams:
            continue
        tests = [test for cls, dot, test in words if (last == cls if dot or cls in whole else cls in last)]
        if args.only and not tests or args.short and last not in SHORT:
            continue
        if last in EXCLUDED and not args.only:
            results.add(last, "excluded", why=why_not(last))
            continue
        picked += [(name, test) for test in (tests if tests and "" not in tests else [""])]
    (WORK / "logs").mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + args.limit
    with concurrent.futures.ThreadPoolExecutor(1 if args.peer else args.j) as pool:
        for job in [pool.submit(one_class, harness, results, broker, name, test, end, args.peer) for name, test in picked]:
            job.result()
    return results.end()


if __name__ == "__main__":
    main_of(main)
