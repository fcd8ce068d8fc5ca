"""What a check found wrong within one document, and the small checks that many documents share."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable, Iterator

import msgspec

from opportune.core.durations import parse_duration_ms
from opportune.core.wording import closest, listed, quoted

FieldPath = tuple[str | int, ...]


class Found(msgspec.Struct, frozen=True):
    """A problem within one document; `on_key` when the key at the end of `field` is wrong, not its value."""

    field: FieldPath
    message: str
    nearest: str | None = None
    on_key: bool = False
    line: int = 1
    column: int = 1


def unknown(field: FieldPath, noun: str, name: str, known: Iterable[str], on_key: bool = False) -> Iterator[Found]:
    """A name that is none of `known`, with the nearest, or with what there is."""
    names = list(known)
    if name in names:
        return
    nearest = closest(name, names)
    message = f"unknown {noun} {quoted(name)}"
    if nearest is None:
        message += f": the playbook has {listed(sorted(names))}" if names else ": the playbook has none"
    yield Found(field, message, nearest, on_key)


def no_duration(field: FieldPath, text: str) -> Iterator[Found]:
    try:
        parse_duration_ms(text)
    except ValueError as error:
        yield Found(field, str(error))


def no_zone(field: FieldPath, name: str) -> Iterator[Found]:
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        message = f"time zone {quoted(name)} does not exist: use a name such as `Europe/Berlin`"
        yield Found(field, message, closest(name, zoneinfo.available_timezones()))


def not_within(field: FieldPath, value: float, least: float, most: float) -> Iterator[Found]:
    if not least <= value <= most:
        yield Found(field, f"{quoted(value)} is out of range: it must be from {least} to {most}")


def not_positive(field: FieldPath, value: float) -> Iterator[Found]:
    if not value > 0:
        yield Found(field, f"{quoted(value)} is out of range: it must be more than 0")


def negative(field: FieldPath, value: float) -> Iterator[Found]:
    if not value >= 0:
        yield Found(field, f"{quoted(value)} is out of range: it must be 0 or more")
