"""Compares nodes with the types of the documents and says, in plain words, everything that does not fit."""

from __future__ import annotations

import operator
import re
from collections.abc import Hashable, Iterable, Iterator
from datetime import datetime
from functools import cache
from typing import TypeVar, cast

import msgspec
from msgspec import inspect

from opportune.adapters.playbook.nodes import Entries, Entry, Items, Node, Scalar, Text, plain_value
from opportune.adapters.playbook.problems import PlaybookProblem
from opportune.core.wording import closest, dotted, listed, quoted

Path = tuple[str | int, ...]
T = TypeVar("T")

_CONTAINERS = (inspect.StructType, inspect.DictType, inspect.CollectionType, inspect.VarTupleType)

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|(\[\.\.\.\])")


def convert(text: Text, node: Node, kind: type[T], path: Path) -> tuple[T | None, tuple[PlaybookProblem, ...]]:
    """The document the node describes, or everything that is wrong with it; nothing is coerced."""
    problems = tuple(_check(text, node, _type_info(cast(Hashable, kind)), path))
    if problems:
        return None, problems
    try:
        return msgspec.convert(plain_value(node), kind, strict=True), ()
    except msgspec.ValidationError as error:
        # What the walk above does not know, such as a rule a document checks itself.
        return None, (_of_msgspec(text, node, str(error), path),)


@cache
def _type_info(kind: Hashable) -> inspect.Type:
    return inspect.type_info(kind)


def _check(text: Text, node: Node, kind: inspect.Type, path: Path) -> Iterator[PlaybookProblem]:
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        yield from _union(text, node, kind, path)
    elif isinstance(kind, inspect.StructType):
        yield from _struct(text, node, kind, path)
    elif isinstance(kind, inspect.DictType):
        yield from _mapping(text, node, kind, path)
    elif isinstance(kind, inspect.CollectionType | inspect.VarTupleType):
        if not isinstance(node, Items):
            yield _wrong(text, node, kind, path)
        else:
            for index, item in enumerate(node.items):
                yield from _check(text, item, kind.item_type, (*path, index))
    elif isinstance(kind, inspect.LiteralType):
        yield from _literal(text, node, kind, path)
    else:
        yield from _scalar(text, node, kind, path)


def _struct(text: Text, node: Node, kind: inspect.StructType, path: Path) -> Iterator[PlaybookProblem]:
    if not isinstance(node, Entries):
        yield _wrong(text, node, kind, path)
        return
    fields = {field.encode_name: field for field in kind.fields}
    given = {entry.name for entry in node.entries}
    meant: set[str] = set()
    for entry in node.entries:
        field = fields.get(entry.name)
        if field is not None:
            yield from _check(text, entry.value, field.type, (*path, entry.name))
            continue
        nearest = closest(entry.name, fields.keys() - given)
        message = f"unknown key {quoted(entry.name)}"
        if nearest is None:
            message += f": the keys here are {listed(fields)}"
        else:
            meant.add(nearest)
        yield text.problem(entry.key.start, dotted((*path, entry.name)), message, nearest)
    for name, field in fields.items():
        if field.required and name not in given and name not in meant:
            message = f"missing key `{name}`: add it, with {_expected(field.type)}"
            yield text.problem(node.start, dotted((*path, name)), message)


def _mapping(text: Text, node: Node, kind: inspect.DictType, path: Path) -> Iterator[PlaybookProblem]:
    if not isinstance(node, Entries):
        yield _wrong(text, node, kind, path)
        return
    for entry in node.entries:
        here = (*path, entry.name)
        yield from _key(text, entry, kind.key_type, here)
        yield from _check(text, entry.value, kind.value_type, here)


def _key(text: Text, entry: Entry, kind: inspect.Type, path: Path) -> Iterator[PlaybookProblem]:
    """What is wrong with the name of an entry, where names are not free."""
    words = ""
    if isinstance(kind, inspect.Metadata):
        words = str((kind.extra_json_schema or {}).get("description", ""))
        kind = kind.type
    if isinstance(kind, inspect.LiteralType):
        yield from _literal(text, entry.key, kind, path)
    elif isinstance(kind, inspect.StrType) and kind.pattern and not re.search(kind.pattern, entry.name):
        message = f"{quoted(entry.name)} cannot be a key here: it must be {words or f'like {kind.pattern}'}"
        yield text.problem(entry.key.start, dotted(path), message)


