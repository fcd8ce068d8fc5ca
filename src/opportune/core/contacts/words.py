"""What a limit says to people: its owner's reason, and how much of it is allowed to whom."""

from __future__ import annotations

from collections.abc import Sequence

from opportune.core.contacts.limits import LimitRule
from opportune.core.contacts.volumes import MONEY_UNITS, VolumeRule

_UNITS = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second"))


def limit_words(
    rule: str, limits: Sequence[LimitRule], volumes: Sequence[VolumeRule], currency: str
) -> str | None:
    """The sentence of a limit by its id; None when no limit has it."""
    for limit in limits:
        if limit.id == rule:
            return f"{limit.reason} (at most {limit.at_most} per {period_words(limit.per_ms)})"
    for volume in volumes:
        if volume.id == rule:
            whom = "for everyone together" if volume.parts[0][0] == "" else "of one offer for everyone together"
            most = f"{volume.at_most / MONEY_UNITS:,.2f} {currency}" if volume.money else f"{volume.at_most:,}"
            return f"{volume.reason} (at most {most} per {period_words(volume.per_ms)} {whom})"
    return None


def period_words(ms: int) -> str:
    """`604800000` as `7 days`."""
    size, noun = next(((size, noun) for size, noun in _UNITS if ms >= size), (1, "millisecond"))
    return f"{ms / size:g} {noun}{'' if ms == size else 's'}"
