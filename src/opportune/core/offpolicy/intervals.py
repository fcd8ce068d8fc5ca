"""Intervals: how far an estimate may be off, from the influence of each unit on it."""

from __future__ import annotations

from math import erfc, exp, fabs, lgamma, log, pi, sqrt

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Interval(msgspec.Struct, frozen=True):
    """From `low` to `high`, at `level` (such as 0.95)."""

    low: float
    high: float
    level: float = 0.95

    def holds(self, value: float) -> bool:
        """Is a value inside?"""
        return self.low <= value <= self.high


def per_unit(influence: Floats, unit: Ints) -> Floats:
    """The sum of the rows' influence for each unit: rows of one unit are no independent evidence."""
    _, place = np.unique(unit, return_inverse=True)
    sums: Floats = np.bincount(place, weights=influence).astype(np.float64)
    return sums


def standard_error(influence: Floats, unit: Ints) -> float:
    """Cluster-robust (Liang & Zeger 1986) from the influence function: rows with mean 0, so that the estimate less
    the truth is about their mean. 0.0 for a single unit, which says nothing about others."""
    sums = per_unit(influence, unit)
    units = len(sums)
    if units < 2:
        return 0.0
    return sqrt(float(sums @ sums) * units / (units - 1)) / len(influence)


def degrees_of_freedom(influence: Floats, unit: Ints) -> float:
    """How many units' influence the standard error really rests on.

    The variance of n values has the relative variance (kurtosis - 1) / n, a chi-square with v degrees 2 / v: so
    v = 2 n / (kurtosis - 1) (Satterthwaite 1946). Normal influences give n; a few units that dominate give a few
    degrees, hence a wider interval.
    """
    sums = per_unit(influence, unit)
    squares = sums * sums
    total, units = float(squares.sum()), len(sums)
    if total <= 0.0 or units < 2:
        return 1.0
    kurtosis = units * float((squares * squares).sum()) / (total * total)
    return max(1.0, min(2.0 * units / max(kurtosis - 1.0, 1e-9), units - 1.0))


def student(value: float, se: float, degrees: float, level: float = 0.95) -> Interval:
    """value +- t * se."""
    reach = t_quantile(0.5 + level / 2.0, max(degrees, 1.0)) * se
    return Interval(value - reach, value + reach, level)


def empirical_bernstein(rows: Floats, unit: Ints, low: float, high: float, level: float = 0.95) -> Interval:
    """Maurer & Pontil 2009, Theorem 4: holds for any number of rows between `low` and `high`, at the price of width.

    Two-sided by a union bound; units with several rows count as one row of their mean.
    """
    _, place, counts = np.unique(unit, return_inverse=True, return_counts=True)
    n = len(counts)
    means = np.bincount(place, weights=rows) / counts
    mean = float(rows.mean())
    if n < 2:
        return Interval(low, high, level)
    spread, term = high - low, log(4.0 / (1.0 - level))
    reach = sqrt(2.0 * float(means.var(ddof=1)) * term / n) + 7.0 * spread * term / (3.0 * (n - 1))
    return Interval(mean - reach, mean + reach, level)


def bootstrap(
    numerator: Floats, denominator: Floats, unit: Ints, generator: np.random.Generator, times: int = 1000,
    level: float = 0.95,
) -> Interval:  # fmt: skip
    """Percentiles of sum(numerator) / sum(denominator) over units drawn with replacement (Efron 1979)."""
    up, down = per_unit(numerator, unit), per_unit(denominator, unit)
    units = len(up)
    found = np.empty(times)
    for number in range(times):
        drawn = np.bincount(generator.integers(0, units, units), minlength=units)
        below = float(drawn @ down)
        found[number] = float(drawn @ up) / below if below else 0.0
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(found, [tail, 1.0 - tail])
    return Interval(float(low), float(high), level)


def normal_quantile(chance: float) -> float:
    """The standard normal's quantile (Acklam 2003, one Newton step: to 1e-12)."""
    if not 0.0 < chance < 1.0:
        raise ValueError(f"a quantile is asked at a chance between 0 and 1, not at {chance}")
    tail = min(chance, 1.0 - chance)
    root = sqrt(-2.0 * log(tail))
    # Abramowitz & Stegun 26.2.23 starts it; the steps below end it.
    found = root - (2.515517 + 0.802853 * root + 0.010328 * root**2) / (
        1.0 + 1.432788 * root + 0.189269 * root**2 + 0.001308 * root**3
    )
    for _ in range(4):
        error = 0.5 * erfc(found / sqrt(2.0)) - tail
        density = exp(-0.5 * found * found) / sqrt(2.0 * pi)
        found += error / density
    return found if chance >= 0.5 else -found


def t_quantile(chance: float, degrees: float) -> float:
    """Student's t quantile, above the median, by bisection of the distribution function (to 1e-10)."""
    if degrees > 1e6:
        return normal_quantile(chance)
    low, high = 0.0, 1e7
    for _ in range(200):
        middle = 0.5 * (low + high)
        if _t_below(middle, degrees) < chance:
            low = middle
        else:
            high = middle
        if high - low <= 1e-10 * max(1.0, low):
            break
    return 0.5 * (low + high)


def _t_below(t: float, degrees: float) -> float:
    """P(T <= t) for t >= 0, through the regularised incomplete beta function."""
    x = degrees / (degrees + t * t)
    return 1.0 - 0.5 * beta_share(degrees / 2.0, 0.5, x)


def beta_quantile(chance: float, a: float, b: float) -> float:
    """The quantile of a beta distribution, by bisection (to 1e-12)."""
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if beta_share(a, b, middle) < chance else (low, middle)
    return 0.5 * (low + high)


def beta_share(a: float, b: float, x: float) -> float:
    """I_x(a, b) by Lentz's continued fraction (Numerical Recipes 6.4, the public formula DLMF 8.17.22)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(1.0 - x))
    if x >= (a + 1.0) / (a + b + 2.0):
        return 1.0 - front * _fraction(b, a, 1.0 - x) / b
    return front * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if fabs(d) > tiny else tiny)
    found = d
    for m in range(1, 500):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if fabs(d) > tiny else tiny)
            c = 1.0 + numerator / c
            c = c if fabs(c) > tiny else tiny
            found *= d * c
        if fabs(d * c - 1.0) < 1e-15:
            break
    return found
