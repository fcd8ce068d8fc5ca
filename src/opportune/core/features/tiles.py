"""Ring cells: what a windowed feature keeps, one entry per tile in which something happened.

A tile is `at_ms // hop_ms`. A cell holds the tiles in (head - tiles_kept, head], head being the tile of the newest
signal, as: newest_ms (q), floor (I), entries n (H), codes (B), n offsets head - tile (falling to 0), n values, and
for `mean` n counts (for `ratio` n wholes). `floor` is one more than the newest tile that has been dropped: a window
that reaches below it is incomplete. Values and counts are ints in the narrowest of 1, 2, 4, 8 or 16 bytes that holds
them all, or doubles (`min`, `max`); offsets take one byte in rings of up to 256 tiles, else two.

A ring keeps the tiles of its window and spare ones, for reads as of a time before the newest signal: one, or as
many as cover the view's `lateness`. What is kept is the same for any order of arrival, however late: a late signal
goes into the tile of its own time when that is kept, and else only moves the floor.

What a read at `now` sees: every tile in (tile(now) - tiles, tile(now)], the last of them still open. Newer tiles
are ignored. The open tile counts whole when no signal after `now` has been folded; when one has, and the open tile
is not empty, it cannot be told apart from its own future and the answer is UNKNOWN: a value is exact or absent.
"""

from bisect import bisect_left
from collections.abc import Callable
from functools import cache
from operator import neg
from struct import Struct
from typing import Any, Final

from opportune.core.features.cells import INT_MAX, INT_MIN, SCALE, UNKNOWN, Fold, Read, finish, scaled, share

TILES_MAX: Final = 400
"""Of a window, and again of the spare ones for its lateness."""
SPARE_TILES: Final = 1
"""Tiles kept beyond the window, so that a read just before the newest tile is still answered."""
_BYTE_TILES: Final = 256

Ring = tuple[list[int], list[Any], list[int]]
"""Offsets, values, counts (empty unless the aggregate is `mean`; the wholes of a `ratio`)."""

_HEAD = Struct("<qIHB")
_HEAD_SIZE: Final = _HEAD.size
_FORMS: Final = "bhiqwd"  # w: 128 bits, as n high halves and n low halves
_WIDTHS: Final = (1, 2, 4, 8, 16, 8)
_WIDE: Final = 4
_DOUBLES: Final = 5
_NO_COUNTS: Final = 7
_CODES: Final = bytes([0] * 8 + [1] * 8 + [2] * 16 + [3] * 32 + [4] * 64)  # by bit length
_LOW = 2**64 - 1


@cache
def _form(codes: int, size: int, long: bool) -> Struct:
    """What stands behind the head; bounded by codes x tiles."""
    lanes = [f"{size}q{size}Q" if code == _WIDE else f"{size}{_FORMS[code]}" for code in _lanes(codes)]
    return Struct(f"<{size}{'H' if long else 'B'}{''.join(lanes)}")


def _lanes(codes: int) -> tuple[int, ...]:
    code, counts = codes & 7, codes >> 3
    return (code,) if counts == _NO_COUNTS else (code, counts)


def _unpack(cell: bytes, codes: int, size: int, long: bool) -> tuple[tuple[Any, ...], ...]:
    parts = _form(codes, size, long).unpack_from(cell, _HEAD_SIZE)
    if codes & 7 != _WIDE and codes >> 3 != _WIDE:
        return parts[:size], parts[size : 2 * size], parts[2 * size :]
    ring, at = [parts[:size]], size
    for code in _lanes(codes):
        lane, at = parts[at : at + size], at + size
        if code == _WIDE:
            lane = tuple(high << 64 | low for high, low in zip(lane, parts[at : at + size], strict=True))
            at += size
        ring.append(lane)
    return ring[0], ring[1], ring[2] if len(ring) == 3 else ()


