"""Evaluates an expression over a table: the answers of `evaluate`, for all rows at once.

Numbers, times and truth values are worked out column by column (NumPy); whatever has no such form (texts, lists,
maps, calendars, macros) by the exact operations, once per distinct value. Absorption is CEL's, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from .columns import (
    CLASSES,
    PLAIN,
    Array,
    Bools,
    Column,
    Tally,
    by_value,
    coded,
    either,
    open_coded,
    some,
    without,
)
from .errors import EvaluationError
from .evaluate import path, select, value_of
from .nodes import Call, Const, ListOf, Macro, MapOf, Name, Node, Present, Select, free_names
from .operations import LAZY, OPERATIONS
from .values import COMPUTED_MAX, INT_MAX, INT_MIN, TIMESTAMP_MAX, TIMESTAMP_MIN, boolean

Columns = Mapping[str, Column]
SMALL = 2**31
"""Two ints below this multiply without leaving 64 bits."""


class Truth(msgspec.Struct, frozen=True):
    """What a condition says of each row: true, no answer for want of a value, no answer; the rest is false."""

    true: Bools
    missing: Bools | None = None
    failed: Bools | None = None


def over_rows(node: Node, columns: Columns, count: int, tally: Tally | None = None) -> Column:
    """The node's value in each of `count` rows. A variable without a column is missing everywhere."""
    with np.errstate(all="ignore"):  # doubles follow IEEE 754; what overflows as an int is found out exactly
        return _Rows(columns, count, tally or Tally()).value(node)


def truth_over_rows(node: Node, columns: Columns, count: int, tally: Tally | None = None) -> Truth:
    """A condition's truth in each of `count` rows; what is no truth value has no answer, as in CEL."""
    with np.errstate(all="ignore"):
        found = _Rows(columns, count, tally or Tally()).condition(node)
    lost = either(found.missing, found.failed)
    return Truth(found.values if lost is None else found.values & ~lost, found.missing, found.failed)


