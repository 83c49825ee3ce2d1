# SPDX-License-Identifier: Apache-2.0
"""Who may what, API by API, as Kafka documents it: a table, and what runs it against a broker with an authorizer (ours, or Kafka's own).

A row says how to ask, and what it takes: each ``Need`` is an error and the rights of which any one makes it go away. A row is walked with a user who
has none of them, in every version that is served: the first error. Then the rights are given one by one: the next error, at last what ``then`` says.
Another user may do everything but what a Need asks for, and is refused with its error.
"""

from __future__ import annotations

import base64
import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import kafka_frames
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka_frames import Connection

ERRORS = {
    "NONE": 0, "UNKNOWN_TOPIC_OR_PARTITION": 3, "COORDINATOR_NOT_AVAILABLE": 15, "NOT_COORDINATOR": 16, "UNKNOWN_MEMBER_ID": 25, "TOPIC": 29, "GROUP": 30, "CLUSTER": 31,
    "ILLEGAL_SASL_STATE": 34, "UNSUPPORTED_VERSION": 35, "INVALID_REPLICA_ASSIGNMENT": 39, "INVALID_REQUEST": 42, "INVALID_PRODUCER_EPOCH": 47, "INVALID_TXN_STATE": 48, "INVALID_PRODUCER_ID_MAPPING": 49, "TRANSACTION": 53,
    "SECURITY_DISABLED": 54, "LOG_DIR_NOT_FOUND": 57, "DELEGATION_TOKEN_NOT_FOUND": 62, "DELEGATION_TOKEN": 65, "GROUP_ID_NOT_FOUND": 69,
    "MEMBER_ID_REQUIRED": 79, "NO_REASSIGNMENT_IN_PROGRESS": 85, "GROUP_SUBSCRIBED_TO_TOPIC": 86, "UNSTABLE_OFFSET_COMMIT": 88, "RESOURCE_NOT_FOUND": 91, "ELECTION_NOT_NEEDED": 84, "INVALID_UPDATE_VERSION": 95, "UNKNOWN_TOPIC_ID": 100,
    "BROKER_ID_NOT_REGISTERED": 102, "INCONSISTENT_CLUSTER_ID": 104, "TRANSACTIONAL_ID_NOT_FOUND": 105, "UNKNOWN_SUBSCRIPTION_ID": 117,
    "TELEMETRY_TOO_LARGE": 118, "SHARE_SESSION_NOT_FOUND": 122, "STREAMS_INVALID_TOPOLOGY": 130, "CONTROLLER_ID_NOT_REGISTERED": 136,
}  # fmt: skip
NAMES = {code: name for name, code in ERRORS.items()}  # TOPIC is TOPIC_AUTHORIZATION_FAILED, and so on
KINDS = {"TOPIC": 2, "GROUP": 3, "CLUSTER": 4, "TRANSACTION": 5, "TOKEN": 6, "USER": 7}
OPERATIONS = {
    "ALL": 2, "READ": 3, "WRITE": 4, "CREATE": 5, "DELETE": 6, "ALTER": 7, "DESCRIBE": 8, "CLUSTER_ACTION": 9, "DESCRIBE_CONFIGS": 10, "ALTER_CONFIGS": 11,
    "IDEMPOTENT_WRITE": 12, "CREATE_TOKENS": 13, "DESCRIBE_TOKENS": 14,
}  # fmt: skip
AUTHORIZATION = {"TOPIC", "GROUP", "CLUSTER", "TRANSACTION", "DELEGATION_TOKEN"}
MEMBER = "AAAAAAAAAAAAAAAAAAAABw"
LITERAL, DENY, ALLOW = 3, 2, 3
TOPIC_CONFIG, BROKER_CONFIG, LOGGER_CONFIG, METRICS_CONFIG, GROUP_CONFIG = 2, 4, 8, 16, 32


@dataclass(frozen=True)
class Right:
    kind: str
    operation: str
    name: str = ""  # "" = the one that the row's requests are about


@dataclass(frozen=True)
class Need:
    error: str
    rights: tuple[Right, ...]
    at: str = "error_code"  # the field that tells it


@dataclass
class Row:
    api: str
    body: Callable[[Case], dict[str, Any]]
    needs: list[Need]
    then: set[str] = field(default_factory=lambda: {"NONE"})
    first: int = 0  # versions that the row is about
    last: int = 99
    what: str = ""
    group: str = "classic"  # the kind of the group that is there
    hides: bool = True  # nothing in the refusal tells whether the resource is there

    @property
    def id(self) -> str:
        return self.api + (f"-{self.what}" if self.what else "")


