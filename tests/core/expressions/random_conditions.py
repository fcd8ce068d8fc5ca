"""Seeded random conditions and rows: the grammar of the differential test, quick enough for 100,000 pairs."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from .reference import VARIABLES
from .test_differential import FORMS, LITERALS, _hole

# Of a computed double only the plain forms: `inf - inf` is `-nan` in the text of Google's C++ on x86, `nan` in ours.
WRITTEN = {**FORMS, "string": [form for form in FORMS["string"] if "<double>" not in form] + ["string(x)", "string(y)"]}
INT_MAX = 2**63 - 1
INTS = [-3, -2, -1, 0, 1, 2, 3, INT_MAX, -INT_MAX - 1, INT_MAX - 1, 2**53, 2**53 + 1]
DOUBLES = [0.0, -0.0, 1.0, 0.5, -2.5, 1e300, 9.007199254740993e15, math.nan, math.inf, 1e-9, 123456.75]
WORDS = ["", "a", "b", "ab", "addon", "Ä😀", "12", "1.5", "true", "2026-01-31T10:00:00Z", "36h"]
MOMENTS = (-62_135_500_000_000, 253_402_200_000_000)
SPANS = (-10_000_000_000, 10_000_000_000)


def condition(rng: random.Random, type_: str = "bool", depth: int = 3) -> str:
    """CEL text of the type."""
    leaves = [name for name, t in VARIABLES.items() if t == type_] * 2 + LITERALS[type_]
    if depth == 0 or type_ not in WRITTEN or (depth < 3 and rng.randrange(6) == 0):
        return rng.choice(leaves)
    form = rng.choice(WRITTEN[type_])
    while "<" in form and (place := _hole(form)):
        form = form.replace(f"<{place}>", condition(rng, place, depth - 1).replace("<", "\0"), 1)
    return form.replace("\0", "<")


def row(rng: random.Random, missing: float = 0.1) -> dict[str, Any]:
    """Values of all variables; each is missing with the given chance."""
    return {name: value(rng, type_) for name, type_ in VARIABLES.items() if rng.random() >= missing}


def value(rng: random.Random, type_: str) -> Any:
    return GIVEN[type_](rng)


def _json(rng: random.Random) -> Any:
    return rng.choice(
        [rng.random() < 0.5, rng.randint(-3, 3), rng.choice(DOUBLES), rng.choice(WORDS), [rng.randint(-2, 2)], []]
    )


GIVEN: dict[str, Callable[[random.Random], Any]] = {
    "int": lambda rng: rng.choice(INTS),
    "double": lambda rng: rng.choice(DOUBLES),
    "string": lambda rng: rng.choice(WORDS),
    "bool": lambda rng: rng.random() < 0.5,
    "timestamp": lambda rng: rng.randint(*MOMENTS),
    "duration": lambda rng: rng.randint(*SPANS),
    "list(string)": lambda rng: [rng.choice(WORDS) for _ in range(rng.randrange(4))],
    "list(int)": lambda rng: [rng.choice(INTS) for _ in range(rng.randrange(4))],
    "list(double)": lambda rng: [rng.choice(DOUBLES) for _ in range(rng.randrange(4))],
    "map(string,dyn)": lambda rng: {rng.choice("kln"): _json(rng) for _ in range(rng.randrange(4))},
    "dyn": _json,
}
