"""The training snapshot: what a card's training rows looked like, so that what comes later can be held against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from opportune.core.models.card import MISSING_BIN, FeatureTable, Scorecard
from opportune.core.models.compiled import CompiledModel
from opportune.core.models.examples import Example, TrainingSet
from opportune.core.models.populations import (
    Answers,
    Bins,
    Cell,
    Layout,
    Population,
    SegmentShares,
    Snapshot,
)

POINTS_MAX = 64
"""Where the distribution of a number is looked at."""

SCORE_BINS = 10
ANSWER_BINS = 6
SCORED_ROWS_MAX = 20_000
"""Of more rows, so many are scored, evenly spread."""

SEGMENT_ROWS_MIN = 100
"""A smaller segment of training has no snapshot: nothing could be told from it."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Row = Sequence[object]
T = TypeVar("T")


def snapshot_of(
    card: Scorecard, model: CompiledModel, examples: TrainingSet, later: TrainingSet, segments: Sequence[str] = ()
) -> Snapshot:
    """The snapshot of a card: inputs and scores from all `examples`, answers from `later`, which it never saw.

    `model` is the card compiled for the features in the order of `examples.feature_names`. A segment is one value of
    one of `segments`, as the card's table of that feature cuts it; features the card has no table for give none.
    """
    rows = rows_for(card.features, examples.feature_names, [one.values for one in examples.examples])
    units = numbered([one.unit for one in examples.examples])
    thin = slice(None, None, max(1, -(-len(rows) // SCORED_ROWS_MAX)))
    scores = scores_of(card, model, [one.values for one in examples.examples[thin]])
    predicted, happened, treated, answered = _answers_rows(model, later.examples)
    offers = tuple(offer for offer, known in zip(model.offers, model.covered, strict=True) if known)
    layout = Layout(
        tuple(_points(table, [row[place] for row in rows]) for place, table in enumerate(card.features)),
        offers,
        tuple(_quantiles(scores[:, place], SCORE_BINS) for place in range(len(offers))),
        _quantiles(predicted, ANSWER_BINS),
    )
    bins = bins_of(card.features, rows)
    later_rows = rows_for(card.features, examples.feature_names, [one.values for one in answered])
    later_bins, later_units = bins_of(card.features, later_rows), numbered([one.unit for one in answered])
    found = []
    for place, index in _segments(card.features, bins, segments):
        here, there = bins[:, place] == index, later_bins[:, place] == index
        table = card.features[place]
        own = (scores[here[thin]], units[thin][here[thin]])
        population = population_of(card.features, layout, _kept(rows, here), bins[here], units[here], *own)
        answers = answers_of(layout, predicted[there], happened[there], treated[there], later_units[there])
        found.append(SegmentShares(table.name, index, table.bin_label(index), population, answers))
    whole = population_of(card.features, layout, rows, bins, units, scores, units[thin])
    return Snapshot(layout, whole, answers_of(layout, predicted, happened, treated, later_units), tuple(found))


def rows_for(tables: Sequence[FeatureTable], names: Sequence[str], values: Sequence[Row]) -> list[Row]:
    """Each row's values in the order of the card's tables."""
    places = [names.index(table.name) for table in tables]
    return [tuple(row[place] for place in places) for row in values]


def bins_of(tables: Sequence[FeatureTable], rows: Sequence[Row]) -> Ints:
    """(rows, features): the bin of each value."""
    found = np.empty((len(rows), len(tables)), np.int64)
    for place, table in enumerate(tables):
        known: dict[object, int] = {}
        for index, row in enumerate(rows):
            value = row[place]
            try:
                bin_ = known.get((type(value), value))
            except TypeError:
                bin_ = MISSING_BIN
            if bin_ is None:
                bin_ = known[type(value), value] = table.bin_of(value)
            found[index, place] = bin_
    return found


def scores_of(card: Scorecard, model: CompiledModel, values: Sequence[Row]) -> Floats:
    """(rows, covered offers): the uplift; of a card that gives no uplift, what it does give."""
    known = [place for place, is_known in enumerate(model.covered) if is_known]
    found = np.empty((len(values), len(known)))
    for index, row in enumerate(values):
        scores = model.score(row)
        numbers = scores.uplift if card.target == "uplift" else scores.p_accept
        found[index] = [numbers[place] for place in known]
    return found


def population_of(
    tables: Sequence[FeatureTable], layout: Layout, rows: Sequence[Row], bins: Ints, units: Ints,
    scores: Floats, score_units: Ints,
) -> Population:  # fmt: skip
    """Counts of rows, cut as the layout says. `units` number whose row each is; rows of `scores` may be fewer."""
    own = renumbered(units)
    score_own = renumbered(score_units)
    values = []
    for place, points in enumerate(layout.points):
        is_number = bins[:, place] != MISSING_BIN
        if not points:
            values.append(Bins(()))
            continue
        numbers = _numbers(_kept([row[place] for row in rows], is_number))
        below = np.searchsorted(points, numbers, side="left")
        values.append(counted(below, len(points) + 1, renumbered(own[is_number])))
    return Population(
        len(rows),
        int(own.max()) + 1 if len(own) else 0,
        tuple(counted(bins[:, place], table.bin_count, own) for place, table in enumerate(tables)),
        tuple(values),
        tuple(
            sum(_is_wrong(row[place]) for row, bin_ in zip(rows, bins[:, place], strict=True) if bin_ == MISSING_BIN)
            for place in range(len(tables))
        ),
        tuple(
            counted(np.searchsorted(edges, scores[:, place], side="right"), len(edges) + 1, score_own)
            for place, edges in enumerate(layout.score_edges)
        ),
    )


def answers_of(
    layout: Layout, predicted: Floats, happened: Floats, treated: NDArray[np.bool_], units: Ints
) -> Answers:
    """What was predicted and what happened, by bins of the prediction; one entry per row in every argument."""
    places = np.searchsorted(layout.answer_edges, predicted, side="right")
    count = len(layout.answer_edges) + 1
    arms = []
    for arm in (treated, ~treated):
        sums = [np.bincount(places[arm], weights=one[arm], minlength=count) for one in (predicted, happened)]
        rows = np.bincount(places[arm], minlength=count)
        arms.append(
            tuple(
                Cell(int(n), round(float(p), 6), round(float(h), 6)) for n, p, h in zip(rows, *sums, strict=True)
            )
        )
    return Answers(arms[0], arms[1], _spread_of_sums(happened - predicted, renumbered(units)))


def counted(bins: Ints, count: int, units: Ints) -> Bins:
    """Rows per bin, and the design effect of their shares under clusters of rows of one unit."""
    counts = np.bincount(bins, minlength=count)
    return Bins(tuple(counts.tolist()), _spread_of_shares(bins, counts, units))


def numbered(units: Sequence[str]) -> Ints:
    """Names as numbers 0, 1, 2 … in the order in which they come."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(unit, len(known)) for unit in units], np.int64)


def renumbered(units: Ints) -> Ints:
    """The same units without gaps between their numbers."""
    found: Ints = np.unique(units, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return found


def _spread_of_shares(bins: Ints, counts: Ints, units: Ints) -> float:
    """The mean generalised design effect of Rao and Scott (1981): of each share the variance between units, as the
    ratio estimator has it, over that of independent rows."""
    n, k = len(bins), len(counts)
    sizes = np.bincount(units) if n else np.zeros(0, np.int64)
    m = len(sizes)
    if n < 2 or m < 2:
        return float(max(n, 1))
    keys, together = np.unique(units * k + bins, return_counts=True)
    squares = np.bincount(keys % k, weights=together.astype(np.float64) ** 2, minlength=k)
    crossed = np.bincount(bins, weights=sizes[units].astype(np.float64), minlength=k)
    shares = counts / n
    between = squares - 2.0 * shares * crossed + shares**2 * float((sizes.astype(np.float64) ** 2).sum())
    some = (shares > 0.0) & (shares < 1.0)
    if int(some.sum()) < 2:
        return 1.0
    effects = between[some] * (m / (m - 1)) / (n * shares[some] * (1.0 - shares[some]))
    mean = float(((1.0 - shares[some]) * effects).sum() / (int(some.sum()) - 1))
    return round(max(1.0, mean), 4)


def _spread_of_sums(numbers: Floats, units: Ints) -> float:
    """The design effect of a mean: its variance between units over that of independent rows."""
    n = len(numbers)
    if n < 2:
        return 1.0
    off = numbers - numbers.mean()
    alone = float((off**2).sum())
    sums = np.bincount(units, weights=off)
    if alone <= 0.0 or len(sums) < 2:
        return 1.0
    return round(max(1.0, float((sums**2).sum()) * len(sums) / (len(sums) - 1) / alone), 4)


def _points(table: FeatureTable, values: Sequence[object]) -> tuple[float, ...]:
    if table.type != "numeric":
        return ()
    numbers = _numbers([value for value in values if table.bin_of(value) != MISSING_BIN])
    if not len(numbers):
        return ()
    known = np.unique(numbers)
    if len(known) > POINTS_MAX:
        cuts = np.linspace(0.0, 1.0, POINTS_MAX + 2)[1:-1]
        known = np.unique(np.quantile(numbers, cuts, method="inverted_cdf"))
    return tuple(known.tolist())


def _quantiles(numbers: Floats, bins: int) -> tuple[float, ...]:
    """Inner bounds of `bins` parts with about as many numbers each; fewer where numbers repeat."""
    if not len(numbers):
        return ()
    cuts = np.quantile(numbers, np.linspace(0.0, 1.0, bins + 1)[1:-1], method="inverted_cdf")
    return tuple(np.unique(np.round(cuts, 9)).tolist())


def _answers_rows(
    model: CompiledModel, examples: Sequence[Example]
) -> tuple[Floats, Floats, NDArray[np.bool_], list[Example]]:
    """Of every row whose offer is covered: what was predicted, what happened, whether it was offered."""
    number: Mapping[str, int] = {offer: i for i, offer in enumerate(model.offers) if model.covered[i]}
    rows = [row for row in examples if row.offer in number]
    predicted = []
    for row in rows:
        scores = model.score(row.values)
        predicted.append((scores.p_accept if row.treated else scores.p_base)[number[row.offer]])
    return (
        np.array(predicted, np.float64),
        np.array([row.bought for row in rows], np.float64),
        np.array([row.treated for row in rows], np.bool_),
        rows,
    )


def _segments(tables: Sequence[FeatureTable], bins: Ints, names: Sequence[str]) -> list[tuple[int, int]]:
    """(place of the feature, bin) of every segment with enough rows."""
    found = []
    for place, table in enumerate(tables):
        if table.name in names:
            counts = np.bincount(bins[:, place], minlength=table.bin_count)
            found += [(place, index) for index, rows in enumerate(counts) if rows >= SEGMENT_ROWS_MIN]
    return found


def _kept(rows: Sequence[T], mask: NDArray[np.bool_]) -> list[T]:
    return [row for row, keep in zip(rows, mask, strict=True) if keep]


def _numbers(values: Sequence[object]) -> Floats:
    return np.array([value for value in values if isinstance(value, float | int)], np.float64)


def _is_wrong(value: object) -> bool:
    """Whether a value that counts as missing is there all the same, and of another type."""
    return value is not None and not (isinstance(value, float) and value != value)
