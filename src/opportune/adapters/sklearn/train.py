"""The trainer: one logistic regression for all offers, whose blocks shrink towards what the offers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from math import log

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.adapters.sklearn.design import BINS_MAX, CATEGORIES_MAX, Columns, columns_of, tables_from
from opportune.adapters.sklearn.solve import Rows, Shrinkage, Solved, solve, units_of
from opportune.adapters.sklearn.uncertainty import log_variances
from opportune.core.models import (
    AdditiveHead,
    Fit,
    Form,
    LearnError,
    OfferHeads,
    TrainingSet,
    fit_weights,
)
from opportune.core.models.binning import feature_tables

Floats = NDArray[np.float64]


FORMS: Mapping[str, Form] = {
    "uplift": "odds", "acceptance": "chance", "churn_risk": "chance", "fatigue": "chance", "value": "amount",
}  # fmt: skip


class SklearnTrainer:
    """Implements Trainer with scikit-learn's LogisticRegression (lbfgs, L2), and GammaRegressor for amounts, whose
    variance grows with the square of their mean; deterministic.

    Of a target without effects, what all offers share and what is one offer's own are learned in the same way. An
    offer with fewer than `rows_per_arm_min` rows with or without it is not covered.
    """

    def __init__(self, shrinkage: Shrinkage | None = None, rows_per_arm_min: int = 50) -> None:
        self.shrinkage = shrinkage or Shrinkage()
        self.rows_per_arm_min = rows_per_arm_min

    @property
    def name(self) -> str:
        return f"additive logistic regression with shared and own blocks, scikit-learn {version('scikit-learn')}"

    def fit(self, examples: TrainingSet, offers: Sequence[str]) -> Fit:
        """Tables for every offer with enough rows; raises LearnError when there are none or all bought alike.

        Runs on one core, for the same bytes every time and to leave the others to decisions.
        """
        try:
            from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
        except ImportError:
            raise LearnError("training needs scikit-learn: install opportune[ml]") from None
        with threadpool_limits(limits=1):
            return self._fit(examples, offers)

    def _fit(self, examples: TrainingSet, offers: Sequence[str]) -> Fit:
        covered, kept = self._covered(examples, offers)
        tables = feature_tables(kept, BINS_MAX, CATEGORIES_MAX)
        columns = columns_of(tables, kept)
        number = {offer: index for index, offer in enumerate(covered)}
        rows = _rows(kept, np.array([number[row.offer] for row in kept.examples]))
        solved = solve(columns, rows, self.shrinkage, len(covered))
        spread = log_variances(columns, rows, solved)
        heads = tuple(
            _heads(offer, index, columns, solved, spread[index], rows) for offer, index in number.items()
        )
        return Fit(tables, heads, rows.form)

    def _covered(self, examples: TrainingSet, offers: Sequence[str]) -> tuple[tuple[str, ...], TrainingSet]:
        counts = {(offer, treated): 0 for offer in offers for treated in (True, False)}
        for row in examples.examples:
            if (row.offer, row.treated) in counts:
                counts[row.offer, row.treated] += 1
        least = self.rows_per_arm_min
        arms = (True, False) if examples.target == "uplift" else (True,)
        covered = tuple(o for o in offers if min(counts[o, arm] for arm in arms) >= least)
        if not covered and len(arms) == 1:
            raise LearnError(f"no offer has {least} examples: collect more, or ask for less of each")
        if not covered:
            raise LearnError(
                f"no offer has {least} examples with it and {least} without: collect more, or widen the hold-out"
            )
        kept = tuple(row for row in examples.examples if row.offer in covered)
        if examples.target == "value":
            kept = tuple(row for row in kept if row.amount > 0.0)
        elif len({row.bought for row in kept}) < 2:
            raise LearnError("nobody bought, or everybody did: check the `converted` signal and the label window")
        return covered, msgspec.structs.replace(examples, examples=kept)


def _rows(kept: TrainingSet, place: NDArray[np.intp]) -> Rows:
    """The examples as columns, with what the target makes of their outcome."""
    rows = kept.examples
    form = FORMS[kept.target]
    treated = np.array([row.treated for row in rows])
    weight, unit = fit_weights(rows), units_of(rows)
    if form != "amount":
        return Rows(place, treated, np.array([float(row.bought) for row in rows]), weight, unit, form)
    amount = np.array([row.amount for row in rows])
    scale = float(np.average(amount, weights=weight))
    means = np.bincount(place, weight * amount) / np.maximum(np.bincount(place, weight), 1e-12)
    dispersion = float(np.average((amount / means[place] - 1.0) ** 2, weights=weight))
    return Rows(place, treated, amount / scale, weight, unit, form, scale, max(dispersion, 1e-3))


def _heads(
    offer: str, index: int, columns: Columns, solved: Solved, log_variance: AdditiveHead, rows: Rows
) -> OfferHeads:
    """The offer's tables. Without effects there is one number: what is shared and what is offered's, together."""
    baseline, effect = solved.of(index)
    here, treated, outcome = rows.place == index, rows.treated, rows.outcome > 0.0
    nothing = np.zeros_like(baseline)
    return OfferHeads(
        offer,
        _head(columns, baseline + effect, log(rows.scale)),
        _head(columns, baseline if rows.form == "odds" else nothing),
        log_variance,
        int((here & treated).sum()),
        int((here & ~treated).sum()),
        int(outcome[here & treated].sum()),
        int(outcome[here & ~treated].sum()),
    )


def _head(columns: Columns, coefficients: Floats, more: float = 0.0) -> AdditiveHead:
    base, parts = tables_from(columns, coefficients)
    return AdditiveHead(round(base + more, 6), tuple(tuple(round(float(x), 6) for x in part) for part in parts))
