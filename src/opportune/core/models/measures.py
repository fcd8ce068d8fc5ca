"""Measures of a model on rows it has not learned from: does it rank, is it honest, does acting on it pay."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def auc(predicted: Floats, bought: Floats) -> float | None:
    """Area under the ROC curve by ranks (Mann-Whitney), ties count half; None when only one class occurs."""
    positives = int(bought.sum())
    negatives = len(bought) - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2.0)[inverse]
    ahead = float(ranks[bought > 0].sum()) - positives * (positives + 1) / 2.0
    return ahead / (positives * negatives)


def log_loss(predicted: Floats, bought: Floats) -> float | None:
    """Mean negative log-likelihood in nats; None without rows."""
    if not len(predicted):
        return None
    chance = np.clip(predicted, 1e-9, 1.0 - 1e-9)
    return float(-(bought * np.log(chance) + (1.0 - bought) * np.log(1.0 - chance)).mean())


def uplift_curve(uplift: Floats, treated: Bools, bought: Floats, weight: Floats) -> Floats | None:
    """Purchases gained per row when only the first k rows by predicted uplift are offered, for k = 1 … all.

    gain(k) = (share of buyers among the offered - among the others, of the first k) * k / rows; a side without
    rows counts as 0. None when one side is empty.
    """
    if not treated.any() or treated.all():
        return None
    order = np.argsort(-uplift, kind="stable")
    on, got, weighed = treated[order], bought[order], weight[order]
    offered, others = np.cumsum(weighed * on), np.cumsum(weighed * ~on)
    rate_offered = np.cumsum(weighed * on * got) / np.maximum(offered, 1e-12)
    rate_others = np.cumsum(weighed * ~on * got) / np.maximum(others, 1e-12)
    both = (offered > 0) & (others > 0)
    gain: Floats = np.where(both, rate_offered - rate_others, 0.0) * (offered + others) / weighed.sum()
    return gain


def auuc(curve: Floats) -> float:
    """Area under the uplift curve over the share of rows offered; offering at random gives half its last value."""
    return float(curve.mean())


def qini(curve: Floats) -> float:
    """Area between the uplift curve and offering at random (after Radcliffe 2007), in purchases per row."""
    share = np.arange(1, len(curve) + 1) / len(curve)
    return float((curve - share * curve[-1]).mean())


def effect(treated: Bools, bought: Floats, weight: Floats) -> float | None:
    """Weighted share of buyers among the offered less that among the others; None when one side is empty."""
    offered, others = weight * treated, weight * ~treated
    if not offered.sum() or not others.sum():
        return None
    return float((offered * bought).sum() / offered.sum() - (others * bought).sum() / others.sum())


def effect_error(treated: Bools, bought: Floats, weight: Floats) -> float | None:
    """The standard error of `effect`: of two weighted means, rows on their own; None when one side is empty."""
    total = 0.0
    for side in (weight * treated, weight * ~treated):
        if not side.sum():
            return None
        middle = float((side * bought).sum() / side.sum())
        total += float((side**2 * (bought - middle) ** 2).sum() / side.sum() ** 2)
    return float(np.sqrt(total))
