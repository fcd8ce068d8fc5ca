"""How far coefficients may be from 0, learned from the data itself: spreads under which the data are most likely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FACTOR_MIN, FACTOR_MAX = 0.1, 4.0
"""What the data may make of a declared spread: with few rows they say little of it."""
TRUST = 1.0
"""How many coefficients' worth of evidence a declared spread is."""


def inverse_of(matrix: Floats) -> Floats:
    """The inverse of a symmetric matrix."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


class Curvature:
    """The inverse of the curvature of the penalised likelihood at a fit, in the arrow's shape that it has: what all
    offers share in one block, each offer's own in one more (offers meet only in what they share).

    `left` are the columns of the shared block, `right` those of an offer's own, both scaled to unit priors; `place`
    is each row's offer; `weight` is what its second derivative counts.
    """

    def __init__(self, left: Floats, right: Floats, place: NDArray[np.intp], weight: Floats, offers: int) -> None:
        from scipy.linalg import cho_factor, cho_solve

        self.width, self.own = left.shape[1], right.shape[1]
        self.blocks: list[Floats] = []
        self.crosses: list[Floats] = []
        total = np.eye(self.width)
        absorbed = np.zeros_like(total)
        for index in range(offers):
            here = place == index
            mine, theirs, curve = left[here], right[here], weight[here][:, None]
            block = np.eye(self.own) + theirs.T @ (theirs * curve)
            cross = mine.T @ (theirs * curve)
            total += mine.T @ (mine * curve)
            absorbed += cross @ cho_solve(cho_factor(block), cross.T)
            self.blocks.append(block)
            self.crosses.append(cross)
        self.inverse = inverse_of(total - absorbed)

    def spent(self) -> tuple[Floats, Floats]:
        """The variances of the shared coefficients, and of each offer's own: (offers, own)."""
        own = []
        for block, cross in zip(self.blocks, self.crosses, strict=True):
            inner = inverse_of(block)
            bridge = inner @ cross.T
            own.append(np.diag(inner) + np.einsum("ij,jk,ik->i", bridge, self.inverse, bridge))
        return np.diag(self.inverse).copy(), np.array(own)


def learned(
    coefficients: Floats, variances: Floats, spreads: Floats, declared: Floats, groups: Sequence[str]
) -> Floats:
    """Each column's spread as the data have it: the fixed point of the evidence (MacKay 1992), one step.

    `coefficients` and `variances` (after the data) are in units of the present `spreads`; all are (offers, columns).
    `groups` names each column's kind; constants, of which there are few, keep what was declared. Gamma, the number of
    a group's coefficients that the data determine, is the sum of 1 - variance; its squared spread is the sum of
    squares / gamma, drawn to what was declared by TRUST.
    """
    names = np.array(groups)
    found = spreads.copy()
    for name in dict.fromkeys(groups):
        here = names == name
        if name == "constant":
            continue  # too few to learn from
        gamma = float((1.0 - variances[:, here]).clip(0.0, 1.0).sum())
        squares = float(((coefficients[:, here] * spreads[here]) ** 2).sum())
        squared = (squares + TRUST * declared[here][0] ** 2) / (gamma + TRUST)
        found[here] = np.clip(np.sqrt(squared), FACTOR_MIN * declared[here][0], FACTOR_MAX * declared[here][0])
    return found
