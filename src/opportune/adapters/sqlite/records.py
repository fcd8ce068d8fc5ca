"""The system of record in one SQLite file: units through one writer, read models through readers of their own."""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event, Lock
from typing import Any, Final, Literal, TypeVar

from opportune.adapters.sqlite import queries, removal, rows
from opportune.adapters.sqlite.checkpoint import Checkpoints
from opportune.adapters.sqlite.committed import Committed
from opportune.adapters.sqlite.file import Ownership, Readers, open_beside, open_for_writing
from opportune.adapters.sqlite.rows import Rows
from opportune.adapters.sqlite.schema import migrate
from opportune.adapters.sqlite.sealing import every_known, known
from opportune.adapters.sqlite.writer import Barrier, Unit, Writer
from opportune.core.beliefs import Cell
from opportune.core.contacts import Tally
from opportune.core.customers import Account, Person
from opportune.core.registry import ModelEvent
from opportune.ports import (
    Access,
    Action,
    Merge,
    Proposal,
    Quarantined,
    Records,
    Review,
    Seal,
    StoredDecision,
    StoredDrift,
    StoredOutcome,
    StoredRelease,
    StoredSignal,
    Transaction,
)
from opportune.unit_of_work import COUNTED

T = TypeVar("T")

ROWS_AT_ONCE: Final = 500
SCRUB_ATTEMPTS: Final = 120
"""At most; between two of them units run."""
SCRUB_PAUSE_S: Final = 0.25


