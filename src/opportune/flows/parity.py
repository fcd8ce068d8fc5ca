"""Parity: what was served, worked out again offline from the log, and compared value by value.

1. take the newest decisions, by the release that made them
2. ask the offline engine for every feature of each, as of its instant, with the signals that had arrived by then
3. compare: equal (doubles to nine digits), different, or explained
4. explain: a signal that was on its way at that moment; a cell that was not filled yet; a customer erased since
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.features.relational import Asked, Fact, Relational, replay
from opportune.core.releases import Release
from opportune.flows.offline import Arrivals, facts_of, form_of
from opportune.flows.region import Region
from opportune.ports import OfflineFeatures, StoredDecision

EXAMPLES_MAX: Final = 5
ON_ITS_WAY_MS: Final = 10_000
"""A signal that came in this short before a decision may not have been durable when the decision looked."""
OUTSIDE: Final = "read from outside"
"""Why a value is not compared: the log does not hold what it was made of."""
TOLERANCE: Final = 1e-9


class Difference(msgspec.Struct, frozen=True):
    """One value that did not come out: of which decision, and why (`reason` is empty when nobody knows)."""

    decision: str
    feature: str
    served: Any
    offline: Any
    reason: str = ""


class FeatureParity(msgspec.Struct, frozen=True):
    """How the values of one feature compare. `late` of the equal ones look different with what came in afterwards;
    `stale` and `missing` were so when they were served."""

    feature: str
    form: str
    equal: int = 0
    different: int = 0
    explained: Mapping[str, int] = {}
    late: int = 0
    stale: int = 0
    missing: int = 0


class Parity(msgspec.Struct, frozen=True):
    decisions: int
    features: tuple[FeatureParity, ...]
    examples: tuple[Difference, ...]
    left_out: int = 0
    """Decisions of releases that do not compile any more."""

    @property
    def equal(self) -> int:
        return sum(one.equal for one in self.features)

    @property
    def different(self) -> int:
        return sum(one.different for one in self.features)

    @property
    def explained(self) -> int:
        return sum(sum(one.explained.values()) for one in self.features)


def parity(region: Region, engine: OfflineFeatures, last: int) -> Parity:
    """Steps 1 to 4 for the newest `last` decisions of a region. Reads only."""
    # 1. take
    by_release: dict[str, list[StoredDecision]] = {}
    for stored in region.records.decisions(last):
        by_release.setdefault(stored.release, []).append(stored)
    tallies: dict[str, _Tally] = {}
    examples: list[Difference] = []
    compared = left_out = 0
    for hash_, decisions in by_release.items():
        try:
            release = region.releases.get(hash_)
        except (LookupError, ValueError):
            left_out += len(decisions)
            continue
        pairs = [(stored, decode_record(stored.record)) for stored in decisions]
        _compare(_Work(region, release, form_of(release), pairs), engine, tallies, examples)
        compared += len(pairs)
    features = tuple(tally.told(name) for name, tally in sorted(tallies.items()))
    return Parity(compared, features, tuple(examples), left_out)


def same(one: object, other: object) -> bool:
    """Equal as values of one type; doubles to nine digits."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= TOLERANCE * max(1.0, abs(one), abs(other))
    if isinstance(one, int | float) and isinstance(other, int | float) and bool not in (type(one), type(other)):
        return abs(one - other) <= TOLERANCE  # a record keeps a whole double as JSON writes it
    return type(one) is type(other) and one == other


class _Tally:
    def __init__(self, form: str) -> None:
        self.form = form
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def told(self, name: str) -> FeatureParity:
        return FeatureParity(name, self.form, explained=dict(self.reasons), **self.counts)


class _Work(msgspec.Struct, frozen=True):
    """The decisions of one release."""

    region: Region
    release: Release
    form: Relational
    pairs: Sequence[tuple[StoredDecision, DecisionRecord]]


