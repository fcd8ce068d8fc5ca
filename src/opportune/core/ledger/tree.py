"""The Merkle tree of RFC 6962 as a small frozen value: the unfinished tiles at its right edge."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec

HASH_BYTES: Final = 32
TILE_WIDTH: Final = 256
TILE_BYTES: Final = HASH_BYTES * TILE_WIDTH
EMPTY_ROOT: Final = sha256(b"").digest()


class LedgerError(ValueError):
    """What is wrong with a log, its files or the request made of it."""


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962 section 2.1: SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962 section 2.1: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def perfect_root(row: bytes) -> bytes:
    """Root over a row of 2**k concatenated hashes (32 * 2**k bytes)."""
    while len(row) > HASH_BYTES:
        row = b"".join([sha256(b"\x01" + row[i : i + 64]).digest() for i in range(0, len(row), 64)])
    return row


def fold_peaks(peaks: list[bytes]) -> bytes:
    """Root over perfect subtrees of falling size, given left to right."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def row_peaks(row: bytes) -> list[bytes]:
    """Roots of the perfect subtrees that make up a row of up to 256 hashes, largest first."""
    peaks, start, left = [], 0, len(row) // HASH_BYTES
    while left:
        step = 1 << (left.bit_length() - 1)
        peaks.append(perfect_root(row[start : start + step * HASH_BYTES]))
        start += step * HASH_BYTES
        left -= step
    return peaks


def level_count(size: int) -> int:
    """How many tile levels a tree of `size` leaves has (0 for the empty tree)."""
    return (size.bit_length() + 7) // 8


class Tile(msgspec.Struct, frozen=True):
    """Up to 256 concatenated hashes: tile `index` of `level`, full when it holds 8,192 bytes."""

    level: int
    index: int
    data: bytes

    @property
    def width(self) -> int:
        return len(self.data) // HASH_BYTES


class Tree(msgspec.Struct, frozen=True):
    """A log of `size` leaves, kept as the content of the unfinished tile of every level.

    `edge[level]` is byte for byte what the partial tile of that level holds, so a tree resumes from
    its own tiles or from a stored `(size, edge)`; at most 8,160 bytes a level.
    Raises `LedgerError` if `edge` does not have the widths that `size` demands.
    """

    size: int = 0
    edge: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        # INVARIANT: level L holds floor(size / 256**L) mod 256 hashes (C2SP tlog-tiles, partial tiles).
        if self.size < 0 or len(self.edge) != level_count(self.size):
            raise LedgerError(f"tree of size `{self.size}` needs {level_count(self.size)} edge tiles")
        for level, row in enumerate(self.edge):
            width = (self.size >> (8 * level)) % TILE_WIDTH
            if len(row) != width * HASH_BYTES:
                raise LedgerError(f"edge tile of level {level} must hold {width} hashes, not {len(row)} bytes")

    def append(self, leaf_hashes: Iterable[bytes]) -> tuple["Tree", list[Tile]]:
        """The tree with these leaves added, and every tile that became full on the way."""
        row = b"".join(leaf_hashes)
        if len(row) % HASH_BYTES:
            raise LedgerError("leaf hashes must be 32 bytes each")
        size = self.size + len(row) // HASH_BYTES
        full: list[Tile] = []
        edge: list[bytes] = []
        level = 0
        while row or level < len(self.edge):
            data = (self.edge[level] if level < len(self.edge) else b"") + row
            first = self.size >> (8 * (level + 1))
            roots = []
            for n in range(len(data) // TILE_BYTES):
                piece = data[n * TILE_BYTES : (n + 1) * TILE_BYTES]
                full.append(Tile(level, first + n, piece))
                roots.append(perfect_root(piece))
            edge.append(data[len(roots) * TILE_BYTES :])
            row = b"".join(roots)
            level += 1
        return Tree(size, tuple(edge)), full

    def partials(self) -> list[Tile]:
        """The unfinished tiles a checkpoint of this size must be served with."""
        return [Tile(level, self.size >> (8 * (level + 1)), row) for level, row in enumerate(self.edge) if row]

    def root(self) -> bytes:
        """RFC 6962 Merkle Tree Hash of all leaves, 32 bytes; at most 255 hashes a level."""
        peaks: list[bytes] = []
        for row in reversed(self.edge):
            peaks.extend(row_peaks(row))
        return fold_peaks(peaks)
