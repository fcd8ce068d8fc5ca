"""How often each action is tried: closed forms over values and their errors, so that what is logged is exact.

INVARIANT: an action is always drawn from the very numbers that are logged. A rule that is only worked out to some
accuracy (Thompson's, for three actions and more) is therefore logged exactly all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, exp, fsum, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

GRID: Final = 128
"""Cells of the grid over which Thompson's chances are summed for three actions and more."""

REACH: Final = 5.0
"""How many standard errors the grid reaches around each action."""

_ROOT2: Final = sqrt(2.0)


def thompson(values: Sequence[float], errors: Sequence[float]) -> list[float]:
    """The chance of each action to be the best, when each value is normal with its standard error (Thompson 1933).

    Two actions: the normal distribution of their difference. More: the sum over a grid of P(a in the cell) times the
    product of P(b below it); equal to 1e-3 or better. Without any error the best has it all, equals share it.
    """
    count = len(values)
    if count == 1:
        return [1.0]
    if count == 2:
        gap, spread = values[1] - values[0], sqrt(errors[0] * errors[0] + errors[1] * errors[1])
        if spread <= 0.0:
            return [0.5, 0.5] if gap == 0.0 else [1.0, 0.0] if gap < 0.0 else [0.0, 1.0]
        second = 0.5 * (1.0 + erf(gap / (spread * _ROOT2)))
        return [1.0 - second, second]
    # Whoever cannot reach the surest of them has no chance worth a number.
    least = max(value - REACH * error for value, error in zip(values, errors, strict=True))
    near = [place for place in range(count) if values[place] + REACH * errors[place] >= least]
    if len(near) < count:
        among = thompson([values[place] for place in near], [errors[place] for place in near])
        found = [0.0] * count
        for place, chance in zip(near, among, strict=True):
            found[place] = chance
        return found
    return _thompson_of_many(np.asarray(values, np.float64), np.asarray(errors, np.float64))


def thompson_pairs(values: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """`thompson` of many pairs of actions at once, to 1e-7."""
    gap, spread = values[:, 1] - values[:, 0], np.sqrt((errors * errors).sum(axis=1))
    sure = np.where(gap > 0.0, 1.0, np.where(gap < 0.0, 0.0, 0.5))
    second = np.where(spread > 0.0, _normal(gap / np.where(spread > 0.0, spread, 1.0)), sure)
    return np.stack([1.0 - second, second], axis=1)


def _thompson_of_many(values: NDArray[np.float64], errors: NDArray[np.float64]) -> list[float]:
    low = float((values - REACH * errors).max())
    high = float((values + REACH * errors).max())
    if high <= low:  # the best has no error, or all have none
        best = values == values.max()
        shares: list[float] = (best / best.sum()).tolist()
        return shares
    edges = np.linspace(low, high, GRID + 1)
    below = _normal((edges - values[:, None]) / np.maximum(errors, 1e-12)[:, None])
    below[:, -1] = 1.0
    inside = np.diff(below, axis=1)
    # Below the grid nobody can be the best; where all lie there it is shared by the first cell.
    middle = np.clip(0.5 * (below[:, 1:] + below[:, :-1]), 1e-300, 1.0)
    logs = np.log(middle)
    others = np.exp(logs.sum(axis=0) - logs)
    chances = (inside * others).sum(axis=1)
    total = float(chances.sum())
    found: list[float] = (chances / total).tolist()
    return found


def _normal(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """The normal distribution function, to 1e-7 (Abramowitz & Stegun 1964, 26.2.17)."""
    away = np.abs(z)
    t = 1.0 / (1.0 + 0.2316419 * away)
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    tail = np.exp(-0.5 * away * away) * 0.3989422804014327 * series
    return np.where(z < 0.0, tail, 1.0 - tail)


def inverse_gap(values: Sequence[float], gamma: float) -> list[float]:
    """Inverse-gap weighting (Abe & Long 1999; SquareCB, Foster & Rakhlin 2020): every action but the best gets
    1 / (K + gamma * its gap), the best what is left; ties go to the first."""
    count, best = len(values), max(values)
    place = list(values).index(best)
    chances = [1.0 / (count + gamma * (best - value)) for value in values]
    chances[place] = 0.0
    chances[place] = 1.0 - fsum(chances)
    return chances


def soft(values: Sequence[float], scale: float) -> list[float]:
    """Chances in proportion to exp(value / scale); the best alone when `scale` is 0."""
    best = max(values)
    if scale <= 0.0:
        return greedy(values)
    weights = [exp((value - best) / scale) for value in values]
    total = fsum(weights)
    return [weight / total for weight in weights]


def greedy(values: Sequence[float]) -> list[float]:
    """The best alone; ties go to the first."""
    place = list(values).index(max(values))
    return [1.0 if index == place else 0.0 for index in range(len(values))]


def even_share(chances: Sequence[float], share: float) -> list[float]:
    """`share` of the chances spread evenly: no action is tried less often than share / K."""
    floor = share / len(chances)
    return [floor + (1.0 - share) * chance for chance in chances]


def rounded(chances: Sequence[float]) -> list[float]:
    """To 9 decimals, as they are logged; the likeliest takes what rounding leaves over, so that they sum to 1."""
    found = [round(chance, 9) for chance in chances]
    place = found.index(max(found))
    found[place] = 0.0
    found[place] = round(1.0 - fsum(found), 9)
    return found


def drawn(chances: Sequence[float], uniform: float) -> int:
    """The action a uniform number in [0, 1) falls on; the last with a chance takes what rounding left over."""
    reached = 0.0
    last = 0
    for place, chance in enumerate(chances):
        if chance > 0.0:
            reached += chance
            last = place
            if uniform < reached:
                return place
    return last


def drawn_all(chances: NDArray[np.float64], uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """`drawn` for every row."""
    reached = chances.cumsum(axis=1)
    last = chances.shape[1] - 1 - (chances[:, ::-1] > 0.0).argmax(axis=1)
    first = (reached > uniforms[:, None]).argmax(axis=1)
    found: NDArray[np.int64] = np.where(reached[:, -1] > uniforms, first, last)
    return found
