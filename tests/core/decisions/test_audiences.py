"""A decision in words: every reason, for every audience; the customer is never told what is not theirs to know."""

from __future__ import annotations

import re
from random import Random
from typing import Any, get_args

import msgspec
import pytest
from finite import Still, brain_of, playbook

from opportune.core.catalog import Offer, Price, Prior, Treatment
from opportune.core.decisions.audiences import NOTHING_TO_SUGGEST, REASON_WORDS, words
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.explain import why_not
from opportune.core.decisions.kernel import run
from opportune.core.decisions.records import RECORD_VERSION, Asked, DecisionRecord, Reason, Result, Seen
from opportune.core.policies import Policy

REASONS: tuple[Reason, ...] = get_args(Reason)
SHOWN = ("OFFERED", "EXPLORED", "FORCED")
ESCALATED = ("LOW_CONFIDENCE", "REVIEW_REQUIRED")
FALLEN = {"OVERLOAD": "shed", "TIMEOUT": "fallback", "FAULT": "fallback"}
INSIDE = re.compile(r"[0-9]+\.[0-9]{2}|EUR|%|permit|forbid|policy|polic|score|probab|rule|release|@|_")
"""What belongs to the house: money, chances, rules, names of rules and candidates."""


def offer(name: str, margin: float) -> Offer:
    return Offer(
        offer=name, title=name.capitalize(), kind=name, price=Price(amount=10), margin=margin, owner="t",
        prior=Prior(p_accept=0.2, uplift=0.1), treatments={"in_app": Treatment(headline=name)},
    )  # fmt: skip


def brain(*policies: Policy) -> Brain:
    book = playbook(Random(1))
    open_ = Policy(id="open", effect="permit", class_="commercial", reason="open to all", owner="t")
    return brain_of(
        msgspec.structs.replace(
            book, offers=(offer("seats", 500), offer("addon", 300), offer("yearly", 200)),
            policies=(open_, *policies), channels=book.channels[:1],
            app=msgspec.structs.replace(book.app, arbitration=msgspec.structs.replace(book.app.arbitration)),
        )
    )  # fmt: skip


def seen(**more: Any) -> Seen:
    features = {"trial": True, "seats": 3, "plan": "a"}
    return Seen(1_780_000_000_000, "acme", "acme", features, {}, {"marketing/in_app": "given"}, **more)


def decided(brain: Brain, limit: int = 1, **more: Any) -> DecisionRecord:
    asked, saw = Asked("ada", "m", ("in_app",), limit=limit), seen(**more)
    result = run(brain, asked, saw, "d", Still())
    return DecisionRecord(RECORD_VERSION, "d", brain.release, "eu", asked, saw, (), (), result)


def with_reason(reason: Reason) -> DecisionRecord:
    """A decision that ended for this reason."""
    one = decided(brain())
    result = one.result
    if reason in FALLEN:
        bare = Result(FALLEN[reason], reason)  # type: ignore[arg-type]
        return msgspec.structs.replace(one, result=bare, faults=("shortlist:late",))
    changed: dict[str, Any] = {"reason": reason, "why": (("seats", 0.4), ("plan", -0.1), ("trial", 0.05))}
    if reason in ESCALATED:
        changed["disposition"] = "escalated"
    elif reason == "HELD_OUT":
        changed |= {"disposition": "held_out", "would": "seats@in_app", "offer": None, "channel": None, "holdout": True}
    elif reason not in SHOWN:
        changed |= {"disposition": "no_offer", "offer": None, "channel": None, "why": ()}
    return msgspec.structs.replace(one, result=msgspec.structs.replace(result, **changed))


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_words_for_every_audience(reason: Reason) -> None:
    told = words(brain(), with_reason(reason))

    assert REASON_WORDS[reason] in told.agent
    assert f"({reason}): {REASON_WORDS[reason]}." in told.auditor
    assert told.agent.startswith(
        "Offer Seats: " if reason in SHOWN else "Ask for a review before offering Seats: " if reason in ESCALATED
        else "Offer nothing now: "
    )  # fmt: skip
    for text in (told.customer, told.agent, told.auditor):
        assert text[0].isupper()
        assert text.endswith(".")
        assert ".." not in text


@pytest.mark.parametrize("reason", REASONS)
def test_the_customer_is_told_nothing_of_the_house(reason: Reason) -> None:
    told = words(brain(), with_reason(reason)).customer

    if reason in SHOWN:
        assert told == "We suggest Seats because seats is 3 and trial. You can say no, and we will not ask again soon."
    else:
        assert told == NOTHING_TO_SUGGEST
    assert not INSIDE.search(told)
    assert "Addon" not in told


def test_a_slate_is_told_to_all_three() -> None:
    record = decided(brain(), limit=3)
    assert [pick.offer for pick in record.result.slate] == ["addon", "yearly"]

    told = words(brain(), record)

    assert "We suggest Seats. You may also like Addon or Yearly." in told.customer
    assert not INSIDE.search(told.customer)
    assert "If that does not fit: Addon or Yearly." in told.agent
    assert "Up to 3 were asked for; further: addon@in_app of value 30.00 with probability" in told.auditor
    fates = {one.candidate: (one.stage, one.reason) for one in why_not(brain(), record)}
    assert fates["addon@in_app"] == ("slate", "offered as well, in place 2: worth 30.00")


def test_an_agent_hears_of_the_runner_up_and_of_what_must_be_done() -> None:
    record = decided(brain())
    obliged = msgspec.structs.replace(record, result=msgspec.structs.replace(record.result, obligations=("disclose",)))

    assert "Next: Addon, 20.00 EUR behind." in words(brain(), record).agent
    assert "You must: disclose." in words(brain(), obliged).agent


def test_what_was_forced_is_said_and_nothing_is_compared() -> None:
    force = Policy(id="promise", effect="force", class_="commercial", reason="promised", owner="t",
                   when="offer.id == 'addon'")  # fmt: skip
    forced = brain(force)
    record = decided(forced)

    told = words(forced, record)

    assert told.agent.startswith("Offer Addon: a policy forces it, whatever else is worth more.")
    assert "Next:" not in told.agent
    assert "Forced by promise: nothing was weighed" in told.auditor
    fates = {one.candidate: one for one in why_not(forced, record)}
    assert (fates["seats@in_app"].rule, fates["seats@in_app"].reason) == (
        "forced", "worth 50.00, but promise forces another"
    )  # fmt: skip


def test_an_auditor_hears_of_everything_it_was_seen_with() -> None:
    record = decided(
        brain(), room={"limits.autumn": 3.0}, stale=("seats",), missing=("plan",), unread=(("usage", "late"),)
    )
    record = msgspec.structs.replace(
        record, faults=("score:late",), asked=msgspec.structs.replace(record.asked, refused=("advertising",)),
        result=msgspec.structs.replace(record.result, degraded=("usage.late", "score.late")),
    )  # fmt: skip

    told = words(brain(), record).auditor

    for part in (
        "Left of limits over everybody: limits.autumn 3.", "Refused by the customer's browser: advertising.",
        "Faults: score:late.", "Degraded: usage.late, score.late.", "Stale: seats.", "Missing: plan.",
    ):  # fmt: skip
        assert part in told


def test_nothing_tried_to_learn_is_told_as_that() -> None:
    record = decided(brain())
    bare = msgspec.structs.replace(record.result, disposition="no_offer", reason="EXPLORED", offer=None, channel=None)

    told = words(brain(), msgspec.structs.replace(record, result=bare))

    assert told.agent == "Offer nothing now: offering nothing is tried, to learn."
