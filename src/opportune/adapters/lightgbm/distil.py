"""One small served model for many heavy ones: a table per feature, and trees only for what tables cannot say.

What the learners say of the training rows has no noise, so that it can be learned closely (Bucila, Caruana and
Niculescu-Mizil 2006); how closely is measured on every fit.
"""

from __future__ import annotations

import msgspec
import numpy as np

from opportune.adapters.lightgbm.bins import Floats
from opportune.adapters.lightgbm.boost import SQUARES, boost, chance
from opportune.adapters.lightgbm.learners import Kit, Rows
from opportune.adapters.lightgbm.settings import Settings
from opportune.adapters.lightgbm.trees import Forest, centred
from opportune.core.models import AdditiveHead

_RIDGE = 1.0
_ENOUGH = 0.995
"""The share of the variance over customers that tables must explain for trees to be left out."""
_ROUNDS = (20, 40, 80)


class Distilled(msgspec.Struct, frozen=True):
    """A head, and the share of the variance of what it was made from that it explains."""

    head: AdditiveHead
    explained: float


def distilled(rows: Rows, target: Floats, kit: Kit) -> Distilled:
    """A head whose sums are near `target`, one number per row."""
    tables, shares = kit.coding.tables, kit.coding.shares
    hot = np.hstack([np.eye(table.bin_count)[rows.bins[:, place]] for place, table in enumerate(tables)])
    middle = hot.mean(0)
    base = float(target.mean())
    shifted = hot - middle
    solved = np.linalg.solve(
        shifted.T @ shifted + _RIDGE * np.eye(hot.shape[1]), shifted.T @ (target - base)
    )
    parts, at, constant = [], 0, base - float(middle @ solved)
    for table, share in zip(tables, shares, strict=True):
        mean, part = centred(np.where(share > 0.0, solved[at : at + table.bin_count], 0.0), share)
        constant += mean
        parts.append(tuple(value if seen > 0.0 else 0.0 for value, seen in zip(part, share, strict=True)))
        at += table.bin_count
    said = constant + sum(np.array(part)[rows.bins[:, place]] for place, part in enumerate(parts))
    rest = target - said
    total = max(float(target.var()), 1e-18)
    explained = 1.0 - float(rest.var()) / total
    forest = Forest(constant)
    if explained < _ENOUGH:
        for rounds in _ROUNDS:
            booster = boost(
                rows.codes, rest, np.ones(len(rest)), _settings(rounds, len(rest)), SQUARES,
                kit.coding.categorical, 41,
            )  # fmt: skip
            forest = Forest(constant).plus(kit.forest(booster))
            explained = 1.0 - float((rest - chance(booster, rows.codes)).var()) / total
            if explained >= _ENOUGH:
                break
    kept = forest.rounded()
    return Distilled(AdditiveHead(kept.base, tuple(parts), (), kept.trees), explained)


def _settings(rounds: int, rows: int) -> Settings:
    return Settings(
        num_iterations=rounds, learning_rate=0.25, num_leaves=16, min_data_in_leaf=max(rows // 1000, 5),
        bagging_fraction=1.0, feature_fraction=1.0, lambda_l2=0.0,
    )  # fmt: skip
