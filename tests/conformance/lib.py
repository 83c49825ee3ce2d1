# SPDX-License-Identifier: Apache-2.0
"""What the conformance scripts share: our server on a free port, outside programs with a time limit, and the results.

Everything that is fetched or written lies under build/conformance. A result is one line of build/conformance/results/PART.jsonl:
{"part", "name", "state": passed|failed|excluded, "seconds", "why"} below a head (Results); `report` makes the section of docs/KAFKA.md from these.
"""

from __future__ import annotations

import argparse
import atexit
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path.append(str(TOP / "tests"))  # machine.py, record_batch.py
WORK = TOP / "build/conformance"
PROGRAM = Path(os.environ.get("MILLRACE_TEST_PROGRAM", TOP / "build/release/millrace"))


groups: set[int] = set()  # process groups of programs that run, ended with us
_ending = False


def _end(*_: object) -> None:
    """SIGTERM: what was started is ended, and nothing more begins."""
    global _ending
    _ending = True
    for group in list(groups):
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass
    sys.exit(143)


signal.signal(signal.SIGTERM, _end)


def ending() -> bool:
    """Whether we were told to end: whoever works through a list begins nothing more."""
    return _ending


class Unavailable(Exception):
    """Something of a registry could not be had, or not be built."""


def say(text: str) -> None:
    """What is being done: `run` shows these lines."""
    print(f"== {text}", flush=True)


@contextmanager
def only_one(what: str) -> Iterator[None]:
    """Parts that run beside one another prepare what they share one after the other."""
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / f".{what}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prepare(what: str, command: Sequence[str | Path], limit: float = 600, cwd: Path | None = None, tries: int = 1) -> None:
    """Runs a step that fetches or builds something, says so, and when it fails shows the end of its log (logs/prepare-NAME.log)."""
    log = WORK / f"logs/prepare-{Path(str(command[0])).name}-{os.getpid()}.log"
    say(what)
    if "/" not in str(command[0]) and shutil.which(str(command[0])) is None:
        raise Unavailable(f"{what}: {command[0]} is not installed")
    for again in range(tries):
        log.unlink(missing_ok=True)
        code = run(command, limit, log, cwd=cwd)
        if code == 0:
            log.unlink()
            return
        if again + 1 < tries:
            say(f"{what}: exit {code}, once more")
    text = log.read_text(errors="replace").strip()
    print(text[-3000:], flush=True)
    lines = text.splitlines() or ["no words"]
    first = next((line for line in lines if "error" in line.lower()), lines[-1])
    raise Unavailable(f"{what}: " + ("time limit" if code == 124 else f"exit {code}") + f": {' '.join(first.split())[:160]} ({log})")


def shared_peers() -> Path | None:
    """The folder of the peers' harness (Kafka's own integration tests), which a plain clone does not have."""
    for base in (os.environ.get("MILLRACE_PEERS"), TOP.parent / "shared/peers", TOP.parent.parent / "shared/peers"):
        if base and (Path(base) / "kafka/conformance/run").exists():
            return Path(base) / "kafka"
    return None


