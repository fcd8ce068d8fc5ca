"""What the pages say: purposes and states in the words of the person who decides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from opportune.core.consents import Held
from opportune.flows.consent import GPC_SOURCE

PURPOSES: Mapping[str, tuple[str, str]] = {
    "marketing": ("Offers and news", "Suggestions for products and plans that may suit you."),
    "advertising": ("Advertising", "Advertisements picked for you, and sharing data with others for that."),
    "service": ("Service messages", "News about the service you use that you do not strictly need."),
    "analytics": ("Statistics", "Counting how the product is used, to improve it."),
    "research": ("Research", "Questions and studies about how you use the product."),
}
"""Purpose -> what it is called, and what it means."""


def purpose_words(purpose: str) -> tuple[str, str]:
    """(name, explanation) of a purpose; one nobody described has its own name."""
    named = purpose.replace("_", " ").strip().capitalize() or purpose
    return PURPOSES.get(purpose, (named, ""))


def state_words(row: Held) -> str:
    """What holds for a row, and since when."""
    if row.status == "refused" and row.consent is not None and row.consent.source.startswith(f"{GPC_SOURCE}#"):
        return f"Your browser said no on {_day(row.consent.at_ms)}."
    day = "" if row.consent is None else f" on {_day(row.consent.at_ms)}"
    if row.status == "given" and row.consent is not None and row.consent.expires_ms is not None:
        return f"You agreed{day}. This ends on {_day(row.consent.expires_ms)}."
    return {
        "given": f"You agreed{day}.",
        "refused": f"You said no{day}.",
        "withdrawn": f"You stopped this{day}.",
        "expired": "You once agreed, but that has run out.",
        "unknown": "You were never asked, so the answer is no.",
    }[row.status]


def _day(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{moment.day} {moment:%B %Y}"
