"""Files of many rows read and written column by column, in bounded memory.

Parquet is read where it stands, window by window. A file without types (CSV, JSON lines) is first read into memory;
what does not fit spills into a private temporary folder, encrypted under a key that DuckDB keeps in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from opportune.adapters.duckdb.tables import TableError, reader_of
from opportune.ports import ColumnFiles, ColumnKind, Columns

if TYPE_CHECKING:
    import duckdb

MEMORY_MAX: Final = "1GB"
_KINDS: Final[Mapping[str, ColumnKind]] = {
    "BOOLEAN": "bool", "TINYINT": "int", "SMALLINT": "int", "INTEGER": "int", "BIGINT": "int", "UTINYINT": "int",
    "USMALLINT": "int", "UINTEGER": "int", "UBIGINT": "int", "HUGEINT": "int", "FLOAT": "double", "DOUBLE": "double",
    "VARCHAR": "string", "UUID": "string", "DATE": "timestamp", "INTERVAL": "duration",
}  # fmt: skip
_WRITERS: Final = {".parquet": "FORMAT parquet", ".csv": "FORMAT csv, HEADER"}


class DuckColumns(ColumnFiles):
    """Each call has a database of its own, which is gone when it ends. Raises TableError."""

    def kinds(self, path: str) -> Mapping[str, ColumnKind]:
        """Column -> what it holds, in the order of the file."""
        with _told(), _database() as connection:
            found = connection.execute(f"DESCRIBE SELECT * FROM {reader_of(path)}").fetchall()  # noqa: S608 - quoted
            return {name: _kind(type_) for name, type_, *_ in found}

    def rows(self, path: str, names: Sequence[str], texts: Collection[str], rows_at_once: int) -> Iterator[Columns]:
        """These columns in the order of the rows, window by window."""
        with _told(), _database() as connection:
            source, number = _source(connection, path, texts)
            described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608 - quoted
            types = {name: type_ for name, type_, *_ in described}
            shown = ", ".join(_selected(name, types[name]) for name in names)
            total = connection.execute(f"SELECT count(*) FROM {source}").fetchall()[0][0]  # noqa: S608 - quoted
            for start in range(0, total, rows_at_once):
                window = f"{number} >= {start} AND {number} < {start + rows_at_once}"
                # The order of the file is kept by `preserve_insertion_order`; sorting would cost more than reading.
                found = connection.execute(f"SELECT {shown} FROM {source} WHERE {window}").fetchnumpy()  # noqa: S608 - quoted
                yield {name: _lists(found[name]) if _kind(types[name]) == "list" else found[name] for name in names}

    @contextmanager
    def writer(self, path: str) -> Iterator[Callable[[Columns], None]]:
        """Each call's rows go to a part beside the file; the parts become the file at the end."""
        target = Path(path)
        form = _WRITERS.get(target.suffix.lower())
        if form is None:
            raise TableError(f"`{path}` has an ending that is not known: use one of {', '.join(_WRITERS)}")
        if not target.parent.is_dir():
            raise TableError(f"`{path}`: there is no folder `{target.parent}`")
        with (
            _told(),
            tempfile.TemporaryDirectory(prefix=".opportune-", dir=target.parent) as scratch,
            _database() as connection,
        ):
            parts: list[str] = []

            def write(columns: Columns) -> None:
                parts.append(f"{scratch}/{len(parts):06}.parquet")
                connection.register("rows", dict(columns))
                named = ", ".join(_name(name) for name in columns)
                connection.execute(f"COPY (SELECT {named} FROM rows) TO {_quoted(parts[-1])} (FORMAT parquet)")  # noqa: S608 - quoted
                connection.unregister("rows")

            yield write
            if parts:
                whole = Path(scratch) / f"whole{target.suffix}"
                read = f"read_parquet([{', '.join(map(_quoted, parts))}])"
                connection.execute(f"COPY (SELECT * FROM {read}) TO {_quoted(str(whole))} ({form})")  # noqa: S608 - quoted
                whole.chmod(0o600)
                whole.replace(target)


def _source(connection: duckdb.DuckDBPyConnection, path: str, texts: Collection[str]) -> tuple[str, str]:
    """(what to select from, the column that numbers its rows)."""
    reader = reader_of(path)
    if reader.startswith("read_parquet("):
        return f"{reader[:-1]}, file_row_number = true)", "file_row_number"
    if texts and reader.startswith("read_csv("):
        named = ", ".join(f"{_quoted(name)}: 'VARCHAR'" for name in texts)
        reader = f"{reader[:-1]}, types = {{{named}}})"
    connection.execute(f"CREATE TABLE file AS SELECT * FROM {reader}")  # noqa: S608 - quoted
    return "file", "rowid"


def _kind(type_: str) -> ColumnKind:
    if type_.endswith("[]"):
        return "list"
    if type_.startswith("TIMESTAMP"):
        return "timestamp"
    return "double" if type_.startswith("DECIMAL") else _KINDS.get(type_, "other")


def _selected(name: str, type_: str) -> str:
    column, kind = _name(name), _kind(type_)
    if kind == "int":
        return f"CAST({column} AS BIGINT) AS {column}"
    if kind == "double":
        return f"CAST({column} AS DOUBLE) AS {column}"
    if kind == "timestamp":
        return f"epoch_ms({column if type_.startswith('TIMESTAMP') else f'CAST({column} AS TIMESTAMP)'}) AS {column}"
    if kind == "duration":
        return f"CAST(epoch({column}) * 1000 AS BIGINT) AS {column}"
    return f"CAST({column} AS VARCHAR) AS {column}" if type_ == "UUID" else column


def _lists(values: NDArray[Any]) -> NDArray[Any]:
    """Lists as lists: DuckDB hands over arrays in arrays."""
    data = np.ma.getdata(values)  # the mark of a masked value is itself an array
    made = np.empty(len(values), object)
    made[:] = [value.tolist() if isinstance(value, np.ndarray) else None for value in data]
    return np.ma.array(made, mask=np.ma.getmaskarray(values)) if np.ma.isMaskedArray(values) else made


@contextmanager
def _database() -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    with tempfile.TemporaryDirectory(prefix="opportune-") as spill, duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET temp_directory = {_quoted(spill)}")
        connection.execute("SET temp_file_encryption = true")
        connection.execute("SET preserve_insertion_order = true")
        connection.execute(f"SET memory_limit = '{MEMORY_MAX}'")
        yield connection


@contextmanager
def _told() -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        # The first line names the file, the line or the column; what comes after it may quote values.
        raise TableError(str(error).split("\n", 1)[0][:500]) from error


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
