"""A playbook whose signals carry identifiers, and how tests speak of people over it."""

from __future__ import annotations

from typing import Any

import msgspec
from small import playbook

from opportune.core.catalog import ContactLimit
from opportune.core.customers import Person
from opportune.core.playbook import Identity, Playbook
from opportune.core.signals import Draft, Receipt, SignalContract, format_time
from opportune.flows.identify import customer_named, lives_on
from opportune.flows.region import Region

DAILY = ContactLimit(limit="daily", at_most=1, per="1d", reason="once a day is enough")


def linked_playbook(limits: tuple[ContactLimit, ...] = (DAILY,), identity: Identity | None = None) -> Playbook:
    book = playbook(limits=limits)
    replace = msgspec.structs.replace
    text = {"type": "string"}
    contracts = (
        SignalContract(
            signal="person.updated", owner="tests", about="person",
            schema={"type": "object", "properties": {"email": text, "phone": text, "crm": text, "city": text}},
            identifiers={"email": "email", "phone": "phone", "crm": "external:crm"},
        ),
        SignalContract(
            signal="person.aliased", owner="tests", about="person", identifiers={"previous": "external"},
            schema={"type": "object", "properties": {"previous": text}},
        ),
        SignalContract(signal="consent.refused", owner="tests", schema={"type": "object"}),
        SignalContract(
            signal="offer.converted", owner="tests",
            schema={"type": "object", "properties": {"offer": text, "amount": {"type": "number"}}},
        ),
    )  # fmt: skip
    known = {one.signal for one in contracts}
    kept = tuple(one for one in book.contracts if one.signal not in known)
    app = replace(book.app, identity=identity or Identity(phone_region="DE"))
    return replace(book, app=app, contracts=(*kept, *contracts))


def tell(region: Region, type_: str, customer: str | None, *, at_ms: int | None = None, **data: Any) -> Receipt:
    """One signal, accepted."""
    receipt = sent(region, type_, customer, at_ms=at_ms, **data)
    assert receipt.status == "accepted", receipt
    return receipt


def sent(region: Region, type_: str, customer: str | None, *, at_ms: int | None = None, **data: Any) -> Receipt:
    at = format_time(region.clock.now_ms() if at_ms is None else at_ms)
    return region.ingest.run([Draft("tests", region.clock.new_id(), type_, at, customer, data=data)])[0]


def who(region: Region, text: str) -> Person:
    """The customer that a name leads to."""
    named = customer_named(region.records, region.vault, text)
    assert named is not None
    found = lives_on(region.records.person, named)
    assert found is not None
    return found


def used(region: Region, text: str) -> object:
    """The one feature of the playbook, as a decision reads it."""
    views = region.releases.live().views
    return views.read(who(region, text).features, None, region.clock.now_ms()).values[0]
