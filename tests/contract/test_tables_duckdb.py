"""Files of a source become rows of plain values, in the order asked for, and no other file can be reached."""

import gzip
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from opportune.adapters.duckdb import DuckTables
from opportune.adapters.duckdb.tables import TableError

EVENTS = """id,plan_id,at,day,amount,note
007,p1,2026-01-02T03:04:05.678Z,2026-01-02,1.5,"a, b"
008,p9,2026-01-01T00:00:00+02:00,2026-01-01,,
"""
PLANS = '{"plan_id":"p1","name":"Pro","tags":["x"]}\n{"plan_id":"p2","name":"Team","tags":[]}\n'
SINCE = '{"plan":{"since":"2026-01-01T00:00:00+02:00"}}\n{"plan":{"since":"2026-01-01T00:00:00Z"}}\n'


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "events2.csv.gz").write_bytes(gzip.compress(EVENTS.encode()))
    (tmp_path / "plans.ndjson").write_text(PLANS)
    return {
        "events": str(tmp_path / "events.csv"),
        "again": str(tmp_path / "events2.csv.gz"),
        "plans": str(tmp_path / "plans.ndjson"),
    }


@pytest.mark.parametrize("table", ["events", "again"])
def test_rows_are_plain_values_in_order(files: dict[str, str], table: str) -> None:
    rows = list(DuckTables().rows(f'SELECT * FROM {table} ORDER BY "at"', files))
    assert rows == [
        {"id": "008", "plan_id": "p9", "at": "2025-12-31T22:00:00.000Z", "day": "2026-01-01T00:00:00.000Z",
         "amount": None, "note": None},
        {"id": "007", "plan_id": "p1", "at": "2026-01-02T03:04:05.678Z", "day": "2026-01-02T00:00:00.000Z",
         "amount": 1.5, "note": "a, b"},
    ]  # fmt: skip


def test_a_lookup_comes_as_its_own_dict(files: dict[str, str]) -> None:
    sql = 'SELECT r AS "row", plans FROM events r LEFT JOIN plans ON r.plan_id = plans.plan_id ORDER BY r."at"'
    found = list(DuckTables().rows(sql, files))
    assert found[1]["plans"] == {"plan_id": "p1", "name": "Pro", "tags": ["x"]}
    assert found[1]["row"]["at"] == "2026-01-02T03:04:05.678Z"
    assert not any((found[0]["plans"] or {}).values())


def test_parquet_types(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    with duckdb.connect() as connection:
        connection.execute(
            f"""COPY (SELECT 12.34::DECIMAL(9,2) AS price, TIMESTAMP '2026-01-01 10:00:00' AS naive,
            TIMESTAMPTZ '2026-01-01 10:00:00+02' AS zoned, DATE '2026-01-01' AS day, 5::BIGINT AS n,
            true AS yes, NULL::VARCHAR AS nothing, {{'at': TIMESTAMPTZ '2026-01-01 00:00:00Z'}} AS nested)
            TO '{path}'"""
        )
    assert list(DuckTables().rows("SELECT * FROM t", {"t": path})) == [
        {"price": 12.34, "naive": "2026-01-01T10:00:00.000Z", "zoned": "2026-01-01T08:00:00.000Z",
         "day": "2026-01-01T00:00:00.000Z", "n": 5, "yes": True, "nothing": None,
         "nested": {"at": "2026-01-01T00:00:00.000Z"}}
    ]  # fmt: skip
    assert DuckTables().columns(path)[:2] == ["price", "naive"]


def test_times_inside_json_keep_their_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(SINCE)
    found = [row["plan"]["since"] for row in DuckTables().rows("SELECT * FROM t", {"t": str(path)})]
    assert found == ["2025-12-31T22:00:00.000Z", "2026-01-01T00:00:00.000Z"]


def test_no_other_file_can_be_read(files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for sql in (f"SELECT * FROM '{tmp_path}/secret.csv'", f"COPY events TO '{tmp_path}/out.csv'"):
        with pytest.raises(TableError):
            list(DuckTables().rows(sql, files))
    assert not (tmp_path / "out.csv").exists()


def test_errors_name_the_file_or_the_column(files: dict[str, str]) -> None:
    with pytest.raises(TableError, match="nope"):
        list(DuckTables().rows("SELECT nope FROM events", files))
    with pytest.raises(TableError, match="missing"):
        DuckTables().columns("/tmp/missing.csv")
    with pytest.raises(TableError, match=r"a\.xlsx"):
        DuckTables().columns("a.xlsx")


def test_a_name_with_quotes_is_only_a_name(tmp_path: Path) -> None:
    path = tmp_path / "it's.csv"
    path.write_text("a\n1\n")
    assert list(DuckTables().rows('SELECT * FROM "x""y"', {'x"y': str(path)})) == [{"a": 1}]


def test_duckdb_is_loaded_only_when_a_table_is_read() -> None:
    code = "import sys, opportune.adapters.duckdb; sys.exit('duckdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
