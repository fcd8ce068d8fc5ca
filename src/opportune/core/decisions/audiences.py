"""A decision in words: one paragraph that may be shown to the customer, one for an agent, one for an auditor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from opportune.core.catalog import Candidate
from opportune.core.decisions.believing import basis, known_words
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.explain import RuleFired, rules_fired, winner_of
from opportune.core.decisions.flagged import flag_text, flagged
from opportune.core.decisions.masks import mask_of
from opportune.core.decisions.records import DecisionRecord, Reason, Said
from opportune.core.decisions.shortlist import REASON_OF_STAGE

NOTHING_TO_SUGGEST = "There is nothing we would like to suggest right now."
CUSTOMER_FACTS_MAX = 2

REASON_WORDS: Mapping[Reason, str] = {
    "OFFERED": "it is worth the most of what is allowed",
    "EXPLORED": "it is tried to learn; another may be worth more",
    "FORCED": "a policy forces it, whatever else is worth more",
    "NO_VALUE": "nothing that is allowed is worth a contact",
    "NO_CONSENT": "the customer did not consent to it",
    "NOT_LAWFUL": "the law, or a legal rule of the company, forbids it",
    "NOT_SUITABLE": "it would not suit the customer now",
    "NOT_ELIGIBLE": "the customer does not meet what the offers require",
    "NO_PERMIT": "no policy permits it: what is not permitted is not offered",
    "CONTACT_LIMIT": "the customer was contacted often enough",
    "QUIET_HOURS": "it is quiet hours where the customer is",
    "NOT_VALID_NOW": "no offer is valid at this time",
    "VOLUME_LIMIT": "everything that may be given to everybody together is given out",
    "BUDGET_SPENT": "the budget for it is spent",
    "NO_CANDIDATE": "there is no offer for the channels that were asked for",
    "HELD_OUT": "this customer is in the control group that shows what offers are worth",
    "LOW_CONFIDENCE": "the system is not sure enough that it helps",
    "REVIEW_REQUIRED": "a policy wants a person to look first",
    "OVERLOAD": "the system was too busy and answered with its safe default",
    "TIMEOUT": "the answer was not ready in time, so the safe default was given",
    "FAULT": "a part of the system failed, so the safe default was given",
}
"""Every reason as the end of a sentence."""


class Words(msgspec.Struct, frozen=True):
    """The explanation: safe to show the customer, for an agent, and complete for an auditor."""

    customer: str
    agent: str
    auditor: str


def words(brain: Brain, record: DecisionRecord, rules: tuple[RuleFired, ...] | None = None) -> Words:
    """One paragraph per audience. The customer's names no score, no offer that lost and no rule.

    `rules` are `rules_fired` of the record, for whoever has them.
    """
    fired = rules_fired(brain, record) if rules is None else rules
    facts = _speaking(record)
    return Words(
        _customer(brain, record, facts), _agent(brain, record, fired, facts), _auditor(brain, record, fired)
    )  # fmt: skip


def _customer(brain: Brain, record: DecisionRecord, facts: list[str]) -> str:
    result = record.result
    if result.disposition != "offered" or result.offer is None:
        return NOTHING_TO_SUGGEST
    title = brain.by_id[f"{result.offer}@{result.channel}"].offer.title
    because = f" because {' and '.join(facts[:CUSTOMER_FACTS_MAX])}" if facts else ""
    further = [brain.by_id[f"{pick.offer}@{pick.channel}"].offer.title for pick in result.slate]
    also = f" You may also like {_listed(further)}." if further else ""
    return f"We suggest {title}{because}.{also} You can say no, and we will not ask again soon."


def _agent(brain: Brain, record: DecisionRecord, rules: tuple[RuleFired, ...], facts: list[str]) -> str:
    result = record.result
    won = winner_of(record)
    tried = result.reason == "EXPLORED" and won is None
    why = "offering nothing is tried, to learn" if tried else REASON_WORDS[result.reason]
    if result.disposition == "held_out" or won is None:
        main = [rule for rule in rules if REASON_OF_STAGE[rule.stage] == result.reason]
        mainly = f" Mainly: {max(main, key=lambda rule: rule.held_back).reason}." if main else ""
        return f"Offer nothing now: {why}.{mainly}"
    candidate = brain.by_id[won]
    title = candidate.offer.title
    head = f"Offer {title}" if result.disposition == "offered" else f"Ask for a review before offering {title}"
    told = [f"{head}: {why}."]
    if facts:
        told.append(f"What speaks for it: {', '.join(facts)}.")
    if (known := known_words(brain, record.seen, won)) is not None:
        told.append(f"{known[0].upper()}{known[1:]}.")
    if result.confidence is not None:
        told.append(f"Confidence {result.confidence:.0%}.")
    if result.slate:
        further = [brain.by_id[f"{pick.offer}@{pick.channel}"].offer.title for pick in result.slate]
        told.append(f"If that does not fit: {_listed(further)}.")
    elif not result.forced and (behind := _runner_up(brain, record, candidate)):
        told.append(behind)
    if result.obligations:
        told.append(f"You must: {', '.join(result.obligations)}.")
    return " ".join(told)


def _runner_up(brain: Brain, record: DecisionRecord, won: Candidate) -> str:
    """The next best other offer that was allowed, and how far it is behind."""
    values = list(record.result.scored.values)
    pool = brain.pools.of(mask_of(record.result.scored.left))
    same = brain.offer_of[won.index]
    while (best := max(values, default=0.0)) > 0.0:
        place = values.index(best)
        if pool.places[place] != same:
            break
        values[place] = 0.0  # the offer that won, in this or another channel
    else:
        return ""
    title = brain.candidates[pool.left[place]].offer.title
    gap = record.result.value - best
    how = f"{gap:.2f} {brain.app.currency} behind" if gap > 0 else "worth no less, left out this time"
    return f"Next: {title}, {how}."


def _auditor(brain: Brain, record: DecisionRecord, rules: tuple[RuleFired, ...]) -> str:
    result = record.result
    asked = brain.mask_of(record.asked.channels).bit_count()
    parts = [
        f"Decision {record.id} under release {record.release} at moment {record.asked.moment}: "
        f"{result.disposition} ({result.reason}): {REASON_WORDS[result.reason]}.",
        f"{asked} candidates were asked for, {len(result.scored.values)} were allowed and scored.",
    ]
    if rules:
        held = "; ".join(f"{rule.id} v{rule.version} held back {rule.held_back}: {rule.reason}" for rule in rules)
        parts.append(f"Rules: {held}.")
    if (won := winner_of(record)) is not None:
        parts.append(
            f"Chosen {won} of value {result.value:.2f} {brain.app.currency} with action probability "
            f"{result.action_probability:.4f}; model {basis(brain, record.seen, result.model, won)}."
        )
    if result.further is not None:
        parts.append(_models_beside(result.further))
    parts += _chosen_beside(record)
    parts += _seen_with(brain, record)
    return " ".join(parts)


def _models_beside(said: Said) -> str:
    """Which models were asked beside that of the uplift, and what they said of the customer."""
    named = ", ".join(f"{target} by {name}" for target, name in sorted(said.models.items()))
    numbers = "".join(f"; {name} {number:.4f}" for name, number in sorted(said.customer.items()))
    return f"Also asked: {named}{numbers}."


def _chosen_beside(record: DecisionRecord) -> list[str]:
    """What else was decided: the slate, what forced it, who is held out, what is demanded."""
    result, asked = record.result, record.asked
    parts = []
    if asked.limit > 1:
        picks = ", ".join(
            f"{pick.offer}@{pick.channel} of value {pick.value:.2f} with probability {pick.action_probability:.4f}"
            for pick in result.slate
        )
        parts.append(f"Up to {asked.limit} were asked for; further: {picks or 'none'}.")
    if result.forced:
        parts.append(f"Forced by {', '.join(result.forced)}: nothing was weighed, and nobody learns from it.")
    if result.confidence is not None and result.disposition == "escalated":
        parts.append(f"Confidence {result.confidence:.4f}.")
    if result.holdout:
        parts.append(f"Unit {record.seen.unit} is in the hold-out.")
    if result.obligations:
        parts.append(f"Obligations: {', '.join(result.obligations)}.")
    return parts


def _seen_with(brain: Brain, record: DecisionRecord) -> list[str]:
    """What it was seen with: limits nearly used up, refusals, faults, what was replaced, missing or flawed."""
    result, seen = record.result, record.seen
    parts = []
    if seen.room:
        left = ", ".join(f"{name} {amount:g}" for name, amount in sorted(seen.room.items()))
        parts.append(f"Left of limits over everybody: {left}.")
    if record.asked.refused:
        parts.append(f"Refused by the customer's browser: {', '.join(record.asked.refused)}.")
    if result.skipped:
        parts.append(f"Skipped and reported: {', '.join(policy for policy, _, _ in result.skipped)}.")
    if record.faults:
        parts.append(f"Faults: {', '.join(record.faults)}.")
    if result.degraded:
        parts.append(f"Degraded: {', '.join(result.degraded)}.")
    if seen.flags:
        parts.append(f"Data quality: {'; '.join(flag_text(one) for one in flagged(brain, record))}.")
    if seen.stale:
        parts.append(f"Stale: {', '.join(seen.stale)}.")
    if seen.missing:
        parts.append(f"Missing: {', '.join(seen.missing)}.")
    return parts


def _speaking(record: DecisionRecord) -> list[str]:
    """The facts that speak for the chosen offer, the weightiest first."""
    return [_fact(name, record.seen.features.get(name)) for name, part in record.result.why if part > 0]


def _fact(name: str, value: object) -> str:
    words_ = name.replace("_", " ")
    if value is None:
        return f"{words_} is not known"
    if isinstance(value, bool):
        return words_ if value else f"not {words_}"
    return f"{words_} is {value:.4g}" if isinstance(value, float) else f"{words_} is {value}"


def _listed(titles: Sequence[str]) -> str:
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} or {titles[-1]}"
