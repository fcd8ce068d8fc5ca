"""The offline side of feature views: the definitions that are folded online, as one relational expression.

`relational_of` makes it from what a release compiled; `sql` is its text for an engine. An adapter fills the two tables
and runs it (`ports.OfflineFeatures`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any, Literal

import msgspec

from opportune.core.expressions import Expression, parse
from opportune.core.features.compiled import CompiledViews, SignalFields
from opportune.core.features.documents import FeatureSpec
from opportune.core.features.plans import Feature, Planner
from opportune.core.features.relational.conditions import Unsaid, literal
from opportune.core.features.relational.derived import Derived, Values, compute_rest, derived_of, wrapped
from opportune.core.features.relational.facts import ENVELOPE, Column, Facts, Share, filler
from opportune.core.features.relational.queries import (
    DIALECTS,
    DUCKDB,
    RELATIONAL,
    SPARK,
    Dialect,
    Folded,
    distinct_max_of,
    folded_query,
    grouped,
    overflows,
    unit_ms_of,
)
from opportune.core.features.relational.replayed import replay
from opportune.core.features.takes import Take

__all__ = [
    "DIALECTS", "DUCKDB", "ENVELOPE", "SPARK", "Asked", "Column", "Fact", "Form", "Relational", "Values", "filler",
    "relational_of", "replay",
]  # fmt: skip

Form = Literal["sql", "python column", "python", "replay"]
"""How a feature is worked out offline: all in SQL; in SQL over a column that the fold's own function fills; by its
expression over columns; by the fold itself, signal by signal."""


class Fact(msgspec.Struct, frozen=True, gc=False):
    """A signal as the fold takes it: `seq` is its place in order of arrival, `at_ms` the time it counts at."""

    seq: int
    type: str
    id: str
    at_ms: int
    person: str | None
    account: str | None
    data: Mapping[str, Any]


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A row that features are wanted for: whose, as of when, and (`known_seq`) with which signals known by then."""

    person: str | None
    account: str | None
    at_ms: int
    known_seq: int = 2**62


class Relational(msgspec.Struct, frozen=True):
    """The relational form of the features of a release.

    `columns` are what a table of signals needs beside `ENVELOPE`; `forms` says how each feature is worked out;
    `replayed` are the features that have no relational form.
    """

    views: CompiledViews
    columns: tuple[Column, ...]
    folded: tuple[Folded, ...]
    derived: tuple[Derived, ...]
    forms: Mapping[str, Form]
    replayed: tuple[str, ...]

    @property
    def signals(self) -> tuple[str, ...]:
        """The signal types that some feature reads, sorted: a table needs no others."""
        return tuple(sorted({signal for feature in self.views.features.values() for signal in feature.signals}))

    def sql(self, dialect: Dialect = DUCKDB, *, bounded: bool = False) -> str:
        """One SELECT over tables `signals` and `asked`: rid, `f_<feature>` for all in SQL, `u_<feature>` where a sum
        may have left 64 bits. `bounded`: a row sees signals up to its `known_seq` only."""
        return wrapped(folded_query(grouped(self.folded), dialect, bounded=bounded), self.derived)

    def given(self) -> tuple[str, ...]:
        """The features whose columns the query gives."""
        return (*(one.name for one in self.folded), *(one.name for one in self.derived if one.sql is not None))

    def unsure(self) -> tuple[str, ...]:
        """Those with a column `u_<feature>`."""
        return tuple(one.name for one in self.folded if overflows(one))

    def complete(self, values: Values, unknown: Mapping[str, Sequence[bool]], rows: int) -> Values:
        """All features in order, given those of the query and the replayed ones."""
        compute_rest(self.derived, values, unknown, rows)
        return {name: values[name] for name in self.views.names if name in values}


def relational_of(
    views: CompiledViews, signal_fields: SignalFields, only: Iterable[str] | None = None
) -> Relational:
    """The relational form of all features, or of `only` these and what they are derived from.

    `signal_fields` are those the views were compiled with.
    """
    specs = {spec.id: (view, spec) for view in views.views for spec in view.features}
    outside = views.read_outside
    wanted = [name for name in _needed(views, views.names if only is None else only) if name not in outside]
    facts = Facts(signal_fields)
    folded: list[Folded] = []
    forms: dict[str, Form] = {}
    replayed: list[str] = []
    for name in wanted:
        feature = views.features[name]
        if feature.key is None:
            continue
        view, spec = specs[name]
        default = _default(feature)
        if spec.aggregate not in RELATIONAL or spec.approximate or default == _NO_LITERAL:
            forms[name] = "replay"
            replayed.append(name)
            continue
        share = facts.share(spec, feature.type, _takes(views, feature))
        forms[name] = "sql" if share.said else "python column"
        window = Planner(view, spec, feature.index).window(spec.aggregate)
        folded.append(_folded(feature, spec, share, window, default))
    derived = _derived(views, specs, wanted, forms, {one.name for one in folded if overflows(one)})
    return Relational(views, facts.columns, tuple(folded), derived, forms, tuple(replayed))


_NO_LITERAL = "\0"


def _default(feature: Feature) -> str | None:
    if feature.default is None:
        return None
    try:
        return literal(feature.default, feature.type)
    except Unsaid:
        return _NO_LITERAL


def _folded(
    feature: Feature, spec: FeatureSpec, share: Share, window: tuple[int, int] | None, default: str | None
) -> Folded:
    assert spec.aggregate is not None
    return Folded(
        feature.name, feature.entity, feature.type, spec.aggregate, share.sql, feature.signals, window,
        unit_ms_of(spec.unit), distinct_max_of(spec.distinct_max), default,
    )  # fmt: skip


def _takes(views: CompiledViews, feature: Feature) -> dict[str, Take]:
    """The fold's own takes of a feature, by signal type."""
    return {
        signal: take
        for signal in feature.signals
        for key, take, _ in views.steps[feature.entity, signal]
        if key == feature.key
    }


def _needed(views: CompiledViews, names: Iterable[str]) -> list[str]:
    wanted: set[str] = set()
    for name in names:
        wanted |= {name, *views.lineage(name).features}
    return [name for name in views.names if name in wanted]


def _derived(
    views: CompiledViews,
    specs: Mapping[str, tuple[Any, FeatureSpec]],
    wanted: Sequence[str],
    forms: dict[str, Form],
    overflowing: set[str],
) -> tuple[Derived, ...]:
    """Derived features, inputs first; fills `forms`."""
    expressions: dict[str, Expression] = {}
    for name in wanted:
        text = specs[name][1].derive
        if text is not None:
            expressions[name] = parse(text, views.types, expect=views.types[name])
    order = TopologicalSorter({name: expression.names for name, expression in expressions.items()}).static_order()
    found = []
    risky = set(overflowing)
    said = {name: form in ("sql", "python column") for name, form in forms.items()}
    for name in order:
        expression = expressions.get(name)
        if expression is None:
            continue
        feature = views.features[name]
        at_risk = not risky.isdisjoint(expression.names)
        one = derived_of(name, feature.type, feature.default, expression, said, at_risk)
        if at_risk:
            risky.add(name)
        forms[name] = "sql" if one.sql is not None else "python"
        said[name] = one.sql is not None
        found.append(one)
    return tuple(found)
