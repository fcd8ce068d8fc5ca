"""Linear models over bins whose shrinkage is learned from the rows: of the chance to buy, and of the effect.

Where effects are small, what helps most is to know how small: each block of coefficients has a normal prior whose
variance is found by the evidence (MacKay 1992, empirical Bayes), so that a block without support vanishes.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.adapters.lightgbm.bins import Bins, Coding, Floats
from opportune.core.models import sigmoid
from opportune.core.models.card import MISSING_BIN

GROUPS_MAX = 8
"""In how many groups of about as many rows a number's bins are taken together."""
_STEADY = 0.2
"""No column is stretched by less than this deviation: few rows must not speak loudly."""
_ROUNDS = 150
_LOGISTIC_PRECISION = 3.0


class Columns(msgspec.Struct, frozen=True):
    """For each feature, what each of its bins puts into its columns: a trend (or one column per name), and groups."""

    trends: tuple[Floats, ...]
    groups: tuple[Floats, ...]

    def of(self, bins: Bins, *, grouped: bool) -> tuple[Floats, NDArray[np.intp]]:
        """(rows, columns), centred on the rows that the columns come from, and the block of each: 0 or 1."""
        tables = [*self.trends, *(self.groups if grouped else ())]
        width = len(self.trends)
        parts = [table[bins[:, place % width]] for place, table in enumerate(tables)]
        blocks = np.repeat([place // width for place in range(len(tables))], [part.shape[1] for part in parts])
        return np.hstack(parts), blocks


def columns_of(coding: Coding) -> Columns:
    """Columns for the bins as the training rows have them."""
    trends, groups = [], []
    for table, share in zip(coding.tables, coding.shares, strict=True):
        known = share.copy()
        if table.type == "numeric":
            known[MISSING_BIN] = 0.0
            middle = (np.cumsum(known) - known / 2.0) / known.sum() if known.sum() else known
            trend = (np.where(known > 0.0, middle, 0.5) - 0.5)[:, None]
            group = np.minimum((np.cumsum(known) - known / 2.0) / max(known.sum(), 1e-12) * GROUPS_MAX, GROUPS_MAX - 1)
            group = np.where(np.arange(len(known)) == MISSING_BIN, GROUPS_MAX, group.astype(np.intp))
            groups.append(_settled(np.eye(GROUPS_MAX + 1)[group.astype(np.intp)], share, stretch=False))
        else:
            trend = np.eye(table.bin_count)
            groups.append(np.zeros((table.bin_count, 0)))
        trends.append(_settled(trend, share, stretch=True))
    return Columns(tuple(trends), tuple(groups))


def _settled(table: Floats, share: Floats, *, stretch: bool) -> Floats:
    """Centred on the training rows and, if asked, to a deviation of 1; a bin without rows says nothing."""
    shifted = table - share @ table
    if stretch:
        shifted = shifted / np.maximum(np.sqrt(share @ shifted**2), _STEADY)
    found: Floats = np.where((share > 0.0)[:, None], shifted, 0.0)
    return found


def logistic(values: Floats, bought: Floats, weight: Floats) -> Floats:
    """Coefficients (the constant first) of a logistic regression with a fixed mild prior, by Newton's method."""
    design = np.column_stack([np.ones(len(values)), values])
    pull = np.full(design.shape[1], _LOGISTIC_PRECISION)
    pull[0] = 1e-6
    mean = min(max(float(np.average(bought, weights=weight)), 1e-4), 1 - 1e-4)
    found = np.zeros(design.shape[1])
    found[0] = np.log(mean / (1.0 - mean))
    for _ in range(30):
        chance = sigmoid(design @ found)
        slope = design.T @ (weight * (chance - bought)) + pull * found
        curve = (design * (weight * chance * (1.0 - chance))[:, None]).T @ design + np.diag(pull)
        step = np.linalg.solve(curve, slope)
        found -= step
        if float(np.abs(step).max()) < 1e-8:
            break
    return found


def chance_by(coefficients: Floats, values: Floats) -> Floats:
    """The chance that a logistic regression gives each row."""
    return sigmoid(coefficients[0] + values @ coefficients[1:])


class Shrunk(msgspec.Struct, frozen=True):
    """A linear model with what is known of its coefficients: their mean, covariance, and of the constant both."""

    constant: float
    constant_variance: float
    middle: Floats
    mean: Floats
    covariance: Floats

    def of(self, values: Floats) -> Floats:
        """The expected number of each row."""
        found: Floats = self.constant + (values - self.middle) @ self.mean
        return found

    def variance(self, values: Floats) -> Floats:
        """How far, squared, it may be off."""
        away = values - self.middle
        found: Floats = self.constant_variance + np.einsum("ij,jk,ik->i", away, self.covariance, away)
        return found


def shrunk(values: Floats, blocks: NDArray[np.intp], target: Floats, weight: Floats) -> Shrunk:
    """Least squares with a normal prior per block, its variance where the evidence is highest (MacKay 1992)."""
    mass = float(weight.sum())
    middle = weight @ values / mass
    constant = float(weight @ target / mass)
    away, rest = values - middle, target - constant
    gram, pull = (away * weight[:, None]).T @ away, away.T @ (weight * rest)
    # Weights are no precisions: they add noise by the ratio of their squares.
    noise = float(weight @ rest**2 / mass) * float((weight**2).sum() / mass)
    masks = [blocks == name for name in np.unique(blocks)]
    spread = np.ones(values.shape[1])
    prior = np.full(len(masks), noise / max(mass, 1.0) * 10.0)
    mean: Floats = np.zeros(values.shape[1])
    covariance: Floats = np.zeros((values.shape[1], values.shape[1]))
    for _ in range(_ROUNDS):
        for mask, variance in zip(masks, prior, strict=True):
            spread[mask] = variance
        covariance = np.asarray(np.linalg.inv(gram / noise + np.diag(1.0 / spread)), dtype=np.float64)
        mean = covariance @ pull / noise
        found = []
        for mask, variance in zip(masks, prior, strict=True):
            told = mask.sum() - np.trace(covariance[np.ix_(mask, mask)]) / variance
            found.append(max(float(mean[mask] @ mean[mask]) / max(float(told), 1e-9), 1e-10))
        change = np.abs(np.log(np.array(found) / prior)).max()
        prior = np.array(found)
        if change < 1e-3:
            break
    return Shrunk(constant, noise / mass, middle, mean, covariance)
