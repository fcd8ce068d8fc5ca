"""Derived features over the folded ones: as further columns of the query where SQL can say them, else in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from opportune.core.expressions import EvaluationError, Expression, Missing
from opportune.core.features.documents import Scalar
from opportune.core.features.relational.conditions import Unsaid, finite, literal, sql_of

Values = dict[str, list[Any]]
"""Feature -> one value per asked row, None where it is missing."""

Compute = Callable[..., object]


class Derived(msgspec.Struct, frozen=True):
    """A derived feature; `sql` over `f_<input>` columns, None when `compute` has to do it row by row."""

    name: str
    type: str
    inputs: tuple[str, ...]
    default: Any
    compute: Compute
    sql: str | None


def derived_of(
    name: str, type_: str, default: Scalar | None, expression: Expression, said: Mapping[str, bool], risky: bool
) -> Derived:
    """`said`: which inputs are columns of the query; `risky`: an input may be unknown, so that no default holds."""
    inputs = tuple(sorted(expression.names))
    sql = None
    if all(said.get(each, False) for each in inputs) and not (risky and default is not None):
        sql = _sql(expression, inputs, type_, default)
    return Derived(name, type_, inputs, default, _compute(expression, inputs, type_), sql)


def _sql(expression: Expression, inputs: Sequence[str], type_: str, default: Scalar | None) -> str | None:
    sql = sql_of(expression, {each: f"f_{each}" for each in inputs})
    if sql is None or expression.type != type_:
        return None
    if type_ == "double":
        sql = finite(sql)
    try:
        return sql if default is None else f"COALESCE({sql}, {literal(default, type_)})"
    except Unsaid:
        return None


def wrapped(query: str, derived: Sequence[Derived]) -> str:
    """The query with the derived columns that have SQL, each around those it reads."""
    for level, members in enumerate(_levels([one for one in derived if one.sql is not None])):
        columns = ",\n  ".join(f"{one.sql} AS f_{one.name}" for one in members)
        query = f"SELECT d{level}.*,\n  {columns}\nFROM (\n{query}\n) d{level}"
    return query


def _levels(derived: Sequence[Derived]) -> list[list[Derived]]:
    depth: dict[str, int] = {}
    found: list[list[Derived]] = []
    for one in derived:  # inputs come first
        level = max((depth[each] + 1 for each in one.inputs if each in depth), default=0)
        depth[one.name] = level
        if level == len(found):
            found.append([])
        found[level].append(one)
    return found


def _compute(expression: Expression, inputs: Sequence[str], type_: str) -> Compute:
    function = expression.function(inputs)
    if type_ != "double":
        return function

    def double(*values: object) -> object:
        value: Any = function(*values)
        return value if value is None or value - value == 0.0 else None

    return double


def compute_rest(derived: Sequence[Derived], values: Values, unknown: Mapping[str, Sequence[bool]], rows: int) -> None:
    """Adds the derived features that the query does not give to `values`, in place, inputs before what reads them.

    `unknown`: feature -> whether its value is not missing but cannot be said, for each row.
    """
    lost: dict[str, Sequence[bool]] = dict(unknown)
    for one in derived:
        if one.name in values:
            continue
        found = [_value(one.compute, row) for row in zip(*(values[each] for each in one.inputs), strict=True)]
        if not one.inputs:
            found = [_value(one.compute, ())] * rows
        risks = [lost[each] for each in one.inputs if each in lost]
        if risks:
            lost[one.name] = [
                value is None and any(flags) for value, *flags in zip(found, *risks, strict=True)
            ]
        if one.default is not None:
            mine = lost.get(one.name)
            found = [
                one.default if value is None and not (mine is not None and mine[row]) else value
                for row, value in enumerate(found)
            ]
        values[one.name] = found


def _value(compute: Compute, arguments: Sequence[object]) -> object:
    try:
        return compute(*arguments)
    except (Missing, EvaluationError):
        return None
