"""Every limit of the live release, and for those over everybody how much of it is used now."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from opportune.core.catalog import Limit
from opportune.core.contacts import MONEY_UNITS, Tally, VolumeRule, rule_id, used_at
from opportune.core.decisions.brain import Brain
from opportune.ports import Records


class Used(msgspec.Struct, frozen=True):
    """How much of a limit over everybody is used: delivered in the period that ends now, and reserved."""

    delivered: float
    reserved: float
    left: float


class LimitNow(msgspec.Struct, frozen=True):
    """One limit. `at_most` is contacts, or money in `currency`; `offer` is set where each offer counts for itself.

    `used` is None for limits of a person or an account: see the customer.
    """

    limit: str
    of: str
    group: str
    at_most: float
    currency: str | None
    per_ms: int
    offer: str | None
    used: Used | None
    reason: str
    owner: str


def limits_now(records: Records, brain: Brain, now_ms: int) -> tuple[LimitNow, ...]:
    """In the order of the playbook: the channels' own, then those over groups and over everybody."""
    declared = {rule_id(limit): limit for limit in brain.app.limits}
    found = []
    for rule in brain.limits:
        limit = declared.get(rule.id)
        group = f"in {rule.channel}" if limit is None else group_words(limit)
        owner = "" if limit is None else limit.owner
        each = "each offer" if rule.by_offer else None
        found.append(
            LimitNow(rule.id, rule.scope, group, rule.at_most, None, rule.per_ms, each, None, rule.reason, owner)
        )
    for volume in brain.volumes:
        found += _shared(records, brain, volume, declared[volume.id], now_ms)
    return tuple(found)


def group_words(limit: Limit) -> str:
    """What a limit counts: `email · addon`, or `everything`."""
    return " · ".join(", ".join(part) for part in (limit.channels, limit.offers, limit.kinds) if part) or "everything"


def _shared(records: Records, brain: Brain, rule: VolumeRule, limit: Limit, now_ms: int) -> Iterator[LimitNow]:
    scale = MONEY_UNITS if rule.money else 1
    for offer, _, id_ in rule.parts:
        tally = records.tally(id_)
        used = used_at(tally, rule.per_ms, now_ms)
        reserved = _reserved(tally, now_ms)
        yield LimitNow(
            rule.id, "everyone", group_words(limit), rule.at_most / scale,
            brain.app.currency if rule.money else None, rule.per_ms, offer or None,
            Used((used - reserved) / scale, reserved / scale, max(0, rule.at_most - used) / scale),
            limit.reason, limit.owner,
        )  # fmt: skip


def _reserved(tally: Tally | None, now_ms: int) -> int:
    return 0 if tally is None else sum(units for end_ms, units in tally.held if end_ms > now_ms)