@dataclass
class Case:
    """What a row's requests are about: all there, and nobody's but the administrator's."""

    topic: str
    topic_id: bytes
    group: str
    transaction: str
    new: str  # a topic that is not there
    owner: str = "User:somebody"

    def name(self, kind: str) -> str:
        return {"TOPIC": self.topic, "GROUP": self.group, "CLUSTER": "kafka-cluster", "TRANSACTION": self.transaction, "USER": self.owner}[kind]


def need(error: str, *rights: str, at: str = "error_code") -> Need:
    """``need("TOPIC", "TOPIC READ")``; more rights are alternatives; a third word is a name."""
    return Need(error, tuple(Right(*r.split()) for r in rights), at)


def cluster(operation: str) -> list[Need]:
    return [need("CLUSTER", f"CLUSTER {operation}")]


TOPIC_READ, TOPIC_WRITE, TOPIC_DESCRIBE = (need("TOPIC", f"TOPIC {op}") for op in ("READ", "WRITE", "DESCRIBE"))
GROUP_READ, GROUP_DESCRIBE, GROUP_DELETE = (need("GROUP", f"GROUP {op}") for op in ("READ", "DESCRIBE", "DELETE"))
TRANSACTION_WRITE, TRANSACTION_DESCRIBE = (need("TRANSACTION", f"TRANSACTION {op}") for op in ("WRITE", "DESCRIBE"))


# ---- bodies -----------------------------------------------------------------------------------------------------------------
def batch(transactional: bool = False) -> bytes:
    made = DefaultRecordBatchBuilder(2, 0, transactional, 777777 if transactional else -1, 0 if transactional else -1, 0 if transactional else -1, 1 << 20)
    made.append(0, 1_700_000_000_000, None, b"x", [])
    return bytes(made.build())


def produce(c: Case, transaction: str | None = None, transactional: bool = False) -> dict[str, Any]:
    parts = [{"index": 0, "records": batch(transactional)}]
    topics = [{"name": c.topic, "topic_id": c.topic_id, "partition_data": parts}]
    return {"transactional_id": transaction, "acks": 1, "timeout_ms": 10000, "topic_data": topics}


def fetch(c: Case) -> dict[str, Any]:
    parts = [{"current_leader_epoch": -1, "last_fetched_epoch": -1, "log_start_offset": -1, "partition_max_bytes": 1000}]
    return {"replica_id": -1, "max_bytes": 1000, "session_epoch": -1, "topics": [{"topic": c.topic, "topic_id": c.topic_id, "partitions": parts}]}


def list_offsets(c: Case) -> dict[str, Any]:
    parts = [{"current_leader_epoch": -1, "timestamp": -1}]
    return {"replica_id": -1, "timeout_ms": 10000, "topics": [{"name": c.topic, "partitions": parts}]}


def commit(c: Case) -> dict[str, Any]:
    parts = [{"committed_offset": 1, "committed_leader_epoch": -1, "committed_metadata": ""}]
    return {"group_id": c.group, "generation_id_or_member_epoch": -1, "retention_time_ms": -1,
            "topics": [{"name": c.topic, "topic_id": c.topic_id, "partitions": parts}]}


def offset_fetch(c: Case) -> dict[str, Any]:
    topics = [{"name": c.topic, "topic_id": c.topic_id, "partition_indexes": [0]}]
    return {"group_id": c.group, "topics": topics, "groups": [{"group_id": c.group, "member_epoch": -1, "topics": topics}]}


def coordinator(key_type: int, of: Callable[[Case], str]) -> Callable[[Case], dict[str, Any]]:
    return lambda c: {"key_type": key_type, "key": of(c), "coordinator_keys": [of(c)]}


def share_key(c: Case) -> str:
    return f"{c.group}:{base64.urlsafe_b64encode(c.topic_id).decode().rstrip('=')}:0"


def member(c: Case) -> dict[str, Any]:
    return {"group_id": c.group, "generation_id": 1, "member_id": "nobody", "protocol_type": "consumer", "protocol_name": "range",
            "members": [{"member_id": "nobody"}]}


def join(c: Case) -> dict[str, Any]:
    return {"group_id": c.group, "session_timeout_ms": 10000, "rebalance_timeout_ms": 10000, "protocol_type": "consumer",
            "protocols": [{"name": "range", "metadata": b"\0\0\0\0\0\0\0\0\0\0"}]}


