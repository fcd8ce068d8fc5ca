"""Arbitration: what each candidate is worth, how often to try the others, and when a person should look."""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, sqrt

from opportune.core.playbook import Exploration


def probabilities(values: Sequence[float], exploration: Exploration) -> list[float]:
    """The chance of each candidate, in closed form; `values` includes NO_OFFER's 0.0. Sums to 1.

    Inverse-gap weighting (Abe & Long 1999; SquareCB, Foster & Rakhlin 2020): with K candidates and the best b,
    p_i = 1 / (K + gamma * (v_b - v_i) / value_scale) for i != b, the rest goes to b; then a share `floor` is spread
    evenly. Ties go to the first.
    """
    count = len(values)
    best = max(range(count), key=values.__getitem__)
    if exploration.method == "off" or count == 1:
        return [1.0 if index == best else 0.0 for index in range(count)]
    chances = [0.0] * count
    if exploration.method == "inverse_gap":
        scale = exploration.gamma / exploration.value_scale
        top = values[best]
        chances = [1.0 / (count + scale * (top - value)) for value in values]
        chances[best] = 0.0
    chances[best] = 1.0 - sum(chances)
    even = exploration.floor / count
    keep = 1.0 - exploration.floor
    return [round(keep * chance + even, 9) for chance in chances]


def pick(chances: Sequence[float], drawn: float) -> int:
    """The candidate a uniform draw falls on; the last with a chance takes what rounding left over."""
    total = 0.0
    last = 0
    for index, chance in enumerate(chances):
        if chance <= 0.0:
            continue
        total += chance
        last = index
        if drawn < total:
            return index
    return last


def confidence(value: float, value_se: float) -> float:
    """The chance that a value is above nothing when its error is normal; 1 or 0 without error."""
    if value_se <= 0.0:
        return 1.0 if value > 0.0 else 0.0
    return round(0.5 * (1.0 + erf(value / (value_se * sqrt(2.0)))), 6)
