"""Limits over everybody: so many contacts, or so much money, per period; what is left of them, and whom that stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil

import msgspec

from opportune.core.catalog import SLATE_MAX, Candidate, Limit
from opportune.core.contacts.limits import mask_of, most_of, rule_id
from opportune.core.contacts.tallies import Tally, used_at
from opportune.core.durations import parse_duration_ms

MONEY_UNITS = 1_000_000
"""Money is counted in millionths: whole numbers add up exactly."""

TallyOf = Callable[[str], Tally | None]


class VolumeRule(msgspec.Struct, frozen=True):
    """One compiled limit over everybody; `mask` are the candidates in its group.

    Amounts are in units: contacts, or millionths of money. `spends` are (units, mask of candidates that spend them),
    the dearest first. Less than `ample` left is worth recording: enough for a whole slate of the dearest otherwise.
    `parts` are what is counted by itself: (offer, its name in `Seen.room`, its tally), with the offer "" where all
    offers are counted together.
    """

    id: str
    stage: str
    mask: int
    parts: tuple[tuple[str, str, str], ...]
    at_most: int
    per_ms: int
    ample: int
    spends: tuple[tuple[int, int], ...]
    reason: str

    @property
    def money(self) -> bool:
        return self.stage == "budget"

    def units_of(self, index: int) -> int:
        """What a contact with this candidate takes; 0 for one that is not in the group, or spends nothing."""
        return next((units for units, mask in self.spends if mask >> index & 1), 0)

    def part_of(self, offer: str) -> tuple[str, str]:
        """(name in `Seen.room`, tally) of what counts contacts of this offer."""
        return next((name, tally) for one, name, tally in self.parts if one in ("", offer))


def compile_volumes(limits: Sequence[Limit], candidates: Sequence[Candidate]) -> tuple[VolumeRule, ...]:
    """The limits over everybody; ValueError for a period that is not a duration. One whose group is empty is left
    out."""
    found = []
    for limit in limits:
        mask = mask_of(limit, candidates) if limit.of == "everyone" else 0
        if not mask:
            continue
        spends: tuple[tuple[int, int], ...]
        members = [one for one in candidates if mask >> one.index & 1]
        if limit.amount is None:
            at_most, per_ms = most_of(limit)
            stage, spends = "volume_limit", ((1, mask),)
        else:
            at_most, per_ms = int(round(limit.amount * MONEY_UNITS, 3)), parse_duration_ms(limit.per or "")
            stage, spends = "budget", _spends(members)
        ample = SLATE_MAX * max(units for units, _ in spends)
        parts = _parts(limit, members)
        found.append(VolumeRule(rule_id(limit), stage, mask, parts, at_most, per_ms, ample, spends, limit.reason))
    return tuple(found)


def spend_of(candidate: Candidate) -> float:
    """The money that one contact with this candidate spends."""
    return candidate.offer.spend + candidate.offer.contact_cost + candidate.channel.contact_cost


def room_of(rules: Sequence[VolumeRule], tally_of: TallyOf, now_ms: int) -> dict[str, float]:
    """What is left, for every limit of which there is not ample room: contacts or money by limit id, or by
    `limit/offer` where each offer counts for itself."""
    room: dict[str, float] = {}
    for rule in rules:
        for _, name, tally in rule.parts:
            left = rule.at_most - used_at(tally_of(tally), rule.per_ms, now_ms)
            if left < rule.ample:
                room[name] = _told(rule, left)
    return room


def out_of_room(
    rules: Sequence[VolumeRule], room: Mapping[str, float], offer_masks: Mapping[str, int]
) -> list[tuple[str, str, int]]:
    """(stage, limit id, mask of candidates that would take more than is left) for each limit that stops some."""
    found = []
    for rule in rules if room else ():
        mask = 0
        for offer, name, _ in rule.parts:
            left = room.get(name)
            if left is None:
                continue
            own = rule.mask & offer_masks.get(offer, 0) if offer else rule.mask
            units_left = _units(rule, left)
            for units, spending in rule.spends:
                if units > units_left and units:
                    mask |= own & spending
        if mask:
            found.append((rule.stage, rule.id, mask))
    return found


def room_after(
    rules: Sequence[VolumeRule], room: Mapping[str, float], picked: Iterable[Candidate]
) -> dict[str, float]:
    """What is left once these candidates are picked too."""
    left = dict(room)
    for candidate in picked:
        for rule in rules:
            if not (units := rule.units_of(candidate.index)):
                continue
            name, _ = rule.part_of(candidate.offer.offer)
            if name in left:
                left[name] = _told(rule, _units(rule, left[name]) - units)
    return left


def _parts(limit: Limit, members: Sequence[Candidate]) -> tuple[tuple[str, str, str], ...]:
    name = rule_id(limit)
    tally = name if limit.amount is None else f"{name}:money"
    if limit.count != "offer":
        return (("", name, tally),)
    offers = dict.fromkeys(one.offer.offer for one in members)
    return tuple((offer, f"{name}/{offer}", f"{tally}/{offer}") for offer in offers)


def _told(rule: VolumeRule, units: int) -> float:
    """Always a float: a record says the same bytes once it is read and written again."""
    return units / MONEY_UNITS if rule.money else float(units)


def _units(rule: VolumeRule, told: float) -> int:
    return round(told * MONEY_UNITS) if rule.money else int(told)


def _spends(members: Sequence[Candidate]) -> tuple[tuple[int, int], ...]:
    masks: dict[int, int] = {}
    for one in members:
        # Rounded up: a budget is never exceeded, not even by a fraction of a unit.
        units = ceil(round(spend_of(one) * MONEY_UNITS, 3))
        masks[units] = masks.get(units, 0) | 1 << one.index
    return tuple(sorted(masks.items(), reverse=True))
