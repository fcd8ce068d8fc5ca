"""Instants as the API writes them: RFC 3339, whatever a record counts in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from opportune.core.signals import format_time

NAMES: Final[Mapping[str, str]] = {
    "at_ms": "at", "since_ms": "since", "expires_ms": "expires", "opened_ms": "opened_at", "undone_ms": "undone_at",
    "decided_ms": "decided_at",
}  # fmt: skip
"""What an instant of a record is called in the API; ages and periods stay milliseconds, and keep their `_ms`."""


def written(record: msgspec.Struct) -> dict[str, Any]:
    """The fields of a record as JSON values, its instants as RFC 3339; None where there is none."""
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return {
        NAMES.get(name, name): _instant(value) if name in NAMES else msgspec.to_builtins(value)
        for name, value in fields.items()
    }


def all_written(records: Iterable[msgspec.Struct]) -> list[dict[str, Any]]:
    """`written` of each."""
    return [written(one) for one in records]


def _instant(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_time(at_ms)