def create_topics(c: Case) -> dict[str, Any]:
    return {"topics": [{"name": c.new, "num_partitions": 1, "replication_factor": 1}], "timeout_ms": 10000, "validate_only": True}


def delete_by_id(c: Case) -> dict[str, Any]:
    return {"topics": [{"name": None, "topic_id": c.topic_id}], "timeout_ms": 10000}


def configs(kind: int, of: Callable[[Case], str], config: str = "", value: str = "") -> Callable[[Case], dict[str, Any]]:
    changes = [{"name": config, "value": value}] if config else []
    return lambda c: {"validate_only": True, "resources": [{"resource_type": kind, "resource_name": of(c), "configs": changes, "configuration_keys": None}]}


def acls(c: Case) -> dict[str, Any]:
    one = {"resource_type": 2, "resource_name": c.topic, "resource_pattern_type": LITERAL, "principal": "User:x", "host": "*", "operation": 3, "permission_type": 3}
    wanted = {"resource_type_filter": 2, "resource_name_filter": c.topic, "pattern_type_filter": LITERAL, "principal_filter": "User:y", "operation": 1,
              "permission_type": 1}
    return wanted | {"creations": [one], "filters": [wanted]}


def add_partitions(c: Case) -> dict[str, Any]:
    topics = [{"name": c.topic, "partitions": [0]}]
    return {"v3_and_below_transactional_id": c.transaction, "v3_and_below_producer_id": 777777, "v3_and_below_topics": topics,
            "transactions": [{"transactional_id": c.transaction, "producer_id": 777777, "topics": topics}]}


def in_transaction(c: Case) -> dict[str, Any]:
    return commit(c) | {"transactional_id": c.transaction, "producer_id": 777777, "group_id": c.group}


def markers(c: Case) -> dict[str, Any]:
    return {"markers": [{"producer_id": 777777, "topics": [{"name": c.topic, "partition_indexes": [0]}]}]}


def replica_dirs(c: Case) -> dict[str, Any]:
    return {"dirs": [{"path": "/none", "topics": [{"name": c.topic, "partitions": [0]}]}]}


def share_state(**numbers: int) -> Callable[[Case], dict[str, Any]]:
    return lambda c: {"group_id": c.group, "topics": [{"topic_id": c.topic_id, "partitions": [{"partition": 0} | numbers]}]}


def share_session(c: Case) -> dict[str, Any]:
    """The first request of a session that asks for a topic; a session begins with a fetch."""
    return {"group_id": c.group, "member_id": MEMBER, "max_bytes": 1000, "max_records": 10, "batch_size": 10,
            "topics": [{"topic_id": c.topic_id, "partitions": [{"partition_index": 0}]}]}


def share_acknowledge(c: Case) -> dict[str, Any]:
    parts = [{"partition_index": 0, "acknowledgement_batches": [{"first_offset": 0, "last_offset": 0, "acknowledge_types": [1]}]}]
    return share_session(c) | {"share_session_epoch": 1, "topics": [{"topic_id": c.topic_id, "partitions": parts}]}


def share_offsets(c: Case) -> dict[str, Any]:
    return {"group_id": c.group, "topics": [{"topic_name": c.topic, "partitions": [{"partition_index": 0, "start_offset": 0}]}]}


def described_share_offsets(c: Case) -> dict[str, Any]:
    return {"groups": [{"group_id": c.group, "topics": [{"topic_name": c.topic, "partitions": [0]}]}]}


def heartbeat(c: Case) -> dict[str, Any]:
    return {"group_id": c.group, "member_id": MEMBER, "rebalance_timeout_ms": 10000, "subscribed_topic_names": [c.topic],
            "topic_partitions": []}


def streams_heartbeat(c: Case, changelogs: tuple[str, ...] = ()) -> dict[str, Any]:
    subtopology = {"subtopology_id": "0", "source_topics": [c.topic],
                   "state_changelog_topics": [{"name": t, "replication_factor": 1} for t in changelogs]}
    return {"group_id": c.group, "member_id": MEMBER, "rebalance_timeout_ms": 10000, "process_id": "p",
            "topology": {"epoch": 0, "subtopologies": [subtopology]}, "active_tasks": [], "standby_tasks": [], "warmup_tasks": []}


def voter(_: Case) -> dict[str, Any]:
    return {"cluster_id": "another", "voter_id": 9, "timeout_ms": 1000, "voter_directory_id": b"\7" * 16, "listeners": [{"name": "CONTROLLER", "host": "localhost", "port": 9}]}


def groups(c: Case) -> dict[str, Any]:
    return {"groups": [c.group], "group_ids": [c.group], "groups_names": [c.group]}