def _literal(text: Text, node: Node, kind: inspect.LiteralType, path: Path) -> Iterator[PlaybookProblem]:
    if isinstance(node, Scalar):
        if any(type(value) is type(node.value) and value == node.value for value in kind.values):
            return
        names = [str(value) for value in kind.values]
        message = f"{quoted(node.value)} is not one of {listed(names)}"
        if node.value is None:
            message = f"no value: choose one of {listed(names)}"
        nearest = closest(str(node.value), names)
        yield text.problem(node.start, dotted(path), message, nearest)
    else:
        yield _wrong(text, node, kind, path)


def _union(text: Text, node: Node, kind: inspect.UnionType, path: Path) -> Iterator[PlaybookProblem]:
    for option in kind.types:
        if _same_sort(node, option):
            yield from _check(text, node, option, path)
            return
    literal = next((option for option in kind.types if isinstance(option, inspect.LiteralType)), None)
    if literal is not None and isinstance(node, Scalar) and isinstance(node.value, str):
        yield from _literal(text, node, literal, path)
    else:
        yield _wrong(text, node, kind, path)


def _same_sort(node: Node, kind: inspect.Type) -> bool:
    """Whether this option of a union is the one the node was meant for."""
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    if _is_anything(kind):
        return True
    if isinstance(node, Entries):
        return isinstance(kind, inspect.StructType | inspect.DictType)
    if isinstance(node, Items):
        return isinstance(kind, inspect.CollectionType | inspect.VarTupleType)
    if isinstance(kind, inspect.LiteralType):
        return any(type(value) is type(node.value) and value == node.value for value in kind.values)
    return _fits(node, kind)


def _scalar(text: Text, node: Node, kind: inspect.Type, path: Path) -> Iterator[PlaybookProblem]:
    if _is_anything(kind):
        return
    if not isinstance(node, Scalar) or not _fits(node, kind):
        yield _wrong(text, node, kind, path)
        return
    if isinstance(kind, inspect.IntType | inspect.FloatType) and isinstance(node.value, int | float):
        message = _out_of_range(node.value, kind)
    elif isinstance(kind, inspect.DateTimeType):
        message = _bad_time(str(node.value), kind)
    else:
        return
    if message:
        yield text.problem(node.start, dotted(path), message)


def _fits(node: Scalar, kind: inspect.Type) -> bool:
    value = node.value
    if isinstance(kind, inspect.BoolType):
        return isinstance(value, bool)
    if isinstance(kind, inspect.IntType):
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(kind, inspect.FloatType):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(kind, inspect.NoneType):
        return value is None
    if isinstance(kind, inspect.StrType | inspect.DateTimeType | inspect.DateType | inspect.TimeType):
        return isinstance(value, str)
    # Kinds no document uses today are left to msgspec.
    return not isinstance(kind, _CONTAINERS)


def _is_anything(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.AnyType) or (isinstance(kind, inspect.CustomType) and kind.cls is object)


def _out_of_range(value: float, kind: inspect.IntType | inspect.FloatType) -> str:
    broken = (
        (kind.ge, "at least", operator.lt),
        (kind.gt, "more than", operator.le),
        (kind.le, "at most", operator.gt),
        (kind.lt, "less than", operator.ge),
    )
    for bound, words, breaks in broken:
        if bound is not None and breaks(value, bound):
            return f"{quoted(value)} is out of range: it must be {words} {bound}"
    return ""


def _bad_time(value: str, kind: inspect.DateTimeType) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return f"{quoted(value)} is not a date-time such as 2026-11-24T10:00:00Z"
    if kind.tz and moment.tzinfo is None:
        return f"{quoted(value)} has no time zone: add Z or an offset"
    return ""


