"""The system's own decisions become examples: what was presented, what was held out, and nothing else."""

from __future__ import annotations

from typing import Any, cast

from opportune.core.decisions.records import Asked, DecisionRecord, Disposition, Result, Seen, encode_record
from opportune.core.playbook import ModelSpec
from opportune.flows.learn import Assignment, decided_assignments
from opportune.ports import Records, StoredDecision, StoredOutcome

SPEC = ModelSpec(model="m", owner="o", features=("seats", "plan"))


class Kept:
    """The two reads of Records that learning needs, over a list."""

    def __init__(self) -> None:
        self.kept: list[StoredDecision] = []
        self.became: dict[str, list[StoredOutcome]] = {}

    def add(self, disposition: Disposition, *outcomes: str, **result: Any) -> None:
        at_ms = 1000 + len(self.kept)
        id_ = f"d{at_ms}"
        seen = Seen(at_ms, "a1", "a1", {"seats": 40, "other": 1}, {}, {})
        asked = Asked("p1", "m", ("email",))
        record = DecisionRecord(1, id_, "r", "eu", asked, seen, (), (), Result(disposition, "OFFERED", **result))
        self.kept.append(
            StoredDecision(
                id_, at_ms, "p1", "a1", "a1", "m", "r", disposition, record.result.offer, "email", False, 1,
                encode_record(record), b"",
            )
        )
        self.became[id_] = [
            StoredOutcome(f"{id_}-{kind}", at_ms, kind, "p1", "a1", id_, "seats_10", 0.0) for kind in outcomes
        ]

    def decisions(self, last: int) -> list[StoredDecision]:
        return self.kept[::-1][:last]

    def outcomes(self, decision: str) -> list[StoredOutcome]:
        return self.became[decision]


def found(kept: Kept) -> list[Assignment]:
    return decided_assignments(cast(Records, kept), SPEC, last=100, holdout_share=0.25)


def test_presented_and_held_out_are_the_two_sides() -> None:
    kept = Kept()
    kept.add("offered", "delivered", "seen", offer="seats_10", action_probability=0.8)
    kept.add("held_out", would="seats_10@email", holdout=True, action_probability=0.4)
    assert found(kept) == [
        Assignment(1000, "p1", "a1", "seats_10", True, 0.8 * 0.75, (40, None)),
        Assignment(1001, "p1", "a1", "seats_10", False, 0.4 * 0.25, (40, None)),
    ]


def test_what_chance_did_not_decide_is_left_out() -> None:
    kept = Kept()
    kept.add("offered", offer="seats_10")
    kept.add("escalated", "seen", offer="seats_10")
    kept.add("no_offer")
    kept.add("fallback", offer="seats_10")
    kept.add("held_out", holdout=True)
    assert found(kept) == []


def test_what_was_forced_says_nothing_of_what_would_be_chosen() -> None:
    kept = Kept()
    kept.add("offered", "seen", offer="seats_10", forced=("outage",))
    kept.add("held_out", would="seats_10@email", holdout=True, forced=("outage",))
    assert found(kept) == []


def test_an_offer_beside_the_chosen_one_does_not_present_it() -> None:
    kept = Kept()
    kept.add("offered", "seen", offer="seats_25")  # what was seen is `seats_10`, further down the slate
    assert found(kept) == []
