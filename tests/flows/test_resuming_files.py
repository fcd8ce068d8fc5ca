"""A file that was stopped half-way is gone on with: nothing is lost, and what is done is not done again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from small import region_of

from opportune.adapters.duckdb import DuckTables
from opportune.core.playbook import SignalMapping, Source
from opportune.doors.cli.intake import BATCH, Tally, events_of, from_events, from_tables

COUNT = 3 * BATCH + 250


class PulledOut(Exception):
    """The machine stops here."""


def until(items: Iterator[Any], count: int) -> Iterator[Any]:
    for number, item in enumerate(items):
        if number == count:
            raise PulledOut
        yield item


class BrokenReader(DuckTables):
    """Reads tables until the machine stops; asking what columns there are still works."""

    def rows(self, sql: str, files: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        found = super().rows(sql, files)
        return until(found, 2 * BATCH + 40) if "ORDER BY" in sql else found


def events_file(folder: Path, mark: str = "") -> Path:
    path = folder / f"events{mark}.ndjson"
    event = {"specversion": "1.0", "source": "tests", "type": "usage.recorded", "data": {"count": 1}}
    lines = (json.dumps({**event, "id": f"e{mark}{n}", "subject": f"u{n % 7}"}) for n in range(COUNT))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_file_of_events_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = events_file(tmp_path)
    with region_of(tmp_path / "data") as region:
        with pytest.raises(PulledOut):
            from_events(region, path, until(iter(events_of(path)), 2 * BATCH + 100), Tally(), quiet=True)
        assert region.records.counts()["signals"] == 2 * BATCH
        tally = Tally()
        from_events(region, path, events_of(path), tally, quiet=True)
        assert (tally.resumed, tally.fates["accepted"], tally.fates["duplicate"]) == (2 * BATCH, BATCH + 250, 0)
        assert region.records.counts()["signals"] == COUNT


def test_a_whole_run_is_looked_at_again(tmp_path: Path) -> None:
    path = events_file(tmp_path)
    with region_of(tmp_path / "data") as region:
        from_events(region, path, events_of(path), Tally(), quiet=True)
        tally = Tally()
        from_events(region, path, events_of(path), tally, quiet=True)
        assert (tally.resumed, tally.fates["duplicate"]) == (0, COUNT)


def test_another_file_of_the_same_name_starts_at_its_beginning(tmp_path: Path) -> None:
    path = events_file(tmp_path)
    with region_of(tmp_path / "data") as region:
        with pytest.raises(PulledOut):
            from_events(region, path, until(iter(events_of(path)), BATCH + 1), Tally(), quiet=True)
        path.write_text(events_file(tmp_path, "new").read_text())
        tally = Tally()
        from_events(region, path, events_of(path), tally, quiet=True)
        assert (tally.resumed, tally.fates["accepted"]) == (0, COUNT)


def test_a_folder_of_tables_goes_on_with_the_instant_it_reached(tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    # 300 rows at each instant: more than one batch ends inside one.
    rows = (f"r{n},u{n % 7},2026-01-{1 + n // 300:02d}T00:00:00Z,{n}" for n in range(COUNT))
    (tables / "usage.csv").write_text("id,customer,at,count\n" + "\n".join(rows) + "\n")
    source = Source(
        source="warehouse", title="Warehouse", owner="tests", tables={"usage": "usage.csv"},
        signals=(
            SignalMapping(rows="usage", type="usage.recorded", id="row.id", time="row.at", subject="row.customer",
                          data={"count": "row.count"}),
        ),
    )  # fmt: skip
    with region_of(tmp_path / "data") as region:
        with pytest.raises(PulledOut):
            from_tables(region, source, tables, BrokenReader(), Tally(), quiet=True)
        assert region.records.counts()["signals"] == 2 * BATCH
        tally = Tally()
        from_tables(region, source, tables, DuckTables(), tally, quiet=True)
        assert (tally.resumed, tally.fates["duplicate"]) == (900, 100)
        assert region.records.counts()["signals"] == COUNT