class SqliteRecords(Records):
    """`Records` over one file; every acknowledged unit is synced (write-ahead log, synchronous=FULL).

    One process opens a file at a time. Units run serially on the writer's thread, which also calls `done`.
    Reading never waits for writing, and sees committed units only.
    """

    def __init__(
        self,
        path: Path | str,
        seal: Seal,
        *,
        linger_ms: float = 2,
        queue_max: int = 10_000,
        cached_max: int = 200_000,
    ) -> None:
        """What is kept about a person or an account is sealed by `seal` at rest. `linger_ms` bounds how long a unit
        waits for others to share its sync; `cached_max` is the number of people, and of accounts, kept in memory.
        Raises StoreBroken when the file cannot be owned or used."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._ownership = Ownership(path)
        try:
            self._connection = open_for_writing(path)
            migrate(self._connection)
            self._readers = Readers(path)
            self._rows = sealed = Rows(seal)
            self._committed = committed = Committed(self._connection, self._readers, sealed, cached_max)
        except BaseException:
            self._ownership.release()
            raise
        self._checkpoints = Checkpoints(open_beside(path))
        self._writer = Writer(self._connection, committed, sealed, self._checkpoints, linger_ms, queue_max)
        # Bound once: these two are on every decision's path.
        self._person: Callable[[str], Person | None] = committed.people.get
        self._account: Callable[[str], Account | None] = committed.accounts.get
        self._tally: Callable[[str], Tally | None] = committed.tally
        self._beliefs: Callable[[], list[Cell]] = lambda: list(committed.beliefs.values())

    def submit(self, work: Callable[[Transaction], T], done: Callable[[T | BaseException], None]) -> None:
        self._writer.submit(Unit(work, done))

    def submit_short(self, work: Callable[[Transaction], T], done: Callable[[T | BaseException], None]) -> None:
        self._writer.submit(Unit(work, done, short=True))

    def share(self, elsewhere: Callable[[Callable[[], None]], object]) -> None:
        self._writer.share(elsewhere)

    def run(self, work: Callable[[Transaction], T]) -> T:
        """Raises RuntimeError on the writer's own thread, where it would wait for itself."""
        result: T = self._waited_for(lambda done: self.submit(work, done))
        return result

    def person(self, id_: str) -> Person | None:
        return self._person(id_)

    def account(self, id_: str) -> Account | None:
        return self._account(id_)

    def tally(self, id_: str) -> Tally | None:
        return self._tally(id_)

    def beliefs(self) -> list[Cell]:
        return self._beliefs()

    def customer_by(self, identifier: bytes) -> str | None:
        row = self._readers.one(queries.IDENTIFIER, identifier)
        return None if row is None else row[1]

    def decision(self, id_: str) -> StoredDecision | None:
        return known(self._rows.decision, self._readers.one(queries.DECISION_BY_ID, id_))

    def decision_by_key(self, key: str) -> StoredDecision | None:
        return known(self._rows.decision, self._readers.one(queries.DECISION_BY_KEY, key))

    def decisions(
        self, last: int, *, before: str | None = None, disposition: str | None = None, customer: str | None = None
    ) -> list[StoredDecision]:
        """By falling id, which for UUIDv7 is the order of time; `before` is the last id of the page before."""
        wanted = {queries.BEFORE: before, queries.WITH_DISPOSITION: disposition, queries.OF_CUSTOMER: customer}
        where, given = queries.where(wanted)
        found = self._readers.all(queries.DECISIONS_NEWEST.format(where=where), *given, last)
        return list(every_known(self._rows.decision, found))

    def decisions_after(self, id_: str, last: int) -> list[StoredDecision]:
        return list(every_known(self._rows.decision, self._readers.all(queries.DECISIONS_AFTER, id_, last)))

    def outcomes(self, decision: str) -> list[StoredOutcome]:
        return list(every_known(self._rows.outcome, self._readers.all(queries.OUTCOMES_OF, decision)))

    def reviews(self, status: str, last: int) -> list[Review]:
        return [rows.review(row) for row in self._readers.all(queries.REVIEWS, status, last)]

    def review(self, id_: str) -> Review | None:
        row = self._readers.one(queries.REVIEW_BY_ID, id_)
        return None if row is None else rows.review(row)

    def position(self, reader: str) -> str | None:
        row = self._readers.one(queries.POSITION, reader)
        return None if row is None else str(row[0])

    def signals(self, after: int = 0, types: Collection[str] | None = None) -> Iterator[StoredSignal]:
        """Read in batches: between two of them no read transaction keeps the write-ahead log from being emptied."""
        query = queries.SIGNALS_AFTER if types is None else queries.SIGNALS_OF_TYPES
        named = () if types is None else (queries.json_list(types),)
        while batch := self._readers.all(query, after, *named, ROWS_AT_ONCE):
            yield from every_known(self._rows.signal, batch)
            after = batch[-1][0]

    def signals_of(self, customers: Collection[str], last: int, before: int | None = None) -> list[StoredSignal]:
        names, place = queries.json_list(customers), queries.NEVER if before is None else before
        found = self._readers.all(queries.SIGNALS_OF_NEWEST, names, place, last)
        return list(every_known(self._rows.signal, found))

    def signals_of_account(self, account: str, last: int, before: int | None = None) -> list[StoredSignal]:
        place = queries.NEVER if before is None else before
        found = self._readers.all(queries.SIGNALS_OF_ACCOUNT, account, place, last)
        return list(every_known(self._rows.signal, found))

    def quarantined(self, last: int, *, status: str | None = None, before: int | None = None) -> list[Quarantined]:
        place = queries.NEVER if before is None else before
        if status is None:
            found = self._readers.all(queries.QUARANTINE_NEWEST, place, last)
        else:
            found = self._readers.all(queries.QUARANTINE_WITH_STATUS, status, place, last)
        return list(every_known(self._rows.quarantined, found))

    def quarantine_entry(self, seq: int) -> Quarantined | None:
        return known(self._rows.quarantined, self._readers.one(queries.QUARANTINE_BY_SEQ, seq))

    def merges_of(self, customer: str) -> list[Merge]:
        return list(every_known(self._rows.merge, self._readers.all(queries.MERGES_OF, customer)))

    def proposals(self, status: str, last: int) -> list[Proposal]:
        return list(every_known(self._rows.proposal, self._readers.all(queries.PROPOSALS, status, last)))

    def accesses(self, last: int, *, customer: str | None = None, before: str | None = None) -> list[Access]:
        """By falling id, as `decisions`."""
        where, given = queries.where({queries.BEFORE: before, queries.OF_CUSTOMER: customer})
        found = self._readers.all(queries.ACCESSES_NEWEST.format(where=where), *given, last)
        return list(every_known(self._rows.access, found))

    def actions(self, statuses: Collection[str], due_ms: int, last: int) -> list[Action]:
        found = self._readers.all(queries.ACTIONS_DUE, queries.json_list(statuses), due_ms, last)
        return list(every_known(self._rows.action, found))

    def people(self) -> Iterator[Person]:
        """By id, read in batches as `signals`."""
        after = ""
        while batch := self._readers.all(queries.PEOPLE_AFTER, after, ROWS_AT_ONCE):
            yield from (person for person in every_known(self._rows.person, batch) if person.merged_into is None)
            after = batch[-1][0]

    def accounts(self) -> Iterator[Account]:
        """By id, read in batches as `signals`."""
        after = ""
        while batch := self._readers.all(queries.ACCOUNTS_AFTER, after, ROWS_AT_ONCE):
            yield from every_known(self._rows.account, batch)
            after = batch[-1][0]

    def erase(self, customers: Collection[str]) -> Mapping[str, int]:
        them = frozenset(customers)
        return self._between_units(lambda connection: removal.erase(connection, self._committed, them))

    def rewrite_signals(self, signals: Sequence[StoredSignal]) -> None:
        self._between_units(lambda connection: removal.rewrite_signals(connection, self._rows, signals))

    def drop_before(self, what: Literal["quarantine", "access"], at_ms: int) -> int:
        return self._between_units(lambda connection: removal.drop_before(connection, self._committed, what, at_ms))

    def scrub(self, *, deep: bool = False) -> None:
        """Units run between the attempts to empty the log, and wait while `deep` writes the file anew.

        Raises TimeoutError when a reader holds on to the log for more than a minute.
        """
        if deep:
            self._between_units(removal.write_anew)
        pause = Event()
        for _ in range(SCRUB_ATTEMPTS):
            if self._between_units(lambda connection: removal.empty_log(connection, self._checkpoints)):
                return
            pause.wait(SCRUB_PAUSE_S)
        raise TimeoutError("the write-ahead log is still being read: end what reads the store, then scrub again")

    def counts(self) -> Mapping[str, int]:
        found = self._committed.counts
        return {**dict.fromkeys(COUNTED, 0), **{name: value for name, value in found.items() if value}}

    def revenue_by_unit(self, since_ms: int) -> Iterator[tuple[str, bool, float]]:
        with self._readers.lend() as connection:
            found = connection.execute(queries.REVENUE_BY_UNIT, {"since_ms": since_ms}).fetchall()
        for unit, holdout, revenue in found:
            yield unit, bool(holdout), revenue

    def unclaimed(self, since_ms: int) -> Iterator[StoredOutcome]:
        yield from every_known(self._rows.outcome, self._readers.all(queries.UNCLAIMED, since_ms))

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

    def drift(
        self, what: Literal["report", "case", "disagreement"], last: int, *, model: str | None = None,
        status: str | None = None,
    ) -> list[StoredDrift]:
        asked = {"what": what, "model": model, "status": status, "last": last}
        with self._readers.lend() as connection:
            return [rows.drift(row) for row in connection.execute(queries.DRIFT_NEWEST, asked)]

    def model_events(self, card: str | None = None) -> list[ModelEvent]:
        if card is None:
            return [rows.model_event(row) for row in self._readers.all(queries.MODEL_EVENTS)]
        return [rows.model_event(row) for row in self._readers.all(queries.MODEL_EVENTS_OF, card)]

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

    def _between_units(self, work: Callable[[sqlite3.Connection], T]) -> T:
        result: T = self._waited_for(lambda done: self._writer.submit(Barrier(work, done)))
        return result

    def _waited_for(self, submit: Callable[[Callable[[Any], None]], None]) -> Any:  # noqa: ANN401 - the work's result
        if self._writer.is_here():
            raise RuntimeError("`run` was called by a unit of work or its `done`: use `submit` there")
        answer: list[Any] = []
        waiting = Lock()
        waiting.acquire()

        def done(result: object) -> None:
            answer.append(result)
            waiting.release()

        submit(done)
        waiting.acquire()
        if isinstance(answer[0], BaseException):
            raise answer[0]
        return answer[0]
