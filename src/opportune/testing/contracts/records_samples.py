"""Small, valid values of everything that `Records` keeps, for its contract suite."""

from collections.abc import Callable
from typing import Any

from opportune.core.customers import Account, Consent, Contact, Person
from opportune.core.signals import Problem, Signal, content_hash
from opportune.ports import Quarantined, Review, StoredDecision, StoredOutcome, StoredRelease, Transaction


def signal(number: int, source: str = "app", **data: object) -> Signal:
    return Signal(source, f"s-{number}", "usage.reported", 1, 1000 + number, 2000 + number, "c1", "a1", data)


def append(tx: Transaction, one: Signal) -> int:
    return tx.append_signal(one, content_hash(one))


def put(tx: Transaction, *values: Person | Account | StoredDecision | StoredOutcome | StoredRelease) -> None:
    """Writes each by its kind."""
    writes: dict[type, Callable[[Any], None]] = {
        Person: tx.put_person,
        Account: tx.put_account,
        StoredDecision: tx.put_decision,
        StoredOutcome: tx.put_outcome,
        StoredRelease: tx.put_release,
    }
    for value in values:
        writes[type(value)](value)


def person(id_: str, **traits: object) -> Person:
    consents = {"marketing/email": Consent("given", 5, "web")}
    contacts = (Contact("d1", "o1", "email", 6, 7),)
    return Person(id_, "a1", traits, None, consents, contacts, 3, 4)


def account(id_: str, **traits: object) -> Account:
    return Account(id_, traits, None, (Contact("d1", "o1", "email", 6, 7, "seen"),), 1, 2)


def decision(number: int, **changes: Any) -> StoredDecision:  # noqa: ANN401 - any field
    fields: dict[str, Any] = {
        "id": f"01920000-0000-7000-8000-{number:012d}",
        "at_ms": 10_000 + number,
        "customer": f"c{number % 3}",
        "account": None,
        "unit": f"u{number % 3}",
        "moment": "usage.limit_reached",
        "release": "r1",
        "disposition": "offered",
        "offer": "o1",
        "channel": "email",
        "holdout": False,
        "total_us": 900,
        "record": b"record %d" % number,
        "salt": bytes(32),
    }
    return StoredDecision(**{**fields, **changes})


def outcome(number: int, **changes: Any) -> StoredOutcome:  # noqa: ANN401
    fields: dict[str, Any] = {
        "id": f"01930000-0000-7000-8000-{number:012d}",
        "at_ms": 20_000 + number,
        "kind": "converted",
        "customer": "c1",
        "unit": "u1",
        "decision": decision(1).id,
        "offer": "o1",
        "amount": 8.5,
    }
    return StoredOutcome(**{**fields, **changes})


def quarantined(number: int) -> Quarantined:
    problems = (Problem("schema", "data.seats", "`data.seats` must be a number"),)
    return Quarantined(5, "app", f"q-{number}", "usage.reported", problems, b'{"seats":"x"}')


def review(number: int, status: str = "open") -> Review:
    return Review(f"v{number}", decision(1).id, "c1", 100 + number, "the value is high", status)


def release(number: int) -> StoredRelease:
    return StoredRelease(f"r{number}", 100 + number, "first", b"manifest")
