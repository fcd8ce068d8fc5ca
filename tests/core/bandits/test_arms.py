"""Arms: the estimates are those of a ridge regression, also through forgetting, batches and many updates."""

from __future__ import annotations

import numpy as np
import pytest

from opportune.core.bandits import Arms, ArmSettings, Belief, drawn


def settings(**changed: object) -> ArmSettings:
    said: dict[str, object] = {"actions": 2, "features": 5, "beliefs": (Belief(1.0, float("inf")),), **changed}
    return ArmSettings(**said)  # type: ignore[arg-type]  # what a test changes is of the right type


def events(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    x = chance.normal(size=(count, 5))
    return x, chance.integers(0, 2, count), x @ chance.normal(size=5) + chance.normal(size=count)


def ridge(x: np.ndarray, y: np.ndarray, w: np.ndarray, penalty: float) -> np.ndarray:
    return np.asarray(np.linalg.solve((x * w[:, None]).T @ x + penalty * np.eye(x.shape[1]), (x * w[:, None]).T @ y))


@pytest.mark.parametrize("count", [3, 63, 64, 65, 500])
def test_values_are_those_of_a_ridge_regression(count: int) -> None:
    x, tried, paid = events(count)
    learner = Arms(settings())
    for place in range(count):
        learner.learn(x[place], int(tried[place]), float(paid[place]))
    asked = np.ones(5)

    for action in (0, 1):
        mine = tried == action
        theta = ridge(x[mine], paid[mine], np.ones(int(mine.sum())), 5.0)
        assert learner.values(asked)[0][action] == pytest.approx(float(asked @ theta), abs=1e-9)


def test_forgetting_weighs_old_events_down_and_goes_back_to_the_prior() -> None:
    x, _, paid = events(640)
    learner = Arms(settings(beliefs=(Belief(1.0, 100.0),)))
    for place in range(640):
        learner.learn(x[place], 0, float(paid[place]))
    weights = 0.99 ** np.arange(639, -1, -1)
    penalty = 5.0  # what is forgotten of the data, the prior gets back: it stays as strong as it was
    theta = ridge(x, paid, weights, penalty)

    assert learner.values(np.ones(5))[0][0] == pytest.approx(float(theta.sum()), abs=1e-9)


def test_batches_end_in_the_same_place_as_single_events() -> None:
    x, tried, paid = events(256)
    single, batches = Arms(settings()), Arms(settings())
    for place in range(256):
        single.learn(x[place], int(tried[place]), float(paid[place]))
    for start in range(0, 256, 50):
        some = slice(start, start + 50)
        batches.learn_all(x[some], tried[some], paid[some])

    assert batches.values(np.ones(5))[0] == pytest.approx(single.values(np.ones(5))[0], abs=1e-9)


def test_chances_of_many_rows_are_those_of_each() -> None:
    x, tried, paid = events(100)
    for actions in (2, 3):
        learner = Arms(settings(actions=actions, floor=0.1))
        for place in range(100):
            learner.learn(x[place], int(tried[place]), float(paid[place]))
        found = learner.chances_of(x[:7])

        assert found.tolist() == [pytest.approx(learner.chances(row), abs=1e-6) for row in x[:7]]
        assert found.min() >= 0.1 / actions


def test_the_same_events_give_the_same_chances_to_the_bit() -> None:
    x, tried, paid = events(300)
    found = []
    for _ in range(2):
        learner = Arms(ArmSettings(actions=2, features=5))
        for place in range(300):
            learner.chances(x[place])
            learner.learn(x[place], int(tried[place]), float(paid[place]))
        found.append(learner.chances(np.ones(5)))

    assert found[0] == found[1]


def test_it_finds_the_better_arm_of_each_context_and_follows_when_they_change_places() -> None:
    chance = np.random.default_rng(4)
    learner = Arms(ArmSettings(actions=2, features=2, beliefs=(Belief(0.05, 300.0),), floor=0.05))
    right = []
    for place in range(4000):
        x = np.array([1.0, 1.0 if chance.random() < 0.5 else -1.0])
        best = int(x[1] > 0) if place < 2000 else int(x[1] < 0)
        action = drawn(learner.chances(x), float(chance.random()))
        learner.learn(x, action, float(chance.random() < (0.8 if action == best else 0.2)))
        right.append(action == best)

    assert np.mean(right[1000:2000]) > 0.9
    assert np.mean(right[3000:]) > 0.9


def test_a_prior_that_predicts_better_is_trusted() -> None:
    chance = np.random.default_rng(2)
    weak, strong = Belief(0.001, float("inf")), Belief(1000.0, float("inf"))
    mixed, alone = Arms(settings(beliefs=(weak, strong))), Arms(settings(beliefs=(weak,)))
    for _ in range(400):
        x = chance.normal(size=5)
        for learner in (mixed, alone):
            learner.learn(x, 0, float(x.sum()))

    # The strong prior still says some 1/13 of the truth: nobody may listen to it.
    assert mixed.values(np.ones(5))[0][0] == pytest.approx(alone.values(np.ones(5))[0][0], rel=1e-3)


def test_a_weight_counts_as_that_many_observations() -> None:
    x, _, paid = events(90)
    once, twice = Arms(settings()), Arms(settings())
    for place in range(90):
        once.learn(x[place], 0, float(paid[place]), weight=2.0)
        for _ in range(2):
            twice.learn(x[place], 0, float(paid[place]))

    assert once.values(np.ones(5))[0] == pytest.approx(twice.values(np.ones(5))[0], abs=1e-9)


def test_the_other_ways_to_explore() -> None:
    x, tried, paid = events(200)
    found = {}
    for method in ("upper", "inverse_gap"):
        learner = Arms(settings(method=method, gamma=4.0, width=0.0))
        for place in range(200):
            learner.learn(x[place], int(tried[place]), float(paid[place]))
        values = learner.values(np.ones(5))[0]
        best = values.index(max(values))
        found[method] = learner.chances(np.ones(5))
        assert found[method].index(max(found[method])) == best

    gap = abs(values[0] - values[1])
    assert max(found["upper"]) == 1.0
    assert min(found["inverse_gap"]) == pytest.approx(1.0 / (2.0 + 4.0 * gap))


@pytest.mark.parametrize(
    "wrong",
    [{"actions": 0}, {"beliefs": ()}, {"beliefs": (Belief(0, 9),)}, {"beliefs": (Belief(1, 1),)}, {"floor": 2.0}],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="`"):
        Arms(settings(**wrong))


def test_what_is_no_number_is_refused_and_not_learned() -> None:
    x, _, _ = events(1)
    learner = Arms(settings())
    before = learner.values(np.ones(5))
    with pytest.raises(ValueError, match="reward"):
        learner.learn(x[0], 0, float("nan"))
    with pytest.raises(ValueError, match="feature"):
        learner.learn(np.array([1.0, np.inf, 0.0, 0.0, 0.0]), 0, 1.0)
    with pytest.raises(ValueError, match="5 features"):
        learner.chances(np.ones(6))

    assert learner.values(np.ones(5)) == before
