"""Step 2, snapshot: what a decision sees of a customer and an account at one instant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from opportune.core.contacts import counting
from opportune.core.customers import Account, ConsentStatus, Person, consent_key, consent_parts, consent_status
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.records import Seen
from opportune.core.features import Outside
from opportune.core.features.reader import NOTHING_OUTSIDE

NOTHING_READ: Final = Outside()


def see(
    brain: Brain,
    person: Person,
    account: Account | None,
    channels: Sequence[str],
    now_ms: int,
    refused: Collection[str] = (),
    outside: Outside = NOTHING_READ,
) -> Seen:
    """Features with their ages, consent, contacts and local time; nothing is looked up after this.

    `refused` are purposes that whoever asks refuses for this one decision, whatever was said before.
    `outside` is what was read from elsewhere just before.
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
    return Seen(
        at_ms=now_ms,
        account=person.account,
        unit=person.account or person.id,
        features=dict(zip(names, vector.values, strict=True)),
        ages_ms={name: age for name, age in zip(names, vector.ages_ms, strict=True) if age is not None},
        consents=consents,
        contacts=counting(person, account, now_ms),
        local_minute=local_minute(now_ms, str(person.traits.get("timezone") or brain.app.timezone)),
        stale=vector.stale,
        missing=vector.missing,
        flags=_flags(person, account, now_ms) if person.flags or (account is not None and account.flags) else (),
        unread=outside.unread,
    )


def _flags(person: Person, account: Account | None, now_ms: int) -> tuple[tuple[str, str, str, int, int], ...]:
    scopes = (("person", person.flags), ("account", () if account is None else account.flags))
    return tuple(
        (scope, flag.rule, flag.type, now_ms - flag.at_ms, flag.count) for scope, flags in scopes for flag in flags
    )


def local_minute(now_ms: int, zone: str) -> int:
    """The minute of the local day, daylight saving included; UTC for a zone nobody knows."""
    moment = datetime.fromtimestamp(now_ms / 1000, _zone(zone))
    return moment.hour * 60 + moment.minute


@lru_cache(maxsize=1024)
def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return UTC
