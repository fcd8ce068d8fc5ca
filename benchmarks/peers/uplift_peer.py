"""The peers of benchmarks/hillstrom.py in an environment of their own: scikit-uplift, causalml and econml.

`python uplift_peer.py learn SPLIT.npz OUT.npz`: trains every peer on the training rows of one split and writes what
each says of the test rows (`score.<name>`, one column per arm). `python uplift_peer.py measure SPLIT.npz OUT.npz`:
writes scikit-uplift's measures of the scores that were sent along. Settings are those of the protocol: LightGBM with
60 trees, rate .05, 7 leaves, 200 rows a leaf, samples of .8.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

warnings.filterwarnings("ignore")

SETTINGS: dict[str, Any] = {
    "n_estimators": 60, "learning_rate": 0.05, "num_leaves": 7, "min_child_samples": 200, "subsample": 0.8,
    "subsample_freq": 1, "colsample_bytree": 0.8, "reg_lambda": 1.0, "n_jobs": 1, "verbose": -1,
}  # fmt: skip
Array = Any
"""This file runs without our packages: arrays are plain numpy."""


class Split:
    """One split: features, arms (0 is nobody contacted), outcomes, and a seed for whatever is drawn."""

    def __init__(self, file: Array) -> None:
        self.x, self.t, self.y = file["x_train"], file["t_train"], file["y_train"].astype(float)
        self.x_test, self.t_test, self.y_test = file["x_test"], file["t_test"], file["y_test"].astype(float)
        self.seed = int(file["seed"])
        self.arms = int(self.t.max())
        self.share = np.bincount(self.t, minlength=self.arms + 1) / len(self.t)

    def columns(self) -> tuple[Array, Array]:
        """Both sides standardised with the training rows' figures, as linear models need it."""
        middle, spread = self.x.mean(0), self.x.std(0)
        spread[spread == 0] = 1.0
        return (self.x - middle) / spread, (self.x_test - middle) / spread


def boosted(split: Split, *, regression: bool = False) -> Array:
    """LightGBM as the protocol has it."""
    import lightgbm

    kind = lightgbm.LGBMRegressor if regression else lightgbm.LGBMClassifier
    return kind(**SETTINGS, random_state=split.seed)


def logistic() -> Array:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1.0, max_iter=2000)


def per_arm(split: Split, learn: Callable[[Array, Array, Array], Array]) -> Array:
    """One column per arm: a learner for two arms, against nobody contacted, for each."""
    found = []
    for arm in range(1, split.arms + 1):
        rows = (split.t == 0) | (split.t == arm)
        found.append(learn(split.x[rows], (split.t[rows] == arm).astype(int), split.y[rows]))
    return np.column_stack([np.asarray(one).ravel() for one in found])


def sklift_models(split: Split) -> dict[str, Callable[[], Array]]:
    from sklift.models import ClassTransformation, SoloModel, TwoModels

    def of(make: Callable[[], Array]) -> Callable[[], Array]:
        return lambda: per_arm(split, lambda x, t, y: make().fit(x, y.astype(int), t).predict(split.x_test))

    return {
        "T LightGBM (sklift)": of(lambda: TwoModels(boosted(split), boosted(split), method="vanilla")),
        "S LightGBM (sklift)": of(lambda: SoloModel(boosted(split))),
        "class transformation (sklift)": of(lambda: ClassTransformation(boosted(split))),
        "T logistic (sklift)": lambda: _logistic(split),
    }


def _logistic(split: Split) -> Array:
    from sklift.models import TwoModels

    x, x_test = split.columns()
    found = []
    for arm in range(1, split.arms + 1):
        rows = (split.t == 0) | (split.t == arm)
        model = TwoModels(logistic(), logistic(), method="vanilla")
        model.fit(x[rows], split.y[rows].astype(int), (split.t[rows] == arm).astype(int))
        found.append(np.asarray(model.predict(x_test)))
    return np.column_stack(found)


