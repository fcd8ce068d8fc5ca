"""Small, valid values of everything that `Records` keeps, for its contract suite."""

from collections.abc import Callable
from typing import Any

import msgspec

from opportune.core.beliefs import Cell, Cohort
from opportune.core.contacts import Tally
from opportune.core.customers import Account, Consent, Contact, Person
from opportune.core.registry import ModelEvent
from opportune.core.signals import Problem, Repair, Signal, content_hash
from opportune.ports import (
    Access,
    Action,
    Merge,
    Proposal,
    Quarantined,
    Review,
    StoredDecision,
    StoredDrift,
    StoredOutcome,
    StoredRelease,
    StoredSignal,
    Transaction,
)


def signal(
    number: int, source: str = "app", customer: str | None = "c1", account: str | None = "a1", **data: object
) -> Signal:
    return Signal(source, f"s-{number}", "usage.reported", 1, 1000 + number, 2000 + number, customer, account, data)


def repaired(number: int) -> Signal:
    """One that broke a rule and had another put right."""
    repairs = (Repair("seats in range", "seats", 900, 500),)
    return msgspec.structs.replace(signal(number, seats=500), flags=("fresh",), repairs=repairs)


def without_data(stored: StoredSignal) -> StoredSignal:
    """As retention leaves it."""
    return msgspec.structs.replace(stored, signal=msgspec.structs.replace(stored.signal, data={}, repairs=()))


def append(tx: Transaction, one: Signal) -> int:
    return tx.append_signal(one, content_hash(one))


Writable = Person | Account | StoredDecision | StoredOutcome | StoredRelease | Merge | Proposal | Access | Action


def put(tx: Transaction, *values: Writable) -> None:
    """Writes each by its kind."""
    writes: dict[type, Callable[[Any], None]] = {
        Person: tx.put_person,
        Account: tx.put_account,
        StoredDecision: tx.put_decision,
        StoredOutcome: tx.put_outcome,
        StoredRelease: tx.put_release,
        Merge: tx.put_merge,
        Proposal: tx.put_proposal,
        Access: tx.put_access,
        Action: tx.put_action,
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


def outcome(number: int, **changes: Any) -> StoredOutcome:  # noqa: ANN401 - fields of the shape
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


def quarantined(number: int, **changes: Any) -> Quarantined:  # noqa: ANN401 - fields of the shape
    problems = (Problem("schema", "data.seats", "`data.seats` must be a number"),)
    entry = Quarantined(5, "app", f"q-{number}", "usage.reported", problems, b'{"seats":"x"}')
    return msgspec.structs.replace(entry, **changes)


def review(number: int, status: str = "open", customer: str = "c1") -> Review:
    return Review(f"v{number}", decision(1).id, customer, 100 + number, "the value is high", status)


def merge(number: int, kept: str = "c1", merged: str = "c2", **changes: Any) -> Merge:  # noqa: ANN401 - fields of the shape
    one = Merge(f"m{number}", 500 + number, kept, merged, "email", "identity", "the same address")
    return msgspec.structs.replace(one, **changes)


def proposal(number: int, one: str = "c1", other: str = "c2", **changes: Any) -> Proposal:  # noqa: ANN401 - fields of the shape
    pair = Proposal(f"p{number}", 600 + number, one, other, 0.5 + number / 100, {"name": 3.5, "town": None})
    return msgspec.structs.replace(pair, **changes)


def access(number: int, customer: str = "c1", **changes: Any) -> Access:  # noqa: ANN401 - fields of the shape
    one = Access(f"x{number:04d}", 700 + number, "ann", "customer", customer, ("personal",), "a question")
    return msgspec.structs.replace(one, **changes)


def action(number: int, customer: str = "c1", **changes: Any) -> Action:  # noqa: ANN401 - fields of the shape
    due_ms = 900 + number
    one = Action(f"n{number}", 800 + number, customer, "a1", "email", "o1", "marketing", due_ms, 9_000)
    return msgspec.structs.replace(one, **changes)


def tally(number: int, used: int = 3) -> Tally:
    return Tally(f"t{number}", 86_400_000, ((9_000, 1),), ((20_000 + number, used - 1),), used, 9_000)


def belief(number: int, shown: int = 3) -> Cell:
    cohorts = (Cohort(7, shown, 1, (0, 2), (1,), 1),)
    return Cell(f"f|o{number}@email|s", "f", f"o{number}", "email", "s", 5, Cohort(-1, 9), cohorts)


def release(number: int) -> StoredRelease:
    return StoredRelease(f"r{number}", 100 + number, "first", b"manifest")


def drift(number: int, **changes: Any) -> StoredDrift:  # noqa: ANN401 - fields of the shape
    one = StoredDrift(f"w{number}", 400 + number, "report", f"m{number % 2}", "card1", "inputs", number, b"body")
    return msgspec.structs.replace(one, **changes)


def model_event(number: int, card: int = 1, **changes: Any) -> ModelEvent:  # noqa: ANN401 - fields of the shape
    one = ModelEvent(
        f"01940000-0000-7000-8000-{number:012d}", 300 + number, f"card{card}", "accept", "approved", "dana",
        "holds on \u201clater\u201d rows", "high", {"role": "model_approver"},
    )  # fmt: skip
    return msgspec.structs.replace(one, **changes)
