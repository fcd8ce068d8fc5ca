"""The judgement: what a policy would have earned beside the one that was live, or why a log cannot say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from opportune.core.offpolicy.estimators import (
    Estimate,
    Worth,
    estimated,
    estimates,
    less,
    missed,
    sndr,
    worths,
)
from opportune.core.offpolicy.intervals import Interval
from opportune.core.offpolicy.log import Floats, Ints, Log
from opportune.core.offpolicy.overlap import Overlap, overlap_of
from opportune.core.offpolicy.tuning import settings_of

HEADLINE = "sndr"
"""The estimator that is answered with: right if either the logged chances or the model are, and steady under large
weights. The others stand beside it, so that a reader sees whether they agree."""

GROUP_ROWS_MIN = 50


class Part(msgspec.Struct, frozen=True):
    """The rows of one group: `by` says what of (`moment`, or a feature), `group` its value. `difference` is None where
    the group's own overlap does not bear one."""

    by: str
    group: str
    rows: int
    effective_rows: float
    difference: Estimate | None


class Mix(msgspec.Struct, frozen=True):
    """How often something is done: its share of decisions before, under the policy judged, and what the rows in which
    it was done earned on average (None where it was not)."""

    action: str
    before: float
    after: float
    rows: int
    mean_reward: float | None


class Judgement(msgspec.Struct, frozen=True):
    """What the policy earns per decision, beside the one before it.

    `earned` is the mean reward in the log as it is. `value`, `before` and `difference` are estimates by HEADLINE,
    None where the overlap is `none`; intervals are widened by what was never tried. `estimators` has every estimator
    of the value. `model_error` is the mean of what the reward model missed.
    """

    rows: int
    units: int
    earned: float
    overlap: Overlap
    value: Estimate | None
    before: Estimate | None
    difference: Estimate | None
    estimators: Mapping[str, Estimate]
    model_error: float
    mix: tuple[Mix, ...] = ()
    parts: tuple[Part, ...] = ()


def judge(
    log: Log, before: Floats | None, rewards: Floats, groups: Mapping[str, Sequence[str]] | None = None
) -> Judgement:
    """`before` are the chances of the policy that was live (None: what it earned is the log as it is), `rewards` the
    modelled reward of each action in each row
    (see rewards.cross_fitted), `groups` one value per row by name."""
    overlap = overlap_of(log)
    settings = settings_of(log, rewards)
    found = worths(log, rewards, settings)
    value, lived, difference = None, None, None
    if overlap.grade != "none":
        one, other = sndr(log, rewards), _lived(log, before, rewards)
        down, up = _never_tried(log, rewards)
        value = _widened(estimated(one, log), down, up)
        lived = estimated(other, log)
        difference = _widened(estimated(less(one, other), log), down, up)
    return Judgement(
        rows=len(log.action), units=overlap.units, earned=float(log.reward.mean()), overlap=overlap,
        value=value, before=lived, difference=difference, estimators=estimates(found, log, settings),
        model_error=float(missed(log, rewards).mean()), mix=_mix(log, before),
        parts=tuple(_parts(log, before, rewards, groups or {})),
    )  # fmt: skip


def _lived(log: Log, before: Floats | None, rewards: Floats) -> Worth:
    if before is not None:
        return sndr(log.under(before), rewards)
    mean = float(log.reward.mean())
    return Worth(mean, log.reward - mean)


def _never_tried(log: Log, rewards: Floats) -> tuple[float, float]:
    """How much lower and higher the value may be because the model alone speaks of what was never tried.

    Nothing untried is taken to earn less than the worst or more than the best of what was tried (the means of
    actions with enough rows, with two standard errors): bounds in the manner of Manski 1990 with a stated range.
    """
    if log.behaviour is None:
        return 0.0, 0.0
    low, high = _range(log.action, log.reward)
    untried = np.where(log.behaviour <= 0.0, log.target, 0.0)
    said = (untried * rewards).sum(axis=1)
    share = untried.sum(axis=1)
    return float(np.minimum(share * low - said, 0.0).mean()), float(np.maximum(share * high - said, 0.0).mean())


def _range(action: Ints, reward: Floats) -> tuple[float, float]:
    lows, highs = [float(reward.mean())], [float(reward.mean())]
    for one in np.unique(action):
        mine = reward[action == one]
        if len(mine) >= GROUP_ROWS_MIN:
            reach = 2.0 * float(mine.std(ddof=1)) / len(mine) ** 0.5
            lows.append(float(mine.mean()) - reach)
            highs.append(float(mine.mean()) + reach)
    return max(min(lows), min(0.0, float(reward.min()))), max(highs)


def _widened(estimate: Estimate, down: float, up: float) -> Estimate:
    wide = Interval(estimate.interval.low + down, estimate.interval.high + up, estimate.interval.level)
    return msgspec.structs.replace(estimate, interval=wide)


def _mix(log: Log, before: Floats | None) -> tuple[Mix, ...]:
    counts = np.bincount(log.action, minlength=len(log.actions))
    sums = np.bincount(log.action, weights=log.reward, minlength=len(log.actions))
    old = counts / len(log.action) if before is None else before.mean(axis=0)
    new = log.target.mean(axis=0)
    found = [
        Mix(name, float(old[i]), float(new[i]), int(counts[i]), float(sums[i] / counts[i]) if counts[i] else None)
        for i, name in enumerate(log.actions)
    ]
    return tuple(sorted(found, key=lambda one: (-max(one.before, one.after), one.action)))


def _parts(
    log: Log, before: Floats | None, rewards: Floats, groups: Mapping[str, Sequence[str]]
) -> list[Part]:
    found = []
    for by, values in groups.items():
        column = np.array(values, dtype=object)
        for group in sorted(set(values)):
            places = np.flatnonzero(column == group)
            if len(places) < GROUP_ROWS_MIN:
                found.append(Part(by, group, len(places), 0.0, None))
                continue
            some = log.rows(places)
            overlap = overlap_of(some)
            difference = None
            if overlap.grade != "none":
                one = sndr(some, rewards[places])
                other = _lived(some, None if before is None else before[places], rewards[places])
                difference = _widened(estimated(less(one, other), some), *_never_tried(some, rewards[places]))
            found.append(Part(by, group, len(places), overlap.effective_rows, difference))
    return found
