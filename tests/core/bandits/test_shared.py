"""The hashed model: any JSON is features, units do not matter, and the same rewards give the same bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from opportune.core.bandits.chances import drawn, even_share, greedy
from opportune.core.bandits.hashing import FeatureError, features_of
from opportune.core.bandits.shared import Shared, action_of, context_of


def names(given: Any) -> set[tuple[int, float]]:
    found = features_of("c", given, "context")
    return set(zip(found.hashes.tolist(), found.values.tolist(), strict=True))


def test_features_are_told_apart_by_name_and_by_text() -> None:
    assert names([{"a": "x"}]) != names([{"a": "y"}])
    assert names([{"a": "x"}]) != names([{"b": "x"}])
    assert names([{"a": {"b": 2}}]) != names([{"a": {"c": 2}}])
    assert names([{"a": 2}]) != names([{"a": 3}])
    assert names([{"a": ["x", "y"]}]) == names([{"a": ["y", "x"]}])
    assert names([{"a": [1, 2]}]) != names([{"a": [2, 1]}])
    assert names([{"a": None, "b": False}]) == set()
    assert names([{"a": True}, {"b": "x"}]) == names([{"a": True, "b": "x"}])


@pytest.mark.parametrize(
    ("given", "field"),
    [({"a": 1e300}, "context.a"), ({"a": float("nan")}, "context.a"), ({"a": {"b": b"x"}}, "context.a.b")],
)
def test_what_is_no_feature_is_named(given: Any, field: str) -> None:
    with pytest.raises(FeatureError) as caught:
        features_of("c", given, "context")
    assert caught.value.field == field


def test_too_many_and_too_deep_are_refused() -> None:
    deep: Any = 1
    for _ in range(12):
        deep = {"a": deep}
    with pytest.raises(FeatureError, match="nested"):
        features_of("c", deep, "context")
    with pytest.raises(FeatureError, match="at most"):
        features_of("c", {str(n): "x" for n in range(2000)}, "context")


def play(scale: float, offset: float = 0.0, *, seed: int = 1, rounds: int = 1500) -> tuple[float, str]:
    """(mean reward of the last third, digest): who is young likes sport, who is old politics."""
    learner, chance = Shared(), np.random.default_rng(seed)
    actions = [action_of(kind, [{"kind": kind}], "") for kind in ("sport", "politics", "weather")]
    got = []
    for _ in range(rounds):
        age = float(chance.integers(20, 80))
        rows = learner.rows(context_of([{"age": offset + age * scale, "day": str(chance.integers(7))}]), actions)
        place = drawn(even_share(greedy(learner.values(rows)[0]), 0.1), float(chance.random()))
        likes = 0.9 if place == (0 if age < 50 else 1) else 0.1
        reward = float(chance.random() < likes)
        learner.learn(rows[place], reward)
        got.append(reward)
    return float(np.mean(got[-500:])), learner.digest()


def test_it_learns_what_a_context_and_an_action_mean_together() -> None:
    assert play(1.0)[0] > 0.78  # 0.9 is perfect, less a tenth of tries; without the context 0.5


def test_units_do_not_matter() -> None:
    assert play(365.0)[0] == pytest.approx(play(1.0)[0], abs=0.01)
    assert play(0.01, 5000.0)[0] > 0.7  # 5000.2 to 5000.8: without a zero of its own nothing could be told apart


def test_the_same_rewards_give_the_same_bytes_and_others_do_not() -> None:
    assert play(1.0, rounds=200)[1] == play(1.0, rounds=200)[1]
    assert play(1.0, rounds=200)[1] != play(1.0, seed=2, rounds=200)[1]


def test_errors_shrink_where_something_was_tried() -> None:
    learner = Shared()
    context, actions = context_of([{"a": "x"}]), [action_of("one", [], ""), action_of("two", [], "")]
    before = learner.values(learner.rows(context, actions))[1]
    for _ in range(50):
        learner.learn(learner.rows(context, actions)[0], 1.0)
    values, after = learner.values(learner.rows(context, actions))

    assert values[0] == pytest.approx(1.0, abs=0.1)
    assert after[0] < before[0] / 3
    assert after[1] > after[0]
