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
    """What a person said about one purpose in one channel to one controller, and when. Unknown means refused.

    `basis` is the legal basis, `evidence` says what proves it (a form, a call, a file), `notice` is the version of
    the text the person saw. `controller` is empty for the playbook's own.
    """

    status: ConsentStatus
    at_ms: int
    source: str
    expires_ms: int | None = None
    basis: str = "consent"
    controller: str = ""
    evidence: str = ""
    notice: str = ""


class Contact(msgspec.Struct, frozen=True, array_like=True):
    """One use of a customer's attention: reserved at the decision, confirmed on delivery, or released."""

    decision: str
    offer: str
    channel: str
    at_ms: int
    expires_ms: int
    state: ContactState = "reserved"


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """Where a fact came from: the signal `signal` of `source`, true since `at_ms`."""

    source: str
    signal: str
    at_ms: int


class Identifier(msgspec.Struct, frozen=True, array_like=True):
    """One normalised identifier of a person: `kind` is `email`, `phone` or `external:<system>`.

    `hash` is how it is looked up; `value` exists only inside the person's state, which is sealed at rest.
    """

    kind: str
    value: str
    hash: bytes
    source: str
    at_ms: int


class Flag(msgspec.Struct, frozen=True, array_like=True):
    """A quality rule that signals of `type` broke and were accepted or repaired: the newest of them, and how many."""

    rule: str
    type: str
    signal: str
    at_ms: int
    count: int = 1


class Person(msgspec.Struct, frozen=True, array_like=True):
    """The state of one customer. `guard` grows whenever consent, contacts or identity change.

    `origins` says where each trait came from, `signals` how many were folded. A person that was merged holds nothing
    but `merged_into`, the customer that lives on (see `core.identity`).
    """

    id: str
    account: str | None = None
    traits: Mapping[str, Any] = {}
    features: EntityFeatures | None = None
    consents: Mapping[str, Consent] = {}
    contacts: tuple[Contact, ...] = ()
    guard: int = 0
    last_ms: int = 0
    merged_into: str | None = None
    origins: Mapping[str, Origin] = {}
    identifiers: tuple[Identifier, ...] = ()
    flags: tuple[Flag, ...] = ()
    first_ms: int = 0
    signals: int = 0


class Account(msgspec.Struct, frozen=True, array_like=True):
    """The state of one account: contacts of all its people count here too."""

    id: str
    traits: Mapping[str, Any] = {}
    features: EntityFeatures | None = None
    contacts: tuple[Contact, ...] = ()
    guard: int = 0
    last_ms: int = 0
    origins: Mapping[str, Origin] = {}
    flags: tuple[Flag, ...] = ()
    first_ms: int = 0


REGION_SUBJECT = "region"
"""Whose key seals what belongs to no customer and no account."""


def person_subject(customer: str) -> str:
    """Whose key seals what is known about a person."""
    return f"person/{customer}"


def account_subject(account: str) -> str:
    """Whose key seals what is known about an account."""
    return f"account/{account}"


def subject_of(customer: str | None, account: str | None) -> str:
    """Whose key seals a fact: the person's, else the account's, else the region's."""
    if customer is not None:
        return person_subject(customer)
    return REGION_SUBJECT if account is None else account_subject(account)


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
