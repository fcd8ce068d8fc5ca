"""Explanations: the rules that mattered, and why each candidate did not win; in words see `audiences`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from opportune.core.catalog import Candidate
from opportune.core.contacts import limit_words
from opportune.core.decisions.arbitration import scored_rows
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.masks import (
    NotDerived,
    by_offer,
    count_of,
    first_of,
    mask_of,
    skipped_mask,
    stage_masks,
    whole,
)
from opportune.core.decisions.records import DecisionRecord, ScoredRow
from opportune.core.decisions.shortlist import REQUIRES
from opportune.core.policies import Policy, explain, requirement_id

GENERAL_REASONS: Mapping[str, str] = {
    "asked_channels": "this channel was not asked for, or is not open at this moment",
    "validity": "the offer is not valid at this time",
    "no_permit": "no policy permits it: what is not permitted is not offered",
    REQUIRES: "the customer does not meet what the offer requires",
}


REQUIREMENTS_NAMED_MAX = 5


class WhyNot(msgspec.Struct, frozen=True):
    """One candidate's fate. `also` are further rules that held it back; `facts` what the rule looked at.

    `reasons` are the features that moved its own predicted effect most, in log-odds; `stage` is `chosen` for the
    winner and `slate` for what was offered beside it.
    """

    candidate: str
    offer: str
    title: str
    channel: str
    stage: str
    rule: str
    reason: str
    also: tuple[str, ...]
    facts: Mapping[str, Any]
    value: float | None
    probability: float | None
    won: bool
    reasons: tuple[tuple[str, float], ...] = ()


class RuleFired(msgspec.Struct, frozen=True):
    """A rule that mattered: its id, version, sentence and how many candidates it held back."""

    id: str
    version: int
    stage: str
    reason: str
    held_back: int


def why_not(brain: Brain, record: DecisionRecord) -> tuple[WhyNot, ...]:
    """Every candidate of the release: the winner (stage `chosen`) and the complete why-not of the rest."""
    stages = stage_masks(brain, record)
    result = record.result
    scored = {one.candidate: one for one in scored_rows(brain, result.scored, record.seen, result.model)}
    won = winner_of(record)
    fates = (
        _fate(brain, record, candidate, stages, scored.get(candidate.id), candidate.id == won)
        for candidate in brain.candidates
    )
    return tuple(_with_reasons(brain, record, fates))


def fates_known(brain: Brain, record: DecisionRecord) -> tuple[WhyNot, ...]:
    """`why_not`, or nothing where this version would derive other sets than the decision recorded."""
    try:
        return why_not(brain, record)
    except NotDerived:
        return ()


def rules_fired(brain: Brain, record: DecisionRecord) -> tuple[RuleFired, ...]:
    """The rules that held candidates back, in order, each with its sentence.

    What offers require is named for the first few offers, and counted for the rest.
    """
    found: list[RuleFired] = []
    for stage, rule, text in record.result.stages:
        if stage == "channel":  # says what was not asked for
            continue
        if rule == REQUIRES:
            found += _required(brain, record, stage, text)
            continue
        policy = brain.rules.get(rule)
        version = 1 if policy is None else policy.version
        reason = reason_of(brain, record, rule, policy, brain.candidates[first_of(text)])
        found.append(RuleFired(rule, version, stage, reason, count_of(text)))
    return tuple(found)


def _required(brain: Brain, record: DecisionRecord, stage: str, text: str) -> Iterator[RuleFired]:
    """Offers held back by what they require; in a catalog so large that the record keeps a digest, in one line."""
    rest = count_of(text)
    if whole(text):
        for rule, mask in islice(by_offer(brain, REQUIRES, mask_of(text)), REQUIREMENTS_NAMED_MAX):
            candidate = brain.candidates[(mask & -mask).bit_length() - 1]
            reason = reason_of(brain, record, rule, policy_of(brain, rule, candidate), candidate)
            yield RuleFired(rule, 1, stage, reason, mask.bit_count())
            rest -= mask.bit_count()
    if rest:
        yield RuleFired(REQUIRES, 1, stage, GENERAL_REASONS[REQUIRES], rest)


def policy_of(brain: Brain, rule: str, candidate: Candidate) -> Policy | None:
    """The policy of a rule, None for rules that are none; what an offer requires reads as a policy of its own."""
    offer = candidate.offer
    if rule not in (REQUIRES, requirement_id(offer.offer)):
        return brain.rules.get(rule)
    return Policy(
        id=requirement_id(offer.offer), effect="forbid", class_="commercial", when=f"!({offer.requires})",
        reason=offer.requires_reason, owner=offer.owner,
    )  # fmt: skip


def reason_of(
    brain: Brain, record: DecisionRecord, rule: str, policy: Policy | None, candidate: Candidate
) -> str:
    """The sentence of a rule with the values it looked at filled in, for one of the candidates it held back."""
    if policy is not None:
        return explain(policy, _values(record, candidate))
    if (limited := limit_words(rule, brain.limits, brain.volumes, brain.app.currency)) is not None:
        return limited
    if rule.endswith(".quiet_hours"):
        return "it is quiet hours where the customer is"
    if rule == "no_permit" and (unjudged := _unjudged_permits(brain, record, candidate)):
        return f"no policy permits it, and {unjudged}"
    return GENERAL_REASONS.get(rule, rule)


def _unjudged_permits(brain: Brain, record: DecisionRecord, candidate: Candidate) -> str:
    """The permits that might have allowed a candidate, had the values they need been known."""
    found = [
        f"`{policy}` could not be judged without {', '.join(names)}"
        for policy, mask, names in record.result.skipped
        if policy in brain.rules and brain.rules[policy].effect == "permit"
        and skipped_mask(brain, record, policy, mask) >> candidate.index & 1
    ]
    return "; ".join(found)


def _fate(
    brain: Brain,
    record: DecisionRecord,
    candidate: Candidate,
    stages: tuple[tuple[str, str, int], ...],
    scored: ScoredRow | None,
    won: bool,
) -> WhyNot:
    bit = 1 << candidate.index
    own = requirement_id(candidate.offer.offer)
    holding = [(stage, own if rule == REQUIRES else rule) for stage, rule, mask in stages if mask & bit]
    facts: dict[str, Any] = {}
    if holding:
        stage, rule = holding[0]
        policy = policy_of(brain, rule, candidate)
        reason = reason_of(brain, record, rule, policy, candidate)
        if policy is not None:
            values = _values(record, candidate)
            names = brain.required.names[candidate.offer.offer] if rule == own else brain.rule_names[rule]
            facts = {name: values.get(name) for name in names}
    elif scored is None:
        stage, rule, reason = "arbitration", "not_scored", "the decision ended before this was scored"
    else:
        stage, rule, reason = _arbitrated(record, scored, won)
    return WhyNot(
        candidate=candidate.id,
        offer=candidate.offer.offer,
        title=candidate.offer.title,
        channel=candidate.channel.channel,
        stage=stage,
        rule=rule,
        reason=reason,
        also=tuple(rule for _, rule in holding[1:]),
        facts=facts,
        value=None if scored is None else scored.value,
        probability=None if scored is None else scored.probability,
        won=won,
    )


def _with_reasons(brain: Brain, record: DecisionRecord, fates: Iterable[WhyNot]) -> Iterator[WhyNot]:
    """The fates, those that were scored with what moved their score; priors have nothing that moved them."""
    model, result = brain.model, record.result
    if model is None or result.model is None or not result.scored.values:
        yield from fates
        return
    try:
        scores = model.score([record.seen.features.get(name) for name in brain.views.names])
        parts = [model.explain(scores, place) if known else () for place, known in enumerate(scores.covered)]
    except Exception:  # noqa: BLE001 - a model that fails now explains nothing, and what was decided stands
        yield from fates
        return
    for fate, place in zip(fates, brain.offer_of, strict=True):
        yield fate if fate.value is None else msgspec.structs.replace(fate, reasons=tuple(parts[place]))


def _arbitrated(record: DecisionRecord, scored: ScoredRow, won: bool) -> tuple[str, str, str]:
    result = record.result
    if won:
        return "chosen", "chosen", _chosen_reason(record)
    for place, pick in enumerate(result.slate, 2):
        if f"{pick.offer}@{pick.channel}" == scored.candidate:
            return "slate", "chosen", f"offered as well, in place {place}: worth {pick.value:.2f}"
    if result.forced:
        return "arbitration", "forced", f"worth {scored.value:.2f}, but {', '.join(result.forced)} forces another"
    best = max(result.scored.values)
    if scored.value <= 0.0 and scored.probability <= 0.0:
        return "arbitration", "value", f"worth {scored.value:.2f}: not more than offering nothing"
    if scored.value >= best:
        drawn = scored.probability < 1.0 and result.action_probability < 1.0
        why = "was the best, but the draw tried another to keep learning" if drawn else "worth as much as the best"
        return "arbitration", "draw", why
    gap = best - scored.value
    return "arbitration", "value", f"worth {scored.value:.2f}: {gap:.2f} less than the best"


def _chosen_reason(record: DecisionRecord) -> str:
    result = record.result
    if result.disposition == "held_out":
        return "would have been offered, but this customer is in the control group"
    if result.disposition == "escalated":
        return "chosen, waiting for a person to look"
    if result.reason == "EXPLORED":
        return f"tried to learn, with probability {result.action_probability:.3f}"
    if result.forced:
        return f"forced by {', '.join(result.forced)}; worth {result.value:.2f}"
    return f"the highest value of what is allowed: {result.value:.2f}"


def winner_of(record: DecisionRecord) -> str | None:
    """The candidate that won, also where it was not shown; None when nothing did."""
    result = record.result
    if result.offer is not None and result.channel is not None:
        return f"{result.offer}@{result.channel}"
    return result.would


def _values(record: DecisionRecord, candidate: Candidate) -> dict[str, Any]:
    seen = record.seen
    values: dict[str, Any] = dict(seen.features)
    values.update({f"context.{name}": value for name, value in record.asked.context.items()})
    if record.result.further is not None:
        values.update(record.result.further.customer)
    values["moment.id"] = record.asked.moment
    values["local_hour"] = seen.local_minute // 60
    values["account_known"] = seen.account is not None
    values["now"] = seen.at_ms
    offer = candidate.offer
    values.update({f"offer.{name}": value for name, value in offer.attributes.items()})
    values.update(
        {
            "offer.id": offer.offer,
            "offer.kind": offer.kind,
            "offer.price": offer.price.amount,
            "offer.margin": offer.margin,
            "offer.risk": offer.risk,
            "offer.purpose": offer.purpose,
            "channel.id": candidate.channel.channel,
            "channel.kind": candidate.channel.kind,
            "consent.status": seen.consents.get(f"{offer.purpose}/{candidate.channel.channel}"),
        }
    )
    return values
