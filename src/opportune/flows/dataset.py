"""A training set: labels with the features as they were at each label's time, and where every value comes from.

1. read the labels: whose, as of when, and what is to be learned
2. check that no feature can know its label
3. ask the offline engine for every feature as of each row's time: nothing later is joined, whatever it is
4. write features and labels as Parquet, with view versions and lineage inside and beside it
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from opportune.core.features import CompiledViews
from opportune.core.features.leaks import leaks_of
from opportune.core.features.relational import DUCKDB, Asked, Relational, relational_of
from opportune.core.releases import Release
from opportune.core.signals import parse_time_ms
from opportune.flows.offline import Arrivals, facts_of, payload_fields
from opportune.ports import OfflineFeatures, Records

KEYS: Final = ("customer", "account", "at", "label_at")
PROBLEMS_MAX: Final = 20


class DatasetError(ValueError):
    """Labels that cannot become a training set; `problems` say each what is wrong and what to change."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(problems[0])
        self.problems = tuple(problems)


class Wanted(msgspec.Struct, frozen=True):
    """What a training set is to be: which features (all when empty), for which purpose, and the signal types that its
    labels are made of. `as_received`: a row knows only what had come in by its time, not what came in late."""

    features: tuple[str, ...] = ()
    purpose: str | None = None
    label_signals: tuple[str, ...] = ()
    as_received: bool = False


class Label(msgspec.Struct, frozen=True):
    """One row of labels; `rest` are its own columns."""

    customer: str | None
    account: str | None
    at_ms: int
    label_at_ms: int | None
    rest: Mapping[str, Any]


class Dataset(msgspec.Struct, frozen=True):
    """Columns as (name, type, values) and the lineage that goes with them."""

    columns: tuple[tuple[str, str, Sequence[Any]], ...]
    lineage: Mapping[str, Any]
    rows: int


def read_labels(rows: Iterable[Mapping[str, Any]]) -> list[Label]:
    """Step 1. `customer` or `account` (or both), `at`, and any label columns; `label_at` is when a label was decided.

    Raises DatasetError that names rows from 1 on.
    """
    found: list[Label] = []
    problems: list[str] = []
    for number, row in enumerate(rows, 1):
        try:
            found.append(_label(row))
        except ValueError as error:
            problems.append(f"labels row {number}: {error}")
            if len(problems) == PROBLEMS_MAX:
                break
    if not found and not problems:
        problems.append("the labels have no rows")
    if problems:
        raise DatasetError(problems)
    return found


def dataset(
    records: Records, release: Release, engine: OfflineFeatures, labels: Sequence[Label], wanted: Wanted
) -> Dataset:
    """Steps 2 and 3. Raises DatasetError for features that are unknown, not for the purpose, or leak."""
    views = release.views
    names = wanted.features or tuple(name for name in views.names if name not in views.read_outside)
    # 2. check
    if problems := problems_of(views, names, labels, wanted):
        raise DatasetError(problems)
    # 3. ask
    form = relational_of(views, payload_fields(release.playbook), names)
    arrivals = Arrivals()
    facts = list(facts_of(records, release, {one.customer for one in labels if one.customer}, arrivals))
    asked = [
        Asked(one.customer, one.account or arrivals.account_at(one.customer, one.at_ms), one.at_ms,
              arrivals.received_by(one.at_ms) if wanted.as_received else 2**62)
        for one in labels
    ]  # fmt: skip
    values = engine.values(form, facts, asked)
    columns: list[tuple[str, str, Sequence[Any]]] = [
        ("customer", "string", [one.person for one in asked]),
        ("account", "string", [one.account for one in asked]),
        ("at_ms", "int", [one.at_ms for one in asked]),
    ]
    columns += [(name, views.types[name], values[name]) for name in names]
    for name in labels[0].rest:
        cells = [one.rest.get(name) for one in labels]
        columns.append((name, _type_of(cells), cells))
    return Dataset(tuple(columns), _lineage(release, form, names, wanted, arrivals), len(labels))


