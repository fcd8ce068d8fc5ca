"""polars as a peer: the same training set from the same Parquet files; run in the peers' environment."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import polars as pl  # type: ignore[import-not-found,unused-ignore]

DAY_MS = 86_400_000
DAYS = (7, 28, 90, 365)


def training_set(folder: Path) -> None:
    asked = pl.scan_parquet(folder / "asked.parquet").select("rid", "person", "at_ms")
    signals = pl.scan_parquet(folder / "signals.parquet").select("person", "at_ms", "value_count", "value_feature")
    days = pl.col("at_ms") // DAY_MS - pl.col("at_ms_s") // DAY_MS
    seen = (
        asked.join(signals, on="person", suffix="_s")
        .filter(pl.col("at_ms_s") <= pl.col("at_ms"))
        .with_columns(days=days)
        .filter(pl.col("days") < DAYS[-1])
    )
    value = pl.col("value_count")
    by_feature = seen.group_by("rid", "value_feature").agg(
        pl.col("days").min(),
        pl.col("at_ms_s").max(),
        value.get(pl.col("at_ms_s").arg_max()).alias("last"),
        *(value.filter(pl.col("days") < n).count().alias(f"c{n}") for n in DAYS),
        *(value.filter(pl.col("days") < n).sum().alias(f"s{n}") for n in DAYS),
    )
    gathered = by_feature.group_by("rid").agg(
        pl.col("days").min(),
        pl.col("last").get(pl.col("at_ms_s").arg_max()),
        *(pl.col(f"c{n}").sum() for n in DAYS),
        *(pl.col(f"s{n}").sum() for n in DAYS),
        *((pl.col("days") < n).sum().alias(f"d{n}") for n in DAYS),
    )
    columns = [
        column
        for n in DAYS
        for column in (
            pl.col(f"c{n}").fill_null(0).cast(pl.Int64).alias(f"count_{n}d"),
            pl.col(f"s{n}").fill_null(0).alias(f"sum_{n}d"),
            pl.when(pl.col("days") < n).then(pl.col("last")).alias(f"last_{n}d"),
            pl.col(f"d{n}").fill_null(0).cast(pl.Int64).alias(f"distinct_{n}d"),
        )
    ]
    whole = asked.join(gathered, on="rid", how="left").select("rid", *columns)
    whole.collect(engine="streaming").write_parquet(folder / "polars.parquet")


def main() -> None:
    folder = Path(sys.argv[1])
    began = time.perf_counter()
    training_set(folder)
    seconds = time.perf_counter() - began
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024 / 1e6
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


main()
