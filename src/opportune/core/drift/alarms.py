"""How certain a change must be: one chance of a false alarm, divided over all looks and all that is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

SUM_OF_SHARES = 2.1098
"""Of 1 / (n ln² n) from n = 2 on, rounded up."""


def share_of_look(look: int) -> float:
    """What the look 1, 2, 3 … may spend of the whole chance of a false alarm: 1 / (n ln² n) with n = look + 1, which
    adds up to less than 1 over any number of looks (alpha spending; Lan and DeMets 1983) and falls slowly."""
    n = look + 1
    return 1.0 / (SUM_OF_SHARES * n * log(n) ** 2)


def surprising(chances: Sequence[float], alpha: float) -> tuple[bool, ...]:
    """Which of many tests may be believed, so that the chance of one false one is at most alpha under any dependence
    (Holm 1979)."""
    found = [False] * len(chances)
    order = sorted(range(len(chances)), key=chances.__getitem__)
    for rank, place in enumerate(order):
        if chances[place] > alpha / (len(chances) - rank):
            break
        found[place] = True
    return tuple(found)
