"""Every SQL statement of the store, by name, with one line that says what it does."""
# ruff: noqa: S608 - what is put together here are constants of this file

from collections.abc import Collection, Mapping
from functools import cache
from typing import Final

import msgspec

DECISION: Final = (
    "id, at_ms, customer, account, unit, moment, release, disposition, offer, channel, holdout, total_us, "
    "leaf, key, salt, record"
)
OUTCOME: Final = "id, at_ms, kind, customer, unit, decision, offer, amount, detail, leaf, sealed"
REVIEW: Final = "id, decision, customer, opened_ms, reason, status"
RELEASE: Final = "hash, created_ms, note, manifest"
QUARANTINED: Final = "seq, received_ms, source, id, type, customer, status, problems, body"
SIGNAL: Final = "seq, source, id, content, type, version, at_ms, received_ms, customer, account, leaf, data"
MERGE: Final = "id, at_ms, kept, merged, rule, actor, undone_ms, undone_by, sealed"
PROPOSAL: Final = "id, at_ms, one, other, probability, status, decided_ms, decided_by, sealed"
ACCESS: Final = "id, at_ms, actor, what, customer, classes, sealed"
ACTION: Final = "id, at_ms, customer, account, channel, offer, purpose, due_ms, expires_ms, status, attempts, sealed"
DRIFT: Final = "id, at_ms, what, model, card, status, alarms, body"
MODEL_EVENT: Final = "id, at_ms, card, model, kind, actor, reason, risk, details"
NEVER: Final = 2**63 - 1
"""Greater than every place."""


class Write(msgspec.Struct, frozen=True):
    """An INSERT of many rows; with `replaced_by`, a row with that key is replaced instead."""

    table: str
    columns: str
    replaced_by: str | None = None


def where(wanted: Mapping[str, str | None]) -> tuple[str, list[str]]:
    """The WHERE of those conditions that have a value, and the values."""
    given = {condition: value for condition, value in wanted.items() if value is not None}
    return f" WHERE {' AND '.join(given)}" if given else "", list(given.values())


def json_list(values: Collection[str]) -> str:
    """Several values as one parameter, for json_each."""
    return msgspec.json.encode(sorted(values)).decode()


@cache
def insert(write: Write, rows: int) -> str:
    """The statement for this many rows at once: one step of the driver, so one release of the GIL."""
    names = write.columns.split(", ")
    row = f"({', '.join('?' * len(names))})"
    text = f"INSERT INTO {write.table} ({write.columns}) VALUES {', '.join([row] * rows)}"
    if write.replaced_by is None:
        return text
    key = write.replaced_by.split(", ")
    changed = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key)
    return f"{text} ON CONFLICT ({write.replaced_by}) DO UPDATE SET {changed}"


# Appends to the signal log
WRITE_SIGNALS: Final = Write("signals", SIGNAL)
# Keeps signals out, with their reasons
WRITE_QUARANTINE: Final = Write("quarantine", QUARANTINED)
# Stores what became of them
PUT_QUARANTINE: Final = Write("quarantine", QUARANTINED, "seq")
# Stores the newest state of people and accounts
WRITE_PEOPLE: Final = Write("people", "id, state", "id")
WRITE_ACCOUNTS: Final = Write("accounts", "id, state", "id")
# Stores what was used of limits over everybody
WRITE_TALLIES: Final = Write("tallies", "id, state", "id")
# Stores what became of offers, by channel and segment
WRITE_BELIEFS: Final = Write("beliefs", "id, state", "id")
# Points identifiers at customers
WRITE_IDENTIFIERS: Final = Write("identifiers", "hash, kind, customer", "hash")
# Says who holds which value of a uniqueness rule
WRITE_CLAIMS: Final = Write("claims", "rule, value, holder", "rule, value")
# Keeps out whoever was erased
WRITE_SUPPRESSED: Final = Write("suppressed", "hash, at_ms", "hash")
# Stores merges, proposals of merges, accesses and the outbox
WRITE_MERGES: Final = Write("merges", MERGE, "id")
WRITE_PROPOSALS: Final = Write("proposals", PROPOSAL, "id")
WRITE_ACCESSES: Final = Write("accesses", ACCESS)
WRITE_ACTIONS: Final = Write("actions", ACTION, "id")
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
# Adds what happened to models' artefacts
WRITE_MODEL_EVENTS: Final = Write("model_events", MODEL_EVENT)
# Stores what was measured of drift, and cases that followed
WRITE_DRIFT: Final = Write("drift", DRIFT, "id")
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
SIGNALS_OF_TYPES: Final = f"""
SELECT {SIGNAL} FROM signals WHERE seq > ? AND type IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?
"""
# All signals of some customers, given as a JSON list, in the order of the log
SIGNALS_OF: Final = f"SELECT {SIGNAL} FROM signals WHERE customer IN (SELECT value FROM json_each(?)) ORDER BY seq"
# One page of them, the newest first: the places come from the index alone
SIGNALS_OF_NEWEST: Final = f"""
SELECT {SIGNAL} FROM signals WHERE seq IN (
  SELECT seq FROM signals WHERE customer IN (SELECT value FROM json_each(?)) AND seq < ? ORDER BY seq DESC LIMIT ?
) ORDER BY seq DESC
"""
SIGNALS_OF_ACCOUNT: Final = f"SELECT {SIGNAL} FROM signals WHERE account = ? AND seq < ? ORDER BY seq DESC LIMIT ?"
# The end of the log, of the quarantine and of the ledger
LAST_SIGNAL: Final = "SELECT coalesce(max(seq), 0) FROM signals"
LAST_QUARANTINED: Final = "SELECT coalesce(max(seq), 0) FROM quarantine"
LEAF_COUNT: Final = "SELECT coalesce(max(idx) + 1, 0) FROM leaves"
# The newest signals that were kept out
QUARANTINE_NEWEST: Final = f"SELECT {QUARANTINED} FROM quarantine WHERE seq < ? ORDER BY seq DESC LIMIT ?"
QUARANTINE_WITH_STATUS: Final = (
    f"SELECT {QUARANTINED} FROM quarantine WHERE status = ? AND seq < ? ORDER BY seq DESC LIMIT ?"
)
QUARANTINE_BY_SEQ: Final = f"SELECT {QUARANTINED} FROM quarantine WHERE seq = ?"

