"""One read of three features from a table of somebody else's, as a decision makes it: SQLite and DuckDB files.

Run: `python -m benchmarks.outside_reads [--rows 100000] [--json]`.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
import time
from pathlib import Path

import duckdb

from opportune.adapters.sql_features import SqlReader

READS = {"SQLite": 2_000, "DuckDB": 200}
NAMES = ("ltv", "segment", "tickets")
TABLE = "CREATE TABLE made (account_id TEXT, computed_at BIGINT, ltv DOUBLE, segment TEXT, tickets BIGINT)"
INDEX = "CREATE INDEX made_account ON made (account_id)"
NOW_MS = 1_795_514_400_000


def made(folder: Path, rows: int) -> dict[str, Path]:
    """The same table in a file of each kind, with an index on the id."""
    data = [(f"acct-{n}", NOW_MS - 3_600_000, n * 1.5, ("gold", "silver")[n % 2], n % 7) for n in range(rows)]
    paths = {"SQLite": folder / "features.db", "DuckDB": folder / "features.duckdb"}
    with sqlite3.connect(paths["SQLite"]) as lite:
        lite.execute(TABLE)
        lite.executemany("INSERT INTO made VALUES (?, ?, ?, ?, ?)", data)
        lite.execute(INDEX)
    lite.close()
    with duckdb.connect(paths["DuckDB"]) as duck:
        duck.execute(TABLE)
        duck.execute(
            f"INSERT INTO made SELECT 'acct-' || n, {NOW_MS - 3_600_000}, n * 1.5, "
            f"CASE n % 2 WHEN 0 THEN 'gold' ELSE 'silver' END, n % 7 FROM range({rows}) made(n)"
        )
        duck.execute(INDEX)
    return paths


def measure(rows: int) -> dict[str, dict[str, float]]:
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for kind, path in made(Path(scratch), rows).items():
            reader = SqlReader(path, "made", "account_id", "computed_at")
            taken = []
            for number in range(READS[kind]):
                began = time.perf_counter()
                values = reader.read("account", f"acct-{number * 37 % rows}", NAMES, NOW_MS, 1.0)
                taken.append(time.perf_counter() - began)
                assert values["tickets"] == (number * 37 % rows % 7, NOW_MS - 3_600_000)
            taken.sort()
            found[kind] = {"p50_ms": taken[len(taken) // 2] * 1e3, "p99_ms": taken[int(len(taken) * 0.99)] * 1e3}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.rows)
    if options.json:
        print(json.dumps(found))
        return
    for kind, one in found.items():
        print(f"{kind}: {options.rows:,} rows, one read p50 {one['p50_ms']:.2f} ms, p99 {one['p99_ms']:.2f} ms")


if __name__ == "__main__":
    main()
