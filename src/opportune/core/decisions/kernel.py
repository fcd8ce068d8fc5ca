"""The kernel: steps 3 to 6 of a decision as pure functions; live, preview, replay, what-if and tests all run it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Protocol

import msgspec
import numpy as np

from opportune.core.decisions.brain import Brain, Floats, Ints, indices, places_of
from opportune.core.decisions.choose import confidence, pick, probabilities
from opportune.core.decisions.draws import in_holdout, uniform
from opportune.core.decisions.records import Asked, Disposition, Reason, Result, Scored, ScoredRow, Seen
from opportune.core.decisions.shortlist import Shortlist, dominant_reason, shortlist
from opportune.core.models import Scores

UPPER_BOUND_SE = 1.0
"""A candidate stays in arbitration while its value plus this many standard errors is above nothing."""


class Probe(Protocol):
    """Watches the steps from outside: measures when live, repeats what was measured when replaying."""

    def before(self, step: str) -> str | None:
        """Called as a step begins; the fault to act on (`late`, `failed`, `open`), or None."""


class Estimate(msgspec.Struct, frozen=True):
    """What scoring found: per place in `brain.offers`, probabilities and the error of the uplift.

    `model` is None when every number is the owner's prior; `prior` marks the places where it is.
    """

    p_accept: Sequence[float]
    uplift: Sequence[float]
    uplift_se: Sequence[float]
    model: str | None
    prior: frozenset[int] = frozenset()
    scores: Scores | None = None


def run(brain: Brain, asked: Asked, seen: Seen, decision_id: str, probe: Probe) -> Result:
    """The decision for what was asked and seen. Equal arguments give an equal result, to the byte.

    A fault before `assign` (overload) gives `shed`; one before `shortlist` or `choose` gives the safe default
    `fallback`; one before `score` gives the owner's priors, marked degraded. Raises ScoreFailed when the model does.
    """
    # 3. assign
    if probe.before("assign") is not None:
        return Result("shed", "OVERLOAD")
    held = in_holdout(brain.app.holdout.salt, seen.unit, brain.app.holdout.share)
    # 4. shortlist
    unread = tuple(f"{view}.{what}" for view, what in seen.unread)
    if (fault := probe.before("shortlist")) is not None:
        return _fallback(fault, held, unread)
    listed = shortlist(brain, asked, seen)
    # 5. score
    fault = probe.before("score")
    degraded = (*unread, f"score.{fault}") if fault is not None else unread
    estimate = _scored_or_failed(brain, seen, usable=fault is None) if listed.left else UNSCORED
    # 6. choose
    if (fault := probe.before("choose")) is not None:
        return _fallback(fault, held, degraded)
    return choose(brain, asked, seen, listed, estimate, decision_id, held, degraded)


class ScoreFailed(Exception):
    """The model raised, or said something that is no number: decide again with the fault `score:failed`."""


def _scored_or_failed(brain: Brain, seen: Seen, *, usable: bool) -> Estimate:
    try:
        estimate = score(brain, seen, usable=usable)
        if isfinite(sum(estimate.p_accept) + sum(estimate.uplift) + sum(estimate.uplift_se)):
            return estimate
    except Exception as error:
        raise ScoreFailed from error
    raise ScoreFailed


UNSCORED = Estimate((), (), (), None)
"""Where nothing is left, nothing is scored."""


def score(brain: Brain, seen: Seen, *, usable: bool) -> Estimate:
    """The model's numbers for every offer, and the owner's priors where it has none or may not be used."""
    priors = brain.priors
    if brain.model is None or not usable:
        return Estimate(
            [prior.p_accept for prior in priors],
            [prior.uplift for prior in priors],
            [prior.uplift for prior in priors],
            None,
            frozenset(range(len(priors))),
        )
    scores = brain.model.score([seen.features.get(name) for name in brain.views.names])
    if all(scores.covered):
        return Estimate(
            scores.p_accept, scores.uplift, scores.uplift_se, brain.model_name, frozenset(), scores
        )
    uncovered = frozenset(i for i, known in enumerate(scores.covered) if not known)
    return Estimate(
        [priors[i].p_accept if i in uncovered else p for i, p in enumerate(scores.p_accept)],
        [priors[i].uplift if i in uncovered else u for i, u in enumerate(scores.uplift)],
        [priors[i].uplift if i in uncovered else e for i, e in enumerate(scores.uplift_se)],
        brain.model_name,
        uncovered,
        scores,
    )


def choose(
    brain: Brain,
    asked: Asked,
    seen: Seen,
    listed: Shortlist,
    estimate: Estimate,
    decision_id: str,
    held: bool,
    degraded: tuple[str, ...] = (),
) -> Result:
    """Arbitration over what is left, NO_OFFER among them; the hold-out, the gate and the obligations."""
    base = _result(listed, estimate, held, degraded)
    if not listed.left:
        return base("no_offer", dominant_reason(brain, asked, listed.stages))
    drawn = arbitrate(brain, seen, listed, estimate, decision_id)
    if drawn.index is None:
        return base("no_offer", "NO_VALUE", scored=drawn.scored, action_probability=drawn.probability)
    index = drawn.index
    candidate = brain.candidates[index]
    place = brain.offer_of[index]
    sure = confidence(drawn.value, float(estimate.uplift_se[place] * brain.margins[index]))
    found = {
        "scored": drawn.scored,
        "offer": candidate.offer.offer,
        "channel": candidate.channel.channel,
        "action_probability": drawn.probability,
        "confidence": sure,
        "value": drawn.value,
        "obligations": tuple(name for name, mask in listed.obligations if mask >> index & 1),
        "why": _why(brain, place, estimate),
    }
    if held:
        found.update(offer=None, channel=None)
        return base("held_out", "HELD_OUT", would=candidate.id, **found)
    if any(mask >> index & 1 for _, mask in listed.review):
        return base("escalated", "REVIEW_REQUIRED", **found)
    if sure < brain.app.confidence_min.get(candidate.offer.risk, 0.0):
        return base("escalated", "LOW_CONFIDENCE", **found)
    return base("offered", "EXPLORED" if drawn.explored else "OFFERED", **found)


class Drawn(msgspec.Struct, frozen=True):
    """What arbitration drew: the candidate (None: NO_OFFER), value, chance, whether another was worth more."""

    scored: Scored
    index: int | None
    value: float
    probability: float
    explored: bool


def arbitrate(brain: Brain, seen: Seen, listed: Shortlist, estimate: Estimate, decision_id: str) -> Drawn:
    """Values and chances of all that is left, and one drawn among them and NO_OFFER."""
    left = places_of(listed.left, len(brain.candidates))
    values, spreads = _values(brain, seen, listed, estimate, left)
    if listed.forced:
        pool = np.flatnonzero(np.isin(left, indices(listed.forced)))
        chances = np.zeros(len(pool) + 1)
        chances[int(values[pool].argmax())] = 1.0
    else:
        pool = np.flatnonzero(values + UPPER_BOUND_SE * spreads > 0.0)
        chances = probabilities(np.append(values[pool], 0.0), brain.app.exploration)
    position = pick(chances, uniform(decision_id, "choose"))
    probability = float(chances[position])
    spread_out = np.zeros(len(left))
    spread_out[pool] = chances[:-1]
    scored = _scored(brain, listed, estimate, left, values, spread_out)
    if position == len(pool):
        return Drawn(scored, None, 0.0, probability, False)
    place = int(pool[position])
    value = float(values[place])
    return Drawn(scored, int(left[place]), value, probability, bool(value < values[pool].max()))


def scored_rows(brain: Brain, scored: Scored) -> tuple[ScoredRow, ...]:
    """The columns of a record as rows, for people and for learning."""
    column = {place: number for number, place in enumerate(scored.offers)}
    levers = dict(scored.levers)
    rows = []
    for index, value, chance in zip(
        indices(int(scored.left, 16)), scored.values, scored.probabilities, strict=True
    ):
        number = column[brain.offer_of[index]]
        rows.append(
            ScoredRow(
                brain.candidates[index].id, index, scored.p_accept[number], scored.uplift[number],
                scored.uplift_se[number], value, levers.get(index, 0.0), chance,
            )
        )  # fmt: skip
    return tuple(rows)


def _scored(
    brain: Brain, listed: Shortlist, estimate: Estimate, left: Ints, values: Floats, chances: Floats
) -> Scored:
    places = np.unique(brain.places[left]).tolist()
    return Scored(
        f"{listed.left:x}",
        tuple(values.tolist()),
        tuple(chances.tolist()),
        tuple(places),
        tuple([estimate.p_accept[place] for place in places]),
        tuple([estimate.uplift[place] for place in places]),
        tuple([estimate.uplift_se[place] for place in places]),
        tuple((index, lever) for index, lever in sorted(listed.levers.items()) if listed.left >> index & 1),
    )


def _values(
    brain: Brain, seen: Seen, listed: Shortlist, estimate: Estimate, left: Ints
) -> tuple[Floats, Floats]:
    """Money per candidate left: uplift x margin - contact cost - fatigue + lever, and its standard error."""
    places = brain.places[left]
    margins = brain.margins[left]
    values = np.asarray(estimate.uplift)[places] * margins - brain.costs[left]
    for channel, count in _recent(seen).items():
        tired = places_of(brain.channel_masks.get(channel, 0), len(brain.candidates))
        values -= np.where(np.isin(left, tired), brain.fatigue[left] * count, 0.0)
    for index, lever in listed.levers.items():
        values[left == index] += lever
    return np.rint(values * 1e4) / 1e4, np.asarray(estimate.uplift_se)[places] * margins


def _recent(seen: Seen) -> dict[str, int]:
    """Contacts of the last week per channel: each makes the next one cost more."""
    week_ms = 7 * 24 * 3_600_000
    counts: dict[str, int] = {}
    for scope, _, channel, age_ms in seen.contacts:
        if scope == "person" and age_ms < week_ms:
            counts[channel] = counts.get(channel, 0) + 1
    return counts


def _why(brain: Brain, place: int, estimate: Estimate) -> tuple[tuple[str, float], ...]:
    if brain.model is None or estimate.scores is None or place in estimate.prior:
        return ()
    return tuple(brain.model.explain(estimate.scores, place))


def _fallback(fault: str, held: bool, degraded: tuple[str, ...] = ()) -> Result:
    reason: Reason = "TIMEOUT" if fault == "late" else "FAULT"
    return Result("fallback", reason, holdout=held, degraded=degraded)


def _result(
    listed: Shortlist, estimate: Estimate, held: bool, degraded: tuple[str, ...]
) -> Callable[..., Result]:
    def build(disposition: Disposition, reason: Reason, **found: object) -> Result:
        return Result(
            disposition,
            reason,
            holdout=held,
            model=estimate.model,
            degraded=degraded,
            stages=tuple((stage, rule, f"{mask:x}") for stage, rule, mask in listed.stages),
            skipped=tuple((policy, f"{mask:x}", names) for policy, mask, names in listed.skipped),
            **found,  # type: ignore[arg-type]
        )

    return build
