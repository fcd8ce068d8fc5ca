"""Sets of candidates as text in a record: whole while that is short, else a count and a digest to check against.

A catalog of 10,000 offers has masks of kilobytes. What a rule held back follows from what was asked, what was seen and
the release, by the same pure function that decided (`stage_masks`): the record keeps how many it were, the first of
them, and a digest that the set derived must meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from opportune.core.bitsets import indices, mask_of_places
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.records import DecisionRecord
from opportune.core.decisions.shortlist import REQUIRES, shortlist
from opportune.core.policies import requirement_id

WHOLE_BITS_MAX = 1024
"""Masks that end within the first so many candidates are written whole, in hexadecimal."""
LISTED_MAX = 32
"""Further out, so few are listed by their places."""


class NotDerived(LookupError):
    """A set that this version derives otherwise than the decision recorded."""


def mask_text(mask: int) -> str:
    """The set for a record: hexadecimal, or `@` and places, or `#count.first.digest`."""
    if mask.bit_length() <= WHOLE_BITS_MAX:
        return f"{mask:x}"
    count = mask.bit_count()
    if count <= LISTED_MAX:
        return exact_text(mask)
    return f"#{count}.{(mask & -mask).bit_length() - 1}.{_digest(mask)}"


def exact_text(mask: int) -> str:
    """The set whole, whatever its size: hexadecimal, or `@` and places where that is shorter."""
    if mask.bit_length() > WHOLE_BITS_MAX and mask.bit_count() * 24 < mask.bit_length():
        return "@" + ".".join(map(str, indices(mask)))
    return f"{mask:x}"


def mask_of(text: str) -> int:
    """The set a text gives whole; ValueError for one that has to be derived."""
    if text.startswith("@"):
        return mask_of_places(map(int, text[1:].split(".")))
    return int(text, 16)


def whole(text: str) -> bool:
    """Whether a text gives its set by itself."""
    return not text.startswith("#")


def count_of(text: str) -> int:
    """How many candidates a set has."""
    return mask_of(text).bit_count() if whole(text) else int(text[1:].split(".")[0])


def first_of(text: str) -> int:
    """The first candidate of a set that is not empty."""
    if not whole(text):
        return int(text.split(".")[1])
    mask = mask_of(text)
    return (mask & -mask).bit_length() - 1


def stage_masks(brain: Brain, record: DecisionRecord) -> tuple[tuple[str, str, int], ...]:
    """(stage, rule, who it held back) of a record; derived anew where the record keeps no more than a digest.

    Raises NotDerived where the sets derived are not those of the decision.
    """
    stages = record.result.stages
    if all(whole(text) for _, _, text in stages):
        return tuple((stage, rule, mask_of(text)) for stage, rule, text in stages)
    derived = {(stage, rule): mask for stage, rule, mask in shortlist(brain, record.asked, record.seen).stages}
    found = []
    for stage, rule, text in stages:
        mask = derived.get((stage, rule), 0)
        if mask_text(mask) != text:
            raise NotDerived(
                f"`{rule}` held back other candidates in decision {record.id} than this version derives: "
                "look at it with the version that decided"
            )
        found.append((stage, rule, mask))
    return tuple(found)


def skipped_mask(brain: Brain, record: DecisionRecord, policy: str, text: str) -> int:
    """For whom a policy could not be judged, derived anew where the record keeps no more than a digest."""
    if whole(text):
        return mask_of(text)
    listed = shortlist(brain, record.asked, record.seen)
    return next((mask for id_, mask, _ in listed.skipped if id_ == policy and mask_text(mask) == text), 0)


def by_offer(brain: Brain, rule: str, mask: int) -> Iterator[tuple[str, int]]:
    """A rule under the ids people know it by: what offers require is `offer.<id>.requires` for each of them."""
    if rule != REQUIRES:
        yield rule, mask
        return
    while mask:
        offer = brain.candidates[(mask & -mask).bit_length() - 1].offer.offer
        yield requirement_id(offer), mask & brain.offer_masks[offer]
        mask &= ~brain.offer_masks[offer]


def _digest(mask: int) -> str:
    return blake2b(mask.to_bytes((mask.bit_length() + 7) // 8, "little"), digest_size=8).hexdigest()
