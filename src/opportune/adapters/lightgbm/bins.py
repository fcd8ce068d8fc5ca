"""Bins from data, and the codes by which LightGBM sees them: a tree over codes is a tree over the card's bins."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.models import FeatureTable
from opportune.core.models.card import MISSING_BIN

BINS_MAX = 48
CATEGORIES_MAX = 32

Floats = NDArray[np.float64]
Bins = NDArray[np.intp]


class Coding(msgspec.Struct, frozen=True):
    """The features' bins and, for each bin, the number that LightGBM is given for it.

    A number's and a bool's bins are given in their order, missing as NaN; a category's are names. A bin without
    training rows is given as the middle one (of numbers) or the most frequent (of others): whoever falls into it is
    taken for the average. `shares` are the shares of training rows per bin.
    """

    tables: tuple[FeatureTable, ...]
    codes: tuple[Floats, ...]
    shares: tuple[Floats, ...]

    @property
    def categorical(self) -> list[int]:
        """The places of the features whose codes are names."""
        return [place for place, table in enumerate(self.tables) if table.type == "category"]

    def of(self, bins: Bins) -> Floats:
        """(rows, features) of bins as LightGBM is given them."""
        return np.column_stack([codes[bins[:, place]] for place, codes in enumerate(self.codes)])


def coding(tables: Sequence[FeatureTable], bins: Bins) -> Coding:
    """How these rows' bins are given to LightGBM."""
    codes, shares = [], []
    for index, table in enumerate(tables):
        share = np.bincount(bins[:, index], minlength=table.bin_count) / max(len(bins), 1)
        code = np.arange(table.bin_count, dtype=np.float64)
        if table.type != "category":
            code[MISSING_BIN] = np.nan
        known = share.copy()
        if table.type == "numeric":
            known[MISSING_BIN] = 0.0
            usual = int(np.searchsorted(np.cumsum(known), known.sum() / 2.0))
        else:
            usual = int(np.argmax(known))
        codes.append(np.where(share > 0.0, code, code[usual]))
        shares.append(share)
    return Coding(tuple(tables), tuple(codes), tuple(shares))
