"""An independent count of contacts: what a limit says, over what the records hold, without a line of the product's
own counting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from opportune.core.decisions.records import decode_record
from opportune.ports import Records


@dataclass
class Contacted:
    """One offer of one decision: reserved at its commit, and what became of it; `leaf` is when that was committed."""

    decision: str
    leaf: int
    customer: str
    account: str | None
    offer: str
    channel: str
    at_ms: int
    expires_ms: int
    delivered_ms: int | None = None
    delivered_leaf: int = -1
    released_leaf: int = -1


@dataclass(frozen=True)
class Cap:
    """A limit as its owner would say it: at most `most` units in any stretch of `per_ms`."""

    name: str
    scope: str
    most: int
    per_ms: int
    counts: Callable[[str, str], bool] = lambda offer, channel: True
    units: Callable[[str, str], int] = lambda offer, channel: 1
    each_offer: bool = False

    def keys(self, one: Contacted, holders: Iterable[str]) -> list[tuple[str, str]]:
        """Whose count a contact belongs to."""
        if not self.counts(one.offer, one.channel):
            return []
        offer = one.offer if self.each_offer else ""
        if self.scope == "everyone":
            return [("", offer)]
        if self.scope == "account":
            return [] if one.account is None else [(one.account, offer)]
        return [(who, offer) for who in holders]


@dataclass
class Story:
    """Everything that was committed, in that order: (leaf, what), what being a contact made, settled or a merge."""

    contacts: list[Contacted] = field(default_factory=list)
    attempts: int = 0


def story_of(records: Records, ttl_ms: int) -> Story:
    """The contacts of everything that was recorded."""
    story = Story()
    before: str | None = None
    while page := records.decisions(500, before=before):
        before = page[-1].id
        for stored in page:
            story.attempts += 1
            if stored.disposition != "offered":
                continue
            result = decode_record(stored.record).result
            made = {
                offer: Contacted(
                    stored.id, stored.leaf, stored.customer, stored.account, offer, str(stored.channel),
                    stored.at_ms, stored.at_ms + ttl_ms,
                )
                for offer in (str(stored.offer), *(pick.offer for pick in result.slate))
            }  # fmt: skip
            for outcome in sorted(records.outcomes(stored.id), key=lambda one: one.leaf):
                one = made[str(outcome.offer)]
                if outcome.kind in ("delivered", "seen") and one.delivered_ms is None and one.released_leaf < 0:
                    one.delivered_ms, one.delivered_leaf = outcome.at_ms, outcome.leaf
                elif outcome.kind == "undeliverable" and one.delivered_ms is None and one.released_leaf < 0:
                    one.released_leaf = outcome.leaf
            story.contacts += made.values()
    story.contacts.sort(key=lambda one: (one.leaf, one.offer))
    return story


def late(story: Story) -> set[tuple[str, str]]:
    """Contacts whose delivery was told when somebody had already decided after the end of their reservation: nothing
    can be promised about them but that they count from then on."""
    found = set()
    latest = sorted((one.leaf, one.at_ms) for one in story.contacts)
    for one in story.contacts:
        if one.delivered_ms is None:
            continue
        between = (at_ms for leaf, at_ms in latest if one.leaf < leaf < one.delivered_leaf)
        if any(at_ms >= one.expires_ms for at_ms in between):
            found.add((one.decision, one.offer))
    return found


def over_in_any_window(story: Story, caps: Iterable[Cap], without: Iterable[tuple[str, str]] = ()) -> list[str]:
    """Each stretch of a cap's period, beginning at any delivery, that holds more than the cap allows."""
    left_out = set(without)
    found = []
    for cap in caps:
        told: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for one in story.contacts:
            if one.delivered_ms is not None and (one.decision, one.offer) not in left_out:
                for key in cap.keys(one, (one.customer,)):
                    told[key].append((one.delivered_ms, cap.units(one.offer, one.channel)))
        for key, deliveries in told.items():
            deliveries.sort()
            first, held = 0, 0
            for at_ms, units in deliveries:
                held += units
                while deliveries[first][0] <= at_ms - cap.per_ms:
                    held -= deliveries[first][1]
                    first += 1
                if held > cap.most:
                    found.append(f"{cap.name} of {key}: {held} of {cap.most} up to {at_ms}")
    return found


def over_at_a_commit(story: Story, caps: Iterable[Cap]) -> list[str]:
    """Each decision that took more than was left when it was committed, with all that was reserved by then."""
    found = []
    for cap in caps:
        open_: dict[tuple[str, str], list[Contacted]] = defaultdict(list)
        decided: dict[str, list[Contacted]] = defaultdict(list)
        for one in story.contacts:
            decided[one.decision].append(one)
        for made in sorted(decided.values(), key=lambda all_: all_[0].leaf):
            leaf, at_ms = made[0].leaf, made[0].at_ms
            wanted: dict[tuple[str, str], int] = defaultdict(int)
            for one in made:
                for key in cap.keys(one, (one.customer,)):
                    wanted[key] += cap.units(one.offer, one.channel)
            for key, units in wanted.items():
                counted = [other for other in open_[key] if counts(other, leaf, at_ms, cap.per_ms)]
                used = sum(cap.units(other.offer, other.channel) for other in counted)
                if used + units > cap.most:
                    found.append(f"{cap.name} of {key}: {used} and {units} more of {cap.most} at {at_ms}")
                # An hour of slack: decisions are not committed in the order of their times.
                open_[key] = [other for other in open_[key] if other.at_ms > at_ms - 3 * cap.per_ms - 7_200_000]
            for one in made:
                for key in cap.keys(one, (one.customer,)):
                    open_[key].append(one)
    return found


def counts(one: Contacted, leaf: int, at_ms: int, per_ms: int) -> bool:
    """Did a contact count for a decision of this time that was committed at this leaf?"""
    if 0 <= one.released_leaf < leaf:
        return False
    if one.delivered_ms is not None and one.delivered_leaf < leaf:
        return one.delivered_ms > at_ms - per_ms
    return one.expires_ms > at_ms