def environment(**more: str) -> dict[str, str]:
    """Ours without what would configure a server."""
    return {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")} | more


class Server:
    """Our server on a data directory of its own, only the Kafka door open. Ended by its pid; a bad end is an error."""

    def __init__(self, properties: Mapping[str, str] | None = None, settings: Mapping[str, str] | None = None, data: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-conformance-"))
        self.data = data or self.folder / "data"
        self.log = self.folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.properties = {"group.initial.rebalance.delay.ms": "0", "num.partitions": "4"} | dict(properties or {})
        self.settings = {"kafka.listen": "127.0.0.1:0", "registry.listen": "off", "pg.listen": "off", "http.listen": "off"} | dict(settings or {})
        self.address = ""

    def start(self) -> Server:
        self.launch()
        return self.wait_until_ready()

    def launch(self) -> None:
        """The process alone: it may not be ready yet."""
        file = self.folder / "server.properties"
        file.write_text("".join(f"{k}={v}\n" for k, v in self.properties.items()))
        command = [str(PROGRAM), "server", "--data", str(self.data), "--set", f"broker.properties={file}"]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={value}"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment())
        atexit.register(self.kill)

    def wait_until_ready(self) -> Server:
        assert self.process is not None
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
            try:
                found = json.loads((self.data / "addresses.json").read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                found = {}
            if found.get("pid") == self.process.pid:
                self.address = str(found["kafka"])
                self.settings["kafka.listen"] = self.address  # the same port after a restart
                return self
            time.sleep(0.005)
        raise RuntimeError("the server is not ready after 60 s")

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self, keep: bool = False) -> int:
        """SIGTERM; its exit code. The folder stays when the end was bad or `keep`."""
        code = 0
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
                code = -9
            self.process = None
        text = self.log.read_text(errors="replace")
        if any(word in text for word in ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:")):
            code = code or 99
        if code == 0 and not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif code != 0:
            print(f"the server ended with {code}; see {self.folder}", file=sys.stderr)
        return code


def run(command: Sequence[str | Path], limit: float, log: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, stdin: str | None = None) -> int:
    """Runs it in a process group of its own; after `limit` seconds the group is ended and 124 returned. Output goes to `log`."""
    if _ending:
        return 143
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd, env=dict(env) if env else environment(), start_new_session=True)
        if stdin is not None and process.stdin is not None:
            process.stdin.write(stdin.encode())
            process.stdin.close()
        groups.add(process.pid)
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return 124
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            groups.discard(process.pid)


def revision() -> str:
    """What is tested: git's word for the tree, or what `run` noted when it began (the tree may move on under a long run)."""
    noted = os.environ.get("CONFORMANCE_REVISION")
    if noted:
        return noted
    done = subprocess.run(["git", "describe", "--always"], cwd=TOP, capture_output=True, text=True)
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "src", "tests/conformance", "Makefile"], cwd=TOP, capture_output=True).returncode == 1
    return done.stdout.strip() + ("-changed" if changed else "") if done.returncode == 0 else "unknown"


SERVER_ENDS = "the server ends well"  # a result of each part whose server did not


