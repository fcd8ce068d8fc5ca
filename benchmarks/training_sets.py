"""Point-in-time training sets over generated signals: our offline engine, a DuckDB query by hand, and polars.

All read the same two Parquet files and write one each; every engine runs in a process of its own, one at a time.
Before a figure is told, the sets are compared value by value, and a sample of rows with the fold that serves.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from opportune.core.features import CompiledViews, FeatureSpec, FeatureView, PastSignal, compile_views, read_as_of

DAY_MS = 86_400_000
SPAN_DAYS = 400
BEGAN_MS = 1_740_009_600_000
SIGNALS_PER_CUSTOMER = 100
WINDOWS = ("7d", "28d", "90d", "365d")
FIELDS = {"usage.recorded": {"count": "int", "feature": "string"}}
POLARS = Path(__file__).with_name("peers") / "polars_peer.py"
CHECKED_ROWS = 300
SEED = 20_261_124

BY_HAND = """
WITH wanted AS (
  SELECT rid, person, at_ms, {lows} FROM asked
), by_feature AS (
  SELECT a.rid, {parts}, max(s.at_ms) AS at_ms, arg_max(s.value_count, s.at_ms) AS last
  FROM wanted a JOIN signals s ON s.person = a.person AND s.at_ms <= a.at_ms AND s.at_ms >= a.low365
  GROUP BY a.rid, s.value_feature
), gathered AS (
  SELECT rid, {sums}, arg_max(last, at_ms) AS last, max(at_ms) AS at_ms FROM by_feature GROUP BY rid
)
SELECT a.rid, {columns} FROM wanted a LEFT JOIN gathered g ON g.rid = a.rid
"""
"""The fastest of the forms tried: counting distinct values needs no set once rows are grouped by the value first, and
the last value of a window is the last of the longest one if it is young enough. Trusts that no two signals tie."""


def views() -> CompiledViews:
    """Four windows of whole days, each with a count, a sum, the last value and a count of different values."""
    specs = []
    for window in WINDOWS:
        for aggregate in ("count", "sum", "last", "distinct"):
            value = {"count": None, "distinct": "data.feature"}.get(aggregate, "data.count")
            specs.append(
                FeatureSpec(
                    id=f"{aggregate}_{window}", sources="usage.recorded", value=value, window=window, hop="1d",
                    aggregate=aggregate, type="int", default=None if aggregate == "last" else 0,
                )
            )  # fmt: skip
    view = FeatureView(
        view="usage", version=1, entity="person", owner="bench", purposes=("marketing",), features=tuple(specs)
    )
    return compile_views([view], FIELDS)


def by_hand() -> str:
    """The query a careful person would write for these sixteen columns."""
    days = [int(window[:-1]) for window in WINDOWS]
    within = "FILTER (s.at_ms >= a.low{})"
    lows = [f"(at_ms // {DAY_MS} - {n - 1}) * {DAY_MS} AS low{n}" for n in days]
    parts = [f"count(*) {within} AS c{n}, sum(s.value_count) {within} AS s{n}".replace("{}", str(n)) for n in days]
    sums = [f"sum(c{n}) AS c{n}, sum(s{n}) AS s{n}, count(*) FILTER (c{n} > 0) AS d{n}" for n in days]
    columns = [
        f"coalesce(g.c{n}, 0)::BIGINT AS count_{n}d, coalesce(g.s{n}, 0)::BIGINT AS sum_{n}d, "
        f"CASE WHEN g.at_ms >= a.low{n} THEN g.last END AS last_{n}d, coalesce(g.d{n}, 0) AS distinct_{n}d"
        for n in days
    ]
    filled = {"lows": lows, "parts": parts, "sums": sums, "columns": columns}
    return BY_HAND.format(**{name: ", ".join(each) for name, each in filled.items()})


def generate(folder: Path, signals: int, rows: int) -> None:
    """`signals.parquet` in order of arrival and `asked.parquet`; the same arguments give the same files."""
    rng = np.random.default_rng(SEED)
    people = max(1, signals // SIGNALS_PER_CUSTOMER)
    # One a millisecond at most: no two signals tie for the last.
    at_ms = np.sort(rng.integers(0, SPAN_DAYS * DAY_MS - signals, signals)) + np.arange(signals) + BEGAN_MS
    made = pa.table({
        "seq": np.arange(1, signals + 1), "at_ms": at_ms, "who": rng.integers(0, people, signals),
        "value_count": rng.integers(1, 60, signals), "what": np.minimum(rng.geometric(0.25, signals), 12),
    })  # fmt: skip
    wanted = pa.table({
        "rid": np.arange(rows), "who": rng.integers(0, people, rows),
        "at_ms": BEGAN_MS + rng.integers(60 * DAY_MS, SPAN_DAYS * DAY_MS, rows),
    })  # fmt: skip
    with duckdb.connect() as connection:
        connection.register("made", made)
        connection.register("wanted", wanted)
        connection.execute(f"""
            COPY (SELECT seq, 'usage.recorded' AS type, printf('s%09d', seq)::BLOB AS id, at_ms,
              printf('c%07d', who) AS person, printf('a%07d', who // 4) AS account, value_count,
              printf('feature-%02d', what) AS value_feature FROM made ORDER BY seq)
            TO '{folder / "signals.parquet"}' (FORMAT parquet)""")
        connection.execute(f"""
            COPY (SELECT rid, printf('c%07d', who) AS person, printf('a%07d', who // 4) AS account, at_ms
              FROM wanted ORDER BY rid) TO '{folder / "asked.parquet"}' (FORMAT parquet)""")


def opened(folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for table in ("signals", "asked"):
        connection.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{folder / table}.parquet')")
    return connection


def ours() -> str:
    """The same sixteen features from their definition, as the offline engine has it."""
    from opportune.core.features.relational import DUCKDB, relational_of

    relational = relational_of(views(), FIELDS)
    assert not relational.replayed, relational.replayed
    columns = ", ".join(f"f_{name} AS {name}" for name in views().names)
    return f"SELECT rid, {columns} FROM ({relational.sql(DUCKDB)})"


QUERIES = {"by hand": by_hand, "ours": ours}


def run(folder: Path, engine: str) -> dict[str, float]:
    """Runs one query from Parquet to Parquet in this process."""
    text = QUERIES[engine]()
    began = time.perf_counter()
    with opened(folder) as connection:
        connection.execute(f"COPY ({text}) TO '{folder / engine}.parquet' (FORMAT parquet)")
    return {"seconds": time.perf_counter() - began, "peak_mb": peak_mb()}


def run_adapter(folder: Path) -> dict[str, float]:
    """The whole offline engine: signals and rows as Python objects in, values as Python lists out."""
    from opportune.adapters.duckdb.offline import DuckOffline
    from opportune.core.features.relational import Asked, Fact, relational_of

    began = time.perf_counter()
    form = relational_of(views(), FIELDS)
    with opened(folder) as connection:
        wanted = connection.execute("SELECT rid, person, at_ms FROM asked ORDER BY rid").fetchall()
        asked = [Asked(person, None, at_ms) for _, person, at_ms in wanted]
        log = connection.execute("SELECT seq, id, at_ms, person, account, value_count, value_feature FROM signals")

        def facts() -> Iterator[Fact]:
            while rows := log.fetchmany(10_000):
                for seq, id_, at_ms, person, account, count, feature in rows:
                    data = {"count": count, "feature": feature}
                    yield Fact(seq, "usage.recorded", id_.decode(), at_ms, person, account, data)

        values = DuckOffline().values(form, facts(), asked)
    columns = {name: pa.array(each, pa.int64()) for name, each in values.items()}
    columns["rid"] = pa.array([rid for rid, _, _ in wanted])
    seconds = time.perf_counter() - began
    with duckdb.connect() as connection:
        connection.register("made", pa.table(columns))
        connection.execute(f"COPY made TO '{folder / 'adapter'}.parquet' (FORMAT parquet)")
    return {"seconds": seconds, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most memory this process ever had resident, in MB (10^6 bytes)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024 / 1e6


def measure(folder: Path, signals: int, rows: int, python: Path | None, repeats: int = 3) -> dict[str, Any]:
    """Every engine `repeats` times in turns, the adapter once; the fastest of each counts, all are told."""
    began = time.perf_counter()
    generate(folder, signals, rows)
    found: dict[str, Any] = {"signals": signals, "rows": rows, "generated_s": time.perf_counter() - began}
    here = [sys.executable, "-m", "benchmarks.training_sets", str(folder)]
    commands = {engine: [*here, engine] for engine in (*QUERIES, "adapter")}
    if python is not None:
        commands["polars"] = [str(python), str(POLARS), str(folder)]
    taken: dict[str, list[dict[str, float]]] = {engine: [] for engine in commands}
    for turn in range(repeats):
        for engine, command in commands.items():
            if engine == "adapter" and turn:
                continue  # most of it is Python, and takes long
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            assert ended.returncode == 0, f"{engine}: {ended.stderr[-1000:]}"
            taken[engine].append(json.loads(ended.stdout))
    found["checksum"] = compare(folder, list(commands))
    found["like_online"] = compare_online(folder, min(rows, CHECKED_ROWS))
    found["engines"] = {
        engine: {
            "seconds": min(one["seconds"] for one in each), "all_seconds": [one["seconds"] for one in each],
            "peak_mb": max(one["peak_mb"] for one in each),
        }
        for engine, each in taken.items()
    }  # fmt: skip
    return found


def compare(folder: Path, engines: Sequence[str]) -> str:
    """The checksum all sets have in common; AssertionError when one value of one row differs."""
    names = views().names
    row = ", ".join(f"{name}::BIGINT" for name in names)
    with duckdb.connect() as connection:
        sums = {}
        for engine in engines:
            file = folder / f"{engine}.parquet"
            (sums[engine],) = connection.execute(
                f"SELECT sum(hash(rid::BIGINT, {row})) || '/' || count(*) FROM read_parquet('{file}')"
            ).fetchone() or ("",)
    assert len(set(sums.values())) == 1, f"the training sets differ: {sums}"
    return str(sums[engines[0]])


def compare_online(folder: Path, rows: int) -> int:
    """How many values of the first rows equal what the fold that serves would have answered then: all of them."""
    compiled = views()
    equal = 0
    with opened(folder) as connection:
        columns = ", ".join(compiled.names)
        found = connection.execute(
            f"SELECT a.person, a.at_ms, {columns} FROM asked a "
            f"JOIN read_parquet('{folder}/by hand.parquet') USING (rid) WHERE rid < {rows}"
        ).fetchall()
        connection.execute(f"CREATE TABLE near AS SELECT * FROM signals WHERE person IN "
                           f"(SELECT person FROM asked WHERE rid < {rows})")  # fmt: skip
        for person, at_ms, *values in found:
            signals = _past(connection, person)
            ((_, vector),) = read_as_of(compiled, signals, [at_ms])
            assert vector.values == tuple(values), f"{person} at {at_ms}: {vector.values} online, {values} offline"
            equal += len(values)
    return equal


def _past(connection: duckdb.DuckDBPyConnection, person: str) -> Iterator[PastSignal]:
    found = connection.execute(
        "SELECT id, at_ms, value_count, value_feature FROM near WHERE person = ? ORDER BY seq", [person]
    ).fetchall()
    return (
        PastSignal("usage.recorded", id_.decode(), at_ms, {"count": count, "feature": feature}, ("person",))
        for id_, at_ms, count, feature in found
    )


if __name__ == "__main__":
    place = Path(sys.argv[1])
    print(json.dumps(run_adapter(place) if sys.argv[2] == "adapter" else run(place, sys.argv[2])))
