# SPDX-License-Identifier: Apache-2.0
"""Dynamic configs, quotas and client telemetry of the Kafka door, with clients that know nothing of us."""

from __future__ import annotations

import os
import resource
import socket
import struct
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

import confluent_kafka
import kafka
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from conftest import Server
from kafka.admin import ConfigResource as KafkaConfigResource
from kafka.admin import ConfigResourceType, KafkaAdminClient
from kafka.admin import NewTopic as KafkaNewTopic
from kafka.errors import ThrottlingQuotaExceededError
from machine import until


def name(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def admin(server: Server) -> AdminClient:
    return AdminClient({"bootstrap.servers": server.kafka})


@pytest.fixture
def topic(admin: AdminClient) -> str:
    t = name("t")
    admin.create_topics([NewTopic(t, num_partitions=1)])[t].result(30)
    return t


def alter(admin: AdminClient, kind: ResourceType, resource: str, config: str, value: str | None) -> None:
    op = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
    r = ConfigResource(kind, resource, incremental_configs=[ConfigEntry(config, value, incremental_operation=op)])
    admin.incremental_alter_configs([r])[r].result(30)


def describe(admin: AdminClient, kind: ResourceType, resource: str) -> dict[str, ConfigEntry]:
    r = ConfigResource(kind, resource)
    return admin.describe_configs([r])[r].result(30)


def metrics_url(server: Server) -> str:
    at = server.http
    return f"{at if at.startswith('http') else 'http://' + at}/metrics"


def test_all_broker_configs_are_told(server: Server, admin: AdminClient) -> None:
    configs = describe(admin, ResourceType.BROKER, "1")
    assert len(configs) > 340
    assert configs["log.retention.ms"].value is None and configs["log.retention.hours"].value == "168" and not configs["log.retention.ms"].is_read_only
    assert configs["node.id"].is_read_only
    for name, value in (("num.partitions", "1"), ("auto.create.topics.enable", "true")):  # nobody set them: 5 is Kafka's DEFAULT_CONFIG
        assert (configs[name].value, configs[name].source) == (value, 5), name
    assert configs["listeners"].value == "PLAINTEXT://127.0.0.1:0", "as it was configured: the port is the system's choice"
    assert configs["log.dirs"].value == str(server.data / "log")
    assert configs["ssl.keystore.password"].is_sensitive and configs["ssl.keystore.password"].value is None


def test_a_broker_config_changes_while_it_runs(server: Server, admin: AdminClient, topic: str) -> None:
    refused: list[str] = []
    p = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "message.max.bytes": 5_000_000})

    def send(n: int) -> bool:
        refused.clear()
        p.produce(topic, b"x" * n, on_delivery=lambda e, _: refused.append(str(e)) if e else None)
        assert p.flush(30) == 0
        return not refused

    assert send(10_000)
    alter(admin, ResourceType.BROKER, "1", "message.max.bytes", "5000")
    try:
        assert not send(10_000)
        entry = describe(admin, ResourceType.BROKER, "1")["message.max.bytes"]
        assert entry.value == "5000" and entry.source == 2  # this broker's
        assert [s.value for s in entry.synonyms.values()] and describe(admin, ResourceType.TOPIC, topic)["max.message.bytes"].value == "5000"
    finally:
        alter(admin, ResourceType.BROKER, "1", "message.max.bytes", None)
    assert send(10_000)


def test_what_cannot_change_is_refused(admin: AdminClient) -> None:
    start = (("1", c, v) for c, v in (("listeners", "PLAINTEXT://:1"), ("ssl.client.auth", "required"), ("sasl.enabled.mechanisms", "PLAIN")))
    for resource, config, value in (("1", "node.id", "5"), ("1", "message.max.bytes", "none"), ("1", "no.such", "1"), *start):
        with pytest.raises(confluent_kafka.KafkaException) as e:
            alter(admin, ResourceType.BROKER, resource, config, value)
        assert e.value.args[0].code() == confluent_kafka.KafkaError.INVALID_REQUEST


