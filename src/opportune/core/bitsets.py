"""Sets of candidates as the bits of an integer: made from places, taken apart, and joined along a sorted order."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np

LADDER_BYTES_MAX = 2 << 20
"""What the steps of one ladder may take before it keeps only every second, fourth, ... of them."""


LONG_BITS = 2048
FEW_BITS = 8


def mask_of_places(places: Iterable[int]) -> int:
    """The set of these places."""
    found = list(places)
    if len(found) <= 8:
        mask = 0
        for place in found:
            mask |= 1 << place
        return mask
    bits = np.zeros(max(found) + 1, np.uint8)
    bits[found] = 1
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")


def indices(mask: int) -> list[int]:
    """The places of the bits set, ascending."""
    if not mask & (mask - 1):
        return [mask.bit_length() - 1] if mask else []
    # Taking bits off one by one copies all of a long set for each.
    if mask.bit_length() > LONG_BITS and mask.bit_count() > FEW_BITS:
        packed = np.frombuffer(mask.to_bytes((mask.bit_length() + 7) // 8, "little"), np.uint8)
        places: list[int] = np.unpackbits(packed, bitorder="little").view(np.bool_).nonzero()[0].tolist()
        return places
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


class Ladder:
    """The joined sets of the first n rows of places, for every n: one look-up, or a few joins where memory is short.

    With all steps kept, as many rows as candidates would take memory by the square of their number.
    """

    __slots__ = ("_rows", "_stride", "_totals")

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        size = max((max(row) for row in rows), default=0) // 8 + 32
        stride = 1
        while len(rows) // stride * size > LADDER_BYTES_MAX:
            stride *= 2
        self._stride = stride
        self._rows = tuple(tuple(row) for row in rows) if stride > 1 else ()
        total, totals = 0, [0]
        for number, row in enumerate(rows, 1):
            total |= mask_of_places(row)
            if number % stride == 0:
                totals.append(total)
        self._totals = totals

    @property
    def totals(self) -> list[int] | None:
        """The joined sets of the first 0, 1, 2, ... rows, where all are kept."""
        return self._totals if self._stride == 1 else None

    def first(self, count: int) -> int:
        """The joined sets of the first `count` rows."""
        if self._stride == 1:
            return self._totals[count]
        total = self._totals[count // self._stride]
        for row in self._rows[count - count % self._stride : count]:
            for place in row:
                total |= 1 << place
        return total


class Windows:
    """Who is outside the time it is valid in: (first ms, last ms or None) per candidate, both included."""

    def __init__(self, windows: Sequence[tuple[int, int | None]]) -> None:
        starts: dict[int, list[int]] = {}
        ends: dict[int, list[int]] = {}
        for place, (first_ms, last_ms) in enumerate(windows):
            if first_ms > 0:
                starts.setdefault(-first_ms, []).append(place)
            if last_ms is not None:
                ends.setdefault(last_ms, []).append(place)
        self._starts, self._ends = sorted(starts), sorted(ends)
        self._not_yet = Ladder([starts[key] for key in self._starts])
        self._over = Ladder([ends[key] for key in self._ends])

    def outside(self, at_ms: int) -> int:
        """Those not valid at an instant: it has not begun, or is over."""
        return self._not_yet.first(bisect_left(self._starts, -at_ms)) | self._over.first(
            bisect_left(self._ends, at_ms)
        )
