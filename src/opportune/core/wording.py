"""Wording: how values, names and paths are written in messages that people read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

QUOTED_CHARS_MAX = 60


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was most likely meant to be, or None."""
    names = sorted(set(known) - {name})
    folded = {known_name.lower(): known_name for known_name in reversed(names)}
    if name.lower() in folded:
        return folded[name.lower()]
    found = difflib.get_close_matches(name[:200], names, n=1, cutoff=0.6)
    return found[0] if found else None


def quoted(value: object) -> str:
    """A user's value in backticks, on one line and cut to QUOTED_CHARS_MAX characters."""
    text = str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    text = "".join(char if char.isprintable() else " " for char in text[: QUOTED_CHARS_MAX + 1])
    return f"`{text}`" if len(text) <= QUOTED_CHARS_MAX else f"`{text[: QUOTED_CHARS_MAX - 1]}…`"


def listed(names: Iterable[str], names_max: int = 12) -> str:
    """Names in backticks with commas; the rest is counted."""
    all_names = list(names)
    text = ", ".join(f"`{name}`" for name in all_names[:names_max])
    return text if len(all_names) <= names_max else f"{text} and {len(all_names) - names_max} more"


def dotted(parts: Iterable[str | int]) -> str:
    """A path as people write it: `price.amount`, `limits[0].per`; a key with a dot of its own is in quotes."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "." in part or "[" in part:
            text += f'["{part}"]'
        else:
            text += f".{part}" if text else part
    return text
