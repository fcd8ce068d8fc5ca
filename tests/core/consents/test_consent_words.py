"""What people say about consent: the latest word holds, at one instant the stricter, in whatever order it arrives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from opportune.core.consents import CONSENT_SIGNALS, apply_consent, held, own_words
from opportune.core.customers import (
    Consent,
    Person,
    consent_key,
    consent_parts,
    consent_status,
)
from opportune.core.identity import merged_consents
from opportune.core.signals import Signal, format_time

PURPOSES, CHANNELS, CONTROLLERS = ("marketing", "advertising"), ("email", "in_app"), ("", "partner")
LAST_MS = 8
UNREADABLE = ("soon", 17, "0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z")
_STRICT = {"given": 0, "expired": 1, "refused": 2, "withdrawn": 3}


def word(type_: str, at_ms: int, purpose: str = "marketing", *channels: str, **more: Any) -> Signal:
    data = {"purpose": purpose, "channels": list(channels or ("*",)), **more}
    return Signal("tests", f"{type_}-{at_ms}-{more}", type_, 1, at_ms, max(at_ms, LAST_MS), "ada", None, data)


@st.composite
def words(draw: st.DrawFn) -> Signal:
    type_ = draw(st.sampled_from(sorted(CONSENT_SIGNALS)))
    more: dict[str, Any] = {}
    if controller := draw(st.sampled_from(CONTROLLERS)):
        more["controller"] = controller
    if draw(st.integers(0, 3)) == 0:
        more["expires_at"] = draw(st.sampled_from([format_time(4), format_time(LAST_MS + 5), *UNREADABLE]))
    purpose = draw(st.sampled_from((*PURPOSES, "*")))
    channels = draw(st.lists(st.sampled_from((*CHANNELS, "*")), min_size=1, max_size=2))
    return word(type_, draw(st.integers(1, LAST_MS)), purpose, *channels, **more)


def told(said: Sequence[Signal]) -> Person:
    person = Person("ada")
    for one in said:
        person = apply_consent(person, one)
    return person


def expected(said: Sequence[Signal], purpose: str, channel: str, controller: str) -> str:
    """The rules once more, over the words as they were said."""
    bearing = []
    for one in said:
        status = CONSENT_SIGNALS[one.type]
        if one.data.get("controller", "") != controller or one.data["purpose"] not in (purpose, "*"):
            continue
        if not {channel, "*"} & set(one.data["channels"]) or (status == "given" and one.data["purpose"] == "*"):
            continue
        expires = one.data.get("expires_at")
        if status == "given" and expires in UNREADABLE:
            status = "refused"
        ends = 4 if expires == format_time(4) else LAST_MS + 5 if expires == format_time(LAST_MS + 5) else 10**9
        bearing.append((one.at_ms, _STRICT[status], -ends, status))
    if not bearing:
        return "unknown"
    _, _, ends, status = max(bearing)
    return "expired" if status == "given" and -ends <= LAST_MS else status


@given(st.lists(words(), max_size=7), st.randoms())
def test_what_holds_is_the_latest_word_in_whatever_order_it_arrives(said: list[Signal], chance: Any) -> None:
    mixed = [*said, *said]
    chance.shuffle(mixed)
    one, other = told(said), told(mixed)
    assert one.consents == other.consents
    for purpose in PURPOSES:
        for channel in CHANNELS:
            for controller in CONTROLLERS:
                status = consent_status(one.consents, purpose, channel, LAST_MS, controller)
                assert status == expected(said, purpose, channel, controller)


@given(st.lists(words(), max_size=6))
def test_an_objection_beats_everything_older_and_nothing_newer(said: list[Signal]) -> None:
    said = [one for one in said if "controller" not in one.data]
    objected = told([*said, word("consent.withdrawn", LAST_MS + 1, "*")])
    for purpose in (*PURPOSES, "never_heard_of"):
        assert consent_status(objected.consents, purpose, "email", LAST_MS + 1) == "withdrawn"
    again = apply_consent(objected, word("consent.given", LAST_MS + 2, "marketing", "email"))
    assert consent_status(again.consents, "marketing", "email", LAST_MS + 2) == "given"
    assert consent_status(again.consents, "marketing", "in_app", LAST_MS + 2) == "withdrawn"


@given(st.lists(words(), max_size=5), st.lists(words(), max_size=5))
def test_a_merge_permits_nothing_that_either_refused(mine: list[Signal], theirs: list[Signal]) -> None:
    one, other = told(mine).consents, told(theirs).consents
    both = merged_consents(one, other, LAST_MS)
    for purpose in PURPOSES:
        for channel in CHANNELS:
            for controller in CONTROLLERS:
                where = (purpose, channel, LAST_MS, controller)
                if consent_status(both, *where) == "given":
                    assert {consent_status(one, *where), consent_status(other, *where)} <= {"given", "unknown"}


def test_nobody_can_permit_everything() -> None:
    assert told([word("consent.given", 1, "*")]).consents == {}
    kept = {"*/*": Consent("given", 5, "an old store")}
    assert consent_status(kept, "marketing", "email", 6) == "unknown"


def test_a_senders_clock_ahead_does_not_outlive_a_withdrawal() -> None:
    ahead = msgspec.structs.replace(word("consent.given", 200_000), received_ms=1_000)
    person = told([ahead, word("consent.withdrawn", 1_001)])
    assert consent_status(person.consents, "marketing", "email", 1_002) == "withdrawn"


def test_another_controllers_permission_is_not_ours() -> None:
    person = told([word("consent.given", 1, "marketing", "email", controller="partner")])
    assert list(person.consents) == ["marketing/email@partner"]
    assert consent_status(person.consents, "marketing", "email", 2) == "unknown"
    assert consent_status(person.consents, "marketing", "email", 2, "partner") == "given"


def test_our_own_controller_named_is_none_named() -> None:
    said = word("consent.given", 1, controller="larkfield")
    assert own_words(said, "larkfield").data == {"purpose": "marketing", "channels": ["*"]}
    assert own_words(said, "partner") is said


@given(st.tuples(st.text(min_size=1), st.text(min_size=1), st.text()))
def test_a_key_means_one_thing(parts: tuple[str, str, str]) -> None:
    assert consent_parts(consent_key(*parts)) == parts


def test_what_holds_is_listed_for_every_purpose_and_channel() -> None:
    person = told([word("consent.withdrawn", 3, "*"), word("consent.given", 4, "marketing", "email", basis="contract")])
    rows = {(row.purpose, row.channel): row for row in held(person.consents, PURPOSES, CHANNELS, 5)}
    assert rows["marketing", "email"].status == "given"
    assert rows["marketing", "email"].consent.basis == "contract"  # type: ignore[union-attr]
    assert (rows["marketing", "in_app"].status, rows["marketing", "in_app"].said_of) == ("withdrawn", "*/*")
    assert rows["*", "*"].status == "withdrawn"