class _Rows:
    """One table at work."""

    def __init__(self, columns: Columns, count: int, tally: Tally) -> None:
        self.columns = columns
        self.count = count
        self.tally = tally

    def value(self, node: Node) -> Column:
        match node:
            case Const():
                return self.constant(node)
            case Name():
                return self.name(node)
            case Present():
                given = self.columns.get(node.name)
                there = np.full(self.count, given is not None)
                return Column("bool", there if given is None or given.missing is None else ~given.missing)
            case Select():
                named = path(node)
                return self.exactly(
                    node.type, [self.value(node.operand)], lambda args: select(args[0], node.field, node.test, named)
                )
            case ListOf():
                return self.exactly(node.type, [self.value(item) for item in node.items], list)
            case Macro() | MapOf():
                return self.whole(node)
            case Call():
                return self.call(node)
        raise TypeError(f"a {type(node).__name__} stands alone")  # a Local is only inside a macro, which is whole

    def constant(self, node: Const) -> Column:
        value = value_of(node, {}, {})
        if node.type in PLAIN and type(value) is CLASSES[node.type]:
            one: Array = np.array([value], PLAIN[node.type])
            return Column(node.type, np.broadcast_to(one, (self.count,)))
        return Column(node.type, np.broadcast_to(np.zeros(1, np.int64), (self.count,)), [value])

    def name(self, node: Name) -> Column:
        found = self.columns.get(node.name)
        if found is None:
            missing = np.full(self.count, True)
            table = None if node.type in PLAIN else [None]
            return Column(node.type, np.zeros(self.count, PLAIN.get(node.type, np.int64)), table, missing)
        if found.type != node.type:
            raise TypeError(f"the column `{node.name}` is of type {found.type}, declared is {node.type}")
        return found

    def call(self, node: Call) -> Column:
        function = node.function
        if function in LAZY:
            return self.choice(node) if function == "_?_:_" else self.joined(node)
        args = [self.value(arg) for arg in node.args]
        plain = all(arg.table is None for arg in args)
        native = NATIVE.get((function, *(arg.type for arg in args))) if plain else None
        if native is None:
            return self.exactly(node.type, args, _operation(node))
        missing, failed = _first(args)
        values, wrong = native[1](*(arg.values for arg in args))
        if wrong is not None and wrong.any():
            values = np.where(wrong, 0, values)  # so that what is built on it stays in range
            failed = either(failed, some(without(wrong, either(missing, failed))))
        return Column(native[0], values, None, missing, failed)

    def exactly(self, type_: str, args: Sequence[Column], run: Callable[[Sequence[object]], object]) -> Column:
        """An operation on values, once per combination of the distinct values of its arguments."""
        return by_value(type_, self.count, [coded(arg) for arg in args], run, _first(args), self.tally)

    def whole(self, node: Macro | MapOf) -> Column:
        """A part evaluated exactly with all it reads, once per combination of what it reads: missing values too."""
        names = sorted(free_names(node))
        sides = [open_coded(self.columns[name]) for name in names if name in self.columns]
        given = [name for name in names if name in self.columns]

        def run(values: Sequence[object]) -> object:
            return value_of(node, dict(zip(given, values, strict=True)), {})

        return by_value(node.type, self.count, sides, run, (None, None), self.tally)

    def condition(self, node: Node) -> Column:
        found = self.value(node)
        if found.type == "bool" and found.table is None:
            return found
        return self.exactly("bool", [found], lambda args: boolean(args[0]))

    def joined(self, node: Call) -> Column:
        """`&&` and `||`: one deciding term decides, else a failing one fails, else a missing value is missing."""
        decisive = node.function == "_||_"
        decided = np.zeros(self.count, np.bool_)
        missing: Bools | None = None
        failed: Bools | None = None
        for term in node.args:
            found = self.condition(term)
            lost = either(found.missing, found.failed)
            says = found.values if decisive else ~found.values
            decided = decided | (says if lost is None else says & ~lost)
            missing, failed = either(missing, found.missing), either(failed, found.failed)
        failed = some(without(failed, decided))
        missing = some(without(without(missing, decided), failed))
        return Column("bool", decided if decisive else ~decided, None, missing, failed)

    def choice(self, node: Call) -> Column:
        condition, then, otherwise = self.condition(node.args[0]), self.value(node.args[1]), self.value(node.args[2])
        lost = either(condition.missing, condition.failed)
        yes = condition.values if lost is None else condition.values & ~lost
        no = ~condition.values if lost is None else ~condition.values & ~lost
        missing = either(condition.missing, either(_both(yes, then.missing), _both(no, otherwise.missing)))
        failed = either(condition.failed, either(_both(yes, then.failed), _both(no, otherwise.failed)))
        if then.table is None and otherwise.table is None and then.type == otherwise.type:
            values = np.where(yes, then.values, otherwise.values)
            return Column(then.type, values, None, some(missing), some(failed))
        (first, one), (second, other) = coded(then), coded(otherwise)
        type_ = then.type if then.type == otherwise.type else "dyn"
        return Column(
            type_, np.where(yes, first, second + len(one)), [*one, *other], some(missing), some(failed)
        )


def _both(rows: Bools, mask: Bools | None) -> Bools | None:
    return None if mask is None else rows & mask


def _first(args: Sequence[Column]) -> tuple[Bools | None, Bools | None]:
    """Rows that are lost before the operation is run: the first argument without a value says how."""
    missing: Bools | None = None
    failed: Bools | None = None
    for arg in args:
        gone = either(missing, failed)
        missing = either(missing, without(arg.missing, gone))
        failed = either(failed, without(arg.failed, gone))
    return missing, failed


def _operation(node: Call) -> Callable[[Sequence[object]], object]:
    run = OPERATIONS[node.function][0]
    if node.function != "_[_]":
        return lambda args: run(*args)
    named = path(node)

    def item(args: Sequence[object]) -> object:
        if type(args[0]) is dict and type(args[1]) is str:
            return select(args[0], args[1], False, named)
        return run(*args)

    return item


# --- operations on whole columns: (values, rows without an answer) ----------------------------------------------

Answered = tuple[Array, Bools | None]


def _outside(low: int, high: int) -> Callable[[Array], Bools]:
    return lambda values: (values < low) | (values > high)


_no_timestamp = _outside(TIMESTAMP_MIN, TIMESTAMP_MAX)
_no_span = _outside(-COMPUTED_MAX, COMPUTED_MAX)


def _add(a: Array, b: Array) -> Answered:
    total = a + b
    return total, ((a ^ total) & (b ^ total)) < 0


def _subtract(a: Array, b: Array) -> Answered:
    rest = a - b
    return rest, ((a ^ b) & (a ^ rest)) < 0


