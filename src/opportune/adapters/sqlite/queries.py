"""Every SQL statement of the store, by name, with one line that says what it does."""
# ruff: noqa: S608 - what is put together here are constants of this file

from functools import cache
from typing import Final

import msgspec

DECISION: Final = (
    "id, at_ms, customer, account, unit, moment, release, disposition, offer, channel, holdout, total_us, "
    "leaf, key, salt, record"
)
OUTCOME: Final = "id, at_ms, kind, customer, unit, decision, offer, amount, detail, leaf"
REVIEW: Final = "id, decision, customer, opened_ms, reason, status"
RELEASE: Final = "hash, created_ms, note, manifest"
QUARANTINED: Final = "seq, received_ms, source, id, type, problems, body"
SIGNAL: Final = "seq, source, id, content, type, version, at_ms, received_ms, customer, account, data"


class Write(msgspec.Struct, frozen=True):
    """An INSERT of many rows; with `replaced_by`, a row with that key is replaced instead."""

    table: str
    columns: str
    replaced_by: str | None = None


@cache
def insert(write: Write, rows: int) -> str:
    """The statement for this many rows at once: one step of the driver, so one release of the GIL."""
    names = write.columns.split(", ")
    row = f"({', '.join('?' * len(names))})"
    text = f"INSERT INTO {write.table} ({write.columns}) VALUES {', '.join([row] * rows)}"
    if write.replaced_by is None:
        return text
    changed = ", ".join(f"{name} = excluded.{name}" for name in names if name != write.replaced_by)
    return f"{text} ON CONFLICT ({write.replaced_by}) DO UPDATE SET {changed}"


# Appends to the signal log
WRITE_SIGNALS: Final = Write("signals", SIGNAL)
# Keeps signals out, with their reasons
WRITE_QUARANTINE: Final = Write("quarantine", QUARANTINED)
# Stores the newest state of people and accounts
WRITE_PEOPLE: Final = Write("people", "id, state", "id")
WRITE_ACCOUNTS: Final = Write("accounts", "id, state", "id")
# Points identifiers at customers
WRITE_IDENTIFIERS: Final = Write("identifiers", "hash, kind, customer", "hash")
# Stores decisions; one that is put again is replaced, its key stays
WRITE_DECISIONS: Final = Write("decisions", DECISION, "id")
# Stores what became of decisions
WRITE_OUTCOMES: Final = Write("outcomes", OUTCOME, "id")
# Opens or closes reviews
WRITE_REVIEWS: Final = Write("reviews", REVIEW, "id")
# Stores immutable releases
WRITE_RELEASES: Final = Write("releases", RELEASE, "hash")
# Says what is live from now on
WRITE_LIVE: Final = Write("live_history", "at_ms, release, actor, why")
# Remembers how far readers have come
WRITE_POSITIONS: Final = Write("positions", "reader, position", "reader")
# Appends ledger entries
WRITE_LEAVES: Final = Write("leaves", "idx, entry")
# Stores the new totals
WRITE_COUNTERS: Final = Write("counters", "name, value", "name")

# The place and content hash of an accepted signal
SIGNAL_SEEN: Final = "SELECT seq, content FROM signals WHERE source = ? AND id = ?"
# One batch of the log after a place
SIGNALS_AFTER: Final = f"SELECT {SIGNAL} FROM signals WHERE seq > ? ORDER BY seq LIMIT ?"
# The end of the log, of the quarantine and of the ledger
LAST_SIGNAL: Final = "SELECT coalesce(max(seq), 0) FROM signals"
LAST_QUARANTINED: Final = "SELECT coalesce(max(seq), 0) FROM quarantine"
LEAF_COUNT: Final = "SELECT coalesce(max(idx) + 1, 0) FROM leaves"
# The newest signals that were kept out
QUARANTINE_NEWEST: Final = f"SELECT {QUARANTINED} FROM quarantine ORDER BY seq DESC LIMIT ?"

# The state of one person or account
PERSON: Final = "SELECT state FROM people WHERE id = ?"
ACCOUNT: Final = "SELECT state FROM accounts WHERE id = ?"
# Whom a keyed-hashed identifier points to
IDENTIFIER: Final = "SELECT kind, customer FROM identifiers WHERE hash = ?"

# One decision, by id or by the caller's key
DECISION_BY_ID: Final = f"SELECT {DECISION} FROM decisions WHERE id = ?"
DECISION_BY_KEY: Final = f"SELECT {DECISION} FROM decisions WHERE key = ?"
DECISION_OF_KEY: Final = "SELECT id FROM decisions WHERE key = ?"
# The newest id of a decision or outcome: ids are UUIDv7, so a greater one is new
LAST_DECISION: Final = "SELECT max(id) FROM decisions"
LAST_OUTCOME: Final = "SELECT max(id) FROM outcomes"
# The newest decisions; `{where}` is made of the three conditions below
DECISIONS_NEWEST: Final = f"SELECT {DECISION} FROM decisions{{where}} ORDER BY id DESC LIMIT ?"
DECISIONS_BEFORE: Final = "id < ?"
DECISIONS_DISPOSITION: Final = "disposition = ?"
DECISIONS_CUSTOMER: Final = "customer = ?"

# One outcome, and all outcomes of one decision in order of time
OUTCOME_BY_ID: Final = f"SELECT {OUTCOME} FROM outcomes WHERE id = ?"
OUTCOMES_OF: Final = f"SELECT {OUTCOME} FROM outcomes WHERE decision = ? ORDER BY at_ms, id"
# What each unit that was decided on brought in since then; a unit is held out if any decision says so
REVENUE_BY_UNIT: Final = """
WITH decided AS (
  SELECT unit, max(holdout) AS holdout FROM decisions WHERE at_ms >= :since_ms GROUP BY unit
), earned AS (
  SELECT unit, sum(amount) AS revenue FROM outcomes
  WHERE kind = 'converted' AND at_ms >= :since_ms GROUP BY unit
)
SELECT decided.unit, decided.holdout, coalesce(earned.revenue, 0.0)
FROM decided LEFT JOIN earned ON earned.unit = decided.unit ORDER BY decided.unit
"""

# One review, and the newest reviews with one status
REVIEW_BY_ID: Final = f"SELECT {REVIEW} FROM reviews WHERE id = ?"
REVIEWS: Final = f"SELECT {REVIEW} FROM reviews WHERE status = ? ORDER BY opened_ms DESC, id DESC LIMIT ?"

# Releases, and what was live when
RELEASE_BY_HASH: Final = f"SELECT {RELEASE} FROM releases WHERE hash = ?"
RELEASES: Final = f"SELECT {RELEASE} FROM releases ORDER BY created_ms DESC, hash"
LIVE: Final = "SELECT release FROM live_history ORDER BY seq DESC LIMIT 1"
LIVE_HISTORY: Final = "SELECT at_ms, release, actor, why FROM live_history ORDER BY seq DESC"

# How far a reader has come
POSITION: Final = "SELECT position FROM positions WHERE reader = ?"
# Ledger entries from a start to before a stop
LEAVES: Final = "SELECT entry FROM leaves WHERE idx >= ? AND idx < ? ORDER BY idx"
# The totals of everything stored
COUNTERS: Final = "SELECT name, value FROM counters"