def topics(**more: Any) -> Callable[[Case], dict[str, Any]]:
    return lambda c: {"topics": [{"name": c.topic, "topic": c.topic} | more], "timeout_ms": 10000, "validate_only": True, "response_partition_limit": 10,
                      "replica_id": -1}


# ---- the table --------------------------------------------------------------------------------------------------------------
LOGGING_IN = {"SaslHandshake", "SaslAuthenticate"}  # every user of these tests has done so
ROWS = [
    Row("Produce", produce, [TOPIC_WRITE], first=3),
    Row("Produce", lambda c: produce(c, c.transaction, True), [TRANSACTION_WRITE, TOPIC_WRITE], {"INVALID_TXN_STATE", "INVALID_PRODUCER_ID_MAPPING"}, first=3,
        what="transaction"),
    Row("Fetch", fetch, [TOPIC_READ]),
    Row("ListOffsets", list_offsets, [TOPIC_DESCRIBE]),
    Row("Metadata", topics(), [TOPIC_DESCRIBE]),
    Row("OffsetCommit", commit, [GROUP_READ, TOPIC_READ]),
    Row("OffsetFetch", offset_fetch, [GROUP_DESCRIBE, TOPIC_DESCRIBE]),
    Row("FindCoordinator", coordinator(0, lambda c: c.group), [GROUP_DESCRIBE], what="group"),
    Row("FindCoordinator", coordinator(1, lambda c: c.transaction), [TRANSACTION_DESCRIBE], {"NONE", "COORDINATOR_NOT_AVAILABLE"}, first=1, what="transaction"),
    Row("FindCoordinator", coordinator(2, share_key), cluster("CLUSTER_ACTION"), {"NONE", "COORDINATOR_NOT_AVAILABLE"}, first=6, what="share"),
    Row("JoinGroup", join, [GROUP_READ], {"MEMBER_ID_REQUIRED"}),
    Row("Heartbeat", member, [GROUP_READ], {"UNKNOWN_MEMBER_ID"}),
    Row("LeaveGroup", member, [GROUP_READ], {"UNKNOWN_MEMBER_ID"}),
    Row("SyncGroup", member, [GROUP_READ], {"UNKNOWN_MEMBER_ID"}),
    Row("DescribeGroups", groups, [GROUP_DESCRIBE]),
    Row("ListGroups", lambda c: {}, []),
    Row("ApiVersions", lambda c: {"client_software_name": "test", "client_software_version": "1", "node_id": -1}, []),
    Row("CreateTopics", create_topics, [need("TOPIC", "TOPIC CREATE new", "CLUSTER CREATE")], hides=False),
    Row("CreateTopics", create_topics, [need("TOPIC", "TOPIC CREATE new", "CLUSTER CREATE"),
                                        need("TOPIC", "TOPIC DESCRIBE_CONFIGS new", at="topic_config_error_code")], first=5, what="configs", hides=False),
    Row("DeleteTopics", lambda c: {"topic_names": [c.topic], "timeout_ms": 10000}, [need("TOPIC", "TOPIC DELETE", "CLUSTER DELETE")], last=5, what="names"),
    Row("DeleteTopics", topics(), [need("TOPIC", "TOPIC DELETE", "CLUSTER DELETE")], first=6),
    Row("DeleteTopics", delete_by_id, [need("TOPIC", "TOPIC DELETE", "CLUSTER DELETE")], first=6, what="ids"),
    Row("DeleteRecords", topics(partitions=[{}]), [need("TOPIC", "TOPIC DELETE")]),
    Row("InitProducerId", lambda c: {"transaction_timeout_ms": 10000, "producer_id": -1, "producer_epoch": -1},
        [need("CLUSTER", "CLUSTER IDEMPOTENT_WRITE", "TOPIC WRITE any")]),
    Row("InitProducerId", lambda c: {"transactional_id": c.transaction, "transaction_timeout_ms": 10000, "producer_id": -1, "producer_epoch": -1},
        [TRANSACTION_WRITE], {"NONE", "NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE"}, what="transaction"),
    Row("OffsetForLeaderEpoch", topics(partitions=[{"current_leader_epoch": -1}]), [need("TOPIC", "TOPIC DESCRIBE", "CLUSTER CLUSTER_ACTION")]),
    Row("AddPartitionsToTxn", add_partitions, [TRANSACTION_WRITE, TOPIC_WRITE], {"INVALID_PRODUCER_ID_MAPPING"}, last=3),
    Row("AddPartitionsToTxn", add_partitions, cluster("CLUSTER_ACTION"), {"INVALID_PRODUCER_ID_MAPPING"}, first=4, what="broker"),
    Row("AddOffsetsToTxn", in_transaction, [TRANSACTION_WRITE, GROUP_READ], {"INVALID_PRODUCER_ID_MAPPING"}),
    Row("EndTxn", in_transaction, [TRANSACTION_WRITE], {"INVALID_PRODUCER_ID_MAPPING"}),
    Row("WriteTxnMarkers", markers, [need("CLUSTER", "CLUSTER ALTER", "CLUSTER CLUSTER_ACTION")]),
    Row("TxnOffsetCommit", in_transaction, [TRANSACTION_WRITE, GROUP_READ, TOPIC_READ], {"NONE", "INVALID_PRODUCER_ID_MAPPING"}),
    Row("DescribeAcls", acls, cluster("DESCRIBE")),
    Row("CreateAcls", acls, cluster("ALTER")),
    Row("DeleteAcls", acls, cluster("ALTER")),
    Row("DescribeConfigs", configs(TOPIC_CONFIG, lambda c: c.topic), [need("TOPIC", "TOPIC DESCRIBE_CONFIGS")], what="topic"),
    Row("DescribeConfigs", configs(BROKER_CONFIG, lambda c: "1"), cluster("DESCRIBE_CONFIGS"), what="broker"),
    Row("DescribeConfigs", configs(LOGGER_CONFIG, lambda c: "1"), cluster("DESCRIBE_CONFIGS"), what="logger"),
    Row("DescribeConfigs", configs(METRICS_CONFIG, lambda c: "none"), cluster("DESCRIBE_CONFIGS"), what="metrics"),
    Row("DescribeConfigs", configs(GROUP_CONFIG, lambda c: c.group), [need("GROUP", "GROUP DESCRIBE_CONFIGS")], what="group"),
    Row("AlterConfigs", configs(TOPIC_CONFIG, lambda c: c.topic, "retention.ms", "7200000"), [need("TOPIC", "TOPIC ALTER_CONFIGS")], what="topic"),
    Row("AlterConfigs", configs(BROKER_CONFIG, lambda c: "1", "log.retention.ms", "7200000"), cluster("ALTER_CONFIGS"), what="broker"),
    Row("AlterConfigs", configs(GROUP_CONFIG, lambda c: c.group, "consumer.session.timeout.ms", "50000"), [need("GROUP", "GROUP ALTER_CONFIGS")], what="group"),
    Row("IncrementalAlterConfigs", configs(TOPIC_CONFIG, lambda c: c.topic, "retention.ms", "7200000"), [need("TOPIC", "TOPIC ALTER_CONFIGS")], what="topic"),
    Row("IncrementalAlterConfigs", configs(BROKER_CONFIG, lambda c: "1", "log.retention.ms", "7200000"), cluster("ALTER_CONFIGS"), what="broker"),
    Row("IncrementalAlterConfigs", configs(LOGGER_CONFIG, lambda c: "1", "root", "INFO"), cluster("ALTER_CONFIGS"), what="logger"),
    Row("IncrementalAlterConfigs", configs(METRICS_CONFIG, lambda c: "m", "interval.ms", "1000"), cluster("ALTER_CONFIGS"), what="metrics"),
    Row("IncrementalAlterConfigs", configs(GROUP_CONFIG, lambda c: c.group, "consumer.session.timeout.ms", "50000"), [need("GROUP", "GROUP ALTER_CONFIGS")],
        what="group"),
    Row("AlterReplicaLogDirs", replica_dirs, cluster("ALTER"), {"LOG_DIR_NOT_FOUND"}),
    Row("DescribeLogDirs", lambda c: {"topics": [{"topic": c.topic, "partitions": [0]}]}, cluster("DESCRIBE"), first=3),
    Row("CreatePartitions", topics(count=2, assignments=None), [need("TOPIC", "TOPIC ALTER")]),
    Row("CreateDelegationToken", lambda c: {"owner_principal_type": "User", "owner_principal_name": "somebody", "max_lifetime_ms": -1},
        [need("DELEGATION_TOKEN", "USER CREATE_TOKENS")], first=3, hides=False),
    Row("RenewDelegationToken", lambda c: {"hmac": b"no such", "renew_period_ms": -1}, [], {"DELEGATION_TOKEN_NOT_FOUND"}),
    Row("ExpireDelegationToken", lambda c: {"hmac": b"no such", "expiry_time_period_ms": -1}, [], {"DELEGATION_TOKEN_NOT_FOUND"}),
    Row("DescribeDelegationToken", lambda c: {"owners": None}, []),
    Row("DeleteGroups", lambda c: {"groups_names": [c.group]}, [GROUP_DELETE]),
    Row("ElectLeaders", lambda c: {"topic_partitions": [{"topic": c.topic, "partitions": [0]}], "timeout_ms": 10000}, cluster("ALTER"), {"ELECTION_NOT_NEEDED"}),
    Row("AlterPartitionReassignments", topics(partitions=[{"replicas": None}]), cluster("ALTER"), {"NO_REASSIGNMENT_IN_PROGRESS"}),
    Row("ListPartitionReassignments", lambda c: {"topics": None, "timeout_ms": 10000}, cluster("DESCRIBE")),
    Row("OffsetDelete", lambda c: {"group_id": c.group, "topics": [{"name": c.topic, "partitions": [{}]}]}, [GROUP_DELETE, TOPIC_READ]),
    Row("DescribeClientQuotas", lambda c: {}, cluster("DESCRIBE_CONFIGS")),
    Row("AlterClientQuotas", lambda c: {"validate_only": True, "entries": [{"entity": [{"entity_type": "user", "entity_name": "x"}],
                                                                           "ops": [{"key": "producer_byte_rate", "value": 1000.0}]}]}, cluster("ALTER_CONFIGS")),
    Row("DescribeUserScramCredentials", lambda c: {"users": []}, cluster("DESCRIBE")),
    Row("AlterUserScramCredentials", lambda c: {"deletions": [{"name": "nobody", "mechanism": 1}]}, cluster("ALTER"), {"RESOURCE_NOT_FOUND"}),
    Row("DescribeQuorum", lambda c: {"topics": [{"topic_name": "__cluster_metadata", "partitions": [{}]}]}, cluster("DESCRIBE")),
    Row("UpdateFeatures", lambda c: {"timeout_ms": 10000, "validate_only": True, "feature_updates": []}, cluster("ALTER"), {"NONE", "INVALID_REQUEST"}),
    Row("DescribeCluster", lambda c: {"include_cluster_authorized_operations": True, "endpoint_type": 1}, []),
    Row("DescribeProducers", topics(partition_indexes=[0]), [TOPIC_READ]),
    Row("UnregisterBroker", lambda c: {"broker_id": 9}, cluster("ALTER"), {"BROKER_ID_NOT_REGISTERED"}),
    Row("DescribeTransactions", lambda c: {"transactional_ids": [c.transaction]}, [TRANSACTION_DESCRIBE], {"TRANSACTIONAL_ID_NOT_FOUND"}),
    Row("ListTransactions", lambda c: {"duration_filter": -1}, []),
    Row("ConsumerGroupHeartbeat", heartbeat, [GROUP_READ, TOPIC_DESCRIBE], group="none"),
    Row("ConsumerGroupDescribe", groups, [GROUP_DESCRIBE], {"GROUP_ID_NOT_FOUND"}, group="none"),
    Row("GetTelemetrySubscriptions", lambda c: {"client_instance_id": b"\7" * 16}, []),
    Row("PushTelemetry", lambda c: {"client_instance_id": b"\7" * 16, "subscription_id": 1}, [], {"UNKNOWN_SUBSCRIPTION_ID", "NONE"}),
    Row("ListConfigResources", lambda c: {}, cluster("DESCRIBE_CONFIGS")),
    Row("DescribeTopicPartitions", topics(), [TOPIC_DESCRIBE]),
    Row("ShareGroupHeartbeat", heartbeat, [GROUP_READ, TOPIC_DESCRIBE], group="none"),
    Row("ShareGroupDescribe", groups, [GROUP_DESCRIBE], {"GROUP_ID_NOT_FOUND"}, group="none"),
    Row("ShareFetch", share_session, [GROUP_READ, TOPIC_READ], group="member"),
    Row("ShareAcknowledge", share_acknowledge, [GROUP_READ], {"SHARE_SESSION_NOT_FOUND"}, group="none"),
    Row("AddRaftVoter", voter, cluster("ALTER"), {"INCONSISTENT_CLUSTER_ID", "UNSUPPORTED_VERSION"}),
    Row("RemoveRaftVoter", voter, cluster("ALTER"), {"INCONSISTENT_CLUSTER_ID", "UNSUPPORTED_VERSION"}),
    Row("InitializeShareGroupState", share_state(state_epoch=1), cluster("CLUSTER_ACTION")),
    Row("ReadShareGroupState", share_state(leader_epoch=-1), cluster("CLUSTER_ACTION"), {"INVALID_REQUEST"}),
    Row("WriteShareGroupState", share_state(state_epoch=1, leader_epoch=1), cluster("CLUSTER_ACTION"), {"INVALID_REQUEST"}),
    Row("DeleteShareGroupState", share_state(), cluster("CLUSTER_ACTION")),
    Row("ReadShareGroupStateSummary", share_state(leader_epoch=-1), cluster("CLUSTER_ACTION")),
    Row("StreamsGroupHeartbeat", streams_heartbeat, [GROUP_READ, TOPIC_DESCRIBE], group="none"),
    Row("StreamsGroupDescribe", groups, [GROUP_DESCRIBE], {"GROUP_ID_NOT_FOUND"}, group="none"),
    Row("DescribeShareGroupOffsets", described_share_offsets, [GROUP_DESCRIBE, TOPIC_DESCRIBE], group="share"),
    Row("AlterShareGroupOffsets", share_offsets, [GROUP_READ, TOPIC_READ], group="share"),
    Row("DeleteShareGroupOffsets", share_offsets, [GROUP_DELETE, TOPIC_READ], group="share"),
    Row("StreamsGroupTopologyDescriptionUpdate", lambda c: {"group_id": c.group, "member_id": MEMBER}, [GROUP_READ], {"UNSUPPORTED_VERSION"}, group="none"),
    Row("UnregisterController", lambda c: {"controller_id": 9}, cluster("ALTER"), {"CONTROLLER_ID_NOT_REGISTERED"}),
]


