"""Contacts as they are kept: reserved, delivered, seen or released, and let go when no limit needs them any more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from opportune.core.contacts.limits import LimitRule, belongs
from opportune.core.customers import Contact, ContactState, Hold

CONTACTS_KEPT = 256
"""So many are kept whether a limit needs them or not."""

_ORDER: tuple[ContactState, ...] = ("reserved", "delivered", "seen")


def with_contacts(
    contacts: tuple[Contact, ...], made: tuple[Contact, ...], rules: Sequence[LimitRule], keep_ms: int
) -> tuple[Contact, ...]:
    """The contacts with those made now; those that no limit needs any more are let go.

    INVARIANT: of a limit of `n`, the `n` newest contacts that were delivered and every reservation that still holds
    are kept for its whole period, however many others came after them.
    """
    now_ms = made[0].at_ms
    kept = (*(known for known in contacts if now_ms - known.at_ms < keep_ms), *made)
    if len(kept) <= CONTACTS_KEPT:
        return kept
    needed = set(range(len(kept) - CONTACTS_KEPT, len(kept)))
    needed |= {place for place, one in enumerate(kept) if one.state == "reserved" and one.expires_ms > now_ms}
    for rule in rules:
        needed |= _needed(rule, kept)
    return tuple(one for place, one in enumerate(kept) if place in needed)


def with_state(
    contacts: tuple[Contact, ...], decision: str, state: ContactState, offer: str | None = None,
    at_ms: int | None = None,
) -> tuple[Contact, ...]:  # fmt: skip
    """The contacts with those of `decision` (or just the one for `offer`) in a later state; states only move
    forward, and what they held of the counters for everybody is theirs no more.

    What is delivered counts from then on (`at_ms`), not from its reservation: a limit is about when somebody is
    contacted.
    """
    if not any(one.decision == decision for one in contacts):
        return contacts
    return tuple(
        one
        if one.decision != decision or (offer is not None and one.offer != offer)
        else _moved(one, state, at_ms)
        for one in contacts
    )


def holds_of(contacts: Iterable[Contact], decision: str, offer: str | None = None) -> tuple[Hold, ...]:
    """What the contacts of a decision (or just the one for `offer`) still hold of the counters for everybody."""
    return tuple(
        hold
        for one in contacts
        if one.decision == decision and (offer is None or one.offer == offer)
        for hold in one.holds
    )


def _moved(contact: Contact, state: ContactState, at_ms: int | None) -> Contact:
    if contact.state == "released":
        return contact
    replace = msgspec.structs.replace
    if state == "released":
        return replace(contact, state="released" if contact.state == "reserved" else contact.state, holds=())
    since_ms = contact.at_ms
    if contact.state == "reserved" and at_ms is not None:
        since_ms = max(since_ms, at_ms)
    further = state if _ORDER.index(state) > _ORDER.index(contact.state) else contact.state
    return replace(contact, state=further, at_ms=since_ms, holds=())


def _needed(rule: LimitRule, contacts: Sequence[Contact]) -> set[int]:
    """The places of the newest delivered contacts that a rule counts, as many as it allows (of each offer)."""
    found: set[int] = set()
    counts: dict[str, int] = {}
    newest_first = sorted(range(len(contacts)), key=lambda place: contacts[place].at_ms, reverse=True)
    for place in newest_first:
        one = contacts[place]
        if one.state not in ("delivered", "seen") or not belongs(rule, one):
            continue
        key = one.offer if rule.by_offer else ""
        if counts.get(key, 0) < rule.at_most:
            counts[key] = counts.get(key, 0) + 1
            found.add(place)
    return found
