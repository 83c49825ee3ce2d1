# SPDX-License-Identifier: Apache-2.0
"""Servers with TLS and with log-in, for those of librdkafka's tests that do nothing without; what their own cluster would tell them in the environment.

A set-up is started when the first test asks for it. Certificates are made by openssl, in a folder that goes with the run.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lib import PROGRAM, Server
from machine import free_port, openssl

USER, PASSWORD = "tester", "tester-secret"
REAUTH_MS = 5000  # a test of re-authentication takes a little more than one of these
# Tokens last half of it. librdkafka renews one at 80 % of its life, looking once a second, and logs in again at 90 %: with tokens of less than 10 s
# twice with the same one, the second time within a second of the first, which is refused (by Apache Kafka as well).
TOKEN_REAUTH_MS = 24000
# By number of a test: the set-ups it runs with.
SETUPS = {"0097": ("TLS",), "0135": ("PLAIN", "SCRAM-SHA-512"), "0142": ("PLAIN", "SCRAM-SHA-512", "OAUTHBEARER")}


@dataclass
class Setup:
    server: Server
    conf: str  # lines of the test's configuration
    env: dict[str, str] = field(default_factory=dict)


def certificates() -> Path:
    """ca (trusted by both), other (trusted by nobody), server and client, the client's in every form that the test reads."""
    folder = Path(tempfile.mkdtemp(prefix="librdkafka-tls-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "server.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for ca in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={ca}", "-keyout", f"{ca}.key", "-out", f"{ca}.pem", cwd=folder)
    for name in ("server", "client"):
        openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr", cwd=folder)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", "server.ext", "-out", f"{name}.pem", cwd=folder)
    openssl("x509", "-in", "ca.pem", "-outform", "DER", "-out", "ca.der", cwd=folder)
    openssl("x509", "-in", "client.pem", "-outform", "DER", "-out", "client.der", cwd=folder)
    openssl("pkey", "-in", "client.key", "-outform", "DER", "-out", "client-key.der", cwd=folder)
    openssl("pkey", "-in", "client.key", "-aes256", "-passout", f"pass:{PASSWORD}", "-out", "client-secret.key", cwd=folder)
    openssl("pkcs12", "-export", "-in", "client.pem", "-inkey", "client.key", "-certfile", "ca.pem", "-passout", f"pass:{PASSWORD}", "-out", "client.p12", cwd=folder)
    (folder / "server-all.pem").write_text((folder / "server.key").read_text() + (folder / "server.pem").read_text())
    (folder / "all-cas.pem").write_text((folder / "other.pem").read_text() + (folder / "ca.pem").read_text())
    return folder


def far(port: int) -> int:
    """A port that leads to `port` over a longer way: what comes back from there comes after 20 ms."""
    door = socket.create_server(("127.0.0.1", 0))

    def carry(source: socket.socket, target: socket.socket, seconds: float) -> None:
        try:
            while data := source.recv(65536):
                time.sleep(seconds)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # either side has gone: so does the other
            for one in (source, target):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        while True:
            near, _ = door.accept()
            try:
                there = socket.create_connection(("127.0.0.1", port))
            except OSError:
                near.close()
                continue
            for source, target, seconds in ((near, there, 0.0), (there, near, 0.02)):
                threading.Thread(target=carry, args=(source, target, seconds), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return int(door.getsockname()[1])


def tls(broker: Mapping[str, str]) -> Setup:
    """Over a longer way: a refused certificate is a transport failure to librdkafka, and not an SSL one as its test wants, when the server's answer
    is there before SSL_connect() comes back.
    """
    folder, near = certificates(), free_port()
    port = far(near)
    server = Server(dict(broker) | {
        "listeners": f"SSL://127.0.0.1:{near}", "advertised.listeners": f"SSL://127.0.0.1:{port}", "ssl.keystore.type": "PEM", "ssl.keystore.location": str(folder / "server-all.pem"),
        "ssl.truststore.type": "PEM", "ssl.truststore.location": str(folder / "ca.pem"), "ssl.client.auth": "required",
        "ssl.enabled.protocols": "TLSv1.2",  # the test looks for a handshake that fails; with TLS 1.3 a refused certificate shows after it
    }).start()
    conf = (
        f"metadata.broker.list=127.0.0.1:{port}\nsecurity.protocol=ssl\nssl.ca.location={folder}/ca.pem\nssl.certificate.location={folder}/client.pem\n"
        f"ssl.key.location={folder}/client-secret.key\nssl.key.password={PASSWORD}\n"
    )
    files = {"pkcs": "client.p12", "pub_der": "client.der", "pub_pem": "client.pem", "priv_der": "client-key.der", "priv_pem": "client-secret.key", "ca_der": "ca.der", "ca_pem": "ca.pem", "all_cas_pem": "all-cas.pem"}
    return Setup(server, conf, {f"SSL_{k}": str(folder / v) for k, v in files.items()} | {"SSL_password": PASSWORD, "SSL_client_auth": "required"})


def sasl(mechanism: str, broker: Mapping[str, str]) -> Setup:
    """Over a longer way: 0142 takes it for a failure when its consumer has nothing left to read at the end, as it has when its group is there and the
    first record comes within the first poll of 100 ms.
    """
    near = free_port()
    port = far(near)
    own = f"listener.name.sasl_plaintext.{mechanism.lower()}"
    properties = {"listeners": f"SASL_PLAINTEXT://127.0.0.1:{near}", "advertised.listeners": f"SASL_PLAINTEXT://127.0.0.1:{port}", "sasl.enabled.mechanisms": mechanism, "connections.max.reauth.ms": str(TOKEN_REAUTH_MS if mechanism == "OAUTHBEARER" else REAUTH_MS)}
    conf = f"metadata.broker.list=127.0.0.1:{port}\nsecurity.protocol=sasl_plaintext\nsasl.mechanisms={mechanism}\n"
    if mechanism == "OAUTHBEARER":
        properties[f"{own}.sasl.server.callback.handler.class"] = "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
        conf += f"enable.sasl.oauthbearer.unsecure.jwt=true\nsasl.oauthbearer.config=principal={USER} scope=requiredScope\n"
    else:
        conf += f"sasl.username={USER}\nsasl.password={PASSWORD}\n"
    if mechanism == "PLAIN":
        properties[f"{own}.sasl.jaas.config"] = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    server = Server(dict(broker) | properties).start()
    if mechanism.startswith("SCRAM"):
        subprocess.run([str(PROGRAM), "user", "set", USER, "--password", PASSWORD, "-m", mechanism, "--brokers", server.address], check=True, stdout=subprocess.DEVNULL)
    return Setup(server, conf)


def start(name: str, broker: Mapping[str, str]) -> Setup:
    return tls(broker) if name == "TLS" else sasl(name, broker)