# ---- what runs it -----------------------------------------------------------------------------------------------------------
USERS = 700
PASSWORD = "pw"


def properties(port: int, *more: str) -> str:
    """Of a server with an authorizer: ``admin`` may all, the users u0, u1, ... nothing. The same for Kafka."""
    users = "".join(f' user_u{n}="{PASSWORD}"' for n in range(USERS))
    return "\n".join(
        [
            f"listeners=SASL_PLAINTEXT://127.0.0.1:{port}{''.join(',' + m for m in more)}",
            "sasl.enabled.mechanisms=PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required"
            f' user_admin="{PASSWORD}"{users};',
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:admin;User:ANONYMOUS",
            "delegation.token.secret.key=of nobody else",
        ]
    )


class Guarded:
    """A broker with an authorizer, and its administrator."""

    def __init__(self, address: str, patience: float = 0.0) -> None:
        self.address = address
        self.patience = patience  # seconds until a rule must work: Kafka's travel through a log
        self.admin = Connection(address, "admin", PASSWORD)
        for kind in ("groups", "transactions"):  # Kafka makes its topics when it is first asked
            self.until(lambda kind=kind: errors(self.admin.ask("FindCoordinator", 4, {"key_type": int(kind != "groups"), "coordinator_keys": ["x"]})), {"NONE"}, 60)
        self.users = (f"u{n}" for n in itertools.count())
        self.versions = {
            kafka_frames.names()[k["api_key"]]: (k["min_version"], k["max_version"]) for k in self.admin.ask("ApiVersions", 3, {"client_software_name": "test", "client_software_version": "1"})["api_keys"]
        }

    def highest(self, api: str) -> int:
        return min(self.versions[api][1], max(v for name, v in kafka_frames.messages() if name == api + "Request"))

    def served(self, row: Row) -> range:
        low, _ = self.versions[row.api]
        return range(max(low, row.first), min(self.highest(row.api), row.last) + 1)

    def user(self) -> tuple[str, Connection]:
        user = next(self.users)
        return user, Connection(self.address, user, PASSWORD)

    def rule(self, user: str, kind: str, name: str, operation: str, permission: int = ALLOW) -> None:
        one = {"resource_type": KINDS[kind], "resource_name": name, "resource_pattern_type": LITERAL, "principal": f"User:{user}", "host": "*",
               "operation": OPERATIONS[operation], "permission_type": permission}
        said = self.admin.ask("CreateAcls", 3, {"creations": [one]})["results"]
        assert [r["error_code"] for r in said] == [0], said

    def give(self, user: str, right: Right, case: Case, permission: int = ALLOW) -> None:
        name = {"new": case.new, "any": "*"}.get(right.name, case.name(right.kind))
        self.rule(user, right.kind, name, right.operation, permission)

    def give_all(self, user: str) -> None:
        for kind in ("TOPIC", "GROUP", "CLUSTER", "TRANSACTION", "USER"):
            self.rule(user, kind, "kafka-cluster" if kind == "CLUSTER" else "*", "ALL")

    def case(self) -> Case:
        name = uuid.uuid4().hex[:12]
        made = self.admin.ask("CreateTopics", 7, {"topics": [{"name": f"t-{name}", "num_partitions": 1, "replication_factor": 1}], "timeout_ms": 30000})
        assert made["topics"][0]["error_code"] == 0, made
        return Case(f"t-{name}", made["topics"][0]["topic_id"], f"g-{name}", f"x-{name}", f"new-{name}")

    def with_group(self, case: Case, kind: str = "classic") -> None:
        """Gives the group an offset, so that it is there."""
        if kind == "classic":
            self.until(lambda: errors(self.admin.ask("OffsetCommit", 8, commit(case))), {"NONE"}, 60)
        elif kind == "member":
            self.until(lambda: errors(self.admin.ask("ShareGroupHeartbeat", 1, heartbeat(case))), {"NONE"}, 60)
            first = share_session(case) | {"member_id": "AAAAAAAAAAAAAAAAAAAACA"}  # by Kafka answered with an error until the group's state is there
            self.until(lambda: errors(self.admin.ask("ShareFetch", 1, first)), {"NONE"}, 60)
        elif kind == "share":
            self.until(lambda: errors(self.admin.ask("AlterShareGroupOffsets", 0, share_offsets(case))), {"NONE"}, 60)

    def until(self, ask: Callable[[], set[str]], wanted: set[str], patience: float | None = None) -> set[str]:
        deadline = time.monotonic() + (self.patience if patience is None else patience)
        while not (said := ask()) <= wanted and time.monotonic() < deadline:
            pass
        assert said <= wanted and said, f"{said}, not {wanted}"
        return said