def _compare(
    work: _Work, engine: OfflineFeatures, tallies: dict[str, _Tally], examples: list[Difference]
) -> None:
    # 2. ask
    customers = {stored.customer for stored, _ in work.pairs}
    arrivals = Arrivals()
    facts = list(facts_of(work.region.records, work.release, customers, arrivals))
    asked = [
        Asked(stored.customer, record.seen.account, record.seen.at_ms,
              arrivals.known(record.seen.at_ms, stored.leaf))
        for stored, record in work.pairs
    ]  # fmt: skip
    offline = engine.values(work.form, facts, asked)
    hindsight = engine.values(
        work.form, facts, [Asked(one.person, one.account, one.at_ms) for one in asked]
    )
    # 3. compare
    odd: dict[int, list[str]] = {}
    outside = work.form.views.read_outside
    for row, (_, record) in enumerate(work.pairs):
        for name, served in record.seen.features.items():
            if name in outside:
                tallies.setdefault(name, _Tally("none")).reasons[OUTSIDE] += 1
                continue
            if name not in offline or name in work.form.views.abroad:
                continue
            tally = tallies.setdefault(name, _Tally(work.form.forms[name]))
            tally.counts["stale"] += name in record.seen.stale
            tally.counts["missing"] += name in record.seen.missing
            if same(served, offline[name][row]):
                tally.counts["equal"] += 1
                tally.counts["late"] += not same(served, hindsight[name][row])
            else:
                odd.setdefault(row, []).append(name)
    # 4. explain
    young = _young(work.region, work.release)
    for row, names in odd.items():
        stored, record = work.pairs[row]
        reasons = _reasons(work, facts, asked[row], record, names)
        for name in names:
            served = record.seen.features[name]
            reason = reasons.get(name, "")
            if not reason and served is None and young.intersection(_cells(work.form, name)):
                reason = "not backfilled yet"
            if not reason and arrivals.gaps():
                reason = "a customer was erased since"
            tally = tallies[name]
            if reason:
                tally.reasons[reason] += 1
            else:
                tally.counts["different"] += 1
            if len(examples) < EXAMPLES_MAX or not reason:
                examples.append(Difference(stored.id, name, served, offline[name][row], reason))
    del examples[EXAMPLES_MAX * 4 :]


def _reasons(
    work: _Work, facts: Sequence[Fact], asked: Asked, record: DecisionRecord, names: Sequence[str]
) -> dict[str, str]:
    """Which values are those of a moment before: without the newest signals, which were on their way."""
    mine = [
        fact for fact in facts
        if (asked.person is not None and fact.person == asked.person)
        or (asked.account is not None and fact.account == asked.account)
    ]  # fmt: skip
    near = sorted({fact.seq for fact in mine if abs(fact.at_ms - asked.at_ms) <= ON_ITS_WAY_MS})
    folded = [name for name in work.form.views.names if work.form.views.features[name].key is not None]
    moments = [msgspec.structs.replace(asked, known_seq=seq + step) for seq in near for step in (-1, 0)]
    found: dict[str, str] = {}
    if not moments:
        return found
    again = replay(work.form.views, folded, mine, moments)
    for name in names:
        inputs = [name] if name in again else [each for each in _inputs(work.form, name) if each in again]
        for place in range(len(moments)):
            served = record.seen.features
            if all(same(served.get(each), again[each][place]) for each in inputs):
                found[name] = "a signal was on its way"
                break
    return found


def _inputs(form: Relational, name: str) -> tuple[str, ...]:
    return form.views.lineage(name).features


def _cells(form: Relational, name: str) -> set[str]:
    features = form.views.features
    return {key for each in (name, *_inputs(form, name)) if (key := features[each].key) is not None}


def _young(region: Region, release: Release) -> frozenset[str]:
    """Cells of a release that the first release of the region did not have: they began empty."""
    history = region.records.live_history()
    if not history:
        return frozenset()
    first = min(history)[1]
    keys = frozenset(one.key for one in release.views.features.values() if one.key is not None)
    try:
        known = region.releases.get(first).views.features.values()
    except (LookupError, ValueError):
        return keys
    return keys.difference(one.key for one in known if one.key is not None)
