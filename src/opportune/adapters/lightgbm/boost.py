"""Boosting with LightGBM: the same rows give the same trees, on one core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from opportune.adapters.lightgbm.bins import Floats
from opportune.adapters.lightgbm.settings import Settings
from opportune.core.models import LearnError

BINARY = "binary"
SQUARES = "regression"


def boost(
    codes: Floats,
    target: Floats,
    weight: Floats,
    settings: Settings,
    objective: str,
    categorical: Sequence[int],
    seed: int,
) -> Any:  # noqa: ANN401  (lightgbm has no types)
    """A booster for `target`; codes are read as they are, one histogram bin each."""
    try:
        import lightgbm
    except ImportError:
        raise LearnError("this algorithm needs LightGBM: install opportune[ml]") from None
    params = {
        "objective": objective,
        "num_leaves": settings.num_leaves,
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": settings.leaf_rows(len(target)),
        "bagging_fraction": settings.bagging_fraction,
        "bagging_freq": 1,
        "feature_fraction": settings.feature_fraction,
        "lambda_l2": settings.lambda_l2,
        "seed": (settings.seed * 1_000_003 + seed) % (2**31 - 1),
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "min_data_in_bin": 1,
        "feature_pre_filter": False,
        "verbose": -1,
    }
    data = lightgbm.Dataset(codes, target, weight=weight, categorical_feature=list(categorical), free_raw_data=True)
    return lightgbm.train(params, data, num_boost_round=settings.num_iterations)


def chance(booster: Any, codes: Floats) -> Floats:  # noqa: ANN401 - LightGBM has no types
    """The predicted probability (or number, of squares) of each row."""
    found: Floats = np.asarray(booster.predict(codes, num_threads=1), dtype=np.float64)
    return found
