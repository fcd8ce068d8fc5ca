"""The learners over LightGBM find effects that are there, none where there is none, and say how sure they are."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from simulated_purchases import NAMES, OFFERS, TYPES, customer, truth, world

from opportune.adapters.lightgbm import ALGORITHMS, LightgbmTrainer
from opportune.adapters.lightgbm.distil import distilled
from opportune.adapters.lightgbm.learners import Kit, Rows
from opportune.adapters.lightgbm.settings import Settings, read_settings
from opportune.adapters.lightgbm.stack import PRIOR, q_aggregation
from opportune.adapters.lightgbm.train import rows_of
from opportune.core.models import (
    Calibration,
    CompiledModel,
    Example,
    Fit,
    LearnError,
    Scorecard,
    Training,
    TrainingSet,
    compile_scorecard,
    encode_card,
)
from opportune.core.playbook import ModelSpec
from opportune.flows.learning.learn import train

pytestmark = pytest.mark.slow

NOTHING = Training("", 0, 0, 0, 0, 0, 0, 0, "14d", 20.0, {}, {}, {}, (), (), "")


def card_of(fit: Fit) -> Scorecard:
    return Scorecard(1, "m", "o", "", fit.features, fit.offers, Calibration(), NOTHING, True, fit.form)


def served(fit: Fit) -> CompiledModel:
    return compile_scorecard(card_of(fit), [heads.offer for heads in fit.offers], NAMES)


def estimates(model: CompiledModel, people: list[tuple[object, ...]]) -> tuple[np.ndarray, np.ndarray]:
    scores = [model.score(values) for values in people]
    return np.array([one.uplift for one in scores]), np.array([one.uplift_se for one in scores])


@pytest.fixture(scope="module")
def examples() -> TrainingSet:
    return world(7000)


@pytest.fixture(scope="module")
def fits(examples: TrainingSet) -> dict[str, Fit]:
    return {name: LightgbmTrainer(name, {"replicates": 4}).fit(examples, OFFERS) for name in ALGORITHMS}


@pytest.fixture(scope="module")
def people() -> list[tuple[object, ...]]:
    random = np.random.default_rng(99)
    return [customer(random) for _ in range(800)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_known_effects_are_found_and_intervals_hold_them(
    algorithm: str, fits: dict[str, Fit], people: list[tuple[object, ...]]
) -> None:
    found, error = estimates(served(fits[algorithm]), people)
    true = np.array([[np.subtract(*truth(values, offer)) for offer in OFFERS] for values in people])
    assert fits[algorithm].form == ("odds" if algorithm in ("s_learner", "t_learner") else "effect")
    for place in range(len(OFFERS)):
        assert np.corrcoef(found[:, place], true[:, place])[0, 1] > 0.5
        assert abs(found[:, place].mean() - true[:, place].mean()) < 0.05
    held = (np.abs(found - true) < 1.96 * error).mean()
    assert 0.8 < held <= 1.0
    assert error.mean() < 0.13


def test_the_stack_is_nearer_to_the_truth_than_its_members(
    fits: dict[str, Fit], people: list[tuple[object, ...]]
) -> None:
    true = np.array([[np.subtract(*truth(values, offer)) for offer in OFFERS] for values in people])

    def off(algorithm: str) -> float:
        return float(np.sqrt(((estimates(served(fits[algorithm]), people)[0] - true) ** 2).mean()))

    assert off("stacked") < min(off(name) for name in ALGORITHMS if name != "stacked")


def test_without_an_effect_none_is_claimed(examples: TrainingSet, people: list[tuple[object, ...]]) -> None:
    random = np.random.default_rng(5)
    blind = tuple(
        msgspec.structs.replace(row, bought=bool(random.random() < truth(row.values, row.offer)[1]))
        for row in examples.examples
    )
    found, error = estimates(
        served(LightgbmTrainer("stacked").fit(msgspec.structs.replace(examples, examples=blind), OFFERS)), people
    )
    assert np.abs(found.mean(0)).max() < 0.05
    assert found.std(0).max() < 0.06
    assert (np.abs(found) < 1.96 * error).mean() > 0.85


@pytest.mark.parametrize("algorithm", ["stacked", "dr_learner"])
def test_a_biased_log_gives_unbiased_effects_through_its_probabilities(algorithm: str) -> None:
    """Customers who buy anyway were offered more: it seems to help; the probabilities say that it does not."""
    random = np.random.default_rng(11)
    rows = []
    for at in range(8000):
        keen = float(random.random())
        offered = 0.15 + 0.7 * keen
        treated = bool(random.random() < offered)
        bought = bool(random.random() < 0.1 + 0.6 * keen)
        values = (int(random.integers(1, 50)), round(keen, 2), "team", 1, False, None)
        rows.append(Example(at, f"u{at}", "audit", treated, offered if treated else 1.0 - offered, bought, values))
    learned = TrainingSet(NAMES, TYPES, tuple(rows), 1)
    got, on = np.array([row.bought for row in rows]), np.array([row.treated for row in rows])
    naive = got[on].mean() - got[~on].mean()
    asked: list[tuple[object, ...]] = [
        (20, round(float(keen), 2), "team", 1, False, None) for keen in np.linspace(0.02, 0.98, 80)
    ]
    found, error = estimates(served(LightgbmTrainer(algorithm, {"replicates": 4}).fit(learned, ("audit",))), asked)
    assert naive > 0.12
    assert abs(found.mean()) < 0.03
    assert (np.abs(found) < 2.0 * error).mean() > 0.8


def test_a_pattern_that_no_table_can_say_is_found_by_the_trees_of_the_stack() -> None:
    random = np.random.default_rng(21)
    rows = []
    for at in range(16000):
        ratio, vip, treated = float(random.random()), bool(random.random() < 0.5), bool(random.random() < 0.5)
        helps = 0.4 * ((ratio > 0.5) != vip)
        got = bool(random.random() < 0.2 + treated * helps)
        rows.append(Example(at, f"u{at}", "audit", treated, 0.5, got, (3, ratio, "team", 1, vip, None)))
    fit = LightgbmTrainer("stacked").fit(TrainingSet(NAMES, TYPES, tuple(rows), 1), ("audit",))
    asked: list[tuple[object, ...]] = [
        (3, ratio, "team", 1, vip, None) for ratio in (0.2, 0.4, 0.6, 0.8) for vip in (False, True)
    ]
    found, _ = estimates(served(fit), asked)
    true = np.array([0.4 * ((float(str(one[1])) > 0.5) != one[4]) for one in asked])
    assert fit.offers[0].offered.trees
    assert np.abs(found[:, 0] - true).max() < 0.1


def test_the_same_rows_give_the_same_bytes_and_a_seed_others() -> None:
    few = world(800)
    first, again = (LightgbmTrainer("stacked").fit(few, OFFERS) for _ in range(2))
    other = LightgbmTrainer("stacked", {"seed": 5}).fit(few, OFFERS)
    assert encode_card(card_of(first)) == encode_card(card_of(again))
    assert encode_card(card_of(first)) != encode_card(card_of(other))


def test_the_whole_of_training_takes_a_learner(examples: TrainingSet) -> None:
    spec = ModelSpec(model="m", owner="data", features=NAMES, algorithm="stacked", gates={"qini_min": 0.0})
    few = msgspec.structs.replace(examples, examples=examples.examples[:4000])
    card = train(spec, few, OFFERS, LightgbmTrainer(spec.algorithm, spec.settings))
    assert card.form == "effect"
    assert card.training.metrics["qini"] > 0.0
    assert card.training.trainer.startswith("stacked of trees, lightgbm ")


def test_what_is_distilled_is_near_what_it_comes_from(examples: TrainingSet) -> None:
    few = msgspec.structs.replace(examples, examples=examples.examples[:3000])
    rows, code = rows_of(few, OFFERS)
    ratio = rows.bins[:, [table.name for table in code.tables].index("seat_ratio")]
    plain = distilled(rows, np.asarray(0.01 * ratio, np.float64), Kit(code, Settings()))
    assert plain.explained > 0.99
    assert not plain.head.trees
    crossed = distilled(rows, np.asarray(0.01 * ratio * (rows.bins[:, 0] > 20), np.float64), Kit(code, Settings()))
    assert crossed.explained > 0.99
    assert crossed.head.trees


def test_weights_go_to_who_is_right_and_stay_with_the_simple_without_evidence() -> None:
    random = np.random.default_rng(1)
    true = random.normal(size=20_000)
    told = np.column_stack([np.zeros(20_000), true[::-1], 0.02 * true[::-1], 0.5 * true, 0.9 * true, -true])
    weight = np.ones(20_000)
    found = q_aggregation(told, true + random.normal(size=20_000), weight, np.array(PRIOR))
    assert found.min() >= 0.0
    assert found.sum() == pytest.approx(1.0)
    assert found[4] > 0.9
    noise = q_aggregation(0.01 * random.normal(size=(500, 6)), random.normal(size=500), np.ones(500), np.array(PRIOR))
    assert noise[0] > 0.99


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_leafs": 7}, "setting `num_leafs` is unknown: did you mean `num_leaves`?"),
        ({"objective_function": "x"}, "is unknown: known are num_iterations, "),
        ({"num_leaves": 65}, "setting `num_leaves` is `65`: give a whole number from 2 to 64"),
        ({"num_iterations": 2.5}, "setting `num_iterations` is `2.5`: give a whole number from 1 to 2000"),
        ({"learning_rate": True}, "setting `learning_rate` is `True`: give a number from 0.001 to 1"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, bool | int | float | str], message: str) -> None:
    with pytest.raises(LearnError) as raised:
        read_settings(settings)
    assert message in str(raised.value)


def nobody_buys(row: Example) -> Example:
    return msgspec.structs.replace(row, bought=False)


def nothing_varies(row: Example) -> Example:
    return msgspec.structs.replace(row, values=(1, 0.5, "team", 1, True, None))


@pytest.mark.parametrize(
    ("rows", "change", "target", "message"),
    [
        (60, lambda row: row, "uplift", "no offer has 50 examples with it and 50 without"),
        (2000, nobody_buys, "uplift", "nobody bought, or everybody did"),
        (2000, nothing_varies, "uplift", "no feature varies over the examples"),
        (2000, lambda row: row, "churn_risk", "learns uplift, not churn_risk: take `additive` or `ebm`"),
    ],
)
def test_what_cannot_be_learned_is_said(
    rows: int, change: Callable[[Example], Example], target: str, message: str
) -> None:
    whole = world(rows)
    learned = msgspec.structs.replace(whole, target=target, examples=tuple(change(row) for row in whole.examples))
    with pytest.raises(LearnError, match=message):
        LightgbmTrainer("stacked").fit(learned, OFFERS)


def test_rows_are_weighed_within_each_side(examples: TrainingSet) -> None:
    rows, _ = rows_of(examples, OFFERS)
    assert isinstance(rows, Rows)
    for place in range(len(OFFERS)):
        mine = rows.some(rows.place == place)
        assert mine.share == pytest.approx(mine.treated.mean())
