"""The keys of the subjects of one region: a random key each, wrapped by the region's, destroyed for good on demand."""

import hashlib
import hmac
import os
import sqlite3
from collections.abc import Collection, Iterable
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

from opportune.adapters.system.key_files import VaultError, check_private
from opportune.private_files import sync_folder

DEK_BYTES: Final = 32
_NOBODY: Final = ""
"""A subject that nothing is about: its row shows that the file belongs to this key of a region."""
CACHED_MAX: Final = 50_000
BUSY_MS: Final = 5_000

# Rows are only ever appended, and a destroyed key is overwritten where it stands by as many bytes: SQLite then never
# moves a key from page to page, which would leave a copy in a gap that secure_delete does not clear.
_TABLE: Final = """
CREATE TABLE keys (seq INTEGER PRIMARY KEY, subject BLOB NOT NULL UNIQUE, wrapped BLOB NOT NULL) STRICT
"""
_FIND: Final = "SELECT wrapped FROM keys WHERE subject = ?"
_ADD: Final = "INSERT INTO keys (subject, wrapped) VALUES (?, ?)"
_KNOWN_TABLE: Final = "SELECT count(*) FROM sqlite_master WHERE name = 'keys'"
_DESTROY: Final = "UPDATE keys SET subject = randomblob(32), wrapped = zeroblob(40) WHERE subject = ?"


class SubjectKey(msgspec.Struct, frozen=True):
    """What one subject's data is sealed with, and its commitments are salted with."""

    cipher: AESGCM
    salting: bytes


