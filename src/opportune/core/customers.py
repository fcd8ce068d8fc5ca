"""Customers and accounts: one picture of each person and of the company that buys."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
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


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """What a reservation holds of a limit over everybody: units of a tally, until `end_ms`."""

    tally: str
    end_ms: int
    units: int


class Contact(msgspec.Struct, frozen=True, array_like=True):
    """One use of a customer's attention: reserved at the decision, confirmed on delivery, or released.

    `at_ms` is when it was reserved, and once it is delivered, when that was. `holds` are for the person's contact to
    settle, once; it is empty afterwards.
    """

    decision: str
    offer: str
    channel: str
    at_ms: int
    expires_ms: int
    state: ContactState = "reserved"
    holds: tuple[Hold, ...] = ()


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

    `origins` says where each trait came from, `signals` how many were folded, `absorbed` the ids of
    everybody merged into this one, all the way down. A person that was merged holds nothing but `merged_into`, the
    customer that lives on (see `core.identity`).
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
    absorbed: tuple[str, ...] = ()


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


EVERYTHING = "*"
"""The purpose of an objection (GDPR Art. 21): whatever it is for."""


def consent_key(purpose: str, channel: str, controller: str = "") -> str:
    """The key of one consent: `marketing/email`, or `marketing/email@partner` for another controller.

    A name that holds `/`, `@` or `%` itself has them percent-encoded, so that a key means one thing only.
    """
    key = f"{_escaped(purpose)}/{_escaped(channel)}"
    return f"{key}@{_escaped(controller)}" if controller else key


def consent_parts(key: str) -> tuple[str, str, str]:
    """(purpose, channel, controller) of a key; the controller is empty for the playbook's own."""
    purpose, _, rest = key.partition("/")
    channel, _, controller = rest.partition("@")
    return _plain(purpose), _plain(channel), _plain(controller)


def consent_holding(
    consents: Mapping[str, Consent], purpose: str, channel: str, controller: str = ""
) -> tuple[str, Consent] | None:
    """The word that holds for a purpose in a channel, with its key: the latest, whether it was said of this purpose
    or of all, of this channel or of all. None when there is none.

    INVARIANT: at the same instant the stricter wins; a permission for everything does not exist.
    """
    best: tuple[str, Consent] | None = None
    for key in _keys(purpose, channel, controller):
        found = consents.get(key)
        if found is None or (found.status == "given" and key.startswith("*/")):
            continue
        if best is None or outranks(found, best[1]):
            best = key, found
    return best


def consent_status(
    consents: Mapping[str, Consent], purpose: str, channel: str, now_ms: int, controller: str = ""
) -> ConsentStatus:
    """What holds now for a purpose in a channel.

    INVARIANT: whoever never answered has refused; an expired consent is not consent.
    """
    held = consent_holding(consents, purpose, channel, controller)
    if held is None:
        return "unknown"
    consent = held[1]
    if consent.status == "given" and consent.expires_ms is not None and consent.expires_ms <= now_ms:
        return "expired"
    return consent.status


def outranks(one: Consent, other: Consent) -> bool:
    """Does `one` hold against `other`? The later does; at the same instant the stricter; else it makes no difference,
    and the order is by content, so that it does not matter which arrived first."""
    return _rank(one) > _rank(other)


def with_consent(person: Person, purpose: str, channel: str, consent: Consent) -> Person:
    """The person after saying something about consent; an older word arriving late changes nothing.

    INVARIANT: at the same instant a refusal beats a permission.
    """
    key = consent_key(purpose, channel, consent.controller)
    known = person.consents.get(key)
    if known is not None and not outranks(consent, known):
        return person
    return msgspec.structs.replace(
        person, consents={**person.consents, key: consent}, guard=person.guard + 1
    )


_STRICTNESS: Mapping[ConsentStatus, int] = {"unknown": 0, "given": 1, "expired": 2, "refused": 3, "withdrawn": 4}
_NEVER_MS = 2**63


def _rank(consent: Consent) -> tuple[int, int, int, str, str, str, str]:
    sooner = -(_NEVER_MS if consent.expires_ms is None else consent.expires_ms)
    said = (consent.source, consent.basis, consent.evidence, consent.notice)
    return (consent.at_ms, _STRICTNESS[consent.status], sooner, *said)


@lru_cache(maxsize=4096)
def _keys(purpose: str, channel: str, controller: str) -> tuple[str, ...]:
    pairs = ((purpose, channel), (purpose, ANY_CHANNEL), (EVERYTHING, channel), (EVERYTHING, ANY_CHANNEL))
    return tuple(dict.fromkeys(consent_key(*pair, controller) for pair in pairs))


def _escaped(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F").replace("@", "%40")


def _plain(name: str) -> str:
    return name.replace("%40", "@").replace("%2F", "/").replace("%25", "%")
