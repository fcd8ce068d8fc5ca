"""Values of many rows at once: one column per variable, with where it is missing and where it has no answer.

A number is kept as itself; anything else as its place in a table of the distinct values, so that what has no form
for whole columns is worked out exactly, once per distinct value (see `columns_evaluate`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from .errors import EvaluationError, Missing
from .values import Duration, Timestamp, take

Bools: TypeAlias = NDArray[np.bool_]
Codes: TypeAlias = NDArray[np.int64]
Array: TypeAlias = NDArray[Any]

PLAIN: dict[str, type] = {
    "bool": np.bool_, "int": np.int64, "double": np.float64, "timestamp": np.int64, "duration": np.int64
}  # fmt: skip
CLASSES: dict[str, type] = {
    "bool": bool, "int": int, "double": float, "timestamp": Timestamp, "duration": Duration, "string": str
}  # fmt: skip


class Column(msgspec.Struct, frozen=True):
    """One value per row, of a CEL type.

    values: the numbers themselves, or each row's place in `table`, the distinct values as the exact evaluator has
    them. missing, failed: the rows without a value and without an answer, never both; None: no row. What `values`
    holds there means nothing, but is a value of the type (None in a table).
    """

    type: str
    values: Array
    table: Sequence[object] | None = None
    missing: Bools | None = None
    failed: Bools | None = None

    def rows(self, where: slice | Codes | Bools) -> Column:
        """The column of some of the rows, in the order asked for."""
        return Column(
            self.type,
            self.values[where],
            self.table,
            None if self.missing is None else self.missing[where],
            None if self.failed is None else self.failed[where],
        )

    def known(self) -> Bools | None:
        """The rows that have a value; None: all."""
        lost = either(self.missing, self.failed)
        return None if lost is None else ~lost


def either(one: Bools | None, other: Bools | None) -> Bools | None:
    """Rows in one mask or the other; None is no row."""
    if one is None:
        return other
    return one if other is None else one | other


def without(mask: Bools | None, less: Bools | None) -> Bools | None:
    """Rows of the mask that are not in `less`."""
    return mask if mask is None or less is None else mask & ~less


def some(mask: Bools | None) -> Bools | None:
    """The mask, or None where it has no row: what follows is then faster."""
    return None if mask is None or not mask.any() else mask


# --- columns made of callers' values ---------------------------------------------------------------------------


def column(type_: str, values: Sequence[object], name: str = "") -> Column:
    """Callers' values as a column: None is missing, a value of the wrong type has no answer."""
    classes = set(map(type, values))
    if type_ in PLAIN:
        quick = _quick(type_, values, classes)
        return quick if quick is not None else _taken(type_, values, name)
    if type_ == "string" and classes <= {str, type(None)}:
        return texts(values)  # type: ignore[arg-type]
    return _coded(type_, values, name)


def repeated(type_: str, value: object, count: int, name: str = "") -> Column:
    """The same caller's value in every row."""
    one = column(type_, [value], name)
    return Column(
        one.type,
        np.broadcast_to(one.values, (count,)),
        one.table,
        None if one.missing is None else np.full(count, True),
        None if one.failed is None else np.full(count, True),
    )


def numbers(type_: str, values: Array, missing: Bools | None = None) -> Column:
    """An array as a column of a plain type; whole numbers pass for doubles, as JSON writes 5.0 as 5."""
    return Column(type_, np.ascontiguousarray(values, PLAIN[type_]), None, some(missing))


def texts(values: Sequence[str | None]) -> Column:
    """Texts as a column; None is missing."""
    places: dict[str | None, int] = {None: 0}
    for value in dict.fromkeys(values):
        places.setdefault(value, len(places))
    codes = np.fromiter(map(places.__getitem__, values), np.int64, len(values))
    return Column("string", codes, list(places), some(codes == 0))


def _quick(type_: str, values: Sequence[object], classes: set[type]) -> Column | None:
    """The column where every value is there and of the class itself, or missing; None otherwise."""
    if type_ not in ("double", "int", "bool") or not classes <= {CLASSES[type_], type(None)}:
        return None
    try:
        if type(None) not in classes:
            return Column(type_, np.array(values, PLAIN[type_]))
        missing = np.array([value is None for value in values])
        return Column(
            type_, np.array([0 if value is None else value for value in values], PLAIN[type_]), None, missing
        )
    except OverflowError:  # an int beyond 64 bits: an error of its row
        return None


def _taken(type_: str, values: Sequence[object], name: str) -> Column:
    found: Array = np.zeros(len(values), PLAIN[type_])
    missing, failed = np.zeros(len(values), np.bool_), np.zeros(len(values), np.bool_)
    for row, value in enumerate(values):
        if value is None:
            missing[row] = True
            continue
        try:
            found[row] = take(type_, name, value)
        except EvaluationError:
            failed[row] = True
    return Column(type_, found, None, some(missing), some(failed))


