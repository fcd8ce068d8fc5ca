"""Delays: how much of what will still be bought has been bought by an age, learned although most of it is to come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.beliefs.cells import STEPS, Cell, Form

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRIOR_PURCHASES: Final = 4.0
"""What is believed of delays before any purchase counts as so many purchases in all, spread over the steps."""
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


class Cohorts(msgspec.Struct, frozen=True):
    """The cohorts of several cells as columns: the cell's place, the span, and counts; purchases by step are joined
    over cells, one row per span of `spans`."""

    cell: Ints
    span: Floats
    shown: Floats
    control: Floats
    bought: Floats
    organic: Floats
    revoked: Floats
    spans: Floats
    bought_steps: Floats
    organic_steps: Floats
    revoked_by_span: Floats


def cohorts_of(cells: Iterable[Cell]) -> Cohorts:
    """All cohorts of these cells, in their order."""
    rows: list[tuple[int, int, int, int, int, int, int]] = []
    steps: dict[int, tuple[list[int], list[int], list[int]]] = {}
    for place, cell in enumerate(cells):
        for one in cell.every:
            bought, organic = one.bought, one.organic
            if bought or organic or one.revoked:
                rows.append((place, one.span, one.shown, one.control, sum(bought), sum(organic), one.revoked))
                into = steps.setdefault(one.span, ([0] * STEPS, [0] * STEPS, [0]))
                for number, count in enumerate(bought):
                    into[0][number] += count
                for number, count in enumerate(organic):
                    into[1][number] += count
                into[2][0] += one.revoked
            else:
                rows.append((place, one.span, one.shown, one.control, 0, 0, 0))
    table = np.array(rows, np.int64).reshape(-1, 7).T
    span, shown, control, bought_, organic_, revoked = (column.astype(np.float64) for column in table[1:])
    joined = sorted(steps.items())
    return Cohorts(
        table[0], span, shown, control, bought_, organic_, revoked, np.array([span for span, _ in joined], np.float64),
        np.array([one[0] for _, one in joined], np.float64).reshape(-1, STEPS),
        np.array([one[1] for _, one in joined], np.float64).reshape(-1, STEPS),
        np.array([one[2][0] for _, one in joined], np.float64),
    )  # fmt: skip


def curve(form: Form, cohorts: Cohorts, now_ms: int, *, shown: bool) -> Curve:
    """The curve of these cohorts.

    The share of step i among all purchases up to it is estimated from cohorts that are old enough to have seen the
    whole step, and the shares are multiplied up (reverse-time hazards of right-truncated delays: Lagakos, Barraj and
    De Gruttola 1988; the chain ladder, Mack 1993). It conditions on what was bought, so that offers that sell better
    or worse, or began later, do not bend it. A weak prior fills in what nobody is old enough to have seen.
    """
    steps = cohorts.bought_steps if shown else cohorts.organic_steps
    whole = np.clip((now_ms - (cohorts.spans + 1.0) * form.cohort_ms) / form.window_ms, 0.0, 1.0)
    whole = np.where(cohorts.spans < 0, 1.0, whole)
    old_enough = EDGES[1:] <= whole[:, None]
    seen = np.where(old_enough, steps, 0.0).sum(axis=0)
    total = np.where(old_enough, steps.cumsum(axis=1), 0.0).sum(axis=0)
    ever = ((steps.sum(axis=1) + cohorts.revoked_by_span) * whole).sum()
    shape = SHOWN_SHAPE if shown else CONTROL_SHAPE
    hazard = (seen + PRIOR_PURCHASES * np.diff(shape)) / (total + PRIOR_PURCHASES * shape[1:])
    hazard[0] = 1.0
    share = np.append(0.0, np.append(np.cumprod((1.0 - hazard[1:])[::-1])[::-1], 1.0))
    refunds = float(cohorts.revoked_by_span.sum() / (ever + REFUND_PRIOR))
    return Curve(tuple(share.tolist()), int(steps.sum()), refunds)


def bought_by(found: Curve, age: Floats) -> Floats:
    """The share of the curve at these ages, in windows."""
    return np.interp(age, EDGES, found.share)


def evidence(
    form: Form, cohorts: Cohorts, cells: int, now_ms: int, found: Curve, *, shown: bool
) -> tuple[Floats, Floats]:
    """(purchases, trials) of each of so many cells, as far as they can count by now.

    A trial counts for the share of its purchases that would have happened by its age (Chapelle 2014): a fresh one
    without a purchase says next to nothing, one at the end of its window says all. Sold / counted is unbiased at
    every age. A purchase counts for the chance that it is not taken back any more.
    """
    start = cohorts.span * form.cohort_ms
    middle = (start + np.minimum(start + form.cohort_ms, now_ms)) / 2.0
    age = np.where(cohorts.span < 0, 1.0, np.clip((now_ms - middle) / form.window_ms, 0.0, 1.0))
    trials = (cohorts.shown if shown else cohorts.control) * bought_by(found, age)
    kept = 1.0 - found.refunds * (1.0 - age) / (1.0 - found.refunds * age)
    sold = (cohorts.bought if shown else cohorts.organic) * kept
    return summed(cohorts, sold, cells), summed(cohorts, trials, cells)


def summed(cohorts: Cohorts, column: Floats, cells: int) -> Floats:
    """A column over cohorts, per cell."""
    return np.bincount(cohorts.cell, column, cells).astype(np.float64)
