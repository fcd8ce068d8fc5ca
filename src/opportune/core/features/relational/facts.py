"""The table of signals as features need it: which columns it has, how a payload fills them, and each feature's share.

Beside the columns of the envelope (`ENVELOPE`) there is one per payload field that some feature reads, converted as
the fold converts it: `value_<field>` for what is aggregated, `read_<field>` for what an expression reads, and
`take_<n>` for what has no form in SQL and is worked out by the fold's own function when the table is filled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from opportune.core.expressions import EvaluationError, Expression, ExpressionError, parse
from opportune.core.expressions.nodes import Present, walk
from opportune.core.expressions.values import TAKE
from opportune.core.features.cells import DOUBLE_SUM_MAX
from opportune.core.features.documents import FeatureSpec
from opportune.core.features.relational.conditions import SQL_TYPES, finite, sql_of
from opportune.core.features.takes import TAKES, Data, Take, field_getter

ENVELOPE: Final[Mapping[str, str]] = {
    "seq": "BIGINT", "type": "VARCHAR", "id": "BLOB", "at_ms": "BIGINT", "person": "VARCHAR", "account": "VARCHAR",
}  # fmt: skip
"""Columns that every table of signals has. `id` are the first 255 bytes of the id; `seq` is the order of arrival."""

VALUELESS: Final = ("count", "time_since")
SUMMED: Final = ("sum", "mean")


class Column(msgspec.Struct, frozen=True):
    """A column of payload: its CEL type, and what each signal type puts into it (others leave it NULL)."""

    name: str
    type: str
    fills: Mapping[str, Take]

    @property
    def sql_type(self) -> str:
        return SQL_TYPES[self.type]


class Share(msgspec.Struct, frozen=True):
    """What a feature takes of a row of signals, NULL where the row does not count; `said` when all of it is SQL."""

    sql: str
    said: bool


class Facts:
    """Collects the columns that features need; `columns` is complete when every feature's `share` was asked for."""

    def __init__(self, signal_fields: Mapping[str, Mapping[str, str]]) -> None:
        self.signal_fields = signal_fields
        self._columns: dict[tuple[str, str, str], tuple[str, dict[str, Take]]] = {}
        self._names: set[str] = set()

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(Column(name, key[2], fills) for key, (name, fills) in self._columns.items())

    def share(self, spec: FeatureSpec, type_: str, takes: Mapping[str, Take]) -> Share:
        """The feature's share of a row; `type_` is what it folds, `takes` the fold's own functions by signal."""
        wanted = {"distinct": "dyn", "mean": "double"}.get(spec.aggregate or "", type_)
        found = {signal: self._said(spec, signal, wanted) for signal in takes}
        kinds = {self._kind(spec, signal) for signal in takes} if spec.aggregate == "distinct" else {""}
        if len(kinds) > 1 or any(part is None for part in found.values()):
            return Share(self._taken(spec, type_, takes), said=False)
        by_text: dict[tuple[str | None, str], list[str]] = {}
        for signal, part in found.items():
            assert part is not None
            by_text.setdefault(part, []).append(signal)
        whens = [
            f"WHEN {of_types(signals)}{'' if where is None else f' AND {where}'} THEN {value}"
            for (where, value), signals in by_text.items()
        ]
        return Share(f"CASE {' '.join(whens)} END", said=True)

    def _kind(self, spec: FeatureSpec, signal: str) -> str:
        """The type of what `distinct` tells apart: 3 and 3.0 of different columns could not be."""
        fields = self.signal_fields[signal]
        variables = {f"data.{name}": type_ for name, type_ in fields.items()}
        text = (spec.value or "").strip()
        return variables.get(text) or parse(text, variables).type

    def _said(self, spec: FeatureSpec, signal: str, wanted: str) -> tuple[str | None, str] | None:
        """(where, value) as SQL for one signal type, None when one of the two has no form."""
        where = None
        if spec.where is not None:
            where = self._expression(spec.where, signal, "bool")
            if where is None:
                return None
        if spec.value is None or spec.aggregate in VALUELESS:
            return where, "1"
        value = self._value(spec.value.strip(), signal, wanted, spec.aggregate in SUMMED)
        return None if value is None else (where, value)

    def _value(self, text: str, signal: str, wanted: str, summed: bool) -> str | None:
        variables = self._variables(signal)
        given = variables.get(text)
        if given is not None:
            convert = given if wanted == "dyn" else wanted
            column = self._column("value", text.removeprefix("data."), convert, signal)
            return _summand(column) if summed and wanted == "double" else column
        expression = self._parsed(text, variables, None)
        sql = None if expression is None or expression.type == "string" else self._sql(expression, signal)
        if sql is None or expression is None:
            return None
        kept = expression.type if wanted == "dyn" else wanted
        if expression.type == "int" and kept == "double":
            sql = f"CAST({sql} AS DOUBLE)"
        elif expression.type != kept:
            return None
        if kept == "double":
            return _summand(sql) if summed else finite(sql)
        return sql

    def _expression(self, text: str, signal: str, expect: str | None) -> str | None:
        expression = self._parsed(text, self._variables(signal), expect)
        return None if expression is None else self._sql(expression, signal)

    def _sql(self, expression: Expression, signal: str) -> str | None:
        types = self._variables(signal)
        if any(types[name] not in SQL_TYPES for name in expression.names):
            return None
        if any(isinstance(node, Present) for node in walk(expression.root)):
            return None  # a field of another type is there for `has`, and NULL in its column
        columns = {name: f"\0{name}\0" for name in expression.names}
        sql = sql_of(expression, columns)
        if sql is None:
            return None
        for name, mark in columns.items():
            sql = sql.replace(mark, self._column("read", name.removeprefix("data."), types[name], signal))
        return sql

    def _parsed(self, text: str, variables: Mapping[str, str], expect: str | None) -> Expression | None:
        try:
            return parse(text, variables, expect=expect)
        except ExpressionError:
            return None

    def _variables(self, signal: str) -> dict[str, str]:
        return {f"data.{name}": type_ for name, type_ in self.signal_fields[signal].items()}

    def _column(self, kind: str, field: str, type_: str, signal: str) -> str:
        """The name of the column of this field, noted to be filled by this signal type too."""
        if kind == "read" and type_ in ("bool", "double"):
            kind = "value"  # the fold and an expression convert these alike
        key = (kind, field, type_)
        if type_ == "dyn":
            key = (kind, f"{field} as any", "string")
        if key not in self._columns:
            self._columns[key] = (self._fresh(f"{kind}_{field}".replace(".", "_").lower(), key[2]), {})
        name, fills = self._columns[key]
        get = field_getter(field)
        fills.setdefault(signal, _reading(get, type_) if kind == "read" else _converting(get, type_))
        return name

    def _taken(self, spec: FeatureSpec, type_: str, takes: Mapping[str, Take]) -> str:
        """A column of what the fold itself takes; counted things are 1, things told apart their marks."""
        shape: Callable[[object], object] = _as_is
        kept = type_
        if spec.aggregate in VALUELESS:
            kept, shape = "int", _one
        elif spec.aggregate == "distinct":
            kept, shape = "string", mark_of
        elif spec.aggregate == "mean":
            kept = "double"
        name = self._fresh(f"take_{spec.id}", kept)
        fills = {signal: _shaped(take, shape) for signal, take in takes.items()}
        self._columns["take", spec.id, kept] = (name, fills)
        return name

    def _fresh(self, stem: str, type_: str) -> str:
        name = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in stem)
        if name in self._names:
            name = f"{name}_{type_}"
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name


