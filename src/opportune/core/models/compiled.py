"""Scoring: a scorecard folded into one matrix, all offers in one call, and the parts of a score as its reasons."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.models.card import (
    MISSING_BIN,
    UNSEEN_BIN,
    AdditiveHead,
    FeatureTable,
    ModelError,
    Scorecard,
    check_card,
)

LOG_ODDS_MAX = 500.0
"""No head may be able to leave ±500, so that `exp` needs no guard."""

_GRID = 2.0**32
_DIGITS = 1e9
_UNCOVERED = 400.0
_NUMBERS = (int, float)

Reasons = tuple[tuple[str, float], ...]
Numeric = tuple[int, int, tuple[float, ...]]
"""Position of the value, row of the missing bin, edges."""
Named = tuple[int, int, int, dict[object, int]]
"""Position of the value, row of the missing bin, row of an unknown text, value → row."""


class Scores(msgspec.Struct, frozen=True):
    """One customer, every offer in the order compiled: probabilities with 9 decimals.

    Where `covered` is False the card knows nothing (0, 0, 0, and a standard error of 1): the caller uses the
    offer's declared prior and says so. `bins` are what the values became: `CompiledModel.explain` reads them.
    """

    p_accept: list[float]
    p_base: list[float]
    uplift: list[float]
    uplift_se: list[float]
    covered: tuple[bool, ...]
    bins: list[int]


class CompiledModel:
    """A scorecard for the offers and the feature order of one release. Immutable; threads may share it.

    INVARIANT: every table entry is a multiple of 2^-32 far below 2^20, so sums are exact in any order, and the
    results are published with 9 decimals: the same values give the same bytes.
    """

    def __init__(
        self,
        offers: tuple[str, ...],
        covered: tuple[bool, ...],
        numeric: list[Numeric],
        named: list[Named],
        names: tuple[str, ...],
        matrix: NDArray[np.float64],
        effect: NDArray[np.float64],
    ) -> None:
        """`matrix` is (1 + bins, 3 * offers): row 0 the bases, columns -offered, -baseline, log se; `effect` is
        (offers, 1 + bins): offered less baseline, in log-odds."""
        self.offers = offers
        self.covered = covered
        self.feature_names = names
        self._numeric = numeric
        self._named = named
        self._matrix = matrix
        self._effect = effect

    def score(self, values: Sequence[object]) -> Scores:
        """p_accept, p_base, uplift and its standard error of every offer; `values` in the compiled order."""
        bins = self.bins_of(values)
        sums = np.add.reduce(self._matrix.take(bins, 0), 0)
        return self._scores(sums, len(self.offers), bins, self.covered)

    def _scores(
        self, sums: NDArray[np.float64], count: int, bins: list[int], covered: Sequence[bool]
    ) -> Scores:
        results = np.exp(sums)
        chances = results[: 2 * count]
        chances += 1.0
        np.divide(1.0, chances, out=chances)
        results *= _DIGITS
        np.rint(results, out=results)
        uplift = ((results[:count] - results[count : 2 * count]) / _DIGITS).tolist()
        results /= _DIGITS
        found: list[float] = results.tolist()
        return Scores(
            found[:count], found[count : 2 * count], uplift, found[2 * count :], tuple(covered), bins
        )

    def score_some(self, values: Sequence[object], places: Sequence[int]) -> Scores:
        """`score` for some of the offers, by their places: the same numbers, in this order."""
        bins = self.bins_of(values)
        count, width = len(places), len(self.offers)
        columns = np.add.outer((0, width, 2 * width), places).ravel()
        cells = np.add.outer(np.multiply(bins, 3 * width), columns)
        return self._scores(np.add.reduce(self._matrix.take(cells), 0), count, bins, [self.covered[p] for p in places])

    def reasons(self, values: Sequence[object], offer_index: int, top: int = 3) -> Reasons:
        """What moves this customer's uplift for one offer most, against the average training row.

        (feature, part of the uplift in log-odds), the largest first; parts of all features plus the base are the
        whole. Empty for an offer that is not covered.
        """
        return self._reasons(self.bins_of(values), offer_index, top)

    def explain(self, scores: Scores, offer_index: int, top: int = 3) -> Reasons:
        """`reasons` for values already scored: spares looking up the bins again."""
        return self._reasons(scores.bins, offer_index, top)

    def levels(self) -> dict[str, tuple[object, ...]]:
        """Where the scores may change, by feature: the edges of a number, the values known of anything else."""
        edges = [edges for _, _, edges in self._numeric]
        known = [tuple(rows) for _, _, _, rows in self._named]
        return dict(zip(self.feature_names, [*edges, *known], strict=True))

    def layout(self) -> tuple[NDArray[np.float64], list[Numeric], list[Named]]:
        """(the matrix, how numbers are looked up in it, how the others are): what `rows` scores tables with."""
        return self._matrix, self._numeric, self._named

    def effect_base(self, offer_index: int) -> float:
        """The uplift of the average training row in log-odds: reasons count from here."""
        return float(self._effect[offer_index, 0])

    def bins_of(self, values: Sequence[object]) -> list[int]:
        """Row numbers in the tables: 0 for the base, then one per feature; raises nothing on any value."""
        bins = [0]
        for position, missing, edges in self._numeric:
            value = values[position]
            if isinstance(value, _NUMBERS) and value == value:
                bins.append(missing + 1 + bisect_right(edges, value))
            else:
                bins.append(missing)
        for position, missing, other, rows in self._named:
            value = values[position]
            try:
                bins.append(rows.get(value, other if isinstance(value, str) else missing))
            except TypeError:
                bins.append(missing)
        return bins

    def _reasons(self, bins: list[int], offer_index: int, top: int) -> Reasons:
        if not self.covered[offer_index]:
            return ()
        parts = self._effect[offer_index].take(bins[1:])
        order = (-np.abs(parts)).argsort(kind="stable")[:top].tolist()
        found: list[float] = parts.tolist()
        return tuple([(self.feature_names[i], round(found[i], 9)) for i in order if found[i]])


def compile_scorecard(card: Scorecard, offers: Sequence[str], feature_names: Sequence[str]) -> CompiledModel:
    """The card for these offers and this order of feature values.

    Raises ModelError when the card is malformed or reads a feature that is not among `feature_names`.
    """
    check_card(card)
    positions = {name: position for position, name in enumerate(feature_names)}
    for table in card.features:
        if table.name not in positions:
            raise ModelError(
                f"model `{card.model}` reads feature `{table.name}`, which no feature view gives: train it again"
            )
    numeric, named, layout = _lookups(card.features, positions)
    known = {heads.offer: heads for heads in card.offers}
    covered = tuple(offer in known for offer in offers)
    count, rows = len(offers), 1 + sum(table.bin_count for table in card.features)
    matrix = np.zeros((rows, 3 * count))
    matrix[0, : 2 * count] = _UNCOVERED
    effect = np.zeros((count, rows))
    slope = card.calibration.slope
    for index, offer in enumerate(offers):
        heads = known.get(offer)
        if heads is None:
            continue
        offered = _column(card, heads.offered, slope, card.calibration.shift_offered, offer)
        baseline = _column(card, heads.baseline, slope, card.calibration.shift_baseline, offer)
        spread = 2.0 * math.log(max(abs(slope), 1e-9))
        matrix[:, index] = -offered
        matrix[:, count + index] = -baseline
        matrix[:, 2 * count + index] = _column(card, heads.log_variance, 0.5, 0.5 * spread, offer)
        effect[index] = offered - baseline
    names = tuple(card.features[index].name for index in layout)
    return CompiledModel(tuple(offers), covered, numeric, named, names, matrix, effect)


def _lookups(
    tables: Sequence[FeatureTable], positions: dict[str, int]
) -> tuple[list[Numeric], list[Named], list[int]]:
    """How to look up numeric features and the others, and the order in which `bins_of` walks the features."""
    numeric: list[Numeric] = []
    named: list[Named] = []
    numeric_order: list[int] = []
    named_order: list[int] = []
    row = 1
    for index, table in enumerate(tables):
        position = positions[table.name]
        if table.type == "numeric":
            numeric.append((position, row + MISSING_BIN, table.edges))
            numeric_order.append(index)
        else:
            found: tuple[object, ...] = (False, True) if table.type == "bool" else table.categories
            other = row + (MISSING_BIN if table.type == "bool" else UNSEEN_BIN)
            first = row + table.bin_count - len(found)
            rows: dict[object, int] = {value: first + number for number, value in enumerate(found)}
            named.append((position, row + MISSING_BIN, other, rows))
            named_order.append(index)
        row += table.bin_count
    return numeric, named, numeric_order + named_order


def _column(card: Scorecard, head: AdditiveHead, slope: float, shift: float, offer: str) -> NDArray[np.float64]:
    """One head as a column: base first, then every bin of every feature, scaled and put on the grid."""
    flat = [slope * head.base + shift, *(slope * part for parts in head.parts for part in parts)]
    reach = abs(flat[0]) + sum(max((abs(slope * part) for part in parts), default=0.0) for parts in head.parts)
    if not reach < LOG_ODDS_MAX:
        raise ModelError(f"scorecard `{card.model}` can leave ±{LOG_ODDS_MAX:g} for `{offer}`: train it again")
    return np.rint(np.array(flat) * _GRID) / _GRID

