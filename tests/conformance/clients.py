#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients in other languages, each from its registry: produce, groups with a rebalance, transactions where they have them, admin.

Each program prints `ok NAME` or `FAIL NAME why` for each check. A client whose language is not on this machine is excluded, with the reason;
what its registry does not give is a failure, and so is what scripts/setup should have put there for the short run.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lib import HERE, SERVER_ENDS, WORK, Results, Server, Unavailable, arguments, environment, main_of, npm, prepare

CLIENTS = HERE / "clients"
LIMIT = 240
PYTHON = {"confluent": "confluent-kafka==2.16.1", "kafka_python": "kafka-python==3.0.12", "aio": "aiokafka==0.14.0"}


class Missing(Exception):
    """What a client needs is not on this machine."""


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise Missing(f"{program} is not installed")
    return found


def python(script: str) -> Callable[[], list[str]]:
    def command() -> list[str]:
        folder = WORK / f"python/{script}"
        marker = folder / ".done"
        if not marker.exists() or marker.read_text() != PYTHON[script]:
            shutil.rmtree(folder, ignore_errors=True)
            prepare(f"a Python environment for {PYTHON[script]}", ["/usr/bin/python3", "-m", "venv", folder], 120)
            more = ["crc32c", "python-snappy", "lz4", "zstandard"] if script == "kafka_python" else []
            prepare(f"PyPI: {PYTHON[script]} {' '.join(more)}", [folder / "bin/pip", "install", "-q", "--disable-pip-version-check", PYTHON[script], *more], 300, tries=2)
            marker.write_text(PYTHON[script])
        return [str(folder / "bin/python"), str(CLIENTS / f"{script}.py")]

    return command


def kafkajs() -> list[str]:
    need("npm")
    npm("kafkajs", "2.2.4", WORK / "node/kafkajs")
    shutil.copy(CLIENTS / "kafkajs.js", WORK / "node/kafkajs/")
    return [need("node"), str(WORK / "node/kafkajs/kafkajs.js")]


def platformatic() -> list[str]:
    need("npm")
    version = subprocess.run([need("node"), "--version"], capture_output=True, text=True, check=True).stdout.strip().lstrip("v")
    parts = tuple(int(x) for x in version.split("."))
    folder = WORK / "node/platformatic"
    if parts >= (22, 22):
        npm("@platformatic/kafka", "2.12.1", folder)
    elif parts >= (20, 19, 4):
        npm("@platformatic/kafka", "1.31.0", folder)
    else:
        raise Missing(f"node {version} is too old for it (20.19.4 is needed)")
    shutil.copy(CLIENTS / "platformatic.mjs", folder)
    return [need("node"), str(folder / "platformatic.mjs")]


def go() -> list[str]:
    if shutil.which("go") is None and Path("/usr/local/go/bin/go").exists():
        program = "/usr/local/go/bin/go"
    else:
        program = need("go")
    target = WORK / "go/conformance"
    prepare("Go: build the client of franz-go and sarama", [program, "build", "-o", target, "."], 900, cwd=CLIENTS / "go")
    return [str(target)]


def rust() -> list[str]:
    cargo = shutil.which("cargo") or str(Path.home() / ".cargo/bin/cargo")
    if not Path(cargo).exists():
        raise Missing("cargo is not installed")
    prepare("Rust: build the client of rdkafka", [cargo, "build", "-q", "--release", "--target-dir", WORK / "rust"], 900, cwd=CLIENTS / "rust")
    return [str(WORK / "rust/release/conformance")]


PROGRAMS: dict[str, tuple[str, Callable[[], list[str]], bool]] = {  # title, preparation, whether the short run has it
    "kcat": ("kcat 1.7.1 (of Debian 12, librdkafka 2.0.2)", lambda: [need("kcat") and str(CLIENTS / "kcat.sh")], True),
    "confluent": ("confluent-kafka-python 2.16.1", python("confluent"), True),
    "kafka_python": ("kafka-python 3.0.12", python("kafka_python"), True),
    "aio": ("aiokafka 0.14.0", python("aio"), True),
    "kafkajs": ("kafkajs 2.2.4", kafkajs, True),
    "platformatic": ("@platformatic/kafka", platformatic, False),
    "go": ("franz-go 1.22.3, sarama 1.61.1 (Go)", go, False),
    "rust": ("rdkafka 0.39.0 (Rust)", rust, False),
}


def main() -> int:
    args = arguments(__doc__ or "").parse_args()
    results = Results("clients", "Clients in other languages", keep=bool(args.only), short=args.short)
    (WORK / "logs").mkdir(parents=True, exist_ok=True)
    server = Server().start()
    run = str(int(time.time()) % 1000000)
    for name, (title, prepare, short) in PROGRAMS.items():
        if (args.only and not any(o in name for o in args.only)) or (args.short and not short):
            continue
        results.again(title)
        try:
            command = prepare()
        except Missing as e:
            results.add(title, "failed" if args.short else "excluded", why=str(e))
            continue
        except Unavailable as e:
            results.add(title, "failed", why=f"cannot be had: {e}")
            continue
        process = subprocess.Popen([*command, server.address, run], stdout=subprocess.PIPE, stderr=(WORK / "logs/clients.stderr").open("ab"), text=True, env=environment(), stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        start = last = time.monotonic()
        seen = 0
        watchdog = threading.Timer(LIMIT, process.kill)
        watchdog.start()
        for line in process.stdout:
            state, _, rest = line.strip().partition(" ")
            if state not in ("ok", "FAIL"):
                continue
            seen += 1
            now = time.monotonic()
            results.add(f"{title}: {rest}"[:100] if state == "ok" else f"{title}: {rest}"[:300], "passed" if state == "ok" else "failed", now - last)
            last = now
        watchdog.cancel()
        if process.wait() != 0 or seen == 0:
            results.add(title, "failed", time.monotonic() - start, f"ended with {process.returncode} after {seen} checks")
    if not server.alive() or server.stop(args.keep) != 0:
        results.add(SERVER_ENDS, "failed", why=str(server.folder))
    return results.end()


if __name__ == "__main__":
    main_of(main)
