"""The checked expression as frozen nodes, and the questions asked of them."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec


class Const(msgspec.Struct, frozen=True, kw_only=True):
    """A literal, or what a constant part was folded to."""

    value: object
    type: str
    offset: int = 0


class Name(msgspec.Struct, frozen=True, kw_only=True):
    """A declared variable."""

    name: str
    type: str
    offset: int = 0


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """`has(variable)`: whether the caller gave a value at all."""

    name: str
    type: str = "bool"
    offset: int = 0


class Local(msgspec.Struct, frozen=True, kw_only=True):
    """The variable of an enclosing macro: the `x` of `xs.exists(x, ...)`."""

    name: str
    type: str
    offset: int = 0


class Select(msgspec.Struct, frozen=True, kw_only=True):
    """`operand.field` on a map, or `has(operand.field)` when `test` is set."""

    operand: "Node"
    field: str
    test: bool
    type: str
    offset: int = 0


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """An operator or function under its CEL name (`_+_`, `contains`); a method's target is the first argument.

    `_&&_` and `_||_` are flat: they may have more than two arguments.
    """

    function: str
    args: tuple["Node", ...]
    type: str
    offset: int = 0


class ListOf(msgspec.Struct, frozen=True, kw_only=True):
    """A list literal."""

    items: tuple["Node", ...]
    type: str
    offset: int = 0


class MapOf(msgspec.Struct, frozen=True, kw_only=True):
    """A map literal."""

    entries: tuple[tuple["Node", "Node"], ...]
    type: str
    offset: int = 0


class Macro(msgspec.Struct, frozen=True, kw_only=True):
    """One of all, exists, exists_one, map, filter over a list's items or a map's keys."""

    kind: str
    variable: str
    over: "Node"
    where: "Node | None"
    body: "Node | None"
    type: str
    offset: int = 0


Node: TypeAlias = Const | Name | Present | Local | Select | Call | ListOf | MapOf | Macro


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes directly below, in the order they are written."""
    if isinstance(node, Select):
        return (node.operand,)
    if isinstance(node, Call):
        return node.args
    if isinstance(node, ListOf):
        return node.items
    if isinstance(node, MapOf):
        return tuple(part for entry in node.entries for part in entry)
    if isinstance(node, Macro):
        return tuple(part for part in (node.over, node.where, node.body) if part is not None)
    return ()


def walk(node: Node) -> Iterator[Node]:
    """Yield the node and everything below it, parents first."""
    yield node
    for child in children(node):
        yield from walk(child)


def depth(node: Node) -> int:
    """Return the number of levels, 1 for a leaf."""
    return 1 + max((depth(child) for child in children(node)), default=0)


def free_names(node: Node) -> frozenset[str]:
    """Return the variables the node reads."""
    return frozenset(part.name for part in walk(node) if isinstance(part, Name | Present))


def free_locals(node: Node) -> frozenset[str]:
    """Return the macro variables the node reads from an enclosing macro."""
    if isinstance(node, Local):
        return frozenset((node.name,))
    if isinstance(node, Macro):
        inner = frozenset[str]().union(*(free_locals(part) for part in (node.where, node.body) if part is not None))
        return free_locals(node.over) | (inner - {node.variable})
    return frozenset[str]().union(*(free_locals(child) for child in children(node)))


def rebuild(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return the node with `change` applied to each direct child."""
    if isinstance(node, Select):
        return msgspec.structs.replace(node, operand=change(node.operand))
    if isinstance(node, Call):
        return msgspec.structs.replace(node, args=tuple(change(arg) for arg in node.args))
    if isinstance(node, ListOf):
        return msgspec.structs.replace(node, items=tuple(change(item) for item in node.items))
    if isinstance(node, MapOf):
        return msgspec.structs.replace(node, entries=tuple((change(k), change(v)) for k, v in node.entries))
    if isinstance(node, Macro):
        where = None if node.where is None else change(node.where)
        body = None if node.body is None else change(node.body)
        return msgspec.structs.replace(node, over=change(node.over), where=where, body=body)
    return node
