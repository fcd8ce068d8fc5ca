"""One regression for all offers at once, its shrinkage learned from the data, and the curvature at the solution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.adapters.sklearn.design import Columns, Spread
from opportune.adapters.sklearn.evidence import Curvature, learned
from opportune.core.models import Example, Form, sigmoid

Floats = NDArray[np.float64]
Scales = tuple[Floats, Floats, Floats, Floats]
"""Of the blocks shared, own, shared effect, own effect: one standard deviation per column."""

ROUNDS = 8
"""How often spreads are learned anew; they hardly move after that."""


class Shrinkage(msgspec.Struct, frozen=True):
    """The four blocks of the log-odds of buying: what all offers share, an offer's own, and the same of the effect.

    baseline(offer, x) = shared(x) + own(offer, x); offered(offer, x) = baseline + shared_effect(x) +
    own_effect(offer, x). L2 with standard deviation s is a normal prior N(0, s²) on the coefficients. Where
    `learned`, the data say how far from 0 each kind is (evidence.learned).
    """

    shared: Spread = Spread(5.0, 0.35, 0.15, 0.35)
    own: Spread = Spread(1.5, 0.12, 0.06, 0.12)
    shared_effect: Spread = Spread(1.0, 0.08, 0.04, 0.08)
    own_effect: Spread = Spread(0.5, 0.08, 0.04, 0.08)
    learned: bool = True


class Rows(msgspec.Struct, frozen=True):
    """The examples as columns: the place of each row's offer, whether it was offered, what came of it (0 or 1; of
    form `amount` the money, in units of `scale`), what it counts, and the number of its unit.

    `dispersion` is the variance of an amount in units of its squared mean.
    """

    place: NDArray[np.intp]
    treated: NDArray[np.bool_]
    outcome: Floats
    weight: Floats
    unit: NDArray[np.intp]
    form: Form = "odds"
    scale: float = 1.0
    dispersion: float = 1.0

    def pull(self, linear: Floats) -> Floats:
        """The first derivative of each row's log-likelihood in its log-odds, or in the logarithm of its amount."""
        if self.form == "amount":
            return self.weight * (self.outcome * np.exp(-linear) - 1.0) / self.dispersion
        return self.weight * (self.outcome - sigmoid(linear))

    def curve(self, linear: Floats) -> Floats:
        """Less the second derivative, as it is expected to be."""
        if self.form == "amount":
            return self.weight / self.dispersion
        chance = sigmoid(linear)
        return self.weight * chance * (1.0 - chance)


class Solved(msgspec.Struct, frozen=True):
    """Coefficients in units of their spreads: shared, shared effect, then of each offer own and own effect; and what
    they came from. `linear` is their sum per row: log-odds, or the logarithm of an amount. `left` and `right` are the
    scaled columns of the shared block and of an offer's own.
    """

    coefficients: Floats
    scales: Scales
    left: Floats
    right: Floats
    linear: Floats

    def of(self, index: int) -> tuple[Floats, Floats]:
        """One offer's (baseline, effect), per column of the design, unscaled."""
        shared, own, shared_effect, own_effect = self.scales
        width = len(shared)
        at = 2 * width * (index + 1)
        mine = self.coefficients[at : at + 2 * width]
        baseline: Floats = self.coefficients[:width] * shared + mine[:width] * own
        effect: Floats = self.coefficients[width : 2 * width] * shared_effect + mine[width:] * own_effect
        return baseline, effect


def units_of(examples: Sequence[Example]) -> NDArray[np.intp]:
    """A number per row, the same for rows of the same unit."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(row.unit, len(numbers)) for row in examples], dtype=np.intp)


def solve(columns: Columns, rows: Rows, shrinkage: Shrinkage, offers: int) -> Solved:
    """The fit; with learned shrinkage, fits and learns in turn."""
    spreads = (shrinkage.shared, shrinkage.own, shrinkage.shared_effect, shrinkage.own_effect)
    one, two, three, four = (columns.scales(spread) for spread in spreads)
    declared: Scales = (one, two, three, four)
    scales, start = declared, None
    for left_over in range(ROUNDS if shrinkage.learned else 1)[::-1]:
        solved = _solved(columns, rows, scales, offers, start)
        if not left_over:
            break
        scales = _learned(columns, rows, solved, declared, offers)
        before, now = _laid_out(solved.scales, offers), _laid_out(scales, offers)
        start = solved.coefficients * before / now
    return solved


def _laid_out(scales: Scales, offers: int) -> Floats:
    """The scale of every coefficient."""
    shared, own, shared_effect, own_effect = scales
    once, each = np.concatenate([shared, shared_effect]), np.concatenate([own, own_effect])
    return np.concatenate([once, *([each] * offers)])


def _solved(
    columns: Columns, rows: Rows, scales: Scales, offers: int, start: Floats | None
) -> Solved:
    shared, own, shared_effect, own_effect = scales
    on = rows.treated.astype(float)[:, None]
    left = np.hstack([columns.values * shared, columns.values * shared_effect * on])
    right = np.hstack([columns.values * own, columns.values * own_effect * on])
    design = _design(left, right, rows.place, offers)
    coefficients = _fit(design, rows, start)
    return Solved(coefficients, scales, left, right, np.asarray(design @ coefficients))


def _design(left: Floats, right: Floats, place: NDArray[np.intp], offers: int) -> Any:  # noqa: ANN401  (scipy has no types)
    """Sparse columns: the shared block, then each offer's own, which is 0 in the rows of others."""
    from scipy import sparse

    own = sparse.csr_matrix(right)
    blocks = [sparse.diags((place == index).astype(float)) @ own for index in range(offers)]
    return sparse.hstack([sparse.csr_matrix(left), *blocks], format="csr")


def _fit(design: Any, rows: Rows, start: Floats | None) -> Floats:  # noqa: ANN401 - scipy has no types
    from sklearn.linear_model import GammaRegressor, LogisticRegression

    warm = start is not None
    if rows.form == "amount":
        # Its loss is the mean deviance / 2 + alpha / 2 |b|²: the same as a log-likelihood / dispersion and unit priors.
        alpha = rows.dispersion / float(rows.weight.sum())
        model = GammaRegressor(alpha=alpha, fit_intercept=False, max_iter=500, tol=1e-6, warm_start=warm)
    else:
        model = LogisticRegression(
            C=1.0, fit_intercept=False, solver="lbfgs", max_iter=500, tol=1e-6, warm_start=warm
        )
    if start is not None:
        model.coef_, model.intercept_ = (start if rows.form == "amount" else start[None, :]), np.zeros(1)
    model.fit(design, rows.outcome, sample_weight=rows.weight)
    found: Floats = np.asarray(model.coef_, dtype=np.float64).ravel()
    return found


def _learned(columns: Columns, rows: Rows, solved: Solved, declared: Scales, offers: int) -> Scales:
    """The spreads of each block as the data have them."""
    curve = Curvature(solved.left, solved.right, rows.place, rows.curve(solved.linear), offers)
    variances, own_variances = curve.spent()
    width = len(columns.kinds)
    once, each = solved.coefficients[: 2 * width], solved.coefficients[2 * width :].reshape(offers, 2 * width)
    blocks = (
        (once[None, :width], variances[None, :width]), (each[:, :width], own_variances[:, :width]),
        (once[None, width:], variances[None, width:]), (each[:, width:], own_variances[:, width:]),
    )  # fmt: skip
    one, two, three, four = (
        learned(coefficients, spent, now, first, columns.kinds)
        for (coefficients, spent), now, first in zip(blocks, solved.scales, declared, strict=True)
    )
    return one, two, three, four
