"""Customers and accounts: one picture of each person and of the company that buys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from opportune.core.features import EntityFeatures

ConsentStatus = Literal["given", "refused", "withdrawn", "expired", "unknown"]
ContactState = Literal["reserved", "delivered", "seen", "released"]
ANY_CHANNEL = "*"


class Consent(msgspec.Struct, frozen=True, array_like=True):
    """What a person said about one purpose in one channel, and when. Unknown means refused."""

    status: ConsentStatus
    at_ms: int
    source: str
    expires_ms: int | None = None


class Contact(msgspec.Struct, frozen=True, array_like=True):
    """One use of a customer's attention: reserved at the decision, confirmed on delivery, or released."""

    decision: str
    offer: str
    channel: str
    at_ms: int
    expires_ms: int
    state: ContactState = "reserved"


class Person(msgspec.Struct, frozen=True, array_like=True):
    """The state of one customer. `guard` grows whenever consent or contacts change."""

    id: str
    account: str | None = None
    traits: Mapping[str, Any] = {}
    features: EntityFeatures | None = None
    consents: Mapping[str, Consent] = {}
    contacts: tuple[Contact, ...] = ()
    guard: int = 0
    last_ms: int = 0


class Account(msgspec.Struct, frozen=True, array_like=True):
    """The state of one account: contacts of all its people count here too."""

    id: str
    traits: Mapping[str, Any] = {}
    features: EntityFeatures | None = None
    contacts: tuple[Contact, ...] = ()
    guard: int = 0
    last_ms: int = 0


def consent_key(purpose: str, channel: str) -> str:
    """The key of one consent: `marketing/email`."""
    return f"{purpose}/{channel}"


def consent_status(consents: Mapping[str, Consent], purpose: str, channel: str, now_ms: int) -> ConsentStatus:
    """What holds now for a purpose in a channel. The latest word wins, whether said of this channel or of all.

    INVARIANT: whoever never answered has refused; an expired consent is not consent.
    """
    here = consents.get(consent_key(purpose, channel))
    everywhere = consents.get(consent_key(purpose, ANY_CHANNEL))
    consent = _stricter_latest(here, everywhere)
    if consent is None:
        return "unknown"
    if consent.status == "given" and consent.expires_ms is not None and consent.expires_ms <= now_ms:
        return "expired"
    return consent.status


def _stricter_latest(one: Consent | None, other: Consent | None) -> Consent | None:
    if one is None or other is None:
        return one or other
    if one.at_ms != other.at_ms:
        return one if one.at_ms > other.at_ms else other
    return other if one.status == "given" else one


def with_consent(
    person: Person, purpose: str, channel: str, consent: Consent
) -> Person:
    """The person after saying something about consent; an older word arriving late changes nothing.

    INVARIANT: at the same instant a refusal beats a permission.
    """
    key = consent_key(purpose, channel)
    known = person.consents.get(key)
    if known is not None and _stricter_latest(known, consent) is known:
        return person
    return msgspec.structs.replace(
        person, consents={**person.consents, key: consent}, guard=person.guard + 1
    )
