"""Bring your own tables: a source compiled to SQL per mapping, its rows made drafts, all merged in time order."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec

from opportune.core.expressions import EvaluationError, Expression, ExpressionError, Missing, parse
from opportune.core.playbook import SignalMapping, Source
from opportune.core.residency import worked_out
from opportune.core.signals import Draft, Problem, format_time, parse_time_ms

Row = Mapping[str, Any]
Rows = Callable[[str], Iterable[Row]]
"""Runs one SQL text over the source's tables, each visible under its name, and gives rows by column name."""

TIME_TYPES = ("timestamp", "string", "int")
ID_TYPES = ("string", "int", "dyn")
_SQL_TYPES = {
    "BOOLEAN": "bool", "TINYINT": "int", "SMALLINT": "int", "INTEGER": "int", "BIGINT": "int", "UTINYINT": "int",
    "USMALLINT": "int", "UINTEGER": "int", "FLOAT": "double", "DOUBLE": "double", "DATE": "timestamp",
    "TIMESTAMP": "timestamp", "TIMESTAMP_S": "timestamp", "TIMESTAMP_MS": "timestamp", "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
}  # fmt: skip
_AS_SQL = {
    "timestamp": "epoch_ms({})",
    "int": "CAST({} AS BIGINT)",
    "double": "CAST({} AS DOUBLE)",
    "bool": "CAST({} AS BOOLEAN)",
    "string": "CAST({} AS VARCHAR)",
}


class SourceError(ValueError):
    """A source that cannot be used; `field` says where (`signals[2] usage.recorded.data.count`), `nearest` what may
    have been meant."""

    def __init__(self, source: str, field: str, message: str, nearest: str | None = None) -> None:
        hint = f"; did you mean `{nearest}`?" if nearest else ""
        super().__init__(f"source `{source}`, {field}: {message}{hint}")
        self.source, self.field, self.message, self.nearest = source, field, message, nearest


class Drafted(msgspec.Struct, frozen=True):
    """What one row gave: a draft at its time, and what went wrong on the way (then the draft is for quarantine).

    `at_ms` is -1 when the time could not be told.
    """

    at_ms: int
    draft: Draft
    problems: tuple[Problem, ...] = ()


class Reading(msgspec.Struct, frozen=True):
    """One mapping, compiled: `sql` gives rows, in time order when `ordered`; `draft` is None for a row left out."""

    mapping: SignalMapping
    sql: str
    ordered: bool
    draft: Callable[[Row], Drafted | None]


class Doubt(msgspec.Struct, frozen=True):
    """Something that must hold before reading: `sql` gives a row (key, times) when it does not."""

    sql: str
    field: str
    message: str


class CompiledSource(msgspec.Struct, frozen=True):
    """A source ready to be read; `left_out` are the mappings whose optional tables are absent."""

    source: str
    readings: tuple[Reading, ...]
    doubts: tuple[Doubt, ...] = ()
    left_out: tuple[str, ...] = ()


def cel_type(sql_type: str) -> str:
    """The CEL type of a column of this SQL type: bool, int, double, timestamp, and string for everything else."""
    name = sql_type.upper().strip()
    return "double" if name.startswith("DECIMAL") else _SQL_TYPES.get(name, "string")


def locate(source: Source, names: Collection[str]) -> dict[str, str]:
    """Table -> file among `names`; `x.csv` is also found as `x.csv.gz` and `x.parquet`.

    Raises SourceError naming the table whose file is absent and not optional.
    """
    found: dict[str, str] = {}
    for table, file in source.tables.items():
        wanted = (file, f"{file}.gz", f"{file.partition('.')[0]}.parquet")
        here = next((name for name in wanted if name in names), None)
        if here is not None:
            found[table] = here
        elif table not in source.optional:
            message = f"the file `{file}` is not in the folder: add it, or name the table under `optional`"
            raise SourceError(source.source, f"tables.{table}", message, _nearest(file, names))
    return found


def columns_of(tables: Iterable[str], rows: Rows) -> dict[str, dict[str, str]]:
    """Table -> column -> CEL type, as the reader behind `rows` describes them."""
    return {
        table: {row["column_name"]: cel_type(row["column_type"]) for row in rows(f"DESCRIBE {_quoted(table)}")}
        for table in tables
    }


def compile_source(source: Source, columns_by_table: Mapping[str, Mapping[str, str]]) -> CompiledSource:
    """Checks every mapping against the columns that are there (table -> column -> CEL type, see `cel_type`).

    Raises SourceError naming mapping, field, place and the nearest column.
    """
    readings: list[Reading] = []
    doubts: dict[str, Doubt] = {}
    left_out: list[str] = []
    for index, mapping in enumerate(source.signals):
        compiler = _Mapping(source, index, mapping, columns_by_table)
        if compiler.absent():
            left_out.append(compiler.name)
            continue
        readings.append(compiler.reading())
        for doubt in compiler.doubts():
            doubts.setdefault(doubt.sql, doubt)
    return CompiledSource(source.source, tuple(readings), tuple(doubts.values()), tuple(left_out))