def test_a_producer_is_slowed_down_to_its_quota(server: Server, topic: str) -> None:
    server.cli("quota", "alter", "--client-id", "slow", "--set", "producer_byte_rate=100000")
    throttled: list[float] = []
    try:
        p = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "client.id": "slow", "linger.ms": 0, "batch.num.messages": 1,
                                      "throttle_cb": lambda event: throttled.append(event.throttle_time)})
        begin = time.monotonic()
        for _ in range(13):  # ten seconds' worth is let through at once, the rest waits
            p.produce(topic, b"x" * 100_000)
            assert p.flush(60) == 0
        took = time.monotonic() - begin
        p.poll(1)
        assert throttled and took > 1, (throttled, took)
        fast = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "client.id": "fast"})
        begin = time.monotonic()
        for _ in range(13):
            fast.produce(topic, b"x" * 100_000)
        assert fast.flush(60) == 0
        assert time.monotonic() - begin < took
        listed = server.cli("quota", "list").stdout
        assert "slow" in listed and "producer_byte_rate" in listed
    finally:
        server.cli("quota", "alter", "--client-id", "slow", "--remove", "producer_byte_rate")


def test_a_consumer_over_its_quota_gets_all_nevertheless(server: Server, topic: str) -> None:
    p = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "linger.ms": 0})
    for _ in range(14):
        p.produce(topic, b"x" * 100_000)
        assert p.flush(30) == 0
    server.cli("quota", "alter", "--client-id", "reader", "--set", "consumer_byte_rate=100000")
    try:
        c = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "client.id": "reader", "group.id": name("g"), "auto.offset.reset": "earliest",
                                      "fetch.message.max.bytes": 150_000})
        c.subscribe([topic])
        got = 0
        while got < 14:
            m = c.poll(60)
            assert m is not None and m.error() is None
            got += 1
        c.close()
    finally:
        server.cli("quota", "alter", "--client-id", "reader", "--remove", "consumer_byte_rate")


def test_topic_changes_have_a_quota(server: Server) -> None:
    server.cli("quota", "alter", "--client-id", "maker", "--set", "controller_mutation_rate=1")
    try:
        maker = KafkaAdminClient(bootstrap_servers=server.kafka, client_id="maker")
        maker.create_topics([KafkaNewTopic(name("a"), 30, 1)])  # a full bucket lets a large one through
        with pytest.raises(ThrottlingQuotaExceededError):
            maker.create_topics([KafkaNewTopic(name("b"), 1, 1)])
        maker.close()
    finally:
        server.cli("quota", "alter", "--client-id", "maker", "--remove", "controller_mutation_rate")


def test_an_incremental_fetch_session(server: Server, topic: str) -> None:
    """kafka-python keeps fetch sessions: it reads what comes later in the same session."""
    p = confluent_kafka.Producer({"bootstrap.servers": server.kafka})
    c = kafka.KafkaConsumer(bootstrap_servers=server.kafka, auto_offset_reset="earliest")
    c.assign([kafka.TopicPartition(topic, 0)])
    got: list[bytes] = []
    for i in range(5):
        p.produce(topic, str(i).encode())
        assert p.flush(30) == 0
        until(lambda: [got.append(r.value) for rs in c.poll(1000).values() for r in rs] != [])
    c.close()
    assert got == [str(i).encode() for i in range(5)]


def test_clients_push_their_metrics(server: Server, topic: str) -> None:
    """librdkafka pushes what a client-metrics subscription asks for (KIP-714)."""
    client = name("pushing")
    subscription = name("sub")
    a = KafkaAdminClient(bootstrap_servers=server.kafka)
    configs = {"interval.ms": "100", "metrics": "*", "match": f"client_id={client}"}
    a.alter_configs([KafkaConfigResource(ConfigResourceType.CLIENT_METRICS, subscription, configs)])
    assert subscription in str(a.list_config_resources())
    a.close()
    p = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "client.id": client, "enable.metrics.push": True})

    def pushed() -> bool:
        p.produce(topic, b"x")
        p.flush(30)
        with urllib.request.urlopen(metrics_url(server), timeout=30) as r:
            return any(f'client_id="{client}"' in line for line in r.read().decode().splitlines())

    until(pushed)


