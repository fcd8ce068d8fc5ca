"""A seal for tests of the store alone: AES-256-GCM under one random key per subject, kept in memory."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from opportune.adapters.sqlite import SqliteRecords
from opportune.ports import Erased, Seal


class MemorySeal(Seal):
    """One object survives a reopened store, as a file of keys would."""

    def __init__(self) -> None:
        self.keys: dict[str, AESGCM] = {}
        self.flushed = 0

    def seal(self, subject: str, place: str, plain: bytes) -> bytes:
        key = self.keys.get(subject)
        if key is None:
            key = self.keys[subject] = AESGCM(AESGCM.generate_key(256))
        nonce = os.urandom(12)
        return nonce + key.encrypt(nonce, plain, place.encode())

    def open(self, subject: str, place: str, sealed: bytes) -> bytes:
        key = self.keys.get(subject)
        if key is None:
            raise Erased(place)
        try:
            return key.decrypt(sealed[:12], sealed[12:], place.encode())
        except InvalidTag:
            raise ValueError(f"`{place}` does not hold what was sealed for it") from None

    def flush(self) -> None:
        self.flushed += 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Import these three fixtures by name where they are used."""
    return tmp_path / "records.db"


@pytest.fixture
def seal() -> MemorySeal:
    return MemorySeal()


@pytest.fixture
def records(path: Path, seal: MemorySeal) -> Iterator[SqliteRecords]:
    records = SqliteRecords(path, seal)
    yield records
    records.close()
