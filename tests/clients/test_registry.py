# SPDX-License-Identifier: Apache-2.0
"""The schema registry's door with Confluent's own client and serializers, and with plain HTTP."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"


def name(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def record(*fields: dict[str, Any], name: str = "Flight") -> str:
    return json.dumps({"type": "record", "name": name, "namespace": "test", "fields": list(fields)})


A = {"name": "a", "type": "int"}
B = {"name": "b", "type": "int"}
B_DEFAULT = {"name": "b", "type": "int", "default": 1}


@pytest.fixture
def client(server) -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": server.registry})


@pytest.fixture
def call(server) -> Callable[..., tuple[int, Any]]:
    """call("GET", "/subjects") -> (status, decoded body)."""

    def do(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = Request(server.registry + path, data=data, method=method, headers={"Content-Type": CONTENT_TYPE} | (headers or {}))
        try:
            with urlopen(request, timeout=30) as answer:
                assert answer.headers["Content-Type"] == CONTENT_TYPE
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.load(error)

    return do


def test_register_and_read(client) -> None:
    subject = name("s")
    schema = Schema(record(A), "AVRO")
    schema_id = client.register_schema(subject, schema)
    assert client.register_schema(subject, schema) == schema_id
    assert client.register_schema(name("other"), schema) == schema_id
    assert json.loads(client.get_schema(schema_id).schema_str) == json.loads(schema.schema_str)
    assert subject in client.get_subjects()
    assert client.lookup_schema(subject, schema).version == 1
    second = client.register_schema(subject, Schema(record(A, B_DEFAULT), "AVRO"))
    assert second > schema_id
    latest = client.get_latest_version(subject)
    assert (latest.version, latest.schema_id) == (2, second)
    assert client.get_versions(subject) == [1, 2]
    assert client.get_version(subject, 1).schema_id == schema_id


def test_compatibility(client) -> None:
    subject = name("s")
    client.register_schema(subject, Schema(record(A), "AVRO"))
    with pytest.raises(SchemaRegistryError) as refused:
        client.register_schema(subject, Schema(record(A, B), "AVRO"))
    assert refused.value.http_status_code == 409
    assert "READER_FIELD_MISSING_DEFAULT_VALUE" in refused.value.error_message
    assert not client.test_compatibility(subject, Schema(record(A, B), "AVRO"))
    assert client.test_compatibility(subject, Schema(record(A, B_DEFAULT), "AVRO"))
    assert client.get_compatibility() == "BACKWARD"
    client.set_compatibility(subject, "NONE")
    assert client.get_compatibility(subject) == "NONE"
    assert client.register_schema(subject, Schema(record(A, B), "AVRO")) > 0
    with pytest.raises(SchemaRegistryError) as bad:
        client.set_compatibility(subject, "SOMETIMES")
    assert bad.value.error_code == 42203


def test_delete(client) -> None:
    subject = name("s")
    client.register_schema(subject, Schema(record(A), "AVRO"))
    client.register_schema(subject, Schema(record(A, B_DEFAULT), "AVRO"))
    assert client.delete_version(subject, 1) == 1
    assert client.get_versions(subject) == [2]
    assert client.delete_subject(subject) == [2]
    assert subject not in client.get_subjects()
    with pytest.raises(SchemaRegistryError) as gone:
        client.get_latest_version(subject)
    assert gone.value.error_code == 40401
    assert client.delete_subject(subject, permanent=True) == [1, 2]


def test_references(client) -> None:
    inner, outer = name("inner"), name("outer")
    client.register_schema(inner, Schema(record(A, name="Inner"), "AVRO"))
    schema = Schema(record({"name": "i", "type": "test.Inner"}, name="Outer"), "AVRO", [SchemaReference("test.Inner", inner, 1)])
    schema_id = client.register_schema(outer, schema)
    assert client.get_schema(schema_id).references[0].subject == inner
    with pytest.raises(SchemaRegistryError) as used:
        client.delete_subject(inner)
    assert used.value.error_code == 42206


def test_serializer_round_trip_over_the_log(server, client) -> None:
    """Confluent's serializer writes, its deserializer reads what came back from the broker."""
    schema = record(
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "delay", "type": ["null", "int"], "default": None},
        {"name": "origin", "type": "string"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    )
    topic = name("t")
    admin = AdminClient({"bootstrap.servers": server.kafka})
    admin.create_topics([NewTopic(topic, 1)])[topic].result(30)
    serialize = AvroSerializer(client, schema)
    at = SerializationContext(topic, MessageField.VALUE)
    rows = [{"time": i * 1000, "delay": None if i % 3 == 0 else i, "origin": "SFO", "price": Decimal(f"{i}.25")} for i in range(100)]
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka})
    for row in rows:
        producer.produce(topic, serialize(row, at))
    assert producer.flush(30) == 0
    assert client.get_latest_version(f"{topic}-value").version == 1
    deserialize = AvroDeserializer(client)
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": name("g"), "auto.offset.reset": "earliest"})
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    values = []
    while len(values) < len(rows):
        message = consumer.poll(30)
        assert message is not None and message.error() is None
        values.append(deserialize(message.value(), at))
    consumer.close()
    assert [(v["delay"], v["price"]) for v in values] == [(r["delay"], r["price"]) for r in rows]


