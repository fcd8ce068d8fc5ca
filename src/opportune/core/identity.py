"""Identity: what two spellings of one identifier have in common, and what becomes of two records that are one person.

The rules of a merge, and why they are these, are in docs/decisions/0009-merges.md.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from opportune.core.customers import (
    ANY_CHANNEL,
    EVERYTHING,
    Consent,
    Contact,
    ContactState,
    Flag,
    Identifier,
    Origin,
    Person,
    consent_holding,
    consent_key,
    consent_parts,
    outranks,
)
from opportune.core.features import EntityFeatures

LINKED_MAX: Final = 5
"""An identifier of more customers than this is a shared inbox: it links nobody any more."""
LINKED_SIGNALS_MAX: Final = 20_000
"""Two records that both have more signals than this are never merged on the way of a signal: a person does it."""
PHONE_DIGITS_MIN: Final = 6
"""A shorter number is a service's or a typing error, not a person's."""

_LOCAL = re.compile(r"[^\s@<>()\[\],;:\"\\\x00-\x1f\x7f]{1,64}")
_DOMAIN = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
_CONTACT_ORDER: Final[tuple[ContactState, ...]] = ("released", "reserved", "delivered", "seen")


def normalised(kind: str, value: str, phone_region: str | None = None) -> str | None:
    """The one spelling of an identifier; None when the text is none of its kind.

    `email`: NFKC, lower case, the domain in ASCII (IDNA). `phone`: E.164; a number without a country is one of
    `phone_region` (ISO 3166, such as DE). `external` and `external:<system>`: without outer blanks.
    """
    text = value.strip()
    if kind == "email":
        return _email(text)
    if kind == "phone":
        return _phone(text, phone_region)
    return text if 0 < len(text) <= 256 and text.isprintable() else None


def identifier_in(text: str) -> tuple[str, str] | None:
    """(kind, normalised) when a customer's id is really an e-mail address or a phone number in E.164."""
    if "@" in text:
        found = _email(text.strip())
        return None if found is None else ("email", found)
    if text.startswith("+"):
        found = _phone(text, None)
        return None if found is None else ("phone", found)
    return None


def pseudonym(hashed: bytes) -> str:
    """The customer id of whoever is known by an identifier alone: `c-` and 22 characters, from its keyed hash."""
    return "c-" + base64.b32encode(hashed[:14]).decode().lower()[:22]


def links(kind: str, link_on: Collection[str]) -> bool:
    """Does an exact match of this kind of identifier mean one customer? `external` stands for every system."""
    return kind in link_on or (kind.startswith("external:") and "external" in link_on)


def survivor(one: Person, other: Person) -> tuple[Person, Person]:
    """(the one that lives on, the one merged into it): whoever was known first; at the same instant, by id."""
    return (one, other) if (one.first_ms, one.id) <= (other.first_ms, other.id) else (other, one)


def merged(kept: Person, other: Person, at_ms: int, features: EntityFeatures | None) -> tuple[Person, Person]:
    """Both records after `other` went into `kept` at `at_ms`; `features` are those of all their signals.

    INVARIANT: a merge neither widens consent nor resets a contact limit; both guards grow beyond both.
    """
    guard = max(kept.guard, other.guard) + 1
    traits, origins = _described(kept, other)
    return (
        Person(
            id=kept.id,
            account=kept.account or other.account,
            traits=traits,
            features=features,
            consents=merged_consents(kept.consents, other.consents, at_ms),
            contacts=merged_contacts(kept.contacts, other.contacts),
            guard=guard,
            last_ms=max(kept.last_ms, other.last_ms),
            origins=origins,
            identifiers=_identified(kept.identifiers, other.identifiers),
            flags=_flagged(kept.flags, other.flags),
            first_ms=min(kept.first_ms or other.first_ms, other.first_ms or kept.first_ms),
            signals=kept.signals + other.signals,
            absorbed=(*kept.absorbed, other.id, *other.absorbed),
        ),
        Person(id=other.id, guard=guard, merged_into=kept.id),
    )


def merged_consents(
    one: Mapping[str, Consent], other: Mapping[str, Consent], at_ms: int
) -> dict[str, Consent]:
    """What holds for both: per purpose, channel and controller a refusal, withdrawal or expiry of either beats a
    permission of the other, whoever spoke last.

    A permission stays one when the other record permits too, or never said a word that covers it. Where one refused
    what the other permitted, the refusal counts as said at the merge (`at_ms`): only a word said afterwards lifts it.
    """
    found: dict[str, Consent] = {}
    said = {*one, *other}
    # Words of a purpose for all channels, and of a channel for everything, meet where nobody spoke: look there too.
    for purpose, channel, controller in sorted(_meetings(said), key=_broad_first):
        key = consent_key(purpose, channel, controller)
        mine, theirs = (consent_holding(each, purpose, channel, controller) for each in (one, other))
        word = _stricter(None if mine is None else mine[1], None if theirs is None else theirs[1], at_ms)
        if word is None:
            continue
        broader = consent_holding(found, purpose, channel, controller)
        if broader is not None and word.status != "given" and broader[1].at_ms > word.at_ms:
            word = replace(word, at_ms=broader[1].at_ms)
        if key in said or broader is None or _differ(broader[1], word):
            found[key] = word
    return found


def merged_contacts(one: tuple[Contact, ...], other: tuple[Contact, ...]) -> tuple[Contact, ...]:
    """Every contact of both, once per decision and offer, in its furthest state; in the order of time. What either
    holds of limits over everybody is held on: it is settled once, by whatever comes of the decision."""
    found: dict[tuple[str, str], Contact] = {}
    for contact in (*one, *other):
        key = contact.decision, contact.offer
        known = found.get(key)
        if known is not None:
            further = _CONTACT_ORDER.index(contact.state) > _CONTACT_ORDER.index(known.state)
            at_ms, holds = max(contact.at_ms, known.at_ms), contact.holds or known.holds
            contact = replace(contact if further else known, at_ms=at_ms, holds=holds)
        found[key] = contact
    return tuple(sorted(found.values(), key=lambda contact: (contact.at_ms, contact.decision, contact.offer)))


