"""Distances between two populations and the chance of seeing them by accident, from counts alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, exp, gamma, log, sqrt

import numpy as np
from numpy.typing import NDArray

from opportune.core.models.populations import Bins, Cell

EXPECTED_MIN = 5.0
"""Bins expected to hold fewer rows are put together: the chi-squared law does not hold for them (Cochran 1954)."""

RATIOS = (1.3, 1.6, 2.2, 3.5)
"""How many times more (or less) may happen than before, as the alternatives of the outcome test."""

CHANCE_MAX = 0.98
Floats = NDArray[np.float64]


def psi(before: Bins, now: Bins) -> float:
    """Population stability index (Siddiqi 2006), less what chance alone gives it: about (k - 1)(1/n + 1/m)
    (Yurdakul 2018), in rows that say as much as independent ones. Never below 0; 0 where one side is empty."""
    p, q, n, m = _shares(before, now)
    if not n or not m:
        return 0.0
    p, q = (p * n + 0.5) / (n + 0.5 * len(p)), (q * m + 0.5) / (m + 0.5 * len(q))
    found = float(((q - p) * np.log(q / p)).sum())
    return max(0.0, found - (len(p) - 1) * (1.0 / n + 1.0 / m))


def homogeneity(before: Bins, now: Bins) -> float:
    """p of the chi-squared test that both have the same shares, with the first-order correction of Rao and Scott
    (1981) for rows that resemble each other: counts are divided by their design effect. 1.0 where nothing can be told.
    """
    p, q, n, m = _shares(before, now)
    if not n or not m:
        return 1.0
    a, b = _merged(p * n, q * m)
    if len(a) < 2:
        return 1.0
    total = a + b
    expected_a, expected_b = total * n / (n + m), total * m / (n + m)
    statistic = float(((a - expected_a) ** 2 / expected_a + (b - expected_b) ** 2 / expected_b).sum())
    return chi_squared_tail(statistic, len(a) - 1)


def kolmogorov_smirnov(before: Bins, now: Bins) -> tuple[float, float]:
    """(largest gap between the two distributions at the points both are cut by, p).

    p is the finite-sample bound e * exp(-2 D^2 nm/(n + m)) (Wei and Dudley 2012, after Massart 1990); a gap at some
    points is at most the whole one, so that it holds for any points. n and m in rows that say as much as independent
    ones.
    """
    p, q, n, m = _shares(before, now)
    if not n or not m:
        return 0.0, 1.0
    gap = float(np.abs(np.cumsum(p) - np.cumsum(q)).max())
    return gap, min(1.0, exp(1.0 - 2.0 * gap**2 * n * m / (n + m)))


def more_often(before: Bins, now: Bins, place: int) -> tuple[float, float]:
    """(by how much the share of one bin rose or fell, p of as much by accident): two proportions, corrected for
    continuity (Yates 1934) and design effects."""
    _, _, n, m = _shares(before, now)
    if not n or not m:
        return 0.0, 1.0
    p, q = before.counts[place] / before.rows, now.counts[place] / now.rows
    return q - p, proportions(p, n, q, m)


def proportions(p: float, n: float, q: float, m: float) -> float:
    """p of the two-sided test that shares `p` of n and `q` of m rows are one share."""
    pooled = (p * n + q * m) / (n + m)
    if not 0.0 < pooled < 1.0:
        return 1.0
    gap = max(0.0, abs(q - p) - 0.5 * (1.0 / n + 1.0 / m))
    return erfc(gap / sqrt(2.0 * pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)))


def miscalibration(
    before: Sequence[Cell], now: Sequence[Cell], spread_before: float, spread_now: float, rows_min: int = 20
) -> tuple[float, float]:
    """(change of observed less predicted share as the root of its mean square, without what chance adds; p).

    Bin by bin, as Hosmer and Lemeshow (1980) do; taking the variance off the square is the correction of Bröcker
    (2012). Neighbouring bins are put together until each side has `rows_min` rows and is expected to have
    EXPECTED_MIN of both answers.
    """
    gaps, variances, weights = [], [], []
    for was, is_ in _filled(before, now, rows_min):
        chance = (was.happened + is_.happened + 1.0) / (was.rows + is_.rows + 2.0)
        gaps.append((is_.happened - is_.predicted) / is_.rows - (was.happened - was.predicted) / was.rows)
        variances.append(chance * (1.0 - chance) * (spread_before / was.rows + spread_now / is_.rows))
        weights.append(is_.rows)
    if not gaps:
        return 0.0, 1.0
    gap, variance, weight = np.array(gaps), np.array(variances), np.array(weights) / sum(weights)
    statistic = float((gap**2 / variance).sum())
    excess = float((weight * (gap**2 - variance)).sum())
    return sqrt(max(0.0, excess)), chi_squared_tail(statistic, len(gaps))


def bets(predicted: Floats, happened: Floats, leeway: float) -> Floats:
    """(rows, bets): logarithms of what each bet against "as predicted, give or take `leeway`" gains with each row.

    A bet is the likelihood ratio of "so many times more (or less) than that", for RATIOS and both sides. While nothing
    changed, none is expected to gain: products over any rows have an expectation of at most 1, and so have averages of
    them (testing by betting: Shafer 2021; Waudby-Smith and Ramdas 2024).
    """
    gains = []
    for ratio in RATIOS:
        for side in (ratio, 1.0 / ratio):
            edge = 1.0 + leeway if ratio == side else 1.0 / (1.0 + leeway)
            null = np.clip(predicted * edge, 1e-6, CHANCE_MAX)
            other = np.clip(null * side, 1e-6, CHANCE_MAX + 0.01)
            gains.append(np.where(happened > 0.0, np.log(other / null), np.log((1.0 - other) / (1.0 - null))))
    return np.column_stack(gains)


def least_chance(gains: Floats) -> float:
    """p by Ville's inequality: the chance that the average of the bets ever becomes as large as it did, over rows in
    order of time, while nothing changed. However often one looks."""
    if not len(gains):
        return 1.0
    return min(1.0, 1.0 / float(np.exp(np.clip(np.cumsum(gains, 0), -500.0, 500.0)).mean(1).max()))


def chance_of(total: Floats) -> float:
    """p by Markov's inequality of bets that were added up over rows chosen beforehand."""
    return min(1.0, 1.0 / float(np.exp(np.clip(total, -500.0, 500.0)).mean()))


