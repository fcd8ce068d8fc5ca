"""Features that are read from where somebody else keeps them: what a view must say, and how values must fit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, Final

import msgspec

from opportune.core.features.documents import FeatureView, ReaderSpec
from opportune.core.features.reader import OutsideValues

ValuesAt = Mapping[str, tuple[Any, int | None]]
"""Feature (or column) -> (value, event time in ms, None where nobody said)."""


class OutsideView(msgspec.Struct, frozen=True):
    """A view to read: of which entity, where, and its features as (name, column, type)."""

    view: str
    entity: str
    spec: ReaderSpec
    features: tuple[tuple[str, str, str], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(column for _, column, _ in self.features))


class Outside(msgspec.Struct, frozen=True):
    """What was read for one decision: `unread` are the views that gave nothing, as (view, `late` or `failed`)."""

    values: ValuesAt = {}
    unread: tuple[tuple[str, str], ...] = ()

    def aged(self, now_ms: int) -> OutsideValues:
        """The values with their ages; what lies in the future is as if it had not arrived."""
        return {
            name: (value, None if at_ms is None else now_ms - at_ms)
            for name, (value, at_ms) in self.values.items()
            if at_ms is None or at_ms <= now_ms
        }


def outside_views(views: Sequence[FeatureView], abroad: Collection[str]) -> tuple[OutsideView, ...]:
    """The views of these with a reader, without the features that may not exist here."""
    found = []
    for view in views:
        if view.reader is None:
            continue
        features = tuple(
            (spec.id, spec.column, spec.type or "")
            for spec in view.features
            if spec.column is not None and spec.id not in abroad
        )
        if features:
            found.append(OutsideView(view.view, view.entity, view.reader, features))
    return tuple(found)


def fitted(view: OutsideView, rows: ValuesAt) -> ValuesAt:
    """What a reader gave by column, by feature; without a row all are None. TypeError for a value of another type."""
    found: dict[str, tuple[Any, int | None]] = {}
    for name, column, type_ in view.features:
        value, at_ms = rows.get(column, (None, None))
        fits = None if value is None else _fit(type_, value)
        if fits is None and value is not None:
            raise TypeError(f"column `{column}` of view `{view.view}` holds a {type(value).__name__}, not {type_}")
        found[name] = (fits, at_ms)
    return found


_INT_END: Final = 2**63


def _fit(type_: str, value: Any) -> bool | int | float | str | None:  # noqa: ANN401 - whatever a table holds
    """The value as this type, or None. A store without truth values keeps them as 0 and 1."""
    if type_ == "string":
        return value if isinstance(value, str) else None
    if type_ == "bool":
        return bool(value) if isinstance(value, int) and value in (0, 1) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if type_ == "double":
        return float(value) if isfinite(value) else None
    return value if isinstance(value, int) and -_INT_END <= value < _INT_END else None


def reader_problems(view: FeatureView) -> Iterator[tuple[tuple[str, ...], str]]:
    """(field, what to change) of everything wrong with where a view is read."""
    spec = view.reader
    if spec is None:
        return
    if not spec.path.strip():
        yield ("reader", "path"), "`path` is empty: name the file, beginning at the playbook's folder"
    elif leaves(spec.path):
        message = f"`{spec.path}` leads out of the playbook: put the file into it, or give an absolute path"
        yield ("reader", "path"), message
    if not spec.entity.strip():
        yield ("reader", "entity"), "`entity` is empty: name what holds the ids"
    for field in ("table", "time"):
        value = getattr(spec, field)
        if spec.kind == "sql" and not value:
            yield ("reader",), f"missing key `{field}`: a reader of kind `sql` needs it"
        if spec.kind == "feast" and value is not None:
            yield ("reader", field), f"a reader of kind `feast` has no `{field}`: remove it"
    if view.lateness is not None:
        yield ("lateness",), "a view with a `reader` folds nothing: remove `lateness`"
    if spec.kind == "feast":
        for one in view.features:
            if one.column and ":" not in one.column:
                message = f"`{one.column}` names no Feast feature: write `<feature view>:<feature>`"
                yield ("features", one.id, "column"), message


def leaves(path: str) -> bool:
    """Whether a path that begins in a folder leads out of it, by its text."""
    if path.startswith("/"):
        return False
    depth = 0
    for part in path.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            return True
    return False
