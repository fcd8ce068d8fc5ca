"""Durations as people write them: 15m, 12h, 7d, 2w."""

from __future__ import annotations

import re

_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PATTERN = re.compile(r"([1-9][0-9]{0,5})([smhdw])")


def parse_duration_ms(text: str) -> int:
    """`7d` to milliseconds; ValueError names the text and the form it should have."""
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise ValueError(f"`{text}` is not a duration: write a whole number and s, m, h, d or w, such as `7d`")
    return int(found.group(1)) * _UNITS_MS[found.group(2)]
