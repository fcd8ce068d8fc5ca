"""The trainer: from examples to heads in served form, by the learner that a model's spec names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version

import msgspec
import numpy as np

from opportune.adapters.lightgbm.bins import BINS_MAX, CATEGORIES_MAX, Coding, coding
from opportune.adapters.lightgbm.distil import distilled
from opportune.adapters.lightgbm.learners import (
    Kit,
    Learned,
    Rows,
    concatenated,
    folds_of,
    learned_by,
    pseudo_outcomes,
)
from opportune.adapters.lightgbm.settings import Setting, read_settings
from opportune.adapters.lightgbm.stack import weighed
from opportune.adapters.lightgbm.trees import Forest
from opportune.adapters.lightgbm.uncertainty import half_samples, log_variance, spread_of, unexplained
from opportune.core.models import AdditiveHead, Fit, LearnError, OfferHeads, TrainingSet, fit_weights
from opportune.core.models.binning import bins_of, feature_tables

ALGORITHMS = ("s_learner", "t_learner", "x_learner", "dr_learner", "stacked")
SAMPLE_ROWS = 4000
"""How many rows tell how the variance depends on the features."""
ROWS_PER_ARM_MIN = 50


class LightgbmTrainer:
    """Implements Trainer; the same examples and settings give the same card.

    An offer with fewer than 50 rows with or without it, or whose buyers are all on one side, is not covered.
    """

    def __init__(self, algorithm: str, settings: Mapping[str, Setting] | None = None) -> None:
        """LearnError for an algorithm or a setting that is unknown, or a value out of range."""
        if algorithm not in ALGORITHMS:
            raise LearnError(f"algorithm `{algorithm}` is none of {', '.join(ALGORITHMS)}")
        self.algorithm = algorithm
        self.settings = read_settings(settings or {})

    @property
    def name(self) -> str:
        return f"{self.algorithm} of trees, lightgbm {version('lightgbm')}"

    def fit(self, examples: TrainingSet, offers: Sequence[str]) -> Fit:
        """Heads for every offer with enough rows; LearnError when there are none or nobody bought. One core."""
        if examples.target != "uplift":
            raise LearnError(
                f"algorithm `{self.algorithm}` learns uplift, not {examples.target}: take `additive` or `ebm` for it"
            )
        covered, kept = _covered(examples, offers)
        rows, code = rows_of(kept, covered)
        return self._fit(rows, covered, Kit(code, self.settings))

    def _fit(self, rows: Rows, covered: Sequence[str], kit: Kit) -> Fit:
        if self.algorithm == "stacked":
            return self._stacked(rows, covered, kit)
        count = len(covered)
        learned = learned_by(self.algorithm, rows, count, kit, 1)
        spread = self._spread(rows, learned, kit)
        heads = tuple(
            _heads(offer, (*_sums(learned[place], kit.coding), spread[place]), rows.some(rows.place == place))
            for place, offer in enumerate(covered)
        )
        return Fit(kit.coding.tables, heads, learned[0].form)

    def _stacked(self, rows: Rows, covered: Sequence[str], kit: Kit) -> Fit:
        heads = []
        for place, (offer, one) in enumerate(zip(covered, weighed(rows, len(covered), kit, 1), strict=True)):
            mine = rows.some(rows.place == place)
            asked = mine.bins, mine.codes
            folds = folds_of(rows, self.settings.folds, 4)[rows.place == place]
            left = unexplained(mine, one.said - one.away, folds, kit.coding, self.settings, self.settings.seed + 23)
            variance = one.variance(asked)
            variance += max(left - float(variance.mean()), 0.0)
            effect = distilled(mine, one.uplift(asked), kit).head
            without = head_of(kit.forest(one.mixture.without), kit.coding)
            spread = log_variance(kit.coding, mine.bins, variance)
            heads.append(_heads(offer, (effect, without, spread), mine))
        return Fit(kit.coding.tables, tuple(heads), "effect")

    def _spread(self, rows: Rows, learned: Sequence[Learned], kit: Kit) -> list[AdditiveHead]:
        """Per offer: the variance over half-samples, and what is seen unexplained beyond it."""
        count, settings = len(learned), self.settings
        halves = [
            learned_by(self.algorithm, rows.some(half), count, kit, 5_000 + 1_000 * index)
            for index, half in enumerate(half_samples(rows, settings.replicates, settings.seed + 11))
        ]
        folds = folds_of(rows, settings.folds, settings.seed + 17)
        away = np.zeros(len(rows))
        for fold in range(settings.folds):
            models = learned_by(self.algorithm, rows.some(folds != fold), count, kit, 90_000 + 1_000 * fold)
            for place, model in enumerate(models):
                here = (folds == fold) & (rows.place == place)
                away[here] = model.uplift(rows.codes[here])
        said = concatenated(
            [
                pseudo_outcomes(rows.some(here := rows.place == place), kit, folds[here], 70_000 + 100 * place)
                for place in range(count)
            ],
            rows.place,
        )
        found = []
        for place in range(count):
            here = rows.place == place
            mine = rows.some(here)
            left = unexplained(mine, (said - away)[here], folds[here], kit.coding, settings, settings.seed + 23)
            sample = np.unique(np.linspace(0, len(mine) - 1, min(SAMPLE_ROWS, len(mine))).astype(int))
            variance = spread_of([half[place].uplift for half in halves], mine.codes[sample])
            variance += max(left - float(variance.mean()), 0.0)
            found.append(log_variance(kit.coding, mine.bins[sample], variance))
        return found


def rows_of(examples: TrainingSet, offers: Sequence[str]) -> tuple[Rows, Coding]:
    """Examples of these offers alone as arrays, and how their bins are given to LightGBM."""
    tables = feature_tables(examples, BINS_MAX, CATEGORIES_MAX)
    if not tables:
        raise LearnError("no feature varies over the examples: choose others")
    bins = bins_of(tables, examples.feature_names, examples.examples)
    code = coding(tables, bins)
    number = {offer: place for place, offer in enumerate(offers)}
    rows = Rows(
        bins,
        code.of(bins),
        np.array([number[row.offer] for row in examples.examples], dtype=np.intp),
        np.array([row.treated for row in examples.examples], dtype=np.bool_),
        np.array([float(row.bought) for row in examples.examples]),
        fit_weights(examples.examples),
    )
    return rows, code


def _covered(examples: TrainingSet, offers: Sequence[str]) -> tuple[tuple[str, ...], TrainingSet]:
    counts = {(offer, treated): [0, 0] for offer in offers for treated in (True, False)}
    for row in examples.examples:
        if (row.offer, row.treated) in counts:
            counts[row.offer, row.treated][row.bought] += 1
    sides = {offer: (counts[offer, True], counts[offer, False]) for offer in offers}
    least = ROWS_PER_ARM_MIN
    enough = [offer for offer in offers if all(sum(side) >= least for side in sides[offer])]
    if not enough:
        raise LearnError(
            f"no offer has {least} examples with it and {least} without: collect more, or widen the hold-out"
        )
    covered = tuple(offer for offer in enough if all(min(side) > 0 for side in sides[offer]))
    if not covered:
        raise LearnError("nobody bought, or everybody did: check the `converted` signal and the label window")
    kept = tuple(row for row in examples.examples if row.offer in covered)
    return covered, msgspec.structs.replace(examples, examples=kept)


def _sums(learned: Learned, coding: Coding) -> tuple[AdditiveHead, AdditiveHead]:
    return head_of(learned.offered(), coding), head_of(learned.baseline(), coding)


def _heads(offer: str, heads: tuple[AdditiveHead, AdditiveHead, AdditiveHead], rows: Rows) -> OfferHeads:
    on, got = rows.treated, rows.bought
    return OfferHeads(
        offer, *heads, int(on.sum()), int((~on).sum()), int(got[on].sum()), int(got[~on].sum())
    )  # fmt: skip


def head_of(forest: Forest, coding: Coding, parts: Sequence[Sequence[float]] | None = None) -> AdditiveHead:
    """Trees, and parts where there are some, as one head."""
    kept = forest.rounded()
    given = parts or [[0.0] * table.bin_count for table in coding.tables]
    return AdditiveHead(kept.base, tuple(tuple(part) for part in given), (), kept.trees)
