"""Features as the bins of a card, fed to a boosting machine, and what it learned of them back as the card's tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opportune.core.models import AdditiveHead, FeatureTable, PairTable

Floats = NDArray[np.float64]
Bins = NDArray[np.intp]

BINS = 32
CATEGORIES_MAX = 16

def fed(tables: Sequence[FeatureTable], bins: Bins) -> NDArray[np.object_]:
    """What the machine is given: a number's bin as a number, a text's bin as a name, nothing where it is missing."""
    found = np.empty(bins.shape, np.object_)
    for at, table in enumerate(tables):
        found[:, at] = np.array([_fed(table, bin_) for bin_ in range(table.bin_count)], np.object_)[bins[:, at]]
    return found


def types_of(tables: Sequence[FeatureTable]) -> list[str]:
    """The machine's word for each feature's type."""
    return ["nominal" if table.type == "category" else "continuous" for table in tables]


def head_of(machine: Any, tables: Sequence[FeatureTable], bag: int | None = None) -> AdditiveHead:  # noqa: ANN401 - no types
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


def _places(machine: Any, feature: int, together: int, table: FeatureTable) -> list[int]:  # noqa: ANN401 - no types
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
