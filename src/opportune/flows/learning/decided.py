"""The system's own decisions as assignments: what was drawn, with which chance, and what chance could have done else.

Offered means that the decision was to offer it, whether or not the customer then saw it: whoever is held out has no
such chance to show up, so that only the decision itself divides customers at random. Acceptance, value and fatigue
are about those whom an offer reached.

- **hold-out**: its customers are offered nothing, whatever was drawn, with a chance that is known.
- **NO_OFFER** that was drawn is, like the hold-out, "nothing was offered" for every offer that had a chance then.
- **escalated**: a person decided, not chance. Such offers are no rows, and no arm of decisions in which another was
  drawn. Whatever a person then changes is left out with them.
- **forced**: nothing was drawn; left out.
- **slates**: the first offer was drawn over all that was left, like one alone, and counts; what stood beside it not.
- **exploration**: chances are those of the recorded distribution; below CHANCE_MIN an offer is no arm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from opportune.core.decisions.arms import Arms, arms_of
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.playbook import ModelSpec
from opportune.ports import Records, StoredDecision

PRESENTED = frozenset({"delivered", "seen", "clicked", "accepted", "declined", "dismissed", "converted", "complained"})
"""Outcomes that prove that an offer reached its customer."""

CHANCE_MIN = 0.02
"""An arm with less chance than this is left out, whoever was drawn: its rows would each have to stand for too many
(trimming by the logged probability alone, Crump et al. 2009, leaves the effect among the others unbiased)."""


PAGE = 1_000


class Assignment(msgspec.Struct, frozen=True):
    """Who was assigned which offer, by chance: `probability` is that of what was done. `values` are those of the
    spec's features as read then, `beside` those of its segments and protected features that are none of these.
    `reached`: it is known to have reached its customer.
    """

    at_ms: int
    customer: str | None
    account: str | None
    offer: str
    treated: bool
    probability: float
    values: tuple[Any, ...]
    beside: tuple[Any, ...] = ()
    reached: bool = True


class Decided(msgspec.Struct, frozen=True):
    """Assignments in time order, and how many decisions became none, by reason."""

    assignments: tuple[Assignment, ...] = ()
    left_out: Mapping[str, int] = {}


def decided_assignments(
    records: Records, spec: ModelSpec, last: int, holdout_share: float, brain_of: Callable[[str], Brain]
) -> Decided:
    """The newest `last` decisions as assignments, with features exactly as they were seen; see the module.

    `brain_of` gives the brain of a release by its hash; a decision whose release cannot be compiled any more is left
    out.
    """
    return assignments_among(records.decisions(last)[::-1], records, spec, holdout_share, brain_of)


def assignments_among(
    decisions: Iterable[StoredDecision], records: Records, spec: ModelSpec, holdout_share: float,
    brain_of: Callable[[str], Brain],
) -> Decided:  # fmt: skip
    """`decided_assignments` of these decisions, in their order."""
    found: list[Assignment] = []
    left_out: Counter[str] = Counter()
    for stored in decisions:
        record = decode_record(stored.record)
        reason = _unusable(record)
        arms = None
        if not reason:
            arms, reason = _arms(brain_of, record, holdout_share)
        if arms is None:
            left_out[reason] += 1
            continue
        rows = list(_rows(stored, record, arms, spec, records))
        if not rows:
            left_out["decision without an offer that chance could have made"] += 1
        found += rows
    return Decided(tuple(found), dict(left_out))


def _newest(records: Records, last: int) -> Iterator[StoredDecision]:
    """The newest decisions, the newest first, a page at a time: all at once would fill the memory."""
    before: str | None = None
    while last > 0 and (page := records.decisions(min(last, PAGE), before=before)):
        yield from page
        before, last = page[-1].id, last - len(page)


def _unusable(record: DecisionRecord) -> str:
    """Why chance did not decide, in words; empty when it did."""
    result = record.result
    if result.forced:
        return "decision forced by a policy"
    if result.disposition == "escalated":
        return "decision left to a person"
    if result.disposition in ("fallback", "shed"):
        return "decision that ended early"
    return ""


def _arms(brain_of: Callable[[str], Brain], record: DecisionRecord, share: float) -> tuple[Arms | None, str]:
    try:
        brain = brain_of(record.release)
    except ValueError:
        return None, "decision by a release that is gone"
    return arms_of(brain, record, share), "decision without an offer that chance could have made"


def _rows(
    stored: StoredDecision, record: DecisionRecord, arms: Arms, spec: ModelSpec, records: Records
) -> Iterator[Assignment]:
    """One row for the offer that was made, or one for each that might have been."""
    result = record.result
    features = record.seen.features
    values = tuple(features.get(name) for name in spec.features)
    beside = tuple(features.get(name) for name in beside_of(spec))
    both = (record.asked.customer, stored.account)
    if result.disposition == "offered":
        chance = arms.offers.get(result.offer or "", 0.0)
        if result.offer is not None and min(chance, arms.nothing) >= CHANCE_MIN:
            reached = spec.target == "uplift" or _reached(records, stored)
            yield Assignment(stored.at_ms, *both, result.offer, True, chance, values, beside, reached)
        return
    for offer, chance in arms.offers.items():
        if min(chance, arms.nothing) >= CHANCE_MIN:
            yield Assignment(stored.at_ms, *both, offer, False, arms.nothing, values, beside)


def beside_of(spec: ModelSpec) -> Sequence[str]:
    """Features that figures are broken down by, and that the model does not read."""
    return tuple(dict.fromkeys(name for name in (*spec.segments, *spec.protected) if name not in spec.features))


def _reached(records: Records, stored: StoredDecision) -> bool:
    """Whether the offer that was chosen reached its customer; what stood beside it in a slate says nothing of it."""
    outcomes = records.outcomes(stored.id)
    return any(outcome.kind in PRESENTED and outcome.offer in (None, stored.offer) for outcome in outcomes)
