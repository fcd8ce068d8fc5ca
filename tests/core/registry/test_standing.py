"""Where an artefact stands: nothing is approved without the people it takes, whatever happens in whatever order."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opportune.core.catalog import Risk
from opportune.core.registry import (
    APPROVING,
    NEEDED,
    REASON_MAX,
    EventKind,
    ModelEvent,
    Span,
    Standing,
    fold,
    higher,
    out_of_turn,
    spans_of,
)

CARD, OTHER = "a" * 32, "b" * 32
PEOPLE = ("ada", "dana", "lee", "max")
ROLES = ("model_approver", "compliance", "model_owner", "reviewer", "")
KINDS: tuple[EventKind, ...] = ("proposed", "validated", "approved", "refused", "retired", "voided")


def event(
    kind: EventKind, actor: str = "dana", at_ms: int = 1, *, card: str = CARD, role: str = "model_approver",
    reason: str = "it holds", risk: Risk = "low",
) -> ModelEvent:  # fmt: skip
    return ModelEvent(f"e{at_ms}", at_ms, card, "accept", kind, actor, reason, risk, {"role": role})


def story(*events: ModelEvent) -> Standing:
    """The events one millisecond after the other."""
    return fold(CARD, [msgspec.structs.replace(one, at_ms=number + 1) for number, one in enumerate(events)])


PROPOSED, VALIDATED = event("proposed", "ada"), event("validated", "gates")
EVENTS = st.builds(
    event, st.sampled_from(KINDS), st.sampled_from(PEOPLE), st.integers(1, 40),
    card=st.sampled_from((CARD, CARD, CARD, OTHER)), role=st.sampled_from(ROLES),
    reason=st.sampled_from(("it holds", "", "  ", "x" * (REASON_MAX + 1))), risk=st.sampled_from(tuple(NEEDED)),
)  # fmt: skip


def test_the_way_to_an_approval() -> None:
    assert fold(CARD, []).stage == "unknown"
    assert story(PROPOSED).stage == "proposed"
    assert story(PROPOSED, VALIDATED).stage == "validated"
    found = story(PROPOSED, VALIDATED, event("approved"))
    assert (found.stage, found.approved, found.authors) == ("approved", True, ("ada",))
    assert [(one.by, one.role, one.reason) for one in found.approvals] == [("dana", "model_approver", "it holds")]


def test_a_high_risk_takes_two_different_people() -> None:
    high = event("proposed", "ada", risk="high")
    one = story(high, VALIDATED, event("approved"))
    assert (one.stage, one.approved) == ("validated", False)
    assert not story(high, VALIDATED, event("approved"), event("approved")).approved
    assert story(high, VALIDATED, event("approved"), event("approved", "lee", role="compliance")).approved


def test_a_playbook_may_ask_for_more_and_never_for_less() -> None:
    low, high = story(PROPOSED, VALIDATED, event("approved")), story(
        event("proposed", "ada", risk="high"), VALIDATED, event("approved")
    )
    assert (low.releasable("low"), low.releasable("high")) == (True, False)
    assert (high.releasable("low"), high.releasable("high")) == (False, False)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (event("approved", "ada"), "own"),
        (event("approved", role="model_owner"), "role"),
        (event("approved", role="reviewer"), "role"),
        (event("approved", role=""), "role"),
        (event("approved", reason=" "), "reason"),
        (event("approved", reason="x" * (REASON_MAX + 1)), "reason"),
        (event("refused", reason=""), "reason"),
        (event("refused", role="reviewer"), "role"),
    ],
)
def test_who_may_not_approve_changes_nothing(bad: ModelEvent, code: str) -> None:
    before = story(PROPOSED, VALIDATED)
    why = out_of_turn(before, bad)
    assert why is not None
    assert why.code == code
    assert story(PROPOSED, VALIDATED, bad) == before


def test_gates_come_before_people() -> None:
    why = out_of_turn(story(PROPOSED), event("approved"))
    assert why is not None
    assert (why.code, "opportune models show" in str(why)) == ("gates", True)
    assert story(PROPOSED, event("approved"), VALIDATED).stage == "validated"


@pytest.mark.parametrize("end", ["refused", "retired", "voided"])
def test_an_end_takes_every_approval_and_a_new_proposal_begins_anew(end: EventKind) -> None:
    ended = (PROPOSED, VALIDATED, event("approved"), event(end))
    assert (story(*ended).stage, story(*ended).approvals) == (end, ())
    assert out_of_turn(story(*ended), event("approved", "lee")) is not None
    again = story(*ended, event("proposed", "max"))
    assert (again.stage, again.approvals, again.authors) == ("proposed", (), ("ada", "max"))
    assert out_of_turn(story(*ended, event("proposed", "max"), VALIDATED), event("approved", "ada")) is not None


def test_a_proposal_that_waited_since_before_the_end_does_not_bring_a_model_back() -> None:
    ended = story(PROPOSED, VALIDATED, event("refused"))
    stale = event("proposed", "max", at_ms=2)
    assert out_of_turn(ended, stale) is not None


def test_what_is_live_is_not_retired() -> None:
    live = msgspec.structs.replace(
        story(PROPOSED, VALIDATED, event("approved")), live=(Span("r1", 5, None, "ann", "now"),)
    )
    why = out_of_turn(live, event("retired"))
    assert why is not None
    assert "opportune rollback" in str(why)
    assert out_of_turn(live, event("refused")) is None


@given(st.lists(EVENTS, max_size=30))
def test_no_sequence_of_events_approves_without_the_people_it_takes(events: list[ModelEvent]) -> None:
    """Told by another rule than the fold's: what counts after the last proposal that began anew, read off directly."""
    found = fold(CARD, events)
    mine = [one for one in events if one.card == CARD]
    if not found.approved:
        return
    good = {
        one.actor for one in mine
        if one.kind == "approved" and one.details["role"] in APPROVING and one.reason.strip()
    }  # fmt: skip
    authors = {mine[0].actor} if mine[0].kind == "proposed" else set()
    proposals = [one for one in mine if one.kind == "proposed"]
    assert proposals
    assert any(one.kind == "validated" for one in mine)
    counted = {one.by for one in found.approvals}
    assert counted <= good - authors - set(found.authors)
    assert len(counted) == len(found.approvals) >= NEEDED[found.risk]
    last_end = max((n for n, one in enumerate(mine) if one.kind == "voided" and n), default=-1)
    after = [one for one in mine[last_end + 1 :] if one.kind == "approved"]
    if found.proposed_ms is not None and any(one.kind == "proposed" for one in mine[: last_end + 1]):
        assert counted <= {one.actor for one in after}, "an approval outlived the voiding of the bytes"


