"""Slates: further offers beside the first, each weighed over what is still allowed once those before it are picked."""

from __future__ import annotations

import msgspec

from opportune.core.bitsets import indices, mask_of_places
from opportune.core.catalog import Candidate
from opportune.core.contacts import out_of_room, over_limits, room_after
from opportune.core.decisions.arbitration import Estimate, arbitrate, worth
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.choose import confidence
from opportune.core.decisions.records import Asked, Pick, Seen
from opportune.core.decisions.shortlist import Shortlist, to_review


def further(
    brain: Brain, asked: Asked, seen: Seen, listed: Shortlist, estimate: Estimate, decision_id: str, first: int
) -> tuple[Pick, ...]:
    """Up to `asked.limit` - 1 offers after candidate `first`, in its channel: an offer once, at most
    `same_kind_max` of a kind, none that needs a person, and none that those before it leave no room for.

    What Opportune sends itself goes alone: one message carries one offer.
    """
    channel = brain.candidates[first].channel
    if channel.delivery != "caller":
        return ()
    left = listed.left & brain.channel_masks[channel.channel] & ~to_review(listed)
    # INVARIANT: what needs a person is set aside before chance falls, so that each place's chances are exact.
    left &= ~_unsure(brain, asked, seen, listed, estimate)
    picked, picks = [first], list[Pick]()
    while len(picked) < asked.limit:
        left = _without(brain, seen, left, picked)
        if not left:
            break
        open_ = msgspec.structs.replace(listed, left=left, forced=0)
        drawn = arbitrate(brain, asked, seen, open_, estimate, decision_id, f"choose.{len(picked)}")
        if drawn.index is None:
            break
        offer = brain.candidates[drawn.index].offer.offer
        sure = confidence(drawn.value, drawn.spread)
        picked.append(drawn.index)
        picks.append(Pick(offer, channel.channel, drawn.value, drawn.probability, sure))
    return tuple(picks)


def _unsure(brain: Brain, asked: Asked, seen: Seen, listed: Shortlist, estimate: Estimate) -> int:
    """The candidates left that a person must look at because of their confidence."""
    if not any(brain.app.confidence_min.values()):
        return 0
    mask = 0
    for index, value, spread in worth(brain, asked, seen, listed, estimate):
        candidate = brain.candidates[index]
        if brain.app.confidence_min.get(candidate.offer.risk) and too_unsure(
            brain, candidate, confidence(value, spread)
        ):
            mask |= 1 << index
    return mask


def too_unsure(brain: Brain, candidate: Candidate, sure: float) -> bool:
    """Whether a person looks at a candidate first: below the least confidence of its risk, and always where that
    is 1."""
    least = brain.app.confidence_min.get(candidate.offer.risk, 0.0)
    return sure < least or least >= 1.0


def _without(brain: Brain, seen: Seen, left: int, picked: list[int]) -> int:
    """What may still be picked: other offers, of kinds that are not used up, within contact limits that count the
    offers picked as contacts made now."""
    kinds: dict[str, int] = {}
    contacts = list(seen.contacts)
    for index in picked:
        offer, channel = brain.candidates[index].offer, brain.candidates[index].channel.channel
        left &= ~brain.offer_masks[offer.offer]
        kinds[offer.kind] = kinds.get(offer.kind, 0) + 1
        contacts.append(("person", offer.offer, channel, 0))
        if seen.account is not None:
            contacts.append(("account", offer.offer, channel, 0))
    used_up = {kind for kind, count in kinds.items() if count >= brain.app.arbitration.same_kind_max}
    if used_up:
        left &= ~mask_of_places(i for i in indices(left) if brain.candidates[i].offer.kind in used_up)
    for _, mask in over_limits(brain.limits, contacts, brain.offer_masks):
        left &= ~mask
    if seen.room:
        room = room_after(brain.volumes, seen.room, [brain.candidates[index] for index in picked])
        for _, _, mask in out_of_room(brain.volumes, room, brain.offer_masks):
            left &= ~mask
    return left
