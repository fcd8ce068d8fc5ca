"""Names and contents of the files a log is made of: hash tiles and entry bundles (c2sp.org/tlog-tiles)."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from opportune.core.ledger.tree import HASH_BYTES, TILE_WIDTH, LedgerError, Tree, leaf_hash

ENTRY_BYTES_MAX: Final = 65_535
_PATH: Final = re.compile(
    r"tile/(?P<level>entries|[0-9]|[1-5][0-9]|6[0-3])/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class TileRef(msgspec.Struct, frozen=True):
    """Which tile: `level` 0..63, or None for an entry bundle; `width` 256 is a full one."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        return tile_path(self.level, self.index, self.width)


def tile_path(level: int | None, index: int, width: int = TILE_WIDTH) -> str:
    """`tile/0/x001/x234/067.p/12`; level None names the entry bundle `tile/entries/...`."""
    groups = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        groups.append(f"x{index % 1000:03d}")
    name = "entries" if level is None else str(level)
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{name}/{'/'.join(reversed(groups))}{partial}"


def parse_tile_path(path: str) -> TileRef:
    """The tile a path names; raises `LedgerError` for anything but the one canonical spelling."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise LedgerError(f"`{path[:80]}` is no tile path, write tile/<level>/<index>[.p/<width>]")
    level = None if match["level"] == "entries" else int(match["level"])
    index = int(match["index"].replace("x", "").replace("/", ""))
    ref = TileRef(level, index, int(match["width"] or TILE_WIDTH))
    if ref.width > TILE_WIDTH or ref.path != path:
        raise LedgerError(f"`{path}` is not the canonical tile path, write `{ref.path}`")
    return ref


def tile_width(size: int, level: int | None, index: int) -> int:
    """Width of a tile in a tree of `size` leaves: 256 when full, 0 when the tree does not reach it."""
    reach = size >> (8 * (level or 0))
    return max(0, min(TILE_WIDTH, reach - index * TILE_WIDTH))


def encode_bundle(entries: Sequence[bytes], start: int = 0) -> bytes:
    """Up to 256 entries, the first with index `start`, each after its length as big-endian uint16.

    Raises `LedgerError` naming the index of an entry of more than 65,535 bytes.
    """
    parts: list[bytes] = []
    for index, entry in enumerate(entries, start):
        if len(entry) > ENTRY_BYTES_MAX:
            raise LedgerError(
                f"entry {index} has {len(entry)} bytes, the limit is {ENTRY_BYTES_MAX}: commit to it by hash"
            )
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def decode_bundle(data: bytes) -> list[bytes]:
    """The entries of a bundle; raises `LedgerError` if it ends inside one."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise LedgerError(f"bundle ends inside its entry {len(entries)}")
        entries.append(data[at + 2 : end])
        at = end
    return entries


def first_difference(row: bytes, other: bytes) -> int | None:
    """Position of the first hash in which two rows differ, None if they are equal."""
    for at in range(0, max(len(row), len(other)), HASH_BYTES):
        if row[at : at + HASH_BYTES] != other[at : at + HASH_BYTES]:
            return at // HASH_BYTES
    return None


def growth(tree: Tree, entries: Sequence[bytes], *, partials: bool) -> tuple[Tree, dict[str, bytes]]:
    """What to write, path to content, when a log grows from `tree` by `entries`.

    `entries` begins at the start of the unfinished bundle (index `tree.size // 256 * 256`), so that the
    bundle can be written whole. With `partials` the unfinished files of the new size are included.
    Raises `LedgerError` if the entries already in the tree are not the ones it holds.
    """
    first = tree.size // TILE_WIDTH
    known = tree.size % TILE_WIDTH
    hashes = [leaf_hash(entry) for entry in entries]
    held = tree.edge[0] if tree.edge else b""
    differs = first_difference(held, b"".join(hashes[:known]))
    if differs is not None:
        raise LedgerError(f"entry {first * TILE_WIDTH + differs} is missing or is not the one that was logged")
    grown, full = tree.append(hashes[known:])
    files: dict[str, bytes] = {}
    for index in range(first, first + -(-len(entries) // TILE_WIDTH)):
        bundle = entries[(index - first) * TILE_WIDTH : (index - first + 1) * TILE_WIDTH]
        if len(bundle) == TILE_WIDTH or partials:
            files[tile_path(None, index, len(bundle))] = encode_bundle(bundle, index * TILE_WIDTH)
    for tile in [*full, *(grown.partials() if partials else [])]:
        files[tile_path(tile.level, tile.index, tile.width)] = tile.data
    return grown, files
