"""Consent as signals say it: which words change what a person agreed to, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from opportune.core.customers import (
    ANY_CHANNEL,
    EVERYTHING,
    Consent,
    ConsentStatus,
    Person,
    consent_holding,
    consent_parts,
    consent_status,
    with_consent,
)
from opportune.core.signals import Signal, parse_time_ms

CONSENT_SIGNALS: dict[str, ConsentStatus] = {
    "consent.given": "given",
    "consent.refused": "refused",
    "consent.withdrawn": "withdrawn",
    "consent.expired": "expired",
}

BASES: Final = ("consent", "contract", "legitimate_interest", "legal_obligation", "vital_interest", "public_task")
"""Why data may be used (GDPR Art. 6(1)). Against `legitimate_interest` a customer objects: a withdrawal."""

GIVEN_FOR_EVERYTHING: Final = (
    f"`{EVERYTHING}` cannot be permitted: name one purpose, only refusals and withdrawals hold for everything"
)
_DEFAULT_PURPOSE = "marketing"
_YEAR_10000_MS = 253_402_300_800_000


class Held(msgspec.Struct, frozen=True):
    """What holds for one purpose in one channel at an instant, and the word it rests on (None: never asked)."""

    purpose: str
    channel: str
    controller: str
    status: ConsentStatus
    said_of: str | None
    consent: Consent | None


def apply_consent(person: Person, signal: Signal) -> Person:
    """The person after a consent signal; any other signal changes nothing.

    `data` holds `purpose` (`*`: an objection to everything), `channels` (all when absent), and `controller`, `basis`,
    `evidence`, `notice`, `expires_at` where known. A permission whose expiry cannot be read is not one, nor is one for
    everything. A sender's clock may run ahead: nothing was said later than it was received.
    """
    status = CONSENT_SIGNALS.get(signal.type)
    if status is None:
        return person
    data = signal.data
    purpose = str(data.get("purpose") or _DEFAULT_PURPOSE)
    if status == "given" and purpose == EVERYTHING:
        return person
    expires_ms: int | None = None
    if (expires_at := data.get("expires_at")) is not None:
        try:
            expires_ms = expiry_ms(str(expires_at))
        except ValueError:
            status = "refused" if status == "given" else status
    consent = Consent(
        status,
        min(signal.at_ms, signal.received_ms),
        f"{signal.source}#{signal.id}",
        expires_ms,
        str(data.get("basis") or "consent"),
        str(data.get("controller") or ""),
        str(data.get("evidence") or ""),
        str(data.get("notice") or ""),
    )
    for channel in _channels(data.get("channels")):
        person = with_consent(person, purpose, channel, consent)
    return person


def expiry_ms(text: str) -> int:
    """Until when a permission holds; ValueError says what is wrong with the text."""
    try:
        at_ms = parse_time_ms(text)
    except OverflowError:
        at_ms = -1
    if not 0 <= at_ms < _YEAR_10000_MS:
        raise ValueError(f"`{text[:40]}` is no time between 1970 and 9999")
    return at_ms


def own_words(signal: Signal, controller: str) -> Signal:
    """A consent signal that names the playbook's own controller, as if it had named none: it is the same fact."""
    if signal.type not in CONSENT_SIGNALS or signal.data.get("controller") != controller:
        return signal
    data = {name: value for name, value in signal.data.items() if name != "controller"}
    return msgspec.structs.replace(signal, data=data)


def consent_problems(type_: str, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What no schema can say about a consent signal, as (path, what is wrong), like a validator."""
    if CONSENT_SIGNALS.get(type_) == "given" and data.get("purpose") == EVERYTHING:
        yield ".purpose", GIVEN_FOR_EVERYTHING


def held(
    consents: Mapping[str, Consent], purposes: tuple[str, ...], channels: tuple[str, ...], now_ms: int
) -> tuple[Held, ...]:
    """What holds now: a row per purpose and channel of the playbook, and one for everything else that was said."""
    pairs = dict.fromkeys((purpose, channel, "") for purpose in purposes for channel in channels)
    pairs |= dict.fromkeys(consent_parts(key) for key in sorted(consents))
    rows = []
    for purpose, channel, controller in pairs:
        found = consent_holding(consents, purpose, channel, controller)
        status = consent_status(consents, purpose, channel, now_ms, controller)
        rows.append(Held(purpose, channel, controller, status, *((None, None) if found is None else found)))
    return tuple(rows)


def _channels(value: object) -> tuple[str, ...]:
    if isinstance(value, str) and value:
        return (value,)
    if isinstance(value, list | tuple) and value:
        return tuple(str(channel) for channel in value)
    return (ANY_CHANNEL,)
