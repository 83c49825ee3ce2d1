# SPDX-License-Identifier: Apache-2.0
"""The commands over a Kafka cluster with TLS, log-in and ACLs: --command-config with files in the form of Kafka's client.properties."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from pathlib import Path

import confluent_kafka
import pytest
from machine import free_ports, openssl
from test_security import Authority, Secured, name


class Guarded:
    """A server with an authorizer and one listener of each protocol; admin is a super user."""

    def __init__(self, scratch: Path) -> None:
        from conftest import Server

        self.folder = scratch / "cli-security-files"
        self.folder.mkdir()
        self.secured = Secured(lambda settings: Server(scratch / "cli-security", settings), self.folder,
                               "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:admin;User:root\n"
                               "delegation.token.secret.key=of nobody else\n")
        self.server = self.secured.server

    def file(self, listener: str, **more: str) -> str:
        """A client.properties. `more`: keys with _ in place of the dots; None leaves one out."""
        keys = {"security.protocol": "SSL" if listener == "MTLS" else listener}
        if listener in ("SSL", "MTLS", "SASL_SSL"):
            keys |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(self.secured.authority.ca)}
        keys |= {k.replace("_", "."): v for k, v in more.items()}
        path = self.folder / f"{name('client')}.properties"
        path.write_text("".join(f"{k}={v}\n" for k, v in keys.items()))
        return str(path)

    def user(self, listener: str, mechanism: str, user: str, password: str, **more: str) -> str:
        module = "plain.PlainLoginModule" if mechanism == "PLAIN" else "scram.ScramLoginModule"
        return self.file(listener, sasl_mechanism=mechanism, **more,
                         sasl_jaas_config=f'org.apache.kafka.common.security.{module} required username="{user}" password="{password}";')

    def run(self, listener: str, config: str | None, *args: str, **kwargs):
        where = ["--brokers", f"127.0.0.1:{self.secured.ports[listener]}"] + (["--command-config", config] if config is not None else [])
        return self.server.cli(*args, *where, **kwargs)

    def rows(self, listener: str, config: str, *args: str):
        return json.loads(self.run(listener, config, *args, "--output", "json").stdout)

    def refused(self, code: int, says: str, listener: str, config: str | None, *args: str) -> None:
        done = self.run(listener, config, *args, check=False)
        assert done.returncode == code and says in done.stderr, f"{args}: {done.returncode} {done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def guarded(scratch):
    one = Guarded(scratch)
    yield one
    one.server.stop()


@pytest.fixture(scope="module")
def admin(guarded) -> str:
    return guarded.user("SASL_SSL", "PLAIN", "admin", "admin-secret")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_user_with_rules_over_sasl_ssl(guarded, admin, mechanism):
    user, topic, other = name("us=er"), name("orders"), name("other")
    for one in (topic, other):
        guarded.run("SASL_SSL", admin, "topic", "create", one)
    guarded.run("SASL_SSL", admin, "user", "set", user, "--mechanism", mechanism, "--password", "a password")
    mine = guarded.user("SASL_SSL", mechanism, user, "a password")
    assert guarded.rows("SASL_SSL", mine, "topic", "list") == []
    guarded.refused(6, "TOPIC_AUTHORIZATION_FAILED", "SASL_SSL", mine, "topic", "offsets", topic)
    guarded.refused(6, "CLUSTER_AUTHORIZATION_FAILED", "SASL_SSL", mine, "acl", "list")
    guarded.run("SASL_SSL", admin, "acl", "add", "--allow-principal", f"User:{user}", "--operation", "Read", "--topic", topic)
    assert [r["topic"] for r in guarded.rows("SASL_SSL", mine, "topic", "list")] == [topic]
    assert [r["offset"] for r in guarded.rows("SASL_SSL", mine, "topic", "offsets", topic)] == [0]
    guarded.refused(6, "TOPIC_AUTHORIZATION_FAILED", "SASL_SSL", mine, "topic", "offsets", other)
    wrong = guarded.user("SASL_SSL", mechanism, user, "another password")
    for command in (("topic", "offsets", topic), ("topic", "list"), ("consume", topic, "--raw")):
        guarded.refused(6, "nvalid credentials", "SASL_SSL", wrong, *command)


@pytest.mark.parametrize("listener", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_every_family_of_commands(guarded, listener):
    admin = guarded.user(listener, "PLAIN", "admin", "admin-secret")
    topic, group = name("events"), name("group")
    guarded.run(listener, admin, "topic", "create", topic, "--partitions", "2")
    producer = confluent_kafka.Producer(guarded.secured.plain())
    for i in range(6):
        producer.produce(topic, f"v{i}", partition=i % 2)
    assert producer.flush(30) == 0
    assert {r["records"] for r in guarded.rows(listener, admin, "topic", "describe", topic)} == {3}
    assert sorted(guarded.run(listener, admin, "consume", topic, "--raw", "--values").stdout.split()) == [f'"v{i}"' for i in range(6)]
    guarded.run(listener, admin, "group", "reset-offsets", group, "--topic", topic, "--to-latest", "--execute")
    assert [r["lag"] for r in guarded.rows(listener, admin, "group", "describe", group)] == [0, 0]
    assert len(guarded.rows(listener, admin, "broker", "list")) == 1
    guarded.run(listener, admin, "quota", "alter", "--user", "bob", "--set", "producer_byte_rate=100000")
    assert any("bob" in str(r) and "100000" in str(r) for r in guarded.rows(listener, admin, "quota", "list"))
    guarded.rows(listener, admin, "txn", "list")
    source = guarded.folder / f"{topic}.csv"
    source.write_text("a,b\n1,x\n2,y\n")
    made = name("made")
    guarded.run(listener, admin, "produce", "--topic", made, str(source))
    assert [r["records"] for r in guarded.rows(listener, admin, "topic", "list") if r["topic"] == made] == [2]


def test_a_certificate_of_the_client(guarded, admin):
    key, cert = guarded.secured.authority.sign(name("client"), "/OU=clients/CN=Root")  # the listener's rule makes it User:root
    both = guarded.folder / "root.pem"
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    as_file = guarded.file("MTLS", ssl_keystore_type="PEM", ssl_keystore_location=str(both))

    def line(path):
        return path.read_text().replace("\n", "\\n")

    as_text = guarded.file("MTLS", **{"ssl_keystore_key": line(key), "ssl_keystore_certificate_chain": line(cert)})
    for config in (as_file, as_text):
        assert guarded.rows("MTLS", config, "acl", "list") is not None
        assert guarded.rows("MTLS", config, "topic", "list") is not None
    guarded.refused(6, "TLS", "MTLS", guarded.file("MTLS"), "acl", "list")


def test_who_the_server_is_is_checked(guarded):
    stranger = Authority(guarded.folder / "stranger")
    login = {"mechanism": "PLAIN", "user": "admin", "password": "admin-secret"}
    untrusted = guarded.user("SASL_SSL", **login, ssl_truststore_location=str(stranger.ca))
    for command in (("broker", "list"), ("topic", "list")):
        guarded.refused(6, "certificate verify failed", "SASL_SSL", untrusted, *command)
    key, _ = guarded.secured.authority.sign("elsewhere", "/CN=elsewhere")  # for another name
    request, extra, cert = (guarded.folder / f"elsewhere.{end}" for end in ("csr", "ext", "pem"))
    extra.write_text("subjectAltName=DNS:elsewhere.example\n")
    openssl("req", "-new", "-key", str(key), "-subj", "/CN=elsewhere.example", "-out", str(request))
    openssl("x509", "-req", "-in", str(request), "-CA", str(guarded.secured.authority.ca), "-CAkey", str(guarded.secured.authority.folder / "ca.key"),
            "-CAcreateserial", "-days", "2", "-extfile", str(extra), "-out", str(cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    [port] = free_ports(1)
    with socket.create_server(("127.0.0.1", port)) as listening:

        def accept() -> None:
            try:
                context.wrap_socket(listening.accept()[0], server_side=True).close()
            except (ssl.SSLError, OSError):
                pass

        thread = threading.Thread(target=accept)
        thread.start()
        checked = guarded.file("SSL")
        done = guarded.server.cli("broker", "list", "--brokers", f"127.0.0.1:{port}", "--command-config", checked, check=False)
        thread.join()
        assert done.returncode == 6 and "certificate verify failed: IP address mismatch" in done.stderr, done.stderr
        thread = threading.Thread(target=accept)
        thread.start()
        unchecked = guarded.file("SSL", ssl_endpoint_identification_algorithm="")
        done = guarded.server.cli("broker", "list", "--brokers", f"127.0.0.1:{port}", "--command-config", unchecked, check=False)
        thread.join()
        assert done.returncode == 69 and "certificate" not in done.stderr, done.stderr  # TLS held; that was no broker


def test_a_topic_moves_to_a_cluster_with_a_log_in(guarded, admin, server):
    topic = name("moved")
    server.cli("topic", "create", topic)
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka})
    for i in range(5):
        producer.produce(topic, f"v{i}", partition=0)
    assert producer.flush(30) == 0
    to = f"127.0.0.1:{guarded.secured.ports['SASL_SSL']}"
    done = server.cli("topic", "move", topic, "--to", to, "--to-command-config", guarded.user("SASL_SSL", "PLAIN", "admin", "wrong"), check=False)
    assert done.returncode == 6 and "nvalid" in done.stderr
    server.cli("topic", "move", topic, "--to", to, "--to-command-config", admin)
    assert guarded.run("SASL_SSL", admin, "consume", topic, "--raw", "--values").stdout.split() == [f'"v{i}"' for i in range(5)]


def test_what_is_not_supported_says_so(guarded):
    def bad(says: str, config: str) -> None:
        guarded.refused(78, says, "SASL_SSL", config, "broker", "list")

    bad("OAUTHBEARER is not supported", guarded.file("SASL_SSL", sasl_mechanism="OAUTHBEARER"))
    bad("GSSAPI is not supported", guarded.file("SASL_SSL"))
    bad("JKS is not supported", guarded.file("SSL", ssl_truststore_type="JKS"))
    bad("sasl.kerberos.service.name is not supported", guarded.file("SASL_SSL", sasl_kerberos_service_name="kafka"))
    bad("SASL_SSL is expected", guarded.file("SECURE"))
    bad("sasl.jaas.config is missing", guarded.file("SASL_SSL", sasl_mechanism="PLAIN"))
    bad("no PEM file", guarded.file("SSL", ssl_truststore_location="/dev/null"))
    bad("is for a PlainLoginModule", guarded.file("SASL_SSL", sasl_mechanism="PLAIN", sasl_jaas_config="x.ScramLoginModule required;"))
    guarded.refused(4, "nowhere.properties", "SASL_SSL", "/nowhere.properties", "broker", "list")
