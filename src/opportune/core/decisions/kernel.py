"""The kernel: steps 3 to 6 of a decision as pure functions; live, preview, replay, what-if and tests all run it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Protocol

from opportune.core.decisions.arbitration import Estimate, arbitrate
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.choose import confidence
from opportune.core.decisions.draws import in_holdout
from opportune.core.decisions.further import said, with_further
from opportune.core.decisions.masks import mask_text
from opportune.core.decisions.records import Asked, Disposition, Pick, Reason, Result, Seen
from opportune.core.decisions.shortlist import Shortlist, dominant_reason, shortlist, to_review
from opportune.core.decisions.slates import further, too_unsure
from opportune.core.models import CompiledModel


class Probe(Protocol):
    """Watches the steps from outside: measures when live, repeats what was measured when replaying."""

    def before(self, step: str) -> str | None:
        """Called as a step begins; the fault to act on (`late`, `failed`, `open`, `full`), or None."""


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
        return _fallback("shortlist", fault, held, unread)
    listed = shortlist(brain, asked, seen)
    # 5. score
    fault = probe.before("score")
    degraded = (*unread, f"score.{fault}") if fault is not None else unread
    estimate = _scored_or_failed(brain, seen, listed, usable=fault is None) if listed.left else UNSCORED
    # 6. choose
    if (fault := probe.before("choose")) is not None:
        return _fallback("choose", fault, held, degraded)
    return choose(brain, asked, seen, listed, estimate, decision_id, held, degraded)


class ScoreFailed(Exception):
    """The model raised, or said something that is no number: decide again with the fault `score:failed`."""


def _scored_or_failed(brain: Brain, seen: Seen, listed: Shortlist, *, usable: bool) -> Estimate:
    try:
        some = brain.pools.of(listed.left).offers if len(brain.offers) > SCORED_WHOLE_MAX else None
        estimate = score(brain, seen, usable=usable, some=some)
        if isfinite(sum(estimate.p_accept) + sum(estimate.uplift) + sum(estimate.uplift_se)):
            return estimate
    except Exception as error:
        raise ScoreFailed from error
    raise ScoreFailed


UNSCORED = Estimate((), (), (), None)
"""Where nothing is left, nothing is scored."""


SCORED_WHOLE_MAX = 128
"""Up to so many offers, all are scored at one go, which costs less than picking those that are left."""


def score(brain: Brain, seen: Seen, *, usable: bool, some: Sequence[int] | None = None) -> Estimate:
    """The models' numbers, and the owner's priors where they have none or may not be used: for every offer, or for
    `some`, by their places, ascending. A model of another make is always asked about all."""
    estimate = _effects(brain, seen, usable=usable, some=some)
    return with_further(brain, seen.features, estimate) if usable and brain.further else estimate


def _effects(brain: Brain, seen: Seen, *, usable: bool, some: Sequence[int] | None) -> Estimate:
    if brain.model is None or not usable:
        places = range(len(brain.priors)) if some is None else some
        priors = [brain.priors[place] for place in places]
        return Estimate(
            [prior.p_accept for prior in priors],
            [prior.uplift for prior in priors],
            [abs(prior.uplift) for prior in priors],
            None,
            frozenset(places),
            scored=some,
        )
    values = list(map(seen.features.get, brain.views.names))
    if some is not None and isinstance(brain.model, CompiledModel):
        scores = brain.model.score_some(values, some)
    else:
        scores, some = brain.model.score(values), None
    if all(scores.covered):
        return Estimate(
            scores.p_accept, scores.uplift, scores.uplift_se, brain.model_name, frozenset(), scores, some
        )
    places = range(len(brain.priors)) if some is None else some
    own = [None if known else brain.priors[place] for place, known in zip(places, scores.covered, strict=True)]
    return Estimate(
        [p if prior is None else prior.p_accept for p, prior in zip(scores.p_accept, own, strict=True)],
        [u if prior is None else prior.uplift for u, prior in zip(scores.uplift, own, strict=True)],
        [e if prior is None else abs(prior.uplift) for e, prior in zip(scores.uplift_se, own, strict=True)],
        brain.model_name,
        frozenset(place for place, prior in zip(places, own, strict=True) if prior is not None),
        scores,
        some,
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
    base = _result(brain, seen, listed, estimate, held, degraded)
    if not listed.left:
        return base("no_offer", dominant_reason(brain, asked, listed.stages))
    drawn = arbitrate(brain, asked, seen, listed, estimate, decision_id)
    if drawn.index is None:
        why: Reason = "EXPLORED" if drawn.explored else "NO_VALUE"
        return base("no_offer", why, scored=drawn.scored, action_probability=drawn.probability)
    index = drawn.index
    candidate = brain.candidates[index]
    sure = confidence(drawn.value, drawn.spread)
    found = {
        "scored": drawn.scored,
        "offer": candidate.offer.offer,
        "channel": candidate.channel.channel,
        "action_probability": drawn.probability,
        "confidence": sure,
        "value": drawn.value,
        "obligations": _obliged(brain, listed, 1 << index),
        "why": _why(brain, brain.offer_of[index], estimate),
        "forced": tuple(name for name, mask in listed.forces if mask >> index & 1) if listed.forced else (),
    }
    if held:
        found.update(offer=None, channel=None)
        return base("held_out", "HELD_OUT", would=candidate.id, **found)
    if to_review(listed) >> index & 1:
        return base("escalated", "REVIEW_REQUIRED", **found)
    if too_unsure(brain, candidate, sure):
        return base("escalated", "LOW_CONFIDENCE", **found)
    if asked.limit > 1:
        picks = further(brain, asked, seen, listed, estimate, decision_id, index)
        found["slate"] = picks
        found["obligations"] = _obliged(brain, listed, 1 << index, picks)
    reason: Reason = "FORCED" if found["forced"] else "EXPLORED" if drawn.explored else "OFFERED"
    return base("offered", reason, **found)


def _obliged(brain: Brain, listed: Shortlist, shown: int, picks: tuple[Pick, ...] = ()) -> tuple[str, ...]:
    """What is demanded of whoever shows these candidates: what one offer of a slate demands, the slate does."""
    for pick in picks:
        shown |= brain.offer_masks[pick.offer] & brain.channel_masks[pick.channel]
    return tuple(name for name, mask in listed.obligations if mask & shown)


def _why(brain: Brain, place: int, estimate: Estimate) -> tuple[tuple[str, float], ...]:
    if brain.model is None or estimate.scores is None or place in estimate.prior:
        return ()
    return tuple(brain.model.explain(estimate.scores, place))


def _fallback(step: str, fault: str, held: bool, degraded: tuple[str, ...]) -> Result:
    reason: Reason = "TIMEOUT" if fault == "late" else "FAULT"
    return Result("fallback", reason, holdout=held, degraded=(*degraded, f"{step}.{fault}"))


def _result(
    brain: Brain, seen: Seen, listed: Shortlist, estimate: Estimate, held: bool, degraded: tuple[str, ...]
) -> Callable[..., Result]:
    further = None
    if brain.further:
        further = said(brain, seen.features, estimate, brain.pools.of(listed.left).offers)

    def build(disposition: Disposition, reason: Reason, **found: object) -> Result:
        return Result(
            disposition,
            reason,
            holdout=held,
            model=estimate.model,
            degraded=degraded,
            stages=tuple((stage, rule, mask_text(mask)) for stage, rule, mask in listed.stages),
            further=further,
            skipped=tuple((policy, mask_text(mask), names) for policy, mask, names in listed.skipped),
            **found,  # type: ignore[arg-type]
        )

    return build
