"""Step 4, shortlist: which candidates are allowed here and now; each that is dropped keeps its stage and rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from opportune.core.contacts import in_quiet_hours, out_of_room, over_limits
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.customer_scores import customer_scores
from opportune.core.decisions.records import Asked, Reason, Seen
from opportune.core.policies import Held

STAGE_OF_CLASS: Mapping[str, str] = {
    "legal": "legal",
    "consent": "consent",
    "suitability": "suitability",
    "contact": "contact_limit",
    "commercial": "eligibility",
}
REQUIRES = "requires"
"""The rule under which a record keeps whom the offers' own requirements hold back; each offer's is
`offer.<id>.requires` for people."""

REASON_OF_STAGE: Mapping[str, Reason] = {
    "channel": "NO_CANDIDATE",
    "validity": "NOT_VALID_NOW",
    "legal": "NOT_LAWFUL",
    "consent": "NO_CONSENT",
    "suitability": "NOT_SUITABLE",
    "contact_limit": "CONTACT_LIMIT",
    "eligibility": "NOT_ELIGIBLE",
    "no_permit": "NO_PERMIT",
    "quiet_hours": "QUIET_HOURS",
    "volume_limit": "VOLUME_LIMIT",
    "budget": "BUDGET_SPENT",
}


class Shortlist(msgspec.Struct, frozen=True):
    """What is left, and why the rest is not. Masks are bitsets over the brain's candidates.

    `stages` are (stage, rule, mask of every candidate the rule holds back) in order: a candidate's reason is the
    first that holds it. `levers` are money added per candidate. `review` maps the policy that demands a person to
    its candidates; `obligations` and `forces` (overrides) likewise. `unexplored` are never tried while another is
    better.
    """

    left: int
    stages: tuple[tuple[str, str, int], ...]
    skipped: tuple[tuple[str, int, tuple[str, ...]], ...] = ()
    levers: Mapping[int, float] = {}
    review: tuple[tuple[str, int], ...] = ()
    forced: int = 0
    obligations: tuple[tuple[str, int], ...] = ()
    forces: tuple[tuple[str, int], ...] = ()
    unexplored: int = 0


def request_values(brain: Brain, asked: Asked, seen: Seen) -> dict[str, Any]:
    """Every variable a policy may read that is one value per decision."""
    values: dict[str, Any] = dict(seen.features)
    for name, value in asked.context.items():
        values[f"context.{name}"] = value
    values["moment.id"] = asked.moment
    values["local_hour"] = seen.local_minute // 60
    values["account_known"] = seen.account is not None
    values["now"] = seen.at_ms
    if brain.further:
        values.update(customer_scores(brain, seen.features))
    return values


def shortlist(brain: Brain, asked: Asked, seen: Seen) -> Shortlist:
    """Channels, validity, policies, limits and quiet hours, in that order; deny by default."""
    everything = (1 << len(brain.candidates)) - 1
    within = brain.mask_of(asked.channels)
    stages: list[tuple[str, str, int]] = []
    _drop(stages, "channel", "asked_channels", everything & ~within)
    outside = brain.windows.outside(seen.at_ms) & within
    _drop(stages, "validity", "validity", outside)
    values, consents = request_values(brain, asked, seen), {"consent.status": seen.consents}
    held = brain.required.judge(values, consents)
    weighed = within & ~(outside | held.unmet | held.unknown)
    standing = brain.policies.resolve(brain.policies.judge(values, consents, seen.at_ms, within, weighed))
    for policy, mask in standing.forbids:
        _drop(stages, STAGE_OF_CLASS[policy.class_], policy.id, mask & within)
    # INVARIANT: what an offer requires is known to hold; not knowing is not enough. Forcing does not help that.
    _drop(stages, "eligibility", REQUIRES, (held.unmet & ~standing.forced | held.unknown) & within)
    _drop(stages, "no_permit", "no_permit", within & ~standing.permitted)
    for stage, rule, mask in limited(brain, seen):
        _drop(stages, stage, rule, mask & within)
    left = within
    for _, _, mask in stages:
        left &= ~mask
    return Shortlist(
        left=left,
        stages=tuple(stages),
        skipped=_skipped(standing.skipped, held, within),
        levers=standing.levers,
        review=standing.review,
        forced=standing.forced & left,
        obligations=standing.obligations,
        forces=standing.forces if standing.forced else (),
        unexplored=standing.unexplored,
    )


def limited(brain: Brain, seen: Seen) -> Iterator[tuple[str, str, int]]:
    """(stage, limit, mask) of what is held back by how often and when, whoever it is: contact limits, quiet hours,
    limits over everybody."""
    for limit, mask in over_limits(brain.limits, seen.contacts, brain.offer_masks):
        yield "contact_limit", limit, mask
    for rule in brain.quiet:
        if in_quiet_hours(rule, seen.local_minute, seen.local_day):
            yield "quiet_hours", rule.id, brain.channel_masks.get(rule.channel, 0)
    for stage, limit, mask in out_of_room(brain.volumes, seen.room, brain.offer_masks):
        yield stage, limit, mask


def dominant_reason(brain: Brain, asked: Asked, stages: tuple[tuple[str, str, int], ...]) -> Reason:
    """Why nothing is left: the stage that was first to hold back the most candidates that were asked for."""
    open_ = brain.mask_of(asked.channels)
    best: Reason = "NO_CANDIDATE"
    most = 0
    for stage, _, mask in stages:
        taken = (mask & open_).bit_count()
        open_ &= ~mask
        if stage != "channel" and taken > most:
            best, most = REASON_OF_STAGE[stage], taken
    return best


def to_review(listed: Shortlist) -> int:
    """The candidates that a person must look at first: by a policy, or by the obligation `review`."""
    mask = 0
    for _, reviewed in listed.review:
        mask |= reviewed
    for name, obliged in listed.obligations:
        if name == "review":
            mask |= obliged
    return mask


def _drop(stages: list[tuple[str, str, int]], stage: str, rule: str, mask: int) -> None:
    if mask:
        stages.append((stage, rule, mask))


def _skipped(
    skipped: tuple[tuple[str, int, tuple[str, ...]], ...], held: Held, within: int
) -> tuple[tuple[str, int, tuple[str, ...]], ...]:
    unknown = held.unknown & within
    return (*skipped, (REQUIRES, unknown, held.causes)) if unknown else skipped
