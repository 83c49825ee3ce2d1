# SPDX-License-Identifier: Apache-2.0
"""Real Spark with Delta Lake reads the tables that the demo left in MILLRACE_DEMO_DATA and agrees with deltalake on rows and schema."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

TOP = Path(__file__).resolve().parents[2]
LAKE = Path(os.environ.get("MILLRACE_DEMO_DATA", TOP / "build/test/demo")) / "lake"
TABLES = ("bronze/flights", "silver/flights", "quarantine/flights", "gold/airport_days", "gold/routes", "gold/hours")


@pytest.fixture(scope="module")
def spark() -> SparkSession:
    jars = ",".join(str(j) for j in sorted((TOP / "build/deps/jars").glob("*.jar")))
    return (
        SparkSession.builder.master("local[2]")
        .config("spark.jars", jars)
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )


def rows_of(name: str) -> int:
    """Rows by the statistics of the newest version, straight from the log."""
    import json

    live: dict[str, int] = {}
    for entry in sorted((LAKE / name / "_delta_log").glob("*.json")):
        for line in entry.read_text().splitlines():
            action = json.loads(line)
            if "add" in action:
                live[action["add"]["path"]] = json.loads(action["add"]["stats"])["numRecords"]
            elif "remove" in action:
                live.pop(action["remove"]["path"], None)
    return sum(live.values())


@pytest.mark.parametrize("name", TABLES)
def test_spark_agrees(spark: SparkSession, name: str) -> None:
    frame = spark.read.format("delta").load(str(LAKE / name))
    assert frame.count() == rows_of(name) > 0
    kinds = dict(frame.dtypes)
    if name == "silver/flights":
        assert kinds["departure"] == "timestamp_ntz" and kinds["delay"] == "int" and kinds["late"] == "boolean" and kinds["day"] == "date"
        assert frame.where("delay is null or distance <= 0").count() == 0
    if name == "bronze/flights":
        assert kinds["_offset"] == "bigint" and kinds["_timestamp"] == "timestamp" and kinds["_key"] == "string"
        assert frame.select("_partition", "_offset").distinct().count() == frame.count()
