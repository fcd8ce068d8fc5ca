"""How a window runs: the slope of its hops per day, and the hops in a row in which something happened."""

from collections.abc import Sequence
from math import fsum
from struct import Struct
from typing import Final

from opportune.core.features.cells import UNKNOWN, Fold, Read
from opportune.core.features.documents import DAY_MS
from opportune.core.features.tiles import is_long, ring_of

SLOPE_TILES_MIN: Final = 2
"""A line needs two points."""

_BITS_HEAD = Struct("<qI")
_BITS_HEAD_SIZE: Final = _BITS_HEAD.size


def slope_of_sums(totals: Sequence[tuple[int, int]], tiles: int, hop_ms: int, scale: int) -> float:
    """Least-squares slope per day of `tiles` sums, given as (place from 0, sum in units of 1/scale); others are 0.

    With w = 2 place - (tiles - 1) it is 6 * sum(w * total) / (tiles * (tiles**2 - 1)) per hop: ints up to the one
    correctly rounded division.
    """
    weighted = sum((2 * place - tiles + 1) * total for place, total in totals)
    return 6 * weighted * DAY_MS / (tiles * (tiles * tiles - 1) * hop_ms * scale)


def slope_of_means(means: Sequence[tuple[int, float]], hop_ms: int) -> float | None:
    """Least-squares slope per day through (place, mean) of the hops that have one; None for fewer than two."""
    size = len(means)
    if size < SLOPE_TILES_MIN:
        return None
    along = sum(place for place, _ in means)
    spread = size * sum(place * place for place, _ in means) - along * along
    return fsum((size * place - along) * mean for place, mean in means) * DAY_MS / (spread * hop_ms) + 0.0


def slope_reader(mean: bool, scale: int, hop_ms: int, tiles: int, kept: int) -> Read:
    """The slope over the last `tiles` complete hops: the open one would pull every trend down.

    The cell is a ring of sums, counts or (`mean`) means. None when nothing happened in these hops. Reads before the
    newest signal are exact wherever the ring reaches back far enough, as the open hop has no part in them.
    """
    long = is_long(kept)

    def read(cell: bytes, now_ms: int) -> tuple[object, int]:
        newest_ms, floor = _BITS_HEAD.unpack_from(cell)
        now_tile = now_ms // hop_ms
        age_ms = now_ms - newest_ms
        ahead = newest_ms // hop_ms - now_tile
        if age_ms < 0:
            if floor > now_tile - tiles:
                return UNKNOWN
        elif ahead < -tiles:
            return None, age_ms
        offsets, values, counts = ring_of(cell, long)
        inside = [index for index, offset in enumerate(offsets) if ahead < offset <= ahead + tiles]
        if age_ms < 0:  # as in rings: the oldest age the newest signal before `now` can have
            age_ms = now_ms % hop_ms + (offsets[inside[-1]] - ahead if inside else tiles) * hop_ms
        if not inside:
            return None, age_ms
        places = [tiles + ahead - offsets[index] for index in inside]
        if mean:
            means = [values[index] / (counts[index] * scale) for index in inside]
            return slope_of_means(list(zip(places, means, strict=True)), hop_ms), age_ms
        totals = [values[index] for index in inside]
        return slope_of_sums(list(zip(places, totals, strict=True)), tiles, hop_ms, scale), age_ms

    return read


def streak_folder(hop_ms: int, kept: int) -> Fold:
    """Keeps one bit per tile: newest_ms (q), floor (I) as in rings, and the bits, bit i for tile head - i.

    Bits go in as few bytes as hold them, little end first; bit 0 is always set, as the head has a signal.
    """
    full = (1 << kept) - 1

    def fold(cell: bytes | None, at_ms: int, signal_id: str, value: object) -> bytes:
        if cell is None:
            return _BITS_HEAD.pack(at_ms, 0) + b"\1"
        newest_ms, floor = _BITS_HEAD.unpack_from(cell)
        tile, head = at_ms // hop_ms, newest_ms // hop_ms
        back = head - tile
        if back >= kept:  # too late for the ring
            return cell if tile < floor else _BITS_HEAD.pack(newest_ms, tile + 1) + cell[_BITS_HEAD_SIZE:]
        if back == 0:  # most signals: the bit is set already
            return cell if at_ms <= newest_ms else _BITS_HEAD.pack(at_ms, floor) + cell[_BITS_HEAD_SIZE:]
        bits = int.from_bytes(cell[_BITS_HEAD_SIZE:], "little")
        if back > 0:
            if bits >> back & 1:
                return cell
            bits |= 1 << back
        elif -back >= kept:
            floor, bits = max(floor, head + 1), 1
        else:
            bits <<= -back
            if gone := bits >> kept:
                newest_gone = tile - kept - _trailing_zeros(gone)
                floor, bits = max(floor, newest_gone + 1), bits & full
            bits |= 1
        newest_ms = max(newest_ms, at_ms)
        return _BITS_HEAD.pack(newest_ms, floor) + bits.to_bytes((bits.bit_length() + 7) // 8, "little")

    return fold


def streak_reader(hop_ms: int, tiles: int) -> Read:
    """How many hops in a row had a signal, up to the open one: that counts if it has one, and else breaks nothing.

    Bounded by the window, whose last hop is the open one; 0 when the hop before it is empty too, None when the whole
    window is. A signal after `now` in the open hop leaves it unknown.
    """
    full = (1 << tiles) - 1

    def read(cell: bytes, now_ms: int) -> tuple[object, int]:
        newest_ms, floor = _BITS_HEAD.unpack_from(cell)
        now_tile = now_ms // hop_ms
        age_ms = now_ms - newest_ms
        ahead = newest_ms // hop_ms - now_tile
        if ahead <= -tiles:
            return None, age_ms
        if age_ms < 0 and floor > now_tile - tiles + 1:
            return UNKNOWN
        bits = int.from_bytes(cell[_BITS_HEAD_SIZE:], "little")
        bits = (bits >> ahead if ahead > 0 else bits << -ahead) & full
        if age_ms < 0:
            if bits & 1:
                return UNKNOWN
            age_ms = now_ms % hop_ms + (_trailing_zeros(bits) if bits else tiles) * hop_ms
        if not bits:
            return None, age_ms
        run = bits if bits & 1 else bits >> 1
        return (run ^ (run + 1)).bit_length() - 1, age_ms

    return read


def _trailing_zeros(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
