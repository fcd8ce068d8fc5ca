"""Explanations: a decision in words for three audiences, and why each candidate did not win."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from opportune.core.catalog import Candidate
from opportune.core.contacts import limit_words
from opportune.core.decisions.arbitration import scored_rows
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.flagged import flag_text, flagged
from opportune.core.decisions.masks import by_offer, count_of, first_of, mask_of, skipped_mask, stage_masks, whole
from opportune.core.decisions.records import DecisionRecord, ScoredRow
from opportune.core.decisions.shortlist import REASON_OF_STAGE, REQUIRES
from opportune.core.policies import Policy, explain, requirement_id

GENERAL_REASONS: Mapping[str, str] = {
    "asked_channels": "this channel was not asked for, or is not open at this moment",
    "validity": "the offer is not valid at this time",
    "no_permit": "no policy permits it: what is not permitted is not offered",
    REQUIRES: "the customer does not meet what the offer requires",
}


REQUIREMENTS_NAMED_MAX = 5


class WhyNot(msgspec.Struct, frozen=True):
    """One candidate's fate. `also` are further rules that held it back; `facts` what the rule looked at."""

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


class Words(msgspec.Struct, frozen=True):
    """The explanation: safe to show the customer, for an agent, and complete for an auditor."""

    customer: str
    agent: str
    auditor: str


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
    scored = {one.candidate: one for one in scored_rows(brain, record.result.scored)}
    won = _winner(record)
    return tuple(
        _fate(brain, record, candidate, stages, scored.get(candidate.id), candidate.id == won)
        for candidate in brain.candidates
    )


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


def words(brain: Brain, record: DecisionRecord) -> Words:
    """One paragraph per audience. The customer's names no score, no other offer and no internal rule."""
    rules = rules_fired(brain, record)
    return Words(_customer(brain, record), _agent(brain, record, rules), _auditor(brain, record, rules))


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


def _arbitrated(record: DecisionRecord, scored: ScoredRow, won: bool) -> tuple[str, str, str]:
    if won:
        return "chosen", "chosen", _chosen_reason(record)
    if scored.probability <= 0.0:
        return "arbitration", "value", f"worth {scored.value:.2f}: not more than offering nothing"
    best = max(record.result.scored.values)
    if scored.value >= best:
        return "arbitration", "draw", "was the best, but the draw tried another to keep learning"
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
    return f"the highest value of what is allowed: {result.value:.2f}"


def _winner(record: DecisionRecord) -> str | None:
    result = record.result
    if result.offer is not None and result.channel is not None:
        return f"{result.offer}@{result.channel}"
    return result.would


def _customer(brain: Brain, record: DecisionRecord) -> str:
    result = record.result
    if result.disposition != "offered" or result.offer is None:
        return "There is nothing we would like to suggest right now."
    candidate = brain.by_id[f"{result.offer}@{result.channel}"]
    facts = [_fact(name, record.seen.features.get(name)) for name, part in result.why if part > 0][:2]
    because = f" because {' and '.join(facts)}" if facts else ""
    return f"We suggest {candidate.offer.title}{because}. You can say no, and we will not ask again soon."


def _agent(brain: Brain, record: DecisionRecord, rules: tuple[RuleFired, ...]) -> str:
    result = record.result
    if result.disposition in ("fallback", "shed"):
        return f"Offer nothing now: the system answered with its safe default ({result.reason})."
    if result.offer is None and result.would is None:
        main = [rule for rule in rules if REASON_OF_STAGE[rule.stage] == result.reason]
        why = f" Mainly: {max(main, key=lambda rule: rule.held_back).reason}." if main else ""
        return f"Offer nothing now ({result.reason}).{why}"
    title = brain.by_id[_winner(record) or ""].offer.title
    if result.disposition == "held_out":
        return "Offer nothing now: this customer is in the control group that shows what offers are worth."
    head = f"Offer {title}" if result.disposition == "offered" else f"Ask for a review before offering {title}"
    facts = [_fact(name, record.seen.features.get(name)) for name, part in result.why if part > 0]
    because = f" What speaks for it: {', '.join(facts)}." if facts else ""
    sure = "" if result.confidence is None else f" Confidence {result.confidence:.0%}."
    return f"{head}.{because}{sure}"


def _auditor(brain: Brain, record: DecisionRecord, rules: tuple[RuleFired, ...]) -> str:
    result = record.result
    asked = brain.mask_of(record.asked.channels).bit_count()
    parts = [
        f"Decision {record.id} under release {record.release} at moment {record.asked.moment}: "
        f"{result.disposition} ({result.reason}).",
        f"{asked} candidates were asked for, {len(result.scored.values)} were allowed and scored.",
    ]
    if rules:
        held = "; ".join(f"{rule.id} v{rule.version} held back {rule.held_back}: {rule.reason}" for rule in rules)
        parts.append(f"Rules: {held}.")
    if (won := _winner(record)) is not None:
        parts.append(
            f"Chosen {won} of value {result.value:.2f} {brain.app.currency} with action probability "
            f"{result.action_probability:.4f}; model {result.model or 'none (owner’s prior)'}."
        )
    if result.skipped:
        parts.append(f"Skipped and reported: {', '.join(policy for policy, _, _ in result.skipped)}.")
    if result.degraded:
        parts.append(f"Degraded: {', '.join(result.degraded)}.")
    if record.seen.flags:
        parts.append(f"Data quality: {'; '.join(flag_text(one) for one in flagged(brain, record))}.")
    if record.seen.missing:
        parts.append(f"Missing: {', '.join(record.seen.missing)}.")
    return " ".join(parts)


def _values(record: DecisionRecord, candidate: Candidate) -> dict[str, Any]:
    seen = record.seen
    values: dict[str, Any] = dict(seen.features)
    values.update({f"context.{name}": value for name, value in record.asked.context.items()})
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


def _fact(name: str, value: object) -> str:
    words_ = name.replace("_", " ")
    if value is None:
        return f"{words_} is not known"
    if isinstance(value, bool):
        return words_ if value else f"not {words_}"
    return f"{words_} is {value:.4g}" if isinstance(value, float) else f"{words_} is {value}"
