"""Features as the bins of a card, fed to a boosting machine, and what it learned of them back as the card's tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opportune.core.models import AdditiveHead, FeatureTable, FeatureType, PairTable, TrainingSet

Floats = NDArray[np.float64]
Bins = NDArray[np.int64]

BINS = 32
CATEGORIES_MAX = 16
CATEGORY_ROWS_MIN = 25
"""A text that fewer rows have is `any other`: it may be somebody's name."""

_TYPES: dict[str, FeatureType] = {"bool": "bool", "int": "numeric", "double": "numeric", "string": "category"}


def feature_tables(examples: TrainingSet, bins: int = BINS) -> tuple[FeatureTable, ...]:
    """Bins by quantiles of numbers and by frequent texts, the same for all offers. What never varies is left out."""
    found = []
    for place, (name, type_) in enumerate(zip(examples.feature_names, examples.feature_types, strict=True)):
        values = [row.values[place] for row in examples.examples]
        table = _table(name, _TYPES[type_], values, bins)
        if len({table.bin_of(value) for value in values}) > 1:
            found.append(table)
    return tuple(found)


def bins_of(tables: Sequence[FeatureTable], examples: TrainingSet) -> Bins:
    """(rows, features): the bin of every value."""
    place = {name: at for at, name in enumerate(examples.feature_names)}
    found = np.zeros((len(examples.examples), len(tables)), np.int64)
    for at, table in enumerate(tables):
        found[:, at] = [table.bin_of(row.values[place[table.name]]) for row in examples.examples]
    return found


def fed(tables: Sequence[FeatureTable], bins: Bins) -> NDArray[np.object_]:
    """What the machine is given: a number's bin as a number, a text's bin as a name, nothing where it is missing."""
    found = np.empty(bins.shape, np.object_)
    for at, table in enumerate(tables):
        found[:, at] = np.array([_fed(table, bin_) for bin_ in range(table.bin_count)], np.object_)[bins[:, at]]
    return found


def types_of(tables: Sequence[FeatureTable]) -> list[str]:
    """The machine's word for each feature's type."""
    return ["nominal" if table.type == "category" else "continuous" for table in tables]


def head_of(machine: Any, tables: Sequence[FeatureTable], bag: int | None = None) -> AdditiveHead:  # noqa: ANN401
    """What the machine says, as a head: the same terms, looked up by the card's bins; of one of its outer bags, if
    one is named. Exact: every bin of the card falls into one bin of the machine."""
    base = machine.intercept_ if bag is None else machine.bagged_intercept_[bag]
    scores = machine.term_scores_ if bag is None else [one[bag] for one in machine.bagged_scores_]
    alone = [[0.0] * table.bin_count for table in tables]
    pairs = []
    for features, said in zip(machine.term_features_, scores, strict=True):
        places = [_places(machine, at, len(features), tables[at]) for at in features]
        if len(features) == 1:
            alone[features[0]] = [float(one) for one in said[places[0]]]
        else:
            rows = said[np.ix_(places[0], places[1])].tolist()
            pairs.append(PairTable(features[0], features[1], tuple(map(tuple, rows))))
    return AdditiveHead(float(np.ravel(base)[0]), tuple(map(tuple, alone)), tuple(pairs))


def predicted(head: AdditiveHead, bins: Bins) -> Floats:
    """A head's sum for every row of bins."""
    found = np.full(len(bins), head.base)
    for at, parts in enumerate(head.parts):
        found += np.array(parts)[bins[:, at]]
    for pair in head.pairs:
        found += np.array(pair.parts)[bins[:, pair.first], bins[:, pair.second]]
    return found


def _fed(table: FeatureTable, bin_: int) -> object:
    if bin_ == 0:
        return None if table.type == "category" else np.nan
    return f"bin {bin_}" if table.type == "category" else float(bin_)


def _places(machine: Any, feature: int, together: int, table: FeatureTable) -> list[int]:  # noqa: ANN401
    """The machine's bin of each bin of the card: 0 missing, then its own, the last what it never saw.

    Terms of several features may have coarser bins than a feature alone.
    """
    levels = machine.bins_[feature]
    cut = levels[min(together, len(levels)) - 1]
    if isinstance(cut, dict):
        unseen = max(cut.values(), default=0) + 1
        return [0, *(cut.get(f"bin {bin_}", unseen) for bin_ in range(1, table.bin_count))]
    known = np.searchsorted(cut, np.arange(1.0, table.bin_count), side="right") + 1
    return [0, *known.tolist()]


def _table(name: str, type_: FeatureType, values: Sequence[object], bins: int) -> FeatureTable:
    if type_ == "bool":
        return FeatureTable(name, type_)
    if type_ == "category":
        counts = Counter(value for value in values if isinstance(value, str))
        frequent = [value for value, rows in counts.items() if rows >= CATEGORY_ROWS_MIN]
        kept = sorted(frequent, key=lambda value: (-counts[value], value))[:CATEGORIES_MAX]
        return FeatureTable(name, type_, categories=tuple(sorted(kept)))
    numbers = np.array([float(v) for v in values if isinstance(v, float | int) and v == v])
    return FeatureTable(name, type_, edges=_edges(numbers, bins))


def _edges(numbers: Floats, bins: int) -> tuple[float, ...]:
    """Edges halfway between neighbouring values, near the quantiles, with 6 significant digits."""
    distinct = np.unique(numbers)
    if len(distinct) < 2:
        return ()
    if len(distinct) <= bins:
        cuts = (distinct[:-1] + distinct[1:]) / 2.0
    else:
        wanted = np.quantile(numbers, np.arange(1, bins) / bins)
        above = np.clip(np.searchsorted(distinct, wanted, side="right"), 1, len(distinct) - 1)
        cuts = (distinct[above - 1] + distinct[above]) / 2.0
    return tuple(sorted({float(f"{cut:.6g}") for cut in cuts}))
