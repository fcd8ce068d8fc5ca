"""Timestamps and durations as text and as calendar parts, in milliseconds.

Source: cel-spec `doc/langdef.md`, Timestamps and durations; RFC 3339; the IANA zones of `zoneinfo`.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from .errors import EvaluationError
from .values import Duration, Timestamp, duration, kind, timestamp

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))\Z", re.ASCII
)
OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)\Z", re.ASCII)
DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
UNIT_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
NS_PER_MS = 10**6


def parse_timestamp(text: str) -> Timestamp:
    """Return an RFC 3339 date-time; raises EvaluationError when it is none, or finer than a millisecond."""
    found = RFC3339.match(text.strip())
    if not found:
        raise EvaluationError(f"`{text}` is not an RFC 3339 date-time")
    year, month, day, hour, minute, second, fraction, sign, zone_hour, zone_minute = found.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), min(int(second), 59), tzinfo=UTC)
    except ValueError:
        raise EvaluationError(f"`{text}` is not an RFC 3339 date-time") from None
    if int(second) > 60:
        raise EvaluationError(f"`{text}` is not an RFC 3339 date-time")
    leap_ms = 1000 if second == "60" else 0  # a leap second is the next second, as in the reference
    fraction_ms = whole_ms(int((fraction or "0").ljust(9, "0")), text)
    ms = (moment - EPOCH) // timedelta(milliseconds=1) + fraction_ms + leap_ms
    if sign:
        offset = (int(zone_hour) * 60 + int(zone_minute)) * 60_000
        ms += offset if sign == "-" else -offset
    return timestamp(ms)


def whole_ms(ns: int, text: str) -> int:
    if ns % NS_PER_MS:
        raise EvaluationError(f"`{text}` is finer than a millisecond")
    return ns // NS_PER_MS


def parse_duration(text: str) -> Duration:
    """Return a duration such as `36h`, `1h30m` or `-1.5s`; raises EvaluationError otherwise."""
    body = text[1:] if text[:1] in ("-", "+") else text
    ns, at = 0, 0
    if body == "0":
        return Duration(0)
    while at < len(body):
        found = DURATION_PART.match(body, at)
        if not found:
            raise EvaluationError(f"`{text}` is not a duration; write `36h`, `1h30m` or `1.5s`")
        whole, _, fraction = found[1].partition(".")
        unit = UNIT_NS[found[2]]
        ns += int(whole or "0") * unit + int(fraction or "0") * unit // 10 ** len(fraction)
        at = found.end()
    if at == 0:
        raise EvaluationError(f"`{text}` is not a duration; write `36h`, `1h30m` or `1.5s`")
    return duration(whole_ms(ns, text) * (-1 if text.startswith("-") else 1))


def moment_of(ms: int, zone: str | None = None) -> datetime:
    """Return the calendar time of a timestamp in a zone (UTC without one)."""
    moment = EPOCH + timedelta(milliseconds=ms)
    try:
        return moment if zone is None else moment.astimezone(zone_of(zone))
    except OverflowError:
        raise EvaluationError("timestamp outside the years 1 to 9999") from None


@lru_cache(maxsize=1024)
def zone_of(name: str) -> tzinfo:
    """Return an IANA zone or a fixed offset such as `+02:00`; raises EvaluationError for an unknown one."""
    fixed = OFFSET.match(name)
    if fixed:
        minutes = int(fixed[2]) * 60 + int(fixed[3])
        if minutes < 24 * 60:
            return timezone(timedelta(minutes=-minutes if fixed[1] == "-" else minutes))
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise EvaluationError(f"`{name}` is not a time zone") from None


def format_timestamp(ms: int) -> str:
    seconds, rest = divmod(ms, 1000)
    text = (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    return f"{text}.{rest:03d}Z" if rest else f"{text}Z"


def format_duration(ms: int) -> str:
    seconds, rest = divmod(abs(ms), 1000)
    sign = "-" if ms < 0 else ""
    return f"{sign}{seconds}.{rest:03d}s" if rest else f"{sign}{seconds}s"


PARTS: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda moment: moment.year,
    "getMonth": lambda moment: moment.month - 1,
    "getDate": lambda moment: moment.day,
    "getDayOfMonth": lambda moment: moment.day - 1,
    "getDayOfWeek": lambda moment: moment.isoweekday() % 7,
    "getDayOfYear": lambda moment: moment.timetuple().tm_yday - 1,
    "getHours": lambda moment: moment.hour,
    "getMinutes": lambda moment: moment.minute,
    "getSeconds": lambda moment: moment.second,
    "getMilliseconds": lambda moment: moment.microsecond // 1000,
}
UNIT_MS = {"getHours": 3_600_000, "getMinutes": 60_000, "getSeconds": 1000}


def getter(name: str) -> Callable[..., int]:
    """Return the function behind `t.getHours()`: a calendar part of a timestamp, a length of a duration."""

    def get(value: object, zone: str | None = None) -> int:
        if type(value) is Timestamp:
            return PARTS[name](moment_of(value, zone))
        if type(value) is Duration and zone is None and name == "getMilliseconds":
            return (abs(value) % 1000) * (-1 if value < 0 else 1)
        if type(value) is Duration and zone is None and name in UNIT_MS:
            return (abs(value) // UNIT_MS[name]) * (-1 if value < 0 else 1)
        raise EvaluationError(f"`{name}` does not apply to {kind(value)}")

    return get
