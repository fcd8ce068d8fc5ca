"""What the system of record keeps, as frozen shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from opportune.core.signals import Problem, Signal


class StoredSignal(msgspec.Struct, frozen=True):
    """A signal in the log at its position `seq` (1, 2, 3, …, with gaps only where a customer was erased).

    `leaf` is its place in the ledger, -1 when it was written before that was kept.
    """

    seq: int
    signal: Signal
    leaf: int = -1


class Quarantined(msgspec.Struct, frozen=True):
    """A signal kept out, with everything needed to look at it, fix it and send it again.

    `body` is the draft as JSON; body and problems are sealed at rest under the customer it names, if it names one.
    `note` says who closed it and why, or which signal came of it.
    """

    received_ms: int
    source: str
    id: str
    type: str
    problems: tuple[Problem, ...]
    body: bytes
    seq: int = 0
    customer: str | None = None
    status: Literal["open", "resubmitted", "discarded"] = "open"
    note: str = ""


class StoredDecision(msgspec.Struct, frozen=True):
    """A decision as kept: the exact record bytes, the salt of its commitment and its place in the ledger."""

    id: str
    at_ms: int
    customer: str
    account: str | None
    unit: str
    moment: str
    release: str
    disposition: str
    offer: str | None
    channel: str | None
    holdout: bool
    total_us: int
    record: bytes
    salt: bytes
    leaf: int = -1
    key: str | None = None


class StoredOutcome(msgspec.Struct, frozen=True):
    """What became of a decision. `decision` is None for revenue that no decision claims (also in the hold-out)."""

    id: str
    at_ms: int
    kind: str
    customer: str
    unit: str
    decision: str | None
    offer: str | None
    amount: float
    detail: str | None = None
    leaf: int = -1


class Review(msgspec.Struct, frozen=True):
    """A decision waiting for a person."""

    id: str
    decision: str
    customer: str
    opened_ms: int
    reason: str
    status: str = "open"


class StoredRelease(msgspec.Struct, frozen=True):
    """An immutable release: `manifest` holds every playbook document and every model it is made of."""

    hash: str
    created_ms: int
    note: str
    manifest: bytes


class StoredDrift(msgspec.Struct, frozen=True):
    """A report about drift, or a case that followed from one, as its bytes (see core.drift); no customer's data.

    `status` is that of a case; of a report, its series (`inputs`, `answers`). `alarms` counts what it found. A
    `disagreement` is what a heavier model (`card`) said of a day's decisions by `model`.
    """

    id: str
    at_ms: int
    what: Literal["report", "case", "disagreement"]
    model: str
    card: str
    status: str
    alarms: int
    body: bytes


class Merge(msgspec.Struct, frozen=True):
    """Two records that are one customer: `merged` lives on in `kept`, until somebody undoes it.

    `rule` is what linked them (`email`, `external:crm`, `proposal`, `person`, `alias`); `actor` who or what did it.
    """

    id: str
    at_ms: int
    kept: str
    merged: str
    rule: str
    actor: str
    reason: str = ""
    undone_ms: int | None = None
    undone_by: str | None = None


class Proposal(msgspec.Struct, frozen=True):
    """Two records that may be one customer, for a person to accept or refuse."""

    id: str
    at_ms: int
    one: str
    other: str
    probability: float
    evidence: Mapping[str, Any]
    status: Literal["open", "accepted", "refused"] = "open"
    decided_ms: int | None = None
    decided_by: str | None = None
    why: str = ""


class Access(msgspec.Struct, frozen=True):
    """Somebody read personal data: who, what (`customer`, `export`, `decision`, `quarantine` …), about whom.

    `classes` are the field classes shown in clear; `purpose` is what the reader said it is for.
    """

    id: str
    at_ms: int
    actor: str
    what: str
    customer: str
    classes: tuple[str, ...] = ()
    purpose: str = ""


class Action(msgspec.Struct, frozen=True):
    """One row of the outbox: an offer on its way out. `id` is its decision's; at most one effect per id.

    queued -> sending (leased until `due_ms`) -> sent, or failed (`due_ms` says when it is tried again), or cancelled
    with the reason in `detail`, or unknown: it may have left, so it is never sent again by itself.
    """

    id: str
    at_ms: int
    customer: str
    account: str | None
    channel: str
    offer: str
    purpose: str
    due_ms: int
    expires_ms: int
    status: Literal["queued", "sending", "sent", "failed", "cancelled", "unknown"] = "queued"
    attempts: int = 0
    detail: str = ""