def drafts(compiled: CompiledSource, rows: Rows) -> Iterator[Drafted]:
    """Everything a source has to say, in time order; at the same instant, in the order of its mappings.

    Raises SourceError before the first row when a table to look things up in names a key twice. A mapping whose
    `time` is more than a column is sorted in memory; the others stream.
    """
    for doubt in compiled.doubts:
        for row in rows(doubt.sql):
            key, times = row.values()
            raise SourceError(compiled.source, doubt.field, f"{doubt.message}, but `{key}` is in {times} rows")
    streams = [_stream(reading, rows) for reading in compiled.readings]
    yield from heapq.merge(*streams, key=lambda drafted: drafted.at_ms)


def _stream(reading: Reading, rows: Rows) -> Iterator[Drafted]:
    found = (drafted for row in rows(reading.sql) if (drafted := reading.draft(row)) is not None)
    return found if reading.ordered else iter(sorted(found, key=lambda drafted: drafted.at_ms))


class _Mapping:
    """Compiles one mapping of a source."""

    def __init__(
        self, source: Source, index: int, mapping: SignalMapping, columns_by_table: Mapping[str, Mapping[str, str]]
    ) -> None:
        self.source, self.mapping, self.tables = source, mapping, columns_by_table
        self.name = f"signals[{index}] {mapping.type}"

    def error(self, field: str, message: str, nearest: str | None = None) -> SourceError:
        return SourceError(self.source.source, f"{self.name}.{field}", message, nearest)

    def absent(self) -> bool:
        """Whether an optional table this mapping reads is not there; SourceError for one that must be."""
        used = [("rows", self.mapping.rows), *((f"lookup.{table}", table) for table in self.mapping.lookup)]
        for field, table in used:
            if table not in self.source.tables:
                raise self.error(field, f"no table `{table}` under `tables`", _nearest(table, self.source.tables))
            if table == "row":
                raise self.error(field, "`row` stands for the row itself: name the table differently")
        gone = [(field, table) for field, table in used if table not in self.tables]
        for field, table in gone:
            if table not in self.source.optional:
                raise self.error(field, f"the table `{table}` has no file")
        return bool(gone)

    def reading(self) -> Reading:
        columns = self._columns()
        variables = {name: type_ for name, (_, type_) in columns.items()}
        mapping = self.mapping
        time = self._parsed("time", mapping.time, variables, TIME_TYPES)
        id_ = self._parsed("id", mapping.id, variables, ID_TYPES)
        whom = {
            field: self._parsed(field, text, variables, ID_TYPES)
            for field, text in (("subject", mapping.subject), ("account", mapping.account), ("region", mapping.region))
            if text is not None
        }
        when = None if mapping.when is None else self._parsed("when", mapping.when, variables, ("bool",))
        data = {key: self._parsed(f"data.{key}", text, variables, ()) for key, text in mapping.data.items()}
        ordered = mapping.time.strip() in columns and time.type in ("timestamp", "int")
        used = {name for parsed in (time, id_, *whom.values(), *data.values()) for name in parsed.names}
        used |= when.names if when is not None else set()
        sql = self._sql(sorted(used), columns, time if ordered else None, id_)
        fields = _Fields(
            f"{self.source.source}/{mapping.rows}",
            mapping,
            time.type,
            _reader(time),
            _reader(id_),
            _reader(whom["subject"]) if "subject" in whom else None,
            _reader(whom["account"]) if "account" in whom else None,
            _reader(whom["region"]) if "region" in whom else None,
            _reader(when) if when is not None else None,
            {key: (parsed.type, _reader(parsed)) for key, parsed in data.items()},
        )
        return Reading(mapping, sql, ordered, fields.draft)

    def doubts(self) -> Iterator[Doubt]:
        for table, column in self.mapping.lookup.items():
            field = f"{self.name}.lookup.{table}"
            key = _quoted(column)
            picked = ["SELECT", _as_sql(key, "string"), "AS key, count(*) AS times FROM", _quoted(table)]
            grouped = ["WHERE", key, "IS NOT NULL GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 1"]
            sql = " ".join((*picked, *grouped))
            message = f"a lookup by `{table}.{column}` needs one row per key"
            yield Doubt(sql, field, message)

    def _columns(self) -> dict[str, tuple[str, str]]:
        """CEL name -> (SQL reference, CEL type) of everything the mapping may read."""
        found = _named("row", self.tables[self.mapping.rows])
        for table, column in self.mapping.lookup.items():
            for side, name in (("row", self.mapping.rows), (table, table)):
                if column not in self.tables[name]:
                    nearest = _nearest(column, self.tables[name])
                    message = f"`{name}` has no column `{column}` to look up `{table}` by"
                    raise self.error(f"lookup.{table}" if side != "row" else "lookup", message, nearest)
            found.update(_named(table, self.tables[table]))
        return found

    def _parsed(
        self, field: str, text: str, variables: Mapping[str, str], types: tuple[str, ...]
    ) -> Expression:
        try:
            parsed = parse(text, variables)
        except ExpressionError as error:
            message = f"line {error.line} column {error.column}: {error.message}"
            raise self.error(field, message, error.nearest) from error
        if types and parsed.type not in types:
            raise self.error(field, f"`{text}` is {parsed.type}, but must be {' or '.join(types[:2])}")
        return parsed

    def _sql(
        self, used: list[str], columns: Mapping[str, tuple[str, str]], time: Expression | None, id_: Expression
    ) -> str:
        picked = [f"{_as_sql(*columns[name])} AS {_quoted(name)}" for name in used] or ["1 AS one"]
        joins = [
            f"LEFT JOIN {_quoted(table)} ON {_quoted('row')}.{_quoted(column)} = {_quoted(table)}.{_quoted(column)}"
            for table, column in self.mapping.lookup.items()
        ]
        times = sorted(time.names) if time is not None else []
        where = [f"WHERE {columns[name][0]} IS NOT NULL" for name in times if self.mapping.follow_up]
        by = [f"{columns[name][0]} NULLS FIRST" for name in times]
        by += [f"{columns[name][0]}" for name in sorted(id_.names) if name not in times]
        order = [f"ORDER BY {', '.join(by)}"] if by else []
        source = f"FROM {_quoted(self.mapping.rows)} AS {_quoted('row')}"
        return " ".join([f"SELECT {', '.join(picked)}", source, *joins, *where, *order])


