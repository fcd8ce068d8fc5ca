"""The tables, as migrations that only go forward; `PRAGMA user_version` says how many a file has seen."""

import sqlite3
from typing import Final

from opportune.ports import StoreBroken

# Blobs of 1-3 kB live in rowid tables: a WITHOUT ROWID row over 1 kB would spill into an overflow page.
FIRST: Final = """
CREATE TABLE signals (
  seq INTEGER PRIMARY KEY,
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  content BLOB NOT NULL,
  type TEXT NOT NULL,
  version INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  received_ms INTEGER NOT NULL,
  customer TEXT,
  account TEXT,
  data BLOB NOT NULL,
  UNIQUE (source, id)
) STRICT;

CREATE TABLE quarantine (
  seq INTEGER PRIMARY KEY,
  received_ms INTEGER NOT NULL,
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  type TEXT NOT NULL,
  problems BLOB NOT NULL,
  body BLOB NOT NULL
) STRICT;

CREATE TABLE people (id TEXT NOT NULL UNIQUE, state BLOB NOT NULL) STRICT;

CREATE TABLE accounts (id TEXT NOT NULL UNIQUE, state BLOB NOT NULL) STRICT;

CREATE TABLE identifiers (
  hash BLOB PRIMARY KEY,
  kind TEXT NOT NULL,
  customer TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX identifiers_customer ON identifiers (customer);

CREATE TABLE decisions (
  id TEXT NOT NULL UNIQUE,
  at_ms INTEGER NOT NULL,
  customer TEXT NOT NULL,
  account TEXT,
  unit TEXT NOT NULL,
  moment TEXT NOT NULL,
  release TEXT NOT NULL,
  disposition TEXT NOT NULL,
  offer TEXT,
  channel TEXT,
  holdout INTEGER NOT NULL,
  total_us INTEGER NOT NULL,
  leaf INTEGER NOT NULL,
  key TEXT,
  salt BLOB NOT NULL,
  record BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX decisions_key ON decisions (key) WHERE key IS NOT NULL;

CREATE INDEX decisions_customer ON decisions (customer, id);

CREATE INDEX decisions_disposition ON decisions (disposition, id);

CREATE INDEX decisions_unit ON decisions (at_ms, unit, holdout);

CREATE TABLE outcomes (
  id TEXT NOT NULL UNIQUE,
  at_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  customer TEXT NOT NULL,
  unit TEXT NOT NULL,
  decision TEXT,
  offer TEXT,
  amount REAL NOT NULL,
  detail TEXT,
  leaf INTEGER NOT NULL
) STRICT;

CREATE INDEX outcomes_decision ON outcomes (decision) WHERE decision IS NOT NULL;

CREATE INDEX outcomes_revenue ON outcomes (at_ms, unit, amount) WHERE kind = 'converted';

CREATE TABLE reviews (
  id TEXT NOT NULL UNIQUE,
  decision TEXT NOT NULL,
  customer TEXT NOT NULL,
  opened_ms INTEGER NOT NULL,
  reason TEXT NOT NULL,
  status TEXT NOT NULL
) STRICT;

CREATE INDEX reviews_status ON reviews (status, opened_ms, id);

CREATE TABLE releases (
  hash TEXT NOT NULL UNIQUE,
  created_ms INTEGER NOT NULL,
  note TEXT NOT NULL,
  manifest BLOB NOT NULL
) STRICT;

CREATE TABLE live_history (
  seq INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  release TEXT NOT NULL,
  actor TEXT NOT NULL,
  why TEXT NOT NULL
) STRICT;

CREATE TABLE positions (reader TEXT PRIMARY KEY, position TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE leaves (idx INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;

CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""

# What a row holds about a person or an account is one sealed blob (see `sealing`) from here on: `signals.data`,
# `people.state`, `accounts.state`, `decisions.record` (with the salt), `quarantine.body` (with problems and note) and
# every column called `sealed`. Rows of the first version stay as they are, and are read as they are.
SECOND: Final = """
ALTER TABLE signals ADD COLUMN leaf INTEGER NOT NULL DEFAULT -1;

CREATE INDEX signals_customer ON signals (customer) WHERE customer IS NOT NULL;

CREATE INDEX signals_account ON signals (account) WHERE account IS NOT NULL;

ALTER TABLE quarantine ADD COLUMN customer TEXT;

ALTER TABLE quarantine ADD COLUMN status TEXT NOT NULL DEFAULT 'open';

CREATE INDEX quarantine_status ON quarantine (status);

CREATE INDEX quarantine_customer ON quarantine (customer) WHERE customer IS NOT NULL;

