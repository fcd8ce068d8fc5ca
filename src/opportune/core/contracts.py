"""Compiles signal contracts: JSON Schema 2020-12 to a validator, with quality rules, upcasters and field classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, get_args

import jsonschema_rs
import msgspec

from opportune.core.compatibility import version_problems
from opportune.core.quality import compile_rules, rule_problems
from opportune.core.schemas import json_type, nested, properties_of, way_to
from opportune.core.signals import CompiledContract, FieldClass, SignalContract
from opportune.core.upcasts import ContractProblem, onward_of, upcast_problems
from opportune.core.wording import closest, dotted, listed, quoted

PROBLEM_COUNT_MAX = 5
DIALECT = "https://json-schema.org/draft/2020-12/schema"

_WORDS = {
    "object": "an object",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_FIELD_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_.$-]{0,63}")


CLASSES: tuple[FieldClass, ...] = get_args(FieldClass)
"""From the least careful to the most."""


class ContractError(ValueError):
    """A contract that cannot be used: `place` leads to the field in its document."""

    def __init__(self, contract: SignalContract, problem: ContractProblem) -> None:
        hint = f"; did you mean `{problem.nearest}`?" if problem.nearest else ""
        super().__init__(f"schema `{contract.signal}` version {contract.version}: {problem.message}{hint}")
        self.contract = contract
        self.problem = problem


def compile_contracts(
    contracts: Sequence[SignalContract], compiled: Callable[[SignalContract], CompiledContract] | None = None
) -> dict[tuple[str, int], CompiledContract]:
    """The registry of a release, by type and version; ContractError names the first thing that is wrong.

    `compiled` compiles one contract by itself, `compile_contract` when none is given.
    """
    compiled = compiled or compile_contract
    for contract in contracts:
        for problem in contract_problems(contract, contracts):
            raise ContractError(contract, problem)
    found: dict[tuple[str, int], CompiledContract] = {}
    for contract in contracts:
        versions = [one for one in contracts if one.signal == contract.signal]
        onward = onward_of(contract, versions)
        found[contract.signal, contract.version] = msgspec.structs.replace(compiled(contract), onward=onward)
    return found


def contract_problems(
    contract: SignalContract, contracts: Sequence[SignalContract]
) -> Iterator[ContractProblem]:
    """Everything wrong with a contract: its schema, classes, rules, upcasters, and how it fits its other versions."""
    broken = False
    for path, message, nearest in schema_problems(contract.schema):
        broken = True
        yield ContractProblem(("schema", *path), message, nearest)
    if broken:
        return
    yield from _class_problems(contract.schema, ("schema",))
    yield from _identifier_problems(contract)
    yield from rule_problems(contract)
    versions = [one for one in contracts if one.signal == contract.signal]
    if len(versions) < 2 and not contract.upcast:
        return
    found = list(upcast_problems(contract, versions))
    yield from found
    if not found and not any(schema_problems(one.schema) for one in versions):
        yield from version_problems(contract, versions)


def field_class(compiled: CompiledContract | SignalContract, path: str) -> FieldClass:
    """How carefully a field of `data` (`role`, `lines[].sku`) is handled.

    Its own `class`, else that of what surrounds it, else the contract's. A field nobody declared is personal; an
    identifier is personal at least.
    """
    contract = compiled.contract if isinstance(compiled, CompiledContract) else compiled
    way = way_to(contract.schema, path)
    if way is None:
        return _most_careful(("personal", contract.class_))
    own = next((one["class"] for one in reversed(way) if one.get("class") in CLASSES), contract.class_)
    return _most_careful((own, "personal")) if path in contract.identifiers else own


def field_purposes(compiled: CompiledContract | SignalContract, path: str) -> frozenset[str] | None:
    """What a field of `data` may be used for; None for every purpose. An empty path asks for the signal itself.

    Its own `purposes`, else those of what surrounds it, else the contract's; whoever reads an object reads all that
    is declared inside it.
    """
    contract = compiled.contract if isinstance(compiled, CompiledContract) else compiled
    whole = frozenset(contract.purposes) or None
    way = way_to(contract.schema, path) if path else None
    if way is None:
        return whole
    own = next((frozenset(one["purposes"]) for one in reversed(way) if one.get("purposes")), whole)
    for inner in nested(way[-1], contract.schema):
        if inner.get("purposes"):
            said = frozenset(inner["purposes"])
            own = said if own is None else own & said
    return own


def _most_careful(classes: Sequence[FieldClass]) -> FieldClass:
    return max(classes, key=CLASSES.index)


def _class_problems(schema: object, path: tuple[str | int, ...]) -> Iterator[ContractProblem]:
    """`class` and `purposes` that say nothing known, in a schema and the fields and items inside it."""
    if not isinstance(schema, Mapping):
        return
    if "class" in schema and schema["class"] not in CLASSES:
        message = f"{quoted(schema['class'])} is no class of data: use {listed(CLASSES)}"
        yield ContractProblem((*path, "class"), message, closest(str(schema["class"]), CLASSES))
    purposes = schema.get("purposes", ("any",))
    named = isinstance(purposes, list | tuple) and all(isinstance(one, str) and one.strip() for one in purposes)
    if not named or not purposes:
        message = "`purposes` must be a list of purposes such as `[service]`; leave it out for the contract's own"
        yield ContractProblem((*path, "purposes"), message, on_key=True)
    for collection in ("properties", "$defs", "definitions"):
        inside = schema.get(collection)
        if isinstance(inside, Mapping):
            for name, inner in inside.items():
                yield from _class_problems(inner, (*path, collection, name))
    yield from _class_problems(schema.get("items"), (*path, "items"))


def _identifier_problems(contract: SignalContract) -> Iterator[ContractProblem]:
    properties = properties_of(contract.schema)
    for name in contract.identifiers:
        if name not in properties:
            nearest = closest(name, properties)
            message = f"unknown property {quoted(name)}"
            if nearest is None:
                message += f": the schema has {listed(sorted(properties))}" if properties else ": it has none"
            yield ContractProblem(("identifiers", name), message, nearest, on_key=True)


def compile_contract(contract: SignalContract) -> CompiledContract:
    """The contract with its validator and rules, by itself; ValueError when its schema is not JSON Schema 2020-12.

    The validator yields (path such as `.count`, message) at most PROBLEM_COUNT_MAX times. Messages say what was
    expected; of the value they show its type, or a number or enum value cut short, never other text.
    Patterns run in linear time, so look-around and back-references in them are refused.
    """
    problems = schema_problems(contract.schema)
    if problems:
        path, message, _ = problems[0]
        raise ValueError(f"schema of `{contract.signal}`: {message} (at `{dotted(path)}`)")
    validator = _validator(contract.schema)
    personal = frozenset(contract.identifiers)

    def validate(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for error in islice(validator.iter_errors(data), PROBLEM_COUNT_MAX):
            yield _path(error), _message(error, personal)

    return CompiledContract(contract, validate, compile_rules(contract))


def schema_problems(schema: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str, str | None]]:
    """What is wrong with a schema as (path in it, message, nearest known name); empty when it compiles."""
    dialect = schema.get("$schema", DIALECT)
    if dialect not in (DIALECT, DIALECT + "#"):
        return [(("$schema",), f"{quoted(dialect)} is not supported: remove it, schemas are 2020-12", None)]
    if schema.get("type", "object") != "object":
        return [(("type",), "the data of a signal is an object: write `type: object`", None)]
    try:
        _validator(schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        path = tuple(getattr(error, "instance_path", ()))
        value = getattr(error, "instance", None)
        if path and path[-1] == "type" and isinstance(value, str):
            message = f"{quoted(value)} is not a JSON type: use {listed(_WORDS)}"
            return [(path, message, closest(value, _WORDS))]
        first_line = (str(getattr(error, "message", "") or error).splitlines() or ["it does not compile"])[0]
        return [(path, f"not a valid JSON Schema 2020-12: {first_line[:200]}", None)]
    return []


def _validator(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        dict(schema), validate_formats=True, offline=True, pattern_options=jsonschema_rs.RegexOptions()
    )


def _path(error: jsonschema_rs.ValidationError) -> str:
    text = dotted(step if isinstance(step, int) else _field_name(step) for step in error.instance_path)
    return text if not text or text.startswith("[") else f".{text}"


def _field_name(name: str) -> str:
    """A field's name, unless it looks like a value: somebody may use an e-mail address as a key."""
    return name if _FIELD_NAME.fullmatch(name) else "*"