def causalml_models(split: Split) -> dict[str, Callable[[], Array]]:
    from causalml.inference.meta import BaseXClassifier
    from causalml.inference.tree import UpliftRandomForestClassifier

    def x_learner() -> Array:
        def one(x: Array, t: Array, y: Array) -> Array:
            model = BaseXClassifier(
                outcome_learner=boosted(split), effect_learner=boosted(split, regression=True),
                control_name=0,
            )  # fmt: skip
            e = t.mean()
            model.fit(x, t, y, p=np.full(len(t), e))
            return model.predict(split.x_test, p=np.full(len(split.x_test), e))

        return per_arm(split, one)

    def forest() -> Array:
        def one(x: Array, t: Array, y: Array) -> Array:
            model = UpliftRandomForestClassifier(
                n_estimators=100, max_depth=5, min_samples_leaf=200, min_samples_treatment=50, n_reg=100,
                evaluationFunction="KL", control_name="0", random_state=split.seed, n_jobs=1,
            )  # fmt: skip
            model.fit(x, t.astype(str), y.astype(int))
            return model.predict(split.x_test)

        return per_arm(split, one)

    return {"X LightGBM (causalml)": x_learner, "uplift forest KL (causalml)": forest}


def econml_models(split: Split) -> dict[str, Callable[[], Array]]:
    from econml.dml import CausalForestDML
    from econml.dr import DRLearner
    from econml.metalearners import XLearner
    from econml.policy import DRPolicyTree
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import RidgeCV

    def arms_of(model: Array, x_test: Array) -> Array:
        return np.column_stack([
            np.ravel(model.effect(x_test, T0=0, T1=arm)) for arm in range(1, split.arms + 1)
        ])  # fmt: skip

    def forest() -> Array:
        def one(x: Array, t: Array, y: Array) -> Array:
            model = CausalForestDML(
                model_y=boosted(split, regression=True), model_t=DummyClassifier(), discrete_treatment=True,
                n_estimators=500, min_samples_leaf=100, max_samples=0.45, cv=3, random_state=split.seed, n_jobs=1,
            )  # fmt: skip
            return model.fit(y, t, X=x).effect(split.x_test)

        return per_arm(split, one)

    def doubly_robust(final: Callable[[], Array], *, standardised: bool) -> Callable[[], Array]:
        def run() -> Array:
            x, x_test = split.columns() if standardised else (split.x, split.x_test)
            model = DRLearner(
                model_propensity=DummyClassifier(), model_regression=boosted(split, regression=True),
                model_final=final(), multitask_model_final=False, cv=3, random_state=split.seed,
            )  # fmt: skip
            return arms_of(model.fit(split.y, split.t, X=x), x_test)

        return run

    def x_learner() -> Array:
        model = XLearner(
            models=boosted(split, regression=True), propensity_model=DummyClassifier(),
            cate_models=boosted(split, regression=True),
        )  # fmt: skip
        return arms_of(model.fit(split.y, split.t, X=split.x), split.x_test)

    def tree() -> Array:
        model = DRPolicyTree(
            model_propensity=DummyClassifier(), model_regression=boosted(split, regression=True), max_depth=3,
            min_samples_leaf=200, cv=3, random_state=split.seed,
        )  # fmt: skip
        return model.fit(split.y, split.t, X=split.x).predict_value(split.x_test)

    found = {
        "causal forest (econml)": forest,
        "DR ridge (econml)": doubly_robust(lambda: RidgeCV(np.logspace(-1, 6, 15)), standardised=True),
        "DR LightGBM (econml)": doubly_robust(lambda: boosted(split, regression=True), standardised=False),
        "X LightGBM (econml)": x_learner,
    }
    return found | ({"DR policy tree (econml)": tree} if split.arms > 1 else {})


def metrics(split: Split, score: Array) -> Array:
    """Qini, AUUC and uplift at 30 % as scikit-uplift has them (two arms)."""
    from sklift.metrics import qini_auc_score, uplift_at_k, uplift_auc_score

    y, t = split.y_test.astype(int), split.t_test
    return np.array([
        qini_auc_score(y, score, t), uplift_auc_score(y, score, t), uplift_at_k(y, score, t, "overall", 0.3)
    ])  # fmt: skip


def learn(split: Split) -> dict[str, Array]:
    """What every peer says of the test rows."""
    found: dict[str, Array] = {}
    for name, made in (sklift_models(split) | causalml_models(split) | econml_models(split)).items():
        np.random.seed(split.seed)  # the peers draw from the global generator
        found["score." + name] = made()
    return found


def main(what: str, source: str, target: str) -> None:
    """Everything for one split."""
    file = np.load(source, allow_pickle=False)
    split = Split(file)
    if what == "learn":
        found = learn(split)
    else:
        sent = [key for key in file.files if key.startswith("score.")]
        found = {"sklift." + key.removeprefix("score."): metrics(split, file[key]) for key in sent}
    np.savez(target, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
