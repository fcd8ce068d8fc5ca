"""The ledger port over a folder: publishes what the system of record holds, when told to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opportune.adapters.files.ledger import TileLog


class Leaves(Protocol):
    """The part of the records that the ledger reads."""

    def leaves(self, start: int, stop: int) -> list[bytes]: ...

    def leaf_count(self) -> int: ...


class PublishedLedger:
    """Implements ports.Ledger. One publisher at a time; reads go beside it."""

    def __init__(self, folder: Path, origin: str, key: Ed25519PrivateKey, leaves: Leaves) -> None:
        self._log = TileLog(folder, origin, key)
        self._leaves = leaves
        self._lock = Lock()
        self._published = -1
        self._checkpoint = b""
        self.folder = folder
        self.origin = origin
        self.vkey = self._log.vkey

    def publish(self) -> int:
        """Publishes every entry recorded so far; returns the size of the signed checkpoint."""
        with self._lock:
            count = self._leaves.leaf_count()
            if count != self._published:
                self._published = self._log.publish(self._entries).size
            return self._published

    def checkpoint(self) -> bytes:
        """The signed note as published."""
        if self._published < 0:
            self.publish()
        return (self.folder / "checkpoint").read_bytes()

    def tile(self, path: str) -> bytes:
        return self._log.tile(path)

    def proof(self, index: int) -> bytes:
        """The .tlog-proof of one entry; publishes first when it is newer than the checkpoint."""
        if index >= self._published:
            self.publish()
        return self._log.proof(index)

    def _entries(self, start: int, stop: int) -> Sequence[bytes]:
        return self._leaves.leaves(start, stop)
