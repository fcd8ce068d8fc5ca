"""Step 2, snapshot: what a decision sees of a customer and an account at one instant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Final

from opportune.core.beliefs import BeliefTable
from opportune.core.contacts import counting, local_time, quiet_from_ms
from opportune.core.customers import Account, ConsentStatus, Person, consent_key, consent_parts, consent_status
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.records import Seen
from opportune.core.features import Outside
from opportune.core.features.reader import NOTHING_OUTSIDE

NOTHING_READ: Final = Outside()
NO_ROOM_ASKED: Final[Mapping[str, float]] = {}


def see(
    brain: Brain,
    person: Person,
    account: Account | None,
    channels: Sequence[str],
    now_ms: int,
    refused: Collection[str] = (),
    outside: Outside = NOTHING_READ,
    room: Mapping[str, float] = NO_ROOM_ASKED,
    believed: BeliefTable | None = None,
) -> Seen:
    """Features with their ages, consent, contacts and local time; nothing is looked up after this.

    `refused` are purposes that whoever asks refuses for this one decision, whatever was said before.
    `outside` is what was read from elsewhere just before; `room` what is left of limits over everybody; `believed` what
    is believed of offers without a model.
    """
    vector = brain.views.read(
        person.features, None if account is None else account.features, now_ms,
        NOTHING_OUTSIDE if outside is NOTHING_READ else outside.aged(now_ms),
    )  # fmt: skip
    names = brain.views.names
    consents: dict[str, ConsentStatus] = {
        key: consent_status(person.consents, purpose, channel, now_ms)
        for key, purpose, channel in _consents_read(brain.purposes, tuple(channels))
    }
    if refused:
        consents |= {key: "refused" for key in consents if consent_parts(key)[0] in refused}
    zone = str(person.traits.get("timezone") or brain.app.timezone)
    minute, day = local_time(now_ms, zone, brain.app.timezone)
    features = dict(zip(names, vector.values, strict=True))
    return Seen(
        at_ms=now_ms,
        account=person.account,
        unit=person.account or person.id,
        features=features,
        ages_ms=_ages(names, vector.ages_ms),
        consents=consents,
        contacts=counting(person, account, now_ms),
        local_minute=minute,
        local_day=day,
        quiet_from=_quiet_from(brain, channels, now_ms, zone) if brain.quiet else {},
        stale=vector.stale,
        missing=vector.missing,
        flags=_flags(person, account, now_ms) if person.flags or (account is not None and account.flags) else (),
        unread=outside.unread,
        room=room,
        beliefs=None if believed is None else believed.seen(features, channels),
    )


def _quiet_from(brain: Brain, channels: Sequence[str], now_ms: int, zone: str) -> dict[str, int]:
    """When each channel falls silent, where that is before a grant of now would end."""
    found = {}
    for rule in brain.quiet:
        if rule.channel in channels:
            end_ms = now_ms + brain.grant_ttl_ms[rule.channel]
            from_ms = quiet_from_ms(rule, now_ms, zone, brain.app.timezone, end_ms)
            if from_ms is not None:
                found[rule.channel] = from_ms
    return found


def _ages(names: tuple[str, ...], ages_ms: tuple[int | None, ...]) -> dict[str, int]:
    """By name, of those that have one."""
    if None not in ages_ms:
        return dict(zip(names, ages_ms, strict=True))  # type: ignore[arg-type]  # as was just asked
    return {name: age for name, age in zip(names, ages_ms, strict=True) if age is not None}


@lru_cache(maxsize=256)
def _consents_read(purposes: tuple[str, ...], channels: tuple[str, ...]) -> tuple[tuple[str, str, str], ...]:
    """(key, purpose, channel) of every consent that a decision looks at."""
    return tuple((consent_key(purpose, channel), purpose, channel) for purpose in purposes for channel in channels)


def _flags(person: Person, account: Account | None, now_ms: int) -> tuple[tuple[str, str, str, int, int], ...]:
    scopes = (("person", person.flags), ("account", () if account is None else account.flags))
    return tuple(
        (scope, flag.rule, flag.type, now_ms - flag.at_ms, flag.count) for scope, flags in scopes for flag in flags
    )
