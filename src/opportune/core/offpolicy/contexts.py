"""Contexts as numbers: columns of any kind become what a reward model can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from opportune.core.offpolicy.log import Floats

LEVELS_MAX = 12
"""Texts that occur most often get a column each; the rest are one."""
COLUMNS_MAX = 80


class Encoding(msgspec.Struct, frozen=True):
    """One row per context; `names` are of the columns (`plan=team`, `seats`, `seats is missing`)."""

    names: tuple[str, ...]
    rows: Floats


def encoded(columns: Mapping[str, Sequence[Any]], count: int) -> Encoding:
    """Numbers as they are with the mean where missing, texts and truths as 0 or 1 per value; at most COLUMNS_MAX.

    Columns that never vary say nothing and are left out.
    """
    names: list[str] = []
    made: list[Floats] = []
    for name, values in columns.items():
        for label, column in _columns(name, values):
            if len(made) < COLUMNS_MAX and np.ptp(column) > 0.0:
                names.append(label)
                made.append(column)
    rows = np.column_stack(made) if made else np.zeros((count, 0))
    return Encoding(tuple(names), np.ascontiguousarray(rows, dtype=np.float64))


def _columns(name: str, values: Sequence[Any]) -> list[tuple[str, Floats]]:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if numbers and not any(isinstance(value, str | bool) for value in values):
        mean = float(np.mean(numbers))
        given = np.array([mean if value is None else float(value) for value in values])
        missing = np.array([1.0 if value is None else 0.0 for value in values])
        # Amounts are often skewed: a signed logarithm keeps one large customer from steering everybody's line.
        return [(name, np.sign(given) * np.log1p(np.abs(given))), (f"{name} is missing", missing)]
    counts = Counter(str(value) for value in values if value is not None)
    levels = [level for level, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:LEVELS_MAX]]
    return [
        (f"{name}={level}", np.array([1.0 if value is not None and str(value) == level else 0.0 for value in values]))
        for level in levels
    ]
