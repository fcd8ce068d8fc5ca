"""Arbitration: values by the formula, chances with the properties they promise, ties, overrides and the gate."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import numpy as np
import pytest
from exploring import CALM, MOMENT, brain_of, decisions, logged, questions
from hypothesis import given, settings
from hypothesis import strategies as st

from opportune.core.catalog import SafeDefault
from opportune.core.decisions.answers import answer_of, unrecorded_answer
from opportune.core.decisions.arbitration import scored_rows
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.choose import confidence, pick, probabilities
from opportune.core.decisions.kernel import run
from opportune.core.decisions.records import RECORD_VERSION, Asked, DecisionRecord, Result, Seen
from opportune.core.decisions.scenarios import Mishaps
from opportune.core.decisions.slates import too_unsure
from opportune.core.playbook import Arbitration, Exploration

OFF = Exploration(method="off")
ID = "01940000-0000-7000-8000-000000000001"
VALUES = st.lists(st.floats(-1e4, 1e4).map(lambda value: round(value, 4)), min_size=0, max_size=12).map(
    lambda found: np.array([*found, 0.0])
)
EXPLORATIONS = st.builds(
    Exploration, method=st.sampled_from(["inverse_gap", "floor_only", "off"]), gamma=st.floats(0.1, 500.0),
    value_scale=st.floats(1.0, 1000.0), floor=st.floats(0.0, 1.0),
)  # fmt: skip
ROUNDING = 2e-9


@given(VALUES, EXPLORATIONS)
def test_chances_are_chances(values: np.ndarray, exploration: Exploration) -> None:
    chances = probabilities(values, exploration)
    assert chances.sum() == pytest.approx(1.0, abs=len(values) * ROUNDING)
    assert (chances >= 0.0).all()
    assert (chances <= 1.0).all()


@given(VALUES, EXPLORATIONS)
def test_what_is_worth_more_has_no_smaller_chance(values: np.ndarray, exploration: Exploration) -> None:
    chances = probabilities(values, exploration)
    order = np.argsort(values, kind="stable")
    assert (np.diff(chances[order]) >= -ROUNDING).all() or exploration.method == "off" or len(set(values)) < len(values)
    assert chances.max() == chances[values.argmax()]


@given(VALUES, EXPLORATIONS)
def test_the_floor_holds_for_everybody(values: np.ndarray, exploration: Exploration) -> None:
    if exploration.method != "off" and len(values) > 1:
        assert (probabilities(values, exploration) >= exploration.floor / len(values) - ROUNDING).all()


@given(VALUES, EXPLORATIONS, st.randoms(use_true_random=False))
def test_the_order_of_candidates_changes_no_chance_but_that_of_ties(
    values: np.ndarray, exploration: Exploration, rng: random.Random
) -> None:
    places = list(range(len(values)))
    rng.shuffle(places)
    if len(set(values)) == len(values):
        chances = probabilities(values, exploration)[places]
        assert probabilities(values[places], exploration).tolist() == chances.tolist()
    else:
        ordered = sorted(probabilities(values[places], exploration).tolist())
        assert ordered == pytest.approx(sorted(probabilities(values, exploration).tolist()), abs=ROUNDING)


@given(VALUES, EXPLORATIONS, st.randoms(use_true_random=False))
def test_what_is_not_to_be_explored_has_a_chance_only_as_the_best(
    values: np.ndarray, exploration: Exploration, rng: random.Random
) -> None:
    unexplored = np.array([rng.random() < 0.5 for _ in values])
    chances = probabilities(values, exploration, unexplored)
    best = int(values.argmax())
    assert all(chance == 0.0 for place, chance in enumerate(chances) if unexplored[place] and place != best)
    open_ = [place for place in range(len(values)) if not unexplored[place] or place == best]
    assert chances[open_].tolist() == probabilities(values[open_], exploration).tolist()


@given(VALUES, EXPLORATIONS, st.floats(0.0, 1.0, exclude_max=True))
def test_a_draw_falls_only_on_what_has_a_chance(values: np.ndarray, exploration: Exploration, drawn: float) -> None:
    chances = probabilities(values, exploration)
    assert chances[pick(chances, drawn)] > 0.0


def test_the_closed_form_by_hand() -> None:
    # K = 3, gamma / scale = 0.2: 1 / (3 + 0.2 x 30) = 1/9 and 1 / (3 + 0.2 x 50) = 1/13
    found = probabilities(np.array([20.0, 50.0, 0.0]), Exploration(gamma=20.0, value_scale=100.0, floor=0.0))
    assert found.tolist() == pytest.approx([1 / 9, 1 - 1 / 9 - 1 / 13, 1 / 13], abs=ROUNDING)
    floored = probabilities(np.array([20.0, 50.0, 0.0]), Exploration(gamma=20.0, value_scale=100.0, floor=0.03))
    assert floored.tolist() == pytest.approx([0.97 * chance + 0.01 for chance in found], abs=ROUNDING)


def by_formula(brain: Brain, asked: Asked, seen: Seen, index: int) -> float:
    """What a candidate is worth, worked out another way: in decimal words, from the documents themselves."""
    candidate = brain.candidates[index]
    offer, channel = candidate.offer, candidate.channel
    lever = seen.features["used"] * 0.5 - 12.0 if offer.kind == "addon" else 0.0
    if brain.app.arbitration.method == "pcvl":
        weights = brain.moments[asked.moment].weights
        weight = weights.get(offer.offer, weights.get(offer.kind, 1.0))
        return offer.prior.p_accept * weight * offer.margin * offer.lever + lever
    week = sum(
        1 for scope, _, where, age_ms in seen.contacts
        if scope == "person" and where == channel.channel and age_ms < 7 * 86_400_000
    )  # fmt: skip
    costs = offer.contact_cost + channel.contact_cost + channel.fatigue_cost * week
    return offer.prior.uplift * offer.margin - costs + lever


@pytest.mark.parametrize("method", ["value", "pcvl"])
def test_every_value_is_that_of_the_formula(method: Any) -> None:
    brain = brain_of(OFF, Arbitration(method=method))
    rows = 0
    for question in questions(brain, 300, 7):
        result = run(brain, question.asked, question.seen, ID, CALM)
        for row in scored_rows(brain, result.scored, question.seen, result.model):
            assert row.value == pytest.approx(by_formula(brain, question.asked, question.seen, row.index), abs=6e-5)
            rows += 1
    assert rows > 500


def test_without_exploration_the_best_wins_and_nothing_beats_what_is_worth_less() -> None:
    brain = brain_of(OFF, Arbitration())
    seen_none = 0
    tiring = (("person", "gone", "app", 3 * 86_400_000),) * 14  # each costs 3: 42 in all
    for number, question in enumerate(questions(brain, 400, 8)):
        seen = question.seen
        if number % 2:
            seen = msgspec.structs.replace(seen, contacts=(*seen.contacts, *tiring))
        result = run(brain, question.asked, seen, ID, CALM)
        log = logged(brain, result)
        if result.forced or len(log.values) == 1:
            continue
        assert log.values[log.chosen] == max(log.values.values())
        if log.chosen == "NO_OFFER":
            assert result.reason == "NO_VALUE"
            seen_none += 1
    assert seen_none > 5


def test_a_tie_goes_to_the_first_of_the_playbook() -> None:
    """`twin_a` and `twin_b` are worth the same in every decision."""
    brain = brain_of(OFF, Arbitration())
    won: list[str] = []
    for question in questions(brain, 600, 9):
        result = run(brain, question.asked, question.seen, ID, CALM)
        log = logged(brain, result)
        if not result.forced and log.chosen.startswith("twin_"):
            won.append(log.chosen)
            if log.chosen.startswith("twin_b"):
                assert log.chosen.replace("twin_b", "twin_a") not in log.values, "only where the first was held back"
    assert sum(one.startswith("twin_a") for one in won) > 50
    assert any(one.startswith("twin_b") for one in won)


def test_an_override_is_flagged_certain_and_keeps_the_gates() -> None:
    brain = brain_of(Exploration(floor=0.5), Arbitration())
    forced = 0
    for place, result in decisions(brain, questions(brain, 400, 10), 400):
        assert bool(result.forced) == (result.reason == "FORCED" or (bool(result.forced) and result.holdout)), place
        if result.forced:
            forced += 1
            assert (result.forced, result.action_probability) == (("force",), 1.0)
            assert (result.offer or (result.would or "").partition("@")[0]) == "sorry"
    assert forced > 5


@given(st.floats(-100.0, 100.0), st.floats(0.0, 100.0))
def test_confidence_is_a_chance_that_grows_with_the_value(value: float, spread: float) -> None:
    sure = confidence(value, spread)
    assert 0.0 <= sure <= 1.0
    assert confidence(value + 1.0, spread) >= sure


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
@settings(max_examples=50)
def test_a_least_confidence_of_one_means_always(least: float, sure: float) -> None:
    brain = brain_of(OFF, Arbitration(), {"medium": 1.0, "low": least})
    by_risk = {one.offer.risk: one for one in brain.candidates}
    assert too_unsure(brain, by_risk["medium"], sure)
    assert too_unsure(brain, by_risk["low"], sure) == (sure < least or least == 1.0)


def test_a_high_value_is_sure_to_six_digits_and_goes_to_a_person_all_the_same() -> None:
    brain = brain_of(OFF, Arbitration(), {"low": 1.0, "medium": 1.0})
    found = {run(brain, one.asked, one.seen, ID, CALM).disposition for one in questions(brain, 200, 11)}
    assert "offered" not in found
    assert "escalated" in found


SAFE = SafeDefault(headline="Welcome", body="Here is your page.")


@pytest.mark.parametrize(
    ("faults", "share", "disposition"),
    [((), 1.0, "held_out"), (("assign:open",), 0.0, "shed"), (("shortlist:late",), 0.0, "fallback"), ((), 0.0, "")],
)
def test_the_safe_default_is_shown_whenever_nothing_is(
    faults: tuple[str, ...], share: float, disposition: str
) -> None:
    brain = brain_of(OFF, Arbitration(same_kind_max=2))
    moment = msgspec.structs.replace(brain.moments[MOMENT], safe_default=SAFE)
    holdout = msgspec.structs.replace(brain.app.holdout, share=share)
    app = msgspec.structs.replace(brain.app, holdout=holdout)
    brain = msgspec.structs.replace(brain, app=app, moments={MOMENT: moment})
    shown = 0
    for question in questions(brain, 60, 12, limit=3):
        result = run(brain, question.asked, question.seen, ID, Mishaps(faults))
        answer = answer_of(brain, _record(brain, question.asked, question.seen, result), preview=True)
        assert (answer.safe_default is None) == (answer.offer is not None)
        if answer.offer is None:
            assert answer.safe_default == SAFE
            assert answer.slate == ()
            shown += result.disposition == disposition or not disposition
    assert shown > 10
    assert unrecorded_answer(brain, MOMENT, "c1", ("record",)).safe_default == SAFE


def _record(brain: Brain, asked: Asked, seen: Seen, result: Result) -> DecisionRecord:
    return DecisionRecord(RECORD_VERSION, ID, brain.release, brain.app.region, asked, seen, (), (), result)