def errors(said: Any, at: str = "error_code") -> set[str]:
    """The errors that an answer tells in fields of that name; NONE only when there is no other."""
    codes = {code for name, code in walk(said) if name == at or (at == "error_code" and name == "partition_error_code")}
    found = {NAMES.get(code, str(code)) for code in codes if code != 0}
    return found or {"NONE"}


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, (dict, list)):
                yield from walk(inner)
            else:
                yield name, inner
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def refused(guarded: Guarded, row: Row) -> None:
    """Without any right, in every version: the first error, and the same whether the resource is there or not."""
    case, (_, user) = guarded.case(), guarded.user()
    if any(n.error == "GROUP" for n in row.needs):
        guarded.with_group(case, row.group)
    gone = Case("t-gone", b"\1" * 16, "g-gone", "x-gone", "t-gone")
    with user:
        for version in guarded.served(row):
            if row.needs:
                guarded.until(lambda version=version: errors(user.ask(row.api, version, row.body(case))), {row.needs[0].error})
            else:
                assert not errors(user.ask(row.api, version, row.body(case))) & AUTHORIZATION
            if row.hides and row.needs and not kafka_frames.knows(row.api + "Request", version, "topic_id"):
                absent = user.ask(row.api, version, row.body(gone))
                assert errors(absent) == {row.needs[0].error}, f"version {version}, of what is not there: {absent}"


