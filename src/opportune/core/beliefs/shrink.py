"""Shrinkage over a tree of kinds, offers, channels and segments, in closed form: each leaf learns from all the others.

Every leaf expects a number of purchases (what was believed before x trials) and saw another. Its true rate is what was
believed x a factor, and factors of relatives are alike: a leaf's is spread around its parent's with a relative
variance per level. A factor's distribution is a gamma; sums of gammas with unequal weights are matched by their first
two moments (Gamma-Poisson shrinkage: Clayton and Kaldor 1987; Marshall 1991). Messages go up the tree, then down, each
without what came from where it goes (belief propagation: Pearl 1988), so that nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Factors(msgspec.Struct, frozen=True):
    """Per leaf: the posterior mean of the factor and its shape (1 / relative variance). `weight`: how much of the
    mean is the leaf's own evidence, from 0 to 1."""

    mean: Floats
    shape: Floats
    weight: Floats


def shrink(sold: Floats, expected: Floats, parents: Sequence[Ints], spreads: Sequence[float]) -> Factors:
    """The factors of all leaves.

    sold, expected: per leaf, from 0. parents: for each level but the top the place of its parent, from the leaves up.
    spreads: the relative variance of each level around its parent, from the leaves up; the last is that of the top
    around 1. There is one more spread than parents.
    """
    evidence = [(sold, expected)]
    weights: list[Floats] = []
    for parent, spread in zip(parents, spreads, strict=False):
        own_sold, own_expected = evidence[-1]
        size = int(parent.max()) + 1 if len(parent) else 0
        ratio = _ratio(own_sold, own_expected)
        weight = 1.0 / (1.0 + own_expected * ratio * spread)
        weights.append(weight)
        evidence.append((_summed(parent, weight * own_sold, size), _summed(parent, weight * own_expected, size)))
    top = len(evidence[-1][0])
    mean, shape = np.ones(top), np.full(top, 1.0 / spreads[-1])
    for level in range(len(parents) - 1, -1, -1):
        parent, weight = parents[level], weights[level]
        own_sold, own_expected = evidence[level]
        others_sold = np.maximum(evidence[level + 1][0][parent] - weight * own_sold, 0.0)
        others_expected = np.maximum(evidence[level + 1][1][parent] - weight * own_expected, 0.0)
        mean, shape = _posterior(mean[parent], shape[parent], others_sold, others_expected)
        shape = 1.0 / (1.0 / shape + spreads[level])
    weight = mean * expected / (mean * expected + shape)
    mean, shape = _posterior(mean, shape, sold, expected)
    return Factors(mean, shape, weight)


def _posterior(mean: Floats, shape: Floats, sold: Floats, expected: Floats) -> tuple[Floats, Floats]:
    """A gamma of this mean and shape after so many events where so many were expected of a factor of 1."""
    return mean * (sold + shape) / (mean * expected + shape), sold + shape


def _summed(parent: Ints, numbers: Floats, size: int) -> Floats:
    return np.bincount(parent, numbers, size).astype(np.float64)


def _ratio(sold: Floats, expected: Floats) -> float:
    """What everything together says, drawn to 1 by one event: evidence is weighed by how many events it expects."""
    return float((sold.sum() + 1.0) / (expected.sum() + 1.0))
