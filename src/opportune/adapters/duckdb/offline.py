"""The offline engine on DuckDB: features of many rows at once, each as of its own time, in memory.

INVARIANT: signals are never written to disk in clear. The tables live in the memory of this process; what does not
fit there spills into a private temporary folder, encrypted under a key that DuckDB keeps in memory, and is removed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from opportune.core.features.relational import DUCKDB, ENVELOPE, Asked, Fact, Relational, Values, filler, replay
from opportune.core.features.relational.conditions import SQL_TYPES
from opportune.ports import OfflineFeatures

if TYPE_CHECKING:
    import duckdb

ROWS_AT_ONCE: Final = 100_000
ID_BYTES_MAX: Final = 255
_DTYPES: Final = {"BIGINT": np.int64, "DOUBLE": np.float64}


class DuckOffline(OfflineFeatures):
    """Each call has a database of its own in memory, gone when it returns."""

    def values(self, form: Relational, facts: Iterable[Fact], asked: Sequence[Asked]) -> Values:
        """Feature -> one value per asked row, None where it is missing; `facts` are read once."""
        import duckdb

        kept: list[Fact] = []
        wanted = frozenset(form.signals)
        facts = (fact for fact in facts if fact.type in wanted and 0 <= fact.at_ms < 2**46)
        if form.replayed:
            kept = list(facts)
            facts = iter(kept)
        with tempfile.TemporaryDirectory(prefix="opportune-") as spill, duckdb.connect(":memory:") as connection:
            _prepare(connection, spill)
            _fill_signals(connection, form, facts)
            bounded = _fill_asked(connection, asked)
            values, unknown = _ask(connection, form, len(asked), bounded=bounded)
        if form.replayed:
            values |= replay(form.views, form.replayed, kept, asked)
        return form.complete(values, unknown, len(asked))


    def write(
        self, path: str, columns: Sequence[tuple[str, str, Sequence[Any]]], metadata: Mapping[str, str]
    ) -> None:
        """Written beside its place and moved there, mode 0600. Raises OSError."""
        import duckdb

        types = {name: SQL_TYPES[type_] for name, type_, _ in columns}
        named = {f"c{index}": type_ for index, type_ in enumerate(types.values())}
        rows = zip(*(values for _, _, values in columns), strict=True)
        given = ", ".join(f"{_quoted(name)}: {_quoted(text)}" for name, text in metadata.items())
        shown = ", ".join(f"{column} AS {_name(name)}" for column, name in zip(named, types, strict=True))
        target = Path(path)
        with tempfile.TemporaryDirectory(prefix=".opportune-", dir=target.parent) as scratch:
            part = Path(scratch) / "part.parquet"
            with duckdb.connect(":memory:") as connection:
                _prepare(connection, scratch)
                _fill(connection, "made", named, iter(rows))
                connection.execute(
                    f"COPY (SELECT {shown} FROM made) TO {_quoted(str(part))} "  # noqa: S608 - quoted
                    f"(FORMAT parquet, KV_METADATA {{{given}}})"
                )
            part.chmod(0o600)
            part.replace(target)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _prepare(connection: duckdb.DuckDBPyConnection, spill: str) -> None:
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET temp_directory = '" + spill.replace("'", "''") + "'")
    connection.execute("SET temp_file_encryption = true")


def _fill_signals(connection: duckdb.DuckDBPyConnection, form: Relational, facts: Iterable[Fact]) -> None:
    types = {**ENVELOPE, **{column.name: column.sql_type for column in form.columns}}
    fill = filler(form.columns)

    def rows() -> Iterator[tuple[Any, ...]]:
        for fact in facts:
            name = fact.id.encode("utf-8", "surrogatepass")[:ID_BYTES_MAX]
            yield (
                fact.seq, fact.type, name, fact.at_ms, fact.person, fact.account, *fill(fact.type, fact.data)
            )  # fmt: skip

    _fill(connection, "signals", types, rows())


def _fill_asked(connection: duckdb.DuckDBPyConnection, asked: Sequence[Asked]) -> bool:
    """Whether some row may not see all signals."""
    types = {"rid": "BIGINT", "person": "VARCHAR", "account": "VARCHAR", "at_ms": "BIGINT", "known_seq": "BIGINT"}
    rows = ((row, one.person, one.account, one.at_ms, one.known_seq) for row, one in enumerate(asked))
    _fill(connection, "asked", types, rows)
    return any(one.known_seq < 2**62 for one in asked)


def _fill(
    connection: duckdb.DuckDBPyConnection, table: str, types: dict[str, str], rows: Iterator[tuple[Any, ...]]
) -> None:
    connection.execute(f"CREATE TABLE {table} ({', '.join(f'{name} {type_}' for name, type_ in types.items())})")
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        columns = zip(types.items(), zip(*batch, strict=True), strict=True)
        connection.register("batch", {name: _array(type_, column) for (name, type_), column in columns})
        casts = ", ".join(f"CAST({name} AS {type_})" for name, type_ in types.items())
        connection.execute(f"INSERT INTO {table} SELECT {casts} FROM batch")  # noqa: S608 - names of our own
        connection.unregister("batch")


def _array(type_: str, column: Sequence[Any]) -> np.ndarray[Any, Any]:
    dtype = _DTYPES.get(type_)
    if dtype is None:
        return np.array(column, dtype=object)
    if None not in column:
        return np.array(column, dtype=dtype)
    absent = np.array([value is None for value in column])
    return np.ma.array(np.array([0 if value is None else value for value in column], dtype=dtype), mask=absent)


def _ask(
    connection: duckdb.DuckDBPyConnection, form: Relational, rows: int, *, bounded: bool
) -> tuple[Values, dict[str, list[bool]]]:
    """Runs the query; the columns in the order of the rows, and where sums cannot be said."""
    if not form.given():
        return {}, {}
    names = [*(f"f_{name}" for name in form.given()), *(f"u_{name}" for name in form.unsure())]
    text = form.sql(DUCKDB, bounded=bounded)
    found = connection.execute(f"SELECT {', '.join(names)} FROM ({text}) ORDER BY rid").fetchall()  # noqa: S608
    columns = [list(column) for column in zip(*found, strict=True)] if found else [[] for _ in names]
    split = len(form.given())
    values = dict(zip(form.given(), columns[:split], strict=True))
    unknown = dict(zip(form.unsure(), columns[split:], strict=True))
    return values, {name: flags for name, flags in unknown.items() if any(flags)}
