"""The shapes of a decision: what was asked, what was seen, what came out; the record a replay must equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from opportune.core.beliefs import Believed

RECORD_VERSION = 2
"""2: slates, limits over everybody, what was forced; requirements of offers as one stage."""

Disposition = Literal["offered", "no_offer", "escalated", "held_out", "fallback", "shed"]

STEPS = ("admit", "snapshot", "assign", "shortlist", "score", "choose", "record", "answer")
"""The eight steps of a decision, in order; `record` and `answer` end after the record is written."""

Reason = Literal[
    "OFFERED",
    "EXPLORED",
    "FORCED",
    "NO_VALUE",
    "NO_CONSENT",
    "NOT_LAWFUL",
    "NOT_SUITABLE",
    "NOT_ELIGIBLE",
    "NO_PERMIT",
    "CONTACT_LIMIT",
    "QUIET_HOURS",
    "NOT_VALID_NOW",
    "VOLUME_LIMIT",
    "BUDGET_SPENT",
    "NO_CANDIDATE",
    "HELD_OUT",
    "LOW_CONFIDENCE",
    "REVIEW_REQUIRED",
    "OVERLOAD",
    "TIMEOUT",
    "FAULT",
]
"""The closed list of reasons an answer can give."""


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """The question, with the customer already resolved to an id.

    `refused` are the purposes that the customer's browser refuses for this decision (Global Privacy Control).
    `limit` is how many offers may be answered at once.
    """

    customer: str
    moment: str
    channels: tuple[str, ...]
    context: Mapping[str, Any] = {}
    budget_ms: int = 50
    key: str | None = None
    refused: tuple[str, ...] = ()
    limit: int = 1


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything a decision reads about the world, as it was: replay reads this and nothing else.

    `features` are by name (None: missing); `ages_ms` are the ages of the newest signal behind each; `consents`
    map `purpose/channel` to what held at `at_ms`; `contacts` are (scope, offer, channel, age_ms) of every contact
    that counts, scope `person` or `account`; `local_minute` is the minute of the customer's local day,
    `local_day` its day of the week (Monday 0), `quiet_from` when channels fall silent next, where that is before a
    grant would end. `flags` are
    (scope, quality rule, signal type, age_ms of the newest, how many) of signals that were accepted with a flaw.
    `unread` are views that are read from outside and gave nothing: (view, `late` or `failed`).
    `room` is what is left of limits over everybody (volume, budget) that are nearly used up; others have enough.
    `beliefs` are what was believed of candidates that no model covers, or not alone.
    """

    at_ms: int
    account: str | None
    unit: str
    features: Mapping[str, Any]
    ages_ms: Mapping[str, int]
    consents: Mapping[str, str]
    contacts: tuple[tuple[str, str, str, int], ...] = ()
    local_minute: int = 0
    local_day: int = 0
    quiet_from: Mapping[str, int] = {}
    stale: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    flags: tuple[tuple[str, str, str, int, int], ...] = ()
    unread: tuple[tuple[str, str], ...] = ()
    room: Mapping[str, float] = {}
    beliefs: Believed | None = None


class Scored(msgspec.Struct, frozen=True, array_like=True):
    """The candidates that reached arbitration, as columns: a decision is stored for years, so it is kept small.

    `left` is the mask of the candidates; `values` and `probabilities` follow its bits, ascending. Value = uplift x
    margin - contact cost - fatigue cost + lever, in the playbook's currency; a probability is 0.0 where even the
    upper bound of the value does not reach that of offering nothing. `offers` are the places of their offers in
    the brain, ascending; `p_accept`, `uplift` and `uplift_se` follow them. `levers` are (candidate's place, money).
    """

    left: str = "0"
    values: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()
    offers: tuple[int, ...] = ()
    p_accept: tuple[float, ...] = ()
    uplift: tuple[float, ...] = ()
    uplift_se: tuple[float, ...] = ()
    levers: tuple[tuple[int, float], ...] = ()


class ScoredRow(msgspec.Struct, frozen=True):
    """One candidate that reached arbitration; see Scored."""

    candidate: str
    index: int
    p_accept: float
    uplift: float
    uplift_se: float
    value: float
    lever: float
    probability: float


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """What models beside the uplift's said: their names by what they predict; `customer` by the names that policies
    read. `money` (what an acceptance brings; None: its margin stands) and `tiring` (by what the cost of a contact is
    multiplied) follow the offers of `Scored`."""

    models: Mapping[str, str] = {}
    customer: Mapping[str, float] = {}
    money: tuple[float | None, ...] = ()
    tiring: tuple[float, ...] = ()


class Pick(msgspec.Struct, frozen=True, array_like=True):
    """A further offer of a slate, after the first; its probability is over what was left once those before it
    were picked."""

    offer: str
    channel: str
    value: float
    action_probability: float
    confidence: float


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came out. Masks are hexadecimal bitsets over the release's candidates, in its order.

    `action_probability` is the probability with which the chosen candidate was chosen over the candidates left
    after policy (1.0 where nothing was drawn). `stages` are (stage, rule id, mask) in the order applied: together
    with the release they give the complete why-not table. `skipped` are policies that could not be judged and do
    not forbid by themselves: (policy, mask, names of what was missing). `why` are the chosen candidate's features
    with their parts of its predicted effect. `would` is the candidate a held-out customer would have been offered.
    `slate` are further offers beside the first, at most `Asked.limit` with it. `forced` are the policies that forced
    the choice: nothing was weighed, and nobody learns from it as if it had been. `further` is what models beside that
    of the uplift said.
    """

    disposition: Disposition
    reason: Reason
    offer: str | None = None
    channel: str | None = None
    action_probability: float = 1.0
    confidence: float | None = None
    value: float = 0.0
    holdout: bool = False
    arms: Mapping[str, str] = {}
    model: str | None = None
    degraded: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()
    stages: tuple[tuple[str, str, str], ...] = ()
    skipped: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    scored: Scored = Scored()
    why: tuple[tuple[str, float], ...] = ()
    would: str | None = None
    slate: tuple[Pick, ...] = ()
    forced: tuple[str, ...] = ()
    further: Said | None = None


class DecisionRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision, whole. `timings_us` are (step, microseconds) as measured up to the write."""

    v: int
    id: str
    release: str
    region: str
    asked: Asked
    seen: Seen
    faults: tuple[str, ...]
    timings_us: tuple[tuple[str, int], ...]
    result: Result


# MessagePack, not JSON: a record is mostly numbers, whose decimal digits take longer to find than all the rest.
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(DecisionRecord)


def encode_record(record: DecisionRecord) -> bytes:
    """The exact bytes that are stored, hashed into the ledger and compared by a replay."""
    return _ENCODER.encode(record)


def decode_record(data: bytes) -> DecisionRecord:
    """The record back from its bytes; msgspec.ValidationError when they are not one."""
    return _DECODER.decode(data)
