"""What is durable, as the writer's units read it: numbers and caches in memory, everything else by SQL."""

import sqlite3
from typing import Any

from opportune.adapters.sqlite import queries, rows
from opportune.adapters.sqlite.cache import Cache
from opportune.adapters.sqlite.file import Readers
from opportune.core.customers import Account, Person
from opportune.ports import Review, StoreBroken, StoredDecision, StoredOutcome, StoredRelease
from opportune.unit_of_work import Changes


class Committed:
    """The backing of every group. Only the writer's thread calls what is not a cache.

    `people` and `accounts` are shared with all readers. Ids of decisions and outcomes are UUIDv7: one that is
    greater than the newest stored is new, which spares the look into the index.
    """

    def __init__(self, connection: sqlite3.Connection, readers: Readers, cached_max: int) -> None:
        self._connection = connection
        self.people: Cache[Person] = Cache(lambda id_: _person(readers.one(queries.PERSON, id_)), cached_max)
        self.accounts: Cache[Account] = Cache(lambda id_: _account(readers.one(queries.ACCOUNT, id_)), cached_max)
        self.signal_count: int = self._value(queries.LAST_SIGNAL)
        self.quarantined_count: int = self._value(queries.LAST_QUARANTINED)
        self.leaf_count: int = self._value(queries.LEAF_COUNT)
        self._last_decision: str = self._value(queries.LAST_DECISION) or ""
        self._last_outcome: str = self._value(queries.LAST_OUTCOME) or ""
        self.counts: dict[str, int] = dict(connection.execute(queries.COUNTERS).fetchall())
        self._check()

    def signal_seen(self, identity: tuple[str, str]) -> tuple[int, bytes] | None:
        row: tuple[int, bytes] | None = self._connection.execute(queries.SIGNAL_SEEN, identity).fetchone()
        return row

    def person(self, id_: str) -> Person | None:
        return self.people.get_with(id_, lambda key: _person(self._one(queries.PERSON, key)))

    def account(self, id_: str) -> Account | None:
        return self.accounts.get_with(id_, lambda key: _account(self._one(queries.ACCOUNT, key)))

    def identifier(self, identifier: bytes) -> tuple[str, str] | None:
        row: tuple[str, str] | None = self._one(queries.IDENTIFIER, identifier)
        return row

    def decision(self, id_: str) -> StoredDecision | None:
        row = None if id_ > self._last_decision else self._one(queries.DECISION_BY_ID, id_)
        return None if row is None else rows.decision(row)

    def decision_of_key(self, key: str) -> str | None:
        row = self._one(queries.DECISION_OF_KEY, key)
        return None if row is None else row[0]

    def outcome(self, id_: str) -> StoredOutcome | None:
        row = None if id_ > self._last_outcome else self._one(queries.OUTCOME_BY_ID, id_)
        return None if row is None else rows.outcome(row)

    def review(self, id_: str) -> Review | None:
        row = self._one(queries.REVIEW_BY_ID, id_)
        return None if row is None else rows.review(row)

    def release(self, hash_: str) -> StoredRelease | None:
        row = self._one(queries.RELEASE_BY_HASH, hash_)
        return None if row is None else rows.release(row)

    def position(self, reader: str) -> str | None:
        row = self._one(queries.POSITION, reader)
        return None if row is None else row[0]

    def totals(self, changes: Changes) -> dict[str, int]:
        """The counters after these changes, only those that change."""
        return {name: self.counts.get(name, 0) + by for name, by in changes.counts.items()}

    def take_over(self, changes: Changes) -> None:
        """After COMMIT: what the group changed is what everybody reads."""
        self.signal_count += len(changes.signals)
        self.quarantined_count += len(changes.quarantined)
        self.leaf_count += len(changes.leaves)
        self._last_decision = max([self._last_decision, *(id_ for id_, _ in changes.decisions.written())])
        self._last_outcome = max([self._last_outcome, *(id_ for id_, _ in changes.outcomes.written())])
        # A new dict each time: readers may hold the one before.
        self.counts = {**self.counts, **self.totals(changes)}
        self.people.replace(changes.people.written())
        self.accounts.replace(changes.accounts.written())

    def _check(self) -> None:
        kept = (self.signal_count, self.quarantined_count, self.leaf_count)
        told = tuple(self.counts.get(name, 0) for name in ("signals", "quarantined", "leaves"))
        if kept != told:
            raise StoreBroken(
                f"the counters say {told} signals, quarantined and leaves, the tables hold {kept}: restore a backup"
            )

    def _one(self, sql: str, key: str | bytes) -> Any:  # noqa: ANN401 - a row is what the query says
        return self._connection.execute(sql, (key,)).fetchone()

    def _value(self, sql: str) -> Any:  # noqa: ANN401
        return self._connection.execute(sql).fetchone()[0]


def _person(row: tuple[bytes] | None) -> Person | None:
    return None if row is None else rows.decode_person(row[0])


def _account(row: tuple[bytes] | None) -> Account | None:
    return None if row is None else rows.decode_account(row[0])
