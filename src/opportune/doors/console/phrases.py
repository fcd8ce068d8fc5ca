"""How the console writes numbers, times and codes for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime

DISPOSITION_WORDS = {
    "offered": "Offered",
    "no_offer": "No offer",
    "escalated": "Escalated",
    "held_out": "Held out",
    "fallback": "Fallback",
    "shed": "Shed",
}
DISPOSITION_MEANS = {
    "offered": "an offer went out",
    "no_offer": "nothing was allowed or worth it",
    "escalated": "waits for a person",
    "held_out": "control group",
    "fallback": "safe default after a fault",
    "shed": "refused for overload",
}
REASON_WORDS = {
    "OFFERED": "highest value allowed",
    "EXPLORED": "tried to learn",
    "FORCED": "forced by a policy",
    "NO_VALUE": "nothing worth offering",
    "NO_CONSENT": "no consent",
    "NOT_LAWFUL": "not lawful",
    "NOT_SUITABLE": "not suitable",
    "NOT_ELIGIBLE": "not eligible",
    "NO_PERMIT": "no policy permits it",
    "CONTACT_LIMIT": "contacted often enough",
    "QUIET_HOURS": "quiet hours",
    "NOT_VALID_NOW": "not valid now",
    "VOLUME_LIMIT": "given out for everybody",
    "BUDGET_SPENT": "budget spent",
    "NO_CANDIDATE": "no candidate for the channels",
    "HELD_OUT": "control group",
    "LOW_CONFIDENCE": "confidence too low",
    "REVIEW_REQUIRED": "a policy demands a review",
    "OVERLOAD": "overload",
    "TIMEOUT": "out of time",
    "FAULT": "a step failed",
}
STAGE_WORDS = {
    "channel": "Channel",
    "validity": "Validity",
    "legal": "Legal",
    "consent": "Consent",
    "suitability": "Suitability",
    "contact_limit": "Contact limit",
    "eligibility": "Eligibility",
    "no_permit": "No permit",
    "quiet_hours": "Quiet hours",
    "volume_limit": "Volume limit",
    "budget": "Budget",
    "arbitration": "Arbitration",
    "slate": "Slate",
    "chosen": "Chosen",
}
RULES_SAID_BY_THEIR_STAGE = (
    "chosen", "forced", "value", "draw", "not_scored", "asked_channels", "no_permit", "validity",
)  # fmt: skip
STAGE_ORDER = (
    "chosen", "slate", "arbitration", "legal", "consent", "suitability", "contact_limit", "eligibility", "no_permit",
    "quiet_hours", "volume_limit", "budget", "validity", "channel",
)  # fmt: skip
"""How near a candidate came: the winner first, last those of channels that nobody asked for."""


KIND_WORDS = {
    "signal": "Signals",
    "decision": "Decisions",
    "outcome": "Outcomes",
    "consent": "Consent",
    "merge": "Merges",
    "access": "Who looked",
}
PROBLEM_WORDS = {
    "missing": "missing",
    "type": "wrong type",
    "schema": "against the schema",
    "unknown_type": "unknown signal type",
    "unknown_version": "unknown version",
    "conflict": "id used before",
    "future": "in the future",
    "time": "time unreadable",
    "size": "too large",
    "depth": "nested too deep",
    "range": "out of range",
    "text": "not printable",
}
"""What a problem's code says; a code that is not here stands for itself."""


def micros(us: int | None) -> str:
    """`312 µs`, `4.21 ms`, `42.1 ms`, `1.25 s`; a dash for what was not measured."""
    if us is None:
        return "–"
    if us < 1_000:
        return f"{us} µs"
    if us < 1_000_000:
        ms = us / 1_000
        return f"{ms:.2f} ms" if ms < 10 else f"{ms:.1f} ms" if ms < 100 else f"{ms:.0f} ms"
    return f"{us / 1_000_000:.2f} s"


def duration(ms: int | None) -> str:
    """`0.4 s`, `12 s`, `4 min`, `3 h`, `12 d`."""
    if ms is None:
        return "–"
    if ms < 1_000:
        return f"{ms / 1000:.1f} s"
    for limit, size, unit in ((60_000, 1_000, "s"), (3_600_000, 60_000, "min"), (172_800_000, 3_600_000, "h")):
        if ms < limit:
            return f"{ms // size} {unit}"
    return f"{ms // 86_400_000} d"


def whole(number: int | float) -> str:
    return f"{number:,.0f}".replace(",", "\u202f")


def money(amount: float, currency: str = "") -> str:
    """Two digits, thin spaces between thousands, a true minus sign."""
    text = f"{abs(amount):,.2f}".replace(",", "\u202f")
    sign = "\u2212" if round(amount, 2) < 0 else ""
    return f"{sign}{text}\u00a0{currency}" if currency else f"{sign}{text}"


def signed(number: float, digits: int = 3) -> str:
    sign = "+" if number > 0 else "\u2212" if number < 0 else ""
    return f"{sign}{abs(number):.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    if share is None:
        return "–"
    sign = "\u2212" if share < 0 else ""
    return f"{sign}{abs(share) * 100:.{digits}f}\u00a0%"


def iso(at_ms: int) -> str:
    return _utc(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(at_ms: int) -> str:
    """`14:03:22.518`, UTC."""
    return seconds(at_ms) + thousandths(at_ms)


def seconds(at_ms: int) -> str:
    """`14:03:22`, UTC."""
    return _utc(at_ms).strftime("%H:%M:%S")


def thousandths(at_ms: int) -> str:
    """`.518`: what a narrow screen leaves out."""
    return f".{at_ms % 1000:03d}"


def stamp(at_ms: int) -> str:
    """`2026-11-02 14:03:22.518 UTC`."""
    return _utc(at_ms).strftime("%Y-%m-%d ") + clock(at_ms) + " UTC"


def when(at_ms: int) -> str:
    """`2026-11-02 14:03`, UTC."""
    return _utc(at_ms).strftime("%Y-%m-%d %H:%M")


def ago(at_ms: int, now_ms: int) -> str:
    """`4 min ago`; what lies ahead of our clock is `now`."""
    return "now" if at_ms >= now_ms else f"{duration(now_ms - at_ms)} ago"


def pretty(of: object) -> str:
    """A value inside a cell: text as it is, lists with commas, objects as JSON."""
    if isinstance(of, (list, tuple)) and all(isinstance(one, (str, int, float)) for one in of):
        return ", ".join(value(one) for one in of)
    return value(of)


def minute(of_day: int) -> str:
    return f"{of_day // 60:02d}:{of_day % 60:02d}"


def value(of: object) -> str:
    """A feature's or fact's value, as short as it can be without lying."""
    if of is None:
        return "missing"
    if isinstance(of, bool):
        return "yes" if of else "no"
    if isinstance(of, float):
        return f"{of:.6g}"
    if isinstance(of, str):
        return of if of else "(empty)"
    if isinstance(of, int):
        return str(of)
    return json.dumps(of, default=str)


def short(id_: str) -> str:
    """The end of a UUIDv7: its beginning is the time, which stands beside it anyway."""
    return id_ if len(id_) <= 12 else f"…{id_[-8:]}"


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
