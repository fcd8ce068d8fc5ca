"""Calibration: makes a predicted 3 % mean that 3 in 100 buy, and measures how far it is from that."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opportune.core.models.card import Calibration, CalibrationBin

_STRENGTH = (25.0, 4.0, 100.0)
"""How sure we are, before data, that nothing needs correcting, as precisions: of a slope of 1, of no shift of both
heads, of no shift of one against the other. The last is the strictest: it moves every uplift at once."""

_STEPS = 50


def platt(
    log_odds: NDArray[np.float64],
    treated: NDArray[np.bool_],
    bought: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> Calibration:
    """Platt scaling (Platt 1999) by Newton's method, with one slope, a shift per head, and a pull to the identity.

    All arguments have one entry per row. No rows give the identity. The slope is kept within 0.2 and 3.
    """
    if not len(log_odds):
        return Calibration()
    middle = float(np.average(log_odds, weights=weight))
    design = np.column_stack([log_odds - middle, np.ones(len(log_odds)), treated - 0.5])
    start, strength = np.array([1.0, middle, 0.0]), np.array(_STRENGTH)
    found = start.copy()
    for _ in range(_STEPS):
        chance = sigmoid(design @ found)
        slope = design.T @ (weight * (chance - bought)) + strength * (found - start)
        curve = (design * (weight * chance * (1.0 - chance))[:, None]).T @ design + np.diag(strength)
        step = np.linalg.solve(curve, slope)
        found = found - step
        if float(np.abs(step).max()) < 1e-10:
            break
    steep = round(min(max(float(found[0]), 0.2), 3.0), 6)
    shift, apart = float(found[1]) - steep * middle, float(found[2]) / 2.0
    return Calibration(steep, round(shift + apart, 6), round(shift - apart, 6))


def sigmoid(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)), safe for any finite x."""
    found: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -500.0, 500.0)))
    return found


def calibration_table(
    predicted: NDArray[np.float64], bought: NDArray[np.float64], bins: int = 10
) -> tuple[CalibrationBin, ...]:
    """Rows sorted by prediction and cut into `bins` equal parts: predicted against observed share."""
    order = np.argsort(predicted, kind="stable")
    return tuple(
        CalibrationBin(len(part), round(float(predicted[part].mean()), 6), round(float(bought[part].mean()), 6))
        for part in np.array_split(order, bins)
        if len(part)
    )


def calibration_error(table: tuple[CalibrationBin, ...]) -> float:
    """Expected calibration error: the mean gap between predicted and observed share, weighted by rows."""
    rows = sum(part.rows for part in table)
    return sum(part.rows * abs(part.predicted - part.observed) for part in table) / rows if rows else 0.0
