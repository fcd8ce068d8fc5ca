"""The system of record in one SQLite file: units through one writer, read models through readers of their own."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar

from opportune.adapters.sqlite import queries, rows
from opportune.adapters.sqlite.checkpoint import Checkpoints
from opportune.adapters.sqlite.committed import Committed
from opportune.adapters.sqlite.file import Ownership, Readers, open_beside, open_for_writing
from opportune.adapters.sqlite.schema import migrate
from opportune.adapters.sqlite.writer import Unit, Writer
from opportune.core.customers import Account, Person
from opportune.ports import (
    Quarantined,
    Records,
    Review,
    StoredDecision,
    StoredOutcome,
    StoredRelease,
    StoredSignal,
    Transaction,
)
from opportune.unit_of_work import COUNTED

T = TypeVar("T")

SIGNALS_AT_ONCE: Final = 500


class SqliteRecords(Records):
    """`Records` over one file; every acknowledged unit is synced (write-ahead log, synchronous=FULL).

    One process opens a file at a time. Units run serially on the writer's thread, which also calls `done`.
    Reading never waits for writing, and sees committed units only.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        linger_ms: float = 2,
        queue_max: int = 10_000,
        cached_max: int = 200_000,
    ) -> None:
        """`linger_ms` bounds how long a unit waits for others to share its sync; `cached_max` is the number of
        people, and of accounts, kept in memory. Raises StoreBroken when the file cannot be owned or used."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._ownership = Ownership(path)
        try:
            self._connection = open_for_writing(path)
            migrate(self._connection)
            self._readers = Readers(path)
            self._committed = committed = Committed(self._connection, self._readers, cached_max)
        except BaseException:
            self._ownership.release()
            raise
        self._checkpoints = Checkpoints(open_beside(path))
        self._writer = Writer(self._connection, committed, self._checkpoints, linger_ms, queue_max)
        # Bound once: these two are on every decision's path.
        self._person: Callable[[str], Person | None] = committed.people.get
        self._account: Callable[[str], Account | None] = committed.accounts.get

    def submit(self, work: Callable[[Transaction], T], done: Callable[[T | BaseException], None]) -> None:
        self._writer.submit(Unit(work, done))

    def run(self, work: Callable[[Transaction], T]) -> T:
        """Raises RuntimeError on the writer's own thread, where it would wait for itself."""
        if self._writer.is_here():
            raise RuntimeError("`run` was called by a unit of work or its `done`: use `submit` there")
        answer: list[Any] = []
        waiting = Lock()
        waiting.acquire()

        def done(result: T | BaseException) -> None:
            answer.append(result)
            waiting.release()

        self.submit(work, done)
        waiting.acquire()
        if isinstance(answer[0], BaseException):
            raise answer[0]
        result: T = answer[0]
        return result

    def person(self, id_: str) -> Person | None:
        return self._person(id_)

    def account(self, id_: str) -> Account | None:
        return self._account(id_)

    def customer_by(self, identifier: bytes) -> str | None:
        row = self._readers.one(queries.IDENTIFIER, identifier)
        return None if row is None else row[1]

    def decision(self, id_: str) -> StoredDecision | None:
        row = self._readers.one(queries.DECISION_BY_ID, id_)
        return None if row is None else rows.decision(row)

    def decision_by_key(self, key: str) -> StoredDecision | None:
        row = self._readers.one(queries.DECISION_BY_KEY, key)
        return None if row is None else rows.decision(row)

    def decisions(
        self, last: int, *, before: str | None = None, disposition: str | None = None, customer: str | None = None
    ) -> list[StoredDecision]:
        """By falling id, which for UUIDv7 is the order of time; `before` is the last id of the page before."""
        wanted = {
            queries.DECISIONS_BEFORE: before,
            queries.DECISIONS_DISPOSITION: disposition,
            queries.DECISIONS_CUSTOMER: customer,
        }
        given = {condition: value for condition, value in wanted.items() if value is not None}
        where = f" WHERE {' AND '.join(given)}" if given else ""
        sql = queries.DECISIONS_NEWEST.format(where=where)
        return [rows.decision(row) for row in self._readers.all(sql, *given.values(), last)]

    def outcomes(self, decision: str) -> list[StoredOutcome]:
        return [rows.outcome(row) for row in self._readers.all(queries.OUTCOMES_OF, decision)]

    def reviews(self, status: str, last: int) -> list[Review]:
        return [rows.review(row) for row in self._readers.all(queries.REVIEWS, status, last)]

    def signals(self, after: int = 0) -> Iterator[StoredSignal]:
        """Read in batches: between two of them no read transaction keeps the write-ahead log from being emptied."""
        while batch := self._readers.all(queries.SIGNALS_AFTER, after, SIGNALS_AT_ONCE):
            yield from map(rows.signal, batch)
            after = batch[-1][0]

    def quarantined(self, last: int) -> list[Quarantined]:
        return [rows.quarantined(row) for row in self._readers.all(queries.QUARANTINE_NEWEST, last)]

    def counts(self) -> Mapping[str, int]:
        found = self._committed.counts
        return {**dict.fromkeys(COUNTED, 0), **{name: value for name, value in found.items() if value}}

    def revenue_by_unit(self, since_ms: int) -> Iterator[tuple[str, bool, float]]:
        with self._readers.lend() as connection:
            found = connection.execute(queries.REVENUE_BY_UNIT, {"since_ms": since_ms}).fetchall()
        for unit, holdout, revenue in found:
            yield unit, bool(holdout), revenue

    def release(self, hash_: str) -> StoredRelease | None:
        row = self._readers.one(queries.RELEASE_BY_HASH, hash_)
        return None if row is None else rows.release(row)

    def releases(self) -> list[StoredRelease]:
        return [rows.release(row) for row in self._readers.all(queries.RELEASES)]

    def live(self) -> str | None:
        row = self._readers.one(queries.LIVE)
        return None if row is None else row[0]

    def live_history(self) -> list[tuple[int, str, str, str]]:
        return self._readers.all(queries.LIVE_HISTORY)

    def leaves(self, start: int, stop: int) -> list[bytes]:
        return [entry for (entry,) in self._readers.all(queries.LEAVES, start, stop)]

    def leaf_count(self) -> int:
        return self._committed.leaf_count

    def close(self) -> None:
        """Finishes the units that wait, then gives the file back."""
        self._writer.close()
        self._checkpoints.close()
        self._readers.close()
        self._connection.close()
        self._ownership.release()
