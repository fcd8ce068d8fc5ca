"""A merge never widens consent and never resets a limit, whatever both records said and did."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opportune.core.customers import Consent, Contact, Flag, Identifier, Origin, Person, consent_key, consent_status
from opportune.core.identity import merged, merged_consents, merged_contacts, survivor, unmerged

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

TIMES = st.integers(0, 12)
PURPOSES, CHANNELS, CONTROLLERS = ("marketing", "service", "*"), ("email", "push", "*"), ("", "partner")


@st.composite
def words(draw: st.DrawFn) -> dict[str, Consent]:
    found = {}
    keys = st.tuples(st.sampled_from(PURPOSES), st.sampled_from(CHANNELS), st.sampled_from(CONTROLLERS))
    for purpose, channel, controller in draw(st.lists(keys, max_size=5)):
        status = draw(st.sampled_from(["given", "given", "given", "refused", "withdrawn", "expired"]))
        expires = draw(st.none() | TIMES)
        word = Consent(status, draw(TIMES), draw(st.sampled_from("ab")), expires, controller=controller)  # type: ignore[arg-type]
        found[consent_key(purpose, channel, controller)] = word
    return found


ASKED = [(p, c, k) for p in ("marketing", "service", "other") for c in ("email", "push", "phone") for k in CONTROLLERS]
WHENS = (0, 3, 6, 9, 13, 40)


@settings(max_examples=600)
@given(words(), words(), TIMES)
@example(  # a permission for all channels that is newer than the other's refusal of one
    {"marketing/email": Consent("withdrawn", 5, "a")}, {"marketing/*": Consent("given", 9, "b")}, 0
)
@example(  # an objection to everything in one channel meets a permission for all channels of one purpose
    {"*/email": Consent("withdrawn", 5, "a")}, {"marketing/*": Consent("given", 9, "b")}, 0
)
@example(  # the other's permission ends sooner
    {"marketing/email": Consent("given", 1, "a", 7)}, {"marketing/*": Consent("given", 9, "b")}, 0
)
def test_permitted_only_where_neither_refused(
    one: dict[str, Consent], other: dict[str, Consent], at_ms: int
) -> None:
    both = merged_consents(one, other, at_ms)
    for purpose, channel, controller in ASKED:
        for now_ms in WHENS:
            found = [consent_status(each, purpose, channel, now_ms, controller) for each in (one, other, both)]
            if found[2] == "given":
                assert set(found[:2]) <= {"given", "unknown"}, (purpose, channel, controller, now_ms)
                assert "given" in found[:2]


@settings(max_examples=300)
@given(words(), words(), TIMES)
def test_the_order_does_not_matter_and_a_record_with_itself_changes_nothing(
    one: dict[str, Consent], other: dict[str, Consent], at_ms: int
) -> None:
    assert merged_consents(one, other, at_ms) == merged_consents(other, one, at_ms)
    again = merged_consents(one, one, at_ms)
    for purpose, channel, controller in ASKED:
        for now_ms in WHENS:
            before = consent_status(one, purpose, channel, now_ms, controller)
            assert consent_status(again, purpose, channel, now_ms, controller) == before


def test_a_permission_stays_where_the_other_never_spoke() -> None:
    one, other = {"marketing/email": Consent("given", 5, "a")}, {"service/email": Consent("refused", 9, "b")}
    both = merged_consents(one, other, 20)
    assert consent_status(both, "marketing", "email", 30) == "given"
    assert consent_status(both, "marketing", "push", 30) == "unknown"


def test_only_a_word_said_after_the_merge_lifts_the_refusal() -> None:
    one, other = {"marketing/email": Consent("refused", 1, "a")}, {"marketing/email": Consent("given", 5, "b")}
    both = merged_consents(one, other, 20)
    assert both["marketing/email"] == Consent("refused", 20, "a")


CONTACTS = st.lists(
    st.builds(
        Contact, st.sampled_from("defgh"), st.just("o"), st.just("email"), TIMES, TIMES,
        st.sampled_from(["reserved", "delivered", "seen", "released"]),
    ),
    max_size=6, unique_by=lambda contact: contact.decision,
).map(tuple)  # fmt: skip


@given(CONTACTS, CONTACTS)
def test_no_contact_is_lost_or_counted_twice(one: tuple[Contact, ...], other: tuple[Contact, ...]) -> None:
    both = merged_contacts(one, other)
    assert [contact.decision for contact in both] == list(dict.fromkeys(contact.decision for contact in both))
    assert {contact.decision for contact in both} == {contact.decision for contact in (*one, *other)}
    for contact in (*one, *other):
        if contact.state != "released":
            assert any(kept.decision == contact.decision and kept.state != "released" for kept in both)


def person(id_: str, **more: Any) -> Person:
    return Person(id_, **more)


def test_the_survivor_is_whoever_was_known_first() -> None:
    ada, bob, cy = person("ada", first_ms=5), person("bob", first_ms=4), person("cy", first_ms=5)
    assert survivor(ada, bob) == survivor(bob, ada) == (bob, ada)
    assert survivor(cy, ada) == (ada, cy)


def test_everything_else_is_a_union_and_the_other_holds_only_where_it_went() -> None:
    ada = person(
        "ada", traits={"city": "Rome", "plan": "team"}, origins=dict.fromkeys(("city", "plan"), Origin("a", "1", 5)),
        identifiers=(Identifier("email", "ada@x.de", b"1", "a", 1),), flags=(Flag("r", "t", "s1", 3, 2),),
        guard=7, last_ms=9, first_ms=2, signals=3, absorbed=("old",),
    )  # fmt: skip
    bob = person(
        "bob", account="acme", traits={"city": "Oslo", "role": "admin"}, origins={"city": Origin("b", "2", 8)},
        identifiers=(Identifier("email", "ada@x.de", b"1", "b", 2), Identifier("phone", "+1", b"2", "b", 2)),
        flags=(Flag("r", "t", "s2", 4),), guard=11, last_ms=12, first_ms=3, signals=1, absorbed=("older",),
    )  # fmt: skip
    kept, gone = merged(ada, bob, 20, None)
    assert kept.traits == {"city": "Oslo", "plan": "team", "role": "admin"}
    assert kept.origins["city"] == Origin("b", "2", 8)
    assert [one.hash for one in kept.identifiers] == [b"1", b"2"]
    assert kept.flags == (Flag("r", "t", "s2", 4, 3),)
    assert (kept.account, kept.first_ms, kept.last_ms, kept.signals) == ("acme", 2, 12, 4)
    assert kept.absorbed == ("old", "bob", "older")
    assert kept.guard == gone.guard == 12
    assert gone == Person("bob", guard=12, merged_into="ada")


def test_two_again_keep_contacts_and_what_was_refused_meanwhile() -> None:
    before = person("ada", contacts=(Contact("d1", "o", "email", 1, 9), Contact("d2", "o", "email", 2, 9)), guard=8)
    own = person("bob", consents={"marketing/email": Consent("given", 5, "b#1")})
    refusals = [("marketing/email", Consent("withdrawn", 6, "a#1")), ("service/*", Consent("refused", 2, "x#1"))]
    bob = unmerged(own, before, refusals, {"d1"}, (), 9)
    assert consent_status(bob.consents, "marketing", "email", 50) == "withdrawn"
    assert consent_status(bob.consents, "service", "push", 50) == "refused"
    assert [(one.decision, one.state) for one in bob.contacts] == [("d1", "delivered"), ("d2", "reserved")]
    assert (bob.guard, bob.merged_into) == (9, None)
    newer = msgspec.structs.replace(own, consents={"marketing/email": Consent("given", 7, "b#2")})
    assert unmerged(newer, before, refusals, set(), (), 9).consents["marketing/email"].status == "given"
