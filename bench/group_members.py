#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a new group of many members takes until it is stable: confluent-kafka, all members in this process.

    group_members.py --brokers=HOST:PORT --protocol=classic|consumer [--members=100] [--partitions=100] [--pid=BROKER]

The clock starts before the first member is made and stops with the last change after which every member owns the same number of partitions, none
of them twice; that must hold for two seconds. One JSON line. Wants confluent-kafka (scripts/setup), nothing else beside the standard library.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

QUIET, GIVE_UP = 2.0, 120.0


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Member:
    def __init__(self, settings: dict[str, str], topic: str, protocol: str) -> None:
        self.owned: set[int] = set()
        self.changed = 0.0
        self.incremental = protocol == "consumer"
        self.consumer = Consumer(settings)
        self.consumer.subscribe([topic], on_assign=self.assigned, on_revoke=self.revoked, on_lost=self.revoked)

    def assigned(self, _consumer, partitions) -> None:  # noqa: ANN001 the library has no types
        self.owned = (self.owned if self.incremental else set()) | {p.partition for p in partitions}
        self.changed = time.monotonic()

    def revoked(self, _consumer, partitions) -> None:  # noqa: ANN001
        self.owned -= {p.partition for p in partitions}
        self.changed = time.monotonic()


def stable(members: list[Member], partitions: int) -> bool:
    share = partitions // len(members)
    return all(len(m.owned) == share for m in members) and len(set().union(*(m.owned for m in members))) == partitions


def main() -> int:
    ap = argparse.ArgumentParser()
    ap.add_argument("--brokers", required=True)
    ap.add_argument("--protocol", choices=["classic", "consumer"], default="classic")
    ap.add_argument("--members", type=int, default=100)
    ap.add_argument("--partitions", type=int, default=100)
    ap.add_argument("--pid", type=int, default=0)
    args = ap.parse_args()
    if args.partitions % args.members != 0:
        ap.error("--partitions must be a multiple of --members")
    topic = f"group-{time.monotonic_ns()}"
    common = {"bootstrap.servers": args.brokers, "broker.address.family": "v4"}
    admin = AdminClient(common)
    admin.create_topics([NewTopic(topic, args.partitions, 1)])[topic].result(30)
    settings = common | {"group.id": topic, "auto.offset.reset": "earliest", "enable.auto.commit": "false", "group.protocol": args.protocol,
                         "topic.metadata.refresh.fast.interval.ms": "10", "enable.metrics.push": "false", "log_level": "3"}
    broker, began = cpu_seconds(args.pid) if args.pid else 0.0, time.monotonic()
    own = time.process_time()
    members = [Member(settings, topic, args.protocol) for _ in range(args.members)]
    made = time.monotonic() - began
    errors = 0
    while True:
        for m in members:
            message = m.consumer.poll(0)
            errors += message is not None and message.error() is not None
        now = time.monotonic()
        last = max(m.changed for m in members)
        if now - began > GIVE_UP:
            print(f"not stable after {GIVE_UP:.0f} s: {sorted(len(m.owned) for m in members)}", file=sys.stderr)
            os._exit(1)  # closing a hundred members takes long
        if last > 0 and now - last > QUIET and stable(members, args.partitions):
            break
        time.sleep(0.002)
    row = {"mode": "group", "protocol": args.protocol, "members": args.members, "stable_ms": round((last - began) * 1000, 1),
           "made_ms": round(made * 1000, 1), "client_cpu_s": round(time.process_time() - own, 2), "errors": errors}
    if args.pid:
        row["broker_cpu_s"] = round(cpu_seconds(args.pid) - broker, 2)
    print(json.dumps(row), flush=True)
    admin.delete_topics([topic])[topic].result(30)
    os._exit(0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KafkaException as e:
        sys.exit(f"group_members: {e}")
