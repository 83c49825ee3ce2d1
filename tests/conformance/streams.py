#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kafka Streams 4.x: a word count and a windowed join, exactly_once_v2, with the classic group protocol and with group.protocol=streams.

The application is killed (-9) in the middle and started again, the server too; afterwards each result is there exactly once.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from lib import WORK, Results, Server, arguments, environment, java, java_command, kafka_home, main_of, prepare, run

HALF = 2000


def compiled() -> Path:
    classes = WORK / "classes"
    classes.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).parent / "java/StreamsProof.java"
    libs = f"{kafka_home()}/libs/*"
    prepare(f"compile {source.name}", [Path(java()).parent / "javac", "--release", "17", "-nowarn", "-cp", libs, "-d", classes, source], 120)
    return classes


def case(mode: str, results: Results, classes: Path, keep: bool) -> None:
    start, server = time.monotonic(), Server().start()
    log = WORK / f"logs/streams-{mode}.log"
    log.unlink(missing_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    state = server.folder / "state"

    def proof(*args: str, limit: float = 120) -> int:
        return run(java_command("StreamsProof", *args, classes=classes), limit, log)

    def application() -> subprocess.Popen[bytes]:
        return subprocess.Popen(java_command("StreamsProof", "run", server.address, mode, str(state), f"app-{mode}", heap="384m", classes=classes), stdin=subprocess.DEVNULL, stdout=log.open("ab"), stderr=subprocess.STDOUT, env=environment())

    def seen() -> int:
        done = subprocess.run(java_command("StreamsProof", "seen", server.address, classes=classes), capture_output=True, text=True, timeout=60, env=environment())
        return int(done.stdout.split()[-1]) if done.returncode == 0 and done.stdout.split() else 0

    app = None
    why, ok = "", False
    try:
        if proof("fill", server.address, "0", str(HALF)) != 0:
            why = "could not write the input"
            return
        app = application()
        end = time.monotonic() + 90
        while seen() == 0:
            if time.monotonic() > end or app.poll() is not None:
                why = "the application gives no results in 90 s"
                return
        app.kill()
        app.wait()
        app = application()
        server.kill()
        server.start()
        if proof("fill", server.address, str(HALF), str(2 * HALF)) != 0:
            why = "could not write the second half after the restart of the server"
            return
        app.kill()  # while it works at the second half
        app.wait()
        if mode == "classic":
            shutil.rmtree(state, ignore_errors=True)  # the state comes back out of the changelog topics
        app = application()
        ok = proof("verify", server.address, str(2 * HALF), "120", limit=300) == 0
        why = "" if ok else next((x for x in reversed(log.read_text(errors="replace").splitlines()) if x.startswith("WRONG")), "not verified")
    finally:
        if app is not None and app.poll() is None:
            app.kill()
            app.wait()
        if not ok:
            lines = [x for x in log.read_text(errors="replace").splitlines() if "Exception" in x or " ERROR " in x]
            why += "; " + (lines[0][:200] if lines else "") + f" ({log})"
        code = server.stop(keep or not ok)
        if code != 0:
            ok, why = False, why + f" the server ended with {code}"
        results.add(f"word count and windowed join, exactly_once_v2, group.protocol={mode}, killed and restarted", "passed" if ok else "failed", time.monotonic() - start, why)


def main() -> int:
    args = arguments(__doc__ or "").parse_args()
    results = Results("streams", "Kafka Streams", "Kafka 4.3.1", keep=bool(args.only), short=args.short)
    classes = compiled()
    for mode in ("classic", "streams"):
        if not args.only or any(o in mode for o in args.only):
            case(mode, results, classes, args.keep)
    return results.end()


if __name__ == "__main__":
    main_of(main)
