"""How sure a boosting machine is: its outer bags, each without a part of the rows, as a jackknife."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from opportune.adapters.ebm.tables import Bins, Floats
from opportune.core.models import AdditiveHead, FeatureTable

SAMPLE_ROWS = 2_000
RIDGE = 4.0


def log_variance(
    tables: Sequence[FeatureTable], bins: Bins, bags: Sequence[Callable[[Bins], Floats]], left_out: float
) -> AdditiveHead:
    """A head whose value is the logarithm of the variance of what the bags say on average.

    The delete-d jackknife (Shao and Wu 1989): estimates that each lack a share d of the rows vary less than the
    whole does by d / (1 - d). The logarithms of the variances of a sample of rows are fitted by a table, which keeps
    them positive and additive. With fewer than two bags nobody can tell: the variance is then 1.
    """
    if len(bags) < 2 or not 0.0 < left_out < 1.0:
        return AdditiveHead(0.0, tuple((0.0,) * table.bin_count for table in tables))
    rows = bins[np.unique(np.linspace(0, len(bins) - 1, min(SAMPLE_ROWS, len(bins))).astype(int))]
    said = np.stack([bag(rows) for bag in bags])
    variance = said.var(0, ddof=1) * (1.0 - left_out) / left_out
    return _additive(tables, rows, np.log(np.maximum(variance, 1e-10)))


def _additive(tables: Sequence[FeatureTable], bins: Bins, target: Floats) -> AdditiveHead:
    """Ridge regression of `target` on the bins, set up so that the mean variance is kept; a bin without rows is as
    unsure as the feature's worst."""
    hot = np.hstack([np.eye(table.bin_count)[bins[:, at]] for at, table in enumerate(tables)])
    middle = hot.mean(0)
    centred = hot - middle
    mean = float(target.mean())
    solved = np.linalg.solve(centred.T @ centred + RIDGE * np.eye(hot.shape[1]), centred.T @ (target - mean))
    # The mean of logarithms lies below the logarithm of the mean: what is lost is given back to all.
    fitted = mean + centred @ solved
    base = mean + float(np.log(np.exp(target).mean()) - np.log(np.exp(fitted).mean()))
    parts, at = [], 0
    for table in tables:
        stop = at + table.bin_count
        part, share = solved[at:stop], middle[at:stop]
        part = part - float(share @ part)
        worst = float(part[share > 0].max())
        parts.append(tuple(round(float(x) if s > 0 else worst, 4) for x, s in zip(part, share, strict=True)))
        at = stop
    return AdditiveHead(round(base, 4), tuple(parts))
