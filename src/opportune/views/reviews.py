"""Reviews as data: the decisions that wait for a person, each with everything that person needs to judge it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from opportune.core.decisions.audiences import words
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.explain import WhyNot, fates_known, reason_of
from opportune.core.decisions.flips import Flip, Flips
from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.decisions.shortlist import shortlist
from opportune.core.masking import masked
from opportune.core.signals import FieldClass, format_time
from opportune.ports import Records, Review

FACTS_MAX = 100


class ReviewLine(msgspec.Struct, frozen=True):
    """One review in the list: who, what, why, and how long it waits."""

    id: str
    decision: str
    customer: str
    status: str
    opened_at: str
    age_ms: int
    reason: str
    because: str
    moment: str
    candidate: str | None
    title: str | None
    value: float
    confidence: float | None


class Demand(msgspec.Struct, frozen=True):
    """A policy that sends it to a person: its sentence, with the values it looked at."""

    policy: str
    version: int
    owner: str
    reason: str


class ReviewFact(msgspec.Struct, frozen=True):
    """A feature as the decision saw it, and what it added to the predicted effect, in log-odds."""

    name: str
    value: Any
    age_ms: int | None
    stale: bool
    part: float | None


class ReviewCase(msgspec.Struct, frozen=True):
    """The whole case. `needs` is the least confidence of the offer's risk, where that sent it here.

    `next_best` is the most valuable other candidate that was weighed, else the first that was not allowed; `next_flip`
    says what would make it win instead. `unknown` are features nobody knew.
    """

    line: ReviewLine
    customer: str
    account: str | None
    release: str
    demands: tuple[Demand, ...]
    needs: float | None
    risk: str | None
    owner: str | None
    price: float | None
    per: str | None
    currency: str
    explanation: str
    obligations: tuple[str, ...]
    facts: tuple[ReviewFact, ...]
    unknown: tuple[str, ...]
    degraded: tuple[str, ...]
    context: Mapping[str, Any]
    consents: Mapping[str, str]
    contacts: tuple[tuple[str, str, str, int], ...]
    next_best: WhyNot | None
    next_flip: Flip | None


def review_lines(
    records: Records, brain_of: Callable[[str], Brain], now_ms: int, status: str, last: int
) -> tuple[ReviewLine, ...]:
    """Reviews of one status, the newest first; `brain_of` may raise LookupError for a release that is gone."""
    found = []
    for review in records.reviews(status, last):
        stored = records.decision(review.decision)
        if stored is not None:
            record = decode_record(stored.record)
            found.append(_line(_brain(brain_of, record), review, record, now_ms))
    return tuple(found)


def review_case(
    records: Records, brain_of: Callable[[str], Brain], now_ms: int, id_: str, clear: Collection[FieldClass]
) -> ReviewCase | None:
    """One review whole; what the caller said about the customer is masked as elsewhere. None when there is none."""
    review = records.review(id_)
    stored = None if review is None else records.decision(review.decision)
    if review is None or stored is None:
        return None
    record = decode_record(stored.record)
    brain = _brain(brain_of, record)
    seen, result = record.seen, record.result
    candidate = None if brain is None else brain.by_id.get(f"{result.offer}@{result.channel}")
    offer = None if candidate is None else candidate.offer
    next_best = None if brain is None else _next_best(brain, record)
    return ReviewCase(
        line=_line(brain, review, record, now_ms),
        customer=record.asked.customer,
        account=seen.account,
        release=record.release,
        demands=() if brain is None else demands_of(brain, record),
        needs=_needs(brain, record),
        risk=None if offer is None else offer.risk,
        owner=None if offer is None else offer.owner,
        price=None if offer is None else offer.price.amount,
        per=None if offer is None else offer.price.per,
        currency="" if brain is None else brain.app.currency,
        explanation="" if brain is None else words(brain, record).agent,
        obligations=result.obligations,
        facts=_facts(record),
        unknown=tuple(name for name, value in seen.features.items() if value is None),
        degraded=result.degraded,
        context=masked(dict(record.asked.context), "personal", clear),
        consents=dict(seen.consents),
        contacts=seen.contacts,
        next_best=next_best,
        next_flip=None if brain is None or next_best is None else Flips(brain).of(record, next_best.candidate),
    )


def demands_of(brain: Brain, record: DecisionRecord) -> tuple[Demand, ...]:
    """The policies that sent the chosen candidate to a person; derived from what was seen, as the decision did."""
    candidate = brain.by_id.get(f"{record.result.offer}@{record.result.channel}")
    if candidate is None:
        return ()
    listed = shortlist(brain, record.asked, record.seen)
    asking = {policy for policy, mask in listed.review if mask >> candidate.index & 1}
    verdicts = [policy for policy in brain.rules.values() if policy.id in asking]
    if not verdicts:
        # No policy of effect `require_review`: the obligation `review` of some other policy.
        verdicts = [policy for policy in brain.rules.values() if "review" in policy.obligations]
        verdicts = verdicts if "review" in record.result.obligations else []
    return tuple(
        Demand(policy.id, policy.version, policy.owner, reason_of(brain, record, policy.id, policy, candidate))
        for policy in verdicts
    )


def _line(brain: Brain | None, review: Review, record: DecisionRecord, now_ms: int) -> ReviewLine:
    result = record.result
    name = None if result.offer is None else f"{result.offer}@{result.channel}"
    candidate = None if brain is None or name is None else brain.by_id.get(name)
    return ReviewLine(
        id=review.id,
        decision=review.decision,
        customer=review.customer,
        status=review.status,
        opened_at=format_time(review.opened_ms),
        age_ms=max(0, now_ms - review.opened_ms),
        reason=review.reason,
        because=_because(brain, record),
        moment=record.asked.moment,
        candidate=name,
        title=None if candidate is None else candidate.offer.title,
        value=result.value,
        confidence=result.confidence,
    )


def _because(brain: Brain | None, record: DecisionRecord) -> str:
    result = record.result
    if brain is None:
        return f"release {record.release} is not on the shelf any more"
    if result.reason == "LOW_CONFIDENCE":
        needs = _needs(brain, record)
        sure = 0.0 if result.confidence is None else result.confidence
        least = "always needs a person" if needs is None or needs >= 1.0 else f"needs {needs:.0%}"
        return f"the system is {sure:.0%} sure that it helps; an offer of this risk {least}"
    demands = demands_of(brain, record)
    return "; ".join(one.reason for one in demands) or "a policy demands a review"


def _needs(brain: Brain | None, record: DecisionRecord) -> float | None:
    if brain is None or record.result.reason != "LOW_CONFIDENCE":
        return None
    candidate = brain.by_id.get(f"{record.result.offer}@{record.result.channel}")
    return None if candidate is None else brain.app.confidence_min.get(candidate.offer.risk)


def _facts(record: DecisionRecord) -> tuple[ReviewFact, ...]:
    seen, parts = record.seen, dict(record.result.why)
    facts = [
        ReviewFact(name, value, seen.ages_ms.get(name), name in seen.stale, parts.get(name))
        for name, value in seen.features.items()
        if value is not None
    ]
    facts.sort(key=lambda one: -abs(one.part or 0.0))
    return tuple(facts[:FACTS_MAX])


def _next_best(brain: Brain, record: DecisionRecord) -> WhyNot | None:
    """The most valuable other candidate that was weighed; else the first that was asked for and held back."""
    others = [one for one in fates_known(brain, record) if not one.won and one.stage != "channel"]
    weighed = [one for one in others if one.value is not None]
    return max(weighed, key=lambda one: one.value or 0.0) if weighed else next(iter(others), None)


def _brain(brain_of: Callable[[str], Brain], record: DecisionRecord) -> Brain | None:
    try:
        return brain_of(record.release)
    except LookupError:
        return None
