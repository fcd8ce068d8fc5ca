"""The kernel: steps 3 to 6 of a decision as pure functions; live, preview, replay, what-if and tests all run it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from opportune.core.decisions.brain import Brain, indices
from opportune.core.decisions.choose import confidence, pick, probabilities
from opportune.core.decisions.draws import in_holdout, uniform
from opportune.core.decisions.records import Asked, Disposition, Reason, Result, Scored, Seen
from opportune.core.decisions.shortlist import Shortlist, dominant_reason, shortlist

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


def run(brain: Brain, asked: Asked, seen: Seen, decision_id: str, probe: Probe) -> Result:
    """The decision for what was asked and seen. Equal arguments give an equal result, to the byte.

    A fault before `assign` (overload) gives `shed`; one before `shortlist` or `choose` gives the safe default
    `fallback`; one before `score` gives the owner's priors, marked degraded.
    """
    # 3. assign
    if probe.before("assign") is not None:
        return Result("shed", "OVERLOAD")
    held = in_holdout(brain.app.holdout.salt, seen.unit, brain.app.holdout.share)
    # 4. shortlist
    if (fault := probe.before("shortlist")) is not None:
        return _fallback(fault, held)
    listed = shortlist(brain, asked, seen)
    # 5. score
    fault = probe.before("score")
    estimate = score(brain, seen, usable=fault is None)
    degraded = (f"score.{fault}",) if fault is not None else ()
    # 6. choose
    if (fault := probe.before("choose")) is not None:
        return _fallback(fault, held, degraded)
    return choose(brain, asked, seen, listed, estimate, decision_id, held, degraded)


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
    uncovered = frozenset(i for i, known in enumerate(scores.covered) if not known)
    if not uncovered:
        return Estimate(scores.p_accept, scores.uplift, scores.uplift_se, brain.model_name)
    return Estimate(
        [priors[i].p_accept if i in uncovered else p for i, p in enumerate(scores.p_accept)],
        [priors[i].uplift if i in uncovered else u for i, u in enumerate(scores.uplift)],
        [priors[i].uplift if i in uncovered else e for i, e in enumerate(scores.uplift_se)],
        brain.model_name,
        uncovered,
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
    scored, chosen, explored = arbitrate(brain, seen, listed, estimate, decision_id)
    if chosen is None:
        none = round(1.0 - sum(one.probability for one in scored), 9)
        return base("no_offer", "NO_VALUE", scored=scored, action_probability=none)
    index, one = chosen
    candidate = brain.candidates[index]
    place = brain.offer_of[index]
    margin = brain.margins[index]
    sure = confidence(one.value, one.uplift_se * margin)
    found = {
        "scored": scored,
        "offer": candidate.offer.offer,
        "channel": candidate.channel.channel,
        "action_probability": one.probability if not listed.forced else 1.0,
        "confidence": sure,
        "value": one.value,
        "obligations": tuple(name for name, mask in listed.obligations if mask >> index & 1),
        "why": _why(brain, seen, place, estimate),
    }
    if held:
        found.update(offer=None, channel=None)
        return base("held_out", "HELD_OUT", would=candidate.id, **found)
    if any(mask >> index & 1 for _, mask in listed.review):
        return base("escalated", "REVIEW_REQUIRED", **found)
    if sure < brain.app.confidence_min.get(candidate.offer.risk, 0.0):
        return base("escalated", "LOW_CONFIDENCE", **found)
    return base("offered", "EXPLORED" if explored else "OFFERED", **found)


def arbitrate(
    brain: Brain, seen: Seen, listed: Shortlist, estimate: Estimate, decision_id: str
) -> tuple[tuple[Scored, ...], tuple[int, Scored] | None, bool]:
    """Values and chances of all that is left, the one drawn (None: NO_OFFER), and whether it is not the best."""
    left = indices(listed.left)
    values, spreads = _values(brain, seen, listed, estimate, left)
    pool = indices(listed.forced) if listed.forced else [
        index for index, value, spread in zip(left, values, spreads, strict=True)
        if value + UPPER_BOUND_SE * spread > 0.0
    ]
    place = {index: position for position, index in enumerate(left)}
    pooled = [values[place[index]] for index in pool]
    if listed.forced:
        best = max(range(len(pool)), key=pooled.__getitem__)
        chances = [1.0 if position == best else 0.0 for position in range(len(pool))] + [0.0]
    else:
        chances = probabilities([*pooled, 0.0], brain.app.exploration)
    drawn = pick(chances, uniform(decision_id, "choose"))
    chance_of = dict(zip(pool, chances, strict=False))
    scored = tuple(
        Scored(
            brain.candidates[index].id,
            estimate.p_accept[brain.offer_of[index]],
            estimate.uplift[brain.offer_of[index]],
            estimate.uplift_se[brain.offer_of[index]],
            values[position],
            listed.levers.get(index, 0.0),
            chance_of.get(index, 0.0),
        )
        for position, index in enumerate(left)
    )
    if drawn == len(pool):
        return scored, None, False
    index = pool[drawn]
    explored = pooled[drawn] < max(pooled)
    return scored, (index, scored[place[index]]), explored


def _values(
    brain: Brain, seen: Seen, listed: Shortlist, estimate: Estimate, left: Sequence[int]
) -> tuple[list[float], list[float]]:
    """Money per candidate left: uplift x margin - contact cost - fatigue + lever, and its standard error."""
    recent = _recent(seen)
    values: list[float] = []
    spreads: list[float] = []
    for index in left:
        place = brain.offer_of[index]
        margin = brain.margins[index]
        tired = brain.fatigue[index] * recent.get(brain.candidates[index].channel.channel, 0)
        value = estimate.uplift[place] * margin - brain.costs[index] - tired + listed.levers.get(index, 0.0)
        values.append(round(value, 4))
        spreads.append(estimate.uplift_se[place] * margin)
    return values, spreads


def _recent(seen: Seen) -> dict[str, int]:
    """Contacts of the last week per channel: each makes the next one cost more."""
    week_ms = 7 * 24 * 3_600_000
    counts: dict[str, int] = {}
    for scope, _, channel, age_ms in seen.contacts:
        if scope == "person" and age_ms < week_ms:
            counts[channel] = counts.get(channel, 0) + 1
    return counts


def _why(brain: Brain, seen: Seen, place: int, estimate: Estimate) -> tuple[tuple[str, float], ...]:
    if brain.model is None or estimate.model is None or place in estimate.prior:
        return ()
    return tuple(brain.model.reasons([seen.features.get(name) for name in brain.views.names], place))


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
