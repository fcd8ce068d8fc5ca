"""One decision as data: what was asked and seen, what came out and why, how long it took, what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from opportune.core.catalog import Candidate
from opportune.core.decisions.answers import fill
from opportune.core.decisions.arbitration import scored_rows
from opportune.core.decisions.audiences import Words, words
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.explain import WhyNot, fates_known, reason_of
from opportune.core.decisions.flagged import Flagged, flagged
from opportune.core.decisions.further import margin_of, unit_of
from opportune.core.decisions.masks import count_of, first_of
from opportune.core.decisions.records import STEPS, DecisionRecord, Pick, ScoredRow, decode_record
from opportune.ports import Ledger, Pulse, Records, StoredDecision, StoredOutcome
from opportune.views.ledger import LedgerState, ledger_state


class Chosen(msgspec.Struct, frozen=True):
    """The candidate that won. `shown` is False for the hold-out and for one that waits for a person.

    `parts` are (label, money) whose sum is `value`; `value_se` is the standard error of the value.
    """

    candidate: str
    offer: str
    title: str
    channel: str
    channel_title: str
    headline: str
    risk: str
    owner: str
    price: float
    per: str
    currency: str
    margin: float
    p_accept: float
    uplift: float
    uplift_se: float
    value: float
    value_se: float
    confidence: float | None
    action_probability: float
    shown: bool
    parts: tuple[tuple[str, float], ...]


class Step(msgspec.Struct, frozen=True):
    """One of the eight steps: from when, for how long (µs; None where it was not measured), with what fault."""

    name: str
    start_us: int
    took_us: int | None
    fault: str | None


class Feature(msgspec.Struct, frozen=True):
    """A feature as the decision saw it; `part` is what it added to the predicted effect, in log-odds."""

    name: str
    value: Any
    age_ms: int | None
    view: str | None
    version: int | None
    entity: str | None
    freshness_ms: int | None
    stale: bool
    missing: bool
    part: float | None


class Skipped(msgspec.Struct, frozen=True):
    """A policy that could not be judged: what it needed, for how many candidates."""

    policy: str
    reason: str
    names: tuple[str, ...]
    candidates: int


class Shown(msgspec.Struct, frozen=True):
    """A further offer of a slate."""

    offer: str
    title: str
    channel: str
    value: float
    action_probability: float
    confidence: float


class DecisionView(msgspec.Struct, frozen=True):
    """The whole case. `candidates` is empty and `words` None when the release is not on the shelf any more.

    `total_us` is what the record measured (up to the write); `whole_us` includes writing and answering, known
    while the decision is in the pulse. `contacts` are (scope, offer, channel, at_ms). `flags` are the quality rules
    that data it saw had broken. `slate` are further offers beside the first, `limit` how many were asked for,
    `forced` the policies that forced the choice, `room` what was left of limits over everybody. `further` are models
    beside that of the uplift (what they predict, their name), `scores` what they said of the customer, `parts_in` the
    unit of the parts of features.
    """

    id: str
    at_ms: int
    customer: str
    account: str | None
    unit: str
    region: str
    release: str
    live: bool
    model: str | None
    currency: str
    disposition: str
    reason: str
    words: Words | None
    chosen: Chosen | None
    steps: tuple[Step, ...]
    budget_us: int
    total_us: int
    whole_us: int | None
    features: tuple[Feature, ...]
    candidates: tuple[WhyNot, ...]
    skipped: tuple[Skipped, ...]
    moment: str
    moment_title: str
    channels: tuple[str, ...]
    context: Mapping[str, Any]
    key: str | None
    local_minute: int
    consents: tuple[tuple[str, str], ...]
    contacts: tuple[tuple[str, str, str, int], ...]
    holdout: bool
    arms: Mapping[str, str]
    obligations: tuple[str, ...]
    degraded: tuple[str, ...]
    faults: tuple[str, ...]
    outcomes: tuple[StoredOutcome, ...]
    leaf: int
    ledger: LedgerState
    flags: tuple[Flagged, ...] = ()
    limit: int = 1
    slate: tuple[Shown, ...] = ()
    forced: tuple[str, ...] = ()
    room: tuple[tuple[str, float], ...] = ()
    further: tuple[tuple[str, str], ...] = ()
    scores: tuple[tuple[str, float], ...] = ()
    parts_in: str = "log-odds"


def decision_view(
    records: Records, ledger: Ledger, pulse: Pulse, brain_of: Callable[[str], Brain], id_: str
) -> DecisionView | None:
    """The case of one decision, None when there is none of this id. `brain_of` may raise LookupError."""
    stored = records.decision(id_)
    if stored is None:
        return None
    record = decode_record(stored.record)
    try:
        brain: Brain | None = brain_of(stored.release)
    except LookupError:
        brain = None
    took = pulse.took((id_,)).get(id_)
    return DecisionView(
        **_who_and_what(stored, record, brain),
        live=records.live() == stored.release,
        words=None if brain is None else words(brain, record),
        chosen=None if brain is None else _chosen(brain, record),
        steps=_steps(record, took),
        whole_us=None if took is None else took[0],
        features=_features(brain, record),
        candidates=() if brain is None else fates_known(brain, record),
        skipped=() if brain is None else _skipped(brain, record),
        flags=() if brain is None else flagged(brain, record),
        outcomes=tuple(sorted(records.outcomes(id_), key=lambda one: (one.at_ms, one.id))),
        ledger=ledger_state(ledger, records.leaf_count()),
    )


def _who_and_what(stored: StoredDecision, record: DecisionRecord, brain: Brain | None) -> dict[str, Any]:
    """Everything that is copied from the record as it stands."""
    asked, seen, result = record.asked, record.seen, record.result
    moment = None if brain is None else brain.moments.get(asked.moment)
    return {
        "id": record.id,
        "at_ms": seen.at_ms,
        "customer": asked.customer,
        "account": seen.account,
        "unit": seen.unit,
        "region": record.region,
        "release": record.release,
        "model": result.model,
        "currency": "EUR" if brain is None else brain.app.currency,
        "disposition": result.disposition,
        "reason": result.reason,
        "budget_us": asked.budget_ms * 1000,
        "total_us": sum(micros for _, micros in record.timings_us),
        "moment": asked.moment,
        "moment_title": asked.moment if moment is None else moment.title,
        "channels": asked.channels,
        "context": asked.context,
        "key": asked.key,
        "local_minute": seen.local_minute,
        "consents": tuple(sorted(seen.consents.items())),
        "contacts": tuple(
            (scope, offer, channel, seen.at_ms - age_ms) for scope, offer, channel, age_ms in seen.contacts
        ),
        "holdout": result.holdout,
        "arms": result.arms,
        "obligations": result.obligations,
        "degraded": result.degraded,
        "faults": record.faults,
        "leaf": stored.leaf,
        "limit": asked.limit,
        "forced": result.forced,
        "room": tuple(sorted(seen.room.items())),
        "further": () if result.further is None else tuple(sorted(result.further.models.items())),
        "scores": () if result.further is None else tuple(sorted(result.further.customer.items())),
        "parts_in": "log-odds" if brain is None or result.offer is None else unit_of(brain, result.offer),
        "slate": tuple(
            Shown(
                pick.offer, _title(brain, pick), pick.channel, pick.value, pick.action_probability, pick.confidence
            )
            for pick in result.slate
        ),
    }


def _title(brain: Brain | None, pick: Pick) -> str:
    candidate = None if brain is None else brain.by_id.get(f"{pick.offer}@{pick.channel}")
    return pick.offer if candidate is None else candidate.offer.title


def _chosen(brain: Brain, record: DecisionRecord) -> Chosen | None:
    result = record.result
    name = result.would or (f"{result.offer}@{result.channel}" if result.offer is not None else None)
    candidate = brain.by_id.get(name or "")
    rows = scored_rows(brain, result.scored, record.seen, result.model)
    scored = next((one for one in rows if one.candidate == name), None)
    if candidate is None or scored is None:
        return None
    offer, channel = candidate.offer, candidate.channel
    margin = margin_of(brain, result, candidate.index)
    named = {"title": offer.title, "price": f"{offer.price.amount:g}", **record.seen.features}
    return Chosen(
        candidate=candidate.id,
        offer=offer.offer,
        title=offer.title,
        channel=channel.channel,
        channel_title=channel.title,
        headline=fill(candidate.treatment.headline, named),
        risk=offer.risk,
        owner=offer.owner,
        price=offer.price.amount,
        per=offer.price.per,
        currency=offer.price.currency,
        margin=margin,
        p_accept=scored.p_accept,
        uplift=scored.uplift,
        uplift_se=scored.uplift_se,
        value=scored.value,
        value_se=scored.uplift_se * margin,
        confidence=result.confidence,
        action_probability=result.action_probability,
        shown=result.disposition == "offered",
        parts=_parts(brain, candidate, scored, margin),
    )


def _parts(
    brain: Brain, candidate: Candidate, scored: ScoredRow, margin: float
) -> tuple[tuple[str, float], ...]:
    """uplift x margin, less costs, plus the lever: what is left over is what fatigue took."""
    gross = scored.uplift * margin
    cost = float(brain.costs[candidate.index])
    tired = round(gross - cost + scored.lever - scored.value, 3)
    return (
        ("uplift × margin", gross),
        ("contact cost", -cost),
        ("fatigue", -tired or 0.0),
        ("lever", scored.lever),
    )


def _steps(record: DecisionRecord, took: tuple[int, int] | None) -> tuple[Step, ...]:
    """The record measures up to the write; writing and the rest come from the pulse while it remembers."""
    measured: dict[str, int] = {}
    for name, micros in record.timings_us:
        measured[name] = measured.get(name, 0) + micros
    if took is not None:
        total_us, store_us = took
        measured.setdefault("record", store_us)
        measured.setdefault("answer", max(0, total_us - sum(measured.values())))
    faults = dict(fault.split(":", 1) for fault in record.faults if ":" in fault)
    found, at_us = [], 0
    for name in STEPS:
        found.append(Step(name, at_us, measured.get(name), faults.get(name)))
        at_us += measured.get(name, 0)
    return tuple(found)


def _features(brain: Brain | None, record: DecisionRecord) -> tuple[Feature, ...]:
    seen, parts = record.seen, dict(record.result.why)
    known = {} if brain is None else brain.views.features
    found = []
    for name, value in seen.features.items():
        spec = known.get(name)
        found.append(
            Feature(
                name=name,
                value=value,
                age_ms=seen.ages_ms.get(name),
                view=None if spec is None else spec.view,
                version=None if spec is None else spec.version,
                entity=None if spec is None else spec.entity,
                freshness_ms=None if spec is None else spec.freshness_ms,
                stale=name in seen.stale,
                missing=value is None or name in seen.missing,
                part=parts.get(name),
            )
        )
    # Those that moved the decision first, then those that were not as they should be.
    found.sort(key=lambda one: (-abs(one.part or 0.0), not (one.missing or one.stale)))
    return tuple(found)


def _skipped(brain: Brain, record: DecisionRecord) -> tuple[Skipped, ...]:
    found = []
    for policy, text, names in record.result.skipped:
        first = brain.candidates[first_of(text)]
        reason = reason_of(brain, record, policy, brain.rules.get(policy), first)
        found.append(Skipped(policy, reason, names, count_of(text)))
    return tuple(found)