def test_a_cluster_of_one_answers_its_administrators(server: Server, topic: str) -> None:
    a = KafkaAdminClient(bootstrap_servers=server.kafka)
    assert a.list_partition_reassignments() in ({}, [])
    quorum = a.describe_metadata_quorum()
    assert "leader_id" in str(quorum) and "1" in str(quorum)
    a.alter_configs([KafkaConfigResource(ConfigResourceType.GROUP, "g1", {"consumer.session.timeout.ms": "50000"})])
    assert "g1" in str(a.list_config_resources())
    a.close()


def connections(server: Server) -> int:
    with urllib.request.urlopen(metrics_url(server), timeout=30) as r:
        return next(int(line.split()[1]) for line in r.read().decode().splitlines() if line.startswith("millrace_kafka_connections "))


def dial(server: Server) -> socket.socket:
    host, port = server.kafka.rsplit(":", 1)
    return socket.create_connection((host, int(port)), 30)


def is_open(s: socket.socket) -> bool:
    """Answers ApiVersions: let in, and not closed."""
    try:
        s.sendall(struct.pack(">ihhih", 10, 18, 0, 1, -1))
        s.settimeout(30)
        return len(s.recv(4)) == 4
    except OSError:
        return False


def is_open_soon(s: socket.socket) -> bool:
    s.settimeout(0.1)
    try:
        return s.recv(1) != b""
    except TimeoutError:
        return False


def test_connections_of_one_address_are_bounded(new_server: Callable[..., Server], scratch: Path) -> None:
    properties = scratch / f"{name('p')}.properties"
    properties.write_text("max.connections.per.ip=3\n")
    server = new_server({"broker.properties": str(properties)}).start()
    open_ones = [dial(server) for _ in range(3)]
    assert all(is_open(s) for s in open_ones)
    with dial(server) as more:
        assert not is_open(more)
    open_ones.pop().close()
    until(lambda: is_open(dial(server)))  # its place is free again


def test_slow_requests_do_not_hold_the_memory_of_others(new_server: Callable[..., Server]) -> None:
    """Six clients announce all of the 512 MiB that a loop has for requests and send a byte now and then: others get on within seconds."""
    server = new_server({"server.loops": "1"}).start()
    stop = threading.Event()
    sizes = [100 << 20] * 5 + [(12 << 20) - 10]
    slow = [dial(server) for _ in sizes]
    for s, size in zip(slow, sizes, strict=True):
        s.sendall(struct.pack(">i", size) + b"x" * 20)
        assert not is_open_soon(s)

    def trickle() -> None:
        while not stop.wait(0.3):
            for s in slow:
                try:
                    s.sendall(b"x")
                except OSError:
                    pass

    t = threading.Thread(target=trickle)
    t.start()
    try:
        begin = time.monotonic()
        p = confluent_kafka.Producer({"bootstrap.servers": server.kafka})
        p.produce("fast", b"x")
        assert p.flush(30) == 0
        assert 2 < time.monotonic() - begin < 20, "held for a while, but not for a minute"
    finally:
        stop.set()
        t.join()
        for s in slow:
            s.close()


def test_many_connections_take_little_memory(new_server: Callable[..., Server]) -> None:
    """2,000 open connections, of which 200 have sent half a request: at most 40 KB each. (10,000 and 2,000 busy ones: MILLRACE_TEST_CONNECTIONS.)"""
    count = int(os.environ.get("MILLRACE_TEST_CONNECTIONS", "2000"))
    server = new_server({"kafka.connections_max": str(count + 100)}).start()
    assert server.process is not None

    def rss() -> int:
        return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = rss()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 200, hard), hard))
    conns: list[socket.socket] = []
    try:
        for i in range(count):
            s = dial(server)
            assert is_open(s)
            if i % 10 == 0:
                s.sendall(struct.pack(">ihhih", 5000, 18, 0, 1, -1))
            conns.append(s)
        until(lambda: connections(server) >= count)
        assert rss() - before < count * 40_000
        assert is_open(conns[1])
    finally:
        for s in conns:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(("limit", "expected"), [(25_000, [2, 2, 2, 2]), (57_671_680, [8])])
