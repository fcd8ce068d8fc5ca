"""The glass box is served as it was learned: the machine's own numbers and reasons, to a billionth; every target."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from opportune.adapters.ebm.tables import CATEGORIES_MAX, fed, head_of, predicted, types_of
from opportune.adapters.ebm.train import EbmTrainer
from opportune.core.models import (
    EVERY_OFFER,
    AdditiveHead,
    Calibration,
    LearnError,
    OfferHeads,
    Scorecard,
    TrainingSet,
    card_hash,
    compile_scorecard,
)
from opportune.core.models.binning import bins_of, feature_tables
from opportune.core.playbook import ModelSpec
from opportune.flows.learning.learn import train
from opportune.testing.world.effects import NAMES, KnownEffects

pytestmark = pytest.mark.slow

OFFERS = ("seats_10", "addon_support")
SMALL: dict[str, Any] = {"outer_bags": 4, "max_rounds": 300, "interactions": 2}
SPEC = ModelSpec(model="glass", owner="data", features=NAMES, algorithm="ebm")


@pytest.fixture(scope="module")
def examples() -> TrainingSet:
    return KnownEffects(3).log(3000, OFFERS)


@pytest.fixture(scope="module")
def card(examples: TrainingSet) -> Scorecard:
    return train(SPEC, examples, OFFERS, EbmTrainer(SMALL))


def test_a_card_says_what_the_machine_says_and_explains_it_alike(examples: TrainingSet, card: Scorecard) -> None:
    from interpret.glassbox import ExplainableBoostingClassifier

    tables = feature_tables(examples, 30, CATEGORIES_MAX)
    bins = bins_of(tables, examples.feature_names, examples.examples)
    machine = ExplainableBoostingClassifier(
        feature_names=[table.name for table in tables], feature_types=types_of(tables), outer_bags=2, max_rounds=300,
        interactions=3, max_interaction_bins=8, n_jobs=1, random_state=1,
    )  # fmt: skip
    machine.fit(fed(tables, bins), [row.bought for row in examples.examples])
    head = head_of(machine, tables)
    flat = AdditiveHead(0.0, tuple((0.0,) * table.bin_count for table in tables))
    heads = OfferHeads("any", head, flat, flat, 1, 1, 1, 1)
    served = Scorecard(1, "m", "o", "s", tables, (heads,), Calibration(), card.training, True, "chance")
    model = compile_scorecard(served, ["any"], examples.feature_names)
    unseen = ("never seen", float("nan"), None, -1e9, 1e9, True)
    odd = [tuple(unseen[(at + shift) % 6] for at in range(len(NAMES))) for shift in range(6)]
    rows = [*(row.values for row in examples.examples[:300]), *odd]
    asked = fed(tables, np.array([[t.bin_of(row[NAMES.index(t.name)]) for t in tables] for row in rows]))
    own = machine.predict_proba(asked)[:, 1]
    local = machine.explain_local(asked)
    assert any(len(features) == 2 for features in machine.term_features_)
    for at, row in enumerate(rows):
        scores = model.score(row)
        assert scores.p_accept[0] == pytest.approx(own[at], abs=1.1e-9)
        parts = dict.fromkeys((table.name for table in tables), 0.0)
        for features, part in zip(machine.term_features_, local.data(at)["scores"], strict=True):
            for feature in features:
                parts[tables[feature].name] += part / len(features)
        ours = dict(model.explain(scores, 0, top=99))
        for name, part in parts.items():
            assert ours.get(name, 0.0) == pytest.approx(part, abs=3e-9)
        assert model.effect_base(0) == pytest.approx(float(machine.intercept_[0]), abs=1e-9)


def test_the_effects_are_found_and_how_sure_they_are(card: Scorecard) -> None:
    world = KnownEffects(3)
    model = compile_scorecard(card, OFFERS, NAMES)
    people = world.people(500, "judges")
    scores = [model.score(values) for values in people]
    assert card.form == "effect"
    for place, offer in enumerate(OFFERS):
        true = np.array([np.subtract(*world.truth(values, offer)) for values in people])
        found = np.array([one.uplift[place] for one in scores])
        error = np.array([one.uplift_se[place] for one in scores])
        assert np.corrcoef(found, true)[0, 1] > 0.4
        assert abs(found.mean() - true.mean()) < 0.06
        assert (np.abs(found - true) < 1.96 * error).mean() > 0.7


def test_the_same_rows_and_settings_give_the_same_card(examples: TrainingSet, card: Scorecard) -> None:
    assert card_hash(train(SPEC, examples, OFFERS, EbmTrainer(SMALL))) == card_hash(card)


@pytest.mark.parametrize("target", ["acceptance", "value", "churn_risk"])
def test_other_targets_are_one_number(target: str) -> None:
    happened = KnownEffects(4).happened(1500, target)
    offers = (EVERY_OFFER,) if target == "churn_risk" else OFFERS
    fit = EbmTrainer(SMALL).fit(happened, offers)
    assert fit.form == ("amount" if target == "value" else "chance")
    assert [heads.offer for heads in fit.offers] == list(offers)


def test_amounts_are_right_on_average() -> None:
    happened = KnownEffects(4).happened(3000, "value")
    fit = EbmTrainer(SMALL).fit(happened, OFFERS)
    for heads in fit.offers:
        mine = [row for row in happened.examples if row.offer == heads.offer]
        bins = bins_of(fit.features, happened.feature_names, mine)
        expected = float(np.exp(predicted(heads.offered, bins)).mean())
        assert expected == pytest.approx(sum(row.amount for row in mine) / len(mine), rel=1e-9)


def test_what_may_only_rise_does(examples: TrainingSet) -> None:
    trainer = EbmTrainer({**SMALL, "increasing": "seats", "style": "t", "interactions": 0})
    fit = trainer.fit(examples, OFFERS[:1])
    at = [table.name for table in fit.features].index("seats")
    for head in (fit.offers[0].offered, fit.offers[0].baseline):
        assert list(head.parts[at][1:]) == sorted(head.parts[at][1:])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bags": 3}, "algorithm ebm has no setting `bags`: there are decreasing, early_stopping_rounds"),
        ({"style": "x"}, "setting `style` of algorithm ebm is `x`: it may be dr or t"),
        ({"outer_bags": 2.5}, "setting `outer_bags` of algorithm ebm must be a number, not 2.5"),
    ],
)
def test_settings_that_are_none_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LearnError, match=message):
        EbmTrainer(settings)


def test_too_few_rows_and_a_missing_library_say_what_to_do(
    examples: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LearnError, match="no offer has 50 examples to learn uplift from and as many without"):
        EbmTrainer().fit(examples, ["nobodys"])
    monkeypatch.setitem(sys.modules, "interpret.glassbox", None)
    with pytest.raises(LearnError, match=r"algorithm ebm needs InterpretML: install opportune\[glassbox\]"):
        EbmTrainer().fit(examples, OFFERS)
