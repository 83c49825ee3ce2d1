# SPDX-License-Identifier: Apache-2.0
"""The Kafka door with clients that know nothing of us: kcat, confluent-kafka (librdkafka), kafka-python."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator

import confluent_kafka
import kafka
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType


def name(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def kcat(server, *args: str, stdin: str | None = None) -> str:
    done = subprocess.run(["kcat", "-b", server.kafka, *args], input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def admin(server) -> AdminClient:
    return AdminClient({"bootstrap.servers": server.kafka})


@pytest.fixture
def topic(admin) -> str:
    topic = name("t")
    admin.create_topics([NewTopic(topic, num_partitions=3)])[topic].result(30)
    return topic


def produce(server, topic: str, n: int, **config) -> list[confluent_kafka.Message]:
    """n messages with key and value; every one acknowledged."""
    delivered: list[confluent_kafka.Message] = []
    errors: list[str] = []

    def on_delivery(err, msg) -> None:
        errors.append(str(err)) if err else delivered.append(msg)

    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "linger.ms": 5} | config)
    for i in range(n):
        while True:
            try:
                producer.produce(topic, key=f"k{i % 97}", value=f"value {i}".encode(), on_delivery=on_delivery, headers=[("n", str(i).encode())])
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(60) == 0
    assert not errors
    assert len(delivered) == n
    return delivered


def consume(server, topic: str, n: int, group: str | None = None, **config) -> list[confluent_kafka.Message]:
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": server.kafka, "group.id": group or name("g"), "auto.offset.reset": "earliest", "enable.auto.commit": False} | config
    )
    consumer.subscribe([topic])
    got: list[confluent_kafka.Message] = []
    try:
        while len(got) < n:
            batch = consumer.consume(min(n - len(got), 1000), timeout=30)
            assert batch, f"only {len(got)} of {n} came"
            for msg in batch:
                assert msg.error() is None
            got += batch
        if group:
            consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    return got


def test_kcat_lists_produces_consumes(server) -> None:
    topic = name("kcat")
    kcat(server, "-P", "-t", topic, "-K:", stdin="a:1\nb:2\nc:3\n")
    listing = kcat(server, "-L")
    assert f'topic "{topic}"' in listing
    out = kcat(server, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%k=%s\n")
    assert sorted(out.split()) == ["a=1", "b=2", "c=3"]
    group = kcat(server, "-G", name("g"), "-o", "beginning", "-e", "-q", "-c", "3", "-f", "%s\n", topic)
    assert sorted(group.split()) == ["1", "2", "3"]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_codecs(server, topic, codec) -> None:
    sent = produce(server, topic, 2000, **{"compression.type": codec, "acks": "all"})
    got = consume(server, topic, 2000)
    assert sorted(m.value() for m in got) == sorted(m.value() for m in sent)
    assert all(m.headers()[0][0] == "n" for m in got)


def test_idempotent_in_order(server, topic) -> None:
    sent = produce(server, topic, 20000, **{"enable.idempotence": True, "acks": "all", "linger.ms": 0, "batch.num.messages": 100})
    assert len({(m.partition(), m.offset()) for m in sent}) == 20000
    got = consume(server, topic, 20000)
    for p in range(3):
        assert [m.offset() for m in got if m.partition() == p] == list(range(sum(m.partition() == p for m in got)))
        mine = [int(m.value().split()[1]) for m in got if m.partition() == p]
        assert mine == sorted(mine)  # one producer: its order per partition


def test_acks_0_and_1(server, topic) -> None:
    produce(server, topic, 100, acks="1")
    produce(server, topic, 100, acks="0")
    assert len(consume(server, topic, 200)) == 200


def test_group_shares_partitions_and_resumes(server, topic) -> None:
    produce(server, topic, 3000)
    group = name("g")
    got: list[tuple[int, int]] = []
    lock = threading.Lock()
    assigned: dict[int, set[int]] = {}

    def member(i: int) -> None:
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": server.kafka, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
        )
        consumer.subscribe([topic], on_assign=lambda _c, ps: assigned.__setitem__(i, {p.partition for p in ps}))
        while True:
            msg = consumer.poll(0.2)
            with lock:
                if msg is not None and msg.error() is None:
                    got.append((msg.partition(), msg.offset()))
                done = len(set(got)) >= 3000 and all(len(s) > 0 for s in assigned.values()) and len(assigned) == 3
            if msg is not None and msg.error() is None:
                consumer.commit(msg, asynchronous=False) if msg.offset() % 250 == 249 else None
            if done:
                break
        consumer.close()

    threads = [threading.Thread(target=member, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(90)
        assert not t.is_alive()
    assert len(set(got)) == 3000
    # the group goes on behind what was committed
    before = {p.partition: max(p.offset, 0) for p in committed(server, group, topic)}
    assert sum(before.values()) > 0
    rest = 3000 - sum(before.values())
    for msg in consume(server, topic, rest, group) if rest else []:
        assert msg.offset() >= before[msg.partition()]
    assert sum(p.offset for p in committed(server, group, topic)) == 3000


def committed(server, group: str, topic: str) -> list[confluent_kafka.TopicPartition]:
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": group})
    try:
        return consumer.committed([confluent_kafka.TopicPartition(topic, p) for p in range(3)], timeout=30)
    finally:
        consumer.close()


def test_admin(server, admin, topic) -> None:
    cluster = admin.describe_cluster().result(30)
    assert [n.id for n in cluster.nodes] == [1]
    assert not cluster.authorized_operations
    operations = admin.describe_cluster(include_authorized_operations=True).result(30).authorized_operations  # asked by Metadata
    assert sorted(o.name for o in operations) == ["ALTER", "ALTER_CONFIGS", "CLUSTER_ACTION", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "IDEMPOTENT_WRITE"]
    meta = admin.list_topics(topic, timeout=30)
    assert len(meta.topics[topic].partitions) == 3
    assert meta.topics[topic].partitions[0].leader == 1
    with pytest.raises(confluent_kafka.KafkaException) as error:
        admin.create_topics([NewTopic(topic, 1)])[topic].result(30)
    assert error.value.args[0].code() == confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS
    with pytest.raises(confluent_kafka.KafkaException) as error:
        admin.create_topics([NewTopic("three", 1, replication_factor=3)])["three"].result(30)
    assert error.value.args[0].code() == confluent_kafka.KafkaError.INVALID_REPLICATION_FACTOR
    with pytest.raises(confluent_kafka.KafkaException) as error:
        admin.create_topics([NewTopic("no/slash", 1)])["no/slash"].result(30)
    assert error.value.args[0].code() == confluent_kafka.KafkaError.TOPIC_EXCEPTION
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(30)
    assert len(admin.list_topics(topic, timeout=30).topics[topic].partitions) == 5
    described = admin.describe_topics(confluent_kafka.TopicCollection([topic]))[topic].result(30)
    assert len(described.partitions) == 5
    admin.delete_topics([topic])[topic].result(30)
    assert topic not in admin.list_topics(timeout=30).topics


def test_configs(server, admin, topic) -> None:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    configs = admin.describe_configs([resource])[resource].result(30)
    assert configs["cleanup.policy"].value == "delete"
    assert len(configs) > 20
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[ConfigEntry("retention.ms", "3600000", incremental_operation=AlterConfigOpType.SET)])
    admin.incremental_alter_configs([change])[change].result(30)
    configs = admin.describe_configs([resource])[resource].result(30)
    assert configs["retention.ms"].value == "3600000"
    assert not configs["retention.ms"].is_default
    bad = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[ConfigEntry("retention.ms", "soon", incremental_operation=AlterConfigOpType.SET)])
    with pytest.raises(confluent_kafka.KafkaException) as error:
        admin.incremental_alter_configs([bad])[bad].result(30)
    assert error.value.args[0].code() == confluent_kafka.KafkaError.INVALID_CONFIG
    # AlterConfigs, as older clients have it: what is not named goes back to its default
    whole = ConfigResource(ResourceType.TOPIC, topic, set_config={"max.message.bytes": "2000000"})
    admin.alter_configs([whole])[whole].result(30)
    configs = admin.describe_configs([resource])[resource].result(30)
    assert configs["max.message.bytes"].value == "2000000" and configs["retention.ms"].is_default
    wrong = ConfigResource(ResourceType.TOPIC, topic, set_config={"retention.ms": "1000", "max.message.bytes": "many"})
    with pytest.raises(confluent_kafka.KafkaException) as error:
        admin.alter_configs([wrong])[wrong].result(30)
    assert error.value.args[0].code() == confluent_kafka.KafkaError.INVALID_CONFIG
    configs = admin.describe_configs([resource])[resource].result(30)
    assert configs["max.message.bytes"].value == "2000000" and configs["retention.ms"].is_default
    broker = ConfigResource(ResourceType.BROKER, "1")
    assert len(admin.describe_configs([broker])[broker].result(30)) > 5


def test_offsets_by_time(server, admin, topic) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka})
    for i in range(10):
        producer.produce(topic, value=b"x", partition=0, timestamp=1_700_000_000_000 + i * 1000)
    assert producer.flush(30) == 0
    part = confluent_kafka.TopicPartition(topic, 0)

    def offset(spec: OffsetSpec) -> int:
        return admin.list_offsets({part: spec})[part].result(30).offset

    assert offset(OffsetSpec.earliest()) == 0
    assert offset(OffsetSpec.latest()) == 10
    assert offset(OffsetSpec.max_timestamp()) == 9
    assert offset(OffsetSpec.for_timestamp(1_700_000_004_500)) == 5
    assert offset(OffsetSpec.for_timestamp(1_800_000_000_000)) == -1


def test_groups_admin(server, admin, topic) -> None:
    produce(server, topic, 10)
    group = name("g")
    consume(server, topic, 10, group)
    listed = admin.list_consumer_groups().result(30)
    assert group in [g.group_id for g in listed.valid]
    described = admin.describe_consumer_groups([group])[group].result(30)
    assert described.state == confluent_kafka.ConsumerGroupState.EMPTY
    offsets = admin.list_consumer_group_offsets([confluent_kafka.ConsumerGroupTopicPartitions(group)])[group].result(30)
    assert sum(p.offset for p in offsets.topic_partitions) == 10
    admin.delete_consumer_groups([group])[group].result(30)
    assert group not in [g.group_id for g in admin.list_consumer_groups().result(30).valid]


def test_long_poll_wakes(server, topic) -> None:
    """A fetch that waits for data is answered when data comes, not at its time-out."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": server.kafka, "group.id": name("g"), "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20000, "socket.timeout.ms": 60000}
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in range(3)])
    assert consumer.poll(1) is None
    produce(server, topic, 1)
    msg = consumer.poll(10)
    assert msg is not None and msg.error() is None
    consumer.close()


