"""Step 8, answer: what the caller gets, with a signed grant for what may be presented."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from opportune.core.catalog import SafeDefault
from opportune.core.decisions.audiences import words
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.explain import RuleFired, rules_fired
from opportune.core.decisions.grants import Claims, Sign, payload_of, signed
from opportune.core.decisions.records import DecisionRecord
from opportune.core.signals import format_time

RULES_SHOWN_MAX = 5
_GAP = re.compile(r"\{([^{}]*)\}")


class OfferShown(msgspec.Struct, frozen=True):
    """The offer as it may be presented: nothing else of it is promised."""

    id: str
    title: str
    kind: str
    price: float
    currency: str
    per: str
    headline: str
    body: str
    action: str


class Further(msgspec.Struct, frozen=True):
    """A further offer of a slate, with a grant of its own."""

    offer: OfferShown
    channel: str
    action_probability: float
    confidence: float
    grant: str | None
    expires_at: str


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a question. `recorded` is false only for previews. `region` is where it was decided.

    With `delivery` `outbox` Opportune sends the offer itself, and there is no grant to present it. `slate` are further
    offers, when more than one was asked for; `safe_default` is what to show while nothing is offered.
    """

    decision_id: str
    disposition: str
    reason: str
    release: str
    moment: str
    customer: str
    offer: OfferShown | None
    channel: str | None
    explanation: Mapping[str, str]
    policies: tuple[RuleFired, ...]
    reasons: tuple[tuple[str, float], ...]
    action_probability: float
    budget_ms: int
    timings_us: Mapping[str, int]
    confidence: float | None = None
    grant: str | None = None
    expires_at: str | None = None
    delivery: str = "caller"
    model: str | None = None
    degraded: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    recorded: bool = True
    region: str = ""
    slate: tuple[Further, ...] = ()
    safe_default: SafeDefault | None = None
    forced: tuple[str, ...] = ()


def answer_of(brain: Brain, record: DecisionRecord, sign: Sign | None = None, *, preview: bool = False) -> Answer:
    """The answer for a record. With `sign`, what is offered has a grant; `with_grants` signs those of one commit.

    A decision with a key is signed at once and alone: whoever repeats the question gets the same bytes.
    """
    result = record.result
    rules = rules_fired(brain, record)
    said = words(brain, record, rules)
    shown: OfferShown | None = None
    grant: str | None = None
    expires_at: str | None = None
    delivery = "caller"
    if result.disposition == "offered" and result.offer is not None and result.channel is not None:
        shown = _shown(brain, record, result.offer, result.channel)
        expires_ms = granted_until_ms(brain, record, result.channel)
        expires_at = format_time(expires_ms)
        delivery = brain.channels[result.channel].delivery
        # What Opportune sends itself is nobody else's to present.
        if sign is not None and not preview and delivery == "caller":
            grant = _grant(record, shown, result.channel, expires_ms, sign)
    return Answer(
        decision_id=record.id,
        disposition=result.disposition,
        reason=result.reason,
        release=record.release,
        moment=record.asked.moment,
        customer=record.asked.customer,
        offer=shown,
        channel=result.channel,
        explanation={"customer": said.customer, "agent": said.agent, "auditor": said.auditor},
        policies=rules[:RULES_SHOWN_MAX],
        reasons=result.why,
        action_probability=result.action_probability,
        budget_ms=record.asked.budget_ms,
        timings_us=dict(record.timings_us),
        confidence=result.confidence,
        grant=grant,
        expires_at=expires_at,
        delivery=delivery,
        model=result.model,
        degraded=result.degraded,
        obligations=result.obligations,
        missing=record.seen.missing,
        recorded=not preview,
        region=record.region,
        slate=_slate(brain, record, None if preview else sign) if result.slate else (),
        safe_default=brain.moments[record.asked.moment].safe_default if shown is None else None,
        forced=result.forced,
    )


def _slate(brain: Brain, record: DecisionRecord, sign: Sign | None) -> tuple[Further, ...]:
    found = []
    for pick in record.result.slate:
        shown = _shown(brain, record, pick.offer, pick.channel)
        expires_ms = granted_until_ms(brain, record, pick.channel)
        grant = None if sign is None else _grant(record, shown, pick.channel, expires_ms, sign)
        found.append(
            Further(shown, pick.channel, pick.action_probability, pick.confidence, grant, format_time(expires_ms))
        )
    return tuple(found)