class SubjectKeys:
    """The file `subjects.db`: a 32-byte key per subject, wrapped (AES-KW, RFC 3394) by a key of the region.

    Rows are found by a keyed hash: no id stands there in clear. New keys wait in memory until `flush`. Threads may
    share it; another process may read the same file, and finds there every key that was flushed. A process that has
    opened something for a subject keeps that key in memory until it ends, also when another one destroys it.
    """

    def __init__(self, path: Path, region_key: bytes, *, cached_max: int = CACHED_MAX) -> None:
        """The file is made by the first `flush`. Raises VaultError when others can read it, or it belongs to another
        key of a region."""
        self._path = path
        self._wrapping = derived(region_key, b"wrap subject keys")
        self._hashing = derived(region_key, b"find subject keys")
        self._generation_max = max(cached_max // 2, 1)
        # `_writing` is taken before `_looking`, never the other way round; a sync holds only the former.
        self._writing = Lock()
        self._looking = Lock()
        self._young: dict[str, SubjectKey] = {}
        self._old: dict[str, SubjectKey] = {}
        self._pending: dict[str, tuple[SubjectKey, bytes]] = {}
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        if path.exists():
            self._reader = self._open_to_read()

    def find(self, subject: str) -> SubjectKey | None:
        """The key of a subject; None when it has none, or no longer."""
        known = self._young.get(subject)
        if known is not None:
            return known
        with self._looking:
            return self._look(subject)

    def find_or_make(self, subject: str) -> SubjectKey:
        """Raises sqlite3.Error when the file cannot be read: then nobody knows whether there is a key already."""
        known = self._young.get(subject)
        if known is not None:
            return known
        with self._looking:
            known = self._look(subject)
            if known is None:
                dek = os.urandom(DEK_BYTES)
                known = _subject_key(dek)
                self._pending[subject] = known, aes_key_wrap(self._wrapping, dek)
            return known

    def flush(self) -> None:
        """Makes every key that was made before this call durable, all in one transaction; sqlite3.Error if it cannot.

        A key whose place was taken by another process meanwhile is an IntegrityError: two must not write.
        """
        if not self._pending:
            return
        with self._writing:
            with self._looking:
                batch = dict(self._pending)
            if not batch:
                return
            connection = self._for_writing()
            rows = [(self._place(subject), wrapped) for subject, (_, wrapped) in batch.items()]
            _in_one_transaction(connection, _ADD, rows)
            with self._looking:
                for subject, (key, _) in batch.items():
                    del self._pending[subject]
                    self._remember(subject, key)

    def destroy(self, subjects: Collection[str]) -> int:
        """Destroys keys on disk and in memory; how many there were. Nothing that they sealed can be opened again.

        Raises sqlite3.Error when they may still be in a file: then call it again.
        """
        with self._writing:
            with self._looking:
                unflushed = sum(self._pending.pop(subject, None) is not None for subject in set(subjects))
            try:
                destroyed = self._overwrite([(self._place(subject),) for subject in set(subjects)])
            finally:
                # Also when it failed: a key that still stands is read again.
                with self._looking:
                    for subject in subjects:
                        self._young.pop(subject, None)
                        self._old.pop(subject, None)
            return unflushed + destroyed

    def close(self) -> None:
        """Keys that were not flushed are lost, as after a crash."""
        with self._writing, self._looking:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = None

    def _look(self, subject: str) -> SubjectKey | None:
        """Holding `_looking`."""
        waiting = self._pending.get(subject)
        if waiting is not None:
            return waiting[0]
        known = self._young.get(subject) or self._old.get(subject)
        if known is None:
            row = self._read(self._place(subject))
            known = None if row is None else _subject_key(aes_key_unwrap(self._wrapping, row))
        if known is not None:
            self._remember(subject, known)
        return known

    def _remember(self, subject: str, key: SubjectKey) -> None:
        """Holding `_looking`. Two generations: what was not asked for while a whole one filled up is forgotten."""
        self._young[subject] = key
        if len(self._young) >= self._generation_max:
            self._old, self._young = self._young, {}

    def _place(self, subject: str) -> bytes:
        return hmac.digest(self._hashing, subject.encode(), hashlib.sha256)

    def _read(self, place: bytes) -> bytes | None:
        """The wrapped key of a row. Holding `_looking`."""
        if self._reader is None:
            self._reader = self._open_to_read()
            if self._reader is None:
                return None
        row = self._reader.execute(_FIND, (place,)).fetchone()
        return None if row is None else row[0]

    def _open_to_read(self) -> sqlite3.Connection | None:
        """None while there is no file, or another process has made it but not its table."""
        if not self._path.exists():
            return None
        check_private(self._path)
        connection = _connect(self._path)
        if not connection.execute(_KNOWN_TABLE).fetchone()[0]:
            connection.close()
            return None
        self._check(connection)
        return connection

    def _for_writing(self) -> sqlite3.Connection:
        """Holding `_writing`."""
        if self._writer is None:
            self._path.touch(mode=0o600)
            check_private(self._path)
            connection = _connect(self._path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute(_KNOWN_TABLE).fetchone()[0]:
                connection.execute(_TABLE)
                connection.execute(_ADD, (self._place(_NOBODY), bytes(40)))
            connection.execute("COMMIT")
            self._check(connection)
            sync_folder(self._path.parent)
            self._writer = connection
        return self._writer

    def _check(self, connection: sqlite3.Connection) -> None:
        """With the key of another region every subject would look erased."""
        if connection.execute(_FIND, (self._place(_NOBODY),)).fetchone() is None:
            connection.close()
            raise VaultError(f"`{self._path}` belongs to another region's key: restore both from one backup")

    def _overwrite(self, places: list[tuple[bytes]]) -> int:
        if not self._path.exists():
            return 0
        connection = self._for_writing()
        destroyed = _in_one_transaction(connection, _DESTROY, places)
        # Also when nothing was there: an earlier call may have failed between the two steps.
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("another process holds the write-ahead log of the subject keys: try again")
        return destroyed


def derived(key: bytes, purpose: bytes) -> bytes:
    """A key for one purpose only: HMAC-SHA256 as the pseudo-random function, 32 bytes."""
    return hmac.digest(key, purpose, hashlib.sha256)


def _subject_key(dek: bytes) -> SubjectKey:
    return SubjectKey(AESGCM(derived(dek, b"seal")), derived(dek, b"salt"))


def _connect(path: Path) -> sqlite3.Connection:
    """Used by one thread at a time, under a lock."""
    return sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)


def _in_one_transaction(connection: sqlite3.Connection, sql: str, rows: Iterable[tuple[bytes, ...]]) -> int:
    """How many rows it changed."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        changed = connection.executemany(sql, rows).rowcount
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise
    return max(changed, 0)
