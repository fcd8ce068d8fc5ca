"""Runs one SQL text over two Parquet files on Spark in local mode; started by `benchmarks.spark_features`."""

import json
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession


def main(folder: Path, text: Path) -> None:
    spark = (
        SparkSession.builder.master("local[2]").appName("opportune-features")
        .config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "8")
        .config("spark.driver.memory", "2g").config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )  # fmt: skip
    spark.sparkContext.setLogLevel("ERROR")
    began = time.perf_counter()
    for table in ("signals", "asked"):
        spark.read.parquet(str(folder / f"{table}.parquet")).createOrReplaceTempView(table)
    spark.sql(text.read_text()).write.mode("overwrite").parquet(str(folder / "spark.parquet"))
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "version": spark.version}))
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
