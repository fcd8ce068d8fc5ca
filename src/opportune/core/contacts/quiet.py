"""Quiet hours: when a channel is silent where the customer is, and when it falls silent next, over any change of
clocks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import msgspec

from opportune.core.catalog import Channel, QuietHours

DAY_MINUTES = 24 * 60
MINUTE_MS = 60_000
DAY_MS = DAY_MINUTES * MINUTE_MS
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LOOK_MS = 15 * MINUTE_MS
"""So far apart the offset of a zone is looked at; no zone ever changed twice within a quarter of an hour."""


class QuietRule(msgspec.Struct, frozen=True):
    """Quiet hours of one channel, as minutes of the customer's local day; may wrap past midnight. `days` (0 is
    Monday) are silent as a whole."""

    id: str
    channel: str
    start_minute: int
    end_minute: int
    days: tuple[int, ...] = ()


def compile_quiet_hours(channels: Sequence[Channel]) -> tuple[QuietRule, ...]:
    """The quiet hours of all channels that have them; ValueError for a time that is not HH:MM."""
    return tuple(
        QuietRule(
            f"{channel.channel}.quiet_hours", channel.channel, *_minutes(channel.quiet_hours),
            tuple(sorted({_WEEKDAYS.index(day) for day in channel.quiet_hours.days})),
        )
        for channel in channels
        if channel.quiet_hours is not None
    )  # fmt: skip


def in_quiet_hours(rule: QuietRule, local_minute: int, local_day: int = 0) -> bool:
    """Whether the channel is silent at this minute of the customer's day; the end minute itself is not."""
    if local_day in rule.days:
        return True
    if rule.start_minute <= rule.end_minute:
        return rule.start_minute <= local_minute < rule.end_minute
    return local_minute >= rule.start_minute or local_minute < rule.end_minute


def local_time(now_ms: int, zone: str, otherwise: str = "UTC") -> tuple[int, int]:
    """(minute of the local day, day of the week with Monday 0), daylight saving included. In the zone `otherwise`
    where nobody knows `zone`, and in UTC where nobody knows that either."""
    moment = datetime.fromtimestamp(now_ms / 1000, zone_of(zone, otherwise))
    return moment.hour * 60 + moment.minute, moment.weekday()


def quiet_from_ms(rule: QuietRule, now_ms: int, zone: str, otherwise: str, until_ms: int) -> int | None:
    """When the channel falls silent next, after `now_ms` and before `until_ms`; None when it does not.

    INVARIANT: the first instant whose local minute is silent, whatever the clocks do in between.
    """
    start = now_ms - now_ms % _LOOK_MS
    while start < until_ms:
        for begin_ms, end_ms in _spoken(rule, start // _LOOK_MS, zone, otherwise):
            if begin_ms > now_ms:
                return begin_ms if begin_ms < until_ms else None
            if end_ms > now_ms:
                return None  # silent already
        start += DAY_MS
    return None


@lru_cache(maxsize=1024)
def zone_of(name: str, otherwise: str = "UTC") -> tzinfo:
    """A zone by its name; an unknown name gives `otherwise`, an unknown one there UTC."""
    for one in (name, otherwise):
        try:
            return ZoneInfo(one)
        except (ValueError, OSError, KeyError):
            continue
    return UTC


@lru_cache(maxsize=4096)
def _spoken(rule: QuietRule, quarter: int, zone: str, otherwise: str) -> tuple[tuple[int, int], ...]:
    """The silent stretches, as (first ms, first ms after), of the day that begins with a quarter of an hour."""
    first_ms = quarter * _LOOK_MS
    found: list[tuple[int, int]] = []
    for begin_ms, end_ms, ahead_ms in _offsets(zone_of(zone, otherwise), first_ms, first_ms + DAY_MS):
        for quiet_ms, loud_ms in _quiet_between(rule, begin_ms, end_ms, ahead_ms):
            if found and found[-1][1] == quiet_ms:
                found[-1] = (found[-1][0], loud_ms)
            else:
                found.append((quiet_ms, loud_ms))
    return tuple(found)


def _quiet_between(rule: QuietRule, begin_ms: int, end_ms: int, ahead_ms: int) -> list[tuple[int, int]]:
    """The silent stretches between two instants with one offset: `ahead_ms` is local time minus UTC."""
    # Every minute at which silence may begin or end, in local time; between two of them nothing changes.
    first_day = (begin_ms + ahead_ms) // DAY_MS
    edges = {begin_ms, end_ms}
    for day in (first_day, first_day + 1, first_day + 2):
        for minute in (0, rule.start_minute, rule.end_minute):
            edges.add(day * DAY_MS + minute * MINUTE_MS - ahead_ms)
    ordered = sorted(edge for edge in edges if begin_ms <= edge <= end_ms)
    found: list[tuple[int, int]] = []
    for one, other in pairwise(ordered):
        local_ms = one + ahead_ms
        # 1970-01-01 was a Thursday.
        if not in_quiet_hours(rule, local_ms % DAY_MS // MINUTE_MS, (local_ms // DAY_MS + 3) % 7):
            continue
        if found and found[-1][1] == one:
            found[-1] = (found[-1][0], other)
        else:
            found.append((one, other))
    return found


def _offsets(zone: tzinfo, first_ms: int, end_ms: int) -> list[tuple[int, int, int]]:
    """(from, to, local time minus UTC) for each stretch with one offset."""
    found: list[tuple[int, int, int]] = []
    begin_ms, ahead_ms, at_ms = first_ms, _ahead_ms(zone, first_ms), first_ms
    while at_ms < end_ms:
        next_ms = min(at_ms + _LOOK_MS, end_ms)
        if (later := _ahead_ms(zone, next_ms)) != ahead_ms:
            change_ms = _change_ms(zone, at_ms, next_ms)
            if change_ms > begin_ms:
                found.append((begin_ms, change_ms, ahead_ms))
            begin_ms, ahead_ms = change_ms, later
        at_ms = next_ms
    if begin_ms < end_ms:
        found.append((begin_ms, end_ms, ahead_ms))
    return found


def _change_ms(zone: tzinfo, before_ms: int, after_ms: int) -> int:
    """The first instant with the offset of `after_ms`."""
    before = _ahead_ms(zone, before_ms)
    while after_ms - before_ms > 1:
        middle = (before_ms + after_ms) // 2
        if _ahead_ms(zone, middle) == before:
            before_ms = middle
        else:
            after_ms = middle
    return after_ms


def _ahead_ms(zone: tzinfo, at_ms: int) -> int:
    offset = datetime.fromtimestamp(at_ms / 1000, zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * 1000)


def _minutes(quiet: QuietHours) -> tuple[int, int]:
    return _minute(quiet.start), _minute(quiet.end)


def _minute(text: str) -> int:
    hours, _, minutes = text.partition(":")
    if not (hours.isdecimal() and minutes.isdecimal() and int(hours) < 24 and int(minutes) < 60):
        raise ValueError(f"`{text}` is not a time of day such as 20:00")
    return int(hours) * 60 + int(minutes)
