"""How uplift and policies are judged in benchmarks/hillstrom.py: scikit-uplift's measures by their formulas, and AIPW.

Ties in scores are to be broken before (by seeded noise): then no order of rows matters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOP = 0.3


def qini(score: Floats, treated: Ints, bought: Ints) -> float:
    """Area between Qini curve and diagonal, over that of the perfect order (Radcliffe 2007; sklift qini_auc_score)."""
    best = bought * treated - bought * (1 - treated)
    return _normalised(_qini_curve(score, treated, bought), _qini_curve(best.astype(float), treated, bought))


def auuc(score: Floats, treated: Ints, bought: Ints) -> float:
    """The same of the uplift curve (sklift uplift_auc_score)."""
    held_buyers = int(((bought == 1) & (treated == 0)).sum())
    treated_others = int(((bought == 0) & (treated == 1)).sum())
    best = 2 * (bought == treated) + (bought if held_buyers > treated_others else treated)
    return _normalised(_uplift_curve(score, treated, bought), _uplift_curve(best.astype(float), treated, bought))


def uplift_at_top(score: Floats, treated: Ints, bought: Ints) -> float:
    """Difference of purchases between both sides among the best 30 % (sklift uplift_at_k, overall)."""
    top = np.argsort(score, kind="mergesort")[::-1][: int(len(score) * TOP)]
    return float(bought[top][treated[top] == 1].mean() - bought[top][treated[top] == 0].mean())


def gain_at_top(score: Floats, treated: Ints, bought: Ints, share: float) -> float:
    """Purchases per 1,000 customers when the best 30 % are treated, beyond those when nobody is (Hajek weights)."""
    chosen = np.zeros(len(score), dtype=np.int64)
    chosen[np.argsort(-score, kind="mergesort")[: int(len(score) * TOP)]] = 1
    return 1000.0 * (_hajek(chosen, treated, bought, share) - _hajek(np.zeros_like(chosen), treated, bought, share))


def aipw(chosen: Ints, arm: Ints, reward: Floats, expected: Floats, shares: Sequence[float]) -> float:
    """What a choice of arms would earn per customer (augmented inverse probability weighting, Robins et al. 1994).

    `expected` is (rows, arms), by models of the training rows; `shares` are the arms' probabilities.
    """
    rows = np.arange(len(arm))
    matched = (arm == chosen) / np.array(shares)[arm]
    return float((expected[rows, chosen] + matched * (reward - expected[rows, arm])).mean())


def _hajek(chosen: Ints, treated: Ints, bought: Ints, share: float) -> float:
    weight = (treated == chosen) / np.where(chosen == 1, share, 1.0 - share)
    return float((weight * bought).sum() / weight.sum())


def _steps(score: Floats, treated: Ints, bought: Ints) -> tuple[Floats, Floats, Floats, Floats]:
    """Treated, held out and their buyers among the first rows, at every change of score."""
    order = np.argsort(score, kind="mergesort")[::-1]
    on, got = treated[order], bought[order]
    at = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    first = np.cumsum(on)[at].astype(float)
    others = (at + 1) - first
    return first, others, np.cumsum(on * got)[at].astype(float), np.cumsum((1 - on) * got)[at].astype(float)


def _qini_curve(score: Floats, treated: Ints, bought: Ints) -> tuple[Floats, Floats]:
    first, others, got, got_others = _steps(score, treated, bought)
    ratio = np.divide(first, others, out=np.zeros_like(first), where=others != 0)
    return _from_zero(first + others, got - got_others * ratio)


def _uplift_curve(score: Floats, treated: Ints, bought: Ints) -> tuple[Floats, Floats]:
    first, others, got, got_others = _steps(score, treated, bought)
    rate = np.divide(got, first, out=np.zeros_like(first), where=first != 0)
    rate_others = np.divide(got_others, others, out=np.zeros_like(first), where=others != 0)
    return _from_zero(first + others, (rate - rate_others) * (first + others))


def _from_zero(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    return np.append(0.0, x), np.append(0.0, y)


def _normalised(curve: tuple[Floats, Floats], best: tuple[Floats, Floats]) -> float:
    diagonal = float(best[0][-1] * best[1][-1]) / 2.0
    found: float = (_area(curve) - diagonal) / (_area(best) - diagonal)
    return found


def _area(curve: tuple[Floats, Floats]) -> float:
    return float(np.trapezoid(curve[1], curve[0]))
