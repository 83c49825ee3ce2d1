#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""librdkafka's own test-suite, out of npm's @confluentinc/kafka-javascript, against our server.

Each numbered test that needs a broker runs by itself, with a time limit, several at a time. Tests that need no broker or a mocked one
(TEST_F_LOCAL) say nothing of ours and do not run. --full: without librdkafka's quick mode. --protocol consumer: the groups of KIP-848.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import shutil
import time
from pathlib import Path

import librdkafka_setups
from lib import PROGRAM, SERVER_ENDS, WORK, Results, Server, arguments, environment, java, kafka_home, main_of, only_one, prepare, run, say

PACKAGE, VERSION = "@confluentinc/kafka-javascript", "1.10.1"
FOLDER = WORK / f"librdkafka-npm-{VERSION}"
SOURCE = FOLDER / "package/deps/librdkafka"

# Never run, and why.
EXCLUDED = {
    "0000": "no broker: unit tests",
    "0009": "librdkafka's mock cluster",
    "0047": "known issue of librdkafka (its own flag)",
    "0092": "message format 1, which Kafka 4.0 removed",
    "0101": "needs several brokers (fetch from a follower)",
    "0126": "needs an OIDC identity provider",
    "0139": "librdkafka's mock cluster",
    "0150": "librdkafka's mock cluster",
    "8000": "a manual test",
    "8001": "a manual test",
    "0190": "needs the telemetry plugin of librdkafka's own broker image",
}
# The subset of ./run test: wide, and quick.
SHORT = (
    "0001 0002 0003 0005 0007 0008 0011 0012 0013 0017 0019 0022 0029 0030 0031 0033 0034 0036 0040 0041 0048 0054 0057 0059 0063 0067 "
    "0070 0073 0082 0085 0099 0103 0112 0125 0129 0130 0135 0137 0140"
).split()
# Do nothing in quick mode, and take about a minute without. 0045 only with the classic protocol: it wants whole assignments, and KIP-848's are
# told as what was added and taken away.
WHOLE = ("0018", "0019", "0026", "0045", "0061", "0082", "0089", "0102", "0122")
# As the suite's own cluster: the members of a group find together, ACLs can be set and deny nobody at first.
BROKER = {"group.initial.rebalance.delay.ms": "500", "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "allow.everyone.if.no.acl.found": "true", "group.share.min.record.lock.duration.ms": "1000"}
LIMIT = {"0038": 300, "0081": 400, "0103": 400, "0142": 700, "0113": 600, "0056": 300, "0102": 300, "0170": 600, "0173": 300, "0174": 1500, "0177": 600, "0178": 900, "0179": 300, "0184": 600, "0185": 600}


def java_programs(home: str) -> None:
    """The suite's small Java programs (a transactional producer, a hash)."""
    folder = SOURCE / "tests/java"
    with only_one("librdkafka"):
        if not (folder / "TransactionProducerCli.class").exists():
            prepare("compile the suite's Java programs", [Path(java()).parent / "javac", "-nowarn", "-cp", f"{home}/libs/*", *folder.glob("*.java")], 120, cwd=folder)


def source() -> None:
    """The package, unpacked; where a test asks for three copies of its topic (its own cluster has three brokers), one does."""
    new = FOLDER.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    prepare(f"npm: {PACKAGE} {VERSION}, which has librdkafka's tests", ["npm", "pack", f"{PACKAGE}@{VERSION}", "--silent"], cwd=new, tries=2)
    prepare("unpack it", ["tar", "xzf", *new.glob("*.tgz")], 120, cwd=new)
    tests = new / SOURCE.relative_to(FOLDER) / "tests"
    for file in [*tests.glob("0*.c"), *tests.glob("0*.cpp")]:
        text = file.read_text()
        changed = re.sub(r"(create_topic(?:_wait_exists)?\([^;]*?), 3((?:, 5000)?\))", r"\1, 1\2", text)
        if changed != text:
            file.write_text(changed)
    new.rename(FOLDER)


def build() -> None:
    with only_one("librdkafka"):
        if not FOLDER.exists():
            source()
        if (SOURCE / "tests/test-runner").exists():
            return
        jobs = f"-j{os.cpu_count()}"
        if not Path("/usr/include/rapidjson").exists():
            say("without rapidjson (Debian's rapidjson-dev) some tests will skip themselves")
        if not (SOURCE / "Makefile.config").exists():  # once: it makes everything new
            prepare("configure librdkafka", ["./configure", "--disable-gssapi", "--disable-debug-symbols"], 300, cwd=SOURCE)
        # little optimization, as the tests wait most of the time; what stands in the environment comes after the -O2 of Makefile.config
        prepare("build librdkafka (about a minute)", ["env", "CFLAGS=-O1", "CXXFLAGS=-O1", "make", "-s", jobs, "libs"], 1200, cwd=SOURCE)
        prepare("build its tests (about a minute)", ["env", "CFLAGS=-O0", "CXXFLAGS=-O0", "make", "-s", jobs, "test-runner"], 1200, cwd=SOURCE / "tests")


def broker_tests() -> dict[str, list[tuple[str, str]]]:
    """By number: the tests that need a broker, with their scenario."""
    text = (SOURCE / "tests/test.c").read_text()
    table = text[text.index("struct test tests[]") :]
    table = re.sub(r"/\*.*?\*/", "", table[: table.index("\n};")], flags=re.S)
    found: dict[str, list[tuple[str, str]]] = {}
    for entry in re.findall(r"_TEST\(\s*(\d{4}_\w+)\s*,(.*?)(?=_TEST\(|\Z)", table, flags=re.S):
        name, rest = entry
        if "TEST_F_LOCAL" in rest:
            continue
        scenario = re.search(r'\.scenario = "([^"]+)"', rest)
        found.setdefault(name[:4], []).append((name, scenario.group(1).split(",")[0] if scenario else "default"))
    return found


Outcome = tuple[str, str, str, float, int, dict[str, dict[str, object]], Path]


def one(number: str, scenario: str, setup: str, conf: str, more: dict[str, str], server: Server, options: dict[str, str | bool]) -> Outcome:
    folder = WORK / f"librdkafka/{options['protocol']}{scenario}-{number}{setup and '-'}{setup}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "test.conf").write_text(f"{conf}test.topic.prefix=rdk{number}\ntest.topic.random=true\n")
    env = environment(
        RDKAFKA_TEST_CONF=str(folder / "test.conf"), TESTS=number, TEST_REPORT=str(folder / "report.json"), LD_LIBRARY_PATH=f"{SOURCE}/src:{SOURCE}/src-cpp",
        BROKERS=server.address, TEST_KAFKA_VERSION="4.2.0", RDKAFKA_GITVER="x", CI="y", **more,
    )
    env |= {"KAFKA_PATH": str(options["java"]), "PATH": f"{Path(java()).parent}:{os.environ['PATH']}"}
    if options["protocol"]:
        env["TEST_CONSUMER_GROUP_PROTOCOL"] = str(options["protocol"])
    command = [str(SOURCE / "tests/test-runner"), "-p1", "-L", "-s", scenario] + ([] if options["full"] or setup or number >= "0170" or (number in WHOLE and not (number == "0045" and options["protocol"] == "consumer")) else ["-Q"])  # the share tests do nothing in quick mode
    start = time.monotonic()
    log = folder / "log"
    code = run(command, LIMIT.get(number, 180) * (3 if options["full"] else 1), log, cwd=SOURCE / "tests", env=env)
    try:
        report = json.loads((folder / "report.json").read_text())["tests"]
    except (FileNotFoundError, json.JSONDecodeError):
        report = {}
    return number, scenario, setup, time.monotonic() - start, code, report, log


def reason(log: Path, code: int) -> str:
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", log.read_text(errors="replace"))
    lines = [line for line in text.splitlines() if "failed" in line.lower() or "assert" in line.lower() or "error:" in line.lower()]
    first = next((line for line in lines if "TEST FAILURE" in line), None)
    at = text.find("### Test")
    if at >= 0:
        return " ".join(text[at : at + 330].replace("#", "").split())
    return ("time limit; " if code == 124 else f"exit {code}; ") + (first or (lines[-1] if lines else "")).strip()[:220]


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--protocol", choices=("classic", "consumer"), default=None)
    parser.add_argument("-j", type=int, default=4)
    args = parser.parse_args()
    build()
    tests = broker_tests()
    numbers = [n for n in tests if (not args.only or any(n.startswith(o) for o in args.only)) and (not args.short or n in SHORT)]
    results = Results("librdkafka" + (f"-{args.protocol}" if args.protocol else ""), "librdkafka's test-suite" + (f", group.protocol={args.protocol}" if args.protocol else ""), f"npm {PACKAGE} {VERSION}", keep=bool(args.only), short=args.short)
    home = str(kafka_home())
    java_programs(home)
    options: dict[str, str | bool] = {"full": args.full, "protocol": args.protocol or "", "java": home}
    servers = {
        name: Server(BROKER | more).start() for name, more in (("default", {}), ("noautocreate", {"auto.create.topics.enable": "false"}))
    }
    setups: dict[str, librdkafka_setups.Setup] = {}
    jobs = []
    with concurrent.futures.ThreadPoolExecutor(args.j) as pool:
        for number in numbers:
            if number in EXCLUDED and not args.only:
                for name, _ in tests[number]:
                    results.add(name, "excluded", why=EXCLUDED[number])
                continue
            for setup in librdkafka_setups.SETUPS.get(number, ()):
                if setup not in setups:
                    setups[setup] = librdkafka_setups.start(setup, BROKER)
                    servers[setup] = setups[setup].server
                jobs.append(pool.submit(one, number, "default", setup, setups[setup].conf, setups[setup].env, servers[setup], options))
            for scenario in sorted({s for _, s in tests[number]} if number not in librdkafka_setups.SETUPS else ()):
                jobs.append(pool.submit(one, number, scenario, "", f"metadata.broker.list={servers[scenario].address}\n", {}, servers[scenario], options))
        for job in concurrent.futures.as_completed(jobs):
            number, scenario, setup, seconds, code, report, log = job.result()
            states = {str(t["name"]): str(t["state"]) for t in report.values()}
            for test, where in tests[number]:
                if where != scenario:
                    continue
                name = test + (f" over {setup}" if setup else "")
                state = states.get(test, "FAILED" if code != 0 else "SKIPPED")
                if state == "SKIPPED" and code == 0:
                    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", log.read_text(errors="replace"))
                    said = re.search(r"SKIP(?:PING)?[^\n]*", text)
                    results.add(name, "excluded", seconds, "the suite skips it: " + (said.group(0)[:120] if said else ""))
                elif state == "PASSED" and float(str(next(t["duration"] for t in report.values() if t["name"] == test))) < 0.001:
                    results.add(name, "excluded", seconds, "does nothing in quick mode; run with --full")
                elif state == "PASSED":
                    results.add(name, "passed", seconds)
                else:
                    results.add(name, "failed", seconds, reason(log, code))
    bad = 0
    for name, server in servers.items():
        if not server.alive() or server.stop(args.keep) != 0:
            bad += 1
            results.add(f"{SERVER_ENDS}: {name}", "failed", why=f"see {server.folder}")
    return results.end() or bad


if __name__ == "__main__":
    assert PROGRAM.exists(), f"{PROGRAM} is not built"
    main_of(main)
