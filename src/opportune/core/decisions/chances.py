"""Chances: what a release would do in a situation that was seen, as a distribution over everything it may do."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from opportune.core.bitsets import indices
from opportune.core.decisions.arbitration import arbitrate, worth
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.choose import confidence
from opportune.core.decisions.kernel import ScoreFailed, score
from opportune.core.decisions.masks import mask_of
from opportune.core.decisions.records import DecisionRecord
from opportune.core.decisions.shortlist import shortlist, to_review
from opportune.core.decisions.slates import too_unsure

NO_OFFER = "NO_OFFER"
REVIEWED = "/review"
"""Ends the name of a candidate that goes to a person first: what comes of it then is another thing to have done."""


def chances(brain: Brain, record: DecisionRecord) -> Mapping[str, float]:
    """Action -> its chance under this release, for what a record saw; the hold-out left aside.

    Actions are `NO_OFFER`, candidates (`offer@channel`) and candidates with `/review` after them. The same steps as
    `kernel.run`, whose draw falls on these chances; faults that were measured then happen again.
    """
    asked, seen = record.asked, record.seen
    listed = shortlist(brain, asked, seen)
    if not listed.left:
        return {NO_OFFER: 1.0}
    failed = any(fault.startswith("score:") for fault in record.faults)
    try:
        estimate = score(brain, seen, usable=not failed)
    except Exception as error:
        raise ScoreFailed from error
    drawn = arbitrate(brain, asked, seen, listed, estimate, record.id)
    left = indices(mask_of(drawn.scored.left))
    sure = {index: confidence(value, spread) for index, value, spread in worth(brain, asked, seen, listed, estimate)}
    reviewed = to_review(listed)
    found: dict[str, float] = {}
    for index, chance in zip(left, drawn.scored.probabilities, strict=True):
        if chance > 0.0:
            candidate = brain.candidates[index]
            person = reviewed >> index & 1 or too_unsure(brain, candidate, sure[index])
            found[candidate.id + (REVIEWED if person else "")] = chance
    rest = 1.0 - float(np.sum(list(found.values())))
    if rest > 1e-9:
        found[NO_OFFER] = rest
    return found


def done(record: DecisionRecord) -> str | None:
    """What was done; to a held-out unit nothing. None where nothing was drawn (shed, fallback) or several offers
    may have been (slates)."""
    result = record.result
    if result.disposition in ("shed", "fallback") or record.asked.limit > 1:
        return None
    if result.disposition in ("no_offer", "held_out"):
        return NO_OFFER
    return f"{result.offer}@{result.channel}" + (REVIEWED if result.disposition == "escalated" else "")
