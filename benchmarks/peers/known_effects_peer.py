"""econml on the rows of benchmarks.known_effects: run by an interpreter that has it, with an .npz file in and one out.

In: `x` (rows, features; no value is missing), `offer`, `treated`, `bought` (rows), `x_new` (customers, features).
Out: `<name>.effect` and `<name>.error` (customers, offers), the error as half the width of the 95 % interval / 1.96.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

Array = Any


def models() -> dict[str, Any]:
    """econml's honest forest and its doubly robust learner with a linear end, both with intervals of their own."""
    from econml.dml import CausalForestDML
    from econml.dr import LinearDRLearner
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    def regressor() -> Any:  # noqa: ANN401 - scikit-learn has no types
        return HistGradientBoostingRegressor(max_iter=60, learning_rate=0.05, max_leaf_nodes=7, random_state=1)

    def classifier() -> Any:  # noqa: ANN401 - LightGBM has no types
        return HistGradientBoostingClassifier(max_iter=60, learning_rate=0.05, max_leaf_nodes=7, random_state=1)

    return {
        "econml forest": lambda: CausalForestDML(
            model_y=regressor(), model_t=classifier(), discrete_treatment=True, n_estimators=400,
            min_samples_leaf=20, cv=3, random_state=1, n_jobs=1,
        ),
        "econml DR": lambda: LinearDRLearner(
            model_propensity=classifier(), model_regression=regressor(), cv=3, random_state=1, min_propensity=0.05
        ),
    }  # fmt: skip


def main(given: str, out: str) -> None:
    data = np.load(given)
    x, x_new, offer = data["x"], data["x_new"], data["offer"]
    found: dict[str, Array] = {}
    for name, make in models().items():
        effects, errors = [], []
        for place in range(int(offer.max()) + 1):
            here = offer == place
            model = make()
            model.fit(data["bought"][here].astype(float), data["treated"][here].astype(int), X=x[here])
            low, high = model.effect_interval(x_new, alpha=0.05)
            effects.append(np.ravel(model.effect(x_new)))
            errors.append((np.ravel(high) - np.ravel(low)) / 2.0 / 1.959964)
        found[f"{name}.effect"], found[f"{name}.error"] = np.column_stack(effects), np.column_stack(errors)
    np.savez(out, **found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
