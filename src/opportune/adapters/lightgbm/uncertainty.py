"""How sure an estimate is: how half-samples disagree, and what is left unexplained where it can be seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from opportune.adapters.lightgbm.bins import Bins, Coding, Floats
from opportune.adapters.lightgbm.boost import SQUARES, boost
from opportune.adapters.lightgbm.learners import Rows
from opportune.adapters.lightgbm.settings import Settings
from opportune.adapters.lightgbm.trees import centred
from opportune.core.models import AdditiveHead

_RIDGE = 4.0
_SPLITS = 10
_CELL_LEAVES = 8
_LEAST = 1e-8


def half_samples(rows: Rows, count: int, seed: int) -> list[Bins]:
    """Row numbers of halves drawn without putting back, in complementary pairs, each half of every offer's sides.

    An estimate from half the rows is off from the whole's by as much, on average, as the whole's is from the truth
    (Politis, Romano and Wolf 1999; Athey, Tibshirani and Wager 2019 use the same for forests).
    """
    random = np.random.default_rng(seed)
    cell = rows.place * 2 + rows.treated
    found: list[Bins] = []
    while len(found) < count:
        halves: tuple[list[Bins], list[Bins]] = ([], [])
        for name in np.unique(cell):
            here = random.permutation(np.flatnonzero(cell == name))
            halves[0].append(here[: len(here) // 2])
            halves[1].append(here[len(here) // 2 :])
        found += [np.sort(np.concatenate(half)) for half in halves]
    return found[:count]


def unexplained(rows: Rows, residual: Floats, folds: Bins, coding: Coding, settings: Settings, seed: int) -> float:
    """The mean squared error of out-of-fold estimates as far as it can be seen in groups of customers.

    `residual` is what each row says of the effect, less the estimate by models that have not seen it. A tree finds
    groups where it is high or low on all folds but one; the mean of a group on that fold is noise plus the error of
    the estimates there. The noise is known and taken out. What remains is itself uncertain: half its standard error
    is added, so that little evidence makes estimates less sure. Never below 0.
    """
    total, weight, doubt = 0.0, 0.0, 0.0
    trees = Settings(
        num_iterations=1, learning_rate=1.0, num_leaves=_CELL_LEAVES, bagging_fraction=0.7, feature_fraction=0.6,
        lambda_l2=0.0, min_data_in_leaf=max(len(rows) // 25, 10), seed=settings.seed,
    )  # fmt: skip
    for split in range(_SPLITS):
        for fold in range(int(folds.max()) + 1):
            here = folds == fold
            other = rows.some(~here)
            tree = boost(
                other.codes, residual[~here], other.weight, trees, SQUARES, coding.categorical, seed + 97 * split + fold
            )
            leaf = np.asarray(tree.predict(rows.codes[here], pred_leaf=True)).ravel().astype(np.intp)
            squares, rows_told, variance = _between(leaf, residual[here], rows.weight[here])
            total += squares
            weight += rows_told
            doubt += variance
    if not weight:
        return 0.0
    # The splits look at the same rows: they are counted as one.
    error = math.sqrt(doubt * _SPLITS) / weight
    return max(total / weight + error / 2.0, 0.0)


def _between(leaf: Bins, residual: Floats, weight: Floats) -> tuple[float, float, float]:
    """The squares of the groups' means, less what noise adds to them, summed over weight; the weight; and the
    variance of that sum if the means were noise alone."""
    total, told, doubt = 0.0, 0.0, 0.0
    for name in np.unique(leaf):
        here = leaf == name
        mass = float(weight[here].sum())
        if int(here.sum()) < 5:
            continue
        mean = float(weight[here] @ residual[here]) / mass
        noise = float(weight[here] ** 2 @ (residual[here] - mean) ** 2) / mass**2
        noise *= here.sum() / (here.sum() - 1)
        total += mass * (mean**2 - noise)
        told += mass
        doubt += 2.0 * (mass * noise) ** 2
    return total, told, doubt


def log_variance(coding: Coding, bins: Bins, variance: Floats) -> AdditiveHead:
    """The logarithm of the variance as a table per feature: positive, and additive as the card asks.

    Ridge regression on the bins, moved so that the mean variance is that of the rows. A bin without rows is as
    unsure as the feature's worst.
    """
    target = np.log(np.maximum(variance, _LEAST))
    hot = np.hstack([np.eye(table.bin_count)[bins[:, i]] for i, table in enumerate(coding.tables)])
    middle = hot.mean(0)
    shifted = hot - middle
    base = float(target.mean())
    solved = np.linalg.solve(shifted.T @ shifted + _RIDGE * np.eye(hot.shape[1]), shifted.T @ (target - base))
    fitted = base + shifted @ solved
    base += float(np.log(np.maximum(variance.mean(), _LEAST)) - np.log(np.exp(fitted).mean()))
    parts, at = [], 0
    for table in coding.tables:
        stop = at + table.bin_count
        seen = middle[at:stop] > 0
        part = np.where(seen, solved[at:stop], solved[at:stop][seen].max())
        mean, kept = centred(part, middle[at:stop])
        base += mean
        parts.append(kept)
        at = stop
    base -= float(sum(middle[i] * solved[i] for i in range(hot.shape[1])))
    return AdditiveHead(round(base, 6), tuple(parts))


def spread_of(replicates: Sequence[Callable[[Floats], Floats]], codes: Floats) -> Floats:
    """The variance of each row's estimate over half-samples."""
    found: Floats = np.var([one(codes) for one in replicates], axis=0, ddof=1)
    return found
