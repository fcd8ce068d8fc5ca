"""How sure a fit is: the variance of each uplift from how the likelihood curves and how rows scatter, as a table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opportune.adapters.sklearn.design import Columns
from opportune.adapters.sklearn.evidence import Curvature
from opportune.adapters.sklearn.solve import Rows, Solved
from opportune.core.models import AdditiveHead, Form, sigmoid

Floats = NDArray[np.float64]

_SAMPLE_ROWS = 300
_RIDGE = 2.0
DOUBT = 7.0
"""What the prior's part of the variance counts: few coefficients are far from 0, and those are shrunk by more than the
average one, and the truth is no sum of tables. Found in worlds whose effects are known: benchmarks/known_effects.py."""


def log_variances(columns: Columns, rows: Rows, solved: Solved) -> list[AdditiveHead]:
    """One head per offer whose value is the logarithm of the variance of what is predicted: of the uplift; of the
    chance in a set without effects; of the logarithm of an amount.

    The sandwich A^-1 (B + I) A^-1 (Huber 1967; Liang & Zeger 1986): A is the curvature of the penalised likelihood,
    B the scatter of its gradient over units, whose rows depend on each other and whose weights are no counts; I is
    the prior: what shrinking may have left out, DOUBT times. Where the model is right, all weights are 1 and nothing is
    doubted it is Laplace's A^-1.
    The variance of a sample of rows is then fitted, in logarithms, by a table: that keeps it positive and additive.
    """
    offers = int(rows.place.max()) + 1
    curve = Curvature(solved.left, solved.right, rows.place, rows.curve(solved.linear), offers)
    pulls = rows.pull(solved.linear)
    variances, own_variances = curve.spent()
    determined = float((1.0 - variances).sum() + (1.0 - own_variances).sum())
    units = int(rows.unit.max()) + 1
    widen = units / max(units - determined, 0.5 * units)
    sample = np.unique(np.linspace(0, len(rows.place) - 1, min(_SAMPLE_ROWS, len(rows.place))).astype(int))
    found = []
    for index in range(offers):
        gradient = _gradient(columns.values[sample], solved, index, rows.form)
        shared, own = _steered(curve, gradient, index)
        scatter = np.zeros((units, len(sample)))
        for other in range(offers):
            here = np.flatnonzero(rows.place == other)
            moved = (solved.left[here] @ shared + solved.right[here] @ own[other]) * pulls[here][:, None]
            _add_by(scatter, rows.unit[here], moved)
        pulled = (shared**2).sum(0) + sum((one**2).sum(0) for one in own)
        variance = widen * (scatter**2).sum(0) + DOUBT * pulled
        found.append(_additive(columns, columns.bins[sample], np.log(np.maximum(variance, 1e-12))))
    return found


def _steered(curve: Curvature, gradient: Floats, index: int) -> tuple[Floats, list[Floats]]:
    """A^-1 times each row's gradient, (columns, rows): the shared part, and every offer's own."""
    right, own = gradient[:, : curve.width].T, gradient[:, curve.width :].T
    mine = solved_for(curve.blocks[index], own)
    shared: Floats = curve.inverse @ (right - curve.crosses[index] @ mine)
    parts: list[Floats] = []
    for place, (block, cross) in enumerate(zip(curve.blocks, curve.crosses, strict=True)):
        part = -solved_for(block, cross.T @ shared)
        parts.append(part + mine if place == index else part)
    return shared, parts


def solved_for(matrix: Floats, right: Floats) -> Floats:
    """matrix^-1 right."""
    return np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)


def _add_by(total: Floats, unit: NDArray[np.intp], rows: Floats) -> None:
    """Adds rows to the row of their unit."""
    order = np.argsort(unit, kind="stable")
    firsts = np.flatnonzero(np.diff(unit[order], prepend=-1))
    if len(firsts):
        total[unit[order][firsts]] += np.add.reduceat(rows[order], firsts, axis=0)


def _gradient(rows: Floats, solved: Solved, index: int, form: Form) -> Floats:
    """How what is predicted of each row moves with each coefficient: shared, effect, own, own effect."""
    shared, own, shared_effect, own_effect = solved.scales
    baseline, effect = solved.of(index)
    with_it, without = sigmoid(rows @ (baseline + effect)), sigmoid(rows @ baseline)
    steep = (with_it * (1.0 - with_it))[:, None]
    flat = (without * (1.0 - without))[:, None]
    if form == "chance":
        flat = np.zeros_like(flat)
    elif form == "amount":
        steep, flat = np.ones_like(steep), np.zeros_like(flat)
    blocks = [(steep - flat) * rows * shared, steep * rows * shared_effect]
    return np.hstack([*blocks, (steep - flat) * rows * own, steep * rows * own_effect])


def _additive(columns: Columns, bins: NDArray[np.intp], target: Floats) -> AdditiveHead:
    """Ridge regression of `target` on the bins; a bin without sampled rows is as unsure as the feature's worst."""
    hot = np.hstack([np.eye(table.bin_count)[bins[:, i]] for i, table in enumerate(columns.tables)])
    middle = hot.mean(0)
    centred = hot - middle
    base = float(target.mean())
    solved = np.linalg.solve(centred.T @ centred + _RIDGE * np.eye(hot.shape[1]), centred.T @ (target - base))
    parts, at = [], 0
    for table in columns.tables:
        stop = at + table.bin_count
        part, share = solved[at:stop], middle[at:stop]
        part = part - float(share @ part)
        worst = float(part[share > 0].max())
        parts.append(tuple(round(float(x) if s > 0 else worst, 4) for x, s in zip(part, share, strict=True)))
        at = stop
    return AdditiveHead(round(base, 4), tuple(parts))
