"""Files of a source (CSV, Parquet, JSON lines, also gzipped) as rows, by SQL over views named like its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from opportune.ports import TableReader

if TYPE_CHECKING:
    import duckdb

ROWS_AT_ONCE: Final = 2_000
_READERS: Final[Mapping[str, str]] = {
    ".csv": "read_csv({}, sample_size = -1)",
    ".tsv": "read_csv({}, sample_size = -1)",
    ".parquet": "read_parquet({})",
    ".ndjson": "read_json({}, format = 'newline_delimited', sample_size = -1)",
    ".jsonl": "read_json({}, format = 'newline_delimited', sample_size = -1)",
}


_ZONED: Final = "TIMESTAMP WITH TIME ZONE"


class TableError(Exception):
    """A file cannot be read as a table, or a query does not fit the tables."""


class DuckTables(TableReader):
    """Each call has a database of its own in memory, which can read the files it was given and nothing else.

    Values are what JSON knows: a timestamp (UTC if it has no zone) is RFC 3339 text with a Z, a date is a
    midnight of UTC as such text, a decimal is a float, a struct is a dict, a missing value is None.
    """

    def rows(self, sql: str, files: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Rows of `sql` in its order, read in batches. `files` are {table: path}.

        A table's alias alone is the whole row as a dict, which is how a mapping gets `row.<column>` and
        `<table>.<column>`: `SELECT r AS "row", plans FROM events r LEFT JOIN plans USING (plan_id)
        ORDER BY r."created_at"`; a lookup that found nothing is None or a dict of None. Quote every name: `at` and
        others are keywords. Raises TableError.
        """
        import duckdb

        try:
            with duckdb.connect(":memory:") as connection:
                _prepare(connection, files)
                yield from _rows(connection.execute(sql))
        except duckdb.Error as error:
            raise TableError(_reason(error)) from error

    def columns(self, path: str) -> Sequence[str]:
        """Names of a file's columns, in order. Raises TableError."""
        import duckdb

        try:
            with duckdb.connect(":memory:") as connection:
                _prepare(connection, {"file": path})
                return [name for name, *_ in connection.execute("DESCRIBE file").fetchall()]
        except duckdb.Error as error:
            raise TableError(_reason(error)) from error


def reader_of(path: str) -> str:
    """The part of a FROM clause that reads this file, by its ending; `.gz` may follow. Raises TableError."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    ending = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else "".join(suffixes[-1:])
    reader = _READERS.get(ending)
    if reader is None:
        known = ", ".join(_READERS)
        raise TableError(f"`{path}` has an ending that is not known: use one of {known}")
    return reader.format(_quoted(path))


def _prepare(connection: duckdb.DuckDBPyConnection, files: Mapping[str, str]) -> None:
    connection.execute("SET TimeZone = 'UTC'")
    for table, path in files.items():
        name = '"' + table.replace('"', '""') + '"'
        connection.execute(f"CREATE VIEW {name} AS {_select(connection, reader_of(path))}")
    # INVARIANT: a playbook's SQL reads the files of its source, and nothing else of the machine.
    paths = ", ".join(_quoted(path) for path in files.values())
    connection.execute(f"SET allowed_paths = [{paths}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _select(connection: duckdb.DuckDBPyConnection, reader: str) -> str:
    """Times with a zone become times of UTC: DuckDB would hand them over only with pytz installed.

    Not by a cast where that can be helped: DuckDB 2.0 moves a cast into its CSV reader, which then reads
    `00:00+02:00` as 00:00.
    """
    columns = connection.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()  # noqa: S608 - the path is quoted
    casts = []
    for column, type_, *_ in columns:
        name = '"' + column.replace('"', '""') + '"'
        if type_ == _ZONED:
            casts.append(f"timezone('UTC', {name}) AS {name}")
        elif _ZONED in type_:
            casts.append(f"CAST({name} AS {type_.replace(_ZONED, 'TIMESTAMP')}) AS {name}")
    replaced = f" REPLACE ({', '.join(casts)})" if casts else ""
    return f"SELECT *{replaced} FROM {reader}"  # noqa: S608


def _rows(found: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
    names = [column[0] for column in found.description or ()]
    while batch := found.fetchmany(ROWS_AT_ONCE):
        for row in batch:
            yield dict(zip(names, map(_plain, row), strict=True))


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a file holds
    convert = _CONVERT.get(type(value))
    return value if convert is None else convert(value)


def _timestamp(value: datetime) -> str:
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_CONVERT: Final[Mapping[type, Callable[[Any], Any]]] = {
    datetime: _timestamp,
    date: lambda value: f"{value.isoformat()}T00:00:00.000Z",
    time: time.isoformat,
    timedelta: timedelta.total_seconds,
    Decimal: float,
    UUID: str,
    dict: lambda value: {key: _plain(item) for key, item in value.items()},
    list: lambda value: [_plain(item) for item in value],
}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _reason(error: BaseException) -> str:
    """The first line of DuckDB's own words, which name the file, the line or the column."""
    return str(error).split("\n", 1)[0][:500]