def _wrong(text: Text, node: Node, kind: inspect.Type, path: Path) -> PlaybookProblem:
    name = f"`{path[-1]}`" if path and isinstance(path[-1], str) else "this"
    message = f"{name} must be {_expected(kind)}, not {_found(node)}"
    if isinstance(node, Scalar):
        if node.value is None:
            message = f"{name} has no value: give it {_expected(kind)}, or remove the key"
        elif not isinstance(node.value, str) and _accepts(kind, inspect.StrType):
            message += ": put it in quotes"
        elif isinstance(node.value, str) and node.style in ("'", '"') and _reads_as(node.value, kind):
            message += ": remove the quotes"
    return text.problem(node.start, dotted(path), message)


def _accepts(kind: inspect.Type, wanted: type[inspect.Type]) -> bool:
    if isinstance(kind, inspect.UnionType):
        return any(_accepts(option, wanted) for option in kind.types)
    return isinstance(kind, wanted)


def _reads_as(value: str, kind: inspect.Type) -> bool:
    if _accepts(kind, inspect.BoolType) and value.lower() in ("true", "false"):
        return True
    try:
        number = float(value)
    except ValueError:
        return False
    return _accepts(kind, inspect.FloatType) or (_accepts(kind, inspect.IntType) and number.is_integer())


def _expected(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        words = [_expected(option) for option in kind.types if not isinstance(option, inspect.NoneType)]
        return " or ".join(dict.fromkeys(words))
    if isinstance(kind, inspect.LiteralType):
        return f"one of {listed(str(value) for value in kind.values)}"
    if isinstance(kind, inspect.StructType):
        required = [field.encode_name for field in kind.fields if field.required]
        return f"a mapping with {listed(required)}" if required else "a mapping"
    if isinstance(kind, inspect.CollectionType | inspect.VarTupleType):
        return "a list"
    words_of: tuple[tuple[type[inspect.Type], str], ...] = (
        (inspect.StrType, "text"),
        (inspect.BoolType, "true or false"),
        (inspect.IntType, "a whole number"),
        (inspect.FloatType, "a number"),
        (inspect.DictType, "a mapping"),
        (inspect.DateTimeType, "a date-time such as 2026-11-24T10:00:00Z"),
        (inspect.NoneType, "null"),
    )
    return next((words for type_, words in words_of if isinstance(kind, type_)), "another value")


def _found(node: Node) -> str:
    if isinstance(node, Entries):
        return "a mapping"
    if isinstance(node, Items):
        return "a list"
    if isinstance(node.value, bool) or node.value is None:
        return quoted(node.value)
    return f"the {'text' if isinstance(node.value, str) else 'number'} {quoted(node.value)}"


def _of_msgspec(text: Text, node: Node, message: str, path: Path) -> PlaybookProblem:
    """A problem for msgspec's own message, at the node its path (`$.features[0].from`) leads to."""
    sentence, _, where = message.partition(" - at `")
    steps = where.rsplit("$", 1)[-1].rstrip("`")
    here, at = list(path), node
    for name, index, _any_key in _STEP.findall(steps):
        step: str | int = name or (int(index) if index else "")
        found = child(at, step) if step != "" else None
        if found is None:
            break
        here.append(step)
        at = found.value if isinstance(found, Entry) else found
    sentence = sentence[:1].lower() + sentence[1:]
    return text.problem(at.start, dotted(here), sentence)


def child(node: Node, step: str | int) -> Entry | Node | None:
    """The entry of a mapping, or the item of a list by position or by its own name; None when there is none."""
    if isinstance(node, Entries):
        return node.get(str(step))
    if isinstance(node, Items):
        if isinstance(step, int):
            return node.items[step] if 0 <= step < len(node.items) else None
        return next((item for item in node.items if step in _names(item)), None)
    return None


def _names(item: Node) -> Iterable[object]:
    """What an item of a list may be called by: itself, or the value of its first key, `id` or `name`."""
    if isinstance(item, Scalar):
        return (item.value,)
    if not isinstance(item, Entries):
        return ()
    first = item.entries[:1]
    named = tuple(entry for entry in item.entries if entry.name in ("id", "name"))
    return [entry.value.value for entry in first + named if isinstance(entry.value, Scalar)]
