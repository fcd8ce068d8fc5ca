"""Differences: what recorded decisions would have been otherwise, folded over pairs (as recorded, as it would be)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from opportune.core.bitsets import indices
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.masks import by_offer, stage_masks
from opportune.core.decisions.records import DecisionRecord, Result

EXAMPLES_MAX = 3
SEGMENTS_MAX = 50
OTHER_SEGMENTS = "(others)"
NOTHING = "nothing"


class Pair(NamedTuple):
    """One decision twice: as it was recorded, and as it would be; each with the brain it was made by."""

    brain_before: Brain
    before: DecisionRecord
    brain_after: Brain
    after: DecisionRecord


class Moved(msgspec.Struct, frozen=True):
    """How many decisions went from one answer to another, with the ids of a few."""

    before: str
    after: str
    count: int
    examples: tuple[str, ...]


class RuleMoved(msgspec.Struct, frozen=True):
    """What a rule does otherwise, counted in candidates that were asked for.

    `holds_back` are candidates it holds back now and did not, `frees` the other way round. `lost` are those of
    `holds_back` that no rule had held back before, `won` those of `frees` that no rule holds back any more.
    `decisions` is how many decisions that touches.
    """

    rule: str
    stage: str
    holds_back: int
    frees: int
    lost: int
    won: int
    decisions: int
    examples: tuple[str, ...]


class Segment(msgspec.Struct, frozen=True):
    """The decisions in which a feature had a value (or lay in a band of values)."""

    segment: str
    of: int
    changed: int
    offered_before: int
    offered_after: int


class Differences(msgspec.Struct, frozen=True):
    """What is different in `of` decisions; `changed` counts those that answer otherwise.

    `value_before` and `value_after` are the predicted values of what is offered, added up. `impossible` are decisions
    that the other side cannot make, by why.
    """

    of: int
    changed: int
    dispositions: tuple[Moved, ...]
    reasons: tuple[Moved, ...]
    offers: tuple[Moved, ...]
    policies: tuple[RuleMoved, ...]
    by: str | None
    segments: tuple[Segment, ...]
    value_before: float
    value_after: float
    impossible: tuple[Moved, ...]


def differences(pairs: Iterable[Pair], by: str | None = None) -> Differences:
    """The differences of all pairs; `by` is a feature, or `moment`, to split them by."""
    tally = Tally(by)
    for pair in pairs:
        tally.add(pair)
    return tally.found()


class Tally:
    """Adds up pair by pair; what it keeps does not grow with their number."""

    def __init__(self, by: str | None = None) -> None:
        self._by = by
        self._of = self._changed = 0
        self._values = [0.0, 0.0]
        self._dispositions = _Moves()
        self._reasons = _Moves()
        self._offers = _Moves()
        self._impossible = _Moves()
        self._rules: dict[tuple[str, str], _Rule] = {}
        self._segments: dict[str, list[int]] = {}
        self._places: tuple[Brain, Brain, Mapping[int, int] | None] | None = None

    def add(self, pair: Pair) -> None:
        before, after = pair.before.result, pair.after.result
        one, other = answer_text(before), answer_text(after)
        changed = (before.disposition, one) != (after.disposition, other)
        offered = [result.disposition == "offered" for result in (before, after)]
        self._of += 1
        self._changed += changed
        for side, result in enumerate((before, after)):
            if offered[side]:
                self._values[side] += result.value + sum(pick.value for pick in result.slate)
        id_ = pair.before.id
        self._dispositions.add(before.disposition, after.disposition, id_)
        self._reasons.add(before.reason, after.reason, id_)
        self._offers.add(one, other, id_)
        if self._by is not None:
            line = self._segment(segment_of(pair.before, self._by))
            for place, counts in enumerate((True, changed, *offered)):
                line[place] += counts
        if before.stages != after.stages or pair.brain_before is not pair.brain_after:
            self._add_rules(pair)

    def refuse(self, id_: str, why: str) -> None:
        """A decision that the other side cannot make."""
        self._of += 1
        self._impossible.add("", why, id_)

    def found(self) -> Differences:
        rules = [one.found(rule, stage) for (rule, stage), one in self._rules.items()]
        rules.sort(key=lambda one: (-one.lost - one.won, -one.holds_back - one.frees, one.rule))
        segments = [Segment(name, *line) for name, line in self._segments.items()]
        segments.sort(key=lambda one: (-one.changed, -one.of, one.segment))
        return Differences(
            of=self._of,
            changed=self._changed,
            dispositions=self._dispositions.found(),
            reasons=self._reasons.found(),
            offers=self._offers.found(),
            policies=tuple(rules),
            by=self._by,
            segments=tuple(segments),
            value_before=round(self._values[0], 4),
            value_after=round(self._values[1], 4),
            impossible=self._impossible.found(),
        )

    def _segment(self, name: str) -> list[int]:
        if name not in self._segments and len(self._segments) >= SEGMENTS_MAX:
            name = OTHER_SEGMENTS
        return self._segments.setdefault(name, [0, 0, 0, 0])

    def _places_of(self, before: Brain, after: Brain) -> Mapping[int, int] | None:
        known = self._places
        if known is None or known[0] is not before or known[1] is not after:
            known = self._places = (before, after, _places(before, after))
        return known[2]

    def _add_rules(self, pair: Pair) -> None:
        asked = pair.brain_before.mask_of(pair.before.asked.channels)
        one, other = _held(pair.brain_before, pair.before), _held(pair.brain_after, pair.after)
        there = self._places_of(pair.brain_before, pair.brain_after)
        if there is not None:
            other = {key: _translated(mask, there) for key, mask in other.items()}
            asked &= _translated(-1, there)
        free_before = asked & ~_union(one)
        free_after = asked & ~_union(other)
        for key in [*one, *(key for key in other if key not in one)]:
            holds, frees = other.get(key, 0) & ~one.get(key, 0) & asked, one.get(key, 0) & ~other.get(key, 0) & asked
            if not holds and not frees:
                continue
            for name, part in by_offer(pair.brain_before, key[0], holds | frees):
                rule = self._rules.setdefault((name, key[1]), _Rule())
                masks = (holds, frees, holds & free_before, frees & free_after)
                for place, mask in enumerate(masks):
                    rule.counts[place] += (mask & part).bit_count()
                rule.examples.add(pair.before.id)


class _Examples:
    """How many, and the first few."""

    def __init__(self) -> None:
        self.total = 0
        self.ids: list[str] = []

    def add(self, id_: str) -> None:
        self.total += 1
        if len(self.ids) < EXAMPLES_MAX:
            self.ids.append(id_)


class _Rule:
    """Candidates held back, freed, lost and won, and the decisions."""

    def __init__(self) -> None:
        self.counts = [0, 0, 0, 0]
        self.examples = _Examples()

    def found(self, rule: str, stage: str) -> RuleMoved:
        holds_back, frees, lost, won = self.counts
        return RuleMoved(
            rule, stage, holds_back, frees, lost, won, self.examples.total, tuple(self.examples.ids)
        )


class _Moves:
    """Counts of (before, after) where they differ."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], _Examples] = {}

    def add(self, before: str, after: str, id_: str) -> None:
        if before != after:
            self._counts.setdefault((before, after), _Examples()).add(id_)

    def found(self) -> tuple[Moved, ...]:
        lines = [Moved(*key, one.total, tuple(one.ids)) for key, one in self._counts.items()]
        return tuple(sorted(lines, key=lambda one: (-one.count, one.before, one.after)))