class _Fields(msgspec.Struct, frozen=True):
    """The compiled expressions of one mapping, and the draft they make of a row."""

    source: str
    mapping: SignalMapping
    time_type: str
    time: Callable[[Row], object]
    id: Callable[[Row], object]
    subject: Callable[[Row], object] | None
    account: Callable[[Row], object] | None
    region: Callable[[Row], object] | None
    when: Callable[[Row], object] | None
    data: Mapping[str, tuple[str, Callable[[Row], object]]]

    def draft(self, row: Row) -> Drafted | None:
        """The draft of one row, or None when the row is left out.

        INVARIANT: a missing condition leaves the row out, a missing value leaves its key out, and whatever cannot
        be worked out is a problem: nothing is guessed.
        """
        problems: list[Problem] = []
        if self.when is not None and not self._value("when", self.when, row, problems) and not problems:
            return None
        at_ms = self._at_ms(row, problems)
        if at_ms is None and self.mapping.follow_up and not problems:
            return None
        data = {
            key: format_time(value) if type_ == "timestamp" and isinstance(value, int) else value
            for key, (type_, read) in self.data.items()
            if (value := self._value(f"data.{key}", read, row, problems)) is not None
        }
        if at_ms is None and not problems:
            problems.append(Problem("missing", "time", f"`{self.mapping.time}` has no value in this row"))
        draft = Draft(
            source=self.source,
            id=_text(self._value("id", self.id, row, problems)),
            type=self.mapping.type,
            time="" if at_ms is None else format_time(at_ms),
            subject=_text(self._value("subject", self.subject, row, problems)),
            account=_text(self._value("account", self.account, row, problems)),
            data=data,
            region=self._region(row, problems),
        )
        return Drafted(-1 if at_ms is None else at_ms, draft, tuple(problems))

    def _region(self, row: Row, problems: list[Problem]) -> object:
        if self.region is None:
            return None
        found: list[Problem] = []
        value = self._value("region", self.region, row, found)
        problems.extend(found)
        return worked_out(value, bool(found))

    def _at_ms(self, row: Row, problems: list[Problem]) -> int | None:
        value = self._value("time", self.time, row, problems)
        try:
            at_ms = parse_time_ms(value) if isinstance(value, str) else value
            if isinstance(at_ms, int):
                format_time(at_ms)
                return at_ms
        except (ValueError, OverflowError, OSError) as error:
            problems.append(Problem("time", "time", str(error)))
        return None

    def _value(
        self, field: str, read: Callable[[Row], object] | None, row: Row, problems: list[Problem]
    ) -> object:
        try:
            return None if read is None else read(row)
        except Missing:
            return None
        except EvaluationError as error:
            problems.append(Problem("mapping", field, f"`{field}` of `{self.mapping.type}`: {error}"))
            return None


def _reader(parsed: Expression) -> Callable[[Row], object]:
    names = sorted(parsed.names)
    function = parsed.function(names)
    return lambda row: function(*[row[name] for name in names])


def _named(prefix: str, columns: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """CEL names of a table's columns: what is no letter, digit or `_` becomes `_`; ambiguous names are left out."""
    found: dict[str, tuple[str, str]] = {}
    twice: set[str] = set()
    for column, type_ in columns.items():
        name = re.sub(r"\W", "_", column, flags=re.ASCII)
        name = f"{prefix}.{'_' + name if name[:1].isdigit() else name}"
        if name in found:
            twice.add(name)
        found[name] = (f"{_quoted(prefix)}.{_quoted(column)}", type_)
    return {name: place for name, place in found.items() if name not in twice}


def _as_sql(reference: str, type_: str) -> str:
    return _AS_SQL[type_].format(reference)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(name, list(known), 1)), None)
