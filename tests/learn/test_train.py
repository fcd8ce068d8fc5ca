"""Training finds effects that are known to be there, says how sure it is, and repeats itself to the byte."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from simulated_purchases import NAMES, OFFERS, customer, truth, world

from opportune.adapters.sklearn.train import SklearnTrainer
from opportune.core.models import (
    LearnError,
    Scorecard,
    TrainingSet,
    card_hash,
    compile_scorecard,
    encode_card,
    model_card,
)
from opportune.core.playbook import ModelSpec
from opportune.flows.learning.learn import train

pytestmark = pytest.mark.slow

GATES = {"ece_max": 0.05, "qini_min": 0.0, "rows_min": 1000}
SPEC = ModelSpec(model="expansion", owner="data", features=NAMES, gates=GATES)


def learn(examples: TrainingSet, spec: ModelSpec = SPEC, offers: Sequence[str] = OFFERS) -> Scorecard:
    return train(spec, examples, offers, SklearnTrainer())


@pytest.fixture(scope="module")
def examples() -> TrainingSet:
    return world(9000)


@pytest.fixture(scope="module")
def card(examples: TrainingSet) -> Scorecard:
    return learn(examples)


def test_the_known_effects_are_found(card: Scorecard) -> None:
    model = compile_scorecard(card, OFFERS, NAMES)
    random = np.random.default_rng(99)
    people = [customer(random) for _ in range(1500)]
    scores = [model.score(values) for values in people]
    for index, offer in enumerate(OFFERS):
        pairs = [truth(values, offer) for values in people]
        true = np.array([with_it - without for with_it, without in pairs])
        found = np.array([one.uplift[index] for one in scores])
        error = np.array([one.uplift_se[index] for one in scores])
        assert np.corrcoef(found, true)[0, 1] > 0.7
        assert np.sqrt(((found - true) ** 2).mean()) < 0.08
        assert abs(found.mean() - true.mean()) < 0.05
        big = np.abs(true) > 0.1
        assert (np.sign(found[big]) == np.sign(true[big])).mean() > 0.95
        assert (np.abs(found - true) < 1.96 * error).mean() > 0.8
        accept = np.array([one.p_accept[index] for one in scores])
        assert np.sqrt(((accept - np.array([p for p, _ in pairs])) ** 2).mean()) < 0.09


def test_the_card_says_how_good_it_is_on_later_rows(card: Scorecard, examples: TrainingSet) -> None:
    metrics = card.training.metrics
    assert card.approved
    assert metrics["ece"] < 0.05
    assert metrics["auc"] > 0.65
    assert metrics["auuc"] > metrics["auuc_random"]
    assert metrics["gain_policy"] > metrics["gain_logged"]
    assert card.training.rows == 9000
    assert card.training.rows_fit == 6300
    assert card.training.evaluated_from_ms == examples.examples[7200].at_ms
    assert all(metrics[f"rows_offered.{offer}"] > 0 for offer in OFFERS)
    text = model_card(card)
    assert "| ece_max | ok | ece is " in text
    assert "| audit | plan | " in text


def test_the_same_log_gives_the_same_card(card: Scorecard, examples: TrainingSet) -> None:
    assert encode_card(learn(examples)) == encode_card(card)
    other = msgspec.structs.replace(examples, examples=examples.examples[:-1])
    assert card_hash(learn(other)) != card_hash(card)


def test_a_failing_gate_is_reported_and_the_card_is_not_approved(examples: TrainingSet) -> None:
    strict = msgspec.structs.replace(SPEC, gates={"ece_max": 0.0001, "rows_min": 100})
    card = learn(examples, strict)
    assert not card.approved
    assert [gate.passed for gate in card.training.gates] == [False, True]
    assert card.training.gates[0].message.startswith("ece is 0.0")


def test_groups_that_are_treated_otherwise_fail_a_gate_that_asks_for_it(examples: TrainingSet) -> None:
    gates = {"fairness_uplift_low_max": 0.01, "fairness_calibration_low_max": 0.05}
    card = learn(examples, msgspec.structs.replace(SPEC, gates=gates, protected=("plan",), segments=("vip",)))
    failed, passed = card.training.gates
    assert not failed.passed
    assert failed.message.startswith("fairness_uplift_low is 0.")
    assert passed.passed
    assert {row.group for row in card.training.report.fairness} == {"team", "business", "enterprise"}
    assert {row.group for row in card.training.report.segments} == {"yes", "no"}
    assert (card.training.algorithm, card.training.snapshot is not None) == ("additive", True)


def test_an_offer_with_too_few_rows_is_not_covered(examples: TrainingSet) -> None:
    few = tuple(row for index, row in enumerate(examples.examples) if row.offer != "yearly" or index % 60 == 0)
    card = learn(msgspec.structs.replace(examples, examples=few))
    assert [heads.offer for heads in card.offers] == ["seats_10", "audit"]


def test_without_an_effect_none_is_claimed(examples: TrainingSet) -> None:
    random = np.random.default_rng(5)
    blind = tuple(
        msgspec.structs.replace(row, bought=bool(random.random() < truth(row.values, row.offer)[1]))
        for row in examples.examples
    )
    model = compile_scorecard(learn(msgspec.structs.replace(examples, examples=blind)), OFFERS, NAMES)
    people = [customer(random) for _ in range(300)]
    found = np.array([model.score(values).uplift for values in people])
    errors = np.array([model.score(values).uplift_se for values in people])
    assert np.abs(found.mean(0)).max() < 0.06
    assert (np.abs(found) < 1.96 * errors).mean() > 0.85


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(LearnError, match="has 0 examples: none is left to judge it by"):
        learn(world(0))
    with pytest.raises(LearnError, match="no offer has 50 examples with it and 50 without"):
        learn(world(60))
    unsold = world(1000)
    rows = tuple(msgspec.structs.replace(row, bought=False) for row in unsold.examples)
    with pytest.raises(LearnError, match="nobody bought, or everybody did"):
        learn(msgspec.structs.replace(unsold, examples=rows))
