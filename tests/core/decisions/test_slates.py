"""Slates: each offer once, one channel, no more of a kind than said, and within what limits leave."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from exploring import CALM, Question, brain_of, decisions, questions, slate_agreement

from opportune.core.contacts import over_limits
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.kernel import run
from opportune.core.decisions.records import Result
from opportune.core.decisions.shortlist import shortlist, to_review
from opportune.core.playbook import Arbitration, Exploration

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`: chance needs numbers."""

LIMIT = 4


def answers(brain: Brain, count: int = 1500) -> list[tuple[Question, Result]]:
    asked = questions(brain, 300, 21, LIMIT)
    return [(asked[place], result) for place, result in decisions(brain, asked, count)]


def shown(result: Result) -> list[str]:
    return [str(result.offer), *(pick.offer for pick in result.slate)]


@pytest.mark.parametrize("same_kind_max", [1, 2])
def test_what_a_slate_holds(same_kind_max: int) -> None:
    brain = brain_of(Exploration(floor=0.3), Arbitration(same_kind_max=same_kind_max))
    kinds = {one.offer.offer: one.offer.kind for one in brain.candidates}
    lengths: Counter[int] = Counter()
    for question, result in answers(brain):
        if result.disposition != "offered":
            assert result.slate == ()
            continue
        offers = shown(result)
        lengths[len(offers)] += 1
        assert len(offers) <= LIMIT
        assert len(set(offers)) == len(offers)
        assert {pick.channel for pick in result.slate} <= {result.channel}
        assert max(Counter(kinds[offer] for offer in offers).values()) <= same_kind_max
        listed = shortlist(brain, question.asked, question.seen)
        ids = {f"{one.offer.offer}@{one.channel.channel}": one.index for one in brain.candidates}
        for offer in offers:
            assert listed.left >> ids[f"{offer}@{result.channel}"] & 1, "what is shown was allowed"
            assert not to_review(listed) >> ids[f"{offer}@{result.channel}"] & 1
    assert lengths[1]
    assert lengths[2]
    assert lengths[3]


def test_limits_count_what_is_shown_beside() -> None:
    """With the offers shown counted as contacts of now, each but the last left room for one more."""
    brain = brain_of(Exploration(floor=0.3), Arbitration(same_kind_max=3))
    used_up = 0
    for question, result in answers(brain):
        if result.disposition != "offered":
            continue
        contacts = list(question.seen.contacts)
        for offer in shown(result):
            held = dict(over_limits(brain.limits, contacts, brain.offer_masks))
            index = next(
                one.index for one in brain.candidates
                if (one.offer.offer, one.channel.channel) == (offer, result.channel)
            )  # fmt: skip
            assert not any(mask >> index & 1 for mask in held.values()), held
            contacts += [("person", offer, str(result.channel), 0), ("account", offer, str(result.channel), 0)]
        used_up += any(rule == "app.daily" for rule, _ in over_limits(brain.limits, contacts, brain.offer_masks))
    assert used_up > 20


def test_what_everybody_may_still_have_counts_too() -> None:
    brain = brain_of(Exploration(floor=0.3), Arbitration(same_kind_max=3))
    for question, result in answers(brain):
        if question.seen.room.get("limits.seats_volume") == 0.0 and result.offer:
            assert "seats" not in shown(result)


def test_the_first_of_a_slate_is_what_would_be_offered_alone() -> None:
    brain = brain_of(Exploration(floor=0.3), Arbitration(same_kind_max=2))
    many, one = questions(brain, 200, 22, LIMIT), questions(brain, 200, 22, 1)
    for (_, slate), (_, alone) in zip(decisions(brain, many, 600), decisions(brain, one, 600), strict=True):
        assert (slate.disposition, slate.offer, slate.channel, slate.action_probability, slate.scored) == (
            alone.disposition, alone.offer, alone.channel, alone.action_probability, alone.scored
        )  # fmt: skip
        assert alone.slate == ()


def test_places_are_filled_from_the_best_down_without_exploration() -> None:
    brain = brain_of(Exploration(method="off"), Arbitration(same_kind_max=3))
    for question in questions(brain, 300, 23, LIMIT):
        result = run(brain, question.asked, question.seen, "01940000-0000-7000-8000-000000000001", CALM)
        values = [pick.value for pick in result.slate]
        assert values == sorted(values, reverse=True)
        assert all(value >= 0.0 for value in values)
        assert all(pick.action_probability == 1.0 for pick in result.slate)


def test_what_needs_a_person_is_set_aside_before_chance_falls() -> None:
    """Seats always need a person: they are in no slate, and the chances of the others are exact without them."""
    brain = brain_of(Exploration(method="floor_only", floor=0.6), Arbitration(same_kind_max=3), {"medium": 1.0})
    asked = questions(brain, 12, 24, 3)
    for _, result in decisions(brain, asked, 600):
        assert "seats" not in [pick.offer for pick in result.slate]
    found = slate_agreement(brain, asked, 4_000)
    assert found.freedom > 10
    assert found.p > 0.001
    assert math.isfinite(found.statistic)