# The state of one person or account
PERSON: Final = "SELECT id, state FROM people WHERE id = ?"
ACCOUNT: Final = "SELECT id, state FROM accounts WHERE id = ?"
# What was used of one limit over everybody, and of all
TALLY: Final = "SELECT state FROM tallies WHERE id = ?"
TALLIES: Final = "SELECT state FROM tallies"
# What became of offers, by channel and segment
BELIEFS: Final = "SELECT state FROM beliefs"
# What was decided about some customers since a time, and what became of it
DECISIONS_OF: Final = f"""
SELECT {DECISION} FROM decisions WHERE customer IN (SELECT value FROM json_each(?)) AND at_ms >= ? ORDER BY id
"""
OUTCOMES_OF_CUSTOMERS: Final = f"SELECT {OUTCOME} FROM outcomes WHERE customer IN (SELECT value FROM json_each(?))"
# One batch of decisions after an id
DECISIONS_AFTER: Final = f"SELECT {DECISION} FROM decisions WHERE id > ? ORDER BY id LIMIT ?"
# One batch of people after an id
PEOPLE_AFTER: Final = "SELECT id, state FROM people WHERE id > ? ORDER BY id LIMIT ?"
# One batch of accounts after an id
ACCOUNTS_AFTER: Final = "SELECT id, state FROM accounts WHERE id > ? ORDER BY id LIMIT ?"
# Whom a keyed-hashed identifier points to
IDENTIFIER: Final = "SELECT kind, customer FROM identifiers WHERE hash = ?"

# Who holds a value of a uniqueness rule, and since when somebody is kept out
CLAIMED: Final = "SELECT holder FROM claims WHERE rule = ? AND value = ?"
SUPPRESSED: Final = "SELECT at_ms FROM suppressed WHERE hash = ?"
# One merge, and the newest merges of one customer
MERGE_BY_ID: Final = f"SELECT {MERGE} FROM merges WHERE id = ?"
MERGES_OF: Final = f"SELECT {MERGE} FROM merges WHERE kept = ?1 OR merged = ?1 ORDER BY at_ms DESC, id DESC"
# One proposal, and the most probable ones with one status
PROPOSAL_BY_ID: Final = f"SELECT {PROPOSAL} FROM proposals WHERE id = ?"
PROPOSALS: Final = f"SELECT {PROPOSAL} FROM proposals WHERE status = ? ORDER BY probability DESC, id LIMIT ?"
# The newest accesses; `{where}` is made of BEFORE and OF_CUSTOMER
ACCESSES_NEWEST: Final = f"SELECT {ACCESS} FROM accesses{{where}} ORDER BY id DESC LIMIT ?"
# One action, and those with some statuses, given as a JSON list, that are due
ACTION_BY_ID: Final = f"SELECT {ACTION} FROM actions WHERE id = ?"
ACTIONS_DUE: Final = f"""
SELECT {ACTION} FROM actions WHERE status IN (SELECT value FROM json_each(?)) AND due_ms <= ?
ORDER BY due_ms, id LIMIT ?
"""

# One decision, by id or by the caller's key
DECISION_BY_ID: Final = f"SELECT {DECISION} FROM decisions WHERE id = ?"
DECISION_BY_KEY: Final = f"SELECT {DECISION} FROM decisions WHERE key = ?"
DECISION_OF_KEY: Final = "SELECT id FROM decisions WHERE key = ?"
# The newest id of a decision or outcome: ids are UUIDv7, so a greater one is new
LAST_DECISION: Final = "SELECT max(id) FROM decisions"
LAST_OUTCOME: Final = "SELECT max(id) FROM outcomes"
# The newest decisions; `{where}` is made of the conditions below
DECISIONS_NEWEST: Final = f"SELECT {DECISION} FROM decisions{{where}} ORDER BY id DESC LIMIT ?"
BEFORE: Final = "id < ?"
WITH_DISPOSITION: Final = "disposition = ?"
OF_CUSTOMER: Final = "customer = ?"

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
# Purchases since then that no decision claims
UNCLAIMED: Final = f"""
SELECT {OUTCOME} FROM outcomes WHERE kind = 'converted' AND at_ms >= ? AND decision IS NULL ORDER BY at_ms, id
"""

