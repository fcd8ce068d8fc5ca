"""Whether two versions of a signal's schema can stand for each other, shown from their structure alone.

FULL_TRANSITIVE: every version against every other, in both directions, since logs are replayed. Data counts as what a
version *declares*: a field that an open schema lets through without naming it is promised by nobody. What cannot be
shown is a problem: the check never says yes where data could fail. Keywords: JSON Schema Validation, 2020-12.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import jsonschema_rs
import msgspec

from opportune.core.schemas import Schema, json_type, pointed, properties_of, resolved
from opportune.core.signals import SignalContract
from opportune.core.upcasts import ContractProblem
from opportune.core.wording import dotted, listed, quoted

Path = tuple[str, ...]

_DEPTH_MAX = 32
_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_ANNOTATIONS = frozenset((
    "$schema", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "deprecated",
    "readOnly", "writeOnly", "class", "purposes",
))  # fmt: skip
_STRUCTURE = frozenset(("type", "enum", "const", "properties", "required", "additionalProperties", "items", "$ref"))
_BOUNDS = frozenset(("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"))
_COUNTS = {
    "minLength": "string", "maxLength": "string", "minItems": "array", "maxItems": "array",
    "minProperties": "object", "maxProperties": "object",
}  # fmt: skip
_TOGETHER = frozenset((
    "patternProperties", "unevaluatedProperties", "unevaluatedItems", "prefixItems", "minContains", "maxContains",
    "$dynamicRef", "$id", "$anchor", "$dynamicAnchor",
))  # fmt: skip
"""Keywords whose meaning depends on those beside them: with one of them, only equal schemas are compatible."""


class Incompatibility(msgspec.Struct, frozen=True):
    """Data of version `sent` (the older or the newer) that may not fit the other: the field and the reason."""

    path: Path
    why: str
    sent: Literal["older", "newer"]


def compatible(older: Schema, newer: Schema) -> list[Incompatibility]:
    """What of each version's declared data may not fit the other's schema; empty when both hold each other's."""
    older, newer = ({name: one for name, one in each.items() if name != "$id"} for each in (older, newer))
    forward = [Incompatibility(path, why, "older") for path, why in _Containment(older, newer).problems()]
    return forward + [Incompatibility(path, why, "newer") for path, why in _Containment(newer, older).problems()]


def version_problems(contract: SignalContract, versions: Sequence[SignalContract]) -> Iterator[ContractProblem]:
    """Where a contract does not fit the older versions of its signal type, each with its field.

    An older version that goes on by an upcaster is held against what the upcaster makes of it, where that leads.
    """
    for older in sorted(versions, key=lambda one: one.version):
        if older.version >= contract.version:
            continue
        if str(older.version) in contract.upcast:
            yield from _upcast_problems(older, contract)
        elif not any(str(older.version) in one.upcast for one in versions if one.version > older.version):
            for found in compatible(older.schema, contract.schema):
                sent, held = (older, contract) if found.sent == "older" else (contract, older)
                named = f"`{dotted(found.path)}` " if found.path else ""
                message = (
                    f"versions {older.version} and {contract.version} are not compatible: {named}of version "
                    f"{sent.version} {found.why} in version {held.version}; keep what was, give "
                    f"`upcast: {{{older.version}: …}}`, or use a new signal type"
                )
                yield ContractProblem(("schema", *_in_document(found.path)), message)


def changed(released: Schema, schema: Schema) -> bool:
    """Whether a schema means something else than the one released under its version; words beside it may change."""
    return bool(_bare(released) != _bare(schema))


def _upcast_problems(older: SignalContract, newer: SignalContract) -> Iterator[ContractProblem]:
    """What the upcaster leaves unsaid: a required field, or a field that carries over and does not fit."""
    given = newer.upcast[str(older.version)]
    before, after = properties_of(older.schema), properties_of(newer.schema)
    sure = set(resolved(older.schema, older.schema).get("required", ()))
    for name in resolved(newer.schema, newer.schema).get("required", ()):
        if name not in given and name not in sure:
            has = "may be missing" if name in before else "is not there"
            message = f"version {newer.version} requires `{name}`, which {has} in version {older.version}: name it here"
            yield ContractProblem(("upcast", str(older.version)), message, on_key=True)
    for name in before.keys() & after.keys() - given.keys():
        containment = _Containment(older.schema, newer.schema)
        for path, why in containment.within(before[name], after[name], (name,)):
            message = (
                f"`{dotted(path)}` carries over from version {older.version} but {why} in version "
                f"{newer.version}: name it here"
            )
            yield ContractProblem(("upcast", str(older.version)), message, on_key=True)