def test_one_fetch_answer_has_a_limit(new_server: Callable[..., Server], scratch: Path, limit: int, expected: list[int]) -> None:
    """fetch.max.bytes: answers are smaller than the client asks for, and all comes in the end."""
    properties = scratch / f"{name('p')}.properties"
    properties.write_text(f"fetch.max.bytes={limit}\n")
    server, topic = new_server({"broker.properties": str(properties)}).start(), "t"
    a = AdminClient({"bootstrap.servers": server.kafka})
    a.create_topics([NewTopic(topic, num_partitions=1)])[topic].result(30)
    p = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "linger.ms": 0})
    for _ in range(8):
        p.produce(topic, b"x" * 10_000)
        assert p.flush(30) == 0
    c = kafka.KafkaConsumer(bootstrap_servers=server.kafka, auto_offset_reset="earliest")
    c.assign([kafka.TopicPartition(topic, 0)])
    counts: list[int] = []
    until(lambda: counts.append(sum(len(rs) for rs in c.poll(1000).values())) or sum(counts) == 8)
    c.close()
    assert [n for n in counts if n > 0] == expected


def test_a_fetch_answer_stays_within_what_the_client_asks_for(server: Server, admin: AdminClient) -> None:
    """Only the first partition may give a batch larger than the room that is left: this client closes the connection at a longer answer."""
    topic = name("t")
    admin.create_topics([NewTopic(topic, num_partitions=3)])[topic].result(30)
    p = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "message.max.bytes": 900_000})
    for i in range(6):
        p.produce(topic, b"x" * 600_000, partition=i % 3)
    assert p.flush(30) == 0
    errors: list[str] = []
    c = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": name("g"), "auto.offset.reset": "earliest", "fetch.max.bytes": 1_000_000,
                                  "max.partition.fetch.bytes": 20_000_000, "receive.message.max.bytes": 1_000_512, "error_cb": lambda e: errors.append(str(e))})
    c.assign([confluent_kafka.TopicPartition(topic, i, 0) for i in range(3)])
    for _ in range(6):
        m = c.poll(60)
        assert m is not None and m.error() is None
    c.close()
    assert errors == []


def test_only_the_brokers_own_topics_are_internal(server: Server, admin: AdminClient) -> None:
    mine = f"__{name('mine')}"
    admin.create_topics([NewTopic(mine, num_partitions=1)])[mine].result(30)
    c = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": name("g")})
    c.subscribe(["t"])
    c.poll(0.5)
    c.close()
    told = admin.describe_topics(confluent_kafka.TopicCollection([mine, "__consumer_offsets"]))
    assert {t: f.result(30).is_internal for t, f in told.items()} == {mine: False, "__consumer_offsets": True}


def test_subscriptions_of_metrics_match_by_patterns(server: Server) -> None:
    """Java's syntax, the whole of the client's id: a look-ahead and \\d, which POSIX expressions do not know."""
    a = KafkaAdminClient(bootstrap_servers=server.kafka)
    subscription, prefix = name("sub"), name("pattern")

    def match(pattern: str) -> dict[str, dict[str, str]]:
        configs = {"interval.ms": "1000", "metrics": "org.x", "match": f"client_id={pattern}"}
        return a.alter_configs([KafkaConfigResource(ConfigResourceType.CLIENT_METRICS, subscription, configs)])

    match(rf"(?!{prefix}-9){prefix}-\d+")
    assert [asked_for(server, f"{prefix}-{end}") for end in ("17", "9", "1a", "x")] == [["org.x"], [], [], []]
    match(prefix)
    assert [asked_for(server, prefix + end) for end in ("", "-1")] == [["org.x"], []]
    assert "InvalidConfigurationError" in str(match("(unclosed"))
    a.alter_configs([KafkaConfigResource(ConfigResourceType.CLIENT_METRICS, subscription, {"metrics": ""})])
    a.close()


