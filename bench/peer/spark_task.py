#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The demo's tasks (demo/dags/sql) as PySpark: topic to Delta table, silver, three gold tables, checks.

    spark_task.py TASK             one task in a Spark of its own: bronze, silver, gold_airport_days, gold_routes, gold_hours, checks
    spark_task.py rows             how many rows each table has, as JSON
    spark_task.py graph RUNS       all, in the DAG's order, in one session, RUNS times into new tables: the last run is warm; prints JSON

Environment: PEER_JOB_BROKERS, PEER_JOB_OUT (folder of the tables), PEER_JOB_AIRPORTS (CSV), PEER_JOB_JARS (folder), PEER_JOB_MEMORY (of the driver).
Exit code 1 when a check fails.
"""

import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
os.environ["PYSPARK_SUBMIT_ARGS"] = f"--driver-memory {os.environ.get('PEER_JOB_MEMORY', '2g')} pyspark-shell"

from pyspark.sql import DataFrame, SparkSession  # noqa: E402
from pyspark.sql import functions as F  # noqa: E402

BROKERS = os.environ["PEER_JOB_BROKERS"]
AIRPORTS = os.environ["PEER_JOB_AIRPORTS"]
JARS = ",".join(str(j) for j in sorted(Path(os.environ["PEER_JOB_JARS"]).glob("*.jar")))
EVENT = "date long, delay long, distance long, origin string, destination string, _corrupt string"
GOLD = ("gold_airport_days", "gold_routes", "gold_hours")


def session() -> SparkSession:
    settings = {
        "spark.jars": JARS,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "8",  # the default of 200 is for a cluster
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    builder = SparkSession.builder.master("local[2]").appName("flights")
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


class Job:
    def __init__(self, spark: SparkSession, out: str) -> None:
        self.spark = spark
        self.out = out

    def save(self, df: DataFrame, name: str) -> None:
        df.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(f"{self.out}/{name}")

    def sql(self, text: str) -> DataFrame:
        """The statement, with {name} as the Delta table of that name."""
        names = ("bronze", "silver", "quarantine", *GOLD)
        return self.spark.sql(text.format(**{n: f"delta.`{self.out}/{n}`" for n in names}))

    def bronze(self) -> None:
        """New events, exactly once (checkpoint of the offsets, Delta txn of the batch); what is no event goes to flights.dlq."""
        events = (self.spark.readStream.format("kafka").option("kafka.bootstrap.servers", BROKERS).option("subscribe", "flights")
                  .option("startingOffsets", "earliest").option("includeHeaders", "false").load()
                  .select(F.from_json(F.col("value").cast("string"), EVENT, {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "_corrupt"}).alias("e"),
                          "partition", "offset", "timestamp", "key", "value"))
        table = f"{self.out}/bronze"

        def batch(df: DataFrame, number: int) -> None:
            df.persist()
            wrong = F.col("e").isNull() | F.col("e._corrupt").isNotNull()
            (df.where(~wrong).select(F.timestamp_micros("e.date").alias("date"), "e.delay", "e.distance", "e.origin", "e.destination",
                                     F.col("partition").alias("_partition"), F.col("offset").alias("_offset"), F.col("timestamp").alias("_timestamp"))
             .write.format("delta").mode("append").option("txnAppId", "bronze").option("txnVersion", number).save(table))

            def header(name: str, column: Any) -> Any:
                return F.struct(F.lit(name).alias("key"), F.encode(column.cast("string"), "UTF-8").alias("value"))

            (df.where(wrong).select("key", "value", F.array(header("reason", F.lit("not an event")), header("topic", F.lit("flights")),
                                                            header("partition", F.col("partition")), header("offset", F.col("offset"))).alias("headers"))
             .write.format("kafka").option("kafka.bootstrap.servers", BROKERS).option("includeHeaders", "true").option("topic", "flights.dlq").save())
            df.unpersist()

        query = (events.writeStream.foreachBatch(batch).option("checkpointLocation", f"{self.out}/bronze_checkpoint").trigger(availableNow=True).start())
        query.awaitTermination()

    def silver(self) -> None:
        self.spark.read.option("header", "true").csv(AIRPORTS).createOrReplaceTempView("airports")
        self.save(self.sql("""
            select case when f.date is null or f.delay is null or f.distance is null or f.origin is null or f.destination is null then 'missing_value'
                        when f.distance <= 0 then 'distance_not_positive'
                        when o.iata is null then 'unknown_origin'
                        else 'unknown_destination' end as rule,
                   f._partition, f._offset, f.date, f.delay, f.distance, f.origin, f.destination
            from {bronze} f
            left join airports o on o.iata = f.origin
            left join airports d on d.iata = f.destination
            where f.date is null or f.delay is null or f.distance is null or f.distance <= 0 or o.iata is null or d.iata is null"""), "quarantine")
        self.save(self.sql("""
            select f.date as departure, cast(f.date as date) as day, hour(f.date) as hour,
                   f.origin, o.city as origin_city, o.state as origin_state,
                   f.destination, d.city as destination_city, d.state as destination_state,
                   cast(f.distance as int) as distance, cast(f.delay as int) as delay, f.delay > 15 as late,
                   cast(shiftright(f.place, 48) as int) as _partition, f.place & (shiftleft(1L, 48) - 1) as _offset
            from (select date, delay, distance, origin, destination, min(shiftleft(cast(_partition as bigint), 48) | _offset) as place
                  from {bronze} where date is not null and delay is not null and distance > 0
                  group by date, delay, distance, origin, destination) f
            join airports o on o.iata = f.origin
            join airports d on d.iata = f.destination"""), "silver")

    def gold_airport_days(self) -> None:
        self.save(self.sql("""
            select origin as airport, day, count(*) as flights, count(distinct destination) as destinations, avg(delay) as avg_delay,
                   percentile(delay, 0.95) as p95_delay, count(*) filter (where late) as late_flights, count(*) filter (where late) / count(*) as late_share
            from {silver} group by origin, day order by airport, day"""), "gold_airport_days")

    def gold_routes(self) -> None:
        self.save(self.sql("""
            select *, rank() over (partition by month order by flights desc, origin, destination) as rank
            from (select cast(date_trunc('month', day) as date) as month, origin, destination, count(*) as flights, max(distance) as distance,
                         median(delay) as median_delay, percentile(delay, 0.95) as p95_delay
                  from {silver} group by 1, origin, destination)
            order by month, rank"""), "gold_routes")

    def gold_hours(self) -> None:
        self.save(self.sql("""
            select hour, count(*) as flights, avg(delay) as avg_delay, median(delay) as median_delay, percentile(delay, 0.95) as p95_delay,
                   count(*) filter (where late) / count(*) as late_share
            from {silver} group by hour order by hour"""), "gold_hours")

    def checks(self) -> None:
        """demo/suites/flights.json as aggregates: one scan, and one for the compound key."""
        columns = ["departure", "day", "hour", "origin", "origin_city", "origin_state", "destination", "destination_city", "destination_state",
                   "distance", "delay", "late", "_partition", "_offset"]
        row = self.sql("""
            select count(*) as n, count(departure) as departure, count(origin) as origin, count(destination) as destination,
                   count(*) filter (where distance not between 1 and 10000) as distance, count(*) filter (where delay not between -1440 and 2880) as delay,
                   count(*) filter (where hour not between 0 and 23) as hour, count(*) filter (where not origin rlike '^[A-Z0-9]{{3}}$') as origin_form,
                   count(*) filter (where length(destination) <> 3) as destination_length, count(*) filter (where late not in (true, false)) as late,
                   avg(delay) as delay_mean, max(distance) as distance_max, count(distinct origin) as origins
            from {silver}""").first()
        assert row is not None
        doubled = self.sql("select count(*) from (select 1 from {silver} group by _partition, _offset having count(*) > 1)").first()
        assert doubled is not None
        passed = {
            "row_count": row.n >= 1, "columns": self.sql("select * from {silver}").columns == columns,
            "departure_not_null": row.departure == row.n, "origin_not_null": row.origin == row.n, "destination_not_null": row.destination == row.n,
            "distance_between": row.distance == 0, "delay_between": row.delay == 0, "hour_between": row.hour == 0,
            "origin_form": row.origin_form == 0, "destination_length": row.destination_length == 0, "late_in_set": row.late == 0,
            "delay_mean": -10 <= row.delay_mean <= 30, "distance_max": 100 <= row.distance_max <= 10000, "origins": 1 <= row.origins <= 500,
            "place_unique": doubled[0] == 0,
        }
        Path(f"{self.out}/checks.json").write_text(json.dumps({"success": all(passed.values()), "checks": passed}))
        if not all(passed.values()):
            sys.exit("failed: " + ", ".join(name for name, ok in passed.items() if not ok))

    def graph(self) -> dict[str, float]:
        seconds: dict[str, float] = {}

        def step(name: str) -> None:
            began = time.monotonic()
            getattr(self, name)()
            seconds[name] = round(time.monotonic() - began, 2)

        began = time.monotonic()
        step("bronze")
        step("silver")
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(step, GOLD))
        step("checks")
        seconds["all"] = round(time.monotonic() - began, 2)
        return seconds


def main() -> None:
    task, out = sys.argv[1], os.environ["PEER_JOB_OUT"]
    began = time.monotonic()
    spark = session()
    if task == "rows":
        print(json.dumps({n: spark.read.format("delta").load(f"{out}/{n}").count() for n in ("bronze", "silver", "quarantine", *GOLD)}))
        return
    if task != "graph":
        getattr(Job(spark, out), task)()
        return
    started, runs = round(time.monotonic() - began, 2), []
    for number in range(int(sys.argv[2])):
        folder = f"{out}/warm-{number}"
        runs.append(Job(spark, folder).graph())
        shutil.rmtree(folder)
    print(json.dumps({"session": started, "runs": runs}))


if __name__ == "__main__":
    main()
