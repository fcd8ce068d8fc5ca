"""What is durable, as the writer's units read it: numbers and caches in memory, everything else by SQL."""

import sqlite3
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import msgspec

from opportune.adapters.sqlite import queries, rows
from opportune.adapters.sqlite.cache import Cache
from opportune.adapters.sqlite.file import Readers
from opportune.adapters.sqlite.rows import Rows
from opportune.adapters.sqlite.sealing import every_known, known
from opportune.core.beliefs import Cell
from opportune.core.contacts import Tally
from opportune.core.customers import Account, Person
from opportune.core.registry import ModelEvent
from opportune.ports import (
    Action,
    Merge,
    Proposal,
    Quarantined,
    Review,
    StoreBroken,
    StoredDecision,
    StoredDrift,
    StoredOutcome,
    StoredRelease,
    StoredSignal,
)
from opportune.unit_of_work import Changes

T = TypeVar("T")


class Mark(msgspec.Struct, frozen=True):
    """How far a table had come when rows were removed from it last, and how many were removed in all."""

    last: int = 0
    removed: int = 0


class Committed:
    """The backing of every group. Only the writer's thread calls what is not a cache.

    `people` and `accounts` are shared with all readers. Ids of decisions and outcomes are UUIDv7: one that is
    greater than the newest stored is new, which spares the look into the index. `signal_count` and
    `quarantined_count` are the last place given out, also when what stood there was removed.
    """

    def __init__(self, connection: sqlite3.Connection, readers: Readers, sealed: Rows, cached_max: int) -> None:
        self._connection = connection
        self._rows = sealed
        self.people: Cache[Person] = Cache(
            lambda id_: known(sealed.person, readers.one(queries.PERSON, id_)), cached_max
        )
        self.accounts: Cache[Account] = Cache(
            lambda id_: known(sealed.account, readers.one(queries.ACCOUNT, id_)), cached_max
        )
        # Few and small: all of them are in memory. Written by the writer's thread alone, one key at a time.
        self.tallies: dict[str, Tally] = {
            tally.id: tally for tally in map(rows.tally, connection.execute(queries.TALLIES).fetchall())
        }
        self.tally: Callable[[str], Tally | None] = self.tallies.get
        self.beliefs: dict[str, Cell] = {
            cell.id: cell for cell in map(rows.belief, connection.execute(queries.BELIEFS).fetchall())
        }
        self.belief: Callable[[str], Cell | None] = self.beliefs.get
        self.marks: dict[str, Mark] = {
            name: Mark(last, removed) for name, last, removed in connection.execute(queries.MARKS)
        }
        self.signal_count: int = max(self._value(queries.LAST_SIGNAL), self.mark("signals").last)
        self.quarantined_count: int = max(self._value(queries.LAST_QUARANTINED), self.mark("quarantined").last)
        self.leaf_count: int = self._value(queries.LEAF_COUNT)
        self._last_decision: str = self._value(queries.LAST_DECISION) or ""
        self._last_outcome: str = self._value(queries.LAST_OUTCOME) or ""
        self.counts: dict[str, int] = dict(connection.execute(queries.COUNTERS).fetchall())
        self._check()

    def signal_seen(self, identity: tuple[str, str]) -> tuple[int, bytes] | None:
        row: tuple[int, bytes] | None = self._connection.execute(queries.SIGNAL_SEEN, identity).fetchone()
        return row

    def person(self, id_: str) -> Person | None:
        return self.people.get_with(id_, lambda key: self._known(self._rows.person, queries.PERSON, key))

    def account(self, id_: str) -> Account | None:
        return self.accounts.get_with(id_, lambda key: self._known(self._rows.account, queries.ACCOUNT, key))

    def identifier(self, identifier: bytes) -> tuple[str, str] | None:
        row: tuple[str, str] | None = self._one(queries.IDENTIFIER, identifier)
        return row

    def decision(self, id_: str) -> StoredDecision | None:
        if id_ > self._last_decision:
            return None
        return self._known(self._rows.decision, queries.DECISION_BY_ID, id_)

    def decision_of_key(self, key: str) -> str | None:
        row = self._one(queries.DECISION_OF_KEY, key)
        return None if row is None else row[0]

    def outcome(self, id_: str) -> StoredOutcome | None:
        if id_ > self._last_outcome:
            return None
        return self._known(self._rows.outcome, queries.OUTCOME_BY_ID, id_)

    def review(self, id_: str) -> Review | None:
        row = self._one(queries.REVIEW_BY_ID, id_)
        return None if row is None else rows.review(row)

    def release(self, hash_: str) -> StoredRelease | None:
        row = self._one(queries.RELEASE_BY_HASH, hash_)
        return None if row is None else rows.release(row)

    def position(self, reader: str) -> str | None:
        row = self._one(queries.POSITION, reader)
        return None if row is None else row[0]

    def signals_of(self, customers: Collection[str]) -> list[StoredSignal]:
        found = self._connection.execute(queries.SIGNALS_OF, (queries.json_list(customers),))
        return list(every_known(self._rows.signal, found))

    def decisions_of(self, customers: Collection[str], since_ms: int) -> list[StoredDecision]:
        found = self._connection.execute(queries.DECISIONS_OF, (queries.json_list(customers), since_ms))
        return list(every_known(self._rows.decision, found))

    def decisions_after(self, id_: str, last: int) -> list[StoredDecision]:
        found = self._connection.execute(queries.DECISIONS_AFTER, (id_, last))
        return list(every_known(self._rows.decision, found))

    def outcomes_of(self, customers: Collection[str]) -> list[StoredOutcome]:
        found = self._connection.execute(queries.OUTCOMES_OF_CUSTOMERS, (queries.json_list(customers),))
        return list(every_known(self._rows.outcome, found))

    def merges_of(self, customer: str) -> list[Merge]:
        found = self._connection.execute(queries.MERGES_OF, (customer,))
        return list(every_known(self._rows.merge, found))

    def quarantine_entry(self, seq: int) -> Quarantined | None:
        return self._known(self._rows.quarantined, queries.QUARANTINE_BY_SEQ, seq)

    def claimed(self, claim: tuple[str, bytes]) -> str | None:
        row = self._connection.execute(queries.CLAIMED, claim).fetchone()
        return None if row is None else row[0]

    def suppressed(self, identifier: bytes) -> int | None:
        row = self._one(queries.SUPPRESSED, identifier)
        return None if row is None else row[0]

    def merge(self, id_: str) -> Merge | None:
        return self._known(self._rows.merge, queries.MERGE_BY_ID, id_)

    def proposal(self, id_: str) -> Proposal | None:
        return self._known(self._rows.proposal, queries.PROPOSAL_BY_ID, id_)

    def action(self, id_: str) -> Action | None:
        return self._known(self._rows.action, queries.ACTION_BY_ID, id_)

    def drift(self, id_: str) -> StoredDrift | None:
        row = self._one(queries.DRIFT_BY_ID, id_)
        return None if row is None else rows.drift(row)

    def model_events(self, card: str) -> list[ModelEvent]:
        return [rows.model_event(row) for row in self._connection.execute(queries.MODEL_EVENTS_OF, (card,))]

    def totals(self, grown: Mapping[str, int]) -> dict[str, int]:
        """The counters after this, only those that change."""
        return {name: self.counts.get(name, 0) + by for name, by in grown.items()}

    def mark(self, name: str) -> Mark:
        return self.marks.get(name, Mark())

    def take_over(self, changes: Changes) -> None:
        """After COMMIT: what the group changed is what everybody reads."""
        self.signal_count += len(changes.signals)
        self.quarantined_count += len(changes.quarantined)
        self.leaf_count += len(changes.leaves)
        self._last_decision = max([self._last_decision, *(id_ for id_, _ in changes.decisions.written())])
        self._last_outcome = max([self._last_outcome, *(id_ for id_, _ in changes.outcomes.written())])
        # A new dict each time: readers may hold the one before.
        self.counts = {**self.counts, **self.totals(changes.counts)}
        self.people.replace(changes.people.written())
        self.accounts.replace(changes.accounts.written())
        self.tallies.update(changes.tallies.written())
        self.beliefs.update(changes.beliefs.written())

    def take_away(self, totals: Mapping[str, int], marks: Mapping[str, Mark], customers: Collection[str]) -> None:
        """After COMMIT of a removal: what the counters and marks are now, and whose state nobody may find here."""
        self.counts = {**self.counts, **totals}
        self.marks.update(marks)
        if customers:
            self.people.remove(customers)

    def _check(self) -> None:
        """INVARIANT: every place given out holds a row, or is one of those that were removed."""
        signals = self.signal_count - self.mark("signals").removed
        kept = (signals, self.quarantined_count - self.mark("quarantined").removed, self.leaf_count)
        told = tuple(self.counts.get(name, 0) for name in ("signals", "quarantined", "leaves"))
        if kept != told:
            raise StoreBroken(
                f"the counters say {told} signals, quarantined and leaves, the tables hold {kept}: restore a backup"
            )

    def _known(self, make: Callable[[Any], T], sql: str, key: str | int) -> T | None:
        return known(make, self._one(sql, key))

    def _one(self, sql: str, key: str | bytes | int) -> Any:  # noqa: ANN401 - a row is what the query says
        return self._connection.execute(sql, (key,)).fetchone()

    def _value(self, sql: str) -> Any:  # noqa: ANN401
        return self._connection.execute(sql).fetchone()[0]
