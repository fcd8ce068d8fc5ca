"""What a playbook says about adaptive beliefs (`adaptive:` in opportune.yaml), and the segment a customer is in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal

import msgspec

from opportune.core.beliefs.cells import SUCCESSES, Form
from opportune.core.catalog import Document
from opportune.core.durations import parse_duration_ms

SEGMENTS_MAX = 64
WINDOW_MAX_DAYS = 400
OTHER = "other"
UNKNOWN = "unknown"
_DAY_MS = 86_400_000


class Adaptive(Document, frozen=True, kw_only=True):
    """How what is believed of offers without a model follows what becomes of them.

    `segments` maps features to what is told apart: words of a text (`plan: [team, business]`), edges of a number
    (`seats: [5, 20]`), nothing of a yes or no (`trial: []`). `strength` says after how many purchases experience
    weighs as much as the owner's prior. `window` is how long after an offer a purchase counts; `success` is the
    outcome that counts as one. `handover` is how many training rows with an offer a model needs to stand alone.
    `optimism` is how many standard errors a belief's benefit of the doubt is when chances are shared out.
    """

    enabled: bool = True
    segments: Mapping[str, tuple[str | float, ...]] = {}
    strength: float = 4.0
    window: str = "14d"
    success: Literal["converted", "accepted"] = "converted"
    handover: int = 1000
    optimism: float = 1.0


def form_of(adaptive: Adaptive) -> Form:
    """What is counted under these settings; ValueError for a window that is not a duration."""
    said = msgspec.json.encode((adaptive.segments, adaptive.window, adaptive.success), order="deterministic")
    key = hashlib.blake2b(said, digest_size=4).hexdigest()
    return Form(key, parse_duration_ms(adaptive.window), SUCCESSES[adaptive.success])


def segment_of(adaptive: Adaptive, features: Mapping[str, Any]) -> str:
    """The segment of somebody with these features, in words the playbook itself uses: never a value of theirs."""
    return " · ".join([_part(name, told, features.get(name)) for name, told in adaptive.segments.items()])


def segment_count(adaptive: Adaptive) -> int:
    """How many segments there can be."""
    count = 1
    for told in adaptive.segments.values():
        count *= len(told) + 2
    return count


def adaptive_problems(
    adaptive: Adaptive, types: Mapping[str, str | None]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(field, what is wrong and what to do) for settings that cannot work; `types` are those of the features,
    None where nothing says it."""
    for name, told in adaptive.segments.items():
        type_ = types.get(name)
        where = ("segments", name)
        if name not in types:
            yield where, f"`{name}` is no feature: name one that a feature view gives"
        elif type_ is not None and (problem := _told_problem(name, type_, told)) is not None:
            yield where, problem
    if (count := segment_count(adaptive)) > SEGMENTS_MAX:
        yield ("segments",), f"these are {count} segments: tell at most {SEGMENTS_MAX} apart, with fewer values"
    rules: tuple[tuple[str, float, Callable[[float], bool], str], ...] = (
        ("strength", adaptive.strength, lambda value: 0.1 <= value <= 1000, "from 0.1 to 1000 purchases"),
        ("handover", adaptive.handover, lambda value: value >= 1, "at least 1 row"),
        ("optimism", adaptive.optimism, lambda value: 0.0 <= value <= 4.0, "from 0 to 4 standard errors"),
    )
    for field, value, sound, fix in rules:
        if not sound(value):
            yield (field,), f"`{field}` is {value:g}: give {fix}"
    try:
        window_ms = parse_duration_ms(adaptive.window)
    except ValueError as error:
        yield ("window",), str(error)
    else:
        if not 3_600_000 <= window_ms <= WINDOW_MAX_DAYS * _DAY_MS:
            yield ("window",), f"`window` is {adaptive.window}: give a time from 1h to {WINDOW_MAX_DAYS}d"


def _told_problem(name: str, type_: str, told: tuple[str | float, ...]) -> str | None:
    if type_ == "bool":
        return f"`{name}` is yes or no: write `{name}: []`" if told else None
    if type_ == "string":
        if told and all(isinstance(one, str) for one in told) and len(set(told)) == len(told):
            return None
        return f"`{name}` is a text: name the words to tell apart, each once, such as `{name}: [small, large]`"
    if type_ not in ("int", "double"):
        return f"`{name}` is a {type_}: a segment is made of texts, numbers, and yes or no"
    numbers = [one for one in told if isinstance(one, float | int)]
    if told and len(numbers) == len(told) and all(low < high for low, high in pairwise(numbers)):
        return None
    return f"`{name}` is a number: give the edges to tell apart, ascending, such as `{name}: [5, 20]`"


def _part(name: str, told: tuple[str | float, ...], value: object) -> str:
    if value is None or value != value:
        return f"{name} {UNKNOWN}"
    if isinstance(value, bool):
        return name if value else f"not {name}"
    if isinstance(value, str):
        return f"{name} {value if value in told else OTHER}"
    if not isinstance(value, float | int) or not told:
        return f"{name} {UNKNOWN}"
    below: str | float | None = None
    for edge in told:
        if isinstance(edge, float | int) and value < edge:
            return f"{name} below {edge:g}" if below is None else f"{name} {below:g} to {edge:g}"
        below = edge
    return f"{name} {below:g} and more"
