"""Reads the type-checked expression Google's CEL hands out (protobuf `cel.expr.CheckedExpr`) into nodes.

Field numbers: cel-spec `proto/cel/expr/checked.proto` and `syntax.proto`; wire format: protobuf encoding guide.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias, cast

import msgspec

from .errors import ExpressionError
from .nodes import Call, Const, ListOf, Local, Macro, MapOf, Name, Node, Present, Select

Message: TypeAlias = dict[int, list[int | bytes]]

PRIMITIVES = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}
WELL_KNOWN = {2: "timestamp", 3: "duration"}


class Context(msgspec.Struct, frozen=True):
    """What decoding a node needs to know: type and place per node id, and the macro variables in scope."""

    types: dict[int, str]
    offsets: dict[int, int]
    present: Mapping[str, str] = {}
    locals: frozenset[str] = frozenset()

    def inside(self, variable: str) -> "Context":
        return Context(self.types, self.offsets, self.present, self.locals | {variable})


def read(serialized: bytes, present: Mapping[str, str]) -> Node:
    """Return the root node of a serialised `Any` that holds a CheckedExpr.

    present: stand-in name -> variable, for each `has(variable)` of the text.

    Raises ExpressionError for a form outside the supported language.
    """
    checked = fields(part(fields(serialized), 2))
    types = {number(entry, 1): type_name(part(entry, 2)) for entry in map(fields, parts(checked, 3))}
    source = fields(part(checked, 5))
    offsets = {number(entry, 1): number(entry, 2) for entry in map(fields, parts(source, 4))}
    return node(part(checked, 4), Context(types, offsets, present))


def fields(data: bytes) -> Message:
    """Return the message's raw fields: integers for varint and fixed64, bytes for the rest."""
    found: Message = {}
    at, end = 0, len(data)
    while at < end:
        # Nearly every number has one byte: a call for each is what reading an expression would mostly cost.
        key, at = (data[at], at + 1) if data[at] < 0x80 else varint(data, at)
        kind = key & 7
        value: int | bytes
        if kind == 0:
            value, at = (data[at], at + 1) if data[at] < 0x80 else varint(data, at)
        elif kind == 1:
            value, at = data[at : at + 8], at + 8
        elif kind == 2:
            size, at = (data[at], at + 1) if data[at] < 0x80 else varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            value, at = data[at : at + 4], at + 4
        found.setdefault(key >> 3, []).append(value)
    return found


def varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7


def number(message: Message, field: int) -> int:
    """Return an int64 field, 0 when absent."""
    value = cast(int, message.get(field, [0])[-1])
    return value - (1 << 64) if value >= 1 << 63 else value


def part(message: Message, field: int) -> bytes:
    return cast(bytes, message.get(field, [b""])[-1])


def parts(message: Message, field: int) -> list[bytes]:
    return cast(list[bytes], message.get(field, []))


def text(message: Message, field: int) -> str:
    return part(message, field).decode()


@lru_cache(maxsize=256)
def type_name(data: bytes) -> str:
    """Return a type as it is written in declarations: `double`, `list(string)`, `map(string,dyn)`."""
    message = fields(data)
    if 3 in message:
        return PRIMITIVES.get(number(message, 3), "dyn")
    if 5 in message:
        return WELL_KNOWN.get(number(message, 5), "dyn")
    if 6 in message:
        return f"list({type_name(part(fields(part(message, 6)), 1))})"
    if 7 in message:
        inner = fields(part(message, 7))
        return f"map({type_name(part(inner, 1))},{type_name(part(inner, 2))})"
    if 2 in message:
        return "null"
    if 11 in message:
        return "type"
    return text(message, 9) if 9 in message else "dyn"


