"""Limits over groups, what is kept for them, and what is wrong with a playbook's limits before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from opportune.core.catalog import Channel, ContactLimit, Limit, Offer, Price, Prior, Treatment, candidates_of
from opportune.core.contacts import (
    CONTACTS_KEPT,
    Tally,
    channel_limit_problems,
    compile_limits,
    compile_volumes,
    counting,
    keep_ms_of,
    limit_problems,
    limit_words,
    out_of_room,
    over_limits,
    room_after,
    room_of,
    with_contacts,
    with_state,
)
from opportune.core.customers import Account, Contact, Person

DAY_MS = 86_400_000
NOW_MS = 1_795_514_400_000
KINDS = {"seats": "addon", "storage": "addon", "business": "plan"}


def channel(name: str, **more: Any) -> Channel:
    return Channel(channel=name, title=name, kind="push", contact_cost=0.5, **more)


def offer(name: str, **more: Any) -> Offer:
    words = Treatment(headline=name)
    return Offer(
        offer=name, title=name, kind=KINDS[name], price=Price(amount=10), margin=100.0, owner="tests",
        treatments={"email": words, "in_app": words}, prior=Prior(p_accept=0.2, uplift=0.1), **more,
    )  # fmt: skip


CHANNELS = (channel("email"), channel("in_app"))
OFFERS = tuple(offer(name) for name in KINDS)
CANDIDATES = candidates_of(OFFERS, CHANNELS)
OFFER_MASKS = {name: sum(1 << c.index for c in CANDIDATES if c.offer.offer == name) for name in KINDS}


def held_back(limit: Limit, *seen: tuple[str, str, int], scope: str = "person") -> set[str]:
    contacts = [(scope, name, where, age_ms) for name, where, age_ms in seen]
    found = over_limits(compile_limits((limit,), CHANNELS, CANDIDATES), contacts, OFFER_MASKS)
    assert all(id_ == f"limits.{limit.limit}" for id_, _ in found)
    return {c.id for c in CANDIDATES for _, mask in found if mask >> c.index & 1}


def ids(*wanted: str, where: Sequence[str] = ("email", "in_app")) -> set[str]:
    return {f"{name}@{channel}" for name in wanted for channel in where}


def test_a_global_limit_counts_and_holds_back_everything() -> None:
    limit = Limit(limit="all", at_most=2, per="1d")
    assert held_back(limit, ("seats", "email", 0)) == set()
    assert held_back(limit, ("seats", "email", 0), ("business", "in_app", DAY_MS - 1)) == ids(*KINDS)
    assert held_back(limit, ("seats", "email", 0), ("business", "in_app", DAY_MS)) == set()
    assert held_back(limit, ("seats", "email", 0), ("business", "in_app", 5), scope="account") == set()


def test_a_group_is_counted_and_held_back_by_itself() -> None:
    addons = Limit(limit="addons", at_most=1, per="7d", kinds=("addon",), channels=("email",))
    assert held_back(addons, ("business", "email", 0), ("seats", "in_app", 0)) == set()
    assert held_back(addons, ("storage", "email", 0)) == ids("seats", "storage", where=["email"])
    # Of an offer that is in no catalog any more nobody knows the kind: it counts.
    assert held_back(addons, ("retired", "email", 0)) == ids("seats", "storage", where=["email"])
    named = Limit(limit="named", at_most=1, per="7d", offers=("seats",), of="account")
    assert held_back(named, ("retired", "email", 0), scope="account") == set()
    assert held_back(named, ("seats", "email", 0), scope="account") == ids("seats")


def test_each_offer_for_itself_and_a_cooldown() -> None:
    each = Limit(limit="each", at_most=1, per="7d", count="offer")
    assert held_back(each, ("seats", "in_app", 0)) == ids("seats")
    rest = Limit(limit="rest", cooldown="3d", kinds=("plan",))
    assert held_back(rest, ("business", "email", 3 * DAY_MS - 1)) == ids("business")
    assert held_back(rest, ("business", "email", 3 * DAY_MS)) == set()
    (rule,) = compile_limits((), (channel("email", cooldown="2h"),), CANDIDATES)
    assert (rule.id, rule.at_most, rule.per_ms) == ("email.cooldown", 1, 7_200_000)
    assert over_limits((rule,), [("person", "seats", "in_app", 0)], OFFER_MASKS) == []
    assert limit_words(rule.id, (rule,), (), "EUR") == (
        "contacted in this channel a short while ago (at most 1 per 2 hours)"
    )


def test_a_reservation_counts_as_of_now_and_a_delivery_from_when_it_was() -> None:
    reserved = Contact("d1", "seats", "email", NOW_MS - 5 * DAY_MS, NOW_MS + 1)
    over = Contact("d2", "seats", "email", NOW_MS - DAY_MS, NOW_MS)
    (moved,) = with_state((reserved,), "d1", "delivered", None, NOW_MS - 7)
    assert (moved.state, moved.at_ms) == ("delivered", NOW_MS - 7)
    # Said to be delivered before it was reserved: it was not.
    assert with_state((reserved,), "d1", "seen", None, 5)[0].at_ms == reserved.at_ms
    account = Account("acme", contacts=(moved,))
    person = Person("ada", contacts=(reserved, over, Contact("d3", "seats", "email", NOW_MS, NOW_MS, "released")))
    assert counting(person, account, NOW_MS) == (
        ("person", "seats", "email", 0), ("account", "seats", "email", 7),
    )  # fmt: skip


def test_what_a_limit_needs_is_kept_however_many_come_after() -> None:
    monthly = ContactLimit(limit="monthly", at_most=1, per="30d")
    rules = compile_limits((), (channel("email", limits=(monthly,)), channel("in_app")), CANDIDATES)
    contacts: tuple[Contact, ...] = (Contact("d-mail", "seats", "email", NOW_MS, NOW_MS + 1, "delivered"),)
    for number in range(3 * CONTACTS_KEPT):
        at_ms = NOW_MS + number * 60_000
        made = Contact(f"d{number}", "seats", "in_app", at_ms, at_ms + 1, "delivered")
        contacts = with_contacts(contacts, (made,), rules, keep_ms_of(rules))
    assert len(contacts) == CONTACTS_KEPT + 1
    seen = counting(Person("ada", contacts=contacts), None, contacts[-1].at_ms)
    assert [id_ for id_, _ in over_limits(rules, seen, OFFER_MASKS)] == ["email.monthly"]
    # Once nobody needs it, it goes; a reservation that still holds never does.
    late_ms = NOW_MS + 31 * DAY_MS
    held = Contact("d-held", "seats", "in_app", NOW_MS + 1, late_ms + 9 * DAY_MS)
    made = Contact("d-last", "seats", "in_app", NOW_MS + 20 * DAY_MS, late_ms, "delivered")
    kept = with_contacts((held, *contacts), (made,), rules, keep_ms_of(rules))
    assert kept[0] == held
    assert all(one.decision != "d-mail" for one in with_contacts(contacts, (_at(made, late_ms),), rules, 30 * DAY_MS))


def _at(contact: Contact, at_ms: int) -> Contact:
    return Contact(contact.decision, contact.offer, contact.channel, at_ms, at_ms, contact.state)


def volumes(*limits: Limit, offers: Sequence[Offer] = OFFERS) -> tuple[Any, ...]:
    return compile_volumes(limits, candidates_of(tuple(offers), CHANNELS))


def test_a_volume_is_recorded_only_when_it_is_nearly_used_up() -> None:
    rules = volumes(Limit(limit="mails", at_most=100, per="1d", of="everyone", channels=("email",)))
    tallies = {"limits.mails": Tally("limits.mails", DAY_MS, (), ((NOW_MS + 9, 90),), 90, NOW_MS + 9)}
    assert room_of(rules, tallies.get, NOW_MS) == {}
    tallies["limits.mails"] = Tally("limits.mails", DAY_MS, (), ((NOW_MS + 9, 98),), 98, NOW_MS + 9)
    room = room_of(rules, tallies.get, NOW_MS)
    assert room == {"limits.mails": 2.0}
    assert out_of_room(rules, room, OFFER_MASKS) == []
    left = room_after(rules, room, [CANDIDATES[0], CANDIDATES[1], CANDIDATES[2]])  # two e-mails and one in the product
    assert left == {"limits.mails": 0.0}
    ((stage, id_, mask),) = out_of_room(rules, left, OFFER_MASKS)
    assert (stage, id_) == ("volume_limit", "limits.mails")
    assert {c.id for c in CANDIDATES if mask >> c.index & 1} == ids(*KINDS, where=["email"])
    assert limit_words(id_, (), rules, "EUR") == "this is often enough (at most 100 per 1 day for everyone together)"


def test_a_budget_stops_what_it_cannot_pay_and_lets_the_cheaper_go_on() -> None:
    offers = (offer("seats", spend=20.0), offer("storage", contact_cost=0.25), offer("business"))
    rules = volumes(Limit(limit="vouchers", amount=1000.0, per="1d", of="everyone", reason="the vouchers are out"),
                    offers=offers)  # fmt: skip
    spent = Tally("limits.vouchers:money", DAY_MS, (), ((NOW_MS + 9, 999_300_000),), 999_300_000, NOW_MS + 9)
    room = room_of(rules, {spent.id: spent}.get, NOW_MS)
    assert room == {"limits.vouchers": 0.7}
    ((stage, _, mask),) = out_of_room(rules, room, OFFER_MASKS)
    assert stage == "budget"
    # 0.50 for the channel, and what each offer adds: only the offer that adds nothing still fits.
    assert {c.id for c in CANDIDATES if mask >> c.index & 1} == ids("seats", "storage")
    assert limit_words("limits.vouchers", (), rules, "EUR") == (
        "the vouchers are out (at most 1,000.00 EUR per 1 day for everyone together)"
    )


def test_each_offer_has_a_volume_of_its_own() -> None:
    rules = volumes(Limit(limit="each", at_most=5, per="1d", of="everyone", count="offer", kinds=("addon",)))
    tally = Tally("limits.each/seats", DAY_MS, (), ((NOW_MS + 9, 5),), 5, NOW_MS + 9)
    room = room_of(rules, {tally.id: tally}.get, NOW_MS)
    assert room == {"limits.each/seats": 0.0, "limits.each/storage": 5.0}
    ((_, _, mask),) = out_of_room(rules, room, OFFER_MASKS)
    assert {c.id for c in CANDIDATES if mask >> c.index & 1} == ids("seats")


@pytest.mark.parametrize(
    ("limit", "field", "words"),
    [
        (Limit(limit="a", at_most=1), ("limits", 0, "limit"), "the period is missing"),
        (Limit(limit="a", per="1d"), ("limits", 0, "limit"), "how much is allowed"),
        (Limit(limit="a", per="1d", at_most=1, amount=2.0), ("limits", 0, "amount"), "either `at_most`"),
        (Limit(limit="a", per="soon", at_most=1), ("limits", 0, "per"), "`soon` is not a duration"),
        (Limit(limit="a", per="1d", at_most=0), ("limits", 0, "at_most"), "1 or more"),
        (Limit(limit="a", per="1d", at_most=1001), ("limits", 0, "at_most"), "no more than 1000 contacts"),
        (Limit(limit="a", per="1d", amount=0.0, of="everyone"), ("limits", 0, "amount"), "more than 0"),
        (Limit(limit="a", per="1d", amount=5.0), ("limits", 0, "amount"), "add `of: everyone`"),
        (Limit(limit="a", per="1d", cooldown="1d"), ("limits", 0, "per"), "remove `per`"),
        (Limit(limit="a", cooldown="x"), ("limits", 0, "cooldown"), "not a duration"),
        (Limit(limit="a/b", cooldown="1d"), ("limits", 0, "limit"), "cannot be a limit's id"),
        (Limit(limit="a", cooldown="1d", channels=("mail",)), ("limits", 0, "channels", 0), "unknown channel `mail`"),
        (Limit(limit="a", cooldown="1d", kinds=("adon",)), ("limits", 0, "kinds", 0), "unknown kind of offer"),
        (Limit(limit="a", cooldown="1d", kinds=("plan",), offers=("seats",)), ("limits", 0, "limit"),
         "no offer fits"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_field(limit: Limit, field: tuple[object, ...], words: str) -> None:
    found = [one for one in limit_problems((limit,), OFFERS, CHANNELS) if one.field == field]
    assert any(words in one.message for one in found), list(limit_problems((limit,), OFFERS, CHANNELS))


def test_what_is_right_is_left_alone_and_the_nearest_name_is_told() -> None:
    fine = (
        Limit(limit="a", at_most=1, per="1d"), Limit(limit="b", cooldown="1d", of="account", kinds=("plan",)),
        Limit(limit="c", at_most=10**9, per="1d", of="everyone"), Limit(limit="d", amount=0.5, per="1w", of="everyone"),
    )  # fmt: skip
    assert list(limit_problems(fine, OFFERS, CHANNELS)) == []
    (twice,) = limit_problems((fine[0], fine[0]), OFFERS, CHANNELS)
    assert "defined twice" in twice.message
    near = limit_problems((Limit(limit="a", cooldown="1d", offers=("seat",)),), OFFERS, CHANNELS)
    assert next(near).nearest == "seats"
    many = ContactLimit(limit="cooldown", at_most=5000, per="1d")
    found = [one.field for one in channel_limit_problems(channel("email", limits=(many,), cooldown="x"))]
    assert found == [("limits", 0, "at_most"), ("limits", 0, "limit"), ("cooldown",)]
