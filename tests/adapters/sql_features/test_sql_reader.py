"""Features read from real SQLite and DuckDB files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from opportune.adapters.sql_features import SqlFeaturesError, SqlReader

NOW_MS = 1_795_514_400_000  # 2026-11-24T10:00:00Z
HOUR_MS = 3_600_000
Row = tuple[str, object, float | None, str | None]
Make = Callable[[Path, str, Iterable[Row]], None]


def sqlite_file(path: Path, kind: str, rows: Iterable[Row]) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f'CREATE TABLE "f" ("who" TEXT, "at" {kind}, "ltv" REAL, "seg ment" TEXT)')
        connection.executemany("INSERT INTO f VALUES (?, ?, ?, ?)", rows)


def duckdb_file(path: Path, kind: str, rows: Iterable[Row]) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute(f'CREATE TABLE "f" ("who" TEXT, "at" {kind}, "ltv" DECIMAL(9, 2), "seg ment" TEXT)')
        for row in rows:
            connection.execute("INSERT INTO f VALUES (?, ?, ?, ?)", row)


BOTH = pytest.mark.parametrize("make", [sqlite_file, duckdb_file])
COLUMNS = ("ltv", "seg ment")


def reader(path: Path, at: str = "at") -> SqlReader:
    return SqlReader(path, "f", "who", at)


@BOTH
@pytest.mark.parametrize(
    ("kind", "times"),
    [
        ("TEXT", ("2026-11-24T08:00:00Z", "2026-11-24 09:00:00", "2026-11-24T12:00:00+01:00")),
        ("BIGINT", (NOW_MS - 2 * HOUR_MS, NOW_MS - HOUR_MS, NOW_MS + HOUR_MS)),
        ("BIGINT", (NOW_MS // 1000 - 7200, NOW_MS // 1000 - 3600, NOW_MS // 1000 + 3600)),
        ("TIMESTAMP", ("2026-11-24 08:00:00", "2026-11-24 09:00:00", "2026-11-24 11:00:00")),
    ],
)
def test_the_newest_row_that_is_not_of_the_future(
    tmp_path: Path, make: Make, kind: str, times: tuple[object, ...]
) -> None:
    path = tmp_path / "features.db"
    make(path, kind, [("a'1", times[1], 2.5, None), ("a'1", times[0], 1.0, "old"), ("a'1", times[2], 9.0, "future"),
                      ("b", times[1], 7.0, "other")])  # fmt: skip
    found = reader(path).read("account", "a'1", COLUMNS, NOW_MS, 5.0)
    assert found == {"ltv": (2.5, NOW_MS - HOUR_MS), "seg ment": (None, NOW_MS - HOUR_MS)}
    assert reader(path).read("account", "nobody", COLUMNS, NOW_MS, 5.0) == {}


def test_times_with_a_zone_in_duckdb(tmp_path: Path) -> None:
    path = tmp_path / "features.duckdb"
    duckdb_file(path, "TIMESTAMPTZ", [("a", "2026-11-24T11:00:00+02:00", 2.5, "x")])
    assert reader(path).read("account", "a", ["ltv"], NOW_MS, 5.0) == {"ltv": (2.5, NOW_MS - HOUR_MS)}


@BOTH
def test_what_is_written_between_two_reads_is_seen_and_nothing_is_kept_open(tmp_path: Path, make: Make) -> None:
    path = tmp_path / "features.db"
    make(path, "BIGINT", [("a", NOW_MS, 1.0, "x")])
    one = reader(path)
    assert one.read("account", "a", ["ltv"], NOW_MS, 5.0)["ltv"][0] == 1.0
    path.unlink()
    make(path, "BIGINT", [("a", NOW_MS, 2.0, "x")])
    assert one.read("account", "a", ["ltv"], NOW_MS, 5.0)["ltv"][0] == 2.0


@BOTH
def test_a_misspelt_column_is_an_error_and_never_a_value(tmp_path: Path, make: Make) -> None:
    path = tmp_path / "features.db"
    make(path, "BIGINT", [("a", NOW_MS, 1.0, "x")])
    with pytest.raises((SqlFeaturesError, duckdb.Error), match="ltw"):
        reader(path).read("account", "a", ["ltw"], NOW_MS, 5.0)
    with pytest.raises(SqlFeaturesError, match="no column `when`"):
        reader(path, "when").read("account", "a", ["ltv"], NOW_MS, 5.0)


def test_a_file_of_another_kind_or_none(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database")
    with pytest.raises(SqlFeaturesError, match="neither a SQLite nor a DuckDB"):
        reader(tmp_path / "text.db").read("account", "a", ["ltv"], NOW_MS, 5.0)
    with pytest.raises(FileNotFoundError):
        reader(tmp_path / "none.db").read("account", "a", ["ltv"], NOW_MS, 5.0)


def test_a_read_gives_up_when_its_time_is_over(tmp_path: Path) -> None:
    path = tmp_path / "features.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE VIEW f AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000000) "
            "SELECT 'a' AS who, x AS at, 1.0 AS ltv FROM n"
        )
    with pytest.raises(TimeoutError):
        reader(path).read("account", "a", ["ltv"], NOW_MS, 0.05)
