"""Consent as signals say it: which words change what a person agreed to, and how."""

from __future__ import annotations

from opportune.core.customers import ANY_CHANNEL, Consent, ConsentStatus, Person, with_consent
from opportune.core.signals import Signal, parse_time_ms

CONSENT_SIGNALS: dict[str, ConsentStatus] = {
    "consent.given": "given",
    "consent.refused": "refused",
    "consent.withdrawn": "withdrawn",
}


def apply_consent(person: Person, signal: Signal) -> Person:
    """The person after a consent signal; any other signal changes nothing.

    `data` holds `purpose`, `channels` (all channels when absent) and, for a permission, `expires_at`. A permission
    whose expiry cannot be read is not one.
    """
    status = CONSENT_SIGNALS.get(signal.type)
    if status is None:
        return person
    purpose = str(signal.data.get("purpose", "marketing"))
    channels = signal.data.get("channels") or [ANY_CHANNEL]
    expires_ms: int | None = None
    if (expires_at := signal.data.get("expires_at")) is not None:
        try:
            expires_ms = parse_time_ms(str(expires_at))
        except ValueError:
            status = "refused" if status == "given" else status
    consent = Consent(status, signal.at_ms, f"{signal.source}#{signal.id}", expires_ms)
    for channel in channels:
        person = with_consent(person, purpose, str(channel), consent)
    return person
