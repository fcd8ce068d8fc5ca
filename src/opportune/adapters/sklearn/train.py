"""The trainer: one logistic regression for all offers, whose blocks shrink towards what the offers share."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.adapters.sklearn.design import Columns, Spread, columns_of, feature_tables, tables_from
from opportune.adapters.sklearn.uncertainty import log_variances
from opportune.core.models import (
    AdditiveHead,
    Fit,
    LearnError,
    OfferHeads,
    TrainingSet,
    fit_weights,
)

Floats = NDArray[np.float64]


class Shrinkage(msgspec.Struct, frozen=True):
    """The four blocks of the log-odds of buying: what all offers share, an offer's own, and the same of the effect.

    baseline(offer, x) = shared(x) + own(offer, x); offered(offer, x) = baseline + shared_effect(x) +
    own_effect(offer, x). L2 with standard deviation s is a normal prior N(0, s²) on the coefficients.
    """

    shared: Spread = Spread(5.0, 0.35, 0.2)
    own: Spread = Spread(1.5, 0.12, 0.08)
    shared_effect: Spread = Spread(1.0, 0.35, 0.2)
    own_effect: Spread = Spread(0.7, 0.25, 0.15)


class SklearnTrainer:
    """Implements Trainer with scikit-learn's LogisticRegression (lbfgs, L2); deterministic.

    An offer with fewer than `rows_per_arm_min` rows with or without it is not covered.
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
        tables = feature_tables(kept)
        columns = columns_of(tables, kept)
        number = {offer: index for index, offer in enumerate(covered)}
        place = np.array([number[row.offer] for row in kept.examples])
        treated = np.array([row.treated for row in kept.examples])
        bought = np.array([float(row.bought) for row in kept.examples])
        weight = fit_weights(kept.examples)
        scales = self._scales(columns)
        coefficients = _solve(_design(columns, place, treated, len(covered), scales), bought, weight)
        spread = log_variances(columns, place, treated, weight, coefficients, scales, len(covered))
        heads = tuple(
            _heads(offer, index, columns, coefficients, scales, spread[index], (place == index, treated, bought))
            for offer, index in number.items()
        )
        return Fit(tables, heads)

    def _covered(self, examples: TrainingSet, offers: Sequence[str]) -> tuple[tuple[str, ...], TrainingSet]:
        counts = {(offer, treated): 0 for offer in offers for treated in (True, False)}
        for row in examples.examples:
            if (row.offer, row.treated) in counts:
                counts[row.offer, row.treated] += 1
        least = self.rows_per_arm_min
        covered = tuple(o for o in offers if min(counts[o, True], counts[o, False]) >= least)
        if not covered:
            raise LearnError(
                f"no offer has {least} examples with it and {least} without: collect more, or widen the hold-out"
            )
        kept = tuple(row for row in examples.examples if row.offer in covered)
        if len({row.bought for row in kept}) < 2:
            raise LearnError("nobody bought, or everybody did: check the `converted` signal and the label window")
        return covered, msgspec.structs.replace(examples, examples=kept)

    def _scales(self, columns: Columns) -> tuple[Floats, Floats, Floats, Floats]:
        shrink = self.shrinkage
        blocks = (shrink.shared, shrink.own, shrink.shared_effect, shrink.own_effect)
        one, two, three, four = (columns.scales(block) for block in blocks)
        return one, two, three, four


def _design(
    columns: Columns,
    place: NDArray[np.intp],
    treated: NDArray[np.bool_],
    offers: int,
    scales: tuple[Floats, Floats, Floats, Floats],
) -> Any:  # noqa: ANN401  (scipy has no types)
    """Sparse columns: shared, shared effect, then for each offer own and own effect; all scaled to unit priors."""
    from scipy import sparse

    shared, own, shared_effect, own_effect = scales
    on = treated.astype(float)[:, None]
    blocks = [columns.values * shared, columns.values * shared_effect * on]
    for index in range(offers):
        here = (place == index).astype(float)[:, None]
        blocks += [columns.values * own * here, columns.values * own_effect * on * here]
    return sparse.hstack([sparse.csr_matrix(block) for block in blocks], format="csr")


def _solve(design: Any, bought: Floats, weight: Floats) -> Floats:  # noqa: ANN401
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0, fit_intercept=False, solver="lbfgs", max_iter=500, tol=1e-6)
    model.fit(design, bought, sample_weight=weight)
    found: Floats = np.asarray(model.coef_[0], dtype=np.float64)
    return found


def _heads(
    offer: str,
    index: int,
    columns: Columns,
    coefficients: Floats,
    scales: tuple[Floats, Floats, Floats, Floats],
    log_variance: AdditiveHead,
    rows: tuple[NDArray[np.bool_], NDArray[np.bool_], Floats],
) -> OfferHeads:
    width = len(columns.kinds)
    shared, own, shared_effect, own_effect = scales
    at = 2 * width * (index + 1)
    mine = coefficients[at : at + 2 * width]
    baseline = coefficients[:width] * shared + mine[:width] * own
    effect = coefficients[width : 2 * width] * shared_effect + mine[width:] * own_effect
    here, treated, bought = rows
    return OfferHeads(
        offer,
        _head(columns, baseline + effect),
        _head(columns, baseline),
        log_variance,
        int((here & treated).sum()),
        int((here & ~treated).sum()),
        int(bought[here & treated].sum()),
        int(bought[here & ~treated].sum()),
    )


def _head(columns: Columns, coefficients: Floats) -> AdditiveHead:
    base, parts = tables_from(columns, coefficients)
    return AdditiveHead(round(base, 6), tuple(tuple(round(float(x), 6) for x in part) for part in parts))
