"""Reads the newest row about somebody, at or before a time, from a table or view of a SQLite or DuckDB file."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from threading import Timer
from typing import Any, Final

from opportune.ports import FeatureReader

SECONDS_END: Final = 100_000_000_000
"""A whole number below this is a time in seconds since 1970 (up to the year 5138), from there on milliseconds."""
_STEPS_BETWEEN_LOOKS: Final = 1_000


class SqlFeaturesError(Exception):
    """The file cannot be read as a table of features."""


class SqlReader(FeatureReader):
    """Opens the file read-only for each read, so that it may be replaced or written to between two reads.

    Times are RFC 3339 text, timestamps, or whole numbers (see SECONDS_END); without a zone they are UTC.
    """

    def __init__(self, path: Path, table: str, entity: str, at: str) -> None:
        self._path = path
        self._table, self._entity, self._at = table, entity, at

    def read(
        self, entity: str, id_: str, names: Sequence[str], now_ms: int, left_s: float
    ) -> Mapping[str, tuple[Any, int | None]]:
        """Raises SqlFeaturesError, OSError, TimeoutError, or what SQLite or DuckDB say."""
        with self._path.open("rb") as file:
            head = file.read(16)
        if head.startswith(b"SQLite format 3"):
            row = self._sqlite(id_, names, now_ms, left_s)
        elif head[8:12] == b"DUCK":
            row = self._duckdb(id_, names, now_ms, left_s)
        else:
            raise SqlFeaturesError("the file is neither a SQLite nor a DuckDB database")
        if row is None:
            return {}
        at_ms, *values = row
        return {name: (_plain(value), int(at_ms)) for name, value in zip(names, values, strict=True)}

    def _query(self, names: Sequence[str], at_ms: str) -> str:
        columns = ", ".join(quoted(name) for name in names)
        return (
            f"SELECT {at_ms} AS at_ms_, {columns} FROM {quoted(self._table)} "  # noqa: S608 - names are quoted
            f"WHERE {quoted(self._entity)} = ? AND {at_ms} <= ? ORDER BY at_ms_ DESC LIMIT 1"
        )

    def _sqlite(self, id_: str, names: Sequence[str], now_ms: int, left_s: float) -> Any:  # noqa: ANN401 - a row
        end = time.monotonic() + left_s
        uri = f"{self._path.resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=left_s)) as connection:
            connection.create_function("opportune_ms", 1, epoch_ms, deterministic=True)
            connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS_BETWEEN_LOOKS)
            # SQLite reads a quoted name that is no column as a text: a misspelt one would be a value.
            known = {row[1] for row in connection.execute(f"PRAGMA table_info({quoted(self._table)})")}
            for name in (self._entity, self._at, *names):
                if name not in known:
                    raise SqlFeaturesError(f"table `{self._table}` has no column `{name}`")
            try:
                query = self._query(names, f"opportune_ms({quoted(self._at)})")
                return connection.execute(query, (id_, now_ms)).fetchone()
            except sqlite3.OperationalError as error:
                if time.monotonic() > end:
                    raise TimeoutError from error
                raise

    def _duckdb(self, id_: str, names: Sequence[str], now_ms: int, left_s: float) -> Any:  # noqa: ANN401 - a row
        import duckdb

        options: dict[str, str | bool | int | float | list[str]] = {"enable_external_access": "false", "threads": "1"}
        with duckdb.connect(str(self._path), read_only=True, config=options) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            stop = Timer(left_s, connection.interrupt)
            stop.daemon = True
            stop.start()
            try:
                types = {row[0]: row[1] for row in connection.execute(f"DESCRIBE {quoted(self._table)}").fetchall()}
                if self._at not in types:
                    raise SqlFeaturesError(f"table `{self._table}` has no column `{self._at}`")
                query = self._query(names, _duckdb_ms(quoted(self._at), types[self._at]))
                return connection.execute(query, (id_, now_ms)).fetchone()
            except duckdb.InterruptException as error:
                raise TimeoutError from error
            finally:
                stop.cancel()


def epoch_ms(value: object) -> int | None:
    """A time as SQLite keeps it, in ms since 1970; None when it is no time."""
    if isinstance(value, int | float):
        return int(value) if value >= SECONDS_END else int(value * 1000)
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return int(at.timestamp() * 1000)


def _duckdb_ms(column: str, type_: str) -> str:
    if type_.startswith(("TIMESTAMP", "DATE")):
        return f"epoch_ms({column}::TIMESTAMPTZ)"
    if type_ == "VARCHAR":
        return f"epoch_ms(TRY_CAST({column} AS TIMESTAMPTZ))"
    return f"CAST(CASE WHEN {column} >= {SECONDS_END} THEN {column} ELSE {column} * 1000 END AS BIGINT)"


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date):
        return value.isoformat()
    return value


def quoted(name: str) -> str:
    """A name as SQL writes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
