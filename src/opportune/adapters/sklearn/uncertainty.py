"""How sure a fit is: the variance of each uplift from the curvature of the likelihood, as one more table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from opportune.adapters.sklearn.design import Columns
from opportune.core.models import AdditiveHead, sigmoid

Floats = NDArray[np.float64]

_SAMPLE_ROWS = 400
_RIDGE = 2.0


def log_variances(
    columns: Columns,
    place: NDArray[np.intp],
    treated: NDArray[np.bool_],
    weight: Floats,
    coefficients: Floats,
    scales: tuple[Floats, Floats, Floats, Floats],
    offers: int,
) -> list[AdditiveHead]:
    """One head per offer whose value is the logarithm of the uplift's variance.

    Laplace's approximation: the covariance of all coefficients is the inverse curvature at the fit. It has an
    arrow's shape (offers meet only in what they share), so one offer's part comes from Schur complements. The
    variance of a sample of rows is then fitted, in logarithms, by a table: that keeps it positive and additive.
    """
    from scipy.linalg import cho_factor, cho_solve, solve_triangular

    width = len(columns.kinds)
    shared, own, shared_effect, own_effect = scales
    on = treated.astype(float)[:, None]
    left = np.hstack([columns.values * shared, columns.values * shared_effect * on])
    right = np.hstack([columns.values * own, columns.values * own_effect * on])
    curve_shared = np.eye(2 * width)
    arms: list[tuple[Floats, Floats]] = []
    for index in range(offers):
        here = place == index
        mine, theirs = left[here], right[here]
        at = 2 * width * (index + 1)
        chance = sigmoid(mine @ coefficients[: 2 * width] + theirs @ coefficients[at : at + 2 * width])
        curve = (weight[here] * chance * (1.0 - chance))[:, None]
        arms.append((np.eye(2 * width) + theirs.T @ (theirs * curve), mine.T @ (theirs * curve)))
        curve_shared += mine.T @ (mine * curve)
    absorbed = [cross @ cho_solve(cho_factor(block), cross.T) for block, cross in arms]
    everyone = curve_shared - np.add.reduce(absorbed)
    sample = np.unique(np.linspace(0, len(place) - 1, min(_SAMPLE_ROWS, len(place))).astype(int))
    rows = columns.values[sample]
    found = []
    for index, (block, cross) in enumerate(arms):
        at = 2 * width * (index + 1)
        mine_all = np.concatenate([coefficients[: 2 * width], coefficients[at : at + 2 * width]])
        joint = np.block([[everyone + absorbed[index], cross], [cross.T, block]])
        gradient = _gradient(rows, mine_all, (shared, shared_effect, own, own_effect))
        root = np.linalg.cholesky(joint)
        variance = (solve_triangular(root, gradient.T, lower=True) ** 2).sum(0)
        found.append(_additive(columns, columns.bins[sample], np.log(np.maximum(variance, 1e-12))))
    return found


def _gradient(rows: Floats, coefficients: Floats, scales: Sequence[Floats]) -> Floats:
    """How the uplift of each row, a probability, moves with each coefficient: shared, effect, own, own effect."""
    shared, shared_effect, own, own_effect = scales
    width = rows.shape[1]
    main, effect, mine, mine_effect = (coefficients[i * width : (i + 1) * width] for i in range(4))
    baseline = rows @ (main * shared + mine * own)
    offered = baseline + rows @ (effect * shared_effect + mine_effect * own_effect)
    with_it, without = sigmoid(offered), sigmoid(baseline)
    steep = (with_it * (1.0 - with_it))[:, None]
    flat = (without * (1.0 - without))[:, None]
    blocks = [(steep - flat) * rows * shared, steep * rows * shared_effect]
    return np.hstack([*blocks, (steep - flat) * rows * own, steep * rows * own_effect])


def _additive(columns: Columns, bins: NDArray[np.intp], target: Floats) -> AdditiveHead:
    """Ridge regression of `target` on the bins; a bin without sampled rows is as unsure as the feature's worst."""
    hot = np.hstack([np.eye(table.bin_count)[bins[:, i]] for i, table in enumerate(columns.tables)])
    middle = hot.mean(0)
    centred = hot - middle
    base = float(target.mean())
    solved = np.linalg.solve(centred.T @ centred + _RIDGE * np.eye(hot.shape[1]), centred.T @ (target - base))
    parts, at = [], 0
    for table in columns.tables:
        stop = at + table.bin_count
        part, share = solved[at:stop], middle[at:stop]
        part = part - float(share @ part)
        worst = float(part[share > 0].max())
        parts.append(tuple(round(float(x) if s > 0 else worst, 4) for x, s in zip(part, share, strict=True)))
        at = stop
    return AdditiveHead(round(base, 4), tuple(parts))