# One review, and the newest reviews with one status
REVIEW_BY_ID: Final = f"SELECT {REVIEW} FROM reviews WHERE id = ?"
REVIEWS: Final = f"SELECT {REVIEW} FROM reviews WHERE status = ? ORDER BY opened_ms DESC, id DESC LIMIT ?"

# Releases, and what was live when
RELEASE_BY_HASH: Final = f"SELECT {RELEASE} FROM releases WHERE hash = ?"
RELEASES: Final = f"SELECT {RELEASE} FROM releases ORDER BY created_ms DESC, hash"
LIVE: Final = "SELECT release FROM live_history ORDER BY seq DESC LIMIT 1"
LIVE_HISTORY: Final = "SELECT at_ms, release, actor, why FROM live_history ORDER BY seq DESC"

# One report or case about drift, and the newest ones
DRIFT_BY_ID: Final = f"SELECT {DRIFT} FROM drift WHERE id = ?"
DRIFT_NEWEST: Final = f"""
SELECT {DRIFT} FROM drift WHERE what = :what AND (:model IS NULL OR model = :model)
AND (:status IS NULL OR status = :status) ORDER BY at_ms DESC, id DESC LIMIT :last
"""
# What happened to artefacts, to all or to one
MODEL_EVENTS: Final = f"SELECT {MODEL_EVENT} FROM model_events ORDER BY seq"
MODEL_EVENTS_OF: Final = f"SELECT {MODEL_EVENT} FROM model_events WHERE card = ? ORDER BY seq"

# How far a reader has come
POSITION: Final = "SELECT position FROM positions WHERE reader = ?"
# Ledger entries from a start to before a stop
LEAVES: Final = "SELECT entry FROM leaves WHERE idx >= ? AND idx < ? ORDER BY idx"
# The totals of everything stored
COUNTERS: Final = "SELECT name, value FROM counters"
# What an erasure removes; each has the customers as a JSON list
_THEM: Final = "(SELECT value FROM json_each(?1))"
# Values that only their signals held, accepted or kept out
ERASE_CLAIMS: Final = f"""
DELETE FROM claims WHERE holder IN (
  SELECT source || '#' || id FROM signals WHERE customer IN {_THEM}
  UNION ALL
  SELECT source || '#' || id FROM quarantine AS kept WHERE customer IN {_THEM} AND NOT EXISTS (
    SELECT 1 FROM signals WHERE signals.source = kept.source AND signals.id = kept.id
  )
)
"""
ERASE: Final = {
    "signals": f"DELETE FROM signals WHERE customer IN {_THEM}",
    "people": f"DELETE FROM people WHERE id IN {_THEM}",
    "identifiers": f"DELETE FROM identifiers WHERE customer IN {_THEM}",
    "decisions": f"DELETE FROM decisions WHERE customer IN {_THEM}",
    "outcomes": f"DELETE FROM outcomes WHERE customer IN {_THEM}",
    "reviews": f"DELETE FROM reviews WHERE customer IN {_THEM}",
    "quarantined": f"DELETE FROM quarantine WHERE customer IN {_THEM}",
    "merges": f"DELETE FROM merges WHERE kept IN {_THEM} OR merged IN {_THEM}",
    "proposals": f"DELETE FROM proposals WHERE one IN {_THEM} OR other IN {_THEM}",
    "accesses": f"DELETE FROM accesses WHERE customer IN {_THEM}",
    "actions": f"DELETE FROM actions WHERE customer IN {_THEM}",
}
# The counters by disposition and kind that fall with them
ERASED_BY_KIND: Final = f"""
SELECT 'decisions.' || disposition, count(*) FROM decisions WHERE customer IN {_THEM} GROUP BY disposition
UNION ALL
SELECT 'outcomes.' || kind, count(*) FROM outcomes WHERE customer IN {_THEM} GROUP BY kind
"""
# What an age limit removes
DROP_QUARANTINE: Final = "DELETE FROM quarantine WHERE received_ms < ?"
DROP_ACCESSES: Final = "DELETE FROM accesses WHERE at_ms < ?"
# Replaces what a signal says, at its place
REWRITE_SIGNAL: Final = """
UPDATE signals SET type = ?, version = ?, at_ms = ?, received_ms = ?, customer = ?, account = ?, data = ?
WHERE seq = ?
"""
# How far the log and the quarantine had come when rows were removed last, and how many that were in all
MARKS: Final = "SELECT name, last, removed FROM marks"
WRITE_MARKS: Final = Write("marks", "name, last, removed", "name")
