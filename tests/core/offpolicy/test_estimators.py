"""Each estimator gives obp's number on the same rows, and intervals hold the truth as often as they say."""

from __future__ import annotations

from functools import cache
from math import inf

import msgspec
import numpy as np
import pytest

from opportune.core.offpolicy import (
    NAMES,
    Log,
    LogError,
    SharedThenOwn,
    bootstrap,
    check_log,
    cross_fitted,
    empirical_bernstein,
    estimates,
    overlap_of,
    settings_of,
    worths,
)
from opportune.core.offpolicy.intervals import degrees_of_freedom, normal_quantile, standard_error, t_quantile
from opportune.core.offpolicy.judge import judge
from opportune.core.offpolicy.log import Floats

TARGET = np.array(
    [[.2, .5, .3], [.1, .8, .1], [.3, .3, .4], [.6, .2, .2], [.25, .5, .25], [.1, .1, .8], [.05, .9, .05], [.4, .4, .2]]
)  # fmt: skip
REWARDS = np.array(
    [[.5, .2, .3], [.4, .1, .2], [.6, .7, .5], [.3, .6, .1], [.2, .2, .9], [.5, .4, .3], [.1, .8, .2], [.3, .3, .3]]
)  # fmt: skip
SMALL = Log(
    actions=("a", "b", "c"),
    action=np.array([0, 1, 2, 1, 0, 2, 1, 0]),
    probability=np.array([0.5, 0.25, 0.25, 0.4, 0.3, 0.2, 0.35, 0.6]),
    reward=np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0]),
    target=TARGET,
    unit=np.arange(8),
)
OBP = {
    "ips": 0.6339285714285714,
    "snips": 0.3682572614107884,
    "dm": 0.38500000000000006,
    "dr": 0.36345238095238097,
    "sndr": 0.3724827109266943,
    "switch_dr": 0.3891666666666667,
    "dr_os": 0.43439248767545613,
}
"""obp 0.4.1, `estimate_policy_value` of each estimator on these arrays, tau 1.5 and lambda 3 (worked out once in the
environment of benchmarks/peers/obp_requirements.txt)."""


def drawn(n: int, seed: int, actions: int = 4) -> tuple[Log, Floats, Floats, float]:
    """A log with contexts, its true rewards and the true value of the policy it is judged for."""
    generator = np.random.default_rng(seed)
    contexts = generator.normal(size=(n, 3))
    coefficients = np.random.default_rng(99).normal(scale=0.7, size=(actions, 3))
    rewards = 1.0 / (1.0 + np.exp(1.0 - contexts @ coefficients.T))
    behaviour = np.exp(0.5 * contexts @ np.random.default_rng(98).normal(size=(3, actions)))
    behaviour /= behaviour.sum(axis=1, keepdims=True)
    target = np.exp(3.0 * rewards)
    target /= target.sum(axis=1, keepdims=True)
    action = (behaviour.cumsum(axis=1) < generator.random((n, 1))).sum(axis=1)
    rows = np.arange(n)
    reward = (generator.random(n) < rewards[rows, action]).astype(float)
    log = Log(tuple("abcd"[:actions]), action, behaviour[rows, action], reward, target, rows, behaviour)
    return check_log(log), contexts, rewards, _truth(actions)


@cache
def _truth(actions: int) -> float:
    """The value of the policy over all customers there could be."""
    fresh = np.random.default_rng(97).normal(size=(200_000, 3))
    coefficients = np.random.default_rng(99).normal(scale=0.7, size=(actions, 3))
    means = 1.0 / (1.0 + np.exp(1.0 - fresh @ coefficients.T))
    chosen = np.exp(3.0 * means)
    chosen /= chosen.sum(axis=1, keepdims=True)
    return float((chosen * means).sum(axis=1).mean())


