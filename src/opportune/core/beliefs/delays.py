"""Delays: how much of what will still be bought has been bought by an age, learned although most of it is to come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.beliefs.cells import STEPS, Cell, Cohort, Form

Floats = NDArray[np.float64]

PRIOR_PURCHASES: Final = 12.0
"""As strong as so many purchases is what is believed of delays before any."""
EDGES: Final[Floats] = (np.arange(STEPS + 1) / STEPS) ** 2
"""Where the steps begin and end, in label windows."""
SHOWN_SHAPE: Final[Floats] = np.arange(STEPS + 1) / STEPS
"""Before any purchase: half of those who were shown an offer and will buy have bought after a quarter of the window."""
CONTROL_SHAPE: Final[Floats] = EDGES
"""Who buys by themselves does so at any time."""
REFUND_PRIOR: Final = 20.0


class Curve(msgspec.Struct, frozen=True):
    """`share[i]`: of those who will buy within the window, how many have by `EDGES[i]`. `purchases` it rests on.
    `refunds`: the share of purchases that is taken back within a window."""

    share: tuple[float, ...]
    purchases: int
    refunds: float = 0.0


def ages(form: Form, cohorts: Sequence[Cohort], now_ms: int) -> Floats:
    """The mean age of each cohort, in windows, at most 1; what is old is 1."""
    span = np.array([one.span for one in cohorts], np.float64)
    start = span * form.cohort_ms
    middle = (start + np.minimum(start + form.cohort_ms, now_ms)) / 2.0
    age: Floats = np.clip((now_ms - middle) / form.window_ms, 0.0, 1.0)
    return np.where(span < 0, 1.0, age)


def curve(form: Form, cells: Iterable[Cell], now_ms: int, *, shown: bool) -> Curve:
    """The curve of these cells.

    The share of step i among all purchases up to it is estimated from cohorts that are old enough to have seen the
    whole step, and the shares are multiplied up (reverse-time hazards of right-truncated delays: Lagakos, Barraj and
    De Gruttola 1988; the chain ladder, Mack 1993). It conditions on what was bought, so that offers that sell better
    or worse, or began later, do not bend it. A weak prior fills in what nobody is old enough to have seen.
    """
    seen, total = np.zeros(STEPS), np.zeros(STEPS)
    revoked = ever = 0.0
    purchases = 0
    for cell in cells:
        for one in cell.every:
            bought = np.zeros(STEPS)
            found = one.bought if shown else one.organic
            bought[: len(found)] = found
            purchases += int(bought.sum())
            whole = 1.0 if one.span < 0 else (now_ms - (one.span + 1) * form.cohort_ms) / form.window_ms
            old_enough = EDGES[1:] <= whole
            seen += np.where(old_enough, bought, 0.0)
            total += np.where(old_enough, bought.cumsum(), 0.0)
            revoked += one.revoked
            ever += (bought.sum() + one.revoked) * min(max(whole, 0.0), 1.0)
    shape = SHOWN_SHAPE if shown else CONTROL_SHAPE
    prior = np.diff(shape) / shape[1:]
    hazard = (seen + PRIOR_PURCHASES * prior) / (total + PRIOR_PURCHASES)
    hazard[0] = 1.0
    share = np.append(0.0, np.append(np.cumprod((1.0 - hazard[1:])[::-1])[::-1], 1.0))
    return Curve(tuple(share.tolist()), purchases, revoked / (ever + REFUND_PRIOR))


def bought_by(found: Curve, age: Floats) -> Floats:
    """The share of the curve at these ages, in windows."""
    return np.interp(age, EDGES, found.share)


def evidence(form: Form, cell: Cell, now_ms: int, found: Curve, *, shown: bool) -> tuple[float, float]:
    """(purchases, trials) of a cell as far as they can count by now.

    A trial counts for the share of its purchases that would have happened by its age (Chapelle 2014): a fresh one
    without a purchase says next to nothing, one at the end of its window says all. Sold / counted is unbiased at
    every age. A purchase counts for the chance that it is not taken back any more.
    """
    cohorts = cell.every
    age = ages(form, cohorts, now_ms)
    trials = np.array([one.shown if shown else one.control for one in cohorts], np.float64)
    sold = np.array([sum(one.bought if shown else one.organic) for one in cohorts], np.float64)
    kept = 1.0 - found.refunds * (1.0 - age) / (1.0 - found.refunds * age) if found.refunds else 1.0
    return float((sold * kept).sum()), float((trials * bought_by(found, age)).sum())
