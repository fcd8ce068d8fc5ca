"""What chance could have done in a decision: every offer that might have been made, or none, each with its chance."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from opportune.core.decisions.arbitration import scored_rows
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.choose import confidence
from opportune.core.decisions.records import DecisionRecord, ScoredRow
from opportune.core.decisions.shortlist import shortlist, to_review
from opportune.core.decisions.slates import too_unsure


class Arms(msgspec.Struct, frozen=True):
    """`offers` are chances over all channels, `nothing` is that of making no offer; the rest went to a person.

    The universal hold-out is part of them: its customers are offered nothing, whatever was drawn.
    """

    offers: Mapping[str, float]
    nothing: float


def arms_of(brain: Brain, record: DecisionRecord, holdout_share: float) -> Arms | None:
    """The arms of a recorded decision, by the brain that made it; None where chance decided nothing.

    Nothing was drawn where a policy forced the choice, where nothing was left, and where the decision ended before
    arbitration. An offer that a person would have looked at first is no arm: whether it was made is the person's doing.
    """
    result = record.result
    if result.forced or result.disposition in ("fallback", "shed") or not result.scored.values:
        return None
    listed = shortlist(brain, record.asked, record.seen)
    if listed.forced:
        return None
    review, drawn = to_review(listed), 0.0
    offers: dict[str, float] = {}
    for row in scored_rows(brain, result.scored, record.seen, result.model):
        drawn += row.probability
        candidate = brain.candidates[row.index]
        if row.probability > 0.0 and not review >> row.index & 1 and not _unsure(brain, record, row):
            name = candidate.offer.offer
            offers[name] = offers.get(name, 0.0) + row.probability * (1.0 - holdout_share)
    nothing = max(1.0 - drawn, 0.0)
    return Arms(offers, holdout_share + (1.0 - holdout_share) * nothing)


def _unsure(brain: Brain, record: DecisionRecord, row: ScoredRow) -> bool:
    """Whether its confidence would have sent it to a person, had it been drawn."""
    candidate = brain.candidates[row.index]
    if not brain.app.confidence_min.get(candidate.offer.risk):
        return False
    margin = float(brain.pools.margins[row.index])
    if brain.app.arbitration.method == "pcvl":
        margin *= float(brain.levers[row.index]) * float(brain.weights[record.asked.moment][row.index])
    return too_unsure(brain, candidate, confidence(row.value, row.uplift_se * margin))