@cache
def _lane(code: int, size: int) -> Callable[[bytes, int], tuple[Any, ...]]:
    """Reads `size` numbers of a lane from a place on; bounded by codes x tiles."""
    return Struct(f"<{size}{_FORMS[code]}").unpack_from


def ring_of(cell: bytes, long: bool) -> tuple[tuple[Any, ...], ...]:
    """Offsets, values and counts of a cell."""
    _, _, size, codes = _HEAD.unpack_from(cell)
    return _unpack(cell, codes, size, long)


def is_long(kept: int) -> bool:
    """Do the offsets of a ring of `kept` tiles take two bytes each?"""
    return kept > _BYTE_TILES


def _code(values: list[int]) -> int:
    top, low = max(values), min(values)
    return _CODES[max(top if top >= 0 else ~top, low if low >= 0 else ~low).bit_length()]


def _pack(newest_ms: int, floor: int, ring: Ring, doubles: bool, long: bool) -> bytes:
    offsets, values, counts = ring
    size = len(offsets)
    code = _DOUBLES if doubles else _code(values)
    codes = code | (_code(counts) if counts else _NO_COUNTS) << 3
    if code == _WIDE:
        values = _halves(values)
    if codes >> 3 == _WIDE:
        counts = _halves(counts)
    head = _HEAD.pack(newest_ms, floor, size, codes)
    return head + _form(codes, size, long).pack(*offsets, *values, *counts)


def _halves(values: list[int]) -> list[int]:
    return [value >> 64 for value in values] + [value & _LOW for value in values]


