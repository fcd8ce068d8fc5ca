"""CEL as SQL, where both say the same: a missing value and an error are NULL, and three-valued logic does the rest.

Only forms whose meaning is the same to the last bit in CEL, DuckDB and Spark SQL are said; for all others
`sql_of` answers None, and the expression is worked out in Python by whoever prepares the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opportune.core.expressions import Expression
from opportune.core.expressions.nodes import Call, Const, ListOf, Name, Node, Present, walk

NODES_MAX: Final = 200
DOUBLE_MAX: Final = "CAST('1.7976931348623157e308' AS DOUBLE)"
SQL_TYPES: Final[Mapping[str, str]] = {"bool": "BOOLEAN", "int": "BIGINT", "double": "DOUBLE", "string": "VARCHAR"}
_COMPARED: Final[Mapping[str, str]] = {
    "_==_": "=", "_!=_": "<>", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">=",
}  # fmt: skip
_COUNTED: Final[Mapping[str, str]] = {"_+_": "+", "_-_": "-", "_*_": "*"}


class Unsaid(Exception):
    """A form that SQL would answer otherwise than CEL somewhere."""


def sql_of(expression: Expression, columns: Mapping[str, str]) -> str | None:
    """The expression over columns (variable -> column), NULL where CEL has no answer; None when it cannot be said.

    A double may come out NULL where CEL gives an infinity or no number: take the answer through `finite` where it
    is kept. Its own comparisons never see such a value.
    """
    if sum(1 for _ in walk(expression.root)) > NODES_MAX:
        return None
    try:
        return _write(expression.root, columns)
    except Unsaid:
        return None


def literal(value: bool | int | float | str, type_: str) -> str:
    """A constant of one of the four types; raises Unsaid for text that the dialects quote differently."""
    if type_ == "bool":
        return "TRUE" if value else "FALSE"
    if type_ == "int":
        return f"CAST('{int(value)}' AS BIGINT)"
    if type_ == "double":
        return f"CAST('{float(value)!r}' AS DOUBLE)"
    if type_ != "string" or not isinstance(value, str) or not value.isprintable() or set(value) & set("'\\"):
        raise Unsaid
    return f"'{value}'"


def finite(sql: str) -> str:
    """The double, or NULL when it is an infinity or no number."""
    return f"CASE WHEN abs({sql}) <= {DOUBLE_MAX} THEN {sql} END"


def _write(node: Node, columns: Mapping[str, str]) -> str:
    match node:
        case Const():
            if not isinstance(node.value, bool | int | float | str):
                raise Unsaid
            return literal(node.value, node.type)
        case Name():
            if node.type not in SQL_TYPES:
                raise Unsaid
            return columns[node.name]
        case Present():
            return f"({columns[node.name]} IS NOT NULL)"
        case Call():
            return _call(node, columns)
    raise Unsaid


def _call(node: Call, columns: Mapping[str, str]) -> str:
    function, args = node.function, node.args
    types = [arg.type for arg in args]
    if function == "@in":
        return _among(args, columns)
    said = [_write(arg, columns) for arg in args]
    if function in ("_&&_", "_||_") and set(types) == {"bool"}:
        return "(" + (" AND " if function == "_&&_" else " OR ").join(said) + ")"
    if function == "!_" and types == ["bool"]:
        return f"(NOT {said[0]})"
    if function == "_?_:_" and types[0] == "bool" and types[1] == types[2]:
        # Not ELSE: a condition without an answer has no answer.
        return f"(CASE WHEN {said[0]} THEN {said[1]} WHEN NOT {said[0]} THEN {said[2]} END)"
    if function in _COMPARED and types[0] == types[1]:
        if any(not _has_a_number(arg) for arg in args):
            raise Unsaid
        return f"({said[0]} {_COMPARED[function]} {said[1]})"
    if function in ("contains", "startsWith", "endsWith") and types == ["string", "string"]:
        return _text(function, said[0], said[1])
    if function == "double" and types[0] in ("int", "double"):
        return f"CAST({said[0]} AS DOUBLE)"
    return _number(node, types, said)


def _number(node: Call, types: list[str], said: list[str]) -> str:
    function = node.function
    if function in _COUNTED and types == ["double", "double"]:
        return f"({said[0]} {_COUNTED[function]} {said[1]})"
    if function in _COUNTED and types == ["int", "int"]:
        exact = [f"CAST({each} AS DECIMAL({19 if function == '_*_' else 20},0))" for each in said]
        return f"TRY_CAST({exact[0]} {_COUNTED[function]} {exact[1]} AS BIGINT)"
    if function == "_/_" and types == ["double", "double"]:
        # By zero, CEL gives an infinity or no number: never compared, divided by (`_has_a_number`) or kept.
        if not _has_a_number(node.args[1]):
            raise Unsaid
        return f"({said[0]} / NULLIF({said[1]}, {literal(0.0, 'double')}))"
    if function == "-_" and types == ["double"]:
        return f"(-{said[0]})"
    raise Unsaid


def _among(args: tuple[Node, ...], columns: Mapping[str, str]) -> str:
    wanted, listed = args
    if not isinstance(listed, ListOf) or not listed.items or wanted.type not in ("int", "string", "bool"):
        raise Unsaid
    if any(not isinstance(item, Const) or item.type != wanted.type for item in listed.items):
        raise Unsaid
    return f"({_write(wanted, columns)} IN ({', '.join(_write(item, columns) for item in listed.items)}))"


def _text(function: str, text: str, part: str) -> str:
    if function == "contains":
        return f"contains({text}, {part})"
    return f"({'left' if function == 'startsWith' else 'right'}({text}, length({part})) = {part})"


def _has_a_number(node: Node) -> bool:
    """Whether a double of this form is always a number: columns hold finite ones, and one step stays comparable."""
    if node.type != "double" or _plain(node):
        return True
    if not isinstance(node, Call):
        return False
    if node.function == "_/_":
        divisor = node.args[1]
        return _plain(node.args[0]) and isinstance(divisor, Const) and divisor.value != 0.0
    return node.function in (*_COUNTED, "-_", "double") and all(map(_plain, node.args))


def _plain(node: Node) -> bool:
    """A column, a constant, or the double of one."""
    if isinstance(node, Call) and node.function == "double":
        node = node.args[0]
    return isinstance(node, Name | Const)