def problems_of(views: CompiledViews, names: Sequence[str], labels: Sequence[Label], wanted: Wanted) -> list[str]:
    """What keeps these labels and features apart: each names the feature, the signal type and the field."""
    unknown = [f"there is no feature `{name}`" for name in names if name not in views.features]
    if unknown:
        return unknown
    if outside := [name for name in names if name in views.read_outside]:
        return [f"feature `{name}` is read from outside, and has no past here: leave it out" for name in outside]
    problems = [
        f"feature `{name}` is for {', '.join(views.features[name].purposes)}, not for purpose `{wanted.purpose}`"
        for name in names if wanted.purpose is not None and wanted.purpose not in views.features[name].purposes
    ]  # fmt: skip
    problems += [str(leak) for leak in leaks_of(views, names, wanted.label_signals)]
    taken = {*names, "customer", "account", "at_ms"}
    problems += [f"the label column `{name}` is called as a feature: rename it" for name in labels[0].rest
                 if name in taken]  # fmt: skip
    for number, one in enumerate(labels, 1):
        if one.label_at_ms is not None and one.at_ms >= one.label_at_ms:
            reads = _reading(views, names)
            problems.append(
                f"labels row {number}: `at` is not before `label_at`, so {reads} would be read when the label was "
                "known already: give the time of the decision in `at`"
            )
        if len(problems) >= PROBLEMS_MAX:
            break
    return problems


def _reading(views: CompiledViews, names: Sequence[str]) -> str:
    """A feature with the signal type and field it reads, as an example."""
    for name in names:
        for each in (name, *views.lineage(name).features):
            for signal, field in views.features[each].fields:
                return f"feature `{name}` (`{signal}`{f', field `{field}`' if field else ''})"
    return "features"


def _label(row: Mapping[str, Any]) -> Label:
    customer, account = _id(row, "customer"), _id(row, "account")
    if customer is None and account is None:
        raise ValueError("name a `customer` or an `account`")
    at_ms = _time(row, "at")
    if at_ms is None:
        raise ValueError("give the time of the decision in `at`, such as 2026-11-24T10:00:00Z")
    rest = {name: value for name, value in row.items() if name not in KEYS}
    for name, value in rest.items():
        if value is not None and not isinstance(value, bool | int | float | str):
            raise ValueError(f"the label column `{name}` holds a list or an object: use a number, text or truth")
    return Label(customer, account, at_ms, _time(row, "label_at"), rest)


def _id(row: Mapping[str, Any], field: str) -> str | None:
    value = row.get(field)
    return None if value is None or value == "" else str(value)


def _time(row: Mapping[str, Any], field: str) -> int | None:
    value = row.get(field)
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return parse_time_ms(value)
        except ValueError as error:
            raise ValueError(f"`{field}`: {error}") from None
    raise ValueError(f"`{field}` is no time: write RFC 3339, or whole milliseconds since 1970")


def _type_of(cells: Sequence[Any]) -> str:
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds <= {bool}:
        return "bool"
    if kinds <= {int}:
        return "int"
    if kinds <= {int, float}:
        return "double"
    return "string"


def _lineage(
    release: Release, form: Relational, names: Sequence[str], wanted: Wanted, arrivals: Arrivals
) -> dict[str, Any]:
    views = release.views
    texts = {spec.id: spec for view in views.views for spec in view.features}
    features = {}
    for name in names:
        feature, rests_on = views.features[name], views.lineage(name)
        features[name] = {
            "view": feature.view, "version": feature.version, "owner": feature.owner, "type": feature.type,
            "purposes": list(feature.purposes), "worked_out": form.forms[name], "signals": list(rests_on.signals),
            "features": list(rests_on.features),
            "fields": sorted({f"{signal}.{field}" if field else signal for each in (name, *rests_on.features)
                              for signal, field in views.features[each].fields}),
            "definition": msgspec.to_builtins(texts[name]),
        }  # fmt: skip
    text = form.sql(DUCKDB, bounded=wanted.as_received)
    return {
        "release": release.hash, "region": release.region, "purpose": wanted.purpose,
        "views": {views.features[name].view: views.features[name].version for name in names},
        "label_signals": list(wanted.label_signals), "as_received": wanted.as_received,
        "log_to": arrivals.received_by(2**62), "query_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "features": features,
    }  # fmt: skip
