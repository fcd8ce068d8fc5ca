"""What a decision can see, cut into finitely many classes: per variable, the values no condition can tell apart.

Thresholds and texts that conditions compare a variable with cut its values into classes; one value of each stands
for all. Whether a condition is true, false or without an answer in a class is found by evaluating it there. What does
not cut (`seats * 2 > used`) is an axis of its own with three classes: it may be anything, but is the same wherever it
is written. So the classes never leave a possible decision out: what holds for no class holds for no decision.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from opportune.core.bitsets import mask_of_places
from opportune.core.expressions import EvaluationError, Missing
from opportune.core.expressions.evaluate import value_of
from opportune.core.expressions.nodes import Call, Const, ListOf, Name, Node, Present, free_names, walk
from opportune.core.expressions.values import INT_MAX, INT_MIN, TIMESTAMP_MAX, TIMESTAMP_MIN
from opportune.core.expressions.written import written

from .documents import CandidateTable, Variable

CLASSES_EVALUATED_MAX = 32
"""Above this, comparisons are told by the order of the classes."""

SWAPPED = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_", "_==_": "_==_", "_!=_": "_!=_"}
PLACE = "place"
"""The axis of (moment, candidate) pairs."""

ORDERED = frozenset(("_<_", "_<=_", "_>_", "_>=_", "_==_", "_!=_"))
EQUAL = frozenset(("_==_", "_!=_"))
NUMBERS = {
    "int": (INT_MIN, INT_MAX), "timestamp": (TIMESTAMP_MIN, TIMESTAMP_MAX),
    "duration": (INT_MIN, INT_MAX), "double": (-math.inf, math.inf),
}  # fmt: skip
ELSE = "\x00something else"
"""A text that no condition names."""


class Domain(msgspec.Struct, frozen=True):
    """What a variable can be: one of `values`, or from `least` to `most`; `always` when it is never missing. `why` says
    where that is declared, in words."""

    values: tuple[object, ...] | None = None
    least: float | None = None
    most: float | None = None
    always: bool = False
    why: str = ""


class Fate(NamedTuple):
    """Where an atom is true and where it is false, as classes of one axis; elsewhere it has no answer."""

    axis: str
    true: int
    false: int


class Places(msgspec.Struct, frozen=True):
    """The pairs of moments and candidates: pair `moment * len(table.ids) + candidate`. `open` are those whose moment
    has the candidate's channel."""

    table: CandidateTable
    moments: tuple[str, ...]
    open: int

    @property
    def every(self) -> int:
        return (1 << len(self.table.ids) * len(self.moments)) - 1

    def of(self, candidates: int, moments: Iterable[int] | None = None) -> int:
        """The pairs of these candidates at these moments (all of them without any)."""
        size = len(self.table.ids)
        mask = 0
        for moment in range(len(self.moments)) if moments is None else moments:
            mask |= candidates << moment * size
        return mask

    def candidates(self, pairs: int) -> int:
        """The candidates in the pairs, whatever the moment."""
        size = len(self.table.ids)
        every, mask = (1 << size) - 1, 0
        while pairs:
            mask |= pairs & every
            pairs >>= size
        return mask


