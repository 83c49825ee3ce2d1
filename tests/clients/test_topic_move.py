# SPDX-License-Identifier: Apache-2.0
"""`millrace topic move`: every record at the other Kafka at its own offset, and the groups where they stood. MOVE_TO=host:port takes another Kafka."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient
from conftest import Server


def producer(brokers: str, **more: Any) -> confluent_kafka.Producer:
    return confluent_kafka.Producer({"bootstrap.servers": brokers, **{k.replace("_", "."): v for k, v in more.items()}})


def fill(brokers: str, topic: str) -> None:
    """Small records with headers, large compressed ones, aborted and committed transactions, and a begin that was deleted."""
    p = producer(brokers)
    for i in range(40):
        p.produce(topic, key=f"k{i}", value=f"small {i}", partition=0, timestamp=1_600_000_000_000 + i, headers=[("n", str(i).encode()), ("n", None)])
        p.poll(0)
    p.produce(topic, key=None, value=None, partition=0, timestamp=1_600_000_001_000)
    assert p.flush(30) == 0
    lz = producer(brokers, compression_type="lz4", linger_ms=50)
    for i in range(200):
        lz.produce(topic, value=os.urandom(1000), partition=1, timestamp=1_600_000_002_000 + i)
    assert lz.flush(30) == 0
    tx = producer(brokers, transactional_id=f"move-{uuid.uuid4().hex[:8]}")
    tx.init_transactions(30)
    for n in range(4):
        tx.begin_transaction()
        for i in range(5):
            tx.produce(topic, value=f"transaction {n} {i}", partition=0)
        tx.flush(30)
        if n % 2:
            tx.abort_transaction(30)
        else:
            tx.commit_transaction(30)
    admin = AdminClient({"bootstrap.servers": brokers})
    for f in admin.delete_records([confluent_kafka.TopicPartition(topic, 1, 7)]).values():
        assert f.result().low_watermark == 7


def records(brokers: str, topic: str, partition: int) -> tuple[tuple[int, int], list[tuple[Any, ...]]]:
    c = confluent_kafka.Consumer({"bootstrap.servers": brokers, "group.id": "reader", "enable.auto.commit": False, "auto.offset.reset": "earliest",
                                  "isolation.level": "read_committed", "enable.partition.eof": True})
    c.assign([confluent_kafka.TopicPartition(topic, partition, confluent_kafka.OFFSET_BEGINNING)])
    out = []
    while True:
        m = c.poll(30)
        assert m is not None
        if m.error():
            assert m.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
            break
        out.append((m.offset(), m.key(), m.value(), m.timestamp(), m.headers()))
    ends = c.get_watermark_offsets(confluent_kafka.TopicPartition(topic, partition), timeout=30)
    c.close()
    return ends, out


def test_move(new_server: Callable[..., Server]) -> None:
    here = new_server().start()
    to = os.environ.get("MOVE_TO") or new_server().start().kafka
    topic = f"orders_{uuid.uuid4().hex[:8]}"
    here.cli("topic", "create", topic, "--partitions", "2", "--config", "retention.ms=-1", "--config", "max.message.bytes=2000000")
    fill(here.kafka, topic)
    group = f"billing_{uuid.uuid4().hex[:8]}"
    here.cli("group", "reset-offsets", group, "--topic", f"{topic}:0", "--to-offset", "17", "--execute")
    here.cli("group", "reset-offsets", group, "--topic", f"{topic}:1", "--to-latest", "--execute")

    done = here.cli("topic", "move", topic, "--to", to, "--output", "json").stdout
    assert '"partitions": 2' in done and '"groups": 1' in done
    for partition in (0, 1):
        assert records(to, topic, partition) == records(here.kafka, topic, partition)
    assert here.cli("group", "describe", group, "--brokers", to, "--output", "json").stdout == here.cli("group", "describe", group, "--output", "json").stdout
    assert "max.message.bytes" in here.cli("topic", "describe", topic, "--configs", "--brokers", to).stdout

    p = producer(here.kafka)  # more comes: the move goes on
    p.produce(topic, value="later", partition=0)
    assert p.flush(30) == 0
    assert '"records": 1' in here.cli("topic", "move", topic, "--to", to, "--output", "json").stdout
    assert records(to, topic, 0) == records(here.kafka, topic, 0)

    q = producer(to)  # and is refused where somebody else has written
    for _ in range(3):
        q.produce(topic, value="stranger", partition=0)
    assert q.flush(30) == 0
    refused = here.cli("topic", "move", topic, "--to", to, check=False)
    assert refused.returncode == 5 and "it is another topic" in refused.stderr


@pytest.mark.parametrize("args,says", [((), "where to?"), (("--to", "127.0.0.1:1"), "no broker answers")])
def test_move_is_refused(server: Server, args: tuple[str, ...], says: str) -> None:
    done = server.cli("topic", "move", "nothing", *args, check=False)
    assert done.returncode != 0 and says in done.stderr