def unmerged(
    own: Person,
    before: Person,
    refusals: Iterable[tuple[str, Consent]],
    foreign: Collection[str],
    identifiers: tuple[Identifier, ...],
    guard: int,
) -> Person:
    """One of two records that are two again. `own` is what its own signals say, `before` the record that was both.

    `refusals` are (key, consent) of what was refused while both were one, or came from elsewhere: they hold for this
    one too. `foreign` are decisions made under the other's name: what they reserved counts here as delivered at the
    last moment, since nothing that happens to the other's contact is told here any more.

    INVARIANT: contacts stay on both, and the guard grows.
    """
    consents = dict(own.consents)
    for key, consent in refusals:
        known = consents.get(key)
        if consent.status != "given" and (known is None or known.at_ms <= consent.at_ms):
            consents[key] = consent
    contacts = tuple(
        _no_longer_told(contact) if contact.decision in foreign else contact
        for contact in before.contacts
    )
    return replace(
        own, consents=consents, contacts=contacts, identifiers=identifiers, guard=guard, merged_into=None
    )


def _no_longer_told(contact: Contact) -> Contact:
    if contact.state != "reserved":
        return replace(contact, holds=())
    return replace(contact, state="delivered", at_ms=max(contact.at_ms, contact.expires_ms), holds=())


def _email(text: str) -> str | None:
    local, at, domain = unicodedata.normalize("NFKC", text).lower().rpartition("@")
    if not at or _LOCAL.fullmatch(local) is None or local[0] == "." or local[-1] == "." or ".." in local:
        return None
    try:
        domain = domain.removesuffix(".").encode("idna").decode("ascii")
    except UnicodeError:
        return None
    return None if _DOMAIN.fullmatch(domain) is None else f"{local}@{domain}"


def _phone(text: str, region: str | None) -> str | None:
    import phonenumbers  # heavy, and most signals name no phone number

    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    digits = len(str(number.national_number or ""))
    if digits < PHONE_DIGITS_MIN or number.extension or not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _said_of(keys: Iterable[str]) -> list[tuple[str, str, str]]:
    """(purpose, channel, controller) of every key, and where one is about every purpose, of all it bears on."""
    found = {consent_parts(key) for key in keys}
    everything = {(channel, controller) for purpose, channel, controller in found if purpose == EVERYTHING}
    purposes = {purpose for purpose, _, _ in found}
    return sorted(found | {(purpose, *where) for purpose in purposes for where in everything})


def _meetings(keys: Iterable[str]) -> set[tuple[str, str, str]]:
    """Every (purpose, channel, controller) of which some word of these keys may hold something else than of others."""
    parts = [consent_parts(key) for key in keys]
    found = set()
    for controller in {part[2] for part in parts}:
        purposes = {part[0] for part in parts if part[2] == controller}
        channels = {part[1] for part in parts if part[2] == controller}
        found |= {
            (purpose, channel, controller)
            for purpose in {EVERYTHING, *purposes}
            for channel in {ANY_CHANNEL, *channels}
        }
    return found


def _broad_first(meeting: tuple[str, str, str]) -> tuple[int, tuple[str, str, str]]:
    return (meeting[0] != EVERYTHING) + (meeting[1] != ANY_CHANNEL), meeting


def _stricter(one: Consent | None, other: Consent | None, at_ms: int) -> Consent | None:
    """The word that holds for both; the same whichever way round they are given."""
    if one is None or other is None:
        return one or other
    if (one.status == "given") != (other.status == "given"):
        refusal = other if one.status == "given" else one
        status = "refused" if refusal.status == "unknown" else refusal.status
        return replace(refusal, status=status, at_ms=max(one.at_ms, other.at_ms, at_ms))
    latest = one if outranks(one, other) else other
    if one.status != "given":
        return latest
    ends = [word.expires_ms for word in (one, other) if word.expires_ms is not None]
    return replace(latest, expires_ms=min(ends, default=None))


def _differ(one: Consent, other: Consent) -> bool:
    return (one.status, one.expires_ms) != (other.status, other.expires_ms)


def _described(kept: Person, other: Person) -> tuple[dict[str, Any], dict[str, Origin]]:
    """Each trait as said last, with where it came from; said at the same instant, the survivor's stays."""
    traits, origins = dict(kept.traits), dict(kept.origins)
    for name, value in other.traits.items():
        theirs, mine = other.origins.get(name), origins.get(name)
        if name in traits and (theirs is None or (mine is not None and mine.at_ms >= theirs.at_ms)):
            continue
        traits[name] = value
        if theirs is not None:
            origins[name] = theirs
    return traits, origins


def _identified(one: tuple[Identifier, ...], other: tuple[Identifier, ...]) -> tuple[Identifier, ...]:
    known = {identifier.hash for identifier in one}
    return (*one, *(identifier for identifier in other if identifier.hash not in known))


def _flagged(one: tuple[Flag, ...], other: tuple[Flag, ...]) -> tuple[Flag, ...]:
    found = {(flag.rule, flag.type): flag for flag in one}
    for flag in other:
        known = found.get((flag.rule, flag.type))
        if known is not None:
            newest = max(known, flag, key=lambda each: (each.at_ms, each.signal))
            flag = replace(newest, count=known.count + flag.count)
        found[flag.rule, flag.type] = flag
    return tuple(found.values())