ALTER TABLE outcomes ADD COLUMN sealed BLOB;

CREATE INDEX outcomes_customer ON outcomes (customer);

CREATE TABLE claims (
  rule TEXT NOT NULL,
  value BLOB NOT NULL,
  holder TEXT NOT NULL,
  PRIMARY KEY (rule, value)
) STRICT, WITHOUT ROWID;

CREATE INDEX claims_holder ON claims (holder);

CREATE TABLE suppressed (hash BLOB PRIMARY KEY, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE merges (
  id TEXT NOT NULL UNIQUE,
  at_ms INTEGER NOT NULL,
  kept TEXT NOT NULL,
  merged TEXT NOT NULL,
  rule TEXT NOT NULL,
  actor TEXT NOT NULL,
  undone_ms INTEGER,
  undone_by TEXT,
  sealed BLOB
) STRICT;

CREATE INDEX merges_kept ON merges (kept);

CREATE INDEX merges_merged ON merges (merged);

CREATE TABLE proposals (
  id TEXT NOT NULL UNIQUE,
  at_ms INTEGER NOT NULL,
  one TEXT NOT NULL,
  other TEXT NOT NULL,
  probability REAL NOT NULL,
  status TEXT NOT NULL,
  decided_ms INTEGER,
  decided_by TEXT,
  sealed BLOB
) STRICT;

CREATE INDEX proposals_status ON proposals (status, probability);

CREATE INDEX proposals_one ON proposals (one);

CREATE INDEX proposals_other ON proposals (other);

CREATE TABLE accesses (
  id TEXT NOT NULL UNIQUE,
  at_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  what TEXT NOT NULL,
  customer TEXT NOT NULL,
  classes TEXT NOT NULL,
  sealed BLOB
) STRICT;

CREATE INDEX accesses_customer ON accesses (customer, id);

CREATE INDEX accesses_time ON accesses (at_ms);

CREATE TABLE actions (
  id TEXT NOT NULL UNIQUE,
  at_ms INTEGER NOT NULL,
  customer TEXT NOT NULL,
  account TEXT,
  channel TEXT NOT NULL,
  offer TEXT NOT NULL,
  purpose TEXT NOT NULL,
  due_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  status TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  sealed BLOB
) STRICT;

CREATE INDEX actions_due ON actions (status, due_ms, id);

CREATE INDEX actions_customer ON actions (customer);

CREATE TABLE marks (name TEXT PRIMARY KEY, last INTEGER NOT NULL, removed INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""

# What everybody together has used of a limit: names of limits and offers, amounts and times, and nobody's data.
THIRD: Final = """
CREATE TABLE tallies (id TEXT PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""

# What happened to models' artefacts: names of people who decide here, hashes, and their reasons; nobody's data.
MODEL_EVENTS: Final = """
CREATE TABLE model_events (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  at_ms INTEGER NOT NULL,
  card TEXT NOT NULL,
  model TEXT NOT NULL,
  kind TEXT NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  risk TEXT NOT NULL,
  details TEXT NOT NULL
) STRICT;

CREATE INDEX model_events_card ON model_events (card, seq);
"""

# What became of offers, by channel and segment: counts, and nobody's data.
BELIEFS: Final = """
CREATE TABLE beliefs (id TEXT PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""

# What was measured of drift and what followed: counts of customers, names of people who decide here, nobody's data.
DRIFT: Final = """
CREATE TABLE drift (
  id TEXT NOT NULL UNIQUE,
  at_ms INTEGER NOT NULL,
  what TEXT NOT NULL,
  model TEXT NOT NULL,
  card TEXT NOT NULL,
  status TEXT NOT NULL,
  alarms INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT;

CREATE INDEX drift_time ON drift (what, at_ms, id);
"""

MIGRATIONS: Final[tuple[str, ...]] = (FIRST, SECOND, THIRD, MODEL_EVENTS, BELIEFS, DRIFT)
"""Append only: a file at version n has seen the first n. A statement ends with `;` at the end of a line."""


def migrate(connection: sqlite3.Connection, migrations: tuple[str, ...] = MIGRATIONS) -> int:
    """Brings a file to the newest version, each migration whole or not at all; returns the version.

    Raises StoreBroken when the file is from a newer Opportune.
    """
    version = version_of(connection)
    if version > len(migrations):
        raise StoreBroken(
            f"the store has schema version {version}, this Opportune knows {len(migrations)}: upgrade Opportune"
        )
    for number, migration in enumerate(migrations[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in migration.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
    return len(migrations)


def version_of(connection: sqlite3.Connection) -> int:
    """How many migrations a file has seen."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
