"""A decision on its way: the question once it was checked, and what was made of it before it is recorded."""

from __future__ import annotations

import msgspec

from opportune.core.catalog import Moment, PriorityClass
from opportune.core.customers import Person
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.questions import Question, QuestionError
from opportune.core.decisions.records import Asked, DecisionRecord, Seen, encode_record
from opportune.core.decisions.snapshot import NOTHING_READ
from opportune.core.features import Outside
from opportune.flows.guarded import Guarded


class Made(msgspec.Struct, frozen=True):
    """A decision between choosing and recording. `guards` are the versions of what it rested on, `outside` what was
    read elsewhere about `read_for`, a person and an account."""

    record: DecisionRecord
    encoded: bytes
    salt: bytes
    guards: tuple[int, int]
    outside: Outside
    read_for: tuple[str, str | None]
    model: Guarded | None = None


class Asking(msgspec.Struct):
    """A question that was checked against a release, from its arrival at `start_us` to its answer."""

    question: Question
    brain: Brain
    moment: Moment
    channels: tuple[str, ...]
    start_us: int
    budget_ms: int
    priority: PriorityClass
    began_us: int
    """When it had its place at the gate: at once, unless it waited."""
    missing: tuple[str, ...] = ()
    """What the decision had to do without."""
    handed_us: int = 0
    """When its record was handed to the store; 0 before."""
    given_up: bool = False
    """Whoever asked has the safe default already."""


def asked_of(asking: Asking, named: str, person: Person) -> Asked:
    question = asking.question
    key = question.idempotency_key
    return Asked(
        customer=person.id,
        moment=question.moment,
        channels=asking.channels,
        context=question.context,
        budget_ms=asking.budget_ms,
        key=None if key is None else f"{named}/{key}",
        refused=asking.brain.app.privacy.gpc_purposes if question.gpc else (),
        limit=question.limit,
    )


def unseen(person: Person, now_ms: int) -> Seen:
    """Who it is, and nothing else."""
    return Seen(now_ms, person.account, person.account or person.id, {}, {}, {})


def resting_on_nothing(record: DecisionRecord, salt: bytes) -> Made:
    """A decision that rests on nothing."""
    return Made(record, encode_record(record), salt, (0, 0), NOTHING_READ, (record.asked.customer, None))


def unknown_customer() -> QuestionError:
    message = "no signal has named this customer yet: send one first, or check the id"
    return QuestionError("unknown_customer", "customer", message)
