"""The same features from the same definitions on DuckDB and on Spark (local mode): one checksum, or it says why not.

`python -m benchmarks.spark_features [--python PYTHON] [--signals N] [--rows N]`, PYTHON being one that has pyspark
(this one by default); Spark needs a Java runtime. Both engines read the same Parquet files and write one each.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from opportune.core.features import CompiledViews, FeatureSpec, FeatureView, compile_views
from opportune.core.features.relational import DUCKDB, SPARK, Relational, relational_of

DAY_MS = 86_400_000
SPAN_DAYS = 400
BEGAN_MS = 1_740_009_600_000
SIGNALS_PER_CUSTOMER = 50
PEER = Path(__file__).with_name("peers") / "spark_peer.py"
FIELDS = {
    "order.paid": {"count": "int", "amount": "double", "kind": "string", "gift": "bool"},
    "order.returned": {"count": "int", "amount": "double", "kind": "string", "gift": "bool"},
}
PAID, BOTH = "order.paid", ("order.paid", "order.returned")
SEED = 20_261_124


def spec(id_: str, aggregate: Any, **given: Any) -> FeatureSpec:  # noqa: ANN401 - as in a document
    return FeatureSpec(id=id_, aggregate=aggregate, sources=given.pop("sources", PAID), **given)


def views() -> CompiledViews:
    """Every aggregate that has a relational form, with and without windows, conditions, expressions and defaults."""
    kinds = "data.kind in ['book', 'toy'] && !data.gift"
    specs = (
        spec("orders_7d", "count", window="7d", type="int", default=0),
        spec("orders", "count", where=kinds),
        spec("paid_28d", "sum", value="data.amount", window="28d", hop="1d", type="double", default=0.0),
        spec("paid_365d", "sum", value="data.amount", window="365d", hop="1d", type="double"),
        spec("items_90d", "sum", value="data.count * 2", window="90d", hop="1d", type="int", default=0),
        spec("mean_90d", "mean", value="data.amount", where="data.amount / 2.0 > 1.5", window="90d", hop="1d"),
        spec("least", "min", value="data.amount - 0.5", type="double"),
        spec("most_28d", "max", value="data.count", window="28d", hop="1d", type="int"),
        spec("last_kind", "last", value="data.kind", type="string", sources=BOTH, default="none"),
        spec("last_gift_28d", "last", value="data.gift", type="bool", window="28d", hop="1d"),
        spec("first_amount", "first", value="data.amount", type="double", sources=BOTH),
        spec("kinds_28d", "distinct", value="data.kind", window="28d", hop="1d", default=0),
        spec("kinds", "distinct", value="data.kind", sources=BOTH, distinct_max=8),
        spec("days_since", "time_since", unit="d", where="data.kind.startsWith('b')"),
        spec("hours_since", "time_since", unit="h", type="double"),
        FeatureSpec(id="share", derive="paid_28d / paid_365d", type="double", default=-1.0),
        FeatureSpec(id="busy", derive="orders_7d > 1 || kinds_28d >= 3", type="bool"),
    )
    view = FeatureView(
        view="orders", version=1, entity="person", owner="bench", purposes=("marketing",), features=specs
    )
    return compile_views([view], FIELDS)


def form() -> Relational:
    found = relational_of(views(), FIELDS)
    assert set(found.forms.values()) == {"sql"}, found.forms
    return found


def generate(folder: Path, signals: int, rows: int) -> None:
    """The two tables as Parquet, with ties in time and missing values; the same arguments give the same files."""
    rng = np.random.default_rng(SEED)
    people = max(1, signals // SIGNALS_PER_CUSTOMER)
    days = rng.integers(0, SPAN_DAYS, signals) * DAY_MS
    made = pa.table({
        "seq": np.arange(1, signals + 1), "at_ms": BEGAN_MS + days + rng.integers(0, 24, signals) * 3_600_000,
        "who": rng.integers(0, people, signals), "paid": rng.random(signals) < 0.9,
        "items": rng.integers(0, 9, signals), "amount": np.round(rng.lognormal(3, 1, signals), 2),
        "what": rng.integers(0, 12, signals), "gift": rng.random(signals) < 0.2, "gone": rng.random(signals) < 0.05,
    })  # fmt: skip
    wanted = pa.table({
        "rid": np.arange(rows), "who": rng.integers(0, people + 5, rows),
        "at_ms": BEGAN_MS + rng.integers(0, SPAN_DAYS, rows) * DAY_MS + rng.integers(0, 25, rows) * 3_600_000,
    })  # fmt: skip
    payload = {
        "value_count": "items", "read_count": "items", "value_amount": "CASE WHEN NOT gone THEN amount END",
        "value_kind": "kind", "read_kind": "kind", "value_gift": "gift",
    }  # fmt: skip
    columns = ", ".join(f"{payload[column.name]} AS {column.name}" for column in form().columns)
    with duckdb.connect() as connection:
        connection.register("made", made)
        connection.register("wanted", wanted)
        connection.execute(f"""
            COPY (SELECT seq, CASE WHEN paid THEN 'order.paid' ELSE 'order.returned' END AS type,
              printf('s%09d', (seq * 7919) % 1000003)::BLOB AS id, at_ms, printf('c%07d', who) AS person,
              NULL::VARCHAR AS account, {columns}
              FROM (SELECT *, ['book', 'toy', 'bike', 'lamp', 'pen', 'cup', 'bag', 'hat', 'map', 'jar', 'key', 'oil']
                    [what + 1] AS kind, items AS items FROM made) ORDER BY seq)
            TO '{folder / "signals.parquet"}' (FORMAT parquet)""")
        connection.execute(f"""
            COPY (SELECT rid, printf('c%07d', who) AS person, NULL::VARCHAR AS account, at_ms
              FROM wanted ORDER BY rid) TO '{folder / "asked.parquet"}' (FORMAT parquet)""")


def on_duckdb(folder: Path) -> float:
    began = time.perf_counter()
    with duckdb.connect() as connection:
        for table in ("signals", "asked"):
            connection.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{folder / table}.parquet')")
        connection.execute(f"COPY ({form().sql(DUCKDB)}) TO '{folder / 'duckdb.parquet'}' (FORMAT parquet)")
    return time.perf_counter() - began


def on_spark(folder: Path, python: str) -> dict[str, Any]:
    """What the peer says of its run; it needs pyspark and Java, and nothing of ours."""
    text = folder / "spark.sql"
    text.write_text(form().sql(SPARK))
    ended = subprocess.run([python, str(PEER), str(folder), str(text)], capture_output=True, text=True, check=False)
    if ended.returncode:
        return {"skipped": f"Spark did not run: {(ended.stderr.strip() or 'no reason given').splitlines()[-1][:300]}"}
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def checksum(folder: Path, engine: str) -> str:
    """Over every value of every row, whatever the order; doubles to nine digits behind the point."""
    names = form().given()
    doubles = {name for name in names if views().types[name] == "double"}
    values = ", ".join(f"round(f_{name}, 9)" if name in doubles else f"f_{name}" for name in names)
    where = folder / f"{engine}.parquet"
    source = f"{where}/*.parquet" if where.is_dir() else str(where)
    with duckdb.connect() as connection:
        row = connection.execute(
            f"SELECT sum(hash(rid::BIGINT, {values})) || '/' || count(*) FROM read_parquet('{source}')"
        ).fetchone()
    return str(row[0]) if row else ""


def missing_of(python: str) -> str | None:
    """Why Spark cannot run here, None when it can."""
    if shutil.which("java") is None:
        return "there is no Java runtime: install one, such as openjdk-17-jre-headless"
    ended = subprocess.run([python, "-c", "import pyspark"], capture_output=True, check=False)
    return f"`{python}` has no pyspark: pip install pyspark" if ended.returncode else None


def run(python: str, signals: int, rows: int) -> dict[str, Any]:
    if (reason := missing_of(python)) is not None:
        return {"skipped": reason}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, signals, rows)
        found: dict[str, Any] = {"signals": signals, "rows": rows, "features": len(form().given())}
        found["duckdb_s"] = on_duckdb(folder)
        found["spark"] = on_spark(folder, python)
        if "skipped" not in found["spark"]:
            found["checksums"] = {engine: checksum(folder, engine) for engine in ("duckdb", "spark")}
            found["equal"] = len(set(found["checksums"].values())) == 1
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--signals", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=50_000)
    given = parser.parse_args()
    found = run(given.python, given.signals, given.rows)
    print(json.dumps(found, indent=2))
    return 0 if found.get("equal", "skipped" in found or "skipped" in found.get("spark", {})) else 1


if __name__ == "__main__":
    raise SystemExit(main())
