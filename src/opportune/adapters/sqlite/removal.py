"""What is removed or replaced for good: barriers of the writer, each in one transaction, with the rows overwritten."""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal

from opportune.adapters.sqlite import queries
from opportune.adapters.sqlite.checkpoint import Checkpoints
from opportune.adapters.sqlite.committed import Committed, Mark
from opportune.adapters.sqlite.rows import Rows
from opportune.adapters.sqlite.writer import insert
from opportune.ports import StoredSignal

ATTEMPT_MS: Final = 250
"""How long one attempt to empty the log may hold up the units that wait."""

_COUNTED: Final = ("signals", "people", "decisions", "outcomes", "reviews", "quarantined")


def erase(connection: sqlite3.Connection, committed: Committed, customers: Collection[str]) -> Mapping[str, int]:
    """Removes every row about these customers; how many of each kind."""
    them = (queries.json_list(customers),)
    connection.execute("BEGIN IMMEDIATE")
    by_kind: dict[str, int] = dict(connection.execute(queries.ERASED_BY_KIND, them).fetchall())
    connection.execute(queries.ERASE_CLAIMS, them)
    removed = {name: connection.execute(sql, them).rowcount for name, sql in queries.ERASE.items()}
    grown = {name: -removed[name] for name in _COUNTED}
    grown.update((name, -count) for name, count in by_kind.items())
    _commit_removal(connection, committed, grown, customers)
    return removed


def drop_before(
    connection: sqlite3.Connection, committed: Committed, what: Literal["quarantine", "access"], at_ms: int
) -> int:
    """Removes entries that are older; how many."""
    sql = queries.DROP_QUARANTINE if what == "quarantine" else queries.DROP_ACCESSES
    connection.execute("BEGIN IMMEDIATE")
    removed = connection.execute(sql, (at_ms,)).rowcount
    _commit_removal(connection, committed, {"quarantined": -removed} if what == "quarantine" else {}, ())
    return removed


def rewrite_signals(connection: sqlite3.Connection, sealed: Rows, signals: Sequence[StoredSignal]) -> None:
    """Replaces what signals say at their places; a place that is empty stays empty."""
    connection.execute("BEGIN IMMEDIATE")
    for stored in signals:
        s = stored.signal
        values = (s.type, s.version, s.at_ms, s.received_ms, s.customer, s.account)
        connection.execute(queries.REWRITE_SIGNAL, (*values, sealed.signal_data(stored), stored.seq))
    sealed.flush()
    connection.execute("COMMIT")


def empty_log(connection: sqlite3.Connection, checkpoints: Checkpoints) -> bool:
    """Copies the write-ahead log into the file and cuts it to nothing; False when a reader still needs it."""
    checkpoints.settle(connection)
    before = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.execute(f"PRAGMA busy_timeout = {ATTEMPT_MS}")
    try:
        busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        connection.execute(f"PRAGMA busy_timeout = {before}")
    return not busy


def write_anew(connection: sqlite3.Connection) -> None:
    """Writes the whole file anew, through the log: no free page and no gap in a page keeps what was there."""
    # In a file, not in memory: it is as large as the store. It holds nothing that was removed.
    connection.execute("PRAGMA temp_store = FILE")
    try:
        connection.execute("VACUUM")
    finally:
        connection.execute("PRAGMA temp_store = MEMORY")


def _commit_removal(
    connection: sqlite3.Connection, committed: Committed, grown: Mapping[str, int], customers: Collection[str]
) -> None:
    """Counters and marks fall with the rows; then nobody finds them in memory either.

    INVARIANT: a place in the log is given out once, also when what stood there last was removed.
    """
    totals = committed.totals({name: by for name, by in grown.items() if by})
    places = {"signals": committed.signal_count, "quarantined": committed.quarantined_count}
    marks = {
        name: Mark(last, committed.mark(name).removed - grown[name]) for name, last in places.items() if grown.get(name)
    }
    insert(connection, queries.WRITE_COUNTERS, list(totals.items()))
    insert(connection, queries.WRITE_MARKS, [(name, mark.last, mark.removed) for name, mark in marks.items()])
    connection.execute("COMMIT")
    committed.take_away(totals, marks, customers)