class Worlds:
    """The classes of everything that the given conditions read."""

    def __init__(
        self, conditions: Iterable[Node], variables: Sequence[Variable], domains: Mapping[str, Domain],
        places: Places | None = None,
    ) -> None:  # fmt: skip
        self.types = {variable.name: variable.type for variable in variables}
        self.domains = domains
        self.places = places
        located = {"moment.id"} | {one.name for one in variables if one.kind == "candidate"} if places else set()
        self._located = frozenset(located)
        self._constants: dict[str, set[object]] = {}
        for condition in conditions:
            for node in walk(condition):
                for name, value in compared(node):
                    self._constants.setdefault(name, set()).add(value)
        self._axes: dict[str, tuple[object, ...]] = {}
        self._fates: dict[str, Fate] = {}

    def also(self, name: str, values: Iterable[object]) -> None:
        """Cut a variable at further values, before anything is asked."""
        self._constants.setdefault(name, set()).update(values)

    def every(self, axis: str) -> int:
        """All classes of an axis."""
        if axis == PLACE:
            return self.places.open if self.places else 1
        return (1 << len(self._axes.get(axis, (1, 2, 3)))) - 1

    def value(self, axis: str, mask: int) -> object:
        """A value that stands for the first of the classes; None when it is missing, or no variable's axis."""
        values = self._axes.get(axis)
        return None if values is None else values[(mask & -mask).bit_length() - 1]

    @property
    def axes(self) -> Mapping[str, tuple[object, ...]]:
        """The variables met so far, with a value for each class."""
        return self._axes

    def fate(self, atom: Node) -> Fate:
        """Where an atom is true and false."""
        key = written(atom)
        if key not in self._fates:
            self._fates[key] = self._fate(atom, key)
        return self._fates[key]

    def within(self, name: str, first: int | None, last: int | None) -> Fate:
        """Where a time lies from `first` up to before `last`; both must have been cut at."""
        values = self._axis(name)
        true = sum(
            1 << place
            for place, value in enumerate(values)
            if isinstance(value, int) and (first is None or value >= first) and (last is None or value < last)
        )
        return Fate(name, true, self.every(name) & ~true)

    def given(self, name: str) -> Fate:
        """Where a variable has a value."""
        values = self._axis(name)
        true = sum(1 << place for place, value in enumerate(values) if value is not None)
        return Fate(name, true, self.every(name) & ~true)

    def _fate(self, atom: Node, key: str) -> Fate:
        names = free_names(atom)
        if self.places is not None and names <= self._located:
            return self._of_places(atom, self.places)
        if not names:
            answer = answered(atom, {})
            every = self.every(PLACE)
            return Fate(PLACE, every if answer is True else 0, every if answer is False else 0)
        (first, *more) = names
        if not more and first not in self._located and self._tellable(atom, first):
            if len(self._axis(first)) > CLASSES_EVALUATED_MAX and (found := self._ordered(atom, first)) is not None:
                return found
            true = false = 0
            for place, value in enumerate(self._axis(first)):
                answer = answered(atom, {} if value is None else {first: value})
                true |= (answer is True) << place
                false |= (answer is False) << place
            return Fate(first, true, false)
        return self._opaque(atom, key)

    def _ordered(self, atom: Node, name: str) -> Fate | None:
        """The classes of a comparison of a number or time with a constant, by their order; None for other atoms."""
        values = self._axis(name)
        if not isinstance(atom, Call) or atom.function not in ORDERED or self.types[name] not in NUMBERS:
            return None
        left, right = atom.args
        function = atom.function
        if isinstance(left, Const):
            left, right, function = right, left, SWAPPED[function]
        if not isinstance(right, Const) or self._listed(name):
            return None
        count = sum(1 for value in values if value is not None and value == value)
        ordered: list[Any] = list(values[:count])
        below, upto = bisect_left(ordered, right.value), bisect_right(ordered, right.value)
        less, equal, every = (1 << below) - 1, (1 << upto) - (1 << below), (1 << count) - 1
        true = {
            "_<_": less, "_<=_": less | equal, "_>_": every & ~(less | equal), "_>=_": every & ~less, "_==_": equal,
            "_!=_": every & ~equal,
        }[function]  # fmt: skip
        false = every & ~true
        for place, value in enumerate(values[count:], count):
            answer = answered(atom, {} if value is None else {name: value})
            true |= (answer is True) << place
            false |= (answer is False) << place
        return Fate(name, true, false)

    def _opaque(self, atom: Node, key: str) -> Fate:
        """An axis of its own: true, false, no answer; `a != b` is where `a == b` is false, `a > b` is `b < a`."""
        turned = False
        if isinstance(atom, Call) and atom.function in ORDERED:
            key, turned = turned_about(atom)
        return Fate(f"? {key}", 0b010, 0b001) if turned else Fate(f"? {key}", 0b001, 0b010)

    def _of_places(self, atom: Node, places: Places) -> Fate:
        size = len(places.table.ids)
        names = sorted(free_names(atom))
        columns = [places.table.columns.get(name) for name in names]
        by_moment = "moment.id" in names
        known: dict[object, object] = {}
        told: dict[object, list[int]] = {True: [], False: [], None: []}
        for moment, moment_id in enumerate(places.moments if by_moment else ("",)):
            for row in range(size):
                look = [
                    moment_id if name == "moment.id" else None if column is None else column[row]
                    for name, column in zip(names, columns, strict=True)
                ]
                key = tuple((type(value), repr(value)) for value in look)
                if key not in known:
                    known[key] = answered(atom, dict(zip(names, look, strict=True)))
                told[known[key]].append(moment * size + row)
        true, false = (mask_of_places(told[answer]) for answer in (True, False))
        if not by_moment:
            true, false = places.of(true), places.of(false)
        return Fate(PLACE, true & places.open, false & places.open)

    def _tellable(self, atom: Node, name: str) -> bool:
        """Whether the classes of the variable decide the atom."""
        if self.types[name] == "bool" or self._listed(name):
            return True
        return isinstance(atom, Present) or any(True for _ in compared(atom))

    def _listed(self, name: str) -> bool:
        domain = self.domains.get(name)
        return domain is not None and domain.values is not None

    def _axis(self, name: str) -> tuple[object, ...]:
        if name not in self._axes:
            self._axes[name] = tuple(self._classes(name))
        return self._axes[name]

    def _classes(self, name: str) -> Iterator[object]:
        domain, type_ = self.domains.get(name, Domain()), self.types[name]
        if domain.values is not None:
            yield from domain.values
        elif type_ == "bool":
            yield from (True, False)
        elif type_ in NUMBERS:
            yield from numbers(self._constants.get(name, set()), type_, domain)
        elif type_ == "string":
            yield from sorted(self._constants.get(name, set()), key=str)
            yield ELSE
        else:  # a list or a map: all that is told apart is whether it is there
            yield {} if type_.startswith("map") else [] if type_.startswith("list") else ELSE
        if not domain.always:
            yield None


