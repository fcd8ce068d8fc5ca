"""Instants as the API writes them: RFC 3339, whatever a record counts in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from opportune.core.signals import format_time

NAMES: Final[Mapping[str, str]] = {
    "at_ms": "at", "since_ms": "since", "expires_ms": "expires", "opened_ms": "opened_at", "undone_ms": "undone_at",
    "decided_ms": "decided_at", "from_ms": "from", "received_ms": "received_at",
}  # fmt: skip
"""What an instant of a record is called in the API; ages and periods stay milliseconds, and keep their `_ms`."""


def written(record: msgspec.Struct) -> dict[str, Any]:
    """The fields of a record as JSON values, also of records inside it; instants as RFC 3339, None for none."""
    found: dict[str, Any] = {}
    for field, name in zip(record.__struct_fields__, record.__struct_encode_fields__, strict=True):
        value = getattr(record, field)
        found[NAMES.get(name, name)] = _instant(value) if name in NAMES else _plain(value)
    return found


def all_written(records: Iterable[msgspec.Struct]) -> list[dict[str, Any]]:
    """`written` of each."""
    return [written(one) for one in records]


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, msgspec.Struct):
        return written(value)
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return msgspec.to_builtins(value)


def _instant(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_time(at_ms)