@pytest.mark.parametrize("name", NAMES)
def test_the_value_is_obps(name: str) -> None:
    found = worths(SMALL, REWARDS, {"switch_dr": 1.5, "dr_os": 3.0})

    assert found[name].value == pytest.approx(OBP[name], abs=1e-12)
    assert float(found[name].influence.mean()) == pytest.approx(0.0, abs=1e-12)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = dict.fromkeys(NAMES, 0)
    runs = 60
    for seed in range(runs):
        log, _, rewards, truth = drawn(800, seed)
        settings = settings_of(log, rewards)
        for name, one in estimates(worths(log, rewards, settings), log, settings).items():
            held[name] += one.interval.holds(truth)

    assert min(held[name] for name in ("ips", "snips", "dr", "sndr")) >= 54, held


def test_rows_of_one_unit_are_not_counted_as_independent() -> None:
    influence = np.repeat(np.random.default_rng(0).normal(size=100), 9)

    alone = standard_error(influence, np.arange(900))
    together = standard_error(influence, np.repeat(np.arange(100), 9))

    assert together == pytest.approx(3.0 * alone, rel=0.02)


def test_the_doubly_robust_are_right_where_one_of_the_two_is() -> None:
    log, _, rewards, truth = drawn(20_000, 1)
    nonsense = np.full_like(rewards, 0.9)
    found = worths(log, nonsense, {"switch_dr": inf, "dr_os": inf})

    assert abs(found["dm"].value - truth) > 0.3
    assert abs(found["dr"].value - truth) < 0.02
    assert abs(found["sndr"].value - truth) < 0.02


def test_a_reward_model_of_the_right_form_makes_dr_steadier_than_ips() -> None:
    log, contexts, _, _ = drawn(6_000, 2)
    modelled = cross_fitted(log, contexts, SharedThenOwn(), np.random.default_rng(0))
    found = worths(log, modelled, {"switch_dr": inf, "dr_os": inf})

    assert standard_error(found["dr"].influence, log.unit) < 0.8 * standard_error(found["ips"].influence, log.unit)


def test_a_reward_model_never_sees_the_unit_it_speaks_of() -> None:
    """A unit whose rewards are all 1 among units of 0 is foretold by the others alone."""
    n = 300
    unit = np.repeat(np.arange(30), 10)
    reward = np.where(unit == 7, 1.0, 0.0)
    log = Log(("a",), np.zeros(n, np.int64), np.ones(n), reward, np.ones((n, 1)), unit)
    contexts = np.eye(30)[unit]

    modelled = cross_fitted(log, contexts, SharedThenOwn(), np.random.default_rng(0))

    assert modelled[unit == 7].max() < 0.2


def test_rewards_in_money_are_modelled_as_money() -> None:
    log, contexts, rewards, _ = drawn(3_000, 5)
    money = msgspec.structs.replace(log, reward=40.0 * log.reward + 5.0)

    modelled = cross_fitted(money, contexts, SharedThenOwn(), np.random.default_rng(0))

    assert np.corrcoef(modelled.ravel(), rewards.ravel())[0, 1] > 0.9
    assert abs(float(modelled.mean()) - (40.0 * float(rewards.mean()) + 5.0)) < 3.0


def test_large_weights_are_trusted_less_where_they_only_add_noise() -> None:
    log, _, rewards, _ = drawn(2_000, 4)
    rare = log.probability.copy()
    rare[:5] = 1e-4
    noisy = msgspec.structs.replace(log, probability=rare)

    assert settings_of(noisy, rewards)["switch_dr"] < float(noisy.weight.max())
    assert settings_of(noisy, rewards)["dr_os"] < inf


def test_overlap_is_graded_by_what_was_tried() -> None:
    log, _, rewards, _ = drawn(2_000, 6)
    assert overlap_of(log).grade == "good"

    few = np.zeros_like(log.target)
    few[:, 0] = 1.0
    behaviour = np.full_like(few, 1.0 / 3.0)
    behaviour[:, 0] = 0.0
    never = log.rows(np.flatnonzero(log.action != 0))
    never = msgspec.structs.replace(
        never, behaviour=behaviour[: len(never.action)], probability=np.full(len(never.action), 1.0 / 3.0)
    ).under(few[: len(never.action)])
    found = overlap_of(never)
    assert (found.grade, found.unsupported) == ("none", 1.0)
    assert judge(never, None, rewards[: len(never.action)]).value is None


