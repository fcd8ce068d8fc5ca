"""Overlap: whether a log has tried what another policy would do often enough to say what that earns."""

from __future__ import annotations

from math import sqrt
from typing import Literal

import msgspec
import numpy as np

from opportune.core.offpolicy.intervals import degrees_of_freedom, per_unit, standard_error, t_quantile
from opportune.core.offpolicy.log import Floats, Log

Grade = Literal["good", "weak", "none"]

ESS_MIN = 50.0
"""Below so many effective rows nothing is said."""
ESS_SHARE_WEAK = 0.05
MAX_SHARE_WEAK = 0.05
"""A single unit with more than this share of all weight makes the overlap weak, with four times as much none."""
UNSUPPORTED_WEAK = 0.01
UNSUPPORTED_MAX = 0.2
TAIL_WEAK = 0.5
TAIL_MAX = 1.0
"""Of the generalised Pareto: from 0.5 the variance of the weights is not finite, from 1.0 not even their mean
(Vehtari et al. 2024)."""
CERTAIN = 0.9999997
"""Weights average 1 when the logged chances are right: beyond this quantile (5 standard errors), they are not."""


class Overlap(msgspec.Struct, frozen=True):
    """How well a log covers a policy.

    `effective_rows` is (sum w)^2 / sum w^2 (Kish 1965); `max_weight` the largest w, `max_share` the largest share of
    all weight on one unit; `mean_weight` should be 1; `tail` is the shape of the largest weights (k-hat), None where
    they are too few or all alike; `unsupported` is the share of what the policy does that the log has never tried in
    the same situation, None where the log does not say. `reasons` are sentences.
    """

    grade: Grade
    rows: int
    units: int
    effective_rows: float
    max_weight: float
    max_share: float
    mean_weight: float
    tail: float | None
    unsupported: float | None
    reasons: tuple[str, ...] = ()


def overlap_of(log: Log) -> Overlap:
    """The diagnostics of a log for the policy it is judged for, and the grade that follows."""
    weight = log.weight
    total = float(weight.sum())
    effective = total * total / float(weight @ weight) if total > 0.0 else 0.0
    sums = per_unit(weight, log.unit)
    share = float(sums.max()) / total if total > 0.0 else 1.0
    mean = float(weight.mean())
    off = abs(mean + (lost := unsupported_share(log) or 0.0) - 1.0)
    influence = weight - mean
    apart = standard_error(influence, log.unit) * t_quantile(CERTAIN, degrees_of_freedom(influence, log.unit))
    unsupported = None if log.behaviour is None else lost
    found = Overlap(
        "good", len(weight), len(sums), effective, float(weight.max()), share, mean, tail_shape(weight), unsupported
    )
    none, weak = _against(found, off > max(apart, 1e-9))
    grade: Grade = "none" if none else "weak" if weak else "good"
    return msgspec.structs.replace(found, grade=grade, reasons=(*none, *weak))


def unsupported_share(log: Log) -> float | None:
    """The mean chance, under the judged policy, of what had none under the one that made the log."""
    if log.behaviour is None:
        return None
    return float(np.where(log.behaviour <= 0.0, log.target, 0.0).sum(axis=1).mean())


def tail_shape(weight: Floats) -> float | None:
    """k-hat: the shape of a generalised Pareto fitted to the largest weights (Vehtari et al. 2024, with the
    estimator of Zhang & Stephens 2009); None where fewer than 10 weights stand out."""
    n = len(weight)
    count = int(min(0.2 * n, 3.0 * sqrt(n)))
    if count < 10:
        return None
    ordered = np.sort(weight)
    excess = ordered[-count:] - ordered[-count - 1]
    excess = excess[excess > 0.0]
    if len(excess) < 10 or excess[-1] <= excess[0] * (1.0 + 1e-9):
        return None
    return _pareto_shape(excess)


def _pareto_shape(excess: Floats) -> float:
    """Zhang & Stephens 2009: the profile likelihood averaged over a prior on the scale; towards 0.5 as in PSIS."""
    n = len(excess)
    points = 30 + int(sqrt(n))
    quarter = excess[max(int(n / 4 + 0.5) - 1, 0)]
    theta = 1.0 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))
    theta = theta / (3.0 * quarter) + 1.0 / excess[-1]
    shapes = np.log1p(-theta[:, None] * excess).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = n * (np.log(-(theta / shapes)) - shapes - 1.0)
    usable = np.isfinite(likelihood)
    theta, likelihood = theta[usable], likelihood[usable]
    shares = np.exp(likelihood - likelihood.max())
    best = float((theta * shares).sum() / shares.sum())
    shape = float(np.log1p(-best * excess).mean())
    return (n * shape + 5.0) / (n + 10.0)


def _against(found: Overlap, mean_is_off: bool) -> tuple[list[str], list[str]]:
    """Sentences that rule an answer out, and those that widen it."""
    none: list[str] = []
    weak: list[str] = []
    if found.effective_rows < ESS_MIN:
        none.append(
            f"what the policy does happened in the log as often as in {found.effective_rows:.0f} rows of it: "
            f"at least {ESS_MIN:.0f} are needed; explore more, or wait"
        )
    elif found.effective_rows < ESS_SHARE_WEAK * found.rows:
        weak.append(f"{found.rows:,} rows count as {found.effective_rows:,.0f}")
    if found.max_share > 4.0 * MAX_SHARE_WEAK:
        none.append(f"a single customer carries {found.max_share:.0%} of all weight")
    elif found.max_share > MAX_SHARE_WEAK:
        weak.append(f"a single customer carries {found.max_share:.0%} of all weight")
    if found.unsupported is not None and found.unsupported > UNSUPPORTED_MAX:
        none.append(
            f"{found.unsupported:.0%} of what the policy does was never tried in the same situation: "
            "let it run beside the live one, or explore more"
        )
    elif found.unsupported is not None and found.unsupported > UNSUPPORTED_WEAK:
        weak.append(f"{found.unsupported:.1%} of what the policy does was never tried in the same situation")
    if found.tail is not None and found.tail > TAIL_MAX:
        none.append(f"the largest weights have no mean (tail {found.tail:.2f}): a few rows decide everything")
    elif found.tail is not None and found.tail > TAIL_WEAK:
        weak.append(f"the largest weights vary without bound (tail {found.tail:.2f})")
    if mean_is_off:
        text = f"weights average {found.mean_weight:.3f} where 1 is expected"
        weak.append(f"{text}: are the logged probabilities those of what was done, and is the log complete?")
    return none, weak
