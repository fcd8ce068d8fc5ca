"""A LightGBM text served as trees over bins says what LightGBM says; what cannot be served is refused."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
from artefacts import card
from hypothesis import given, settings
from hypothesis import strategies as st

from opportune.core.models import Calibration, OfferHeads, Scorecard, compile_scorecard, sigmoid
from opportune.core.models.examples import Example, TrainingSet
from opportune.core.models.trainer import LearnError
from opportune.core.registry import BoosterTrainer, RegistryError, read_booster

NAMES = ("seats", "usage_7d", "trial")
TYPES = ("int", "double", "bool")


def rows(count: int, seed: int, missing: float) -> Any:
    chance = np.random.default_rng(seed)
    found = np.column_stack([chance.integers(-3, 9, count), chance.normal(size=count), chance.integers(0, 2, count)])
    found = found.astype(float)
    found[chance.random(found.shape) < missing] = np.nan
    return found


def booster(seed: int = 1, missing: float = 0.1, **more: Any) -> lightgbm.Booster:
    x = rows(600, seed, missing)
    known = np.nan_to_num(x)
    noise = np.random.default_rng(seed).normal(size=len(x))
    y = (known[:, 0] + known[:, 1] * 2 + known[:, 2] + noise > 2).astype(int)
    given = {"objective": "binary", "num_leaves": 8, "num_threads": 1, "verbose": -1, "seed": seed, **more}
    return lightgbm.train(given, lightgbm.Dataset(x, y, feature_name=list(NAMES)), 12)


def text_of(found: lightgbm.Booster) -> bytes:
    return str(found.model_to_string()).encode()


def examples(target: str = "acceptance") -> TrainingSet:
    one = Example(0, "u", "seats", True, 0.5, True, (1, 0.5, True))
    return TrainingSet(NAMES, TYPES, (one,), 1, {}, {}, target=target)


def served(text: bytes) -> Scorecard:
    """The scorecard of a booster, uncalibrated."""
    fit = BoosterTrainer(text, "it").fit(examples(), ["seats"])
    assert isinstance(fit.offers[0], OfferHeads)
    made = card()
    return Scorecard(
        1, "accept", "data", made.spec_hash, fit.features, fit.offers, Calibration(), made.training, True, "chance",
        "acceptance",
    )  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 10_000), st.sampled_from((0.0, 0.2)), st.booleans(), st.booleans(),
    st.sampled_from((0.5, 1.0, 2.0)),
)  # fmt: skip
def test_it_says_what_lightgbm_says(seed: int, missing: float, zero: bool, use_missing: bool, slope: float) -> None:
    found = booster(seed, missing, zero_as_missing=zero, use_missing=use_missing, sigmoid=slope)
    made = served(text_of(found))
    model = compile_scorecard(made, ["seats"], NAMES)
    asked = np.vstack([rows(60, seed + 1, 0.3), [[0.0, 0.0, 0.0], [-0.0, 1e-36, 1.0], [0.0, -1e-36, 0.0]]])
    expected = np.asarray(found.predict(asked))
    for row, chance in zip(asked, expected, strict=True):
        values = [None if row[0] != row[0] else int(row[0]), None if row[1] != row[1] else float(row[1]),
                  None if row[2] != row[2] else bool(row[2])]  # fmt: skip
        head, total = made.offers[0].offered, 0.0
        bins = [table.bin_of(value) for table, value in zip(made.features, values, strict=True)]
        for tree in head.trees:
            at = 0 if tree.features else -1
            while at >= 0:
                left = any(first <= bins[tree.features[at]] <= last for first, last in tree.left_bins[at])
                at = tree.left[at] if left else tree.right[at]
            total += tree.leaves[~at]
        assert sigmoid(np.array(total)) == pytest.approx(chance, abs=1e-12)
        assert model.score(values).p_accept[0] == pytest.approx(chance, abs=1e-7)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"num_leaves": 100, "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0.0}, "at most 64"),
        ({"objective": "regression"}, "gives no chance"),
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "no single boosted sum"),
        ({"linear_tree": True}, "cannot be served"),
    ],
)
def test_what_cannot_be_served_is_refused(more: dict[str, Any], says: str) -> None:
    with pytest.raises(RegistryError, match=says) as told:
        read_booster(text_of(booster(**more)), "model.txt")
    assert (told.value.code, "model.txt" in str(told.value)) == ("unreadable", True)


@pytest.mark.parametrize("cut", [b"num_leaves=8", b"left_child=", b"leaf_value=", b"threshold=", b"objective="])
def test_a_text_that_is_broken_is_refused(cut: bytes) -> None:
    text = text_of(booster())
    assert cut in text
    with pytest.raises(RegistryError) as told:
        read_booster(text.replace(cut, b"x" + cut), "model.txt")
    assert told.value.code == "unreadable"


def test_features_and_targets_must_fit() -> None:
    trainer = BoosterTrainer(text_of(booster()), "it")
    with pytest.raises(LearnError, match="acceptance, churn_risk or fatigue"):
        trainer.fit(examples("uplift"), ["seats"])
    other = TrainingSet(("seats", "plan"), ("int", "string"), examples().examples, 1, {}, {}, target="acceptance")
    with pytest.raises(LearnError, match="`usage_7d`, which is none of seats, plan"):
        trainer.fit(other, ["seats"])