def passed(guarded: Guarded, row: Row) -> None:
    """Right by right: each alternative of each Need by itself."""
    version = guarded.served(row)[-1]
    for turn in range(max([len(n.rights) for n in row.needs], default=1)):
        case, (name, user) = guarded.case(), guarded.user()
        if any(n.error == "GROUP" for n in row.needs):
            guarded.with_group(case, row.group)
        with user:
            for one in row.needs:
                guarded.until(lambda one=one: errors(user.ask(row.api, version, row.body(case)), one.at), {one.error})
                guarded.give(name, one.rights[min(turn, len(one.rights) - 1)], case)
            for at in {n.at for n in row.needs} | {"error_code"}:
                guarded.until(lambda at=at: errors(user.ask(row.api, version, row.body(case)), at), row.then if at == "error_code" else {"NONE"})


def others_do_not_help(guarded: Guarded, row: Row) -> None:
    """Every right but those of one Need: its error."""
    version = guarded.served(row)[-1]
    for one in row.needs:
        case, (name, user) = guarded.case(), guarded.user()
        if any(n.error == "GROUP" for n in row.needs):
            guarded.with_group(case, row.group)
        with user:
            for right in one.rights:
                guarded.give(name, right, case, DENY)
            guarded.give_all(name)
            guarded.until(lambda one=one: errors(user.ask(row.api, version, row.body(case)), one.at), {one.error})