def test_kafka_python(server) -> None:
    topic = name("kp")
    producer = kafka.KafkaProducer(bootstrap_servers=server.kafka, acks="all")
    sent = [producer.send(topic, key=b"k", value=str(i).encode()) for i in range(100)]
    producer.flush(30)
    assert sorted(f.get(30).offset for f in sent) == list(range(100))
    producer.close()
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=server.kafka, group_id=name("g"), auto_offset_reset="earliest", consumer_timeout_ms=30000)
    got = [next(consumer).value for _ in range(100)]
    assert got == [str(i).encode() for i in range(100)]
    consumer.close()


@pytest.fixture
def raw(server) -> Iterator[socket.socket]:
    host, port = server.kafka.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as sock:
        yield sock


@pytest.mark.parametrize(
    "junk",
    [b"\xff" * 64, struct.pack(">i", 2**31 - 1), b"GET / HTTP/1.1\r\n\r\n", struct.pack(">ihhi", 8, 999, 0, 1), struct.pack(">ihhih", 10, 3, 99, 1, -1),
     struct.pack(">ihhihi", 14, 3, 1, 1, -1, 2**30)],
)  # fmt: skip
def test_bad_bytes_close_only_that_connection(server, admin, raw, junk) -> None:
    raw.sendall(junk)
    assert raw.recv(100) == b""
    assert "connection closed" in server.log()
    assert admin.list_topics(timeout=30).brokers


