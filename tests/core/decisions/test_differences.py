"""Differences between decisions as recorded and as they would be: what is counted, and what is kept of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from opportune.core.catalog import Channel, Moment, Offer, Price, Prior, Treatment
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.differences import OTHER_SEGMENTS, SEGMENTS_MAX, Pair, differences, segment_of
from opportune.core.decisions.kernel import run
from opportune.core.decisions.records import RECORD_VERSION, Asked, DecisionRecord, Seen
from opportune.core.features import FeatureSpec, FeatureView, compile_views
from opportune.core.playbook import App, Exploration, Holdout, Playbook
from opportune.core.policies import Policy, compile_policies
from opportune.core.releases import compile_brain
from opportune.flows.decide import RecordedProbe


def offer(name: str, margin: float) -> Offer:
    return Offer(
        offer=name, title=name, kind="addon", price=Price(amount=10), margin=margin, owner="tests",
        treatments={"in_app": Treatment(headline=name)}, prior=Prior(p_accept=0.2, uplift=0.1),
    )  # fmt: skip


def brain(*offers: Offer, rule: str = "false", name: str = "r1") -> Brain:
    views = (
        FeatureView(view="v", version=1, entity="person", owner="t", purposes=("marketing",), features=(
            FeatureSpec(id="used", sources="use", aggregate="count", window="7d", hop="1d"),
        )),
    )  # fmt: skip
    book = Playbook(
        app=App(project="t", holdout=Holdout(share=0.0, salt="t"), exploration=Exploration(method="off"),
                moments=(Moment(moment="m", title="m", channels=("in_app",)),)),
        offers=offers or (offer("seats", 500), offer("addon", 300)),
        channels=(Channel(channel="in_app", title="Banner", kind="pull"),), views=views, contracts=(),
        policies=(
            Policy(id="open", effect="permit", class_="commercial", reason="open", owner="t"),
            Policy(id="busy", effect="forbid", class_="suitability", when=rule, reason="busy", owner="t"),
        ),
    )  # fmt: skip
    return compile_brain(name, book, (), compile_views(views, {"use": {}}))


def record(brain: Brain, id_: str, used: Any, **asked: Any) -> DecisionRecord:
    question = Asked("ada", "m", ("in_app",), **asked)
    seen = Seen(1_780_000_000_000, None, "ada", {"used": used}, {}, {"marketing/in_app": "given"})
    result = run(brain, question, seen, id_, RecordedProbe(()))
    return DecisionRecord(RECORD_VERSION, id_, brain.release, "eu", question, seen, (), (), result)


def pair(before: Brain, after: Brain, id_: str, used: Any, **asked: Any) -> Pair:
    one = record(before, id_, used, **asked)
    return Pair(before, one, after, record(after, id_, used, **asked))


def test_what_is_the_same_has_no_difference() -> None:
    one = brain()

    found = differences([pair(one, one, f"d{n}", n) for n in range(5)])

    assert (found.of, found.changed, found.dispositions, found.offers, found.policies) == (5, 0, (), (), ())
    assert found.value_before == found.value_after == 250.0


def test_a_rule_that_holds_back_more_is_named_with_what_it_takes() -> None:
    before, after = brain(), brain(rule="used > 2 && offer.id == 'seats'", name="r2")

    found = differences([pair(before, after, f"d{n}", n) for n in range(5)], by="used")

    assert (found.changed, found.dispositions) == (2, ())
    assert [(one.before, one.after, one.count, one.examples) for one in found.offers] == [
        ("seats@in_app", "addon@in_app", 2, ("d3", "d4"))
    ]
    (rule,) = found.policies
    assert (rule.rule, rule.stage, rule.holds_back, rule.lost, rule.frees, rule.won) == (
        "busy", "suitability", 2, 2, 0, 0
    )  # fmt: skip
    assert (rule.decisions, rule.examples) == (2, ("d3", "d4"))
    assert (found.value_before, found.value_after) == (250.0, 210.0)
    assert {one.segment: (one.of, one.changed) for one in found.segments} == {
        "2 up to 5": (3, 2), "1 up to 2": (1, 0), "0": (1, 0)
    }  # fmt: skip


def test_a_rule_that_frees_is_told_from_one_behind_which_another_stands() -> None:
    closed = brain(rule="true")
    freed = differences([pair(closed, brain(name="r2"), "d", 1)])

    assert [(one.rule, one.frees, one.won) for one in freed.policies] == [("busy", 2, 2)]
    assert [(one.before, one.after) for one in freed.dispositions] == [("no_offer", "offered")]
    assert [(one.before, one.after) for one in freed.reasons] == [("NOT_SUITABLE", "OFFERED")]


def test_candidates_are_matched_by_name_when_a_release_has_others() -> None:
    """The places of candidates are those of a release: a new offer in front moves them all."""
    before = brain(rule="offer.id == 'addon'")
    after = brain(offer("new", 900), offer("seats", 500), offer("addon", 300), rule="offer.id == 'seats'", name="r2")

    found = differences([pair(before, after, "d", 1)])

    assert [(one.before, one.after) for one in found.offers] == [("seats@in_app", "new@in_app")]
    (rule,) = found.policies
    assert (rule.holds_back, rule.lost, rule.frees, rule.won) == (1, 1, 1, 1)


def test_another_slate_is_another_answer() -> None:
    kinds = (offer("seats", 500), msgspec.structs.replace(offer("addon", 300), kind="other"))
    before, after = brain(*kinds), brain(*kinds, rule="offer.id == 'addon'", name="r2")

    found = differences([pair(before, after, "d", 1, limit=2)])

    assert [(one.before, one.after) for one in found.offers] == [("seats@in_app + addon@in_app", "seats@in_app")]
    assert (found.changed, found.value_before, found.value_after) == (1, 80.0, 50.0)


def test_segments_stay_few_whatever_a_feature_holds() -> None:
    one = brain()

    found = differences([pair(one, one, f"d{n}", f"text {n}") for n in range(SEGMENTS_MAX + 25)], by="used")

    assert len(found.segments) == SEGMENTS_MAX + 1
    assert {one.segment: one.of for one in found.segments}[OTHER_SEGMENTS] == 25


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        (None, "missing"), (True, "yes"), (False, "no"), ("team", "team"), (0, "0"), (0.004, "0"),
        (1, "1 up to 2"), (2, "2 up to 5"), (4.99, "2 up to 5"), (5, "5 up to 10"), (48, "20 up to 50"),
        (0.5, "0.5 up to 1"), (-3, "\u22122 up to \u22125"), (float("nan"), "no number"),
        (10**9, "1000000000 up to 2000000000"),
    ],
)  # fmt: skip
def test_numbers_fall_into_bands(value: Any, segment: str) -> None:
    assert segment_of(record(brain(), "d", value), "used") == segment


def test_what_another_rule_held_already_is_not_lost() -> None:
    """Two rules behind each other: one that comes takes nothing, one that goes gives nothing."""
    one = brain(rule="true")
    policies = (*one.rules.values(), Policy(id="late", effect="forbid", class_="suitability", reason="late", owner="t"))
    both = msgspec.structs.replace(
        one, rules={rule.id: rule for rule in policies},
        policies=compile_policies(policies, one.policies.variables, one.policies.table),
    )  # fmt: skip

    (came,) = differences([pair(one, both, "d", 1)]).policies
    (went,) = differences([pair(both, one, "d", 1)]).policies

    assert (came.rule, came.holds_back, came.lost) == ("late", 2, 0)
    assert (went.rule, went.frees, went.won) == ("late", 2, 0)