def node(data: bytes, context: Context) -> Node:
    message = fields(data)
    id_ = number(message, 2)
    type_, offset = context.types.get(id_, "dyn"), context.offsets.get(id_, 0)
    if 3 in message:
        return constant(fields(part(message, 3)), offset)
    if 4 in message:
        name = text(fields(part(message, 4)), 1)
        if name in context.present:
            return Present(name=context.present[name], offset=offset)
        leaf = Local if name in context.locals else Name
        return leaf(name=name, type=type_, offset=offset)
    if 5 in message:
        select = fields(part(message, 5))
        operand = node(part(select, 1), context)
        return Select(
            operand=operand, field=text(select, 2), test=bool(number(select, 3)), type=type_, offset=offset
        )
    if 6 in message:
        return call(fields(part(message, 6)), type_, offset, context)
    if 7 in message:
        items = tuple(node(item, context) for item in parts(fields(part(message, 7)), 1))
        return ListOf(items=items, type=type_, offset=offset)
    if 8 in message:
        return map_literal(fields(part(message, 8)), type_, offset, context)
    return macro(fields(part(message, 9)), type_, offset, context)


def constant(message: Message, offset: int) -> Const:
    if 2 in message:
        return Const(value=bool(number(message, 2)), type="bool", offset=offset)
    if 3 in message:
        return Const(value=number(message, 3), type="int", offset=offset)
    if 4 in message:
        return Const(value=message[4][-1], type="uint", offset=offset)
    if 5 in message:
        return Const(value=struct.unpack("<d", part(message, 5))[0], type="double", offset=offset)
    if 6 in message:
        return Const(value=text(message, 6), type="string", offset=offset)
    if 7 in message:
        return Const(value=part(message, 7), type="bytes", offset=offset)
    return Const(value=None, type="null", offset=offset)


def call(message: Message, type_: str, offset: int, context: Context) -> Node:
    function = text(message, 2)
    targets = [part(message, 1)] if 1 in message else []
    args = tuple(node(arg, context) for arg in targets + parts(message, 3))
    if function in ("_&&_", "_||_"):
        args = tuple(leaf for arg in args for leaf in flat(arg, function))
    return Call(function=function, args=args, type=type_, offset=offset)


def flat(arg: Node, function: str) -> tuple[Node, ...]:
    return arg.args if isinstance(arg, Call) and arg.function == function else (arg,)


def map_literal(message: Message, type_: str, offset: int, context: Context) -> Node:
    if 1 in message:
        raise ExpressionError(f"messages such as `{text(message, 1)}` are not supported")
    entries = tuple(
        (node(part(entry, 3), context), node(part(entry, 4), context)) for entry in map(fields, parts(message, 2))
    )
    return MapOf(entries=entries, type=type_, offset=offset)


def macro(message: Message, type_: str, offset: int, context: Context) -> Node:
    """Recognise which macro a comprehension came from (expansion: cel-spec `doc/langdef.md`, Macros)."""
    variable, accumulator = text(message, 1), text(message, 3)
    over = node(part(message, 2), context)
    inner = context.inside(variable).inside(accumulator)
    start, step = node(part(message, 4), inner), node(part(message, 6), inner)
    kind, where, body = shape(start, step, accumulator)
    return Macro(kind=kind, variable=variable, over=over, where=where, body=body, type=type_, offset=offset)


def shape(start: Node, step: Node, accumulator: str) -> tuple[str, Node | None, Node | None]:
    """Return (kind, condition, value) from the comprehension's first value and step."""
    if not isinstance(step, Call):
        raise ExpressionError("this macro is not supported")
    if step.function == "_&&_":
        return "all", None, joined(step, accumulator)
    if step.function == "_||_":
        return "exists", None, joined(step, accumulator)
    condition: Node | None = None
    added: Node = step
    if step.function == "_?_:_":
        condition, added = step.args[0], step.args[1]
    if isinstance(start, Const) and start.type == "int":
        return "exists_one", None, condition
    if not isinstance(added, Call) or not isinstance(added.args[1], ListOf):
        raise ExpressionError("this macro is not supported")
    return "map", condition, added.args[1].items[0]


def joined(step: Call, accumulator: str) -> Node:
    """Return the predicate of all/exists: the step without the accumulator it is joined to."""
    rest = tuple(arg for arg in step.args if not (isinstance(arg, Local) and arg.name == accumulator))
    return rest[0] if len(rest) == 1 else msgspec.structs.replace(step, args=rest)
