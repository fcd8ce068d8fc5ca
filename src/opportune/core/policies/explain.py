"""A policy's reason in words: placeholders filled with values, written as a person would write them."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from .documents import Policy

PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w.]*)(?::([a-z]+))?\}", re.ASCII)
UNKNOWN = "unknown"
SHARES = ("ratio", "share", "rate", "probability")
MONEY = ("price", "margin", "cost", "amount", "value", "mrr", "arr", "revenue", "budget", "spend")
TEXT_CHARS_MAX = 200


def explain(policy: Policy, values: Mapping[str, object], types: Mapping[str, str] | None = None) -> str:
    """Return the reason with `{name}` and `{name:format}` filled in; a missing value reads `unknown`.

    format: percent, money, number, date, time or duration; without one it follows the declared type (types:
    variable -> type) and the last word of the name (`seat_ratio` 0.875 reads 87.5%, `offer.price` 1234.5 reads
    1,234.50).
    """
    declared = types or {}

    def fill(found: re.Match[str]) -> str:
        name, form = found[1], found[2]
        value = values.get(name)
        return UNKNOWN if value is None else written(value, form or form_of(name, value, declared.get(name, "")))

    return PLACEHOLDER.sub(fill, policy.reason)


def placeholders(reason: str) -> tuple[str, ...]:
    """Return the names a reason mentions, in order, each once."""
    return tuple(dict.fromkeys(found[1] for found in PLACEHOLDER.finditer(reason)))


def form_of(name: str, value: object, type_: str) -> str:
    if type_ == "timestamp":
        return "time"
    if type_ == "duration":
        return "duration"
    last = re.split(r"[._]", name)[-1]
    if isinstance(value, float) and last in SHARES:
        return "percent"
    return "money" if isinstance(value, float) and last in MONEY else "number"


def written(value: object, form: str) -> str:
    """Return the value in the given form; a value the form does not suit is written plainly, never refused."""
    try:
        return FORMS.get(form, number)(value)
    except (TypeError, ValueError, OverflowError):
        return plainly(value)


def plainly(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(plainly(item) for item in value)[:TEXT_CHARS_MAX] or "none"
    text = str(value)
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"


def number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plainly(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def money(value: object) -> str:
    return f"{value:,.2f}".removesuffix(".00")


def percent(value: object) -> str:
    return number(float(value) * 100) + "%"  # type: ignore[arg-type]


def time(value: object) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)  # type: ignore[arg-type]
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def date(value: object) -> str:
    return time(value)[:10]


def span(value: object) -> str:
    """Return milliseconds in the largest unit that fits: `3 days`, `1.5 hours`."""
    for unit, ms in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000)):
        if abs(value) >= ms:  # type: ignore[arg-type]
            return counted(value / ms, unit)  # type: ignore[operator]
    return counted(value / 1000, "second")  # type: ignore[operator]


def counted(count: float, unit: str) -> str:
    text = f"{count:.1f}".removesuffix(".0")
    return f"{text} {unit}" if text == "1" else f"{text} {unit}s"


FORMS: Mapping[str, Callable[[object], str]] = {
    "percent": percent,
    "money": money,
    "number": number,
    "date": date,
    "time": time,
    "duration": span,
}
