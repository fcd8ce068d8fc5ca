"""Reads what `ingest` is given, in batches and with a tally: CloudEvents files, or tables by a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from opportune.core.playbook import Source
from opportune.core.signals import Draft, Problem, Receipt
from opportune.core.sources import CompiledSource, Drafted, Reading, cel_type, compile_source, drafts, locate
from opportune.doors.cli.output import Refusal, plural, progress
from opportune.doors.http.cloudevents import draft_of
from opportune.flows.ingest import keep_out
from opportune.flows.region import Region
from opportune.ports import TableReader

BATCH = 500
NAMED_MAX = 10
"""How many duplicates and conflicts are named; the rest is counted."""


class Tally:
    """What became of everything read. `first` and `follow_up` count drafts of tables by their kind."""

    def __init__(self) -> None:
        self.fates: Counter[str] = Counter()
        self.first = 0
        self.follow_up = 0
        self.from_tables = False
        self.twice: list[str] = []
        self.known = 0
        self.shared: list[str] = []
        self.reasons: Counter[str] = Counter()
        self._seen: set[tuple[str, str]] = set()

    def count(self, receipt: Receipt) -> None:
        identity = (receipt.source, receipt.id)
        self.fates[receipt.status] += 1
        if receipt.status == "duplicate":
            if identity in self._seen:
                self.twice.append(receipt.id)
            else:
                self.known += 1
        for problem in receipt.problems:
            self.reasons[f"{problem.field}: {problem.code}"] += 1
            if problem.code == "conflict":
                self.shared.append(receipt.id)
        self._seen.add(identity)

    @property
    def total(self) -> int:
        return sum(self.fates.values())

    def data(self) -> dict[str, Any]:
        fates = {name: self.fates[name] for name in ("accepted", "duplicate", "quarantined")}
        found: dict[str, Any] = {
            "signals": self.total, **fates, "known_before": self.known, "true_duplicates": len(self.twice),
            "true_duplicate_ids": self.twice[:NAMED_MAX], "ids_of_different_rows": len(self.shared),
            "ids_of_different_rows_named": self.shared[:NAMED_MAX], "reasons": dict(self.reasons.most_common()),
        }  # fmt: skip
        return {**found, "first": self.first, "follow_up": self.follow_up} if self.from_tables else found

    def lines(self) -> list[str]:
        found = [
            f"{plural(self.total, 'signal')}: {self.fates['accepted']:,} accepted, "
            f"{self.fates['duplicate']:,} duplicate, {self.fates['quarantined']:,} quarantined"
        ]
        if self.from_tables:
            found.append(f"{self.first:,} first signals of their rows, {self.follow_up:,} follow-ups")
        if self.known:
            found.append(f"{self.known:,} were known before this run")
        found.append(f"true duplicates in this input: {_named(self.twice)}")
        found.append(f"ids shared by different rows: {_named(self.shared)}")
        found += [f"kept out, {reason}: {count:,}" for reason, count in self.reasons.most_common(NAMED_MAX)]
        if self.fates["quarantined"]:
            found.append("next: opportune quarantine")
        return found


def events_of(path: Path) -> Iterator[object]:
    """The events of a file: one JSON document (an event or an array), or one event a line; Refusal names it."""
    if path.suffix.lower() == ".json":
        yield from _document(path)
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                event = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise Refusal(f"{path}:{number}: this line is not JSON ({error}): write one event a line") from None
            yield event


def from_events(region: Region, path: Path, events: Iterable[object], tally: Tally, *, quiet: bool) -> None:
    """Ingests CloudEvents in batches."""
    with progress(path.name, None, quiet=quiet) as advance:
        for batch in _batches(events):
            for receipt in region.ingest.run([draft_of(event) for event in batch]):
                tally.count(receipt)
            advance(len(batch))


def from_tables(
    region: Region, source: Source, folder: Path, reader: TableReader, tally: Tally, *, quiet: bool
) -> None:
    """Ingests a folder of tables by a source; rows that cannot be mapped go to quarantine with their reasons."""
    if not folder.is_dir():
        raise Refusal(f"`{folder}` is no folder: source `{source.source}` reads a folder of tables")
    here = [path.name for path in folder.iterdir()]
    files = {table: str(folder / name) for table, name in locate(source, here).items()}
    columns = {table: _columns(reader, table, files) for table in files}
    tally.from_tables = True
    compiled = _counting(compile_source(source, columns), tally)
    found = drafts(compiled, lambda sql: reader.rows(sql, files))
    with progress(source.source, None, quiet=quiet) as advance:
        for batch in _batches(found):
            _take(region, batch, tally)
            advance(len(batch))


def _take(region: Region, batch: list[Drafted], tally: Tally) -> None:
    good = [one.draft for one in batch if not one.problems]
    receipts = region.ingest.run(good) if good else []
    for receipt in chain(receipts, (_kept_out(region, one) for one in batch if one.problems)):
        tally.count(receipt)


def _kept_out(region: Region, one: Drafted) -> Receipt:
    received_ms = region.clock.now_ms()
    draft: Draft = one.draft
    problems: tuple[Problem, ...] = one.problems
    return region.records.run(lambda tx: keep_out(tx, draft, problems, received_ms))


def _counting(compiled: CompiledSource, tally: Tally) -> CompiledSource:
    """The same source, which counts first signals and follow-ups as it reads."""
    readings = tuple(
        msgspec.structs.replace(reading, draft=_counted(reading, tally)) for reading in compiled.readings
    )
    return msgspec.structs.replace(compiled, readings=readings)


def _counted(reading: Reading, tally: Tally) -> Callable[[Mapping[str, Any]], Drafted | None]:
    follow_up, make = reading.mapping.follow_up, reading.draft

    def draft(row: Mapping[str, Any]) -> Drafted | None:
        drafted = make(row)
        if drafted is not None:
            if follow_up:
                tally.follow_up += 1
            else:
                tally.first += 1
        return drafted

    return draft


def _columns(reader: TableReader, table: str, files: Mapping[str, str]) -> dict[str, str]:
    quoted = '"' + table.replace('"', '""') + '"'
    rows = reader.rows(f"DESCRIBE {quoted}", {table: files[table]})
    return {str(row["column_name"]): cel_type(str(row["column_type"])) for row in rows}


def _document(path: Path) -> Iterator[object]:
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = f"`{path}` is not a JSON document: name files with one event a line `.ndjson`"
        raise Refusal(message) from None
    yield from found if isinstance(found, list) else [found]


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _named(ids: list[str]) -> str:
    if not ids:
        return "none"
    more = f" and {len(ids) - NAMED_MAX} more" if len(ids) > NAMED_MAX else ""
    return f"{len(ids)} ({', '.join(ids[:NAMED_MAX])}{more})"
