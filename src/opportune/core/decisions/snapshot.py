"""Step 2, snapshot: what a decision sees of a customer and an account at one instant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

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
) -> Seen:
    """Features with their ages, consent, contacts and local time; nothing is looked up after this.

    `refused` are purposes that whoever asks refuses for this one decision, whatever was said before.
    `outside` is what was read from elsewhere just before; `room` what is left of limits over everybody.
    """
    vector = brain.views.read(
        person.features, None if account is None else account.features, now_ms,
        NOTHING_OUTSIDE if outside is NOTHING_READ else outside.aged(now_ms),
    )  # fmt: skip
    names = brain.views.names
    consents: dict[str, ConsentStatus] = {
        consent_key(purpose, channel): consent_status(person.consents, purpose, channel, now_ms)
        for purpose in brain.purposes
        for channel in channels
    }
    if refused:
        consents |= {key: "refused" for key in consents if consent_parts(key)[0] in refused}
    zone = str(person.traits.get("timezone") or brain.app.timezone)
    minute, day = local_time(now_ms, zone, brain.app.timezone)
    return Seen(
        at_ms=now_ms,
        account=person.account,
        unit=person.account or person.id,
        features=dict(zip(names, vector.values, strict=True)),
        ages_ms={name: age for name, age in zip(names, vector.ages_ms, strict=True) if age is not None},
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


def _flags(person: Person, account: Account | None, now_ms: int) -> tuple[tuple[str, str, str, int, int], ...]:
    scopes = (("person", person.flags), ("account", () if account is None else account.flags))
    return tuple(
        (scope, flag.rule, flag.type, now_ms - flag.at_ms, flag.count) for scope, flags in scopes for flag in flags
    )