def asked_for(server: Server, client_id: str) -> list[str]:
    """The metrics that GetTelemetrySubscriptions asks this client for."""
    frame = struct.pack(">hhih", 71, 0, 1, len(client_id)) + client_id.encode() + b"\0" + bytes(16) + b"\0"
    with dial(server) as s:
        s.sendall(struct.pack(">i", len(frame)) + frame)
        reader = s.makefile("rb")
        body = reader.read(struct.unpack(">i", reader.read(4))[0])
    assert struct.unpack(">h", body[9:11]) == (0,)
    at = 11 + 16 + 4  # the instance's and the subscription's id, then the compression types
    at += body[at] + 4 + 4 + 1
    metrics = []
    count, at = body[at] - 1, at + 1
    for _ in range(count):
        n = body[at] - 1
        metrics.append(body[at + 1 : at + 1 + n].decode())
        at += 1 + n
    return metrics


def metrics(server: Server) -> dict[str, float]:
    with urllib.request.urlopen(metrics_url(server), timeout=30) as r:
        lines = [line for line in r.read().decode().splitlines() if not line.startswith("#")]
    parts = [line.rsplit(" ", 1) for line in lines]
    assert len({series for series, _ in parts}) == len(parts), "a series twice"
    return {series: float(value) for series, value in parts}


def test_metrics_of_partitions_waits_and_versions(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    p = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "enable.idempotence": True})
    for _ in range(3):
        p.produce("t", b"x" * 1000)
        assert p.flush(30) == 0
    got = metrics(server)
    sizes = [v for series, v in got.items() if series.startswith('kafka_log_log_size{topic="t",')]
    assert 3000 < sum(sizes) < 4000
    assert got["kafka_server_replicamanager_produceridcount"] >= 1
    produced = {series: v for series, v in got.items() if series.startswith('kafka_network_requestmetrics_requests_total{request="Produce",version="')}
    assert list(produced.values()) == [3], "one version, one request each"
    assert got['kafka_server_socketservermetrics_connection_count{listener="PLAINTEXT"}'] == got["millrace_kafka_connections"] >= 1
    waits = 'kafka_server_delayedoperationpurgatory_purgatorysize{{delayedOperation="{}"}}'.format
    assert got[waits("Produce")] == 0
    end = int(got['kafka_log_log_logendoffset{topic="t",partition="0"}'])
    with dial(server) as s:  # a fetch of nothing that waits a minute
        body = struct.pack(">iiiibi", -1, 60000, 1, 1 << 20, 0, 1) + struct.pack(">h1siiqi", 1, b"t", 1, 0, end, 1 << 20)
        frame = struct.pack(">hhih", 1, 4, 1, -1) + body
        s.sendall(struct.pack(">i", len(frame)) + frame)
        until(lambda: metrics(server).get(waits("Fetch")) == 1)
    until(lambda: metrics(server)[waits("Fetch")] == 0)
    c = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": "g", "group.protocol": "classic"})
    c.subscribe(["t"])
    c.poll(0.1)
    until(lambda: c.poll(0.1) is None and metrics(server).get(waits("Heartbeat")) == 1)
    c.close()
    until(lambda: metrics(server)[waits("Heartbeat")] == 0)


def test_metrics_have_the_names_that_dashboards_know(server: Server, topic: str) -> None:
    p = confluent_kafka.Producer({"bootstrap.servers": server.kafka})
    for _ in range(7):
        p.produce(topic, b"x")
    assert p.flush(30) == 0
    with urllib.request.urlopen(metrics_url(server), timeout=30) as r:
        lines = r.read().decode().splitlines()
    assert f'kafka_server_brokertopicmetrics_messagesin_total{{topic="{topic}"}} 7' in lines
    assert f'kafka_log_log_logendoffset{{topic="{topic}",partition="0"}} 7' in lines
    assert any(line.startswith('kafka_network_requestmetrics_totaltimems{request="Produce",quantile="0.99"}') for line in lines)
    assert "kafka_controller_kafkacontroller_activecontrollercount 1" in lines