def _coded(type_: str, values: Sequence[object], name: str) -> Column:
    places: dict[object, int] = {}
    table: list[object] = []
    codes = np.zeros(len(values), np.int64)
    missing, failed = np.zeros(len(values), np.bool_), np.zeros(len(values), np.bool_)
    for row, value in enumerate(values):
        if value is None:
            missing[row] = True
            continue
        look = _look(value)
        place = places.get(look)
        if place is None:
            try:
                taken = take(type_, name, value)
            except EvaluationError:
                failed[row] = True
                continue
            place = places[look] = len(table)
            table.append(taken)
        codes[row] = place
    return Column(type_, codes, table or [None], some(missing), some(failed))


def _look(value: object) -> object:
    """What two values must share to be the same to every expression: type and content, order of keys included."""
    try:
        return type(value), repr(value)
    except RecursionError:
        return id(value)


# --- what is worked out once per distinct value ----------------------------------------------------------------


class Lost:
    """A value that fits no type: stands for one that has no answer where it is only read if it matters."""


LOST = Lost()
PRODUCT_MIN = 4096


class Tally:
    """How much was worked out value by value: `rows` that it was for, `values` that it took."""

    def __init__(self) -> None:
        self.rows = 0
        self.values = 0


def coded(one: Column) -> tuple[Codes, Sequence[object]]:
    """(each row's place in the table, the distinct values), tagged as the exact evaluator has them."""
    if one.table is not None:
        return one.values, one.table
    class_ = CLASSES[one.type]
    if one.values.strides == (0,):
        return np.zeros(len(one.values), np.int64), [class_(one.values[0].item())] if len(one.values) else [None]
    raw = one.values.view(np.int64) if one.type == "double" else one.values
    distinct, places = np.unique(raw, return_inverse=True)
    found = distinct.view(np.float64) if one.type == "double" else distinct
    return places.astype(np.int64, copy=False), [class_(value) for value in found.tolist()]


def open_coded(one: Column) -> tuple[Codes, Sequence[object]]:
    """As `coded`, where missing is a value of its own (None) and so is what has no answer (LOST)."""
    codes, table = coded(one)
    if one.missing is None and one.failed is None:
        return codes, table
    codes = codes.copy()
    if one.missing is not None:
        codes[one.missing] = len(table)
    if one.failed is not None:
        codes[one.failed] = len(table) + 1
    return codes, [*table, None, LOST]


def by_value(
    type_: str,
    count: int,
    sides: Sequence[tuple[Codes, Sequence[object]]],
    run: Callable[[Sequence[object]], object],
    lost: tuple[Bools | None, Bools | None],
    tally: Tally,
) -> Column:
    """`run` over the rows, called once for each combination of distinct values. lost: rows known to be (missing,
    without an answer) already; what `run` raises makes further ones."""
    codes, combinations = _combined(count, sides)
    results: list[object] = []
    for places in combinations:
        try:
            results.append(run([table[place] for (_, table), place in zip(sides, places, strict=True)]))
        except (Missing, EvaluationError) as error:
            results.append(error)
        except RecursionError:
            results.append(EvaluationError("the values are nested too deeply"))
    tally.rows += count
    tally.values += len(results)
    return _of_results(type_, codes, results, lost)


def _combined(
    count: int, sides: Sequence[tuple[Codes, Sequence[object]]]
) -> tuple[Codes, Sequence[tuple[int, ...]]]:
    """(each row's place among the combinations, the combinations as places in the tables)."""
    sizes = [len(table) for _, table in sides]
    codes = np.zeros(count, np.int64)
    combinations: list[tuple[int, ...]] = [()]
    for (places, _), size in zip(sides, sizes, strict=True):
        joint = codes * size + places
        if len(combinations) * size <= max(PRODUCT_MIN, count // 4):
            codes = joint
            combinations = [(*one, place) for one in combinations for place in range(size)]
        else:
            distinct, inverse = np.unique(joint, return_inverse=True)
            codes = inverse.astype(np.int64, copy=False)
            combinations = [(*combinations[one // size], one % size) for one in distinct.tolist()]
    return codes, combinations


def _of_results(
    type_: str, codes: Codes, results: list[object], lost: tuple[Bools | None, Bools | None]
) -> Column:
    gone = either(*lost)
    absent = np.array([isinstance(result, Missing) for result in results], np.bool_)
    wrong = np.array([isinstance(result, EvaluationError) for result in results], np.bool_)
    missing = either(lost[0], without(absent[codes], gone) if absent.any() else None)
    failed = either(lost[1], without(wrong[codes], gone) if wrong.any() else None)
    answered = [result for result in results if not isinstance(result, Missing | EvaluationError)]
    if type_ in PLAIN and all(type(result) is CLASSES[type_] for result in answered):
        dead = (Missing, EvaluationError)
        found: Array = np.array([0 if isinstance(result, dead) else result for result in results], PLAIN[type_])
        return Column(type_, found[codes], None, some(missing), some(failed))
    kept = [None if isinstance(result, Missing | EvaluationError) else result for result in results] or [None]
    return Column("string" if type_ == "string" else "dyn", codes, kept, some(missing), some(failed))