class Results:
    """The results of one part, printed as they come.

    The file's head says which form the run had ("all" or "short"), of which revision and day it is, and whether it came to its end; a short run
    has a file of its own. With `keep` (single tests of a part) those of the earlier run stay until the same name, or its group (`again`), is run
    again; the head stays that of the earlier run, and a result of another revision carries its own.
    """

    def __init__(self, part: str, title: str, version: str = "", keep: bool = False, short: bool = False) -> None:
        self.part, self.title = part, title
        self.passed = self.failed = self.excluded = 0
        self.file = WORK / "results" / f"{'short-' if short else ''}{part}.jsonl"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        form = ("short" if short else "all") if PROGRAM == TOP / "build/release/millrace" else f"{'short' if short else 'all'}, {PROGRAM}"
        self.now = {"revision": revision(), "when": time.strftime("%Y-%m-%d")}
        self.head = {"part": part, "title": title, "version": version, "form": form, "finished": False, **self.now}
        self.lines: dict[str, str] = {}
        self.keep = keep
        if keep:
            self.head |= {"form": f"single tests of {form}", "finished": True}
            if self.file.exists():
                head, *lines = [json.loads(line) for line in self.file.read_text().splitlines()]
                self.head |= {"form": "unknown", "revision": "unknown", "finished": True} | head
                self.lines = {line["name"]: json.dumps(line) for line in lines}
        self.differs = {k: v for k, v in self.now.items() if self.head["revision"] != self.now["revision"]}
        self.added: set[str] = set()
        self.lock = threading.RLock()  # tests may run beside one another
        self.again(SERVER_ENDS)

    def again(self, group: str) -> None:
        """Forgets what an earlier run said of `group` and of what begins with `group.` or `group:`."""
        with self.lock:
            self.lines = {name: line for name, line in self.lines.items() if name != group and not name.startswith((group + ".", group + ":"))}
            self.write()

    def write(self) -> None:
        new = self.file.with_suffix(".new")
        new.write_text("".join(line + "\n" for line in (json.dumps(self.head), *self.lines.values())))
        new.replace(self.file)

    def add(self, name: str, state: str, seconds: float = 0.0, why: str = "") -> None:
        with self.lock:
            setattr(self, state, getattr(self, state) + 1)
            times = 2
            plain = name
            while name in self.added:
                name, times = f"{plain} ({times})", times + 1
            self.added.add(name)
            self.lines.pop(name, None)
            self.lines[name] = json.dumps({"part": self.part, "name": name, "state": state, "seconds": round(seconds, 1), "why": why, **self.differs})
            self.write()
            print(f"{ {'passed': 'ok   ', 'failed': 'FAIL ', 'excluded': '-    '}[state]} {name:<60} {seconds:6.1f} s  {why}", flush=True)

    def end(self) -> int:
        if not self.keep:
            self.head["finished"] = True
            self.write()
        print(f"{self.part}: {self.excluded} excluded\n{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed else 0


def npm(package: str, version: str, folder: Path) -> None:
    """Installs one npm package, without its install scripts, into `folder`."""
    done = folder / "node_modules" / package / "package.json"
    if done.exists() and json.loads(done.read_text())["version"] == version:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "package.json").write_text("{}\n")
    prepare(f"npm: {package} {version}", ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", f"{package}@{version}"], cwd=folder, tries=2)


KAFKA_VERSION = "4.3.1"
KAFKA_HOME = WORK / "kafka"
KAFKA_COMMANDS = {
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-acls.sh": "org.apache.kafka.tools.AclCommand",
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
    "kafka-run-class.sh": "",
}


def java() -> str:
    """The newest JDK of those beside the `java` of PATH."""
    found = shutil.which("java")
    if found is None:
        raise Unavailable("no java on PATH")
    homes = [p for p in Path("/usr/lib/jvm").glob("*/bin/java")] or [Path(found)]

    def major(path: Path) -> int:
        try:
            text = (path.parent.parent / "release").read_text()
        except OSError:
            return 0
        return int(text.split('JAVA_VERSION="')[1].split(".")[0].split('"')[0])

    return str(max(homes, key=major))


def kafka_home() -> Path:
    """Kafka's jars under build/conformance/kafka/libs and, beside them, bin/ with the few commands that librdkafka's tests call."""
    libs, done = KAFKA_HOME / "libs", KAFKA_HOME / ".complete"
    with only_one("kafka"):
        if done.exists() and done.read_text() == KAFKA_VERSION:
            return KAFKA_HOME
        shutil.rmtree(KAFKA_HOME, ignore_errors=True)
        libs.mkdir(parents=True)
        copy = ["dependency:copy-dependencies", f"-Dkafka.version={KAFKA_VERSION}", "-DincludeScope=runtime", f"-DoutputDirectory={libs}"]
        prepare(f"Maven: the jars of Apache Kafka {KAFKA_VERSION}", ["mvn", "-B", "-ntp", "-q", "-Dstyle.color=never", "-f", HERE / "java/pom.xml", *copy], tries=2)
        (KAFKA_HOME / "bin").mkdir()
        for name, main in KAFKA_COMMANDS.items():
            script = KAFKA_HOME / "bin" / name
            script.write_text(f'#!/bin/bash\nexec "{java()}" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "${{CLASSPATH:+$CLASSPATH:}}{libs}/*" -Dlog4j2.configurationFile={HERE}/java/log4j2.properties {main} "$@"\n')
            script.chmod(0o755)
        done.write_text(KAFKA_VERSION)
    return KAFKA_HOME


def java_command(main: str, *args: str, heap: str = "256m", classes: Path | None = None) -> list[str]:
    """The command line of a Java program over Kafka's jars."""
    path = f"{classes}:" if classes else ""
    flags = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={HERE}/java/log4j2.properties"]
    return [java(), f"-Xmx{heap}", *flags, "-cp", f"{path}{kafka_home()}/libs/*", main, *args]


def arguments(doc: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the subset that ./run test takes")
    parser.add_argument("--keep", action="store_true", help="leave the data directory")
    parser.add_argument("only", nargs="*", help="only what holds one of these words")
    return parser


def main_of(part: Callable[[], int]) -> None:
    """The end of each script: what cannot be had is a failure with its words, not a trace."""
    try:
        code = part()
    except Unavailable as e:
        print(f"{'FAIL ':<5} cannot be had: {e}\n0 passed, 1 failed", flush=True)
        code = 1
    sys.exit(code)
