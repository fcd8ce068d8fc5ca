"""Masking: what is left of a value for a reader who may not see its class in clear."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from opportune.core.schemas import way_to
from opportune.core.signals import FieldClass, SignalContract

HIDDEN: Final = "•••"
IN_CLEAR: Final[frozenset[FieldClass]] = frozenset({"public", "internal"})
"""What everybody who may read at all sees."""

EVERYTHING: Final[frozenset[FieldClass]] = frozenset({"public", "internal", "personal", "sensitive"})
_EMAIL: Final = re.compile(r"([^\s@])[^\s@]*@([^\s@.])[^\s@]*\.([^\s@.]+)")
_PHONE: Final = re.compile(r"\+?[0-9][0-9 ()./-]{4,}[0-9]")


def clear_for(scopes: Collection[str]) -> frozenset[FieldClass]:
    """The classes that scopes show in clear: `personal` and `sensitive` each open their own."""
    opened: set[FieldClass] = set(IN_CLEAR)
    if "personal" in scopes:
        opened.add("personal")
    if "sensitive" in scopes:
        opened.add("sensitive")
    return frozenset(opened)


def masked(value: Any, class_: FieldClass, clear: Collection[FieldClass]) -> Any:  # noqa: ANN401 - any JSON value
    """The value as this reader sees it; whole where its class is in `clear`.

    Else an e-mail address shows its first letters (`j…@e….com`), a phone number its last two digits, other text
    nothing but that it is there, numbers and booleans are null; lists and objects are masked inside, names kept.
    """
    if class_ in clear or value is None:
        return value
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, Mapping):
        return {name: masked(item, class_, clear) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(item, class_, clear) for item in value]
    return None


def masked_text(text: str) -> str:
    """A text that may not be shown; the shape of an e-mail address or a phone number stays recognisable."""
    found = _EMAIL.fullmatch(text.strip())
    if found is not None:
        return f"{found[1]}…@{found[2]}….{found[3]}"
    if _PHONE.fullmatch(text.strip()):
        return f"{HIDDEN}{text.strip()[-2:]}"
    return HIDDEN if text else text


def masked_fields(
    data: Mapping[str, Any], class_of: Callable[[str], FieldClass], clear: Collection[FieldClass]
) -> dict[str, Any]:
    """Every field masked by its own class; `class_of` gives the class of a field by its name."""
    return {name: masked(value, class_of(name), clear) for name, value in data.items()}


def class_of_field(contract: SignalContract | None, path: str) -> FieldClass:
    """The class of a field of a signal (`email`, `price.amount`): its own, that of the field it is in, the contract's.

    An identifier is at least personal; a field nobody declared is personal, as is every field of an unknown contract.
    """
    if contract is None:
        return "personal"
    way = way_to(contract.schema, path)
    if way is None:
        return "personal"
    said = [schema["class"] for schema in way if schema.get("class") in EVERYTHING]
    class_: FieldClass = said[-1] if said else contract.class_
    return "personal" if path in contract.identifiers and class_ in IN_CLEAR else class_


def classes_of(contract: SignalContract | None) -> Callable[[str], FieldClass]:
    """`class_of_field` for one contract."""
    return lambda path: class_of_field(contract, path)
