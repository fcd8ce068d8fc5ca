"""Contact limits: how often, and at which hours, a customer's attention may be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from opportune.core.catalog import Channel, QuietHours
from opportune.core.customers import Account, Contact, ContactState, Person
from opportune.core.durations import parse_duration_ms

CONTACTS_KEPT_MAX = 256

SeenContact = tuple[str, str, str, int]
"""(scope, offer, channel, age_ms): one contact that counts, scope `person` or `account`."""


class LimitRule(msgspec.Struct, frozen=True):
    """One compiled limit of one channel."""

    id: str
    channel: str
    scope: str
    count: str
    at_most: int
    per_ms: int
    reason: str


class QuietRule(msgspec.Struct, frozen=True):
    """Quiet hours of one push channel, as minutes of the customer's local day; may wrap past midnight."""

    id: str
    channel: str
    start_minute: int
    end_minute: int


def compile_limits(channels: Sequence[Channel]) -> tuple[LimitRule, ...]:
    """The limits of all channels; ValueError for a period that is not a duration."""
    return tuple(
        LimitRule(
            f"{channel.channel}.{limit.limit}",
            channel.channel,
            limit.of,
            limit.count,
            limit.at_most,
            parse_duration_ms(limit.per),
            limit.reason,
        )
        for channel in channels
        for limit in channel.limits
    )


def compile_quiet_hours(channels: Sequence[Channel]) -> tuple[QuietRule, ...]:
    """The quiet hours of all channels that have them; ValueError for a time that is not HH:MM."""
    return tuple(
        QuietRule(f"{channel.channel}.quiet_hours", channel.channel, *_minutes(channel.quiet_hours))
        for channel in channels
        if channel.quiet_hours is not None
    )


def counting(person: Person, account: Account | None, now_ms: int) -> tuple[SeenContact, ...]:
    """Every contact that counts at `now_ms`: not released, and not a reservation that ran out."""
    found = [
        ("person", contact.offer, contact.channel, now_ms - contact.at_ms)
        for contact in person.contacts
        if _counts(contact, now_ms)
    ]
    if account is not None:
        found += [
            ("account", contact.offer, contact.channel, now_ms - contact.at_ms)
            for contact in account.contacts
            if _counts(contact, now_ms)
        ]
    return tuple(found)


def over_limits(
    rules: Sequence[LimitRule],
    contacts: Sequence[SeenContact],
    channel_masks: Mapping[str, int],
    offer_masks: Mapping[str, int],
) -> list[tuple[str, int]]:
    """(limit id, mask of candidates it holds back) for each limit that is used up."""
    found: list[tuple[str, int]] = []
    for rule in rules if contacts else ():
        mask = _held_back(rule, contacts, offer_masks) & channel_masks.get(rule.channel, 0)
        if mask:
            found.append((rule.id, mask))
    return found


def in_quiet_hours(rule: QuietRule, local_minute: int) -> bool:
    """Whether the channel is silent at this minute of the customer's day; the end minute itself is not."""
    if rule.start_minute <= rule.end_minute:
        return rule.start_minute <= local_minute < rule.end_minute
    return local_minute >= rule.start_minute or local_minute < rule.end_minute


def with_contacts(contacts: tuple[Contact, ...], made: tuple[Contact, ...], keep_ms: int) -> tuple[Contact, ...]:
    """The contacts with those made now; those too old for any limit are let go.

    INVARIANT: at most CONTACTS_KEPT_MAX are kept, the newest: limits are far smaller than that.
    """
    kept = tuple(known for known in contacts if made[0].at_ms - known.at_ms < keep_ms)
    return (*kept, *made)[-CONTACTS_KEPT_MAX:]


def with_state(
    contacts: tuple[Contact, ...], decision: str, state: ContactState, offer: str | None = None
) -> tuple[Contact, ...]:
    """The contacts with those of `decision` (or just the one for `offer`) in a later state; states only move
    forward."""
    order: tuple[ContactState, ...] = ("reserved", "delivered", "seen")
    changed = []
    for contact in contacts:
        other = contact.decision != decision or (offer is not None and contact.offer != offer)
        if other or contact.state == "released":
            changed.append(contact)
        elif state == "released":
            changed.append(
                msgspec.structs.replace(contact, state=state) if contact.state == "reserved" else contact
            )
        elif order.index(state) > order.index(contact.state):
            changed.append(msgspec.structs.replace(contact, state=state))
        else:
            changed.append(contact)
    return tuple(changed)


def keep_ms_of(rules: Sequence[LimitRule]) -> int:
    """How long a contact must be remembered for every limit to be right, and at least 30 days."""
    return max([parse_duration_ms("30d"), *(rule.per_ms for rule in rules)])


def _counts(contact: Contact, now_ms: int) -> bool:
    if contact.state == "reserved":
        return contact.expires_ms > now_ms
    return contact.state != "released"


def _held_back(rule: LimitRule, contacts: Sequence[SeenContact], offer_masks: Mapping[str, int]) -> int:
    counts: dict[str, int] = {}
    for scope, offer, channel, age_ms in contacts:
        if scope != rule.scope or age_ms >= rule.per_ms:
            continue
        if rule.count == "channel" and channel != rule.channel:
            continue
        key = offer if rule.count == "offer" else ""
        counts[key] = counts.get(key, 0) + 1
    if rule.count != "offer":
        return -1 if counts.get("", 0) >= rule.at_most else 0
    mask = 0
    for offer, count in counts.items():
        if count >= rule.at_most:
            mask |= offer_masks.get(offer, 0)
    return mask


def _minutes(quiet: QuietHours) -> tuple[int, int]:
    return _minute(quiet.start), _minute(quiet.end)


def _minute(text: str) -> int:
    hours, _, minutes = text.partition(":")
    if not (hours.isdecimal() and minutes.isdecimal() and int(hours) < 24 and int(minutes) < 60):
        raise ValueError(f"`{text}` is not a time of day such as 20:00")
    return int(hours) * 60 + int(minutes)
