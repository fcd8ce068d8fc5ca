"""Late, broken or too many: every question still gets a recorded answer, which says what it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from small import ask, busy_writer, card, consenting, kept, playbook, question, region_of

from opportune.core.decisions.brain import Brain
from opportune.flows.region import Region
from opportune.testing.clock import FrozenClock

BUDGET_US = 50_000


class JumpingClock(FrozenClock):
    """Stands still, but for one jump at the n-th reading of `tick_us` from `jump` on."""

    def __init__(self) -> None:
        super().__init__()
        self._left = 0
        self._by_us = 0

    def jump(self, reading: int, by_us: int) -> None:
        self._left, self._by_us = reading, by_us

    def tick_us(self) -> int:
        self._left -= 1
        if self._left == 0:
            self._ticks_us += self._by_us
        return super().tick_us()


BEFORE = {"snapshot": 2, "assign": 3, "shortlist": 4, "score": 5, "choose": 6, "record": 7}
"""Which reading of the clock, from the question on, begins a step."""
STEPS = ("admit", *BEFORE)


def slow_before(step: str) -> str:
    """The step that took the time that was lost before `step` began."""
    return STEPS[STEPS.index(step) - 1]


def test_late_before_scoring_the_priors_decide_and_it_is_said(tmp_path: Path) -> None:
    clock = JumpingClock()
    with region_of(tmp_path, clock=clock, cards=[card()]) as region:
        consenting(region, "ada", "bob")
        assert region.decide.run(question("bob")).model is not None
        clock.jump(BEFORE["score"], BUDGET_US - 6_000)
        answer = region.decide.run(question())
        assert (answer.disposition, answer.degraded, answer.model) == ("offered", ("score.late",), None)
        assert answer.timings_us["shortlist"] == BUDGET_US - 6_000
        _, record = kept(region, answer.decision_id)
        assert record.faults == ("score:late",)
        assert set(record.result.scored.uplift) == {0.1}
        assert "Degraded: score.late" in answer.explanation["auditor"]


def test_in_time_the_model_decides(tmp_path: Path) -> None:
    clock = JumpingClock()
    with region_of(tmp_path, clock=clock, cards=[card()]) as region:
        consenting(region, "ada")
        clock.jump(BEFORE["score"], BUDGET_US - 8_000)
        answer = region.decide.run(question())
        assert (answer.disposition, answer.degraded) == ("offered", ())
        assert answer.model is not None
        assert answer.model.startswith("small@")
        assert 0.1 not in kept(region, answer.decision_id)[1].result.scored.uplift


@pytest.mark.parametrize("step", ["shortlist", "score", "choose"])
def test_past_the_deadline_the_safe_default_is_recorded(tmp_path: Path, step: str) -> None:
    clock = JumpingClock()
    with region_of(tmp_path, clock=clock, cards=[card()]) as region:
        consenting(region, "ada")
        clock.jump(BEFORE[step], BUDGET_US)
        answer = region.decide.run(question())
        assert (answer.disposition, answer.reason) == ("fallback", "TIMEOUT")
        assert (answer.offer, answer.grant) == (None, None)
        assert answer.recorded
        assert answer.timings_us[slow_before(step)] == BUDGET_US
        stored, record = kept(region, answer.decision_id)
        assert stored.disposition == "fallback"
        assert f"{'choose' if step == 'score' else step}:late" in record.faults
        person = region.records.person("ada")
        assert person is not None
        assert person.contacts == ()


@pytest.mark.parametrize("step", ["snapshot", "assign"])
def test_time_lost_before_anything_can_be_skipped_is_noticed_at_the_shortlist(tmp_path: Path, step: str) -> None:
    clock = JumpingClock()
    with region_of(tmp_path, clock=clock) as region:
        consenting(region, "ada")
        clock.jump(BEFORE[step], BUDGET_US)
        answer = region.decide.run(question())
        assert (answer.disposition, answer.reason) == ("fallback", "TIMEOUT")
        assert kept(region, answer.decision_id)[1].faults == ("shortlist:late",)


def test_the_budget_of_the_question_beats_that_of_the_moment(tmp_path: Path) -> None:
    clock = JumpingClock()
    with region_of(tmp_path, clock=clock) as region:
        consenting(region, "ada")
        clock.jump(BEFORE["choose"], BUDGET_US)
        assert region.decide.run(question(budget_ms=100)).disposition == "offered"


class BrokenModel:
    def score(self, values: Sequence[Any]) -> None:
        raise FloatingPointError("a model that fails")


def with_broken_model(region: Region) -> Brain:
    broken: Any = BrokenModel()
    return msgspec.structs.replace(region.releases.brain(), model=broken, model_name="broken")


def test_a_model_that_raises_gives_the_owners_priors_and_says_so(tmp_path: Path) -> None:
    with region_of(tmp_path) as region:
        consenting(region, "ada")
        brain = with_broken_model(region)
        answer = msgspec.structs.replace(region.decide, brain=lambda: brain).run(question())
        assert answer.disposition in ("offered", "no_offer", "escalated")
        assert (answer.degraded, answer.model) == (("score.failed",), None)
        assert answer.recorded
        _, record = kept(region, answer.decision_id)
        assert record.faults == ("score:failed",)
        assert region.replay(answer.decision_id).same
        assert region.gate.under_way == 0


def test_over_the_limit_a_question_is_shed_and_that_is_recorded(tmp_path: Path) -> None:
    with region_of(tmp_path, under_way_max=1) as region:
        consenting(region, "ada", "bob")
        with busy_writer(region):
            under_way = [ask(region, question("ada")), ask(region, question("bob"))]
        first, second = (one.result(60) for one in under_way)
        assert first.disposition == "offered"
        assert (second.disposition, second.reason, second.offer) == ("shed", "OVERLOAD", None)
        assert kept(region, second.decision_id)[0].disposition == "shed"
        assert region.records.counts()["decisions.shed"] == 1
        assert region.gate.under_way == 0
        assert region.decide.run(question("bob")).disposition == "offered"


def test_the_lowest_class_is_shed_first_and_the_highest_last(tmp_path: Path) -> None:
    with region_of(tmp_path, under_way_max=10) as region:
        customers = [f"c{n}" for n in range(20)]
        consenting(region, *customers)
        who = iter(customers)
        with busy_writer(region):
            moments = ["nightly"] * 6 + ["limit"] * 5 + ["chat"] * 2
            under_way = [(moment, ask(region, question(next(who), moment))) for moment in moments]
        shed = [moment for moment, one in under_way if one.result(60).disposition == "shed"]
        assert shed == ["nightly", "limit", "chat"]  # after 5, 9 and 10 places were taken
        assert region.gate.under_way == 0


def test_what_was_shed_stays_shed_when_the_world_moved_on(tmp_path: Path) -> None:
    """A decision that is made again inside the commit keeps the answer of the gate."""
    with region_of(tmp_path, under_way_max=1) as region:
        consenting(region, "ada")
        with busy_writer(region):
            under_way = [ask(region, question("ada")), ask(region, question("ada"))]
        assert [one.result(60).disposition for one in under_way] == ["offered", "shed"]


def test_the_hold_out_is_offered_nothing_and_the_record_says_what_would_have_been(tmp_path: Path) -> None:
    with region_of(tmp_path, playbook(holdout=1.0)) as region:
        consenting(region, "ada")
        answer = region.decide.run(question())
        assert (answer.disposition, answer.reason) == ("held_out", "HELD_OUT")
        assert (answer.offer, answer.channel, answer.grant) == (None, None, None)
        stored, record = kept(region, answer.decision_id)
        assert record.result.would == "seats@in_app"
        assert (stored.holdout, stored.offer, stored.channel) == (True, None, None)
        assert "seats" not in answer.explanation["customer"]


def test_without_consent_the_hold_out_does_not_matter(tmp_path: Path) -> None:
    with region_of(tmp_path, playbook(holdout=1.0)) as region:
        consenting(region, "ada")
        assert region.decide.run(question("ada")).disposition == "held_out"
        person = region.records.person("ada")
        assert person is not None
        refused = msgspec.structs.replace(person, id="bob", consents={})
        region.records.run(lambda tx: tx.put_person(refused))
        assert region.decide.run(question("bob")).reason == "NO_CONSENT"
