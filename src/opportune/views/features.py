"""The features of the live release: what they are, who uses them, and how they look in the states right now."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from opportune.core.customers import Account, Person
from opportune.core.features import EntityFeatures, FeatureSpec
from opportune.core.features.coverage import POSITION, decode_coverage
from opportune.core.features.plans import Feature
from opportune.core.releases import Release
from opportune.ports import Records
from opportune.views.uses import Use, uses_of

SAMPLE_MAX: Final = 2_000
"""Customers, and accounts, that are looked at: the first by id."""
DISTINCT_MAX: Final = 1_000


class FeatureStats(msgspec.Struct, frozen=True):
    """One feature over a sample of its entities. `distinct_more`: there are at least this many different values.

    Ages are those of values that have one (ms); `stale` of them are older than the view allows.
    """

    sampled: int
    with_value: int
    null_rate: float | None
    distinct: int
    distinct_more: bool
    age_p50_ms: int | None
    age_p90_ms: int | None
    age_max_ms: int | None
    stale: int


class FeatureLine(msgspec.Struct, frozen=True):
    """One feature. `how` says what it is made of, in words; `whole`: it holds every signal of the log.

    `outside`: it, or one it is derived from, is read from elsewhere at each decision, so no state here tells of it.
    """

    name: str
    view: str
    version: int
    entity: str
    owner: str
    purposes: tuple[str, ...]
    type: str
    freshness_ms: int | None
    default: Any
    how: str
    signals: tuple[str, ...]
    inputs: tuple[str, ...]
    fields: tuple[str, ...]
    whole: bool
    outside: bool
    used_by: tuple[Use, ...]
    stats: FeatureStats | None = None


class _Seen:
    """What was seen of one feature so far; values are counted, never shown."""

    def __init__(self) -> None:
        self.sampled = self.with_value = self.stale = 0
        self.values: set[object] = set()
        self.ages_ms: list[int] = []

    def add(self, value: object, age_ms: int | None, *, stale: bool) -> None:
        self.sampled += 1
        self.stale += stale
        if value is not None:
            self.with_value += 1
            if len(self.values) < DISTINCT_MAX:
                self.values.add(value)
        if age_ms is not None:
            self.ages_ms.append(age_ms)

    def stats(self) -> FeatureStats:
        ages = sorted(self.ages_ms)
        return FeatureStats(
            self.sampled, self.with_value,
            None if not self.sampled else round(1 - self.with_value / self.sampled, 4),
            len(self.values), len(self.values) >= DISTINCT_MAX,
            _percentile(ages, 0.5), _percentile(ages, 0.9), ages[-1] if ages else None, self.stale,
        )  # fmt: skip


def feature_lines(
    records: Records, release: Release, now_ms: int, *, only: str | None = None, sample: int = SAMPLE_MAX
) -> tuple[FeatureLine, ...]:
    """Every feature of the release (or `only` one), in the order of the documents; `sample` 0 leaves states alone."""
    text = records.position(POSITION)
    lacking = frozenset[str]() if text is None else decode_coverage(text).incomplete(release.views.keys)
    stats = _stats(records, release, now_ms, sample) if sample else {}
    specs = {spec.id: spec for view in release.playbook.views for spec in view.features}
    found = []
    for name, feature in release.views.features.items():
        if only in (None, name):
            cells = [release.views.features[one].key for one in (name, *release.views.lineage(name).features)]
            outside = name in release.views.read_outside
            seen = None if outside or name not in stats else stats[name].stats()
            found.append(
                FeatureLine(
                    name, feature.view, feature.version, feature.entity, feature.owner, feature.purposes, feature.type,
                    feature.freshness_ms, feature.default, how_made(specs.get(name), feature), feature.signals,
                    feature.inputs, tuple(f"{signal}.{field}" if field else signal for signal, field in feature.fields),
                    lacking.isdisjoint(cells), outside, uses_of(release, (name,)), seen,
                )
            )  # fmt: skip
    return tuple(found)


def how_made(spec: FeatureSpec | None, feature: Feature) -> str:
    """What a feature is made of, as one line: `sum of data.count from usage.recorded where …, in the last 7d by 1d`."""
    if spec is None:
        return f"read from {', '.join(feature.signals) or feature.view}"
    if spec.column is not None:
        return f"read: {spec.column}"
    if spec.derive is not None:
        return f"derived: {spec.derive}"
    text = str(spec.aggregate)
    if spec.value is not None:
        text += f" of {spec.value}"
    if spec.over is not None:
        text += f" over {spec.over}"
    text += f" from {', '.join(spec.signal_types)}"
    if spec.where is not None:
        text += f" where {spec.where}"
    if spec.window is not None:
        text += f", in the last {spec.window}"
        text += f" by {spec.hop}" if spec.hop is not None else ""
    if spec.unit is not None:
        text += f", in {'hours' if spec.unit == 'h' else 'days'}"
    return text if spec.default is None else f"{text}; {spec.default!r} when nothing was seen"


def _stats(records: Records, release: Release, now_ms: int, sample: int) -> dict[str, _Seen]:
    """Values of a person's features from people, of an account's from accounts."""
    seen = {name: _Seen() for name in release.views.names}
    for entity, states in (("person", _people(records, sample)), ("account", _accounts(records, sample))):
        names = [name for name, feature in release.views.features.items() if feature.entity == entity]
        for person, account in states if names else ():
            vector = release.views.read(person, account, now_ms)
            stale = frozenset(vector.stale)
            for name in names:
                place = release.views.features[name].index
                seen[name].add(vector.values[place], vector.ages_ms[place], stale=name in stale)
    return seen


_States = Iterator[tuple[EntityFeatures | None, EntityFeatures | None]]


def _people(records: Records, sample: int) -> _States:
    def account_of(person: Person) -> Account | None:
        return None if person.account is None else records.account(person.account)

    for person in islice(records.people(), sample):
        account = account_of(person)
        yield person.features, None if account is None else account.features


def _accounts(records: Records, sample: int) -> _States:
    for account in islice(records.accounts(), sample):
        yield None, account.features


def _percentile(ages: list[int], share: float) -> int | None:
    return ages[min(int(len(ages) * share), len(ages) - 1)] if ages else None

