"""Where a feature's value in a decision came from: the signals behind it, what was made of them, and what it led to.

Found from the log, not from a copy kept beside each decision: the signals of the person or the account, of the types
the feature folds, inside its window, that had arrived before the decision. They are folded again, and whether that
gives the value the decision saw is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from opportune.core.decisions.further import unit_of
from opportune.core.decisions.masks import stage_masks
from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.decisions.shortlist import REQUIRES
from opportune.core.features import CompiledViews, EntityFeatures, FeatureSpec, FeatureView
from opportune.core.features.plans import Feature, Planner
from opportune.core.features.takes import Take
from opportune.core.releases import Release
from opportune.core.signals import FieldClass, Signal, happened_ms, upcast
from opportune.ports import Records, StoredDecision, StoredSignal
from opportune.views.classes import CLASSES, Shown, classes_of, shown
from opportune.views.features import how_made
from opportune.views.uses import Use, uses_of

PAGE: Final = 500
LOOKED_AT_MAX: Final = 20_000
SHOWN_MAX: Final = 50
AccountThen = Callable[[StoredSignal], str | None]
"""The account that a signal of the log was folded into."""
_NEWEST: Final = ("last", "time_since")


class Behind(msgspec.Struct, frozen=True):
    """One signal that went into a value. `fields` are what was read of it, `feeds` the features it went into.

    `decides` is false where a newer (or, for `first`, an older) signal took its place.
    """

    seq: int
    id: str
    source: str
    type: str
    version: int
    at_ms: int
    received_ms: int
    feeds: tuple[str, ...]
    decides: bool
    fields: Mapping[str, Any]
    hidden: tuple[str, ...]
    flags: tuple[str, ...]


class Made(msgspec.Struct, frozen=True):
    """One feature on the way, as the decision saw it. `how` defines it in words, `signals` are counts by type."""

    name: str
    view: str
    version: int
    entity: str
    owner: str
    how: str
    inputs: tuple[str, ...]
    signals: Mapping[str, int]
    from_ms: int | None
    value: Shown
    age_ms: int | None
    missing: bool
    stale: bool


class Led(msgspec.Struct, frozen=True):
    """What the value went into in this decision; `effect` says what came of it there."""

    use: Use
    effect: str


class LineageView(msgspec.Struct, frozen=True):
    """The lineage of one feature in one decision; `made` ends with the feature itself, inputs before what reads them.

    `signals` are the newest, of `signals_in_all`. `reproduced`: folding them again gave the value that was seen; None
    when that cannot be said (`cut_off`: there are more signals than are looked at; `outside`: the value, or one it is
    derived from, was read from elsewhere, and the log does not hold it).
    """

    decision: str
    at_ms: int
    customer: str
    account: str | None
    release: str
    disposition: str
    offer: str | None
    feature: str
    made: tuple[Made, ...]
    signals: tuple[Behind, ...]
    signals_in_all: int
    cut_off: bool
    outside: bool
    reproduced: bool | None
    led: tuple[Led, ...]


class UnknownFeature(LookupError):
    """The release of the decision has no such feature."""


class _Fed(msgspec.Struct, frozen=True):
    """A signal that counts, read as the release reads it, and the features it goes into."""

    stored: StoredSignal
    signal: Signal
    feeds: tuple[str, ...]


class _Log(msgspec.Struct, frozen=True):
    """The signals that may have gone into what a decision saw, the newest first."""

    records: Records
    record: DecisionRecord
    account_then: AccountThen

    def of_person(self) -> Iterator[StoredSignal]:
        members = _family(self.records, self.record.asked.customer, self.record.seen.at_ms)
        before: int | None = None
        while page := self.records.signals_of(members, PAGE, before):
            yield from page
            before = page[-1].seq

    def of_account(self) -> Iterator[StoredSignal]:
        """Signals that name the account, and those of this customer that name none: they count for it too."""
        account = self.record.seen.account
        if account is None:
            return
        before: int | None = None
        while page := self.records.signals_of_account(account, PAGE, before):
            yield from page
            before = page[-1].seq
        for stored in self.of_person():
            if stored.signal.account is None and self.account_then(stored) == account:
                yield stored


def lineage_view(
    records: Records,
    release: Release,
    stored: StoredDecision,
    name: str,
    clear: Collection[FieldClass],
    account_then: AccountThen,
) -> LineageView:
    """`release` is the one the decision was made with. Raises UnknownFeature."""
    record, views = decode_record(stored.record), release.views
    if name not in views.features:
        raise UnknownFeature(f"release `{release.hash}` has no feature `{name}`")
    names = [one for one in views.names if one == name or one in views.lineage(name).features]
    names.sort(key=lambda one: (len(views.lineage(one).features), views.features[one].index))
    specs = {spec.id: (view, spec) for view in release.playbook.views for spec in view.features}
    since = {one: _since(*specs[one], record.seen.at_ms) if one in specs else None for one in names}
    fed, cut_off = _fed(_Log(records, record, account_then), release, record, stored.leaf, names, since)
    decisive = _decisive(fed, specs)
    counts: dict[str, Counter[str]] = {one: Counter() for one in names}
    for each in fed:
        for one in each.feeds:
            counts[one][each.signal.type] += 1
    newest = sorted(fed, key=lambda each: (each.signal.at_ms, each.stored.seq), reverse=True)[:SHOWN_MAX]
    made = tuple(_made(release, record, one, specs, since[one], counts[one], clear) for one in names)
    outside = name in views.read_outside
    again = None if cut_off or outside else _reproduced(views, record, name, names, fed)
    return LineageView(
        stored.id, record.seen.at_ms, stored.customer, record.seen.account, release.hash, stored.disposition,
        stored.offer, name, made, tuple(_behind(release, each, decisive, clear) for each in newest), len(fed), cut_off,
        outside, again, _led(release, record, name),
    )  # fmt: skip


def _fed(
    log: _Log,
    release: Release,
    record: DecisionRecord,
    leaf: int,
    names: Sequence[str],
    since: Mapping[str, int | None],
) -> tuple[list[_Fed], bool]:
    """Every signal that one of the features folded before the decision, and whether there may be more.

    Within one millisecond the ledger says what came first: `leaf` is the decision's place in it.
    """
    features = [release.views.features[one] for one in names if release.views.features[one].key is not None]
    takes = _takes(release.views, features)
    found, looked_at, cut_off = [], 0, False
    for entity in sorted({feature.entity for feature in features}):
        wanted = [feature for feature in features if feature.entity == entity]
        types = {type_ for feature in wanted for type_ in feature.signals}
        for stored in log.of_person() if entity == "person" else log.of_account():
            looked_at += 1
            if looked_at > LOOKED_AT_MAX:
                cut_off = True
                break
            after = stored.signal.received_ms > record.seen.at_ms or stored.leaf > leaf >= 0
            if after or stored.signal.type not in types:
                continue
            signal = upcast(stored.signal, release.contracts)
            at_ms = happened_ms(signal)
            feeds = tuple(
                feature.name
                for feature in wanted
                if (feature.key, signal.type) in takes
                and takes[feature.key, signal.type](signal.data) is not None
                and at_ms >= (since[feature.name] or 0)
            )
            if feeds:
                found.append(_Fed(stored, signal, feeds))
    return found, cut_off


def _takes(views: CompiledViews, features: Sequence[Feature]) -> dict[tuple[str | None, str], Take]:
    """(cell, signal type) -> what the feature takes of a signal."""
    keys = {feature.key for feature in features}
    return {(key, type_): take for (_, type_), steps in views.steps.items() for key, take, _ in steps if key in keys}


def _family(records: Records, customer: str, at_ms: int) -> list[str]:
    """Everybody who was this customer at the time."""
    found, waiting = {customer}, [customer]
    while waiting:
        for merge in records.merges_of(waiting.pop()):
            if merge.at_ms <= at_ms and (merge.undone_ms is None or merge.undone_ms > at_ms):
                new = {merge.kept, merge.merged} - found
                found |= new
                waiting += new
    return sorted(found)


def _since(view: FeatureView, spec: FeatureSpec, at_ms: int) -> int | None:
    """Where the window begins that ends at `at_ms`; None for since ever, or a derived feature."""
    if spec.window is None or spec.aggregate is None:
        return None
    window = Planner(view, spec, 0).window(spec.aggregate)
    return None if window is None else (at_ms // window[0] - window[1] + 1) * window[0]


def _decisive(fed: Sequence[_Fed], specs: Mapping[str, tuple[FeatureView, FeatureSpec]]) -> dict[str, int]:
    """The one signal (by place) that decides, of features that keep one value."""
    found: dict[str, int] = {}
    best: dict[str, tuple[int, str]] = {}
    for each in fed:
        for name in each.feeds:
            aggregate = specs[name][1].aggregate
            rank = (happened_ms(each.signal), each.signal.id)
            newer = aggregate in _NEWEST and (name not in best or rank > best[name])
            older = aggregate == "first" and (name not in best or rank < best[name])
            if newer or older:
                best[name], found[name] = rank, each.stored.seq
    return found


def _behind(release: Release, each: _Fed, decisive: Mapping[str, int], clear: Collection[FieldClass]) -> Behind:
    signal = each.signal
    class_of = classes_of(release, signal.type, signal.version)
    read = {
        field: shown(_inside(signal.data, field), class_of(field), clear)
        for name in each.feeds
        for type_, field in release.views.features[name].fields
        if type_ == signal.type and field
    }
    decides = any(decisive.get(name, each.stored.seq) == each.stored.seq for name in each.feeds)
    return Behind(
        each.stored.seq, signal.id, signal.source, signal.type, each.stored.signal.version, signal.at_ms,
        signal.received_ms, each.feeds, decides, {field: one.value for field, one in read.items()},
        tuple(field for field, one in read.items() if one.hidden), signal.flags,
    )  # fmt: skip


def _inside(data: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 - any JSON value
    value: Any = data
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _made(
    release: Release,
    record: DecisionRecord,
    name: str,
    specs: Mapping[str, tuple[FeatureView, FeatureSpec]],
    since_ms: int | None,
    counts: Mapping[str, int],
    clear: Collection[FieldClass],
) -> Made:
    feature, seen = release.views.features[name], record.seen
    spec = specs[name][1] if name in specs else None
    return Made(
        name, feature.view, feature.version, feature.entity, feature.owner, how_made(spec, feature), feature.inputs,
        dict(counts), since_ms, shown(seen.features.get(name), _class(release, name), clear),
        seen.ages_ms.get(name), name in seen.missing, name in seen.stale,
    )  # fmt: skip


def _class(release: Release, name: str) -> FieldClass:
    """A value is as personal as the most personal field its value is taken from; what is counted is internal."""
    views = release.views
    found: FieldClass = "internal"
    for one in (name, *views.lineage(name).features):
        for type_, field in views.features[one].fields:
            class_ = classes_of(release, type_)(field) if field else "internal"
            if CLASSES.index(class_) > CLASSES.index(found):
                found = class_
    return found


def _reproduced(
    views: CompiledViews, record: DecisionRecord, name: str, names: Sequence[str], fed: Sequence[_Fed]
) -> bool:
    """Do these signals alone give the value that was seen?"""
    cells = views.only({views.features[one].key or "" for one in names})
    states: dict[str, EntityFeatures | None] = {"person": None, "account": None}
    for each in fed:
        for entity in {views.features[one].entity for one in each.feeds}:
            signal = each.signal
            states[entity] = cells.fold(
                entity, states[entity], signal.type, signal.id, happened_ms(signal), signal.data
            )
    got = views.read(states["person"], states["account"], record.seen.at_ms).values[views.features[name].index]
    saw = record.seen.features.get(name)
    if isinstance(got, float) and isinstance(saw, int | float):
        return abs(got - saw) <= 1e-9 * max(1.0, abs(got))
    return bool(got == saw)


def _led(release: Release, record: DecisionRecord, name: str) -> tuple[Led, ...]:
    """What of the release rests on the value, and what that did in this decision."""
    result, parts = record.result, dict(record.result.why)
    fired = {rule: mask for _, rule, mask in stage_masks(release.brain, record)}
    required = fired.get(REQUIRES, 0)
    found = []
    for use in uses_of(release, (name,)):
        effect = ""
        if use.kind == "policy" and use.name in fired:
            effect = f"dropped {fired[use.name].bit_count()} candidates"
        elif use.kind == "offer" and use.how == "requires it" and required & release.brain.offer_masks.get(use.name, 0):
            effect = "not eligible"
        elif use.kind == "offer" and use.name == result.offer:
            effect = "offered"
        elif use.kind == "model" and name in parts:
            effect = f"{parts[name]:+.3f} {unit_of(release.brain, result.offer or '')}"
        found.append(Led(use, effect))
    return tuple(found)