def test_error_bodies(call) -> None:
    subject = name("s")
    assert call("GET", f"/subjects/{subject}/versions") == (404, {"error_code": 40401, "message": f"Subject '{subject}' not found."})
    assert call("GET", "/schemas/ids/999999") == (404, {"error_code": 40403, "message": "Schema 999999 not found"})
    assert call("POST", f"/subjects/{subject}/versions", {"schema": '{"type":"nonsense"}'})[1]["error_code"] == 42201
    assert call("POST", f"/subjects/{subject}/versions", {})[1]["error_code"] == 42201
    assert call("GET", f"/subjects/{subject}/versions/0")[1]["error_code"] == 42202
    assert call("GET", f"/subjects/{subject}/versions/x")[1]["error_code"] == 42202
    assert call("GET", f"/config/{subject}")[1]["error_code"] == 40408
    assert call("GET", f"/config/{subject}?defaultToGlobal=true") == (200, {"compatibilityLevel": "BACKWARD"})
    assert call("POST", f"/subjects/{subject}/versions", b"{")[0] == 400
    assert call("POST", f"/subjects/{subject}/versions", b"[1]")[0] == 400
    assert call("GET", "/nothing/here")[0] == 404
    status, body = call("POST", f"/subjects/{subject}/versions", {"schema": "{}", "schemaType": "JSON"})
    assert (status, body["error_code"]) == (501, 501)
    assert call("GET", "/dek-registry/v1/keks")[0] == 501
    assert call("GET", "/subjects", headers={"Origin": "http://evil.example"})[0] == 403
    assert call("GET", "/subjects", headers={"Host": "rebound.example:8081"})[0] == 403


def test_small_answers(call) -> None:
    assert call("GET", "/") == (200, {})
    assert call("GET", "/schemas/types") == (200, ["AVRO"])
    assert call("GET", "/contexts") == (200, ["."])
    assert call("GET", "/config/")[1] == {"compatibilityLevel": "BACKWARD"}
    assert call("GET", "/mode") == (200, {"mode": "READWRITE"})


def test_modes(call) -> None:
    subject = name("s")
    assert call("PUT", f"/mode/{subject}", {"mode": "READONLY"}) == (200, {"mode": "READONLY"})
    assert call("POST", f"/subjects/{subject}/versions", {"schema": '"int"'})[1]["error_code"] == 42205
    assert call("DELETE", f"/mode/{subject}") == (200, {"mode": "READONLY"})
    assert call("POST", f"/subjects/{subject}/versions", {"schema": '"int"'})[0] == 200
    assert call("PUT", f"/mode/{subject}", {"mode": "SOMETIMES"})[1]["error_code"] == 42204


def test_verbose_compatibility(call) -> None:
    subject = name("s")
    call("POST", f"/subjects/{subject}/versions", {"schema": '"long"'})
    path = f"/compatibility/subjects/{subject}/versions"
    assert call("POST", f"{path}/latest", {"schema": '"string"'}) == (200, {"is_compatible": False})
    verbose = call("POST", f"{path}?verbose=true", {"schema": '"string"'})[1]
    assert verbose["is_compatible"] is False
    assert "TYPE_MISMATCH" in verbose["messages"][0]
    assert call("POST", f"{path}?verbose=true", {"schema": '"double"'})[1] == {"is_compatible": True, "messages": []}
    assert call("POST", f"{path}/7", {"schema": '"string"'})[1]["error_code"] == 40402


def test_survives_kill(new_server) -> None:
    """What was answered is there after kill -9, with the same ids; a plain Kafka client can read the records."""
    server = new_server().start()
    client = SchemaRegistryClient({"url": server.registry})
    ids = {f"s{i}": client.register_schema(f"s{i}", Schema(record({"name": f"f{i}", "type": "int"}), "AVRO")) for i in range(20)}
    client.delete_subject("s3")
    client.set_compatibility("s4", "FULL")
    server.kill()
    server.start()
    client = SchemaRegistryClient({"url": server.registry})
    assert sorted(client.get_subjects()) == sorted(s for s in ids if s != "s3")
    assert all(client.get_latest_version(s).schema_id == i for s, i in ids.items() if s != "s3")
    assert client.get_compatibility("s4") == "FULL"
    assert client.register_schema("new", Schema('"bytes"', "AVRO")) == max(ids.values()) + 1
    done = subprocess.run(["kcat", "-b", server.kafka, "-C", "-t", "_schemas", "-e", "-q", "-K", "\t"], capture_output=True, text=True, timeout=60)
    keys = [json.loads(line.split("\t")[0]) for line in done.stdout.splitlines()]
    assert {"keytype": "SCHEMA", "subject": "s0", "version": 1, "magic": 1} in keys
