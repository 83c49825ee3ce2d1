# SPDX-License-Identifier: Apache-2.0
"""What administrators ask of a cluster of one, and calls that clients make seldom. Real clients where they know the API, else raw frames."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator

import kafka
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, ElectionType, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import Server
from frames import Wire
from kafka.admin import KafkaAdminClient
from kafka.errors import InvalidReplicationAssignmentError, InvalidUpdateVersionError, NoReassignmentInProgressError, UnknownTopicOrPartitionError

UNREGISTER_BROKER, ADD_RAFT_VOTER, REMOVE_RAFT_VOTER, UNREGISTER_CONTROLLER = 64, 80, 81, 94
INVALID_REQUEST, UNSUPPORTED_VERSION, BROKER_ID_NOT_REGISTERED, INCONSISTENT_CLUSTER_ID, CONTROLLER_ID_NOT_REGISTERED = 42, 35, 102, 104, 136
NO_TAGS, NULL, NODE = b"\0", b"\0", 1


@pytest.fixture
def admin(server: Server) -> AdminClient:
    return AdminClient({"bootstrap.servers": server.kafka})


@pytest.fixture
def other_admin(server: Server) -> Iterator[KafkaAdminClient]:
    a = KafkaAdminClient(bootstrap_servers=server.kafka)
    yield a
    a.close()


@pytest.fixture
def topic(admin: AdminClient) -> str:
    t = f"t-{uuid.uuid4().hex[:8]}"
    admin.create_topics([NewTopic(t, num_partitions=2)])[t].result(30)
    return t


def compact(text: str) -> bytes:
    return bytes([len(text) + 1]) + text.encode()


def ask(server: Server, key: int, version: int, body: bytes) -> tuple[int, str]:
    """One request of a flexible version whose response is throttle time, error, message."""
    frame = struct.pack(">hhih", key, version, 77, -1) + NO_TAGS + body + NO_TAGS
    with Wire(server.kafka) as wire:
        answer = wire.exchange(struct.pack(">i", len(frame)) + frame)
    correlation, tags, _, error = struct.unpack(">ibih", answer[:11])
    assert (correlation, tags, answer[-1]) == (77, 0, 0)
    assert answer[11] < 128 and len(answer) == 12 + max(answer[11] - 1, 0) + 1, "the message and nothing else"
    return error, answer[12:-1].decode()


def test_elections_are_not_needed(admin: AdminClient, topic: str) -> None:
    wanted = [TopicPartition(topic, 0), TopicPartition(topic, 1), TopicPartition(topic, 2), TopicPartition("none", 0)]
    for kind in (ElectionType.PREFERRED, ElectionType.UNCLEAN):
        got = admin.elect_leaders(kind, wanted).result(30)
        codes = {(p.topic, p.partition): None if e is None else e.code() for p, e in got.items()}
        assert codes == {
            (topic, 0): KafkaError.ELECTION_NOT_NEEDED,
            (topic, 1): KafkaError.ELECTION_NOT_NEEDED,
            (topic, 2): KafkaError.UNKNOWN_TOPIC_OR_PART,
            ("none", 0): KafkaError.UNKNOWN_TOPIC_OR_PART,
        }
    assert admin.elect_leaders(ElectionType.PREFERRED, None).result(30) == {}, "of all partitions, those that needed one"


def test_reassignments_to_this_node_only(other_admin: KafkaAdminClient, topic: str) -> None:
    at = [kafka.TopicPartition(topic, 0), kafka.TopicPartition(topic, 1), kafka.TopicPartition("none", 0)]
    assert other_admin.alter_partition_reassignments({at[0]: [NODE]}) == {at[0]: None}
    got = other_admin.alter_partition_reassignments({at[0]: [NODE, 2], at[1]: None, at[2]: [NODE]})
    assert got == {at[0]: InvalidReplicationAssignmentError, at[1]: NoReassignmentInProgressError, at[2]: UnknownTopicOrPartitionError}
    assert not other_admin.list_partition_reassignments()


def test_features_stay_at_their_levels(other_admin: KafkaAdminClient) -> None:
    levels = finalized(other_admin)
    assert levels["metadata.version"] > 1
    assert other_admin.update_features({"metadata.version": levels["metadata.version"]}) == {"metadata.version": "OK"}
    for feature, level in (("metadata.version", 1), ("no.such.feature", 1)):
        with pytest.raises(InvalidUpdateVersionError, match="only supports|does not support"):
            other_admin.update_features({feature: level})
    assert finalized(other_admin) == levels


def finalized(admin: KafkaAdminClient) -> dict[str, int]:
    return {feature: levels["finalized"][1] for feature, levels in admin.describe_features().items() if "finalized" in levels}


@pytest.mark.parametrize(("key", "unknown"), [(UNREGISTER_BROKER, BROKER_ID_NOT_REGISTERED), (UNREGISTER_CONTROLLER, CONTROLLER_ID_NOT_REGISTERED)])
def test_the_only_node_stays(server: Server, admin: AdminClient, key: int, unknown: int) -> None:
    error, message = ask(server, key, 0, struct.pack(">i", NODE))
    assert error == INVALID_REQUEST and "only" in message
    error, message = ask(server, key, 0, struct.pack(">i", 9))
    assert error == unknown and "9 is not currently registered" in message
    assert list(admin.list_topics(timeout=30).brokers) == [NODE]


@pytest.mark.parametrize("version", [0, 1])
def test_no_voter_is_added(server: Server, admin: AdminClient, version: int) -> None:
    listeners = b"\2" + compact("CONTROLLER") + compact("localhost") + struct.pack(">H", 9093) + NO_TAGS
    rest = struct.pack(">ii", 1000, 2) + uuid.uuid4().bytes + listeners + (b"\1" if version > 0 else b"")
    for cluster in (NULL, compact(str(admin.list_topics(timeout=30).cluster_id))):
        error, message = ask(server, ADD_RAFT_VOTER, version, cluster + rest)
        assert error == UNSUPPORTED_VERSION and "kraft.version feature is 0" in message
    assert ask(server, ADD_RAFT_VOTER, version, compact("another") + rest)[0] == INCONSISTENT_CLUSTER_ID


def test_no_voter_is_removed(server: Server, admin: AdminClient) -> None:
    rest = struct.pack(">i", NODE) + bytes(16)
    for cluster in (NULL, compact(str(admin.list_topics(timeout=30).cluster_id))):
        error, message = ask(server, REMOVE_RAFT_VOTER, 0, cluster + rest)
        assert error == UNSUPPORTED_VERSION and "kraft.version feature is 0" in message
    assert ask(server, REMOVE_RAFT_VOTER, 0, compact("another") + rest)[0] == INCONSISTENT_CLUSTER_ID


def test_offsets_of_a_group_are_deleted(admin: AdminClient, other_admin: KafkaAdminClient, topic: str) -> None:
    group = f"g-{uuid.uuid4().hex[:8]}"
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 5), TopicPartition(topic, 1, 7)])
    admin.alter_consumer_group_offsets([wanted])[group].result(30)
    other_admin.delete_group_offsets(group, [kafka.TopicPartition(topic, 0)])
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0), TopicPartition(topic, 1)])
    left = admin.list_consumer_group_offsets([asked])[group].result(30).topic_partitions
    assert [p.offset for p in left] == [-1001, 7]


def test_the_end_of_a_leaders_epoch(server: Server, topic: str) -> None:
    p = Producer({"bootstrap.servers": server.kafka})
    for _ in range(3):
        p.produce(topic, b"x", partition=1)
        assert p.flush(30) == 0
    asked = [(1, -1, 0), (1, 0, 0), (1, 5, 0), (1, -1, 3), (9, -1, 0)]  # partition, the leader's epoch as the client knows it, the epoch asked for
    body = struct.pack(">ii", -1, 1) + struct.pack(">h", len(topic)) + topic.encode() + struct.pack(">i", len(asked))
    frame = struct.pack(">hhih", 23, 3, 77, -1) + body + b"".join(struct.pack(">iii", *a) for a in asked)
    with Wire(server.kafka) as wire:
        answer = wire.exchange(struct.pack(">i", len(frame)) + frame)
    rows = list(struct.iter_unpack(">hiiq", answer[4 + 4 + 4 + 2 + len(topic) + 4 :]))  # error, partition, epoch, its end
    assert rows == [(0, 1, 0, 3), (0, 1, 0, 3), (75, 1, -1, -1), (0, 1, -1, -1), (3, 9, -1, -1)]