def _multiply(a: Array, b: Array) -> Answered:
    large = (a >= SMALL) | (a <= -SMALL) | (b >= SMALL) | (b <= -SMALL)
    if not large.any():
        return a * b, None
    product, wrong = a * b, np.zeros(len(a), np.bool_)
    for row in np.flatnonzero(large).tolist():
        wrong[row] = not INT_MIN <= int(a[row]) * int(b[row]) <= INT_MAX
    return product, wrong


def _divisible(a: Array, b: Array) -> tuple[Array, Bools]:
    """(divisors that can be divided by, rows that have no quotient)."""
    wrong = (b == 0) | ((a == INT_MIN) & (b == -1))
    return np.where(wrong, 1, b), wrong


def _divide(a: Array, b: Array) -> Answered:
    by, wrong = _divisible(a, b)
    rest = np.fmod(a, by)
    return (a - rest) // by, wrong


def _modulo(a: Array, b: Array) -> Answered:
    by, wrong = _divisible(a, b)
    return np.fmod(a, by), wrong


def _to_int(a: Array) -> Answered:
    fits = (a > -(2.0**63)) & (a < 2.0**63)
    return np.where(fits, a, 0.0).astype(np.int64), ~fits


def _sure(run: Callable[..., Array]) -> Callable[..., Answered]:
    return lambda *args: (run(*args), None)


def _within(run: Callable[..., Array], outside: Callable[[Array], Bools]) -> Callable[..., Answered]:
    def checked(*args: Array) -> Answered:
        values = run(*args)
        return values, outside(values)

    return checked


COMPARED: dict[str, Callable[..., Array]] = {
    "_<_": np.less, "_<=_": np.less_equal, "_>_": np.greater, "_>=_": np.greater_equal, "_==_": np.equal,
    "_!=_": np.not_equal,
}  # fmt: skip

# (function, types of its arguments) -> (type of the answer, the operation)
NATIVE: dict[tuple[str, ...], tuple[str, Callable[..., Answered]]] = {
    **{(name, type_, type_): ("bool", _sure(run)) for name, run in COMPARED.items() for type_ in PLAIN},
    ("!_", "bool"): ("bool", _sure(np.logical_not)),
    ("_+_", "int", "int"): ("int", _add),
    ("_-_", "int", "int"): ("int", _subtract),
    ("_*_", "int", "int"): ("int", _multiply),
    ("_/_", "int", "int"): ("int", _divide),
    ("_%_", "int", "int"): ("int", _modulo),
    ("-_", "int"): ("int", lambda a: (-a, a == INT_MIN)),
    ("_+_", "double", "double"): ("double", _sure(np.add)),
    ("_-_", "double", "double"): ("double", _sure(np.subtract)),
    ("_*_", "double", "double"): ("double", _sure(np.multiply)),
    ("_/_", "double", "double"): ("double", _sure(np.divide)),
    ("-_", "double"): ("double", _sure(np.negative)),
    ("_+_", "timestamp", "duration"): ("timestamp", _within(np.add, _no_timestamp)),
    ("_+_", "duration", "timestamp"): ("timestamp", _within(np.add, _no_timestamp)),
    ("_-_", "timestamp", "duration"): ("timestamp", _within(np.subtract, _no_timestamp)),
    ("_-_", "timestamp", "timestamp"): ("duration", _within(np.subtract, _no_span)),
    ("_+_", "duration", "duration"): ("duration", _within(np.add, _no_span)),
    ("_-_", "duration", "duration"): ("duration", _within(np.subtract, _no_span)),
    ("int", "int"): ("int", _sure(lambda a: a)),
    ("int", "double"): ("int", _to_int),
    ("int", "timestamp"): ("int", _sure(lambda a: a // 1000)),
    ("double", "int"): ("double", _sure(lambda a: a.astype(np.float64))),
    ("double", "double"): ("double", _sure(lambda a: a)),
}


def answers(found: Column) -> list[object]:
    """The column row by row, for people and tests: the value, or the class of the failure."""
    codes, table = coded(found)
    values: list[object] = [table[code] for code in codes.tolist()]
    for mask, failure in ((found.missing, "missing"), (found.failed, EvaluationError.__name__)):
        for row in np.flatnonzero(mask).tolist() if mask is not None else ():
            values[row] = failure
    return values
