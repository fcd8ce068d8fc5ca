"""Bins from data: how a trainer's rows become the feature tables of a card, and the bins of its values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from opportune.core.models.card import FeatureTable, FeatureType
from opportune.core.models.examples import Example, TrainingSet

CATEGORY_ROWS_MIN = 25
"""A text that fewer rows have is `any other`: it may be somebody's name."""

_TYPES: dict[str, FeatureType] = {"bool": "bool", "int": "numeric", "double": "numeric", "string": "category"}


def feature_tables(examples: TrainingSet, bins_max: int, categories_max: int) -> tuple[FeatureTable, ...]:
    """At most so many bins by quantiles of numbers, and so many of the frequent texts, the same for all offers. A
    feature that never varies is out."""
    found = []
    for place, (name, type_) in enumerate(zip(examples.feature_names, examples.feature_types, strict=True)):
        values = [row.values[place] for row in examples.examples]
        table = _table(name, _TYPES[type_], values, bins_max, categories_max)
        if len({table.bin_of(value) for value in values}) > 1:
            found.append(table)
    return tuple(found)


def bins_of(tables: Sequence[FeatureTable], names: Sequence[str], rows: Sequence[Example]) -> NDArray[np.intp]:
    """(rows, features): the bin of every value; `names` are the features in the order of the rows' values."""
    place = {name: index for index, name in enumerate(names)}
    found = np.zeros((len(rows), len(tables)), dtype=np.intp)
    for index, table in enumerate(tables):
        at = place[table.name]
        found[:, index] = [table.bin_of(row.values[at]) for row in rows]
    return found


def _table(
    name: str, type_: FeatureType, values: Sequence[object], bins_max: int, categories_max: int
) -> FeatureTable:
    if type_ == "bool":
        return FeatureTable(name, type_)
    if type_ == "category":
        counts = Counter(value for value in values if isinstance(value, str))
        frequent = [value for value, rows in counts.items() if rows >= CATEGORY_ROWS_MIN]
        kept = sorted(frequent, key=lambda value: (-counts[value], value))[:categories_max]
        return FeatureTable(name, type_, categories=tuple(sorted(kept)))
    numbers = np.array([float(v) for v in values if isinstance(v, float | int) and v == v])
    return FeatureTable(name, type_, edges=_edges(numbers, bins_max))


def _edges(numbers: NDArray[np.float64], bins_max: int) -> tuple[float, ...]:
    """Edges halfway between neighbouring values, near the quantiles, with 6 significant digits."""
    distinct = np.unique(numbers)
    if len(distinct) < 2:
        return ()
    if len(distinct) <= bins_max:
        cuts = (distinct[:-1] + distinct[1:]) / 2.0
    else:
        wanted = np.quantile(numbers, np.arange(1, bins_max) / bins_max)
        above = np.clip(np.searchsorted(distinct, wanted, side="right"), 1, len(distinct) - 1)
        cuts = (distinct[above - 1] + distinct[above]) / 2.0
    return tuple(sorted({float(f"{cut:.6g}") for cut in cuts}))
