"""Estimators of what another policy would have earned, each with the influence of every row on it."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import msgspec
import numpy as np

from opportune.core.offpolicy.intervals import Interval, degrees_of_freedom, standard_error, student
from opportune.core.offpolicy.log import Floats, Log

NAMES = ("ips", "snips", "dm", "dr", "sndr", "switch_dr", "dr_os")
"""Inverse propensity score, its self-normalised form, direct method, doubly robust, its self-normalised form, doubly
robust with a switch at a greatest weight, doubly robust with weights shrunk optimistically."""


LEANING = frozenset({"dm", "switch_dr", "dr_os"})
"""Those whose error the reward model adds to."""


class Worth(msgspec.Struct, frozen=True):
    """What a policy would have earned per row, by one estimator. `influence` has mean 0, one value a row:
    differences between policies on the same log are those of their values and of their influences."""

    value: float
    influence: Floats


class Estimate(msgspec.Struct, frozen=True):
    """A value per row with its standard error and interval; `setting` is tau of `switch_dr` or lambda of `dr_os`."""

    value: float
    se: float
    interval: Interval
    degrees: float
    setting: float | None = None


def estimated(worth: Worth, log: Log, unbiased: Worth | None = None, setting: float | None = None) -> Estimate:
    """A worth with its 95 % interval: Student's, with the degrees of freedom that the influences leave.

    Of an estimator that leans on the reward model, how far it is from the `unbiased` one counts as error too, and how
    uncertain that distance is: its own influences say nothing of what is wrong with the model.
    """
    se = standard_error(worth.influence, log.unit)
    if unbiased is not None:
        apart = less(worth, unbiased)
        se = sqrt(se * se + apart.value**2 + standard_error(apart.influence, log.unit) ** 2)
    degrees = degrees_of_freedom(worth.influence, log.unit)
    return Estimate(worth.value, se, student(worth.value, se, degrees), degrees, setting)


def less(one: Worth, other: Worth) -> Worth:
    """How much more the one earns than the other, row by row on the same log."""
    return Worth(one.value - other.value, one.influence - other.influence)


def ips(log: Log) -> Worth:
    """mean(w r), w = pi/pi_b (Horvitz & Thompson 1952): unbiased where the log has tried what the policy does."""
    rows = log.weight * log.reward
    return _mean_of(rows)


def snips(log: Log) -> Worth:
    """sum(w r) / sum(w) (Swaminathan & Joachims 2015): a little bias for much less variance."""
    weight = log.weight
    return _ratio(weight * log.reward, weight)


def dm(log: Log, rewards: Floats) -> Worth:
    """mean of the modelled reward under the policy; as good as the model, wherever the log has tried it or not.

    `rewards[i, a]` is the reward of each action as modelled without row i."""
    return _mean_of(modelled(log, rewards))


def dr(log: Log, rewards: Floats) -> Worth:
    """The model, and what it missed weighted by w (Dudik et al. 2014): right if either chances or model are."""
    return _mean_of(modelled(log, rewards) + log.weight * missed(log, rewards))


def sndr(log: Log, rewards: Floats) -> Worth:
    """`dr` whose correction is divided by the mean weight (Thomas & Brunskill 2016)."""
    model, correction = _mean_of(modelled(log, rewards)), _ratio(log.weight * missed(log, rewards), log.weight)
    return Worth(model.value + correction.value, model.influence + correction.influence)


def switch_dr(log: Log, rewards: Floats, tau: float) -> Worth:
    """`dr` that trusts the model alone where w > tau (Wang et al. 2017)."""
    weight = log.weight
    return _mean_of(modelled(log, rewards) + np.where(weight <= tau, weight, 0.0) * missed(log, rewards))


def dr_os(log: Log, rewards: Floats, lambda_: float) -> Worth:
    """`dr` with weights lambda w / (w^2 + lambda) (optimistic shrinkage, Su et al. 2020)."""
    return _mean_of(modelled(log, rewards) + shrunk(log.weight, lambda_) * missed(log, rewards))


def shrunk(weight: Floats, lambda_: float) -> Floats:
    """lambda w / (w^2 + lambda); w itself where lambda is infinite, 0 where it is 0."""
    if np.isinf(lambda_):
        return weight
    if lambda_ == 0.0:
        return np.zeros_like(weight)
    found: Floats = lambda_ * weight / (weight * weight + lambda_)
    return found


def modelled(log: Log, rewards: Floats) -> Floats:
    """Per row, the modelled reward of the judged policy."""
    found: Floats = np.einsum("ia,ia->i", log.target, rewards)
    return found


def missed(log: Log, rewards: Floats) -> Floats:
    """Per row, how much more came than the model says of what was done."""
    found: Floats = log.reward - rewards[np.arange(len(log.action)), log.action]
    return found


def worths(log: Log, rewards: Floats, settings: Mapping[str, float]) -> dict[str, Worth]:
    """Every estimator by name; `settings` have tau for `switch_dr` and lambda for `dr_os`."""
    return {
        "ips": ips(log),
        "snips": snips(log),
        "dm": dm(log, rewards),
        "dr": dr(log, rewards),
        "sndr": sndr(log, rewards),
        "switch_dr": switch_dr(log, rewards, settings["switch_dr"]),
        "dr_os": dr_os(log, rewards, settings["dr_os"]),
    }


def estimates(found: Mapping[str, Worth], log: Log, settings: Mapping[str, float]) -> dict[str, Estimate]:
    """Each worth with its interval."""
    return {
        name: estimated(worth, log, found["dr"] if name in LEANING else None, settings.get(name))
        for name, worth in found.items()
    }


def _mean_of(rows: Floats) -> Worth:
    value = float(rows.mean())
    return Worth(value, rows - value)


def _ratio(numerator: Floats, denominator: Floats) -> Worth:
    """A ratio of means, and by the delta method each row's influence on it; 0 where nothing has a weight."""
    below = float(denominator.mean())
    if below <= 0.0:
        return Worth(0.0, np.zeros_like(numerator))
    value = float(numerator.mean()) / below
    return Worth(value, (numerator - value * denominator) / below)
