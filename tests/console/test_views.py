"""The read models: what they say of decisions, ledger and revenue."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import msgspec
import pytest
from scene import DAY_MS, Scene

from opportune.views import DecisionView, decision_view, live_view, revenue_view
from opportune.views.revenue import any_time_factor

pytestmark = pytest.mark.slow


def case(scene: Scene, id_: str) -> DecisionView:
    found = decision_view(scene.records, scene.ledger, scene.pulse, scene.brain_of, id_)
    assert found is not None
    return found


def test_the_live_view_counts_every_disposition_and_names_what_is_degraded(scene: Scene) -> None:
    made = scene.populate(56)
    scene.ledger.publish()

    view = live_view(
        scene.records, scene.ledger, scene.pulse, scene.clock, scene.brain, degraded=[("mail", "breaker open")]
    )

    assert view.rows[0].id == made[-1]
    assert len(view.rows) == 50
    assert {one.disposition: one.ever for one in view.mix} == {
        one.disposition: one.recent for one in view.mix
    }
    assert all(one.ever > 0 for one in view.mix)
    assert sum(one.ever for one in view.mix) == 57
    assert view.degraded[0] == ("mail", "breaker open")
    assert {part for part, _ in view.degraded} == {"mail", "score.late", "shortlist.late", "decisions", "load"}
    assert (view.ledger.entries, view.ledger.published) == (57, 57)
    assert view.budget_ms == 50


def test_rows_say_what_a_held_out_customer_would_have_been_offered(scene: Scene) -> None:
    scene.decide(unit=scene.held_unit())

    row = live_view(scene.records, scene.ledger, scene.pulse, scene.clock, scene.brain).rows[0]

    assert row.disposition == "held_out"
    assert row.title is not None
    assert row.reason == "HELD_OUT"


def test_without_a_release_and_without_a_checkpoint_the_view_still_stands(scene: Scene) -> None:
    view = live_view(scene.records, scene.ledger, scene.pulse, scene.clock, None)

    assert (view.release, view.rows, view.ledger.published) == (None, (), None)
    assert msgspec.json.decode(msgspec.json.encode(view))["budget_ms"] == 50


def test_the_parts_of_a_score_add_up_to_its_value(scene: Scene) -> None:
    contacts = (("person", "storage", "email", DAY_MS), ("person", "storage", "in_app", DAY_MS // 2))
    id_ = scene.decide(contacts=contacts)

    view = case(scene, id_)

    assert view.chosen is not None
    assert sum(amount for _, amount in view.chosen.parts) == pytest.approx(view.chosen.value, abs=1e-3)
    assert dict(view.chosen.parts)["fatigue"] == -0.5
    assert [one.candidate for one in view.candidates if one.won] == [view.chosen.candidate]
    assert len(view.candidates) == len(scene.brain.candidates)
    assert view.contacts[0][3] == view.at_ms - DAY_MS


def test_steps_follow_one_another_and_the_pulse_adds_the_last_two(scene: Scene) -> None:
    id_ = scene.decide()

    steps = case(scene, id_).steps

    assert [step.name for step in steps] == [
        "admit", "snapshot", "assign", "shortlist", "score", "choose", "record", "answer",
    ]
    assert [step.took_us for step in steps][-2:] == [3_250, 150]
    for before, after in pairwise(steps):
        assert after.start_us == before.start_us + (before.took_us or 0)


def test_a_decision_the_pulse_forgot_has_no_time_for_its_writing(scene: Scene) -> None:
    id_ = scene.decide()
    scene.pulse = type(scene.pulse)()

    view = case(scene, id_)

    assert view.whole_us is None
    assert [step.took_us for step in view.steps][-2:] == [None, None]


def test_features_are_shown_with_view_age_and_what_is_stale_or_missing(scene: Scene) -> None:
    id_ = scene.decide(
        features={"usage_trend": None, "tenure_days": 500}, stale=("seats_used_share",), missing=("usage_trend",)
    )

    by_name = {one.name: one for one in case(scene, id_).features}

    assert by_name["usage_trend"].missing
    assert by_name["seats_used_share"].stale
    assert (by_name["seats_used_share"].view, by_name["seats_used_share"].version) == ("account_usage", 3)
    assert by_name["seats_used_share"].freshness_ms == 2 * DAY_MS
    assert by_name["seats_used_share"].part is not None


def test_outcomes_are_in_the_order_they_happened(scene: Scene) -> None:
    id_ = scene.decide()
    scene.outcome(id_, "accepted", 90_000)
    scene.outcome(id_, "delivered", 1_000)

    assert [one.kind for one in case(scene, id_).outcomes] == ["delivered", "accepted"]


def test_a_release_that_left_the_shelf_leaves_the_record_readable(scene: Scene) -> None:
    id_ = scene.decide(release="r0000000000000000")

    view = case(scene, id_)

    assert view.words is None
    assert view.candidates == ()
    assert view.disposition == "offered"
    assert not view.live


def test_an_unknown_decision_has_no_view(scene: Scene) -> None:
    assert decision_view(scene.records, scene.ledger, scene.pulse, scene.brain_of, "nobody") is None


class Earned:
    """Revenue per unit as a store would give it."""

    def __init__(self, offered: list[float], held: list[float]) -> None:
        self._rows = [(f"u{i}", False, amount) for i, amount in enumerate(offered)]
        self._rows += [(f"h{i}", True, amount) for i, amount in enumerate(held)]

    def revenue_by_unit(self, since_ms: int) -> object:
        return iter(self._rows)


def test_revenue_is_compared_only_when_both_groups_are_large_enough() -> None:
    few = revenue_view(Earned([10.0] * 40, [5.0] * 29), 0)  # type: ignore[arg-type]
    shy = revenue_view(Earned([10.0] * 40, [5.0] * 9 + [0.0] * 90), 0)  # type: ignore[arg-type]
    enough = revenue_view(Earned([10.0, 20.0] * 200, [5.0, 7.0] * 100), 0)  # type: ignore[arg-type]

    assert few is not None
    assert few.lift is None
    assert shy is not None
    assert (shy.lift, shy.holdout_buyers) == (None, 9)
    assert enough is not None
    assert enough.lift == pytest.approx(9.0)
    assert enough.low is not None
    assert enough.low < 9.0 < (enough.high or 0.0)
    assert revenue_view(Earned([], []), 0) is None  # type: ignore[arg-type]


def test_the_interval_holds_at_every_look() -> None:
    """Without any effect, looking after every further hundred units must not find one more often than promised."""
    random, found = Random(11), 0
    for _ in range(200):
        offered: list[float] = []
        held: list[float] = []
        for _ in range(20):
            offered += [random.expovariate(1.0) for _ in range(90)]
            held += [random.expovariate(1.0) for _ in range(10)]
            seen = revenue_view(Earned(offered, held), 0)  # type: ignore[arg-type]
            assert seen is not None
            if seen.low is not None and seen.high is not None and not seen.low <= 0 <= seen.high:
                found += 1
                break

    assert found <= 14  # 5 % of 200 and a little luck


def test_the_interval_holds_when_few_units_buy_at_all() -> None:
    """One in twenty buys, one in ten is held out: a small hold-out in which nobody bought must not look certain."""
    random, found = Random(12), 0
    for _ in range(100):
        groups: tuple[list[float], list[float]] = ([], [])
        for _ in range(40):
            for _ in range(50):
                amount = random.lognormvariate(5.0, 0.6) if random.random() < 0.05 else 0.0
                groups[random.random() < 0.1].append(amount)
            seen = revenue_view(Earned(*groups), 0)  # type: ignore[arg-type]
            assert seen is not None
            if seen.low is not None and seen.high is not None and not seen.low <= 0 <= seen.high:
                found += 1
                break

    assert found <= 9


def test_a_large_effect_is_found() -> None:
    random = Random(13)
    offered = [random.lognormvariate(5.0, 0.6) if random.random() < 0.3 else 0.0 for _ in range(4_000)]
    held = [random.lognormvariate(5.0, 0.6) if random.random() < 0.1 else 0.0 for _ in range(450)]

    seen = revenue_view(Earned(offered, held), 0)  # type: ignore[arg-type]

    assert seen is not None
    assert seen.low is not None
    assert seen.low > 0


def test_the_interval_is_wider_than_that_of_one_look_and_tightest_at_some_thousand_units() -> None:
    assert 3.0 < any_time_factor(5_000) < any_time_factor(100)
