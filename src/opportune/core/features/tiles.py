"""Ring cells: what a windowed feature keeps, one entry per tile in which something happened.

A tile is `at_ms // hop_ms`. A cell holds the tiles in (head - tiles_kept, head], head being the tile of the newest
signal, as: newest_ms (q), floor (I), entries n (H), code (B), n offsets head - tile (H each, falling to 0), lanes.
`floor` is one more than the newest tile that has been dropped: a window reaching below it is incomplete.
A lane is n ints in the narrowest of 1, 2, 4, 8 or 16 bytes that holds them all, or n doubles. `mean` has two lanes,
sums and counts.

What a read at `now` sees: every tile in (tile(now) - tiles, tile(now)], the last of them still open. Newer tiles are
ignored. An open tile counts whole when no signal after `now` has been folded; when one has, and the open tile is not
empty, the tile cannot be told apart from its own future and the answer is UNKNOWN. So a value is exact or absent.
"""

from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from opportune.core.features.cells import SCALE, UNKNOWN, Fold, Read, finish, scaled

TILES_MAX: Final = 400
SPARE_TILES: Final = 1
"""Tiles kept beyond the window, so that a read just before the newest tile is still answered."""

_HEAD = Struct("<qIHB")
_HEAD_SIZE: Final = _HEAD.size
_FORMS: Final = "bhiqwd"  # w: 128 bits, as n high halves and n low halves
_WIDE: Final = 4
_DOUBLES: Final = 5
_CODES: Final = bytes([0] * 8 + [1] * 8 + [2] * 16 + [3] * 32 + [4] * 64)  # by bit length
_LOW = 2**64 - 1


@lru_cache(maxsize=None)
def _form(code: int, size: int, lanes: int) -> Struct:
    """Offsets and lanes behind the head; bounded by codes x tiles x lanes."""
    if code == _WIDE:
        return Struct(f"<{size}H{size * lanes}q{size * lanes}Q")
    return Struct(f"<{size}H{size * lanes}{_FORMS[code]}")


def _unpack(cell: bytes, code: int, size: int, lanes: int) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    parts = _form(code, size, lanes).unpack_from(cell, _HEAD_SIZE)
    if code != _WIDE:
        return parts[:size], parts[size:]
    middle = size + size * lanes
    wide = tuple(high << 64 | low for high, low in zip(parts[size:middle], parts[middle:], strict=True))
    return parts[:size], wide


def _code(values: list[Any]) -> int:
    top, low = max(values), min(values)
    return _CODES[max(top if top >= 0 else ~top, low if low >= 0 else ~low).bit_length()]


def _pack(newest_ms: int, floor: int, offsets: list[int], values: list[Any], doubles: bool, lanes: int) -> bytes:
    size = len(offsets)
    code = _DOUBLES if doubles else _code(values)
    if code == _WIDE:
        values = [value >> 64 for value in values] + [value & _LOW for value in values]
    return _HEAD.pack(newest_ms, floor, size, code) + _form(code, size, lanes).pack(*offsets, *values)


def ring_folder(aggregate: str, double: bool, hop_ms: int, tiles: int) -> Fold:
    """Folds a value into the tile of its own time, however late it comes, as long as that tile is kept."""
    lanes = 2 if aggregate == "mean" else 1
    kept = tiles + SPARE_TILES
    doubles = double and aggregate in ("min", "max")
    merge = _MERGES[aggregate]
    scale = double and not doubles

    def fold(cell: bytes | None, at_ms: int, signal_id: str, value: object) -> bytes:
        amount: Any = scaled(value) if scale else value
        entry = [amount, 1] if lanes == 2 else [amount]
        if cell is None:
            return _pack(at_ms, 0, [0], entry, doubles, lanes)
        newest_ms, floor, size, code = _HEAD.unpack_from(cell)
        back = newest_ms // hop_ms - at_ms // hop_ms
        if back >= kept:  # too late for the ring
            tile = at_ms // hop_ms
            return cell if tile < floor else _HEAD.pack(newest_ms, tile + 1, size, code) + cell[_HEAD_SIZE:]
        old_offsets, old_values = _unpack(cell, code, size, lanes)
        offsets, values = list(old_offsets), list(old_values)
        if back < 0:
            floor = _advance(offsets, values, -back, kept, at_ms // hop_ms, floor)
            back, newest_ms = 0, at_ms
        _put(offsets, values, back, entry, merge)
        return _pack(newest_ms if newest_ms > at_ms else at_ms, floor, offsets, values, doubles, lanes)

    return fold


def _put(offsets: list[int], values: list[Any], back: int, entry: list[Any], merge: Callable[..., Any]) -> None:
    size = len(offsets)
    index = size - 1 if size and offsets[-1] == back else bisect_left(offsets, -back, key=lambda offset: -offset)
    if index < size and offsets[index] == back:
        values[index] = merge(values[index], entry[0])
        if len(entry) == 2:
            values[size + index] += 1
        return
    offsets.insert(index, back)
    if len(entry) == 2:
        values.insert(size + index, 1)
    values.insert(index, entry[0])


def _advance(offsets: list[int], values: list[Any], by: int, kept: int, head: int, floor: int) -> int:
    """Moves the head `by` tiles on, drops what falls out of the ring, and returns the new floor."""
    size = len(offsets)
    gone = 0
    while gone < size and offsets[gone] + by >= kept:
        gone += 1
    if gone:
        floor = max(floor, head - by - offsets[gone - 1] + 1)
        if len(values) == 2 * size:
            del values[size : size + gone]
        del values[:gone], offsets[:gone]
    offsets[:] = [offset + by for offset in offsets]
    return floor


_MERGES: Final[dict[str, Callable[..., Any]]] = {
    "count": lambda kept, one: kept + 1,
    "sum": lambda kept, value: kept + value,
    "mean": lambda kept, value: kept + value,
    "min": min,
    "max": max,
}


def ring_reader(aggregate: str, double: bool, hop_ms: int, tiles: int) -> Read:
    """Reads the window that ends at the open tile of `now`; None when nothing happened in it."""
    lanes = 2 if aggregate == "mean" else 1
    total: Callable[..., Any] = {"min": min, "max": max}.get(aggregate, sum)  # type: ignore[call-overload]
    mean = aggregate == "mean"
    extreme = aggregate in ("min", "max")
    scale = SCALE if double else 1
    adds_double = double and not extreme

    def read(cell: bytes, now_ms: int) -> tuple[object, int]:
        newest_ms, floor, size, code = _HEAD.unpack_from(cell)
        age_ms = now_ms - newest_ms
        ahead = newest_ms // hop_ms - now_ms // hop_ms  # tiles by which the cell is ahead of the read
        if age_ms < 0:
            if floor > now_ms // hop_ms - tiles + 1:
                return UNKNOWN
        elif ahead <= -tiles:
            return None, age_ms
        offsets, values = _unpack(cell, code, size, lanes)
        start, end = 0, size
        while start < size and offsets[start] >= ahead + tiles:
            start += 1
        if age_ms < 0:
            if ahead in offsets:
                return UNKNOWN
            while end > start and offsets[end - 1] < ahead:
                end -= 1
            # The tile's own newest time is not kept: say the oldest age it can have.
            age_ms = now_ms % hop_ms + (offsets[end - 1] - ahead if end > start else tiles) * hop_ms
        if start == end:
            return None, age_ms
        amount = total(values[start:end])
        if extreme:
            return amount, age_ms
        return finish(
            amount, sum(values[size + start : size + end]) if mean else 1, mean, adds_double, scale
        ), age_ms

    return read
