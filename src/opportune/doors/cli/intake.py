"""Reads what `ingest` is given, in batches and with a tally: CloudEvents files, or tables by a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from opportune.core.playbook import Source
from opportune.core.signals import Receipt
from opportune.core.sources import CompiledSource, Drafted, Reading, cel_type, compile_source, drafts, locate
from opportune.doors.cli.output import Refusal, plural, progress
from opportune.doors.http.cloudevents import draft_of
from opportune.flows.region import Region
from opportune.ports import TableReader

BATCH = 500
HASHED_BYTES = 1 << 20
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
        self.resumed = 0
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
        fates = {name: self.fates[name] for name in ("accepted", "duplicate", "quarantined", "rejected")}
        found: dict[str, Any] = {
            "signals": self.total, **fates, "resumed_after": self.resumed,
            "known_before": self.known, "true_duplicates": len(self.twice),
            "true_duplicate_ids": self.twice[:NAMED_MAX], "ids_of_different_rows": len(self.shared),
            "ids_of_different_rows_named": self.shared[:NAMED_MAX], "reasons": dict(self.reasons.most_common()),
        }  # fmt: skip
        return {**found, "first": self.first, "follow_up": self.follow_up} if self.from_tables else found

    def lines(self) -> list[str]:
        found = [
            f"{plural(self.total, 'signal')}: {self.fates['accepted']:,} accepted, "
            f"{self.fates['duplicate']:,} duplicate, {self.fates['quarantined']:,} quarantined"
            + (f", {self.fates['rejected']:,} rejected" if self.fates["rejected"] else "")
        ]
        if self.resumed:
            found.append(f"went on after {plural(self.resumed, 'signal')} of a run that was stopped")
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
    """Ingests CloudEvents in batches; goes on where an earlier run of the same file was stopped."""
    reader = f"file/{fingerprint(path)}"
    done = _begin(region, reader, tally)
    with progress(path.name, None, quiet=quiet) as advance:
        advance(done)
        for batch in _batches(islice(events, done, None)):
            done += len(batch)
            for receipt in region.ingest.run([draft_of(event) for event in batch], position=(reader, str(done))):
                tally.count(receipt)
            advance(len(batch))
    _end(region, reader)


def from_tables(
    region: Region, source: Source, folder: Path, reader: TableReader, tally: Tally, *, quiet: bool
) -> None:
    """Ingests a folder of tables by a source; rows that cannot be mapped go to quarantine with their reasons.

    Goes on where an earlier run over the same files was stopped. Rows at one instant have no order of their own, so
    it begins again with the first row of the instant that was reached: those it knows are duplicates.
    """
    if not folder.is_dir():
        raise Refusal(f"`{folder}` is no folder: source `{source.source}` reads a folder of tables")
    here = [path.name for path in folder.iterdir()]
    files = {table: str(folder / name) for table, name in locate(source, here).items()}
    columns = {table: _columns(reader, table, files) for table in files}
    tally.from_tables = True
    compiled = _counting(compile_source(source, columns), tally)
    prints = "+".join(fingerprint(Path(path)) for _, path in sorted(files.items()))
    name = f"source/{source.source}/{blake2b(prints.encode(), digest_size=16).hexdigest()}"
    done = _begin(region, name, tally)
    found = islice(drafts(compiled, lambda sql: reader.rows(sql, files)), done, None)
    before, at_ms = done, -1
    with progress(source.source, None, quiet=quiet) as advance:
        advance(done)
        for batch in _batches(found):
            for one in batch:
                if one.at_ms != at_ms:
                    before, at_ms = done, one.at_ms
                done += 1
            taken = [msgspec.structs.replace(one.draft, problems=one.problems) for one in batch]
            for receipt in region.ingest.run(taken, position=(name, str(before))):
                tally.count(receipt)
            advance(len(batch))
    _end(region, name)


def fingerprint(path: Path) -> str:
    """A file by its content: the hash of its size, its first and its last megabyte."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HASHED_BYTES)
        file.seek(max(0, size - HASHED_BYTES))
        tail = file.read(HASHED_BYTES)
    return blake2b(b"%d/" % size + head + tail, digest_size=16).hexdigest()


def _begin(region: Region, reader: str, tally: Tally) -> int:
    """How many drafts an earlier, stopped run has finished."""
    done = int(region.records.run(lambda tx: tx.position(reader)) or 0)
    tally.resumed += done
    return done


def _end(region: Region, reader: str) -> None:
    """A whole run forgets its position: the next one looks at everything again."""
    region.records.run(lambda tx: tx.set_position(reader, "0"))


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
