"""The one thread that writes: it takes all units that wait, runs them, and syncs them together."""

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from threading import Lock, Thread, get_ident
from typing import Any, Final

import msgspec

from opportune.adapters.sqlite import queries
from opportune.adapters.sqlite.checkpoint import Checkpoints
from opportune.adapters.sqlite.committed import Committed
from opportune.adapters.sqlite.queries import Write
from opportune.adapters.sqlite.rows import Row, Rows
from opportune.adapters.sqlite.turns import Turn
from opportune.ports import StoreBroken, StoreFull, Transaction
from opportune.unit_of_work import Changes, Group, run_units

GROUP_MAX: Final = 512
FEW: Final = 8
"""Without growing groups p50 at 60 % of one core was 59 ms, with them 13 to 16 ms (`python -m benchmarks.decide`)."""
SHARED_MIN: Final = 2
"""Fewer units the writer runs itself: the other thread is idle, and waking it costs more."""
SHARED_MAX: Final = 64
SHARED_WAIT_S: Final = 0.1
"""How long the writer waits for the other thread to pause."""
NEVER: Final = 1 << 62
ROWS_AT_ONCE: Final = (64, 32, 16, 8, 4, 2, 1)
"""Few statement texts, so that all of them stay prepared."""

Elsewhere = Callable[[Callable[[], None]], object]
"""Has another thread call something at its next pause."""

_log = logging.getLogger(__name__)


class Unit(msgspec.Struct, frozen=True):
    """One unit of work and who waits for it."""

    work: Callable[[Transaction], Any]
    done: Callable[[Any], None]
    short: bool = False
    """It takes some microseconds: another thread may run it."""


class Prepared(msgspec.Struct, frozen=True):
    """A group whose units have run: the result of each, and what is to be kept, if anything."""

    results: list[Any]
    changes: Changes | None = None


class Barrier(msgspec.Struct, frozen=True):
    """Work on the writer's connection between two groups, in transactions of its own; durable when it returns."""

    work: Callable[[sqlite3.Connection], Any]
    done: Callable[[Any], None]


