"""What arbitration reads of the candidates that are left, laid out once for each set of them that comes up."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

POOL_PLACES_MAX = 500_000
"""Of all sets that are kept together: some 30 MB."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Pool(msgspec.Struct, frozen=True):
    """One set of candidates: their places ascending (`left`), and what each rests on in the same order.

    `places` are those of their offers in the brain, `offers` the same without repeats, ascending; `tired` is what one
    contact in a channel costs each of them.
    """

    left: Ints
    places: Ints
    margins: Floats
    costs: Floats
    tired: Mapping[str, Floats]
    offers: tuple[int, ...]


class Pools:
    """The sets that came up lately. Threads may share it: a set laid out twice is the same twice.

    Most customers of a moment are left with one of a few sets, and laying one out costs more than weighing it.
    """

    __slots__ = ("_channel_masks", "_kept", "_size", "costs", "fatigue", "margins", "places")

    def __init__(
        self, places: Ints, margins: Floats, costs: Floats, fatigue: Floats, channel_masks: Mapping[str, int]
    ) -> None:
        """All are those of one brain, over its candidates."""
        self.places = places
        self.margins = margins
        self.costs = costs
        self.fatigue = fatigue
        self._channel_masks = channel_masks
        self._kept: dict[int, Pool] = {}
        self._size = 0

    def of(self, mask: int) -> Pool:
        """The set of the bits of a mask."""
        found = self._kept.get(mask)
        if found is None:
            found = self._laid_out(mask)
            if self._size > POOL_PLACES_MAX:
                self._kept, self._size = {}, 0
            self._size += len(found.left) + 1
            self._kept[mask] = found
        return found

    def _laid_out(self, mask: int) -> Pool:
        left = places_of(mask, len(self.places))
        fatigue = self.fatigue[left]
        tired = {}
        for channel, open_ in self._channel_masks.items():
            if open_ & mask:
                within = np.isin(left, places_of(open_, len(self.places)), assume_unique=True)
                tired[channel] = np.where(within, fatigue, 0.0)
        places = self.places[left]
        offers = tuple(np.unique(places).tolist())
        return Pool(left, places, self.margins[left], self.costs[left], tired, offers)


def places_of(mask: int, count: int) -> Ints:
    """The places of the bits set, ascending, as an array; `count` is how many there can be."""
    packed = np.frombuffer(mask.to_bytes((count + 7) // 8, "little"), np.uint8)
    return np.flatnonzero(np.unpackbits(packed, count=count, bitorder="little").view(np.bool_))
