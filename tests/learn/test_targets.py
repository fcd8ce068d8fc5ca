"""Rows of every target: what counts as having happened, to whom, and from when on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from test_training_set import DAY_MS, SPEC, START_MS, Log, views

from opportune.core.models import EVERY_OFFER, Example, LearnError
from opportune.core.playbook import ModelSpec
from opportune.flows.learning.decided import Assignment
from opportune.flows.learning.training_rows import training_set


def spec(target: str, **more: Any) -> ModelSpec:
    return msgspec.structs.replace(SPEC, target=target, **more)


def rows(log: Log, wanted: ModelSpec, decided: tuple[Assignment, ...] = ()) -> tuple[Example, ...]:
    return training_set(log.signals, views(), wanted, decided).examples


@pytest.fixture
def log() -> Log:
    """One offer that was made on day 2, and a log that goes on for long after."""
    log = Log()
    log.add(0, "seats.set", seats=40)
    log.assign(2)
    log.add(60, "page.viewed")
    return log


def test_acceptance_is_an_offer_accepted_or_bought_by_whom_it_reached(log: Log) -> None:
    log.assign(3, treated=False)
    assert [row.bought for row in rows(log, spec("acceptance"))] == [False]
    log.add(4, "offer.accepted", offer="seats_10")
    found = training_set(log.signals, views(), spec("acceptance"))
    (one,) = found.examples
    assert (one.bought, one.treated, one.probability, one.offer) == (True, True, 1.0, "seats_10")
    assert found.target == "acceptance"
    assert found.left_out == {"not offered": 1}
    assert not rows(log, spec("acceptance", labels=("offer.converted",)))[0].bought


def test_an_offer_that_did_not_reach_its_customer_says_nothing_of_acceptance(log: Log) -> None:
    own = Assignment(START_MS + 3 * DAY_MS, "p1", "a1", "audit", True, 0.4, (0, 0, 1), reached=False)
    found = training_set(log.signals, views(), spec("acceptance"), (own,))
    assert [row.offer for row in found.examples] == ["seats_10"]
    assert found.left_out == {"did not reach its customer": 1}
    assert [row.offer for row in rows(log, spec("uplift"), (own,))] == ["seats_10", "audit"]


def test_value_is_the_money_of_the_first_purchase_within_the_window(log: Log) -> None:
    assert rows(log, spec("value")) == ()
    log.add(5, "offer.converted", offer="seats_10", amount=120.5)
    log.add(6, "offer.converted", offer="seats_10", amount=7)
    (one,) = rows(log, spec("value"))
    assert (one.amount, one.bought) == (120.5, True)


def test_a_purchase_without_an_amount_has_no_value(log: Log) -> None:
    log.add(5, "offer.converted", offer="seats_10")
    found = training_set(log.signals, views(), spec("value"))
    assert (found.examples, found.left_out) == ((), {"bought without an amount": 1})


@pytest.mark.parametrize(
    ("type_", "who", "data", "annoyed"),
    [
        ("offer.dismissed", "p1", {"offer": "seats_10"}, True),
        ("offer.dismissed", "p1", {"offer": "audit"}, False),
        ("consent.withdrawn", "p1", {"purpose": "marketing"}, True),
        ("consent.withdrawn", "p2", {"purpose": "marketing"}, False),
        ("offer.accepted", "p1", {"offer": "seats_10"}, False),
    ],
)
def test_fatigue_is_what_the_customer_themselves_does_after_a_contact(
    log: Log, type_: str, who: str, data: dict[str, Any], annoyed: bool
) -> None:
    log.add(3, type_, who, **data)
    assert [row.bought for row in rows(log, spec("fatigue"))] == [annoyed]


LEFT = {"labels": ("account.churned",), "every": "7d", "label_window": "14d"}


def churn_log() -> Log:
    log = Log()
    log.add(0, "seats.set", account="a1", seats=40)
    log.add(10, "seats.set", "p2", "a2", seats=5)
    log.add(20, "seats.set", account="a1", seats=50)
    log.add(30, "account.churned", account="a1")
    log.add(70, "page.viewed", "p2", "a2")
    return log


def test_customers_are_looked_at_regularly_with_what_was_known_then() -> None:
    found = training_set(churn_log().signals, views(), spec("churn_risk", **LEFT))
    first = [row for row in found.examples if row.unit == "a1"]
    assert [(row.at_ms - START_MS) // DAY_MS for row in first] == [7, 14, 21, 28]
    assert [row.bought for row in first] == [False, False, True, True]
    assert [row.values[2] for row in first] == [40, 40, 50, 50]
    assert {row.offer for row in found.examples} == {EVERY_OFFER}
    second = [row for row in found.examples if row.unit == "a2"]
    assert [(row.at_ms - START_MS) // DAY_MS for row in second] == [14, 21, 28, 35, 42, 49, 56]
    assert not any(row.bought for row in second)


def test_who_left_counts_again_only_when_heard_of_after_a_label_window() -> None:
    log = churn_log()
    log.add(31, "page.viewed", account="a1")
    assert len([row for row in rows(log, spec("churn_risk", **LEFT)) if row.unit == "a1"]) == 4
    log.add(50, "seats.set", account="a1", seats=1)
    back = [row for row in rows(log, spec("churn_risk", **LEFT)) if row.unit == "a1"]
    assert [(row.at_ms - START_MS) // DAY_MS for row in back] == [7, 14, 21, 28, 56]


def test_people_can_be_looked_at_as_well_as_accounts() -> None:
    found = rows(churn_log(), spec("churn_risk", **LEFT, of="person"))
    assert {row.unit for row in found} == {"p1", "p2"}
    assert {row.values[2] for row in found if row.unit == "p1"} == {40, 50}


def test_churn_has_to_say_what_leaving_is() -> None:
    with pytest.raises(LearnError, match="must say in `labels` which signals mean that a customer left"):
        training_set([], views(), spec("churn_risk"))


def test_segments_and_protected_features_ride_along_beside_those_of_the_model(log: Log) -> None:
    found = training_set(log.signals, views(), spec("uplift", features=("views_7d",), segments=("seats", "views_7d")))
    assert (found.feature_names, found.beside_names, found.beside_types) == (("views_7d",), ("seats",), ("int",))
    assert (found.examples[0].values, found.examples[0].beside) == ((0,), (40,))


def test_signals_are_told_of_as_they_are_read(log: Log) -> None:
    told: list[int] = []
    training_set(log.signals, views(), SPEC, tell=told.append)
    assert len(told) == len(log.signals)
