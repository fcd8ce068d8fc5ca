"""Levels: the values of a variable on whose two sides a condition, or a model, answers differently."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from math import isfinite, nextafter
from typing import TypeGuard

from opportune.core.decisions.changes import SOMETHING_ELSE
from opportune.core.expressions import EvaluationError, Missing
from opportune.core.expressions.evaluate import value_of
from opportune.core.expressions.nodes import Call, Const, Node, free_names, walk

INT64_MAX = 2**63 - 1
LEVELS_MAX = 24
"""Values of one variable: those nearest to what it is."""

CONNECTIVES = frozenset(("_&&_", "_||_", "!_", "_?_:_"))
WIDE = tuple(sign * 10**power for power in range(0, 13, 2) for sign in (1, -1))
"""Where a threshold may hide that no literal names, as in `double(used) * 50.0 > price`."""

Row = Mapping[str, object]
Answer = bool | str | None


def atoms(root: Node) -> list[Node]:
    """The smallest conditions of a condition that read something: `a` and `b < 3` of `a || !(b < 3)`."""
    if isinstance(root, Call) and root.function in CONNECTIVES and root.type == "bool":
        return [atom for arg in root.args for atom in atoms(arg)]
    return [root] if free_names(root) else []


def answer(node: Node, row: Row) -> Answer:
    """True or false, None where a value is missing, `failed` where an operation fails."""
    try:
        return value_of(node, row, {}) is True
    except Missing:
        return None
    except EvaluationError:
        return "failed"


def levels(name: str, type_: str, reading: Sequence[Node], row: Row) -> list[object]:
    """Values of `name` such that each way the atoms can answer, everything else as in `row`, has one of them."""
    if type_ == "bool":
        return [True, False]
    literals = [part for atom in reading for part in walk(atom) if isinstance(part, Const)]
    if type_ == "string":
        return [*_distinct(part.value for part in literals if part.type == "string"), SOMETHING_ELSE]
    if type_ == "list(string)":
        return [[], *([part.value] for part in literals if part.type == "string")]
    if type_ in ("int", "double", "timestamp", "duration"):
        return nearest(_numbers(name, reading, row, whole=type_ != "double"), row.get(name))
    return []


def instants(name: str, reading: Sequence[Node], row: Row, starts: Iterable[int]) -> list[int]:
    """Values of the instant `name` likewise; `starts` are further instants to look at."""
    found: list[int] = []
    for atom in reading:
        literals = [part.value for part in walk(atom) if isinstance(part, Const) and part.type == "timestamp"]
        numbers = [one for one in (*literals, *starts) if _is_number(one)]
        found += [one for one in _thresholds(name, atom, row, numbers, True, wide=()) if isinstance(one, int)]
    return found


def nearest(found: Iterable[object], current: object) -> list[object]:
    """The numbers nearest to the current value, LEVELS_MAX of them at most; each once."""
    middle = current if _is_number(current) else 0
    numbers = [one for one in _distinct(found) if _is_number(one)]
    return list(sorted(numbers, key=lambda one: abs(one - middle))[:LEVELS_MAX])


def beside(edge: float, *, whole: bool) -> tuple[object, object]:
    """A value just below an edge and the first that is not."""
    if whole:
        above = int(edge) if edge == int(edge) else int(edge // 1) + 1
        return above - 1, above
    return _plain(nextafter(edge, -float("inf")), lambda value: value < edge), edge


def _numbers(name: str, reading: Sequence[Node], row: Row, *, whole: bool) -> list[object]:
    found: list[object] = []
    for atom in reading:
        literals = [part.value for part in walk(atom) if isinstance(part, Const)]
        found += _thresholds(name, atom, row, [one for one in literals if _is_number(one)], whole)
    return found


def _thresholds(
    name: str, atom: Node, row: Row, near: Sequence[float], whole: bool, wide: Sequence[int] = WIDE
) -> list[object]:
    """Both sides of every place at which the atom's answer turns, and the places looked at where it never does."""
    values = dict(row)

    def at(value: float) -> Answer:
        values[name] = value
        return answer(atom, values)

    samples: set[float] = set()
    current = row.get(name)
    for one in (*near, *((current,) if _is_number(current) else ()), 0, *wide):
        samples.update(_around(one, whole))
    ordered = sorted(samples)
    answers = [at(one) for one in ordered]
    found: list[object] = []
    for place, (low, high) in enumerate(pairwise(ordered)):
        if answers[place] != answers[place + 1]:
            below, above = _bisected(low, high, at, whole)
            found += [_rounded(below, at, whole), _rounded(above, at, whole)]
    return found or ([_rounded(ordered[0], at, whole)] if ordered and not _is_number(current) else [])


def _around(value: float, whole: bool) -> tuple[float, ...]:
    if whole:
        rounded = int(value)
        return tuple(one for one in (rounded - 1, rounded, rounded + 1) if -INT64_MAX <= one <= INT64_MAX)
    number = float(value)
    return (nextafter(number, -float("inf")), number, nextafter(number, float("inf")))


def _bisected(low: float, high: float, at: Callable[[float], Answer], whole: bool) -> tuple[float, float]:
    first = at(low)
    for _ in range(120):
        middle = (low + high) // 2 if whole else (low + high) / 2
        if middle in (low, high):
            break
        if at(middle) == first:
            low = middle
        else:
            high = middle
    return low, high


def _rounded(value: float, at: Callable[[float], Answer], whole: bool) -> object:
    if whole:
        return int(value)
    wanted = at(value)
    return _plain(value, lambda other: at(other) == wanted)


def _plain(value: float, fits: Callable[[float], bool]) -> float:
    """The number with the fewest digits beside `value` that fits: 0.801 rather than 0.8000000000000000444."""
    power = int(f"{value:e}".partition("e")[2])
    for digits in range(1, 17):
        step = 10.0 ** (power - digits + 1)
        for moved in (value, value + step, value - step):
            candidate = float(f"{moved:.{digits}g}")
            if _near(candidate, value) and fits(candidate):
                return candidate
    return value


def _near(candidate: float, value: float) -> bool:
    return isfinite(candidate) and abs(candidate - value) <= max(0.005 * abs(value), 0.0005)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _distinct(values: Iterable[object]) -> list[object]:
    found: dict[tuple[type, object], object] = {}
    for value in values:
        found.setdefault((type(value), value), value)
    return list(found.values())