def turned_about(atom: Call) -> tuple[str, bool]:
    """A comparison written one way whoever wrote it, and whether it is the opposite of that."""
    (left, right), function = (written(arg) for arg in atom.args), atom.function
    if function in EQUAL:
        return f"{min(left, right)} == {max(left, right)}", function == "_!=_"
    if function in ("_>_", "_>=_"):
        left, right, function = right, left, "_<_" if function == "_>_" else "_<=_"
    # Next to a not-a-number neither `a <= b` nor `b < a` is true: only where there is none are they opposites.
    if function == "_<=_" and all(arg.type in NUMBERS and arg.type != "double" for arg in atom.args):
        return f"{right} < {left}", True
    return f"{left} {'<' if function == '_<_' else '<='} {right}", False


def answered(node: Node, values: Mapping[str, object]) -> object:
    """The answer of a condition, None when it has none."""
    try:
        return value_of(node, values, {})
    except (Missing, EvaluationError):
        return None


def compared(node: Node) -> Iterator[tuple[str, object]]:
    """The (variable, constant) pairs of a comparison that classes of the variable decide."""
    if not isinstance(node, Call) or len(node.args) != 2:
        return
    left, right = node.args
    if node.function == "@in":
        items = right.items if isinstance(right, ListOf) else ()
        if isinstance(left, Name) and all(isinstance(item, Const) and item.type == left.type for item in items):
            yield from ((left.name, item.value) for item in items if isinstance(item, Const))
        return
    if isinstance(left, Const):
        left, right = right, left
    if not isinstance(left, Name) or not isinstance(right, Const) or left.type != right.type:
        return
    if node.function in (ORDERED if left.type in NUMBERS else EQUAL if left.type == "string" else ()):
        yield left.name, right.value


def numbers(constants: Iterable[object], type_: str, domain: Domain) -> Iterator[object]:
    """One value per class: each constant, and one inside each gap that holds any."""
    lowest, highest = NUMBERS[type_]
    low = lowest if domain.least is None else max(lowest, domain.least)
    high = highest if domain.most is None else min(highest, domain.most)
    whole = type_ != "double"
    kept = {one for one in constants if isinstance(one, int | float) and low <= one <= high}
    points = sorted(kept | {one for one in (low, high) if whole or math.isfinite(one)} | (set() if whole else {0.0}))
    points = [int(one) if whole else float(one) for one in points]
    if not whole:
        points = [*([-math.inf] if low == -math.inf else []), *points, *([math.inf] if high == math.inf else [])]
    for place, point in enumerate(points):
        yield point
        after = point + 1 if whole else math.nextafter(point, math.inf)
        if place + 1 < len(points) and after < points[place + 1]:
            yield after
    if not whole:
        yield math.nan