def ring_folder(aggregate: str, double: bool, hop_ms: int, kept: int) -> Fold:
    """Folds a value into the tile of its own time, however late it comes, as long as that tile is kept.

    `kept` is the number of tiles kept. A `ratio` folds pairs of ints, (part, whole).
    """
    pair, mean = aggregate == "ratio", aggregate == "mean"
    long = is_long(kept)
    doubles = double and aggregate in ("min", "max")
    scale = double and not doubles
    merge = _MERGES[aggregate]

    def fold(cell: bytes | None, at_ms: int, signal_id: str, value: object) -> bytes:
        amount: Any = scaled(value) if scale else value
        weight: int | None = 1 if mean else None
        if pair:
            amount, weight = amount
        if cell is None:
            return _pack(at_ms, 0, ([0], [amount], [] if weight is None else [weight]), doubles, long)
        newest_ms, floor, size, codes = _HEAD.unpack_from(cell)
        back = newest_ms // hop_ms - at_ms // hop_ms
        if back >= kept:  # too late for the ring
            tile = at_ms // hop_ms
            return cell if tile < floor else _HEAD.pack(newest_ms, tile + 1, size, codes) + cell[_HEAD_SIZE:]
        offsets, values, counts = map(list, _unpack(cell, codes, size, long))
        ring: Ring = (offsets, values, counts)
        if back < 0:
            floor = _advance(ring, -back, kept, at_ms // hop_ms, floor)
            back = 0
        _put(ring, back, amount, merge, weight)
        return _pack(newest_ms if newest_ms > at_ms else at_ms, floor, ring, doubles, long)

    return fold


def _put(ring: Ring, back: int, amount: object, merge: Callable[..., Any], weight: int | None) -> None:
    offsets, values, counts = ring
    size = len(offsets)
    index = size - 1 if size and offsets[-1] == back else bisect_left(offsets, -back, key=neg)
    if index < size and offsets[index] == back:
        values[index] = merge(values[index], amount)
        if weight is not None:
            counts[index] += weight
        return
    if weight is not None:
        counts.insert(index, weight)
    offsets.insert(index, back)
    values.insert(index, amount)


def _advance(ring: Ring, by: int, kept: int, head: int, floor: int) -> int:
    """Moves the head `by` tiles on to `head`, drops what falls out of the ring, and returns the new floor."""
    offsets = ring[0]
    gone = 0
    while gone < len(offsets) and offsets[gone] + by >= kept:
        gone += 1
    if gone:
        floor = max(floor, head - by - offsets[gone - 1] + 1)
        for lane in ring:
            del lane[:gone]
    offsets[:] = [offset + by for offset in offsets]
    return floor


def _one_more(kept: int, value: object) -> int:
    return kept + 1


def _plus(kept: int, value: int) -> int:
    return kept + value


_MERGES: Final[dict[str, Callable[..., Any]]] = {
    "count": _one_more,
    "sum": _plus,
    "mean": _plus,
    "ratio": _plus,
    "min": min,
    "max": max,
}


def _whole_reader(
    aggregate: str, double: bool, hop_ms: int, tiles: int, kept: int, units: tuple[int, int]
) -> Read:
    """The reader of `ring_reader` for every cell and every time."""
    pair, mean = aggregate == "ratio", aggregate == "mean"
    down, up = units
    long = is_long(kept)
    extreme = aggregate in ("min", "max")
    total: Callable[..., Any] = {"min": min, "max": max}.get(aggregate, sum)
    scale = SCALE if double else 1
    adds_double = double and not extreme

    def read(cell: bytes, now_ms: int) -> tuple[object, int]:
        newest_ms, floor, size, codes = _HEAD.unpack_from(cell)
        age_ms = now_ms - newest_ms
        ahead = newest_ms // hop_ms - now_ms // hop_ms  # tiles by which the cell is ahead of the read
        if age_ms < 0:
            if floor > now_ms // hop_ms - tiles + 1:
                return UNKNOWN
        elif ahead <= -tiles:
            return None, age_ms
        offsets, values, counts = _unpack(cell, codes, size, long)
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
        if pair:
            return share(amount, sum(counts[start:end]), up, down), age_ms
        value = finish(amount, sum(counts[start:end]) if mean else 1, mean, adds_double, scale)
        return UNKNOWN if value is None else (value, age_ms)

    return read


def ring_reader(
    aggregate: str, double: bool, hop_ms: int, tiles: int, kept: int, units: tuple[int, int] = (1, 1)
) -> Read:
    """Reads the window that ends at the open tile of `now`; None when nothing happened in it.

    `units` are those of a `ratio`: how many make 1 of the part, and of the whole.
    """
    read_whole = _whole_reader(aggregate, double, hop_ms, tiles, kept, units)
    if aggregate in ("mean", "ratio"):
        return read_whole
    long, extreme = is_long(kept), aggregate in ("min", "max")
    total: Callable[..., Any] = {"min": min, "max": max}.get(aggregate, sum)
    adds_double = double and not extreme
    unpack_head, offset_width = _HEAD.unpack_from, 2 if long else 1

    def read(cell: bytes, now_ms: int) -> tuple[object, int]:
        """`read_whole` for what nearly every read finds: nothing newer than `now`, and numbers of up to 8 bytes.

        It takes from the cell no more than the values in the window, which makes it half again as quick.
        """
        newest_ms, _, size, codes = unpack_head(cell)
        age_ms = now_ms - newest_ms
        code = codes & 7
        if age_ms < 0 or code == _WIDE:
            return read_whole(cell, now_ms)
        reach = newest_ms // hop_ms - now_ms // hop_ms + tiles  # offsets below it are in the window
        if reach <= 0:
            return None, age_ms
        gone = 0  # both loops end at the newest tile, whose offset is 0
        if long:
            while cell[_HEAD_SIZE + 2 * gone] | cell[_HEAD_SIZE + 2 * gone + 1] << 8 >= reach:
                gone += 1
        else:
            while cell[_HEAD_SIZE + gone] >= reach:
                gone += 1
        amount = total(_lane(code, size - gone)(cell, _HEAD_SIZE + size * offset_width + gone * _WIDTHS[code]))
        if adds_double:
            return amount / SCALE, age_ms
        return (amount, age_ms) if extreme or INT_MIN <= amount <= INT_MAX else UNKNOWN

    return read