def test_cut_connection_in_a_request(server, admin, raw) -> None:
    raw.sendall(struct.pack(">ihhi", 1000, 0, 7, 1) + b"x" * 100)
    raw.shutdown(socket.SHUT_WR)
    assert raw.recv(100) == b""
    assert admin.list_topics(timeout=30).brokers


def test_survives_restart(new_server) -> None:
    one = new_server().start()
    produce(one, "kept", 1000, **{"enable.idempotence": True})
    group = name("g")
    consume(one, "kept", 400, group)
    one.kill()
    two = new_server(data=one.data).start()
    assert len(consume(two, "kept", 1000)) == 1000
    assert sum(p.offset for p in committed_one(two, group, "kept")) == 400


def test_stops_at_once_with_a_join_waiting(new_server) -> None:
    """A second member's join waits for the first, which has its session but does not come back: the server does not wait with it."""
    one = new_server().start()
    produce(one, "t", 1)
    host, port = one.kafka.rsplit(":", 1)

    def join(sock: socket.socket) -> None:
        protocol = struct.pack(">h", 5) + b"range" + struct.pack(">i", 0)
        body = struct.pack(">h", 1) + b"g" + struct.pack(">ii", 60000, 300000) + struct.pack(">h", 0) + struct.pack(">h", 8) + b"consumer"
        body += struct.pack(">i", 1) + protocol
        frame = struct.pack(">hhih", 11, 2, 1, -1) + body
        sock.sendall(struct.pack(">i", len(frame)) + frame)

    with socket.create_connection((host, int(port)), 10) as first, socket.create_connection((host, int(port)), 10) as second:
        join(first)
        assert first.recv(1000)
        join(second)
        assert AdminClient({"bootstrap.servers": one.kafka}).list_topics(timeout=30).brokers
        began = time.monotonic()
        one.stop()
        assert time.monotonic() - began < 4
        assert "under way" not in one.log()


def committed_one(server, group: str, topic: str) -> list[confluent_kafka.TopicPartition]:
    admin = AdminClient({"bootstrap.servers": server.kafka})
    return admin.list_consumer_group_offsets([confluent_kafka.ConsumerGroupTopicPartitions(group)])[group].result(30).topic_partitions


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_old_librdkafka_compresses(server, codec) -> None:
    """Before 2.11, librdkafka silently sends uncompressed unless Produce v0 is in the advertised range: kcat's own must still compress."""
    topic = name(f"small-{codec}")
    kcat(server, "-P", "-t", topic, "-p", "0", "-z", codec, "-X", "linger.ms=500", stdin=("x" * 1000 + "\n") * 200)
    (segment,) = (server.data / "log" / f"{topic}-0").glob("*.log")
    assert len(segment.read_bytes().rstrip(b"\0")) < 40_000  # 200 KB before compression; the zeros behind are reserved room
    out = kcat(server, "-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q")
    assert out == ("x" * 1000 + "\n") * 200
