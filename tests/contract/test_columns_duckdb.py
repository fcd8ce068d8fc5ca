"""Files of many rows, column by column: every kind of value, in order, window by window, and written whole or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from opportune.adapters.duckdb import DuckColumns
from opportune.adapters.duckdb.tables import TableError

EVERY = """
SELECT 'c' || i AS customer, i::INTEGER AS small, i::UBIGINT AS large, (i / 2)::FLOAT AS half, (i * 1.5)::DECIMAL(9, 2)
AS exact, i % 2 = 0 AS even, TIMESTAMP '2026-01-01 00:00:00' + i * INTERVAL 1 SECOND AS at, DATE '2026-01-02' AS day,
i * INTERVAL 1 MINUTE AS span, ['a', 'b'] AS tags, CASE WHEN i % 3 = 0 THEN NULL ELSE i END AS hole,
CASE WHEN i % 3 = 0 THEN NULL ELSE 'x' END AS gap FROM range(1000) r(i)
"""
KINDS = {
    "customer": "string", "small": "int", "large": "int", "half": "double", "exact": "double", "even": "bool",
    "at": "timestamp", "day": "timestamp", "span": "duration", "tags": "list", "hole": "int", "gap": "string",
}  # fmt: skip


@pytest.fixture
def parquet(tmp_path: Path) -> str:
    path = tmp_path / "all.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({EVERY}) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 128)")
    return str(path)


def whole(path: str, texts: tuple[str, ...] = (), rows_at_once: int = 300) -> dict[str, list[Any]]:
    """All windows put together, None where a value is missing."""
    files = DuckColumns()
    found: dict[str, list[Any]] = {}
    for columns in files.rows(path, list(files.kinds(path)), texts, rows_at_once):
        assert len({len(values) for values in columns.values()}) == 1
        for name, values in columns.items():
            plain = np.ma.getdata(values).tolist()
            lost = np.ma.getmaskarray(values).tolist()
            found.setdefault(name, []).extend(
                None if gone else one for one, gone in zip(plain, lost, strict=True)
            )
    return found


def test_every_kind_of_column_comes_in_order(parquet: str) -> None:
    """Numbers as numbers, times in milliseconds, lists as lists, what is missing as nothing."""
    assert dict(DuckColumns().kinds(parquet)) == KINDS
    found = whole(parquet)

    assert found["customer"] == [f"c{i}" for i in range(1000)]
    assert found["small"] == found["large"] == list(range(1000))
    assert found["half"][3] == 1.5
    assert found["exact"][3] == 4.5
    assert found["even"][:2] == [True, False]
    assert found["at"][2] == 1_767_225_602_000
    assert found["day"][2] == 1_767_312_000_000
    assert found["span"][2] == 120_000
    assert found["tags"][0] == ["a", "b"]
    assert found["hole"][:4] == [None, 1, 2, None]
    assert found["gap"][:4] == [None, "x", "x", None]


def test_a_file_without_types_says_what_it_can(tmp_path: Path) -> None:
    """What is text by name stays text; the rest is what it looks like."""
    path = tmp_path / "a.csv"
    path.write_text("customer,plan,n\n007,1,5\n008,,\n")
    assert dict(DuckColumns().kinds(str(path)))["n"] == "int"

    assert whole(str(path), ("customer", "plan"), 1) == {
        "customer": ["007", "008"], "plan": ["1", None], "n": [5, None],
    }  # fmt: skip


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_what_is_written_is_read_again(tmp_path: Path, ending: str) -> None:
    """Parts become one file in order, of its owner alone; nothing else stays in the folder."""
    path = tmp_path / f"out{ending}"
    with DuckColumns().writer(str(path)) as write:
        for start in (0, 2, 4):
            write(
                {
                    "who": np.array([f"c{start}", f"c{start + 1}"], object),
                    "p": np.ma.masked_invalid(np.array([start / 8, np.nan])),
                }
            )
        assert not path.exists()

    assert whole(str(path)) == {
        "who": [f"c{i}" for i in range(6)], "p": [0.0, None, 0.25, None, 0.5, None],
    }  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_file_that_was_not_finished_is_not_there(tmp_path: Path) -> None:
    def half_way() -> None:
        with DuckColumns().writer(str(tmp_path / "out.parquet")) as write:
            write({"who": np.array(["a"], object)})
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        half_way()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["broken.parquet", "missing.csv", "words.txt"])
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, name: str) -> None:
    """The file is named; nothing of DuckDB's own tracebacks."""
    path = tmp_path / name
    if not name.startswith("missing"):
        path.write_text("no table at all")
    with pytest.raises(TableError) as refused:
        DuckColumns().kinds(str(path))
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "out.txt", "ending"), (tmp_path / "no" / "out.csv", "no folder")):
        with pytest.raises(TableError, match=words), DuckColumns().writer(str(path)):
            pytest.fail("nothing is to be done")