def _message(error: jsonschema_rs.ValidationError, personal: frozenset[str]) -> str:
    kind: Any = error.kind
    found = _WORDS[json_type(error.instance)]
    hidden = any(step in personal for step in error.instance_path)
    value = found if hidden or not _may_show(error.instance) else quoted(error.instance)
    match kind.name:
        case "type":
            types = sorted(kind.types, key=lambda name: (name == "null", name))
            return f"must be {' or '.join(_WORDS.get(name, name) for name in types)}, not {found}"
        case "required":
            return f"`{kind.property}` is missing: the contract requires it"
        case "additionalProperties" | "unevaluatedProperties":
            names = listed(map(_field_name, kind.unexpected), 3)
            return f"unknown field {names}: add it to the contract or leave it out"
        case "enum":
            shown = found if hidden else quoted(str(error.instance)[:20]) if _scalar(error.instance) else found
            return f"{shown} is not one of {listed(str(option) for option in kind.options)}"
        case "const":
            return f"must be {quoted(kind.expected_value)}"
        case "minimum":
            return f"{value} is less than {kind.limit}"
        case "maximum":
            return f"{value} is more than {kind.limit}"
        case "exclusiveMinimum":
            return f"{value} must be more than {kind.limit}"
        case "exclusiveMaximum":
            return f"{value} must be less than {kind.limit}"
        case "multipleOf":
            return f"{value} is not a multiple of {kind.multiple_of}"
        case "minLength" | "minItems" | "minProperties":
            return f"is too short: at least {kind.limit} {_UNITS[kind.name]}"
        case "maxLength" | "maxItems" | "maxProperties":
            return f"is too long: at most {kind.limit} {_UNITS[kind.name]}"
        case "format":
            return f"must have the format `{kind.format}`"
        case "pattern":
            return f"must match the pattern {quoted(kind.pattern)}"
        case "uniqueItems":
            return "must not hold the same item twice"
        case name:
            return f"does not meet `{name}` of the contract"


_UNITS = {
    "minLength": "characters",
    "maxLength": "characters",
    "minItems": "items",
    "maxItems": "items",
    "minProperties": "fields",
    "maxProperties": "fields",
}


def _scalar(value: object) -> bool:
    return isinstance(value, bool | int | float | str)


def _may_show(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
