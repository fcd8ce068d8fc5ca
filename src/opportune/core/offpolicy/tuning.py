"""How much to trust large weights: the setting whose estimated error, bias and variance together, is the least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opportune.core.offpolicy.estimators import Worth, dr_os, less, switch_dr
from opportune.core.offpolicy.intervals import standard_error
from opportune.core.offpolicy.log import Floats, Log

STEPS = 12


def least_error(worths: Sequence[Worth], log: Log) -> int:
    """The place of the one with the least estimated mean squared error among some; the first must be unbiased.

    error = se^2 + max(0, difference^2 - its variance): the square of how far a value is from the unbiased one, less
    what chance alone would make of that (Wang et al. 2017 and Su et al. 2020 take an upper bound of the bias instead,
    which on logs with rare rewards never lets any bias in).
    """
    found = []
    for worth in worths:
        apart = less(worth, worths[0])
        bias = max(0.0, apart.value**2 - standard_error(apart.influence, log.unit) ** 2)
        found.append(standard_error(worth.influence, log.unit) ** 2 + bias)
    return int(np.argmin(found))


def settings_of(log: Log, rewards: Floats) -> dict[str, float]:
    """tau of `switch_dr` and lambda of `dr_os`, chosen by `least_error` among quantiles of this log's weights.

    The grid begins with no limit at all, which is plain `dr`, and ends with the model alone.
    """
    grid = grid_of(log.weight)
    by_tau = [switch_dr(log, rewards, tau) for tau in grid]
    lambdas = [tau * tau for tau in grid]
    by_lambda = [dr_os(log, rewards, one) for one in lambdas]
    return {"switch_dr": grid[least_error(by_tau, log)], "dr_os": lambdas[least_error(by_lambda, log)]}


def grid_of(weight: Floats) -> list[float]:
    """Limits to weights, from none to 0: quantiles of the weights that occur, more of them at the upper end."""
    above = weight[weight > 0.0]
    if not len(above):
        return [float("inf"), 0.0]
    levels = 1.0 - np.geomspace(1.0 / max(len(above), 2), 1.0, STEPS)
    found = sorted({float(value) for value in np.quantile(above, levels)}, reverse=True)
    return [float("inf"), *found, 0.0]