@given(st.lists(EVENTS, max_size=30), EVENTS)
def test_an_approval_never_outlives_a_change_of_bytes(events: list[ModelEvent], last: ModelEvent) -> None:
    before = fold(CARD, events)
    voided = fold(CARD, [*events, event("voided", "registry", 99)])
    assert not voided.approved
    assert voided.approvals == ()
    if before.proposed_ms is not None:
        assert fold(CARD, [*events, event("voided", "registry", 99), last]).approvals == ()
    # The same story says nothing of other bytes.
    assert fold(OTHER, [msgspec.structs.replace(one, card=CARD) for one in events]) == Standing(OTHER)


def test_when_it_was_live_comes_from_what_was_promoted() -> None:
    history = [(40, "r1", "ann", "back"), (30, "r3", "ann", "c"), (20, "r2", "bob", "b"), (10, "r1", "ann", "a")]
    cards = {"r1": [CARD], "r2": [CARD, OTHER], "r3": [OTHER]}
    assert spans_of(CARD, history, cards) == (
        Span("r1", 10, 20, "ann", "a"), Span("r2", 20, 30, "bob", "b"), Span("r1", 40, None, "ann", "back")
    )  # fmt: skip
    assert [one.to_ms for one in spans_of(OTHER, history, cards)] == [30, 40]
    stage = fold(OTHER, [], spans_of(OTHER, history, cards)).stage
    assert stage == "retired"


def test_the_higher_risk_counts() -> None:
    assert (higher("low", "high"), higher("medium", "low")) == ("high", "medium")