def granted_until_ms(brain: Brain, record: DecisionRecord, channel: str) -> int:
    """How long what was decided may be presented: the life of the channel's grants, and never into quiet hours."""
    end_ms = record.seen.at_ms + brain.grant_ttl_ms[channel]
    return min(end_ms, record.seen.quiet_from.get(channel, end_ms))


def unrecorded_answer(brain: Brain, moment: str, customer: str, missing: tuple[str, ...]) -> Answer:
    """The safe default when no record could be made: nothing is offered, so nothing needs one. `missing` says what
    was not there, at last the record: `record.late`, `record.failed` or `record.open` (the store is not asked)."""
    nothing = "There is nothing we would like to suggest right now."
    late = missing[-1].endswith(".late")
    when = " in time" if late else ""
    why = f"No record could be made{when} ({', '.join(missing)}), so the safe default was given: offer nothing."
    return Answer(
        decision_id="",
        disposition="fallback",
        reason="TIMEOUT" if late else "FAULT",
        release=brain.release,
        moment=moment,
        customer=customer,
        offer=None,
        channel=None,
        explanation={"customer": nothing, "agent": why, "auditor": why},
        policies=(),
        reasons=(),
        action_probability=1.0,
        budget_ms=0,
        timings_us={},
        degraded=missing,
        recorded=False,
        region=brain.app.region,
        safe_default=brain.moments[moment].safe_default if moment in brain.moments else None,
    )


def _shown(brain: Brain, record: DecisionRecord, offer_id: str, channel: str) -> OfferShown:
    candidate = brain.by_id[f"{offer_id}@{channel}"]
    offer, treatment = candidate.offer, candidate.treatment
    values: dict[str, Any] = {"title": offer.title, "price": f"{offer.price.amount:g}", **record.seen.features}
    return OfferShown(
        id=offer.offer,
        title=offer.title,
        kind=offer.kind,
        price=offer.price.amount,
        currency=offer.price.currency,
        per=offer.price.per,
        headline=fill(treatment.headline, values),
        body=fill(treatment.body, values),
        action=treatment.action,
    )


def fill(text: str, values: Mapping[str, Any]) -> str:
    """`{name}` becomes the value; a value that is missing leaves a gap that reads well ("your")."""

    def put(found: re.Match[str]) -> str:
        value = values.get(found[1], found)
        if value is found:
            return str(found[0])
        if isinstance(value, float):
            return f"{value:.4g}"
        return "your" if value is None else str(value)

    return _GAP.sub(put, text) if "{" in text else text


def _grant(record: DecisionRecord, shown: OfferShown, channel: str, expires_ms: int, sign: Sign) -> str:
    """The grant, or its payload alone when it is signed with others."""
    payload = payload_of(
        Claims(
            record.id, record.asked.customer, shown.id, channel, shown.price, shown.currency, shown.per, expires_ms
        )
    )  # fmt: skip
    return payload if record.asked.key is None else signed([payload], sign)[0]


def with_grants(answers: Sequence[Answer], sign: Sign) -> list[Answer]:
    """The answers, those grants that are not signed yet under one signature."""
    payloads = [grant for answer in answers for grant in _unsigned(answer)]
    if not payloads:
        return list(answers)
    ready = dict(zip(payloads, signed(payloads, sign), strict=True))
    return [_granted(answer, ready) for answer in answers]


def _unsigned(answer: Answer) -> list[str]:
    grants = [answer.grant, *[further.grant for further in answer.slate]]
    return [grant for grant in grants if grant is not None and "." not in grant]


def _granted(answer: Answer, ready: Mapping[str, str]) -> Answer:
    grant, replace = answer.grant, msgspec.structs.replace
    if grant is None or grant not in ready:
        return answer
    slate = [replace(further, grant=ready.get(further.grant or "", further.grant)) for further in answer.slate]
    return replace(answer, grant=ready[grant], slate=tuple(slate))