class _Containment:
    """Whether data declared by `sent` is valid under `held`; yields (path, why not)."""

    def __init__(self, sent: Schema, held: Schema) -> None:
        self.sent, self.held = sent, held
        self._open: set[tuple[str, str]] = set()

    def problems(self) -> list[tuple[Path, str]]:
        return list(dict.fromkeys(self.within(self.sent, self.held, ())))

    def within(self, sent: object, held: object, path: Path) -> Iterator[tuple[Path, str]]:
        """Recursive schemas: a pair that is being looked at already is taken to fit (data is finite)."""
        pair = (_text(sent), _text(held))
        if pair in self._open:
            return
        if len(path) > _DEPTH_MAX:
            yield path, "is nested too deeply to compare"
            return
        self._open.add(pair)
        try:
            yield from self._compare(sent, held, path)
        finally:
            self._open.discard(pair)

    def _compare(self, sent: object, held: object, path: Path) -> Iterator[tuple[Path, str]]:
        if sent is False or held is True or held == {}:
            return
        if held is False:
            yield path, "may be given, which is not allowed"
            return
        a, b = _followed(sent, self.sent), _followed(held, self.held)
        if a is None or b is None:
            if _same(sent, held, self.sent, self.held):
                return
            yield path, "uses a reference that cannot be compared"
            return
        if (_TOGETHER & (a.keys() | b.keys())) and not _same(a, b, self.sent, self.held):
            named = listed(sorted(_TOGETHER & (a.keys() | b.keys())))
            yield path, f"uses {named}, where only equal schemas can be shown to be compatible"
            return
        values = _finite(a)
        if values is not None and not _refers(b):
            yield from self._values(values, b, path)
            return
        yield from self._kinds(a, b, path)

    def _values(self, values: Sequence[Any], b: Schema, path: Path) -> Iterator[tuple[Path, str]]:
        """A closed list of values: each is held against the other schema itself."""
        validator = jsonschema_rs.Draft202012Validator(
            dict(b), validate_formats=True, offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
        odd = [value for value in values if not validator.is_valid(value)]
        if odd:
            yield path, f"may be {', '.join(quoted(value) for value in odd[:3])}, which is not allowed"

    def _kinds(self, a: Schema, b: Schema, path: Path) -> Iterator[tuple[Path, str]]:
        kinds, allowed = _kinds_of(a), _kinds_of(b)
        allowed |= {"integer"} if "number" in allowed else set()
        extra = sorted(kinds - allowed)
        if extra:
            yield path, f"may be {' or '.join(_WORDS[kind] for kind in extra)}, which is not allowed"
            return
        if _finite(b) is not None and not _same_values(a, b):
            yield path, "may have a value that is not one of those listed"
        if kinds & {"integer", "number"}:
            yield from _numbers(a, b, path)
        for name, kind in _COUNTS.items():
            if kind in kinds:
                yield from _count(a, b, name, path)
        if "string" in kinds:
            yield from _equal_or_absent(a, b, ("format", "pattern"), path)
        if "array" in kinds:
            yield from self._items(a, b, path)
        if "object" in kinds:
            yield from self._object(a, b, path)
        yield from self._unknown(a, b, path)

    def _items(self, a: Schema, b: Schema, path: Path) -> Iterator[tuple[Path, str]]:
        if b.get("uniqueItems") is True and a.get("uniqueItems") is not True:
            yield path, "may hold an item twice, which is not allowed"
        if a.get("maxItems") != 0:
            yield from self.within(a.get("items", True), b.get("items", True), (*path, "items"))

    def _object(self, a: Schema, b: Schema, path: Path) -> Iterator[tuple[Path, str]]:
        declared, known = _properties(a), _properties(b)
        required = set(a.get("required", ()))
        for name in b.get("required", ()):
            if name not in required:
                yield (*path, name), "may be missing, which is required"
        others, others_known = _others(a), _others(b)
        for name in [*declared, *(name for name in required if name not in declared)]:
            inner = declared.get(name, others)
            if name in known:
                yield from self.within(inner, known[name], (*path, name))
            elif others_known is False and inner is not False:
                yield (*path, name), "may be given, which is not a known field"
            elif others_known is not True:
                yield from self.within(inner, others_known, (*path, name))
        if isinstance(others, bool):
            return  # what an open schema lets through unnamed is promised by nobody
        for name, inner in known.items():
            if name not in declared and name not in required:
                yield from self.within(others, inner, (*path, name))
        yield from self.within(others, others_known, (*path, "*"))

    def _unknown(self, a: Schema, b: Schema, path: Path) -> Iterator[tuple[Path, str]]:
        """Keywords this check does not interpret hold only where both versions say exactly the same."""
        for name in b:
            if name in _ANNOTATIONS or name in _STRUCTURE or name in _KNOWN:
                continue
            if name not in a or not _same(a[name], b[name], self.sent, self.held):
                yield path, f"cannot be shown to meet `{name}`"


def _numbers(a: Schema, b: Schema, path: Path) -> Iterator[tuple[Path, str]]:
    whole = "number" not in _kinds_of(a)
    low, high = _lowest(a, whole), _highest(a, whole)
    low_allowed, high_allowed = _lowest(b, whole), _highest(b, whole)
    if low < low_allowed:
        yield path, f"may be less than {low_allowed[0]:g}, which is not allowed"
    if high > high_allowed:
        yield path, f"may be more than {high_allowed[0]:g}, which is not allowed"
    step, step_allowed = a.get("multipleOf"), b.get("multipleOf")
    if step_allowed is not None and step != step_allowed and not _multiple(step, step_allowed):
        yield path, f"may be no multiple of {step_allowed}, which is not allowed"


def _lowest(schema: Schema, whole: bool) -> tuple[float, int]:
    """The lower bound, ordered: (number, 1 when the number itself is left out)."""
    found = [(-math.inf, 0)]
    if "minimum" in schema:
        found.append((math.ceil(schema["minimum"]) if whole else schema["minimum"], 0))
    if "exclusiveMinimum" in schema:
        limit = schema["exclusiveMinimum"]
        found.append((math.floor(limit) + 1, 0) if whole else (limit, 1))
    return max(found)


def _highest(schema: Schema, whole: bool) -> tuple[float, int]:
    """The upper bound, ordered: (number, -1 when the number itself is left out)."""
    found = [(math.inf, 0)]
    if "maximum" in schema:
        found.append((math.floor(schema["maximum"]) if whole else schema["maximum"], 0))
    if "exclusiveMaximum" in schema:
        limit = schema["exclusiveMaximum"]
        found.append((math.ceil(limit) - 1, 0) if whole else (limit, -1))
    return min(found)


def _multiple(step: object, allowed: object) -> bool:
    return isinstance(step, int) and isinstance(allowed, int) and allowed > 0 and step % allowed == 0


def _count(a: Schema, b: Schema, name: str, path: Path) -> Iterator[tuple[Path, str]]:
    if name not in b:
        return
    noun = {"string": "characters", "array": "items", "object": "fields"}[_COUNTS[name]]
    if name.startswith("min"):
        if a.get(name, 0) < b[name]:
            yield path, f"may have fewer than {b[name]} {noun}, which is not allowed"
    elif a.get(name, math.inf) > b[name]:
        yield path, f"may have more than {b[name]} {noun}, which is not allowed"


def _equal_or_absent(a: Schema, b: Schema, names: Sequence[str], path: Path) -> Iterator[tuple[Path, str]]:
    for name in names:
        if name in b and a.get(name) != b[name]:
            yield path, f"may not have the {name} {quoted(b[name])}, which is required"


def _properties(schema: Schema) -> Mapping[str, Any]:
    found = schema.get("properties", {})
    return found if isinstance(found, Mapping) else {}


def _others(schema: Schema) -> object:
    """What fields beyond the declared ones may be: anything (true), none (false) or a schema."""
    found = schema.get("additionalProperties", True)
    return True if _bare(found) == {} else found


def _followed(schema: object, root: Schema) -> Schema | None:
    """The schema behind local references; None for a reference elsewhere, or one with conditions beside it."""
    if schema is True:
        return {}
    for _ in range(_DEPTH_MAX):
        if not isinstance(schema, Mapping):
            return {} if schema is True else {"not": {}} if schema is False else None
        reference = schema.get("$ref")
        if reference is None:
            return schema
        if schema.keys() - {"$ref"} - _ANNOTATIONS or not str(reference).startswith("#/"):
            return None
        schema = pointed(str(reference), root)
    return None


def _finite(schema: Schema) -> list[Any] | None:
    """The values of an `enum` or `const`, as far as the rest of the schema lets them be; None without one."""
    if "const" in schema:
        values = [schema["const"]]
    elif isinstance(schema.get("enum"), list | tuple):
        values = list(schema["enum"])
    else:
        return None
    kinds = schema.get("type")
    if kinds is None:
        return values
    allowed = _kinds_of(schema)
    return [one for one in values if _kind(one) in allowed or (_kind(one) == "integer" and "number" in allowed)]


def _same_values(a: Schema, b: Schema) -> bool:
    """Whether both list values, for schemas that could not be held against each other value by value."""
    values, allowed = _finite(a), _finite(b)
    return values is not None and allowed is not None and all(_text(one) in map(_text, allowed) for one in values)


def _kinds_of(schema: Schema) -> frozenset[str]:
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return frozenset((kinds,))
    if isinstance(kinds, list | tuple):
        return frozenset(kinds)
    if "const" in schema or "enum" in schema:
        values = schema["enum"] if "const" not in schema else [schema["const"]]
        return frozenset(_kind(value) for value in values)
    return frozenset(_TYPES)


def _kind(value: object) -> str:
    return "integer" if isinstance(value, float) and value.is_integer() else json_type(value)


def _same(one: object, other: object, root: Schema, other_root: Schema) -> bool:
    """Equal in every word that counts, with what their references lead to."""
    return bool(_bare(one) == _bare(other) and _targets(one, root, {}) == _targets(other, other_root, {}))


def _targets(schema: object, root: Schema, found: dict[str, Any]) -> dict[str, Any]:
    for reference in _references(schema):
        if reference not in found:
            target = root if reference == "#" else pointed(reference, root) if reference[:2] == "#/" else root
            found[reference] = _bare(target)
            _targets(target, root, found)
    return found


def _references(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in ("$ref", "$dynamicRef") and isinstance(inner, str):
                yield inner
            else:
                yield from _references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _references(inner)


def _refers(schema: object) -> bool:
    return next(_references(schema), None) is not None


_NAMED = frozenset(("properties", "patternProperties", "dependentSchemas", "$defs", "definitions"))
_LITERAL = frozenset(("enum", "const"))
_WORDY = _ANNOTATIONS - {"$defs", "definitions"}


def _bare(schema: object) -> Any:  # noqa: ANN401 - any JSON value
    """The schema without its annotations, at every depth; `true` and the empty schema are one."""
    if isinstance(schema, list | tuple):
        return [_bare(one) for one in schema]
    if not isinstance(schema, Mapping):
        return {} if schema is True else schema
    found: dict[str, Any] = {}
    for name, inner in schema.items():
        if name in _WORDY:
            continue
        if name in _LITERAL:
            found[name] = inner
        elif name == "required" and isinstance(inner, list | tuple):
            found[name] = sorted(map(str, inner))
        elif name in _NAMED and isinstance(inner, Mapping):
            found[name] = {key: _bare(one) for key, one in inner.items()}
        else:
            found[name] = _bare(inner) if not isinstance(inner, bool) else inner
    return found


def _text(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _in_document(path: Path) -> Path:
    """Where a field stands in a schema that writes its properties out."""
    found: Path = ()
    for step in path:
        found += ("items",) if step == "items" else ("additionalProperties",) if step == "*" else ("properties", step)
    return found


_KNOWN = _BOUNDS | _COUNTS.keys() | frozenset(("format", "pattern", "multipleOf", "uniqueItems"))
_WORDS = {
    "object": "an object", "array": "a list", "string": "text", "integer": "a whole number", "number": "a number",
    "boolean": "true or false", "null": "null",
}  # fmt: skip