def test_wrong_chances_are_noticed_by_the_mean_weight() -> None:
    log, _, _, _ = drawn(4_000, 7)
    wrong = msgspec.structs.replace(log, probability=log.probability * 0.7)

    assert any("weights average" in reason for reason in overlap_of(wrong).reasons)
    assert not any("weights average" in reason for reason in overlap_of(log).reasons)


def test_what_was_never_tried_widens_the_interval() -> None:
    log, _, rewards, _ = drawn(4_000, 8)
    assert log.behaviour is not None
    part = log.target * 0.95
    whole = np.hstack([part, np.full((4_000, 1), 0.05)])
    wider = msgspec.structs.replace(
        log, actions=(*log.actions, "new"), target=whole, behaviour=np.hstack([log.behaviour, np.zeros((4_000, 1))])
    )
    modelled = np.hstack([rewards, np.full((4_000, 1), 0.3)])

    found = judge(wider, None, modelled)

    assert found.overlap.grade == "weak"
    assert found.overlap.unsupported == pytest.approx(0.05)
    assert found.value is not None
    assert found.value.interval.high - found.value.interval.low > 2.1 * 1.96 * found.value.se


@pytest.mark.parametrize(
    ("column", "value", "field", "says"),
    [
        ("probability", 0.0, "probability", "row 3: `probability` is 0"),
        ("probability", 1.5, "probability", "row 3: `probability` is 1.5"),
        ("reward", np.nan, "reward", "row 3: `reward` is no number"),
        ("action", 7, "action", "row 3: `action` names none of the 3 actions"),
    ],
)
def test_a_wrong_row_is_named(column: str, value: float, field: str, says: str) -> None:
    broken = getattr(SMALL, column).copy()
    broken[2] = value
    with pytest.raises(LogError, match=says) as caught:
        check_log(msgspec.structs.replace(SMALL, **{column: broken}))
    assert caught.value.field == field


def test_chances_that_do_not_sum_to_one_are_refused() -> None:
    target = TARGET.copy()
    target[1, 0] += 0.1
    with pytest.raises(LogError, match=r"row 2: the chances of `target` sum to 1\.1"):
        check_log(SMALL.under(target))


def test_quantiles_are_those_of_the_tables() -> None:
    assert normal_quantile(0.975) == pytest.approx(1.959963984540054, abs=1e-10)
    assert normal_quantile(0.01) == pytest.approx(-2.3263478740408408, abs=1e-10)
    assert t_quantile(0.975, 5) == pytest.approx(2.5705818366147395, abs=1e-6)
    assert t_quantile(0.975, 1) == pytest.approx(12.706204736, abs=1e-5)
    assert t_quantile(0.95, 30.5) == pytest.approx(1.6963, abs=1e-3)


def test_a_few_rows_that_dominate_leave_few_degrees_of_freedom() -> None:
    even = np.random.default_rng(0).normal(size=2_000)
    one = even.copy()
    one[0] = 500.0

    assert degrees_of_freedom(even, np.arange(2_000)) > 1_500
    assert degrees_of_freedom(one, np.arange(2_000)) < 4


def test_bootstrap_and_bernstein_agree_with_the_normal_one_and_are_never_narrower() -> None:
    log, _, _, _ = drawn(2_000, 9)
    rows = log.weight * log.reward
    se = standard_error(rows - rows.mean(), log.unit)

    again = bootstrap(rows, np.ones(2_000), log.unit, np.random.default_rng(0), times=400)
    bound = empirical_bernstein(rows, log.unit, 0.0, float(log.weight.max()))

    assert (again.high - again.low) / (2 * 1.96 * se) == pytest.approx(1.0, abs=0.15)
    assert bound.high - bound.low > 2 * 1.96 * se