def chi_squared_tail(statistic: float, freedom: int) -> float:
    """The chance that a chi-squared variable of so many degrees of freedom is larger (Abramowitz and Stegun 26.4.4
    and 26.4.5)."""
    half = statistic / 2.0
    if half <= 0.0:
        return 1.0
    if half > 700.0:
        return 0.0
    if freedom % 2 == 0:
        terms = [1.0]
        for index in range(1, freedom // 2):
            terms.append(terms[-1] * half / index)
        return min(1.0, exp(-half) * sum(terms))
    found = erfc(sqrt(half))
    for index in range(1, (freedom + 1) // 2):
        found += exp(-half + (index - 0.5) * log(half)) / gamma(index + 0.5)
    return min(1.0, found)


def _filled(before: Sequence[Cell], now: Sequence[Cell], rows_min: int) -> list[tuple[Cell, Cell]]:
    """Bins of both sides, neighbours put together until the normal law holds well enough; what is left over at the
    end goes to the last."""
    found: list[tuple[Cell, Cell]] = []
    was, is_ = Cell(), Cell()
    for one, other in zip(before, now, strict=True):
        was, is_ = _sum(was, one), _sum(is_, other)
        least = min(was.rows, is_.rows)
        chance = (was.happened + is_.happened) / max(was.rows + is_.rows, 1)
        if least >= rows_min and least * min(chance, 1.0 - chance) >= EXPECTED_MIN:
            found.append((was, is_))
            was, is_ = Cell(), Cell()
    if found:
        found[-1] = _sum(found[-1][0], was), _sum(found[-1][1], is_)
    return found


def _sum(one: Cell, other: Cell) -> Cell:
    return Cell(one.rows + other.rows, one.predicted + other.predicted, one.happened + other.happened)


def _shares(before: Bins, now: Bins) -> tuple[Floats, Floats, float, float]:
    """Shares of both sides and how many independent rows each says as much as."""
    a, b = np.array(before.counts, np.float64), np.array(now.counts, np.float64)
    rows_a, rows_b = float(a.sum()), float(b.sum())
    return a / max(rows_a, 1.0), b / max(rows_b, 1.0), rows_a / before.spread, rows_b / now.spread


def _merged(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Neighbouring bins put together until each is expected to hold enough on both sides."""
    share_a, share_b = float(a.sum()), float(b.sum())
    needed = EXPECTED_MIN * (share_a + share_b) / min(share_a, share_b)
    found: list[list[float]] = []
    open_a = open_b = 0.0
    for one, other in zip(a, b, strict=True):
        open_a, open_b = open_a + float(one), open_b + float(other)
        if open_a + open_b >= needed:
            found.append([open_a, open_b])
            open_a = open_b = 0.0
    if found:
        found[-1][0] += open_a
        found[-1][1] += open_b
    pairs = np.array(found).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
