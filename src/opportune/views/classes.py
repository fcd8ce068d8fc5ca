"""Which class a field has, by the contracts of a release, and its value as a reader of some classes sees it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from opportune.core import masking
from opportune.core.releases import Release
from opportune.core.signals import FieldClass

ClassOf = Callable[[str], FieldClass]
CLASSES: tuple[FieldClass, ...] = ("public", "internal", "personal", "sensitive")


class Shown(msgspec.Struct, frozen=True):
    """A value as this reader sees it; `hidden` when something of it is kept back because of its class."""

    value: Any
    class_: FieldClass = msgspec.field(name="class")
    hidden: bool


def classes_of(release: Release, type_: str, version: int | None = None) -> ClassOf:
    """The class of each field of a signal type; of its newest version when that is not said or not known."""
    versions = [known for name, known in release.contracts if name == type_]
    if not versions:
        return masking.classes_of(None)
    compiled = release.contracts[type_, version if version in versions else max(versions)]
    return masking.classes_of(compiled.contract)


def shown(value: Any, class_: FieldClass, clear: Collection[FieldClass]) -> Shown:  # noqa: ANN401 - any JSON value
    """One value, masked unless its class is in `clear`."""
    seen = masking.masked(value, class_, clear)
    return Shown(seen, class_, seen != value)


def shown_field(name: str, value: Any, class_of: ClassOf, clear: Collection[FieldClass]) -> Shown:  # noqa: ANN401
    """One field; what lies inside an object or a list is masked by its own class."""
    class_ = class_of(name)
    seen = _seen(value, name, class_, class_of, clear)
    return Shown(seen, class_, seen != value)


def shown_fields(
    data: Mapping[str, Any], class_of: ClassOf, clear: Collection[FieldClass]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Every field as this reader sees it, and the names of those of which something is kept back."""
    seen = {name: shown_field(name, value, class_of, clear) for name, value in data.items()}
    return {name: one.value for name, one in seen.items()}, tuple(name for name, one in seen.items() if one.hidden)


def _seen(
    value: Any, path: str, above: FieldClass, class_of: ClassOf, clear: Collection[FieldClass]  # noqa: ANN401
) -> Any:  # noqa: ANN401 - any JSON value
    own = class_of(path)
    # What nobody declared inside something sensitive is not less so.
    class_: FieldClass = "sensitive" if above == "sensitive" and own == "personal" else own
    if isinstance(value, Mapping):
        return {name: _seen(item, f"{path}.{name}", class_, class_of, clear) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_seen(item, f"{path}[]", class_, class_of, clear) for item in value]
    return masking.masked(value, class_, clear)
