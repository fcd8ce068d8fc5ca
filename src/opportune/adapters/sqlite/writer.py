"""The one thread that writes: it takes all units that wait, runs them, and syncs them together."""

import logging
import sqlite3
from collections import deque
from collections.abc import Callable
from itertools import chain
from threading import Lock, Thread, get_ident
from typing import Any, Final

import msgspec

from opportune.adapters.sqlite import queries, rows
from opportune.adapters.sqlite.checkpoint import Checkpoints
from opportune.adapters.sqlite.committed import Committed
from opportune.adapters.sqlite.queries import Write
from opportune.ports import StoreBroken, StoreFull, Transaction
from opportune.unit_of_work import Group, run_units

GROUP_MAX: Final = 512
NEVER: Final = 1 << 62
ROWS_AT_ONCE: Final = (64, 32, 16, 8, 4, 2, 1)
"""Few statement texts, so that all of them stay prepared."""

_log = logging.getLogger(__name__)


class Unit(msgspec.Struct, frozen=True):
    """One unit of work and who waits for it."""

    work: Callable[[Transaction], Any]
    done: Callable[[Any], None]


class Writer:
    """Group commit: units run in order of arrival, their rows are flushed in one transaction, then all are told.

    It lingers for more units only while fewer wait than were in the group before: a caller that is alone never
    waits for company, many callers share each sync.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        committed: Committed,
        checkpoints: Checkpoints,
        linger_ms: float,
        queue_max: int,
    ) -> None:
        self._connection = connection
        self._checkpoints = checkpoints
        self._committed = committed
        self._linger_s = linger_ms / 1000
        self._queue_max = queue_max
        self._waiting: deque[Unit] = deque()
        self._bell = Lock()
        self._rung_at = NEVER
        self._gate = Lock()
        self._closed = False
        self._broken: str | None = None
        self._expected = 1
        self._thread = Thread(target=self._write, name="opportune-sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, unit: Unit) -> None:
        """Raises StoreFull, and StoreBroken once closed or broken."""
        with self._gate:
            if self._broken is not None:
                raise StoreBroken(self._broken)
            if self._closed:
                raise StoreBroken("the store is closed")
            if len(self._waiting) >= self._queue_max:
                raise StoreFull(f"{self._queue_max} units of work wait already: try again later")
            self._waiting.append(unit)
            if len(self._waiting) >= self._rung_at:
                self._ring()

    def is_here(self) -> bool:
        """Is this the writer's own thread?"""
        return get_ident() == self._thread.ident

    def close(self) -> None:
        """Finishes what waits, then ends the thread."""
        with self._gate:
            if not self._closed:
                self._closed = True
                if self._rung_at != NEVER:
                    self._ring()
        self._thread.join()

    def _write(self) -> None:
        more = True
        while more:
            units, more = self._next_group()
            if units:
                self._process(units)
                self._tend()

    def _next_group(self) -> tuple[list[Unit], bool]:
        """All units that wait, at least one; False with none once the store is closed and nothing waits."""
        while not self._arrived(1):
            if self._closed and not self._waiting:
                return [], False
            self._bell.acquire()
        if not self._closed and not self._arrived(self._expected):
            self._bell.acquire(timeout=self._linger_s)
        with self._gate:
            self._rung_at = NEVER
            units = [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP_MAX))]
        self._expected = len(units)
        return units, True

    def _arrived(self, count: int) -> bool:
        """Do this many units wait? If not, the bell will ring when they do.

        A caller wakes the writer only at that moment: woken for every unit it would take the GIL from the callers
        each time, which cost them more than the write itself.
        """
        with self._gate:
            if len(self._waiting) >= count:
                return True
            # The bell is held while nobody rang: a ring that came too late for the last wait is taken here.
            self._bell.acquire(blocking=False)
            if self._closed:
                return False
            self._rung_at = count
            return False

    def _ring(self) -> None:
        """Holding the gate, with the bell armed."""
        self._rung_at = NEVER
        self._bell.release()

    def _process(self, units: list[Unit]) -> None:
        """Runs, flushes and tells one group.

        A value that the database refuses fails only its own unit: the group is taken back and its units run
        again, one by one. When the disk refuses, nobody is acknowledged, and nothing is tried again: after a
        failed sync the operating system may have dropped the pages and say yes the next time.
        """
        if self._broken is not None:
            _tell(units, [StoreBroken(self._broken)] * len(units))
            return
        try:
            results = self._commit(units)
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for an answer
            if _of_the_disk(error):
                results = [self._break(error)] * len(units)
            elif len(units) == 1:
                results = [error]
            else:
                for unit in units:
                    self._process([unit])
                return
        _tell(units, results)

    def _tend(self) -> None:
        if self._broken is None:
            try:
                self._checkpoints.tend(self._connection)
            except sqlite3.Error as error:
                self._break(error)

    def _commit(self, units: list[Unit]) -> list[Any]:
        """What became of each unit, once all that were kept are durable."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            group = Group(self._committed)
            results = run_units(group, [unit.work for unit in units])
            self._still_whole(results)
            changes = group.changes
            if changes.empty():
                connection.execute("ROLLBACK")
                return results
            for write, batch in rows.batches(changes, self._committed.leaf_count):
                if batch:
                    self._insert(write, batch)
            self._insert(queries.WRITE_COUNTERS, list(self._committed.totals(changes).items()))
            connection.execute("COMMIT")
        except BaseException:
            _take_back(connection)
            raise
        self._committed.take_over(changes)
        return results

    def _still_whole(self, results: list[Any]) -> None:
        """A failed read is the disk's, not the unit's; and SQLite may have ended the transaction because of it."""
        for result in results:
            if isinstance(result, sqlite3.Error):
                raise result
        if not self._connection.in_transaction:
            raise sqlite3.OperationalError("the transaction was lost")

    def _insert(self, write: Write, batch: list[rows.Row]) -> None:
        execute = self._connection.execute
        start, left = 0, len(batch)
        for size in ROWS_AT_ONCE:
            while left >= size:
                execute(queries.insert(write, size), list(chain.from_iterable(batch[start : start + size])))
                start += size
                left -= size

    def _break(self, error: Exception) -> StoreBroken:
        with self._gate:
            self._broken = f"the disk refused a write ({error}): free or repair it, then reopen the store"
        _log.error("store broken: %s", error)
        return StoreBroken(self._broken)


def _of_the_disk(error: Exception) -> bool:
    """Every error of the database but those of a value that does not fit: in doubt, the store stops."""
    of_the_value = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, of_the_value)


def _take_back(connection: sqlite3.Connection) -> None:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        _log.error("rollback failed: %s", error)


def _tell(units: list[Unit], results: list[Any]) -> None:
    for unit, result in zip(units, results, strict=True):
        try:
            unit.done(result)
        except Exception as error:  # noqa: BLE001 - the others must hear of their units
            # Without its text, which may hold a personal value.
            _log.error("the `done` of a unit of work raised %s", type(error).__name__)
