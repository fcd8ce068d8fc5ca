"""How long what is kept: periods per field class, and what of a signal or a description has outlived its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from opportune.core.customers import Origin
from opportune.core.durations import parse_duration_ms
from opportune.core.signals import FieldClass, Repair, Signal

YEAR_MS: Final = 365 * 86_400_000
NESTED_MAX: Final = 16
_MEANT: Final = re.compile(r"0*([1-9][0-9]{0,5})[ ]*([ywdhs]|m(?!o))[a-z]*")
_YEARS: Final = re.compile(r"([1-9][0-9]?)y")

ClassOf = Callable[[str], FieldClass]
Periods = Mapping[str, int]
"""Field class, `quarantine` or `access` -> how long it is kept, in ms."""


def period_ms(text: str) -> int:
    """`3y` (of 365 days), `90d`, `2w`, `12h` to milliseconds; ValueError names the text and the form it should have."""
    years = _YEARS.fullmatch(text)
    if years is not None:
        return int(years[1]) * YEAR_MS
    try:
        return parse_duration_ms(text)
    except ValueError:
        form = "write a whole number and y, w, d, h, m or s, such as `3y` or `90d`"
        raise ValueError(f"`{text}` is not a period: {form}") from None


def nearest_period(text: str) -> str | None:
    """The period that somebody probably means: `90d` for `90 days`; None when nothing is near."""
    found = _MEANT.fullmatch(text.strip().lower())
    return None if found is None else f"{int(found[1])}{found[2]}"


def without_expired(
    signal: Signal, class_of: ClassOf, periods: Mapping[FieldClass, int], now_ms: int
) -> tuple[Signal, int]:
    """The signal without the fields whose class has outlived its period, inside objects and lists too, and what was
    repaired in them; how many fields that were. The signal itself when there were none."""
    age_ms = now_ms - min(signal.at_ms, signal.received_ms)
    expired = frozenset(class_ for class_, period in periods.items() if age_ms > period)
    if not expired:
        return signal, 0
    data, gone = _without(signal.data, "", class_of, expired, 0)
    repairs: tuple[Repair, ...] = tuple(one for one in signal.repairs if class_of(one.field) not in expired)
    gone += len(signal.repairs) - len(repairs)
    return (msgspec.structs.replace(signal, data=data, repairs=repairs), gone) if gone else (signal, 0)


def expired_traits(
    origins: Mapping[str, Origin],
    traits: Mapping[str, Any],
    class_of: ClassOf,
    periods: Mapping[FieldClass, int],
    last_ms: int,
    now_ms: int,
) -> tuple[str, ...]:
    """The traits whose class has outlived its period; one without an origin is as young as the newest signal."""
    found = []
    for name in traits:
        period = periods.get(class_of(name))
        at_ms = origins[name].at_ms if name in origins else last_ms
        if period is not None and now_ms - at_ms > period:
            found.append(name)
    return tuple(found)


def _without(
    data: Mapping[str, Any], path: str, class_of: ClassOf, expired: frozenset[FieldClass], depth: int
) -> tuple[dict[str, Any], int]:
    kept: dict[str, Any] = {}
    gone = 0
    for name, value in data.items():
        at = f"{path}.{name}" if path else name
        if class_of(at) in expired:
            gone += 1
            continue
        kept[name], inside = _inside(value, at, class_of, expired, depth + 1)
        gone += inside
    return kept, gone


def _inside(
    value: Any, path: str, class_of: ClassOf, expired: frozenset[FieldClass], depth: int  # noqa: ANN401
) -> tuple[Any, int]:
    if depth >= NESTED_MAX:
        return value, 0
    if isinstance(value, Mapping):
        return _without(value, path, class_of, expired, depth)
    if isinstance(value, list):
        pairs = [_inside(item, f"{path}[]", class_of, expired, depth + 1) for item in value]
        return [item for item, _ in pairs], sum(gone for _, gone in pairs)
    return value, 0
