"""Compiles signal contracts: JSON Schema 2020-12 to a validator, and to the types expressions see."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import jsonschema_rs

from opportune.core.schemas import json_type
from opportune.core.signals import CompiledContract, SignalContract
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


def compile_contract(contract: SignalContract) -> CompiledContract:
    """The contract with its validator; ValueError when its schema is not valid JSON Schema 2020-12.

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

    return CompiledContract(contract, validate)


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
