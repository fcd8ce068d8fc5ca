"""Opening the database file: who may write, with which guarantees, and connections for readers."""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from opportune.ports import StoreBroken

FLOOR: Final = (3, 40)
BUSY_SECONDS: Final = 5.0
PAGE_CACHE_KIB: Final = 65_536


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The one connection that writes: write-ahead log, every commit synced. Raises StoreBroken."""
    if sqlite3.sqlite_version_info < FLOOR:
        raise StoreBroken(f"SQLite {sqlite3.sqlite_version} is too old: 3.40 or newer is needed")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Personal data: nobody else may read it. SQLite gives its log the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = _connect(path)
    mode = _pragma(connection, "journal_mode = WAL")
    _pragma(connection, "synchronous = FULL")
    # Copying the log is `checkpoint`'s work.
    _pragma(connection, "wal_autocheckpoint = 0")
    _pragma(connection, f"cache_size = -{PAGE_CACHE_KIB}")
    # What is removed or replaced is overwritten in the page, not only forgotten.
    _pragma(connection, "secure_delete = ON")
    # An INSERT of many rows remembers how to undo itself: in memory, not in a temporary file.
    _pragma(connection, "temp_store = MEMORY")
    # INVARIANT: an acknowledged unit survives a power cut; NORMAL was measured to lose some.
    if mode != "wal" or _pragma(connection, "synchronous") != 2:
        connection.close()
        raise StoreBroken(f"`{path}` cannot be opened with a synced write-ahead log: is it on a network drive")
    return connection


def open_beside(path: Path) -> sqlite3.Connection:
    """A second connection of the writer's process, for checkpoints."""
    connection = _connect(path)
    _pragma(connection, "synchronous = FULL")
    return connection


class Readers:
    """Connections that only read, lent to one thread at a time; as many as there are readers at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []

    @contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        connection = self._take()
        try:
            yield connection
        finally:
            self._idle.append(connection)

    def one(self, sql: str, *parameters: Any) -> Any:  # noqa: ANN401 - a row is what the query says
        """The first row, or None. Without `lend`, which costs a quarter of a look-up by key."""
        connection = self._take()
        try:
            return connection.execute(sql, parameters).fetchone()
        finally:
            self._idle.append(connection)

    def all(self, sql: str, *parameters: Any) -> list[Any]:  # noqa: ANN401
        with self.lend() as connection:
            return connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:  # asking first would not help: another thread may take the last one in between
            return self._open()

    def _open(self) -> sqlite3.Connection:
        connection = _connect(self._path)
        _pragma(connection, "query_only = 1")
        return connection


class Ownership:
    """One process writes a store: numbers and caches are kept in its memory. Held until released or killed."""

    def __init__(self, path: Path) -> None:
        """Raises StoreBroken when another process, or another store in this one, owns the file."""
        self._file = path.with_name(path.name + "-owner").open("a+b")
        try:
            _lock(self._file.fileno())
        except OSError:
            self._file.close()
            raise StoreBroken(f"`{path}` is open for writing in another process: stop that one first") from None

    def release(self) -> None:
        self._file.close()


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )


def _pragma(connection: sqlite3.Connection, text: str) -> Any:  # noqa: ANN401
    row = connection.execute(f"PRAGMA {text}").fetchone()
    return None if row is None else row[0]
