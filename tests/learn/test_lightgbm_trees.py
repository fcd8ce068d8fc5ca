"""What is served of a booster is the booster: every tree over bins says what LightGBM itself says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from opportune.adapters.lightgbm.bins import BINS_MAX, CATEGORIES_MAX, coding
from opportune.adapters.lightgbm.boost import BINARY, SQUARES, boost
from opportune.adapters.lightgbm.settings import Settings
from opportune.adapters.lightgbm.trees import Forest, forest_of
from opportune.core.models import Example, TrainingSet, Tree
from opportune.core.models.binning import bins_of, feature_tables
from opportune.core.models.card import _tree_fits

NAMES = ("seats", "ratio", "plan", "vip", "always_there")
TYPES = ("int", "double", "string", "bool", "double")
PLANS = [f"plan-{letter}" for letter in "abcdefghij"]


def walk(tree: Tree, bins: Sequence[int]) -> float:
    """The oracle: a tree as its docstring says it is read."""
    at = 0
    while tree.features:
        inside = any(first <= bins[tree.features[at]] <= last for first, last in tree.left_bins[at])
        at = tree.left[at] if inside else tree.right[at]
        if at < 0:
            return tree.leaves[~at]
    return tree.leaves[0]


def said(forest: Forest, bins: Any) -> list[float]:
    return [forest.base + sum(walk(tree, row) for tree in forest.trees) for row in bins.tolist()]


def some_values(random: np.random.Generator, *, strange: bool) -> tuple[object, ...]:
    plan: object = PLANS[int(random.integers(10))]
    if random.random() < 0.1:
        plan = None
    if strange and random.random() < 0.2:
        plan = "a plan nobody had"
    return (
        None if random.random() < 0.15 else int(random.lognormal(3.0, 1.5)) - 5,
        None if random.random() < 0.3 else float(random.normal()),
        plan,
        None if random.random() < 0.2 else bool(random.random() < 0.4),
        None if strange and random.random() < 0.5 else float(random.exponential()),
    )


def examples(rows: int, seed: int, *, strange: bool = False) -> TrainingSet:
    random = np.random.default_rng(seed)
    found = []
    for at in range(rows):
        values = some_values(random, strange=strange)
        known = 0.0 if values[0] is None else float(str(values[0]))
        chance = 0.2 + 0.3 * (values[2] in PLANS[::3]) + 0.2 * (known > 20)
        chance += 0.15 * (values[1] is None) + 0.15 * (values[3] is True)
        got = bool(random.random() < chance)
        found.append(Example(at, f"u{at}", "o", bool(at % 2), 0.5, got, values))
    return TrainingSet(NAMES, TYPES, tuple(found), 1)


@pytest.mark.parametrize("objective", [BINARY, SQUARES])
@pytest.mark.parametrize("leaves", [2, 7, 31])
def test_trees_over_bins_say_what_lightgbm_says(objective: str, leaves: int) -> None:
    learned = examples(1500, 3)
    tables = feature_tables(learned, BINS_MAX, CATEGORIES_MAX)
    bins = bins_of(tables, NAMES, learned.examples)
    code = coding(tables, bins)
    bought = np.array([float(row.bought) for row in learned.examples])
    settings = Settings(num_leaves=leaves, num_iterations=40, min_data_in_leaf=5)
    booster = boost(code.of(bins), bought, np.ones(len(bought)), settings, objective, code.categorical, 1)
    forest = forest_of(booster, code)
    asked = bins_of(tables, NAMES, examples(800, 4, strange=True).examples)
    own = booster.predict(code.of(asked), raw_score=True, num_threads=1)
    assert {one for tree in forest.trees for one in tree.features} >= {0, 1, 2, 3}
    assert np.abs(np.array(said(forest, asked)) - own).max() < 1e-9
    assert np.std(own) > 0.05
    counts = [table.bin_count for table in tables]
    for tree in forest.trees:
        assert _tree_fits(tree, counts)
        assert sum(tree.shares) == pytest.approx(1.0)
    weighed = forest.times(0.25).plus(forest.times(0.75))
    assert np.abs(np.array(said(weighed, asked)) - own).max() < 1e-9
    assert np.abs(np.array(said(forest.rounded(), asked)) - own).max() < 1e-7


def test_what_is_known_beforehand_is_decided_beforehand() -> None:
    learned = examples(2000, 5)
    tables = feature_tables(learned, BINS_MAX, CATEGORIES_MAX)
    bins = bins_of(tables, NAMES, learned.examples)
    code = coding(tables, bins)
    random = np.random.default_rng(6)
    place, treated = random.integers(0, 3, len(bins)), random.integers(0, 2, len(bins))
    bought = np.array([float(row.bought) for row in learned.examples]) * (0.4 + 0.2 * place) + 0.3 * treated
    columns = np.column_stack([code.of(bins), place, treated])
    width = len(tables)
    booster = boost(
        columns, bought, np.ones(len(bought)), Settings(num_iterations=60), SQUARES, [*code.categorical, width], 2
    )
    for offer in range(3):
        for on in (0, 1):
            forest = forest_of(booster, code, {width: float(offer), width + 1: float(on)})
            told = np.column_stack([code.of(bins), np.full(len(bins), offer), np.full(len(bins), on)])
            assert np.abs(np.array(said(forest, bins)) - booster.predict(told, num_threads=1)).max() < 1e-9
            assert all(max(tree.features) < width for tree in forest.trees)


def test_a_bin_that_training_never_saw_is_the_usual_one() -> None:
    learned = examples(400, 7)
    tables = feature_tables(learned, BINS_MAX, CATEGORIES_MAX)
    bins = bins_of(tables, NAMES, learned.examples)
    code = coding(tables, bins)
    at = [table.name for table in tables].index("always_there")
    usual = int(np.median(bins[:, at]))
    assert code.codes[at][0] == pytest.approx(usual, abs=1)
    assert np.isnan(code.codes[0][0])
