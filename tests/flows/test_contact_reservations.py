"""A customer's attention is reserved with the decision: never over a limit, and given back when nobody came."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import DAY_MS, MINUTE_MS, ask, busy_writer, consenting, kept, playbook, question, region_of

from opportune.core.catalog import ContactLimit
from opportune.core.outcomes import OutcomePost
from opportune.testing.clock import FrozenClock

TTL_MS = 15 * MINUTE_MS
STORES = pytest.mark.parametrize("store", ["memory", "sqlite"])


def test_over_the_limit_nothing_is_offered_and_the_limit_is_named(tmp_path: Path) -> None:
    with region_of(tmp_path) as region:
        consenting(region, "ada")
        first, second = region.decide.run(question()), region.decide.run(question())
        assert (first.disposition, second.disposition, second.reason) == ("offered", "no_offer", "CONTACT_LIMIT")
        assert [(rule.id, rule.stage) for rule in second.policies] == [("in_app.daily", "contact_limit")]
        assert "once a day is enough" in second.explanation["agent"]
        assert kept(region, second.decision_id)[1].seen.contacts == (("person", "seats", "in_app", 0),)


def test_a_reservation_that_nobody_used_returns_when_its_grant_ends(tmp_path: Path) -> None:
    clock = FrozenClock()
    with region_of(tmp_path, clock=clock) as region:
        consenting(region, "ada")
        assert region.decide.run(question()).disposition == "offered"
        clock.at_ms += TTL_MS - 1
        assert region.decide.run(question()).reason == "CONTACT_LIMIT"
        clock.at_ms += 1
        assert region.decide.run(question()).disposition == "offered"


@pytest.mark.parametrize("outcome", ["delivered", "seen", "dismissed"])
def test_a_delivered_contact_counts_for_as_long_as_the_limit_says(tmp_path: Path, outcome: str) -> None:
    clock = FrozenClock()
    with region_of(tmp_path, clock=clock) as region:
        consenting(region, "ada")
        first = region.decide.run(question())
        region.act.run([OutcomePost(outcome, decision=first.decision_id)])  # type: ignore[arg-type]
        clock.at_ms += DAY_MS - 1
        assert region.decide.run(question()).reason == "CONTACT_LIMIT"
        clock.at_ms += 1
        assert region.decide.run(question()).disposition == "offered"


def test_an_undeliverable_contact_is_given_back_at_once(tmp_path: Path) -> None:
    with region_of(tmp_path) as region:
        consenting(region, "ada")
        first = region.decide.run(question())
        assert region.decide.run(question()).reason == "CONTACT_LIMIT"
        region.act.run([OutcomePost("undeliverable", decision=first.decision_id)])
        assert region.decide.run(question()).disposition == "offered"


@STORES
def test_two_decisions_at_once_for_one_customer_make_one_offer(tmp_path: Path, store: str) -> None:
    with region_of(tmp_path, kind=store) as region:
        consenting(region, "ada")
        with busy_writer(region):
            under_way = [ask(region, question()) for _ in range(2)]  # both saw a customer without contacts
            assert not any(one.done() for one in under_way)
        answers = [one.result(60) for one in under_way]
        assert [one.disposition for one in answers] == ["offered", "no_offer"]
        assert answers[1].reason == "CONTACT_LIMIT"
        assert answers[1].grant is None
        for answer in answers:
            kept(region, answer.decision_id)
        person = region.records.person("ada")
        assert person is not None
        assert [one.decision for one in person.contacts] == [answers[0].decision_id]


@STORES
def test_colleagues_at_once_share_the_limit_of_their_account(tmp_path: Path, store: str) -> None:
    of_account = ContactLimit(limit="account_daily", at_most=2, per="1d", of="account")
    with region_of(tmp_path, playbook(limits=(of_account,)), kind=store) as region:
        consenting(region, "ada", "bob", "cy", "dan", account="acme")
        with busy_writer(region):
            under_way = [ask(region, question(who)) for who in ("ada", "bob", "cy", "dan")]
        answers = [one.result(60) for one in under_way]
        assert [one.disposition for one in answers] == ["offered", "offered", "no_offer", "no_offer"]
        assert {one.reason for one in answers[2:]} == {"CONTACT_LIMIT"}


def test_what_offers_nothing_reserves_nothing(tmp_path: Path) -> None:
    with region_of(tmp_path, playbook(holdout=1.0)) as region:
        consenting(region, "ada")
        assert region.decide.run(question()).disposition == "held_out"
        person = region.records.person("ada")
        assert person is not None
        assert person.contacts == ()
