"""Contact limits of one person or account: how often their attention may be used, over channels, offers and kinds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from opportune.core.catalog import Candidate, Channel, Limit
from opportune.core.customers import Account, Contact, Person
from opportune.core.durations import parse_duration_ms

COOLDOWN = "cooldown"
"""The id of the limit that a channel's `cooldown` stands for."""

SeenContact = tuple[str, str, str, int]
"""(scope, offer, channel, age_ms): one contact that counts, scope `person` or `account`."""


class LimitRule(msgspec.Struct, frozen=True):
    """One compiled limit: `mask` are the candidates it holds back once it is used up.

    A contact counts when it is in one of `channels` (None: in any), of one of `offers` (None: of any) and of none of
    `others`. A group of kinds is told by `others`, the offers of other kinds: an offer that is in no catalog any more
    has no kind, and counts. `by_offer` counts each offer for itself. `channel` is the one whose limit it is, if any.
    """

    id: str
    channel: str
    scope: str
    mask: int
    channels: frozenset[str] | None
    offers: frozenset[str] | None
    others: frozenset[str]
    by_offer: bool
    at_most: int
    per_ms: int
    reason: str


def compile_limits(
    limits: Sequence[Limit], channels: Sequence[Channel], candidates: Sequence[Candidate]
) -> tuple[LimitRule, ...]:
    """The limits per person and account of all channels and of the whole playbook; ValueError for a period that is
    not a duration."""
    found = [rule for channel in channels for rule in _of_channel(channel, candidates)]
    for limit in limits:
        if limit.of == "everyone":
            continue
        at_most, per_ms = most_of(limit)
        offers, others = group_of(limit, candidates)
        found.append(
            LimitRule(
                rule_id(limit), "", limit.of, mask_of(limit, candidates), frozenset(limit.channels) or None, offers,
                others, limit.count == "offer", at_most, per_ms, limit.reason,
            )
        )  # fmt: skip
    return tuple(found)


def rule_id(limit: Limit) -> str:
    """How a limit of the playbook is named where it holds something back."""
    return f"limits.{limit.limit}"


def most_of(limit: Limit) -> tuple[int, int]:
    """(how many, per how many ms) of a limit that counts contacts; a cooldown is one per period."""
    if limit.cooldown is not None:
        return 1, parse_duration_ms(limit.cooldown)
    return limit.at_most or 0, parse_duration_ms(limit.per or "")


def mask_of(limit: Limit, candidates: Sequence[Candidate]) -> int:
    """The candidates in a limit's group: in one of its channels, of one of its offers and of one of its kinds."""
    return sum(
        1 << one.index
        for one in candidates
        if (not limit.channels or one.channel.channel in limit.channels)
        and (not limit.offers or one.offer.offer in limit.offers)
        and (not limit.kinds or one.offer.kind in limit.kinds)
    )


def group_of(limit: Limit, candidates: Sequence[Candidate]) -> tuple[frozenset[str] | None, frozenset[str]]:
    """(offers that count, None for all but the others; offers that do not)."""
    kinds = frozenset(limit.kinds)
    others = frozenset(one.offer.offer for one in candidates if kinds and one.offer.kind not in kinds)
    return frozenset(limit.offers) or None, others


def counting(person: Person, account: Account | None, now_ms: int) -> tuple[SeenContact, ...]:
    """Every contact that counts at `now_ms`: not released, and not a reservation that ran out.

    INVARIANT: a reservation counts as of now for as long as it holds: it may be delivered at any moment.
    """
    found: list[SeenContact] = []
    holders = (("person", person.contacts), ("account", () if account is None else account.contacts))
    for scope, contacts in holders:
        for one in contacts:
            if one.state == "reserved":
                if one.expires_ms > now_ms:
                    found.append((scope, one.offer, one.channel, 0))
            elif one.state != "released":
                found.append((scope, one.offer, one.channel, now_ms - one.at_ms))
    return tuple(found)


def over_limits(
    rules: Sequence[LimitRule], contacts: Sequence[SeenContact], offer_masks: Mapping[str, int]
) -> list[tuple[str, int]]:
    """(limit id, mask of candidates it holds back) for each limit that is used up."""
    found: list[tuple[str, int]] = []
    for rule in rules if contacts else ():
        mask = 0
        for offer, count in counted(rule, contacts).items():
            if count >= rule.at_most:
                mask |= offer_masks.get(offer, 0) if rule.by_offer else rule.mask
        if mask & rule.mask:
            found.append((rule.id, mask & rule.mask))
    return found


def counted(rule: LimitRule, contacts: Iterable[SeenContact]) -> dict[str, int]:
    """How many contacts count under a rule: of each offer, or (under the key "") of all."""
    counts: dict[str, int] = {}
    channels, offers, others = rule.channels, rule.offers, rule.others
    for scope, offer, channel, age_ms in contacts:
        if (
            age_ms < rule.per_ms
            and scope == rule.scope
            and (channels is None or channel in channels)
            and (offers is None or offer in offers)
            and offer not in others
        ):
            key = offer if rule.by_offer else ""
            counts[key] = counts.get(key, 0) + 1
    return counts


def belongs(rule: LimitRule, contact: Contact) -> bool:
    """Does a contact count under this rule, whoever's and whenever?"""
    return (
        (rule.channels is None or contact.channel in rule.channels)
        and (rule.offers is None or contact.offer in rule.offers)
        and contact.offer not in rule.others
    )


def keep_ms_of(rules: Sequence[LimitRule]) -> int:
    """How long a contact must be remembered for every limit to be right, and at least 30 days."""
    return max([parse_duration_ms("30d"), *(rule.per_ms for rule in rules)])


def _of_channel(channel: Channel, candidates: Sequence[Candidate]) -> list[LimitRule]:
    name = channel.channel
    mask = sum(1 << one.index for one in candidates if one.channel.channel == name)
    found = [
        LimitRule(
            f"{name}.{limit.limit}", name, limit.of, mask, frozenset({name}) if limit.count == "channel" else None,
            None, frozenset(), limit.count == "offer", limit.at_most, parse_duration_ms(limit.per), limit.reason,
        )
        for limit in channel.limits
    ]  # fmt: skip
    if channel.cooldown is not None:
        found.append(
            LimitRule(
                f"{name}.{COOLDOWN}", name, "person", mask, frozenset({name}), None, frozenset(), False, 1,
                parse_duration_ms(channel.cooldown), "contacted in this channel a short while ago",
            )
        )  # fmt: skip
    return found
