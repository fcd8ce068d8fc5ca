"""Examples know what was known at their instant, and nothing of what came later."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from opportune.core.features import CompiledViews, FeatureSpec, FeatureView, compile_views
from opportune.core.models import LearnError, TrainingSet
from opportune.core.playbook import ModelSpec
from opportune.core.signals import Signal
from opportune.flows.learning.learn import Assignment, training_set
from opportune.ports import StoredSignal

DAY_MS = 86_400_000
START_MS = 20_000 * DAY_MS

SPEC = ModelSpec(model="m", owner="o", features=("purchases", "views_7d", "seats"), label_window="14d")


def views() -> CompiledViews:
    people = FeatureView(
        view="person",
        version=3,
        entity="person",
        owner="o",
        purposes=("marketing",),
        features=(
            FeatureSpec(id="views_7d", sources="page.viewed", aggregate="count", window="7d", default=0),
        ),
    )
    accounts = FeatureView(
        view="account",
        version=2,
        entity="account",
        owner="o",
        purposes=("marketing",),
        features=(
            FeatureSpec(id="seats", sources="seats.set", value="data.seats", aggregate="last", type="int"),
            FeatureSpec(id="purchases", sources="offer.converted", aggregate="count", default=0),
        ),
    )
    fields = {"page.viewed": {}, "seats.set": {"seats": "int"}, "offer.converted": {}}
    return compile_views([people, accounts], fields)


class Log:
    """A signal log in the making."""

    def __init__(self) -> None:
        self.signals: list[StoredSignal] = []

    def add(self, day: float, type_: str, who: str = "p1", account: str | None = "a1", **data: Any) -> None:
        at_ms = START_MS + round(day * DAY_MS)
        seq = len(self.signals) + 1
        signal = Signal("test", str(seq), type_, 1, at_ms, at_ms, who, account, data)
        self.signals.append(StoredSignal(seq, signal))

    def assign(self, day: float, treated: object = True, **more: Any) -> None:
        data = {"offer": "seats_10", "channel": "email", "treated": treated, "action_probability": 0.4, **more}
        self.add(day, "offer.assigned", **data)

    def examples(self, decided: tuple[Assignment, ...] = ()) -> TrainingSet:
        return training_set(self.signals, views(), SPEC, decided)


@pytest.fixture
def log() -> Log:
    log = Log()
    log.add(0, "seats.set", seats=40)
    log.add(1, "page.viewed")
    log.assign(2)
    log.add(3, "page.viewed")
    log.add(40, "page.viewed")
    return log


def test_values_are_as_of_the_assignment(log: Log) -> None:
    found = log.examples()
    assert found.feature_names == ("purchases", "views_7d", "seats")
    assert found.feature_types == ("int", "int", "int")
    assert found.feature_views == {"person": 3, "account": 2}
    (one,) = found.examples
    assert one.values == (0, 1, 40)
    assert (one.offer, one.treated, one.probability, one.bought, one.unit) == ("seats_10", True, 0.4, False, "a1")


def test_the_future_cannot_leak_whatever_the_order_of_arrival(log: Log) -> None:
    before = log.examples().examples[0]
    log.add(2.0001, "seats.set", seats=999)
    log.add(5, "offer.converted", offer="seats_10", amount=100.0)
    moved = Log()
    for stored in reversed(log.signals):
        moved.signals.append(StoredSignal(len(moved.signals) + 1, stored.signal))
    for planted in (log, moved):
        (after,) = planted.examples().examples
        assert after.values == before.values
        assert after.bought


def test_the_assignment_itself_is_not_known_to_itself() -> None:
    log = Log()
    spec = msgspec.structs.replace(SPEC, assigned="page.viewed")
    log.add(1, "page.viewed", offer="seats_10", treated=True)
    log.add(40, "seats.set", seats=1)
    (one,) = training_set(log.signals, views(), spec).examples
    assert one.values == (0, 0, None)


@pytest.mark.parametrize(
    ("day", "who", "account", "offer", "bought"),
    [
        (16, "p1", "a1", "seats_10", True),
        (16.01, "p1", "a1", "seats_10", False),
        (2, "p1", "a1", "seats_10", False),
        (3, "p2", "a1", "seats_10", True),
        (3, "p1", None, "seats_10", True),
        (3, "p2", "a2", "seats_10", False),
        (3, "p1", "a1", "audit", False),
    ],
)
def test_bought_means_same_offer_same_buyer_within_the_window(
    log: Log, day: float, who: str, account: str | None, offer: str, bought: bool
) -> None:
    log.add(day, "offer.converted", who, account, offer=offer)
    assert log.examples().examples[0].bought is bought


def test_windows_that_are_not_over_and_what_cannot_be_read_are_counted_not_used(log: Log) -> None:
    log.assign(26.5)
    log.assign(20, treated="yes")
    log.assign(21, action_probability=0)
    found = log.examples()
    assert len(found.examples) == 1
    assert found.left_out == {"malformed assignment": 2, "label window not over": 1}


def test_the_systems_own_decisions_join_with_what_they_saw(log: Log) -> None:
    log.add(4, "offer.converted", offer="audit")
    own = Assignment(START_MS + 3 * DAY_MS, "p1", "a1", "audit", False, 0.1, (7, 8, 9))
    found = log.examples((own,))
    assert [one.at_ms for one in found.examples] == [START_MS + 2 * DAY_MS, START_MS + 3 * DAY_MS]
    assert found.examples[1].values == (7, 8, 9)
    assert found.examples[1].bought


def test_a_feature_nobody_gives_is_named() -> None:
    spec = msgspec.structs.replace(SPEC, features=("seatz",))
    with pytest.raises(LearnError, match="model `m` asks for feature `seatz`, which no feature view gives"):
        training_set([], views(), spec)
