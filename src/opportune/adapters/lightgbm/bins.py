"""Bins from data, and the codes by which LightGBM sees them: a tree over codes is a tree over the card's bins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.models import Example, FeatureTable, FeatureType, TrainingSet
from opportune.core.models.card import MISSING_BIN

BINS_MAX = 48
CATEGORIES_MAX = 32
CATEGORY_ROWS_MIN = 25

_TYPES: dict[str, FeatureType] = {"bool": "bool", "int": "numeric", "double": "numeric", "string": "category"}

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


def feature_tables(examples: TrainingSet) -> tuple[FeatureTable, ...]:
    """Bins from the rows: quantiles of numbers, the frequent texts. A feature that never varies is out."""
    found = []
    for index, (name, type_) in enumerate(zip(examples.feature_names, examples.feature_types, strict=True)):
        values = [row.values[index] for row in examples.examples]
        table = _table(name, _TYPES[type_], values)
        if len({table.bin_of(value) for value in values}) > 1:
            found.append(table)
    return tuple(found)


def bins_of(tables: Sequence[FeatureTable], names: Sequence[str], rows: Sequence[Example]) -> Bins:
    """(rows, tables): the bin of every value, as it is served."""
    place = {name: index for index, name in enumerate(names)}
    found = np.zeros((len(rows), len(tables)), dtype=np.intp)
    for index, table in enumerate(tables):
        at = place[table.name]
        found[:, index] = [table.bin_of(row.values[at]) for row in rows]
    return found


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


def _table(name: str, type_: FeatureType, values: Sequence[object]) -> FeatureTable:
    if type_ == "bool":
        return FeatureTable(name, type_)
    if type_ == "category":
        counts = Counter(value for value in values if isinstance(value, str))
        frequent = [value for value, rows in counts.items() if rows >= CATEGORY_ROWS_MIN]
        kept = sorted(frequent, key=lambda value: (-counts[value], value))[:CATEGORIES_MAX]
        return FeatureTable(name, type_, categories=tuple(sorted(kept)))
    numbers = np.array([float(v) for v in values if isinstance(v, float | int) and v == v])
    return FeatureTable(name, type_, edges=_edges(numbers))


def _edges(numbers: Floats) -> tuple[float, ...]:
    """Edges halfway between neighbouring values, near the quantiles, with 6 significant digits."""
    distinct = np.unique(numbers)
    if len(distinct) < 2:
        return ()
    if len(distinct) <= BINS_MAX:
        cuts = (distinct[:-1] + distinct[1:]) / 2.0
    else:
        wanted = np.quantile(numbers, np.arange(1, BINS_MAX) / BINS_MAX)
        above = np.clip(np.searchsorted(distinct, wanted, side="right"), 1, len(distinct) - 1)
        cuts = (distinct[above - 1] + distinct[above]) / 2.0
    return tuple(sorted({float(f"{cut:.6g}") for cut in cuts}))