def answer_text(result: Result) -> str:
    """What is offered, as `offer@channel`, joined by ` + ` for a slate; `nothing` where nothing is."""
    if result.offer is None or result.channel is None:
        return NOTHING
    return " + ".join(
        [f"{result.offer}@{result.channel}", *(f"{one.offer}@{one.channel}" for one in result.slate)]
    )


def segment_of(record: DecisionRecord, by: str) -> str:
    """The segment of a decision: a value as it is, a number in a band (`20 up to 50`), so that segments stay few."""
    if by == "moment":
        return record.asked.moment
    value = record.seen.features.get(by)
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _band(value)
    return str(value)[:64]


def _band(value: float) -> str:
    """1-2-5 bands: 0, then from 1, 2, 5, 10, 20, 50 … up to the next; below 1 likewise, in tenths and hundredths."""
    if value != value or value in (float("inf"), float("-inf")):
        return "no number"
    if abs(value) < 0.01:
        return "0"
    sign, size = ("\u2212", -value) if value < 0 else ("", value)
    low, step = 0.01, 0
    while True:
        high = low * (2.5 if step % 3 == 1 else 2.0)
        if size < high or step > 60:
            return f"{sign}{low:.10g} up to {sign}{high:.10g}"
        low, step = high, step + 1


def _held(brain: Brain, record: DecisionRecord) -> dict[tuple[str, str], int]:
    found: Counter[tuple[str, str]] = Counter()
    for stage, rule, mask in stage_masks(brain, record):
        if stage != "channel":
            found[rule, stage] |= mask
    return dict(found)


def _union(held: Mapping[tuple[str, str], int]) -> int:
    union = 0
    for mask in held.values():
        union |= mask
    return union


def _places(before: Brain, after: Brain) -> Mapping[int, int] | None:
    """Place after -> place before of the candidates both sides have; None when all have the same places."""
    ids = [[one.id for one in brain.candidates] for brain in (before, after)]
    if ids[0] == ids[1]:
        return None
    places = {one.id: one.index for one in before.candidates}
    return {one.index: places[one.id] for one in after.candidates if one.id in places}


def _translated(mask: int, places: Mapping[int, int]) -> int:
    if mask < 0:
        return sum(1 << place for place in places.values())
    found = 0
    for index in indices(mask):
        if index in places:
            found |= 1 << places[index]
    return found