class Writer:
    """Group commit: units run in order of arrival, their rows are flushed in one transaction, then all are told.

    It lingers for more units only while fewer wait than were in the group before, or than twice as many after a group
    of a few: a caller that is alone never waits for company, many callers share each sync, and callers that come by
    twos and threes grow together instead of paying for a sync each.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        committed: Committed,
        sealed: Rows,
        checkpoints: Checkpoints,
        linger_ms: float,
        queue_max: int,
    ) -> None:
        self._connection = connection
        self._checkpoints = checkpoints
        self._committed = committed
        self._rows = sealed
        self._linger_s = linger_ms / 1000
        self._queue_max = queue_max
        self._waiting: deque[Unit | Barrier] = deque()
        self._bell = Lock()
        self._rung_at = NEVER
        self._gate = Lock()
        self._closed = False
        self._broken: str | None = None
        self._expected = 1
        self._elsewhere: Elsewhere | None = None
        self._turn: Turn[Any] | None = None
        self._at_work: int | None = None
        self._thread = Thread(target=self._write, name="opportune-sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, unit: Unit | Barrier) -> None:
        """Raises StoreFull, and StoreBroken once closed or broken."""
        with self._gate:
            if self._broken is not None:
                raise StoreBroken(self._broken)
            if self._closed:
                raise StoreBroken("the store is closed")
            if len(self._waiting) >= self._queue_max:
                raise StoreFull(f"{self._queue_max} units of work wait already: try again later")
            self._waiting.append(unit)
            if self._turn is not None and (isinstance(unit, Barrier) or not unit.short):
                self._turn.hurry()
            if len(self._waiting) >= self._rung_at:
                self._ring()

    def share(self, elsewhere: Elsewhere) -> None:
        """`elsewhere` has a thread that submits many short units call something at its next pause."""
        self._elsewhere = elsewhere

    def is_here(self) -> bool:
        """Is this the writer's own thread, or another that runs units just now?"""
        return get_ident() in (self._thread.ident, self._at_work)

    def close(self) -> None:
        """Finishes what waits, then ends the thread."""
        with self._gate:
            if not self._closed:
                self._closed = True
                if self._rung_at != NEVER:
                    self._ring()
        self._thread.join()

    def _write(self) -> None:
        while self._awaited():
            if not self._closed and not self._arrived(self._expected):
                self._bell.acquire(timeout=self._linger_s)
            units, barrier, prepared = list[Unit](), None, None
            if self._elsewhere is not None and len(self._waiting) >= SHARED_MIN:
                units, prepared = self._shared(self._elsewhere)
            if prepared is None:
                units, barrier = self._popped()
            if units:
                self._process(units, prepared)
            if barrier is not None:
                self._pass(barrier)
            self._tend()

    def _awaited(self) -> bool:
        """Waits until something does; False once the store is closed and nothing waits."""
        while not self._arrived(1):
            if self._closed and not self._waiting:
                return False
            self._bell.acquire()
        return True

    def _popped(self, short: bool = False) -> tuple[list[Unit], Barrier | None]:
        """All units that wait, up to a barrier, and that; only short ones, up to another, if so asked."""
        units: list[Unit] = []
        barrier: Barrier | None = None
        with self._gate:
            self._rung_at = NEVER
            while self._waiting and len(units) < GROUP_MAX and barrier is None:
                first = self._waiting[0]
                if short and (isinstance(first, Barrier) or not first.short or len(units) == SHARED_MAX):
                    break
                self._waiting.popleft()
                if isinstance(first, Barrier):
                    barrier = first
                else:
                    units.append(first)
        count = len(units)
        self._expected = 2 * count if 1 < count <= FEW else max(1, count)
        return units, barrier

    def _shared(self, elsewhere: Elsewhere) -> tuple[list[Unit], Prepared | Exception | None]:
        """Short units, run by the thread that submits them when it pauses; None where there are none.

        It would otherwise be held up by this thread at every step of the way, and this thread by it.
        """
        turn = Turn(self._short_units)
        with self._gate:
            if any(isinstance(one, Barrier) or not one.short for one in self._waiting):
                return [], None
            self._turn = turn
        try:
            elsewhere(turn.take)
        except RuntimeError:  # it has ended
            self._elsewhere = None
        found = turn.result(SHARED_WAIT_S if self._elsewhere is not None else 0.0)
        self._turn = None
        return found

    def _short_units(self) -> tuple[list[Unit], Prepared | Exception | None]:
        units, _ = self._popped(short=True)
        if not units or self._broken is not None:
            return units, Prepared([]) if units else None
        try:
            return units, self._prepare(units)
        except Exception as error:  # noqa: BLE001 - handled on the writer's thread
            return units, error

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

    def _process(self, units: list[Unit], prepared: Prepared | Exception | None = None) -> None:
        """Runs, flushes and tells one group.

        A value that the database refuses fails only its own unit: the group is taken back and its units run
        again, one by one. When the disk refuses, nobody is acknowledged, and nothing is tried again: after a
        failed sync the operating system may have dropped the pages and say yes the next time.
        """
        if self._broken is not None:
            _tell(units, [StoreBroken(self._broken)] * len(units))
            return
        try:
            if isinstance(prepared, Exception):
                raise prepared
            results = self._keep(self._prepare(units) if prepared is None else prepared)
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

    def _pass(self, barrier: Barrier) -> None:
        """Runs one barrier's work and tells it."""
        result: Any
        if self._broken is not None:
            result = StoreBroken(self._broken)
        else:
            try:
                result = barrier.work(self._connection)
            except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for an answer
                take_back(self._connection)
                result = self._break(error) if _of_the_disk(error) else error
        _tell([barrier], [result])

    def _tend(self) -> None:
        if self._broken is None:
            try:
                self._checkpoints.tend(self._connection)
            except sqlite3.Error as error:
                self._break(error)

    def _prepare(self, units: list[Unit]) -> Prepared:
        """Runs units and writes what they changed, in a transaction that stays open where something is to be kept."""
        connection = self._connection
        self._at_work = get_ident()
        connection.execute("BEGIN IMMEDIATE")
        try:
            group = Group(self._committed)
            results = run_units(group, [unit.work for unit in units])
            self._still_whole(results)
            changes = group.changes
            if changes.empty():
                connection.execute("ROLLBACK")
                return Prepared(results)
            for write, batch in self._rows.batches(changes, self._committed.leaf_count):
                if batch:
                    insert(connection, write, batch)
            insert(connection, queries.WRITE_COUNTERS, list(self._committed.totals(changes.counts).items()))
        except BaseException:
            take_back(connection)
            raise
        finally:
            self._at_work = None
        return Prepared(results, changes)

    def _keep(self, prepared: Prepared) -> list[Any]:
        """What became of each unit, once all that were kept are durable."""
        if prepared.changes is not None:
            try:
                # INVARIANT: nothing is committed whose key could be lost.
                self._rows.flush()
                self._connection.execute("COMMIT")
            except BaseException:
                take_back(self._connection)
                raise
            self._committed.take_over(prepared.changes)
        return prepared.results

    def _still_whole(self, results: list[Any]) -> None:
        """A failed read is the disk's, not the unit's; and SQLite may have ended the transaction because of it."""
        for result in results:
            if isinstance(result, sqlite3.Error):
                raise result
        if not self._connection.in_transaction:
            raise sqlite3.OperationalError("the transaction was lost")

    def _break(self, error: Exception) -> StoreBroken:
        with self._gate:
            self._broken = f"the disk refused a write ({error}): free or repair it, then reopen the store"
        _log.error("store broken: %s", error)
        return StoreBroken(self._broken)


def insert(connection: sqlite3.Connection, write: Write, batch: list[Row]) -> None:
    """Writes rows of one table, within the transaction that is open."""
    start, left = 0, len(batch)
    for size in ROWS_AT_ONCE:
        while left >= size:
            values = list(chain.from_iterable(batch[start : start + size]))
            connection.execute(queries.insert(write, size), values)
            start += size
            left -= size


def _of_the_disk(error: Exception) -> bool:
    """Every error of the database but those of a value that does not fit: in doubt, the store stops.

    An OSError can only come from making keys durable: the errors of units are their results.
    """
    if isinstance(error, OSError):
        return True
    of_the_value = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, of_the_value)


def take_back(connection: sqlite3.Connection) -> None:
    """Gives up the transaction that is open, if one is."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        _log.error("rollback failed: %s", error)


def _tell(units: Sequence[Unit | Barrier], results: list[Any]) -> None:
    for unit, result in zip(units, results, strict=True):
        try:
            unit.done(result)
        except Exception as error:  # noqa: BLE001 - the others must hear of their units
            # Without its text, which may hold a personal value.
            _log.error("the `done` of a unit of work raised %s", type(error).__name__)
