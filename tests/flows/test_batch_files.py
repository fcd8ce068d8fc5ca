"""What a batch says of a file's rows is what the kernel says of each, whatever kind of file brought them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from benchmarks import batch as bench
from benchmarks import synthetic

from opportune.adapters.duckdb import DuckColumns
from opportune.flows import batch as flow
from opportune.flows.batch_columns import BatchError
from opportune.flows.region import Region

CUSTOMERS = 400


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Region]:
    region = bench.prepare(tmp_path_factory.mktemp("batch"), 12)
    yield region
    region.close()


def told(region: Region, path: Path) -> list[flow.Told]:
    work = flow.check(region.decide, DuckColumns(), str(path), synthetic.MOMENT, (), {}, "bench")
    return list(flow.run(region.decide, DuckColumns(), work))


def test_every_row_gets_the_kernels_answer(
    region: Region, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In windows that do not divide the file: dispositions, offers, values, chances and confidences, all equal."""
    monkeypatch.setattr(flow, "FILE_ROWS_AT_ONCE", 150)
    path = tmp_path / "customers.parquet"
    bench.write(region, path, CUSTOMERS)
    parts = told(region, path)
    whole = {
        name: np.ma.concatenate([part.columns[name] for part in parts])  # type: ignore[no-untyped-call]
        for name in parts[0].columns
    }

    assert [len(part.columns["customer"]) for part in parts] == [150, 150, 100]
    assert len(set(whole["disposition"].tolist())) > 1
    assert bench.alone(region.releases.brain(), str(path), whole, CUSTOMERS, region.clock.now_ms()) > 0.0


def test_csv_and_doubles_for_whole_numbers_say_the_same(region: Region, tmp_path: Path) -> None:
    """A file without types, and one whose whole numbers became doubles because some are missing (as pandas does)."""
    path = tmp_path / "customers.parquet"
    bench.write(region, path, CUSTOMERS)
    types = region.releases.brain().views.types
    as_doubles = ", ".join(f"CAST({name} AS DOUBLE) AS {name}" for name, type_ in types.items() if type_ == "int")
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT * FROM '{path}') TO '{tmp_path / 'a.csv'}' (FORMAT csv)")
        connection.execute(
            f"COPY (SELECT * REPLACE ({as_doubles}) FROM '{path}') TO '{tmp_path / 'b.parquet'}' (FORMAT parquet)"
        )
    (expected,) = told(region, path)
    for other in ("a.csv", "b.parquet"):
        (found,) = told(region, tmp_path / other)
        for name, values in expected.columns.items():
            assert values.tolist() == found.columns[name].tolist(), (other, name)


def test_a_fraction_is_no_whole_number_and_its_row_is_named(region: Region, tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 'c' || i AS customer, CASE WHEN i = 7 THEN 1.5 ELSE i END AS f0 FROM range(20) r(i)) "
            f"TO '{path}' (FORMAT parquet)"
        )
    with pytest.raises(BatchError, match=r"column `f0`, row 8: the value is no int"):
        told(region, path)
