"""Copies the write-ahead log into the database file beside the writer, so that no unit waits for the copying."""

import sqlite3
from threading import Event, Thread
from typing import Final

ROWS_BETWEEN: Final = 8_000
"""Rows written between two checkpoints: about as many pages of 4 KiB at the most, since most rows are small."""

_CHECKPOINT: Final = "PRAGMA wal_checkpoint(PASSIVE)"


class Checkpoints:
    """A pass on a thread of its own copies what the log holds; the writer then copies the few pages that came
    meanwhile, after which SQLite writes the log from its start again. Left to one pass beside a busy writer, the
    log would grow for ever; left to the writer, every pass would hold up its units for tens of milliseconds.
    """

    def __init__(self, beside: sqlite3.Connection, rows_between: int = ROWS_BETWEEN) -> None:
        """`beside` is a connection for the thread alone."""
        self._beside = beside
        self._rows_between = rows_between
        self._rows_before = 0
        self._running = False
        self._due = Event()
        self._passed = Event()
        self._closed = False
        self._error: sqlite3.Error | None = None
        self._thread = Thread(target=self._run, name="opportune-sqlite-checkpoint", daemon=True)
        self._thread.start()

    def tend(self, writer: sqlite3.Connection) -> None:
        """Called by the writer between groups. Raises sqlite3.Error when a pass failed: the disk is to blame."""
        if self._running:
            if self._passed.is_set():
                self._finish(writer)
        elif writer.total_changes - self._rows_before >= self._rows_between:
            self._running = True
            self._passed.clear()
            self._due.set()

    def settle(self, writer: sqlite3.Connection) -> None:
        """Waits for the pass that runs, if one does: nobody else copies then. Raises sqlite3.Error as `tend`."""
        if self._running:
            self._passed.wait()
            self._finish(writer)

    def close(self) -> None:
        self._closed = True
        self._due.set()
        self._thread.join()
        self._beside.close()

    def _finish(self, writer: sqlite3.Connection) -> None:
        if self._error is not None:
            raise self._error
        writer.execute(_CHECKPOINT).fetchone()
        self._rows_before = writer.total_changes
        self._running = False

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            if self._closed:
                return
            try:
                self._beside.execute(_CHECKPOINT).fetchone()
            except sqlite3.Error as error:
                self._error = error
            self._passed.set()
