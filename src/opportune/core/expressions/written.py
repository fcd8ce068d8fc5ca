"""Writes a checked expression as CEL text again: for messages that quote a part, and to know equal parts."""

from __future__ import annotations

from . import times
from .nodes import Call, Const, ListOf, Local, Macro, MapOf, Name, Node, Present, Select
from .values import Duration, Timestamp

INFIX = {
    "_||_": ("||", 1), "_&&_": ("&&", 2), "_==_": ("==", 3), "_!=_": ("!=", 3), "_<_": ("<", 3), "_<=_": ("<=", 3),
    "_>_": (">", 3), "_>=_": (">=", 3), "@in": ("in", 3), "_+_": ("+", 4), "_-_": ("-", 4), "_*_": ("*", 5),
    "_/_": ("/", 5), "_%_": ("%", 5),
}  # fmt: skip
PREFIX = {"!_": "!", "-_": "-"}
METHODS = frozenset(("contains", "startsWith", "endsWith", "matches", *times.PARTS))
TIGHTEST = 9


def written(node: Node) -> str:
    """The node as CEL text that means the same; comments and blanks of the source are gone."""
    return _written(node, 0)


def _written(node: Node, around: int) -> str:
    """`around` is how tightly what stands around binds: what binds less is put in brackets."""
    match node:
        case Const():
            return literal(node.value, node.type)
        case Name() | Local():
            return node.name
        case Present():
            return f"has({node.name})"
        case Select():
            inner = f"{_written(node.operand, TIGHTEST)}.{node.field}"
            return f"has({inner})" if node.test else inner
        case ListOf():
            return f"[{', '.join(_written(item, 0) for item in node.items)}]"
        case MapOf():
            return "{" + ", ".join(f"{_written(k, 1)}: {_written(v, 0)}" for k, v in node.entries) + "}"
        case Macro():
            return _macro(node)
    return _call(node, around)


def _call(node: Call, around: int) -> str:
    function = node.function
    if function in INFIX:
        sign, tightness = INFIX[function]
        text = f" {sign} ".join(_written(arg, tightness + 1) for arg in node.args)
        return f"({text})" if tightness < around else text
    if function in PREFIX:
        return PREFIX[function] + _written(node.args[0], TIGHTEST - 1)
    if function == "_?_:_":
        text = f"{_written(node.args[0], 1)} ? {_written(node.args[1], 1)} : {_written(node.args[2], 0)}"
        return f"({text})" if around else text
    if function == "_[_]":
        return f"{_written(node.args[0], TIGHTEST)}[{_written(node.args[1], 0)}]"
    if function in METHODS:
        target, *rest = node.args
        return f"{_written(target, TIGHTEST)}.{function}({', '.join(_written(arg, 0) for arg in rest)})"
    return f"{function}({', '.join(_written(arg, 0) for arg in node.args)})"


def _macro(node: Macro) -> str:
    parts = [node.variable]
    if node.kind == "map" and node.where is not None:
        parts.append(_written(node.where, 0))
    parts += [_written(part, 0) for part in (node.body,) if part is not None]
    return f"{_written(node.over, TIGHTEST)}.{node.kind}({', '.join(parts)})"


def literal(value: object, type_: str) -> str:
    """A value as a CEL literal of a type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if type_ == "timestamp" and isinstance(value, int):
        return f"timestamp('{times.format_timestamp(Timestamp(value))}')"
    if type_ == "duration" and isinstance(value, int):
        return f"duration('{times.format_duration(Duration(value))}')"
    if type_ == "uint":
        return f"{value}u"
    if isinstance(value, float):
        return _double(value)
    if isinstance(value, str):
        return text_literal(value)
    return f"b{text_literal(value.decode('latin-1'))}" if isinstance(value, bytes) else str(value)


def _double(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        return f"double('{value}')"
    text = repr(value)
    return text if "." in text or "e" in text else f"{text}.0"


def text_literal(value: str) -> str:
    """A text in single quotes, whatever is in it."""
    signs = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return "'" + "".join(signs.get(one, one if one.isprintable() else _escaped(one)) for one in value) + "'"


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
