# SPDX-License-Identifier: Apache-2.0
"""Levels of Kafka's features: told, changed, kept, and what they mean to clients. Raw frames where no client library here has the call."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import gates
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from conftest import Server
from kafka_frames import Connection

UPGRADE, SAFE, UNSAFE = 1, 2, 3
UNSUPPORTED_VERSION, INVALID_UPDATE_VERSION = 35, 95
DEFAULTS = {"metadata.version": 33, "eligible.leader.replicas.version": 1, "group.version": 1, "transaction.version": 2, "share.version": 2, "streams.version": 1}


class Asker:
    def __init__(self, server: Server) -> None:
        self.server = server

    def ask(self, api: str, version: int, body: dict[str, Any]) -> dict[str, Any]:
        with Connection(self.server.kafka) as connection:
            return connection.ask(api, version, body)

    def levels(self) -> tuple[int, dict[str, int]]:
        said = self.ask("ApiVersions", 4, {"client_software_name": "t", "client_software_version": "1"})
        return said["finalized_features_epoch"], {f["name"]: f["max_version_level"] for f in said["finalized_features"]}

    def update(self, levels: dict[str, int], change: int = UPGRADE, only_check: bool = False, version: int = 2) -> tuple[int, str | None]:
        updates = [{"feature": name, "max_version_level": level, "upgrade_type": change, "allow_downgrade": change != UPGRADE} for name, level in levels.items()]
        said = self.ask("UpdateFeatures", version, {"timeout_ms": 10000, "feature_updates": updates, "validate_only": only_check})
        if version < 2:
            wanted = [] if said["error_code"] != 0 else [{"feature": name, "error_code": 0, "error_message": "NONE"} for name in levels]
            assert said["results"] == wanted
        return said["error_code"], said["error_message"]


@pytest.fixture
def fresh(new_server: Callable[..., Server]) -> Asker:
    return Asker(new_server().start())


def test_levels_are_kept(fresh: Asker) -> None:
    assert fresh.levels() == (1, DEFAULTS)
    code, message = fresh.update({"group.version": 0})
    assert code == INVALID_UPDATE_VERSION and message is not None
    assert message.startswith("The update failed for all features since the following feature had an error: Invalid update version 0 for feature group.version. ")
    assert fresh.update({"group.version": 0}, SAFE, only_check=True) == (0, None) and fresh.levels() == (1, DEFAULTS)
    assert fresh.update({"transaction.version": 1, "no.such.feature": 1}, SAFE)[0] == INVALID_UPDATE_VERSION and fresh.levels() == (1, DEFAULTS)
    assert fresh.update({"transaction.version": 1, "group.version": 0}, SAFE) == (0, None)
    lower = {name: level for name, level in DEFAULTS.items() if name != "group.version"} | {"transaction.version": 1}
    assert fresh.levels() == (2, lower)
    fresh.server.kill()
    fresh.server.start()
    assert fresh.levels() == (2, lower), "durable before it was acknowledged"
    for version in (0, 1, 2):
        assert fresh.update({"share.version": 1}, SAFE, version=version) == (0, None)
        assert fresh.update({"share.version": 2}, version=version) == (0, None)
    assert fresh.levels() == (8, lower)
    for change in (SAFE, UNSAFE):
        code, message = fresh.update({"metadata.version": 25}, change)
        assert code == INVALID_UPDATE_VERSION and "Unsupported metadata.version downgrade from 33 to 25." in str(message)


def test_the_command_line(fresh: Asker) -> None:
    brokers = ("--brokers", fresh.server.kafka)
    fresh.server.cli("broker", "set-feature", "group.version=0", "streams.version=0", "--downgrade", *brokers)
    rows = {r["feature"]: r for r in json.loads(fresh.server.cli("broker", "features", "--output", "json", *brokers).stdout)}
    assert rows["group.version"] == {"feature": "group.version", "lowest": 0, "highest": 1, "finalized": 0, "epoch": 2}
    assert rows["transaction.version"]["finalized"] == 2
    refused = fresh.server.cli("broker", "set-feature", "share.version=0", *brokers, check=False)
    assert refused.returncode != 0 and "Can't downgrade" in refused.stderr


def test_groups_that_are_off(fresh: Asker) -> None:
    case = gates.Case.__new__(gates.Case)
    case.group, case.topic = "g", "t"
    asked: dict[str, tuple[str, int, dict[str, Any]]] = {
        "ConsumerGroupHeartbeat": ("group.version", 1, gates.heartbeat(case)),
        "ConsumerGroupDescribe": ("group.version", 1, gates.groups(case)),
        "ShareGroupHeartbeat": ("share.version", 1, gates.heartbeat(case)),
        "ShareGroupDescribe": ("share.version", 1, gates.groups(case)),
        "ShareFetch": ("share.version", 1, {"group_id": "g", "member_id": gates.MEMBER, "topics": [], "forgotten_topics_data": []}),
        "ShareAcknowledge": ("share.version", 1, {"group_id": "g", "member_id": gates.MEMBER, "topics": []}),
        "DescribeShareGroupOffsets": ("share.version", 0, {"groups": [{"group_id": "g", "topics": None}]}),
        "AlterShareGroupOffsets": ("share.version", 0, {"group_id": "g", "topics": []}),
        "DeleteShareGroupOffsets": ("share.version", 0, {"group_id": "g", "topics": []}),
        "StreamsGroupHeartbeat": ("streams.version", 1, gates.streams_heartbeat(case)),
        "StreamsGroupDescribe": ("streams.version", 1, gates.groups(case)),
    }

    def error(api: str) -> int:
        _, version, body = asked[api]
        said = fresh.ask(api, version, body)
        return int(said["groups"][0]["error_code"] if "groups" in said else said["error_code"])

    for off in ("group.version", "share.version", "streams.version"):
        assert fresh.update({off: 0}, SAFE) == (0, None)
        for api, (feature, _, _) in asked.items():
            assert (error(api) == UNSUPPORTED_VERSION) == (feature == off), (api, off)
        assert fresh.update({off: DEFAULTS[off]}) == (0, None)


def test_consumers_go_back_to_the_classic_protocol(fresh: Asker) -> None:
    topic = f"t-{uuid.uuid4().hex[:8]}"
    producer = Producer({"bootstrap.servers": fresh.server.kafka})
    producer.produce(topic, b"x")
    assert producer.flush(30) == 0
    assert fresh.update({"group.version": 0}, SAFE) == (0, None)
    config = {"bootstrap.servers": fresh.server.kafka, "group.id": "g", "auto.offset.reset": "earliest"}
    newer = Consumer(config | {"group.protocol": "consumer"})
    newer.subscribe([topic])
    with pytest.raises(KafkaException) as refused:
        for _ in range(60):
            message = newer.poll(1)
            if message is not None:
                raise KafkaException(message.error())
    assert refused.value.args[0].code() == KafkaError._FATAL and "API version not supported" in refused.value.args[0].str()
    newer.close()
    classic = Consumer(config)
    classic.subscribe([topic])
    message = classic.poll(30)
    assert message is not None and message.error() is None and message.value() == b"x"
    classic.close()


def test_a_transaction_below_version_2(fresh: Asker) -> None:
    """A client that goes by the level adds partitions by itself and gets no new epoch at the end."""
    assert fresh.update({"transaction.version": 1}, SAFE) == (0, None)
    config: dict[str, Any] = {"bootstrap.servers": fresh.server.kafka, "transactional.id": "x"}
    producer = Producer(config)
    producer.init_transactions(30)
    for value in (b"1", b"2"):
        producer.begin_transaction()
        producer.produce("t", value)
        producer.commit_transaction(30)
    said = fresh.ask("DescribeTransactions", 0, {"transactional_ids": ["x"]})["transaction_states"][0]
    assert (said["error_code"], said["transaction_state"], said["producer_epoch"]) == (0, "CompleteCommit", 0)


def test_what_a_new_directory_begins_with(new_server: Callable[..., Server]) -> None:
    asker = Asker(new_server({"broker.features": "group.version=0,transaction.version=1"}).start())
    levels = {name: level for name, level in DEFAULTS.items() if name != "group.version"} | {"transaction.version": 1}
    assert asker.levels() == (1, levels)
    asker.server.stop()
    asker.server.settings["broker.features"] = ""
    asker.server.start()
    assert asker.levels() == (1, levels)
