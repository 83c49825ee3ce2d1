# SPDX-License-Identifier: Apache-2.0
"""TLS, SASL and ACLs of the Kafka door with confluent-kafka (librdkafka), kafka-python and kcat; certificates made by openssl."""

from __future__ import annotations

import base64
import hashlib
import hmac as hmac_module
import http.server
import json
import socket
import ssl
import subprocess
import threading
import time
import uuid
from pathlib import Path

import confluent_kafka
import kafka
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from machine import free_ports, openssl


class Authority:
    """A certificate authority and what it signs, as docs/SECURITY.md says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = folder / "ca.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=test-ca",
                "-keyout", str(folder / "ca.key"), "-out", str(self.ca))

    def sign(self, name: str, subject: str) -> tuple[Path, Path]:
        key, request, cert, extra = (self.folder / f"{name}.{end}" for end in ("key", "csr", "pem", "ext"))
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject, "-keyout", str(key), "-out", str(request))
        extra.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", str(request), "-CA", str(self.ca), "-CAkey", str(self.folder / "ca.key"), "-CAcreateserial", "-days", "2",
                "-extfile", str(extra), "-out", str(cert))
        return key, cert


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Tokens:
    """An issuer of JSON web tokens with one RSA key."""

    def __init__(self, folder: Path, kid: str = "k1") -> None:
        self.key, self.kid = folder / f"{kid}.key", kid
        openssl("genrsa", "-out", str(self.key), "2048")
        modulus = openssl("rsa", "-in", str(self.key), "-noout", "-modulus").decode().split("=")[1].strip()
        self.jwks = {"keys": [{"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": b64(bytes.fromhex(modulus)), "e": "AQAB"}]}

    def token(self, sub: str, lifetime: float = 300, **claims) -> str:
        now = time.time()
        body = {"sub": sub, "iat": int(now) - 1, "exp": now + lifetime, "iss": "test-issuer", "aud": "kafka"} | claims
        signed = b64(json.dumps({"alg": "RS256", "kid": self.kid}).encode()) + "." + b64(json.dumps(body).encode())
        signature = openssl("dgst", "-sha256", "-sign", str(self.key), stdin=signed)
        return signed + "." + b64(signature)


class Secured:
    """A server with one listener of each protocol."""

    def __init__(self, new_server, folder: Path, more: str = "") -> None:
        self.authority = Authority(folder / "ca")
        self.tokens = Tokens(folder)
        (folder / "jwks.json").write_text(json.dumps(self.tokens.jwks))
        self.store = folder / "server.store.pem"
        self.install("server")
        self.ports = dict(zip(("SSL", "MTLS", "SASL_PLAINTEXT", "SASL_SSL"), free_ports(4), strict=True))
        properties = folder / "server.properties"
        properties.write_text(
            f"""
