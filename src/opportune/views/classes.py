"""Which class a field has, by the contracts of a release, and its value as a reader of some classes sees it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from opportune.core.masking import masked
from opportune.core.releases import Release
from opportune.core.schemas import properties_of, resolved
from opportune.core.signals import FieldClass

ClassOf = Callable[[str], FieldClass]
CLASSES: tuple[FieldClass, ...] = ("public", "internal", "personal", "sensitive")


class Shown(msgspec.Struct, frozen=True):
    """A value as this reader sees it; `hidden` when something of it is kept back because of its class."""

    value: Any
    class_: FieldClass = msgspec.field(name="class")
    hidden: bool


def classes_of(release: Release, type_: str, version: int | None = None) -> ClassOf:
    """The class of each field of a signal type; of its newest version when that is not said or not known.

    INVARIANT: what nobody declared is personal.
    """
    versions = [known for name, known in release.contracts if name == type_]
    if not versions:
        return lambda _: "personal"
    compiled = release.contracts[type_, version if version in versions else max(versions)]
    schema, otherwise = compiled.contract.schema, compiled.contract.class_
    declared = properties_of(schema)

    def class_of(field: str) -> FieldClass:
        if field in compiled.contract.identifiers:
            return "sensitive" if _said(declared.get(field), schema) == "sensitive" else "personal"
        if field not in declared:
            return "personal"
        return _said(declared[field], schema) or otherwise

    return class_of


def shown(value: Any, class_: FieldClass, clear: Collection[FieldClass]) -> Shown:  # noqa: ANN401 - any JSON value
    """One value, masked unless its class is in `clear`."""
    seen = masked(value, class_, clear)
    return Shown(seen, class_, seen != value)


def shown_fields(
    data: Mapping[str, Any], class_of: ClassOf, clear: Collection[FieldClass]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Every field as this reader sees it, and the names of those of which something is kept back."""
    seen = {name: shown(value, class_of(name), clear) for name, value in data.items()}
    return {name: one.value for name, one in seen.items()}, tuple(name for name, one in seen.items() if one.hidden)


def _said(schema: object, root: Mapping[str, Any]) -> FieldClass | None:
    found = schema.get("class") if isinstance(schema, Mapping) else None
    if found is None:
        found = resolved(schema, root).get("class")
    return next((one for one in CLASSES if one == found), None)