def of_types(signals: Sequence[str]) -> str:
    """`type` is one of these; names of signal types hold no quotes."""
    named = ", ".join(f"'{signal}'" for signal in sorted(signals))
    return f"type IN ({named})"


def filler(columns: Sequence[Column]) -> Callable[[str, Data], tuple[Any, ...]]:
    """(signal type, data) -> the values of the payload's columns, in order."""
    signals = {signal for column in columns for signal in column.fills}
    table = {signal: tuple(column.fills.get(signal, _nothing) for column in columns) for signal in signals}
    empty = (None,) * len(columns)

    def fill(type_: str, data: Data) -> tuple[Any, ...]:
        takes = table.get(type_)
        return empty if takes is None else tuple(take(data) for take in takes)

    return fill


def mark_of(value: object) -> object:
    """A value of any type as text that is the same for the same value only, as in `cells.fingerprint`."""
    return None if value is None else f"{type(value).__name__}:{value!r}"


def _converting(get: Take, type_: str) -> Take:
    convert = TAKES[type_]
    if type_ == "dyn":
        return lambda data: mark_of(convert(get(data)))
    return lambda data: convert(get(data))


def _reading(get: Take, type_: str) -> Take:
    take = TAKE[type_]

    def read(data: Data) -> object:
        value = get(data)
        try:
            return None if value is None else take(value)
        except EvaluationError:
            return None

    return read


def _summand(sql: str) -> str:
    limit = f"CAST('{DOUBLE_SUM_MAX!r}' AS DOUBLE)"
    return f"CASE WHEN abs({sql}) <= {limit} THEN {sql} END"


def _shaped(take: Take, shape: Callable[[object], object]) -> Take:
    return lambda data: shape(take(data))


def _as_is(value: object) -> object:
    return value


def _one(value: object) -> object:
    return None if value is None else 1


def _nothing(data: Data) -> object:
    return None
