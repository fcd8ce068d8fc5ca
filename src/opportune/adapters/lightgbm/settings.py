"""What a model's spec may set of the learners, by LightGBM's own names, and what it is when nothing is said."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

import msgspec

from opportune.core.models import LearnError

Setting = bool | int | float | str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """LightGBM's settings of every model within a learner, and ours.

    The defaults are careful: small trees with many rows in each leaf, because effects are far smaller than the
    noise around them. `min_data_in_leaf` 0 means a hundredth of the rows, from 20 to 200. `folds` is in how many
    parts rows are cut so that no row is judged by a model that has seen it; `replicates` how many half-samples say
    how sure an estimate is.
    """

    num_iterations: int = 60
    learning_rate: float = 0.05
    num_leaves: int = 7
    min_data_in_leaf: int = 0
    bagging_fraction: float = 0.8
    feature_fraction: float = 0.8
    lambda_l2: float = 1.0
    folds: int = 3
    replicates: int = 10
    seed: int = 0

    def leaf_rows(self, rows: int) -> int:
        """The least rows of a leaf for a model of so many rows."""
        return self.min_data_in_leaf or min(max(rows // 100, 20), 200)


_RANGES: Mapping[str, tuple[float, float]] = {
    "num_iterations": (1, 2000),
    "learning_rate": (0.001, 1.0),
    "num_leaves": (2, 64),
    "min_data_in_leaf": (0, 1e9),
    "bagging_fraction": (0.1, 1.0),
    "feature_fraction": (0.1, 1.0),
    "lambda_l2": (0.0, 1e6),
    "folds": (2, 10),
    "replicates": (4, 200),
    "seed": (0, 2**31 - 1),
}

KNOWN_SETTINGS = tuple(_RANGES)


def read_settings(given: Mapping[str, Setting]) -> Settings:
    """The settings of a spec; LearnError names what is unknown or out of range, and what may be said."""
    for name, value in given.items():
        if name not in _RANGES:
            near = get_close_matches(name, KNOWN_SETTINGS, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(KNOWN_SETTINGS)}"
            raise LearnError(f"setting `{name}` is unknown: {hint}")
        low, high = _RANGES[name]
        whole = name not in ("learning_rate", "bagging_fraction", "feature_fraction", "lambda_l2")
        right = not isinstance(value, bool) and isinstance(value, int if whole else int | float)
        if not right or not low <= float(value) <= high:
            kind = "a whole number" if whole else "a number"
            raise LearnError(f"setting `{name}` is `{value}`: give {kind} from {low:g} to {high:g}")
    return msgspec.convert(dict(given), Settings)
