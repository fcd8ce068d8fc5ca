"""Arbitration: what each candidate is worth, how often to try the others, and when a person should look."""

from __future__ import annotations

from math import erf, fsum, sqrt

import numpy as np

from opportune.core.decisions.brain import Bools, Floats
from opportune.core.playbook import Exploration


def probabilities(
    values: Floats, exploration: Exploration, unexplored: Bools | None = None, doubt: Floats | None = None
) -> Floats:
    """The chance of each candidate, in closed form; `values` includes NO_OFFER's 0.0. Sums to 1 (9 decimals).

    Inverse-gap weighting (Abe & Long 1999; SquareCB, Foster & Rakhlin 2020): with K candidates and the best b,
    p_i = 1 / (K + gamma * (v_b - v_i) / value_scale) for i != b, the rest goes to b; then a share `floor` is spread
    evenly. Ties go to the first. `unexplored` marks those that have a chance only as the best. `doubt` is money by
    which the gap of those little is known of counts as smaller (all but NO_OFFER), but never as less than nothing, so
    that nobody but the best gets more than 1 / K.
    """
    if unexplored is not None:
        open_ = ~unexplored
        open_[int(values.argmax())] = True
        spread = np.zeros(len(values))
        spread[open_] = probabilities(values[open_], exploration, None, None if doubt is None else doubt[open_[:-1]])
        return spread
    count = len(values)
    best = int(values.argmax())
    if exploration.method == "off" or count == 1:
        chances = np.zeros(count)
        chances[best] = 1.0
        return chances
    if exploration.method == "inverse_gap":
        chances = values[best] - values
        if doubt is not None:
            chances[: len(doubt)] -= doubt
            np.maximum(chances, 0.0, out=chances)
        chances *= exploration.gamma / exploration.value_scale
        chances += count
        np.divide(1.0, chances, out=chances)
        chances[best] = 0.0
    else:
        chances = np.zeros(count)
    # fsum is exact in any order: the same values give the same bytes on every machine.
    chances[best] = 1.0 - fsum(chances.tolist())
    if exploration.floor:
        chances *= 1.0 - exploration.floor
        chances += exploration.floor / count
    chances *= 1e9
    np.rint(chances, out=chances)
    chances /= 1e9
    return chances


def pick(chances: Floats, drawn: float) -> int:
    """The candidate a uniform draw falls on; the last with a chance takes what rounding left over."""
    found = int(chances.cumsum().searchsorted(drawn, "right"))
    return found if found < len(chances) else int(chances.nonzero()[0][-1])


def confidence(value: float, value_se: float) -> float:
    """The chance that a value is above nothing when its error is normal; 1 or 0 without error."""
    if value_se <= 0.0:
        return 1.0 if value > 0.0 else 0.0
    return round(0.5 * (1.0 + erf(value / (value_se * sqrt(2.0)))), 6)
