"""Reads the JSON Schemas of signals: fields by dotted path, their types in expressions, and values in data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from opportune.core.signals import SignalContract

Schema = Mapping[str, Any]

_CEL_TYPES = {"integer": "int", "number": "double", "string": "string", "boolean": "bool"}
_LISTS = frozenset(("string", "int", "double"))  # the list types of core.expressions.TYPES
_REF_DEPTH_MAX = 16
_NESTED_MAX = 16


def signal_fields(contract: SignalContract) -> Mapping[str, str]:
    """The type in expressions of each property of `data`; `dyn` where the schema leaves it open."""
    return {name: cel_type(schema, contract.schema) for name, schema in properties_of(contract.schema).items()}


def fields_by_signal(contracts: Iterable[SignalContract]) -> dict[str, dict[str, str]]:
    """Payload fields per signal type, over all its versions; where versions disagree the type is dynamic."""
    found: dict[str, dict[str, str]] = {}
    for contract in contracts:
        fields = found.setdefault(contract.signal, {})
        for name, type_ in signal_fields(contract).items():
            fields[name] = type_ if fields.get(name, type_) == type_ else "dyn"
    return found


def properties_of(schema: object, root: Schema | None = None) -> Mapping[str, Any]:
    """The declared properties of an object's schema, references followed; empty when there are none."""
    found = resolved(schema, schema if root is None and isinstance(schema, Mapping) else root or {})
    properties = found.get("properties", {})
    return properties if isinstance(properties, Mapping) else {}


def resolved(schema: object, root: Schema) -> Schema:
    """The schema with its references inside the same document followed; empty when it says nothing."""
    found = schema
    for _ in range(_REF_DEPTH_MAX):
        if not isinstance(found, Mapping):
            return {}
        reference = found.get("$ref")
        if not isinstance(reference, str):
            return found
        if not reference.startswith("#/"):
            return {}
        found = pointed(reference, root)
    return {}


def pointed(reference: str, root: Schema) -> object:
    """What a reference such as `#/$defs/money` leads to; None when it leads nowhere."""
    at: object = root
    for step in reference[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        at = at.get(name) if isinstance(at, Mapping) else None
    return at


def way_to(schema: Schema, path: str) -> tuple[Schema, ...] | None:
    """The schemas on the way to a field (`price.amount`, `lines[].sku`), its own last; None when undeclared."""
    at: object = schema
    way: list[Schema] = []
    for step in path.split("."):
        name, bracket, _ = step.partition("[")
        properties = properties_of(at, schema)
        if name not in properties:
            return None
        at = properties[name]
        way.append(_with_own_words(at, schema))
        if bracket:
            at = resolved(at, schema).get("items", {})
            way.append(_with_own_words(at, schema))
    return tuple(way)


def nested(schema: object, root: Schema, depth: int = 0) -> Iterator[Schema]:
    """The schema and those of all fields and items inside it."""
    found = _with_own_words(schema, root)
    yield found
    if depth < _NESTED_MAX:
        for inner in properties_of(found, root).values():
            yield from nested(inner, root, depth + 1)
        if "items" in found:
            yield from nested(found["items"], root, depth + 1)


def cel_type(schema: object, root: Schema) -> str:
    """The type in expressions of what a schema describes."""
    found = resolved(schema, root)
    kind = found.get("type")
    if isinstance(kind, list):
        # A nullable property has the type of its values: a null is a missing value, as in expressions.
        kinds = [one for one in kind if one != "null"]
        kind = kinds[0] if len(kinds) == 1 else "number" if set(kinds) == {"integer", "number"} else None
    if kind is None and ("enum" in found or "const" in found):
        values = found["enum"] if isinstance(found.get("enum"), list) else [found.get("const")]
        names = {json_type(value) for value in values if value is not None}
        kind = names.pop() if len(names) == 1 else "number" if names == {"integer", "number"} else None
    if kind == "array":
        item = cel_type(found.get("items", {}), root)
        return f"list({item})" if item in _LISTS else "dyn"
    if kind == "object":
        return "map(string,dyn)"
    return _CEL_TYPES.get(kind, "dyn") if isinstance(kind, str) else "dyn"


def fits(found: str, wanted: str) -> bool:
    """Whether a value of one expression type can be the value of a field of another."""
    if "dyn" in (found, wanted) or found == wanted:
        return True
    if found == "timestamp":
        return wanted == "string"
    return (found, wanted) == ("int", "double") or _head(found) == _head(wanted) != ""


def json_type(value: object) -> str:
    """The JSON Schema name of a value's type."""
    if value is None:
        return "null"
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return kinds.get(type(value), "object")


def value_at(data: Mapping[str, Any], path: tuple[str, ...]) -> object:
    """The value at a path of names; None when it is not there."""
    at: object = data
    for name in path:
        if not isinstance(at, Mapping):
            return None
        at = at.get(name)
    return at


def with_value(data: Mapping[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    """A copy of the data with another value at a path; None leaves the field out."""
    name, *rest = path
    if rest:
        inner = data.get(name)
        value = with_value(inner if isinstance(inner, Mapping) else {}, tuple(rest), value)
    if value is None:
        return {key: one for key, one in data.items() if key != name}
    return {**data, name: value}


def _with_own_words(schema: object, root: Schema) -> Schema:
    """What a reference leads to, with what stands beside the reference (such as `class`) on top."""
    found = resolved(schema, root)
    if isinstance(schema, Mapping) and "$ref" in schema:
        return {**found, **{name: value for name, value in schema.items() if name != "$ref"}}
    return found


def _head(type_: str) -> str:
    return type_.partition("(")[0] if "(" in type_ else ""
