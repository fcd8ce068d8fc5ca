"""What a probabilistic linker may compare of two customers: names, addresses and the like, in plain spelling."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from opportune.core.customers import Person

TRAITS: Final[Mapping[str, tuple[str, ...]]] = {
    "first_name": ("first_name", "firstName", "firstname", "given_name"),
    "last_name": ("last_name", "lastName", "lastname", "surname", "family_name"),
    "birth_date": ("birth_date", "birthday", "birthDate", "date_of_birth", "dob"),
    "company": ("company", "company_name", "companyName", "organization"),
    "street": ("street", "address", "address_line"),
    "postcode": ("postcode", "postal_code", "postalCode", "zip"),
    "city": ("city",),
    "country": ("country",),
}
"""What is compared, and under which names senders deliver it."""


class LinkRecord(msgspec.Struct, frozen=True):
    """One customer as a linker sees it; what is not known is None. Never stored."""

    id: str
    first_name: str | None = None
    last_name: str | None = None
    birth_date: str | None = None
    company: str | None = None
    street: str | None = None
    postcode: str | None = None
    city: str | None = None
    country: str | None = None
    email: str | None = None
    phone: str | None = None


class Likely(msgspec.Struct, frozen=True):
    """Two records that may be one customer. `evidence` says of each field `same`, `alike`, `different` or `unknown`:
    never a value."""

    one: str
    other: str
    probability: float
    evidence: Mapping[str, str]


def link_record(person: Person) -> LinkRecord:
    """A customer as a linker sees it: traits in plain spelling, and the newest e-mail address and phone number."""
    found: dict[str, str | None] = {
        field: next((text for name in names if (text := plain(person.traits.get(name)))), None)
        for field, names in TRAITS.items()
    }
    whole = plain(person.traits.get("name"))
    if whole and not found["first_name"] and not found["last_name"] and " " in whole:
        found["first_name"], found["last_name"] = whole.split(" ", 1)[0], whole.rsplit(" ", 1)[1]
    for kind in ("email", "phone"):
        newest = max((one for one in person.identifiers if one.kind == kind), key=lambda one: one.at_ms, default=None)
        found[kind] = None if newest is None else newest.value
    return LinkRecord(person.id, **found)


def plain(value: Any) -> str | None:  # noqa: ANN401 - any trait
    """A text without case, accents, punctuation and doubled blanks; None when nothing is left, or it is no text."""
    if not isinstance(value, str):
        return None
    bare = "".join(
        char if char.isalnum() or char in "-@." else " "
        for char in unicodedata.normalize("NFKD", value.lower())
        if not unicodedata.combining(char)
    )
    return " ".join(bare.split()) or None