listeners={",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items())}
listener.security.protocol.map=MTLS:SSL,SSL:SSL,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={self.store}
listener.name.mtls.ssl.truststore.location={self.authority.ca}
listener.name.mtls.ssl.client.auth=required
listener.name.mtls.ssl.principal.mapping.rules=RULE:^CN=(.*?),OU=clients$/$1/L,DEFAULT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
plain.note=left out
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
    user_admin="admin-secret" \\
    user_alice="it's \\\\"quoted\\\\"";
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_admin="admin-secret";
listener.name.sasl_plaintext.scram-sha-512.connections.max.reauth.ms=5000
sasl.oauthbearer.jwks.endpoint.url=file://{folder / "jwks.json"}
sasl.oauthbearer.expected.issuer=test-issuer
sasl.oauthbearer.expected.audience=other,kafka
{more}
"""
        )
        self.server = new_server(settings={"broker.properties": str(properties)}).start()

    def install(self, name: str) -> None:
        key, cert = self.authority.sign(name, f"/CN={name}")
        new = self.store.with_suffix(".new")
        new.write_bytes(key.read_bytes() + cert.read_bytes())
        new.replace(self.store)

    def config(self, listener: str, **more) -> dict:
        protocol = "SSL" if listener == "MTLS" else listener
        config = {"bootstrap.servers": f"127.0.0.1:{self.ports[listener]}", "security.protocol": protocol, "log_level": 0}
        if "SSL" in protocol:
            config["ssl.ca.location"] = str(self.authority.ca)
        return config | {k.replace("_", "."): v for k, v in more.items()}

    def plain(self, user: str = "admin", password: str = "admin-secret", listener: str = "SASL_PLAINTEXT") -> dict:
        return self.config(listener, sasl_mechanism="PLAIN", sasl_username=user, sasl_password=password)


@pytest.fixture(scope="module")
def secured(scratch):
    from conftest import Server

    made = []

    def make(settings):
        made.append(Server(scratch / "secured", settings))
        return made[0]

    one = Secured(make, scratch)
    yield one
    one.server.stop()


def name(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def round_trip(config: dict, topic: str | None = None) -> None:
    """Creates a topic, writes and reads; every address that Metadata tells must be the listener's own."""
    topic = topic or name("t")
    admin = AdminClient(config)
    admin.create_topics([NewTopic(topic, num_partitions=1)])[topic].result(30)
    metadata = admin.list_topics(timeout=30)
    assert [f"{b.host}:{b.port}" for b in metadata.brokers.values()] == [config["bootstrap.servers"]]
    errors = []
    producer = confluent_kafka.Producer(config)
    values = [b"x" * size for size in (1, 100, 16384, 200_000, 900_000)] * 2
    for value in values:
        producer.produce(topic, value, on_delivery=lambda err, _: errors.append(err) if err else None)
    assert producer.flush(60) == 0
    assert not errors
    consumer = confluent_kafka.Consumer(config | {"group.id": name("g"), "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    got: list[bytes] = []
    deadline = time.monotonic() + 60
    while len(got) < len(values):
        assert time.monotonic() < deadline
        message = consumer.poll(1)
        if message is not None:
            assert message.error() is None
            got.append(message.value())
    consumer.close()
    assert got == values


def refusal(config: dict) -> str:
    """The first error that a client with that configuration sees."""
    seen: list[str] = []
    client = confluent_kafka.Producer(config | {"error_cb": lambda e: seen.append(str(e)), "log_level": 0})
    deadline = time.monotonic() + 30
    while not seen:
        assert time.monotonic() < deadline, "no error came"
        client.poll(0.1)
    return seen[0]


# ---- TLS ------------------------------------------------------------------------------------------------------------------
def test_ssl(secured):
    round_trip(secured.config("SSL"))


def test_tls_versions(secured):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cafile=str(secured.authority.ca))
        context.minimum_version = context.maximum_version = version
        with socket.create_connection(("127.0.0.1", secured.ports["SSL"])) as raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
            assert tls.version() == ("TLSv1.2" if version == ssl.TLSVersion.TLSv1_2 else "TLSv1.3")
            tls.sendall(bytes([0, 0, 0, 11, 0, 18, 0, 0, 0, 0, 0, 5, 0, 1, ord("t")]))  # ApiVersions 0
            assert tls.recv(8)[4:8] == bytes([0, 0, 0, 5])
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", secured.ports["SSL"])) as raw, pytest.raises(ssl.SSLError):
        old.wrap_socket(raw)


def test_plaintext_at_a_tls_port_is_closed(secured):
    with socket.create_connection(("127.0.0.1", secured.ports["SSL"])) as raw:
        raw.sendall(bytes([0, 0, 0, 11, 0, 18, 0, 0, 0, 0, 0, 5, 0, 1, ord("t")]))
        while raw.recv(100):
            pass  # an alert, then the end


def test_mutual_tls(secured):
    key, cert = secured.authority.sign("alice", "/OU=clients/CN=Alice")
    round_trip(secured.config("MTLS", ssl_key_location=str(key), ssl_certificate_location=str(cert)))
    assert "ssl" in refusal(secured.config("MTLS")).lower()
    stranger = Authority(secured.authority.folder / "other")
    key, cert = stranger.sign("mallory", "/CN=mallory")
    refusal(secured.config("MTLS", ssl_key_location=str(key), ssl_certificate_location=str(cert)))


def test_a_refused_certificate_is_told(secured):
    """With TLS 1.3 the client learns of it only after it has sent its first request: the alert must come, not a reset that overtakes it."""
    context = ssl.create_default_context(cafile=str(secured.authority.ca))
    told = 0
    for _ in range(20):
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", secured.ports["MTLS"]), timeout=10) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
            try:
                for _ in range(50):
                    tls.sendall(b"\0" * 100)
                while tls.recv(100):
                    pass
                pytest.fail("the connection ended without a word")
            except ssl.SSLError as e:
                assert "certificate required" in str(e), e
                told += 1
            except ConnectionError:  # the server waits 0.1 s: a client that was slower cannot tell
                assert time.monotonic() - began > 0.1
    assert told > 0


def common_name(secured) -> str:
    context = ssl.create_default_context(cafile=str(secured.authority.ca))
    with socket.create_connection(("127.0.0.1", secured.ports["SSL"])) as raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
        return dict(pair[0] for pair in tls.getpeercert()["subject"])["commonName"]


def test_certificates_are_read_again(secured):
    assert common_name(secured) == "server"
    consumer = confluent_kafka.Consumer(secured.config("SSL") | {"group.id": name("g")})
    consumer.list_topics(timeout=30)
    secured.install("renewed")
    deadline = time.monotonic() + 60
    while common_name(secured) != "renewed":
        assert time.monotonic() < deadline
        consumer.list_topics(timeout=30)  # the open connection goes on
    consumer.close()


def test_certificates_are_changed_by_config(scratch, new_server):
    """listener.name.NAME.ssl.keystore.* by IncrementalAlterConfigs: in force when it is answered, durable, and refused when it would not work."""
    own = Secured(new_server, scratch / "dynamic")
    key, cert = own.authority.sign("second", "/CN=second")
    both = scratch / "dynamic" / "second.pem"
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    admin = AdminClient(own.plain())
    consumer = confluent_kafka.Consumer(own.config("SSL") | {"group.id": name("g")})
    consumer.list_topics(timeout=30)

    def alter(**changes: str | None) -> None:
        entries = [
            ConfigEntry(k.replace("_", "."), v, incremental_operation=AlterConfigOpType.DELETE if v is None else AlterConfigOpType.SET)
            for k, v in changes.items()
        ]
        for one in admin.incremental_alter_configs([ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=entries)]).values():
            one.result(30)

    def described() -> dict:
        resource = ConfigResource(ConfigResource.Type.BROKER, "1")
        return {k: v for k, v in admin.describe_configs([resource])[resource].result(30).items() if k.startswith("listener.name.")}

    assert common_name(own) == "server" and not described()
    alter(listener_name_ssl_ssl_keystore_location=str(both))
    assert common_name(own) == "second"
    consumer.list_topics(timeout=30)  # the open connection goes on
    assert described()["listener.name.ssl.ssl.keystore.location"].value == str(both)
    for wrong in (str(both) + ".none", str(own.authority.ca)):  # not there; no key in it
        with pytest.raises(confluent_kafka.KafkaException) as refused:
            alter(listener_name_ssl_ssl_keystore_location=wrong)
        assert refused.value.args[0].code() == confluent_kafka.KafkaError.INVALID_REQUEST
    with pytest.raises(confluent_kafka.KafkaException, match="listener prefix"):
        alter(ssl_keystore_location=str(both))  # of all listeners at once
    assert common_name(own) == "second"
    key, cert = own.authority.sign("third", "/CN=third")  # as texts, with their line breaks
    alter(listener_name_ssl_ssl_keystore_location="", listener_name_ssl_ssl_keystore_key=key.read_text(),
          listener_name_ssl_ssl_keystore_certificate_chain=cert.read_text())
    assert common_name(own) == "third"
    assert described()["listener.name.ssl.ssl.keystore.key"].value is None  # nobody is told
    own.server.stop()
    own.server.start()
    assert common_name(own) == "third"
    admin = AdminClient(own.plain())
    alter(listener_name_ssl_ssl_keystore_location=None, listener_name_ssl_ssl_keystore_key=None, listener_name_ssl_ssl_keystore_certificate_chain=None)
    assert common_name(own) == "server"
    consumer.close()


# ---- SASL -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("listener", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_plain(secured, listener):
    round_trip(secured.plain(listener=listener))
    assert "Invalid username or password" in refusal(secured.plain(password="wrong", listener=listener))
    assert "Invalid username or password" in refusal(secured.plain(user="nobody", listener=listener))


def test_plain_with_kafka_python(secured):
    config = {
        "bootstrap_servers": f"127.0.0.1:{secured.ports['SASL_PLAINTEXT']}", "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN", "sasl_plain_username": "alice", "sasl_plain_password": "it's \"quoted\"",
    }
    producer = kafka.KafkaProducer(**config)
    assert producer.send(name("t"), b"hello").get(30).offset == 0
    producer.close()


def test_plain_with_kcat(secured):
    args = ["-X", "security.protocol=SASL_SSL", "-X", f"ssl.ca.location={secured.authority.ca}", "-X", "sasl.mechanism=PLAIN", "-X", "sasl.username=admin"]
    base = ["kcat", "-b", f"127.0.0.1:{secured.ports['SASL_SSL']}", "-L", "-J", *args]
    done = subprocess.run([*base, "-X", "sasl.password=admin-secret"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["brokers"][0]["name"] == f"127.0.0.1:{secured.ports['SASL_SSL']}"
    done = subprocess.run([*base, "-X", "sasl.password=no", "-m", "5"], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0


def set_scram(secured, user: str, password: str, *mechanisms: ScramMechanism) -> None:
    admin = AdminClient({"bootstrap.servers": secured.server.kafka})
    changes = [UserScramCredentialUpsertion(user, ScramCredentialInfo(m, 4096), password.encode()) for m in mechanisms]
    for future in admin.alter_user_scram_credentials(changes).values():
        future.result(30)


BOTH = (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)


@pytest.mark.parametrize("listener", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_scram(secured, listener, mechanism):
    user = name("us=er,")
    config = secured.config(listener, sasl_mechanism=mechanism, sasl_username=user)
    assert "invalid credentials" in refusal(config | {"sasl.password": "secret"})
    set_scram(secured, user, "secret", *BOTH)
    round_trip(config | {"sasl.password": "secret"})
    assert "invalid credentials" in refusal(config | {"sasl.password": "wrong"})


def test_scram_with_kafka_python(secured):
    user = name("u")
    set_scram(secured, user, "s3cret", *BOTH)
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        producer = kafka.KafkaProducer(
            bootstrap_servers=f"127.0.0.1:{secured.ports['SASL_PLAINTEXT']}", security_protocol="SASL_PLAINTEXT", sasl_mechanism=mechanism,
            sasl_plain_username=user, sasl_plain_password="s3cret",
        )
        assert producer.send(name("t"), b"hello").get(30).offset == 0
        producer.close()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_scram_with_an_old_librdkafka(secured, mechanism):
    """kcat with a librdkafka before 2.6.1: it sends its nonce twice."""
    user = name("user")
    set_scram(secured, user, "secret", *BOTH)
    base = ["kcat", "-b", f"127.0.0.1:{secured.ports['SASL_PLAINTEXT']}", "-L", "-J", "-X", "security.protocol=SASL_PLAINTEXT", "-X", f"sasl.mechanism={mechanism}",
            "-X", f"sasl.username={user}"]
    done = subprocess.run([*base, "-X", "sasl.password=secret"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and json.loads(done.stdout)["brokers"], done.stderr
    done = subprocess.run([*base, "-X", "sasl.password=no", "-m", "5"], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "invalid credentials" in done.stderr


def test_scram_users_are_described_and_deleted(secured):
    admin = AdminClient({"bootstrap.servers": secured.server.kafka})
    user = name("u")
    set_scram(secured, user, "x", ScramMechanism.SCRAM_SHA_512)
    found = admin.describe_user_scram_credentials([user])[user].result(30)
    assert [(i.mechanism, i.iterations) for i in found.scram_credential_infos] == [(ScramMechanism.SCRAM_SHA_512, 4096)]
    assert user in admin.describe_user_scram_credentials().result(30)
    few = UserScramCredentialUpsertion(user, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 1000), b"x")
    with pytest.raises(confluent_kafka.KafkaException, match="Too few iterations"):
        admin.alter_user_scram_credentials([few])[user].result(30)
    admin.alter_user_scram_credentials([UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_512)])[user].result(30)
    with pytest.raises(confluent_kafka.KafkaException) as failure:
        admin.alter_user_scram_credentials([UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_512)])[user].result(30)
    assert failure.value.args[0].code() == confluent_kafka.KafkaError.RESOURCE_NOT_FOUND


def bearer(secured, token: str, listener: str = "SASL_SSL", lifetime: float = 300) -> dict:
    return secured.config(listener, sasl_mechanism="OAUTHBEARER") | {"oauth_cb": lambda _: (token, time.time() + lifetime)}


def test_oauthbearer(secured):
    round_trip(bearer(secured, secured.tokens.token("carol")))
    for bad, why in (
        (secured.tokens.token("carol", lifetime=-100), "(exp)"),
        (secured.tokens.token("carol", iss="somebody"), "(iss)"),
        (secured.tokens.token("carol", aud=["none"]), "(aud)"),
        (secured.tokens.token("carol")[:-8] + "AAAAAAAA", "signature"),
        (secured.tokens.token("carol").replace(".", ".e30.", 1), "JSON web token"),
    ):
        assert why in refusal(bearer(secured, bad))


def test_a_session_ends_with_its_token(secured):
    """Also where connections.max.reauth.ms is not set."""
    raw = Raw(secured.ports["SASL_PLAINTEXT"])
    assert raw.handshake("OAUTHBEARER")[0] == 0
    error, rest = raw.authenticate(f"n,,\x01auth=Bearer {secured.tokens.token('carol', lifetime=4)}\x01\x01".encode())
    assert error == 0
    assert 0 < int.from_bytes(rest[-8:], "big") <= 4000  # session_lifetime_ms
    deadline = time.monotonic() + 30
    while True:  # asks for metadata until the connection is closed
        assert time.monotonic() < deadline
        try:
            raw.send(3, 1, b"\0\0\0\0")
            if raw.read() is None:
                break
        except ConnectionError:
            break


class KeyServer(http.server.ThreadingHTTPServer):
    """Gives a key set by HTTP, or an error, or nothing until it is told to go on."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), KeyHandler)
        self.keys: dict = {}
        self.status = 200
        self.asked = 0
        self.go_on = threading.Event()
        self.go_on.set()
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/keys"


class KeyHandler(http.server.BaseHTTPRequestHandler):
    server: KeyServer

    def do_GET(self) -> None:
        self.server.asked += 1
        self.server.go_on.wait(60)
        body = json.dumps(self.server.keys).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


def test_keys_by_url(scratch, new_server):
    """The set is fetched at the start and again; what is no set changes nothing, and a server that does not answer holds up nobody."""
    folder = scratch / "keys-by-url"
    (folder / "new").mkdir(parents=True)
    old, new, keys = Tokens(folder), Tokens(folder / "new"), KeyServer()
    keys.keys = old.jwks
    port, = free_ports(1)
    path = folder / "server.properties"
    path.write_text(f"""listeners=SASL_PLAINTEXT://127.0.0.1:{port}
sasl.enabled.mechanisms=OAUTHBEARER
sasl.oauthbearer.jwks.endpoint.url={keys.url}
sasl.oauthbearer.jwks.endpoint.refresh.ms=200
sasl.oauthbearer.expected.audience=kafka
""")
    server = new_server(settings={"broker.properties": str(path)}).start()

    def good(token: str) -> bool:
        raw = Raw(port)
        assert raw.handshake("OAUTHBEARER")[0] == 0
        error, rest = raw.authenticate(f"n,,\x01auth=Bearer {token}\x01\x01".encode())
        assert error == 0
        return rest[2:6] == bytes(4)  # else it says why, and waits to hear that this was understood (RFC 7628)

    def asked_again() -> None:
        before, deadline = keys.asked, time.monotonic() + 60
        while keys.asked < before + 2:  # the first may have begun before
            assert good(old.token("carol")) and time.monotonic() < deadline

    assert good(old.token("carol"))
    assert not good(new.token("carol"))
    keys.status = 500
    asked_again()
    keys.status, keys.keys = 200, {"keys": []}
    asked_again()
    keys.go_on.clear()
    before, deadline = keys.asked, time.monotonic() + 60
    while keys.asked == before:  # now it hangs
        assert good(old.token("carol")) and time.monotonic() < deadline
    assert good(old.token("carol"))
    keys.keys = new.jwks
    keys.go_on.set()
    deadline = time.monotonic() + 60
    while not good(new.token("carol")):
        assert time.monotonic() < deadline, server.log()
    assert not good(old.token("carol"))
    keys.shutdown()
    server.stop()
    keys.server_close()
    with pytest.raises(AssertionError, match="nobody answers"):
        server.start()
    server.process = None


def test_a_new_key_and_a_key_server_that_hangs(scratch, new_server):
    """A token of an unknown key has the set fetched at once, though it is new; and a server that stops waits for no key server."""
    folder = scratch / "new-key"
    folder.mkdir(parents=True)
    old, new, other, keys = Tokens(folder), Tokens(folder, "k2"), Tokens(folder, "k3"), KeyServer()
    keys.keys = old.jwks
    ports = free_ports(2)
    path = folder / "server.properties"
    path.write_text(f"""listeners=A://127.0.0.1:{ports[0]},B://127.0.0.1:{ports[1]}
listener.security.protocol.map=A:SASL_PLAINTEXT,B:SASL_PLAINTEXT
sasl.enabled.mechanisms=OAUTHBEARER
sasl.oauthbearer.jwks.endpoint.url={keys.url}
sasl.oauthbearer.expected.audience=kafka
""")
    server = new_server(settings={"broker.properties": str(path)}).start()

    def good(port: int, token: str) -> bool:
        raw = Raw(port)
        assert raw.handshake("OAUTHBEARER")[0] == 0
        error, rest = raw.authenticate(f"n,,\x01auth=Bearer {token}\x01\x01".encode())
        assert error == 0
        return rest[2:6] == bytes(4)

    assert keys.asked == 2 and good(ports[0], old.token("carol"))
    keys.keys = {"keys": [*old.jwks["keys"], *new.jwks["keys"]]}
    deadline = time.monotonic() + 8  # the next time by the clock is in an hour
    while not good(ports[0], new.token("carol")):
        assert time.monotonic() < deadline, server.log()
    assert keys.asked == 3 and good(ports[0], old.token("carol"))
    keys.go_on.clear()
    for port in ports:  # A has asked a moment ago; B asks, and hangs
        assert not good(port, other.token("carol"))
    deadline = time.monotonic() + 8
    while keys.asked == 3:
        assert time.monotonic() < deadline, server.log()
    began = time.monotonic()
    server.stop()
    took = time.monotonic() - began
    keys.go_on.set()
    keys.shutdown()
    keys.server_close()
    assert took < 4 and keys.asked == 4, took


def test_sessions_end_and_are_renewed(secured):
    """connections.max.reauth.ms is 5 s on that listener; librdkafka logs in again half a second before, and nothing is lost."""
    user = name("u")
    set_scram(secured, user, "secret", *BOTH)
    config = secured.config("SASL_PLAINTEXT", sasl_mechanism="SCRAM-SHA-512", sasl_username=user, sasl_password="secret")
    admin = AdminClient(config)
    before = len(secured.server.log())  # earlier tests leave clients behind, whose sessions end
    lost: list[str] = []
    producer = confluent_kafka.Producer(config | {"error_cb": lambda e: lost.append(str(e))})
    topic = name("t")
    admin.create_topics([NewTopic(topic, num_partitions=1)])[topic].result(30)
    ends = time.monotonic() + 11
    sent = 0
    while time.monotonic() < ends:
        failed: list[str] = []
        producer.produce(topic, b"x", on_delivery=lambda err, _, failed=failed: failed.append(str(err)) if err else None)
        assert producer.flush(30) == 0
        assert not failed
        sent += 1
    assert not lost, lost
    said = secured.server.log()[before:]
    assert "session expired" not in said, said
    assert sent > 10


# ---- ACLs -----------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def guarded(scratch):
    """A server with an authorizer: admin is a super user, the others are users of SCRAM without any rights."""
    from conftest import Server

    folder = scratch / "guarded-files"
    folder.mkdir()
    made = []

    def make(settings):
        made.append(Server(scratch / "guarded", settings))
        return made[0]

    one = Secured(make, folder, "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:admin;User:root\n"
                  "delegation.token.secret.key=of nobody else\n")
    yield one
    one.server.stop()


class User:
    """A user of SCRAM on the guarded server, with clients."""

    def __init__(self, guarded) -> None:
        self.guarded = guarded
        self.name = name("user")
        self.admin = AdminClient(guarded.plain())
        change = UserScramCredentialUpsertion(self.name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), b"pw")
        self.admin.alter_user_scram_credentials([change])[self.name].result(30)
        self.config = guarded.config("SASL_PLAINTEXT", sasl_mechanism="SCRAM-SHA-256", sasl_username=self.name, sasl_password="pw")

    def rule(self, kind, resource, operation, permission=AclPermissionType.ALLOW, pattern=ResourcePatternType.LITERAL, host="*") -> AclBinding:
        return AclBinding(kind, resource, pattern, f"User:{self.name}", host, operation, permission)

    def allow(self, *args, **kwargs) -> None:
        for future in self.admin.create_acls([self.rule(*args, **kwargs)]).values():
            future.result(30)

    def forbid(self, *args, **kwargs) -> None:
        self.allow(*args, permission=AclPermissionType.DENY, **kwargs)

    def produce(self, topic: str, **config) -> str | None:
        """None, or the error's name."""
        outcome: list[confluent_kafka.KafkaError | None] = []
        producer = confluent_kafka.Producer(self.config | {"enable.idempotence": False} | config)
        producer.produce(topic, b"x", partition=0, on_delivery=lambda err, _: outcome.append(err))
        assert producer.flush(30) == 0
        return outcome[0] and outcome[0].name()

    def consume(self, topic: str, group: str) -> str | bytes:
        """The first value, or the first error's name."""
        consumer = confluent_kafka.Consumer(self.config | {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False})
        consumer.subscribe([topic])
        deadline = time.monotonic() + 30
        try:
            while True:
                assert time.monotonic() < deadline
                message = consumer.poll(1)
                if message is not None:
                    return message.error().name() if message.error() else message.value()
        finally:
            consumer.close()


def new_topic(guarded, prefix: str = "t") -> str:
    topic = name(prefix)
    admin = AdminClient(guarded.plain())
    admin.create_topics([NewTopic(topic, num_partitions=1)])[topic].result(30)
    return topic


def test_acl_produce_and_consume(guarded):
    user, topic, group = User(guarded), new_topic(guarded), name("g")
    admin = AdminClient(user.config)
    assert topic not in admin.list_topics(timeout=30).topics
    assert admin.list_topics(topic, timeout=30).topics[topic].error.name() == "TOPIC_AUTHORIZATION_FAILED"
    absent = name("absent")
    assert admin.list_topics(absent, timeout=30).topics[absent].error.name() == "TOPIC_AUTHORIZATION_FAILED"  # the same answer: nothing leaks
    assert user.produce(topic) == "TOPIC_AUTHORIZATION_FAILED"
    user.allow(ResourceType.TOPIC, topic, AclOperation.WRITE)
    assert user.produce(topic) is None
    assert topic in admin.list_topics(timeout=30).topics  # WRITE implies DESCRIBE
    assert user.consume(topic, group) == "GROUP_AUTHORIZATION_FAILED"
    user.allow(ResourceType.GROUP, group, AclOperation.READ)
    assert user.consume(topic, group) == "TOPIC_AUTHORIZATION_FAILED"
    user.allow(ResourceType.TOPIC, topic, AclOperation.READ)
    assert user.consume(topic, group) == b"x"
    user.forbid(ResourceType.TOPIC, topic, AclOperation.READ)  # deny wins
    assert user.consume(topic, group) == "TOPIC_AUTHORIZATION_FAILED"


def test_acl_regular_expressions(guarded):
    """A subscription by a regular expression (KIP-848) has only those topics that its member may describe."""
    user, prefix, group = User(guarded), name("re"), name("g")
    topics = [new_topic(guarded, f"{prefix}-{i}") for i in range(3)]
    user.allow(ResourceType.GROUP, group, AclOperation.READ)
    user.allow(ResourceType.TOPIC, topics[0], AclOperation.READ)
    user.allow(ResourceType.TOPIC, topics[1], AclOperation.READ)
    user.forbid(ResourceType.TOPIC, topics[1], AclOperation.DESCRIBE)
    consumer = confluent_kafka.Consumer(user.config | {"group.id": group, "group.protocol": "consumer"})
    consumer.subscribe([f"^{prefix}.*"])

    def wait_for(wanted: set[str]) -> None:
        deadline, refused = time.monotonic() + 60, None
        while {one.topic for one in consumer.assignment()} != wanted:
            message = consumer.poll(0.2)
            refused = message.error() if message is not None and message.error() else refused
            assert time.monotonic() < deadline, (consumer.assignment(), wanted)
        assert refused is None

    try:
        wait_for({topics[0]})
        user.allow(ResourceType.TOPIC, topics[2], AclOperation.READ)
        late = new_topic(guarded, f"{prefix}-late")  # topics come: the expression is resolved anew, and the rights are asked
        wait_for({topics[0], topics[2]})
        assert late not in {one.topic for one in consumer.assignment()}
    finally:
        consumer.close()


def test_acl_prefix_wildcard_and_host(guarded):
    user, topic = User(guarded), new_topic(guarded, "pre.fix")
    user.allow(ResourceType.TOPIC, "pre.", AclOperation.WRITE, pattern=ResourcePatternType.PREFIXED, host="10.1.2.3")
    assert user.produce(topic) == "TOPIC_AUTHORIZATION_FAILED"
    user.allow(ResourceType.TOPIC, "pre.", AclOperation.WRITE, pattern=ResourcePatternType.PREFIXED, host="127.0.0.1")
    assert user.produce(topic) is None
    assert user.produce(new_topic(guarded, "other")) == "TOPIC_AUTHORIZATION_FAILED"
    other = User(guarded)
    other.allow(ResourceType.TOPIC, "*", AclOperation.ALL)
    assert other.produce(topic) is None
    other.forbid(ResourceType.TOPIC, topic, AclOperation.WRITE)
    assert other.produce(topic) == "TOPIC_AUTHORIZATION_FAILED"


def test_acl_idempotent_producer(guarded):
    user, topic = User(guarded), new_topic(guarded)
    producer = confluent_kafka.Producer(user.config | {"enable.idempotence": True})
    producer.produce(topic, b"x", partition=0)
    with pytest.raises(confluent_kafka.KafkaException, match="CLUSTER_AUTHORIZATION_FAILED"):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            producer.poll(0.1)
    user.allow(ResourceType.TOPIC, topic, AclOperation.WRITE)
    assert user.produce(topic, **{"enable.idempotence": True}) is None


def test_acl_administration(guarded):
    user, topic = User(guarded), new_topic(guarded)
    admin = AdminClient(user.config)

    def code(future) -> str:
        with pytest.raises(confluent_kafka.KafkaException) as failure:
            future.result(30)
        return failure.value.args[0].name()

    mine = name("mine")
    assert code(admin.create_topics([NewTopic(mine, num_partitions=1)])[mine]) == "TOPIC_AUTHORIZATION_FAILED"
    assert code(admin.delete_topics([topic])[topic]) == "TOPIC_AUTHORIZATION_FAILED"
    filter_all = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY)
    assert describe_error(user.config) == "ClusterAuthorizationFailedError"
    assert code(next(iter(admin.create_acls([user.rule(ResourceType.TOPIC, "*", AclOperation.ALL)]).values()))) == "CLUSTER_AUTHORIZATION_FAILED"
    assert code(next(iter(admin.delete_acls([filter_all]).values()))) == "CLUSTER_AUTHORIZATION_FAILED"
    resource = confluent_kafka.admin.ConfigResource(confluent_kafka.admin.ResourceType.TOPIC, topic)
    assert code(admin.describe_configs([resource])[resource]) == "TOPIC_AUTHORIZATION_FAILED"
    change = UserScramCredentialUpsertion("x", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), b"pw")
    assert code(admin.alter_user_scram_credentials([change])["x"]) == "CLUSTER_AUTHORIZATION_FAILED"
    user.allow(ResourceType.TOPIC, "mine", AclOperation.CREATE, pattern=ResourcePatternType.PREFIXED)
    admin.create_topics([NewTopic(mine, num_partitions=1)])[mine].result(30)
    user.allow(ResourceType.TOPIC, mine, AclOperation.DELETE)
    described = admin.describe_topics(confluent_kafka.TopicCollection([mine]), include_authorized_operations=True)[mine].result(30)
    assert {op.name for op in described.authorized_operations} == {"CREATE", "DELETE", "DESCRIBE"}
    admin.delete_topics([mine])[mine].result(30)


def test_configs_need_leave(guarded):
    """Of a topic, a broker and a group; described, set as a whole, set one by one. An allowed resource in the same request is answered."""
    user, topic, other, group = User(guarded), new_topic(guarded), new_topic(guarded), name("g")
    admin, kinds = AdminClient(user.config), confluent_kafka.admin.ResourceType
    refused = {
        (kinds.TOPIC, topic, "retention.ms", "7200000"): "TOPIC_AUTHORIZATION_FAILED",
        (kinds.BROKER, "1", "log.retention.ms", "7200000"): "CLUSTER_AUTHORIZATION_FAILED",
        (kinds.GROUP, group, "consumer.session.timeout.ms", "50000"): "GROUP_AUTHORIZATION_FAILED",
    }

    def outcome(future) -> str | None:
        try:
            future.result(30)
        except confluent_kafka.KafkaException as failure:
            return failure.args[0].name()
        return None

    def entry(config: str, value: str) -> ConfigEntry:
        return ConfigEntry(config, value, incremental_operation=AlterConfigOpType.SET)

    user.allow(ResourceType.TOPIC, other, AclOperation.ALTER_CONFIGS)  # describing comes with it
    for (kind, resource, config, value), error in refused.items():
        wanted = [ConfigResource(kinds.TOPIC, other), ConfigResource(kind, resource)]
        assert [outcome(f) for f in admin.describe_configs(wanted).values()] == [None, error]
        wanted = [ConfigResource(kinds.TOPIC, other, incremental_configs=[entry("retention.ms", "7200000")]),
                  ConfigResource(kind, resource, incremental_configs=[entry(config, value)])]
        assert [outcome(f) for f in admin.incremental_alter_configs(wanted).values()] == [None, error]
        whole = ConfigResource(kind, resource, set_config={config: value})
        assert [outcome(f) for f in admin.alter_configs([whole]).values()] == [error]
    owner = AdminClient(guarded.plain())
    told = owner.describe_configs([ConfigResource(kinds.TOPIC, t) for t in (topic, other)])
    assert [f.result(30)["retention.ms"].value for f in told.values()] == ["604800000", "7200000"]
    user.allow(ResourceType.GROUP, group, AclOperation.ALTER_CONFIGS)
    mine = ConfigResource(kinds.GROUP, group, incremental_configs=[entry("consumer.session.timeout.ms", "50000")])
    assert [outcome(f) for f in admin.incremental_alter_configs([mine]).values()] == [None]


def test_acls_are_described_and_deleted(guarded):
    user, topic = User(guarded), name("t")
    rules = [
        user.rule(ResourceType.TOPIC, topic, AclOperation.READ),
        user.rule(ResourceType.TOPIC, topic, AclOperation.WRITE, AclPermissionType.DENY, host="10.0.0.1"),
        user.rule(ResourceType.TOPIC, topic[:3], AclOperation.ALL, pattern=ResourcePatternType.PREFIXED),
        user.rule(ResourceType.GROUP, "g", AclOperation.READ),
    ]
    for future in user.admin.create_acls(rules).values():
        future.result(30)

    def described(kind, resource, pattern) -> set:
        wanted = AclBindingFilter(kind, resource, pattern, f"User:{user.name}", None, AclOperation.ANY, AclPermissionType.ANY)
        return set(user.admin.describe_acls(wanted).result(30))

    assert described(ResourceType.ANY, None, ResourcePatternType.ANY) == set(rules)
    assert described(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL) == set(rules[:2])
    assert described(ResourceType.TOPIC, topic, ResourcePatternType.MATCH) == set(rules[:3])
    assert described(ResourceType.TOPIC, topic[:3], ResourcePatternType.PREFIXED) == {rules[2]}
    guarded.server.stop()  # durable
    guarded.server.start()
    assert described(ResourceType.ANY, None, ResourcePatternType.ANY) == set(rules)
    wanted = AclBindingFilter(ResourceType.TOPIC, None, ResourcePatternType.ANY, f"User:{user.name}", None, AclOperation.ANY, AclPermissionType.ANY)
    assert set(user.admin.delete_acls([wanted])[wanted].result(30)) == set(rules[:3])
    assert described(ResourceType.ANY, None, ResourcePatternType.ANY) == {rules[3]}


def describe_error(config: dict) -> str:
    """What DescribeAcls says to kafka-python (librdkafka does not tell)."""
    names = {"security.protocol": "security_protocol", "sasl.mechanism": "sasl_mechanism", "sasl.username": "sasl_plain_username",
             "sasl.password": "sasl_plain_password", "bootstrap.servers": "bootstrap_servers"}
    admin = kafka.KafkaAdminClient(**{names[k]: v for k, v in config.items() if k in names})
    try:
        wanted = kafka.admin.ACLFilter("User:x", "*", kafka.admin.ACLOperation.ANY, kafka.admin.ACLPermissionType.ANY,
                                       kafka.admin.ResourcePattern(kafka.admin.ResourceType.TOPIC, "t"))
        try:
            _, error = admin.describe_acls(wanted)
        except kafka.errors.KafkaError as raised:
            error = type(raised)
        return error.__name__
    finally:
        admin.close()


def test_acls_without_an_authorizer(secured):
    assert describe_error({"bootstrap.servers": secured.server.kafka}) == "SecurityDisabledError"


def test_anonymous_has_no_rights(guarded):
    admin = AdminClient({"bootstrap.servers": guarded.server.kafka})
    assert admin.list_topics(timeout=30).topics == {}


def test_super_user_by_certificate(guarded):
    key, cert = guarded.authority.sign("root", "/OU=clients/CN=ROOT")  # mapped to User:root
    round_trip(guarded.config("MTLS", ssl_key_location=str(key), ssl_certificate_location=str(cert)))


def test_acl_groups_and_offsets(guarded):
    """What reading groups and offsets shows to who may see a part of it."""
    owner, user = User(guarded), User(guarded)
    topic, group = new_topic(guarded), name("g")
    for operation in (AclOperation.READ, AclOperation.WRITE):
        owner.allow(ResourceType.TOPIC, topic, operation)
    owner.allow(ResourceType.GROUP, group, AclOperation.READ)
    assert owner.produce(topic) is None
    consumer = confluent_kafka.Consumer(owner.config | {"group.id": group, "enable.auto.commit": False})
    partition = confluent_kafka.TopicPartition(topic, 0, 1)
    consumer.assign([partition])
    assert consumer.commit(offsets=[partition], asynchronous=False)[0].error is None
    admin = AdminClient(user.config)

    def listed() -> set[str]:
        return {g.group_id for g in admin.list_consumer_groups().result(30).valid}

    def offsets(of_topic: str | None) -> list[confluent_kafka.TopicPartition]:
        wanted = confluent_kafka.ConsumerGroupTopicPartitions(group, [confluent_kafka.TopicPartition(of_topic, 0)] if of_topic else None)
        return admin.list_consumer_group_offsets([wanted])[group].result(30).topic_partitions

    assert group not in listed()
    with pytest.raises(confluent_kafka.KafkaException, match="GROUP_AUTHORIZATION_FAILED"):
        offsets(topic)
    with pytest.raises(confluent_kafka.KafkaException, match="GROUP_AUTHORIZATION_FAILED"):
        admin.describe_consumer_groups([group])[group].result(30)
    user.allow(ResourceType.GROUP, group, AclOperation.DESCRIBE)
    assert group in listed()
    assert offsets(topic)[0].error.name() == "TOPIC_AUTHORIZATION_FAILED"
    assert offsets(None) == []
    described = admin.describe_consumer_groups([group], include_authorized_operations=True)[group].result(30)
    assert {op.name for op in described.authorized_operations} == {"DESCRIBE"}
    user.allow(ResourceType.TOPIC, topic, AclOperation.DESCRIBE)
    assert offsets(topic)[0].offset == 1
    assert [p.offset for p in offsets(None)] == [1]
    with pytest.raises(confluent_kafka.KafkaException, match="GROUP_AUTHORIZATION_FAILED"):
        admin.delete_consumer_groups([group])[group].result(30)
    consumer.close()


def test_acl_transactions(guarded):
    user, topic = User(guarded), new_topic(guarded)
    transactional = name("tx")
    user.allow(ResourceType.TOPIC, topic, AclOperation.DESCRIBE)

    def producer() -> confluent_kafka.Producer:
        return confluent_kafka.Producer(user.config | {"transactional.id": transactional})

    with pytest.raises(confluent_kafka.KafkaException, match="TRANSACTIONAL_ID_AUTHORIZATION_FAILED"):
        producer().init_transactions(30)
    user.allow(ResourceType.TRANSACTIONAL_ID, transactional, AclOperation.WRITE)
    denied = producer()
    denied.init_transactions(30)
    denied.begin_transaction()
    denied.produce(topic, b"x", partition=0)
    with pytest.raises(confluent_kafka.KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        denied.commit_transaction(30)
    user.allow(ResourceType.TOPIC, topic, AclOperation.WRITE)
    allowed = producer()
    allowed.init_transactions(30)
    allowed.begin_transaction()
    allowed.produce(topic, b"x", partition=0)
    allowed.commit_transaction(30)


# ---- the protocol of logging in, byte by byte -------------------------------------------------------------------------------
class Raw:
    """A connection on which requests are written by hand: header version 1 (no tagged fields)."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(30)

    def send(self, key: int, version: int, body: bytes) -> None:
        self.bare(key.to_bytes(2, "big") + version.to_bytes(2, "big") + bytes([0, 0, 0, 9, 0, 1, ord("t")]) + body)

    def bare(self, frame: bytes) -> None:
        self.socket.sendall(len(frame).to_bytes(4, "big") + frame)

    def read(self) -> bytes | None:
        """The next frame; None = closed."""

        def exactly(n: int) -> bytes | None:
            got = b""
            while len(got) < n:
                part = self.socket.recv(n - len(got))
                if not part:
                    return None
                got += part
            return got

        size = exactly(4)
        return None if size is None else exactly(int.from_bytes(size, "big"))

    def handshake(self, mechanism: str, version: int = 1) -> tuple[int, bytes]:
        self.send(17, version, len(mechanism).to_bytes(2, "big") + mechanism.encode())
        answer = self.read()
        assert answer is not None
        return int.from_bytes(answer[4:6], "big"), answer[6:]

    def authenticate(self, token: bytes, version: int = 1) -> tuple[int, bytes]:
        self.send(36, version, len(token).to_bytes(4, "big") + token)
        answer = self.read()
        assert answer is not None
        return int.from_bytes(answer[4:6], "big"), answer[6:]


PLAIN_TOKEN = b"\0admin\0admin-secret"
ILLEGAL_SASL_STATE, UNSUPPORTED_SASL_MECHANISM, SASL_AUTHENTICATION_FAILED = 34, 33, 58


def test_bare_tokens(secured):
    raw = Raw(secured.ports["SASL_PLAINTEXT"])
    assert raw.handshake("PLAIN", 0)[0] == 0
    raw.bare(PLAIN_TOKEN)
    assert raw.read() == b""
    raw.send(3, 1, b"\0\0\0\0")  # Metadata of no topics
    assert raw.read() is not None
    refused = Raw(secured.ports["SASL_PLAINTEXT"])
    assert refused.handshake("PLAIN", 0)[0] == 0
    began = time.monotonic()
    refused.bare(b"\0admin\0wrong")
    assert refused.read() is None
    assert time.monotonic() - began > 0.09  # connection.failed.authentication.delay.ms


def test_a_coordinator_that_may_not_be_known_is_no_node(guarded):
    raw = Raw(int(guarded.server.kafka.rsplit(":", 1)[1]))  # nobody in particular, without rights
    none = b"\xff\xff\xff\xff"
    raw.send(10, 0, b"\0\1g")
    assert raw.read()[4:] == b"\0\x1e" + none + b"\0\0" + none  # GROUP_AUTHORIZATION_FAILED, node, host, port
    raw.send(10, 4, b"\0" + b"\0" + b"\2\2g" + b"\0")
    answer = raw.read()[4:]
    assert answer[5:].startswith(b"\2\2g" + none + b"\1" + none + b"\0\x1e"), answer
    raw.send(10, 4, b"\0" + b"\1" + b"\2\2g" + b"\0")
    answer = raw.read()[4:]
    assert answer[5:].startswith(b"\2\2g" + none + b"\1" + none + b"\0\x35"), answer  # TRANSACTIONAL_ID_AUTHORIZATION_FAILED


def test_the_order_of_logging_in(secured):
    port = secured.ports["SASL_PLAINTEXT"]
    early = Raw(port)
    early.send(3, 1, b"\0\0\0\0")
    assert early.read() is None
    without_handshake = Raw(port)
    without_handshake.send(36, 1, len(PLAIN_TOKEN).to_bytes(4, "big") + PLAIN_TOKEN)
    assert without_handshake.read() is None
    unknown = Raw(port)
    error, rest = unknown.handshake("GSSAPI")
    assert error == UNSUPPORTED_SASL_MECHANISM
    assert b"SCRAM-SHA-512" in rest
    assert unknown.read() is None
    large = Raw(port)
    large.socket.sendall((600_000).to_bytes(4, "big"))
    assert large.read() is None
    good = Raw(port)
    assert good.handshake("PLAIN")[0] == 0
    assert good.authenticate(PLAIN_TOKEN)[0] == 0
    assert good.authenticate(PLAIN_TOKEN)[0] == ILLEGAL_SASL_STATE
    assert good.handshake("PLAIN")[0] == ILLEGAL_SASL_STATE  # a session without an end
    wrong = Raw(port)
    assert wrong.handshake("PLAIN")[0] == 0
    error, rest = wrong.authenticate(b"\0admin\0wrong")
    assert error == SASL_AUTHENTICATION_FAILED
    assert b"Invalid username or password" in rest
    assert wrong.read() is None
    plaintext = Raw(int(secured.server.kafka.rsplit(":", 1)[1]))
    assert plaintext.handshake("PLAIN")[0] == ILLEGAL_SASL_STATE


def test_a_session_that_is_not_renewed_ends(scratch, new_server):
    port, = free_ports(1)
    path = scratch / "short.properties"
    path.write_text(f"""listeners=SASL_PLAINTEXT://127.0.0.1:{port}
sasl.enabled.mechanisms=PLAIN
connections.max.reauth.ms=1500
sasl.jaas.config=x.PlainLoginModule required user_admin="admin-secret" user_alice="a";
""")
    new_server(settings={"broker.properties": str(path)}).start()

    def log_in(raw: Raw, token: bytes = PLAIN_TOKEN) -> int:
        deadline = time.monotonic() + 30
        while raw.handshake("PLAIN")[0] != 0:  # again: not before a second has passed
            assert time.monotonic() < deadline
        error, rest = raw.authenticate(token)
        if error == 0:
            assert rest[-8:] == (1500).to_bytes(8, "big")  # session_lifetime_ms
        return error

    raw, again, other = Raw(port), Raw(port), Raw(port)
    began = time.monotonic()
    for one in (raw, again, other):
        assert log_in(one) == 0
    deadline = began + 30
    while True:  # asks for metadata until the connection is closed
        assert time.monotonic() < deadline
        try:
            raw.send(3, 1, b"\0\0\0\0")
            if raw.read() is None:
                break
        except ConnectionError:
            break
    assert time.monotonic() - began > 1.4
    assert log_in(again) == 0  # its session is over too, but this it may
    assert again.handshake("PLAIN")[0] == ILLEGAL_SASL_STATE  # sooner than a second after the last time
    again.send(3, 1, b"\0\0\0\0")
    assert again.read() is not None
    assert log_in(other, b"\0alice\0a") == SASL_AUTHENTICATION_FAILED  # one connection, one principal
    assert other.read() is None


# ---- delegation tokens --------------------------------------------------------------------------------------------------------
def text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


class TokenClient(Raw):
    """CreateDelegationToken and the others in version 1, and SCRAM with tokens."""

    def create(self, renewers: list[str], lifetime: int = -1) -> tuple[int, str, bytes]:
        self.send(38, 1, len(renewers).to_bytes(4, "big") + b"".join(text("User") + text(r) for r in renewers) + lifetime.to_bytes(8, "big", signed=True))
        answer = self.read()
        assert answer is not None
        error, at = int.from_bytes(answer[4:6], "big"), 6
        for _ in range(2):  # principal
            at += 2 + int.from_bytes(answer[at : at + 2], "big")
        at += 24
        n = int.from_bytes(answer[at : at + 2], "big")
        token = answer[at + 2 : at + 2 + n].decode()
        at += 2 + n
        n = int.from_bytes(answer[at : at + 4], "big")
        return error, token, answer[at + 4 : at + 4 + n]

    def change(self, key: int, hmac: bytes, period: int) -> int:
        self.send(key, 1, len(hmac).to_bytes(4, "big") + hmac + period.to_bytes(8, "big", signed=True))
        answer = self.read()
        assert answer is not None
        return int.from_bytes(answer[4:6], "big")

    def renew(self, hmac: bytes, period: int = -1) -> int:
        return self.change(39, hmac, period)

    def expire(self, hmac: bytes, period: int = -1) -> int:
        return self.change(40, hmac, period)

    def described(self) -> bytes:
        self.send(41, 1, b"\xff\xff\xff\xff")
        answer = self.read()
        assert answer is not None
        assert answer[4:6] == b"\0\0"
        return answer[6:]

    def log_in_by_token(self, token: str, hmac: bytes) -> int:
        assert self.handshake("SCRAM-SHA-256")[0] == 0
        first = f"n={token},r=abc,tokenauth=true"
        error, rest = self.authenticate(b"n,," + first.encode())
        assert error == 0
        server_first = rest[6 : 6 + int.from_bytes(rest[2:6], "big")].decode()
        nonce, salt, iterations = (part[2:] for part in server_first.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", base64.b64encode(hmac), base64.b64decode(salt), int(iterations))
        key = hmac_module.digest(salted, b"Client Key", "sha256")
        final = f"c=biws,r={nonce}"
        signature = hmac_module.digest(hashlib.sha256(key).digest(), f"{first},{server_first},{final}".encode(), "sha256")
        proof = base64.b64encode(bytes(x ^ y for x, y in zip(key, signature, strict=True))).decode()
        return self.authenticate(f"{final},p={proof}".encode())[0]


def test_delegation_tokens(guarded, secured):
    port = guarded.ports["SASL_PLAINTEXT"]

    def logged_in(user: str, password: str) -> TokenClient:
        raw = TokenClient(port)
        assert raw.handshake("PLAIN")[0] == 0
        assert raw.authenticate(f"\0{user}\0{password}".encode())[0] == 0
        return raw

    admin, alice = logged_in("admin", "admin-secret"), logged_in("alice", "it's \"quoted\"")
    error, token, hmac = admin.create(["alice"])
    assert error == 0
    by_token = TokenClient(port)
    assert by_token.log_in_by_token(token, hmac) == 0
    by_token.send(29, 1, bytes([1, 255, 255, 1, 255, 255, 255, 255, 1, 1]))  # DescribeAcls: the token's owner is a super user
    answer = by_token.read()
    assert answer is not None
    assert answer[8:10] == b"\0\0"
    assert by_token.create([])[0] == 64  # not by a token
    assert TokenClient(port).log_in_by_token(token, b"x" * 64) == SASL_AUTHENTICATION_FAILED
    assert token.encode() in alice.described()
    assert alice.renew(hmac) == 0  # a renewer
    stranger = logged_in("admin", "admin-secret")
    _, other_token, other_hmac = stranger.create([])
    assert other_token.encode() not in alice.described()
    assert alice.renew(other_hmac) == 63  # not the owner, not a renewer
    assert alice.renew(b"x" * 64) == 62
    assert admin.expire(hmac) == 0
    assert TokenClient(port).log_in_by_token(token, hmac) == SASL_AUTHENTICATION_FAILED
    assert token.encode() not in alice.described()
    _, token, hmac = admin.create([], lifetime=1)  # a millisecond
    assert TokenClient(port).log_in_by_token(token, hmac) == SASL_AUTHENTICATION_FAILED
    assert admin.renew(hmac) == 66
    without_key = TokenClient(secured.ports["SASL_PLAINTEXT"])
    assert without_key.handshake("PLAIN")[0] == 0
    assert without_key.authenticate(PLAIN_TOKEN)[0] == 0
    assert without_key.create([])[0] == 61
    assert TokenClient(int(guarded.server.kafka.rsplit(":", 1)[1])).create([])[0] == 64  # nobody knows who it is


# ---- what is refused at start ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("listeners=EXTERNAL://0.0.0.0:0\nlistener.security.protocol.map=EXTERNAL:PLAINTEXT\nadvertised.listeners=EXTERNAL://localhost:1", "kafka.allow_anonymous"),
        ("listeners=EXTERNAL://127.0.0.1:0", "listener.security.protocol.map"),
        ("listeners=SSL://127.0.0.1:0", "ssl.keystore.location"),
        ("listeners=SASL_PLAINTEXT://127.0.0.1:0", "sasl.enabled.mechanisms"),
        ("listeners=SASL_PLAINTEXT://127.0.0.1:0\nsasl.enabled.mechanisms=PLAIN", "PlainLoginModule"),
        ("ssl.client.auht=required", "ssl.client.auht"),
        ("super.users=User:x", "authorizer.class.name"),
        ("listeners=PLAINTEXT://127.0.0.1:0", "kafka.listen=off"),
        ("group.share.assignors=my.own.Assignor", "group.share.assignors"),
    ],
)
def test_refused_at_start(millrace, scratch, lines, said):
    path = scratch / f"{name('p')}.properties"
    path.write_text(lines)
    done = millrace("server", "--data", str(scratch / name("d")), "--set", "kafka.listen=127.0.0.1:0", "--set", f"broker.properties={path}", "--set", "pg.listen=off",
                    "--set", "registry.listen=off", "--set", "http.listen=off")
    assert done.returncode == 78, done.stderr
    assert said in done.stderr and f"broker.properties={path}" in done.stderr


def test_an_open_address_needs_a_word(millrace, scratch):
    done = millrace("server", "--data", str(scratch / name("d")), "--set", "kafka.listen=0.0.0.0:0", "--set", "kafka.advertised=localhost:9092")
    assert done.returncode == 78
    assert "kafka.allow_anonymous" in done.stderr
    for door in ("pg", "registry"):
        others = [w for d in ("kafka", "pg", "registry", "http") for w in ("--set", f"{d}.listen=" + ("0.0.0.0:0" if d == door else "127.0.0.1:0"))]
        done = millrace("server", "--data", str(scratch / name("d")), *others)
        assert done.returncode == 78
        assert "server.allow_open=true" in done.stderr


# ---- docs/SECURITY.md ---------------------------------------------------------------------------------------------------------
def test_the_documentation(scratch, new_server):
    """Its commands are run, its server is started (with free ports and paths of its own), its clients connect."""
    folder = scratch / "documented"
    folder.mkdir()
    blocks = (Path(__file__).resolve().parents[2] / "docs/SECURITY.md").read_text().split("```")[1::2]
    shell = [b.removeprefix("sh\n") for b in blocks if b.startswith("sh\n")]
    done = subprocess.run(["sh", "-e", "-c", "\n".join(shell)], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    ports = dict(zip(("9093", "9094", "9095", "9096"), map(str, free_ports(4)), strict=True))

    def placed(text: str) -> str:
        for old, new in ports.items():
            text = text.replace(f":{old}", f":{new}")
        for file in ("server.pem", "ca.pem", "alice.key", "alice.crt"):
            text = text.replace(f"={file}\n", f"={folder / file}\n")
        return text

    (server,) = (b.removeprefix("properties server\n") for b in blocks if b.startswith("properties server\n"))
    (folder / "server.properties").write_text(placed(server))
    new_server(settings={"broker.properties": str(folder / "server.properties")}).start()
    clients = [b.removeprefix("properties client ").partition("\n") for b in blocks if b.startswith("properties client ")]
    assert len(clients) == 4
    for port, _, text in clients:
        (folder / "client.properties").write_text(placed(text))
        what = ["-L"] if port == "9093" else ["-P", "-t", f"documented-{port}"]  # without a certificate: User:ANONYMOUS, who may nothing
        args = ["kcat", "-F", str(folder / "client.properties"), "-b", f"127.0.0.1:{ports[port]}", *what]
        done = subprocess.run(args, input="hello\n", capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
