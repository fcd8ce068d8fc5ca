"""Where the truth is known: effects are found, intervals are honest, a confounded log misleads nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from benchmarks.known_effects import Found, figures, run

from opportune.adapters.sklearn.train import SklearnTrainer
from opportune.core.models import EVERY_OFFER, CompiledModel, Scorecard, compile_scorecard
from opportune.core.playbook import ModelSpec
from opportune.flows.learning.learn import train
from opportune.testing.world.effects import NAMES, OFFERS, KnownEffects, Settings, Values

pytestmark = pytest.mark.slow


def bias(runs: list[Found]) -> np.ndarray[Any, Any]:
    """Of each offer, the mean estimate less the mean truth, over all runs."""
    return np.array(np.mean([one.estimate.mean(0) - one.truth.mean(0) for one in runs], axis=0))


def test_effects_are_found_and_intervals_hold_them() -> None:
    found = figures([run(Settings(), seed, 6000, "additive") for seed in (1,)])
    assert found["rmse"] < found["of mean"]
    assert found["policy"] > 0.75
    assert found["90"] >= 88.0
    assert found["95"] >= 93.0
    assert found["99"] >= 97.5
    assert found["se"] < 3.0 * found["rmse"]  # not by saying nothing


def test_a_log_that_was_not_made_by_chance_misleads_a_comparison_and_not_the_model() -> None:
    settings = Settings(confounding=1.0)
    naive = bias([run(settings, seed, 8000, "naive") for seed in range(3)])
    ours = bias([run(settings, seed, 8000, "additive") for seed in range(3)])
    assert np.abs(naive).max() > 0.045
    assert np.abs(ours).max() < 0.03
    assert np.abs(ours).mean() < np.abs(naive).mean() / 2.0


def test_the_log_says_with_which_chance_each_row_was_made() -> None:
    log = KnownEffects(4, Settings(confounding=1.0)).log(20_000).examples
    for offer in OFFERS:
        for treated in (True, False):
            rows = [row for row in log if row.offer == offer and row.treated is treated]
            stand_for = sum(1.0 / row.probability for row in rows)
            assert stand_for == pytest.approx(20_000, rel=0.12)


def card_of(world: KnownEffects, target: str, rows: int) -> tuple[Scorecard, CompiledModel]:
    spec = ModelSpec(model="m", owner="o", features=NAMES, target=target)  # type: ignore[arg-type]  # a target by name
    card = train(spec, world.happened(rows, target), OFFERS, SklearnTrainer())
    offers = [EVERY_OFFER] if target == "churn_risk" else list(OFFERS)
    return card, compile_scorecard(card, offers, NAMES)


Truth = Callable[[KnownEffects, Values, str], float]
TARGETS: list[tuple[str, str, Truth, float]] = [
    ("acceptance", "chance", lambda world, values, offer: world.truth(values, offer)[0], 0.65),
    ("value", "amount", lambda world, values, offer: world.amount(values, offer), 0.9),
    ("fatigue", "chance", lambda world, values, offer: world.annoyed(values), 0.85),
    ("churn_risk", "chance", lambda world, values, offer: world.leaves(values), 0.85),
]


@pytest.mark.parametrize(("target", "form", "truth", "alike"), TARGETS)
def test_every_target_is_learned_calibrated_and_judged(target: str, form: str, truth: Truth, alike: float) -> None:
    world = KnownEffects(3)
    card, model = card_of(world, target, 5000)
    assert (card.form, card.target, card.approved) == (form, target, True)
    people = world.people(400, "others")
    scores = [model.score(values) for values in people]
    for place, offer in enumerate(model.offers):
        true = np.array([truth(world, values, offer) for values in people])
        said = np.array([one.p_accept[place] for one in scores])
        error = np.array([one.uplift_se[place] for one in scores])
        assert np.corrcoef(true, said)[0, 1] > alike
        assert said.mean() / true.mean() == pytest.approx(1.0, abs=0.25)
        off = np.abs(np.log(said / true)) if form == "amount" else np.abs(said - true)
        assert (off <= 1.96 * error).mean() > 0.9
    metrics = card.training.metrics
    if form == "amount":
        assert metrics["amount_ratio"] == pytest.approx(1.0, abs=0.2)
        assert metrics["mae"] < metrics["mae_of_mean"]
    else:
        assert metrics["auc"] > 0.58
        assert metrics["ece"] < 0.05
    assert {reason.offer for reason in card.training.report.reasons} == set(model.offers)
    assert card.training.report.curve == ()
