"""Versions that stand for each other: a table of changes, and for any two schemas, that a yes is never wrong."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opportune.core.compatibility import changed, compatible
from opportune.core.contracts import contract_problems
from opportune.core.signals import SignalContract

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""


def of(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def closed(*required: str, **properties: Any) -> dict[str, Any]:
    return {**of(*required, **properties), "additionalProperties": False}


TEXT, WHOLE, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
FITS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("words", of(a={**TEXT, "description": "x", "class": "personal"}), of(a={**TEXT, "purposes": ["service"]})),
    ("an optional field more", of(a=TEXT), of(a=TEXT, b=WHOLE)),
    ("an optional field less", of("a", a=TEXT, b=WHOLE), of("a", a=TEXT)),
    ("the same by another word", of(a={"const": "x"}), of(a={"enum": ["x"], "type": "string"})),
    ("the same whole numbers", of(a={**WHOLE, "minimum": 1}), of(a={**WHOLE, "exclusiveMinimum": 0.5})),
    ("order of types", of(a={"type": ["string", "null"]}), of(a={"type": ["null", "string"]})),
    ("a reference instead", of(a=TEXT), {**of(a={"$ref": "#/$defs/t"}), "$defs": {"t": TEXT}}),
    ("an equal unknown keyword", of(a={"anyOf": [TEXT, WHOLE]}), of(a={"anyOf": [TEXT, WHOLE]})),
    ("a recursive schema", {**of(a={"$ref": "#"})}, {**of(a={"$ref": "#"})}),
]
FITS_NOT: list[tuple[str, dict[str, Any], dict[str, Any], str, tuple[str, ...]]] = [
    ("another type", of(a=TEXT), of(a=WHOLE), "older newer", ("a",)),
    ("a wider type", of(a=WHOLE), of(a=NUMBER), "newer", ("a",)),
    ("a null", of(a=TEXT), of(a={"type": ["string", "null"]}), "newer", ("a",)),
    ("newly required", of(a=TEXT), of("a", a=TEXT), "older", ("a",)),
    ("no longer required", of("a", a=TEXT), of(a=TEXT), "newer", ("a",)),
    ("one more value", of(a={"enum": ["x"]}), of(a={"enum": ["x", "y"]}), "newer", ("a",)),
    ("values for text", of(a=TEXT), of(a={"enum": ["x"]}), "older", ("a",)),
    ("a higher floor", of(a={**WHOLE, "minimum": 0}), of(a={**WHOLE, "minimum": 1}), "older", ("a",)),
    ("open end", of(a={**NUMBER, "maximum": 1}), of(a={**NUMBER, "exclusiveMaximum": 1}), "older", ("a",)),
    ("shorter text", of(a=TEXT), of(a={**TEXT, "maxLength": 3}), "older", ("a",)),
    ("a format", of(a=TEXT), of(a={**TEXT, "format": "date"}), "older", ("a",)),
    ("a new field in a closed schema", closed(a=TEXT), closed(a=TEXT, b=WHOLE), "newer", ("b",)),
    ("a field less, closed", of(a=TEXT, b=WHOLE), closed(a=TEXT), "older", ("b",)),
    ("items", of(a={"type": "array", "items": TEXT}), of(a={"type": "array", "items": WHOLE}), "older newer",
     ("a", "items")),
    ("inside", of(a=of(b=TEXT)), of(a=of(b=WHOLE)), "older newer", ("a", "b")),
    ("others of a type", {**of(), "additionalProperties": TEXT}, of(b=WHOLE), "older newer", ("b",)),
    ("an unknown keyword", of(a={"not": TEXT}), of(a={"not": WHOLE}), "older newer", ("a",)),
    ("behind a reference", {**of(a={"anyOf": [{"$ref": "#/$defs/t"}]}), "$defs": {"t": TEXT}},
     {**of(a={"anyOf": [{"$ref": "#/$defs/t"}]}), "$defs": {"t": WHOLE}}, "older newer", ("a",)),
    ("patterns with names", {**of(a=TEXT), "patternProperties": {"^x": TEXT}},
     {**of(a=TEXT, xy=WHOLE), "patternProperties": {"^x": TEXT}}, "older newer", ()),
    ("places of a list", of(a={"prefixItems": [TEXT], "items": WHOLE}), of(a={"items": WHOLE}), "older newer", ("a",)),
]  # fmt: skip


@pytest.mark.parametrize(("older", "newer"), [case[1:] for case in FITS], ids=[case[0] for case in FITS])
def test_these_stand_for_each_other(older: dict[str, Any], newer: dict[str, Any]) -> None:
    assert compatible(older, newer) == []


@pytest.mark.parametrize(
    ("older", "newer", "sent", "path"), [case[1:] for case in FITS_NOT], ids=[case[0] for case in FITS_NOT]
)
def test_these_do_not(older: dict[str, Any], newer: dict[str, Any], sent: str, path: tuple[str, ...]) -> None:
    found = compatible(older, newer)
    assert {one.sent for one in found} <= set(sent.split())
    assert path in {one.path for one in found}


def scalars() -> st.SearchStrategy[dict[str, Any]]:
    small = st.integers(-2, 3)
    return st.one_of(
        st.fixed_dictionaries({"type": st.just("integer")}, optional={
            "minimum": small, "maximum": small, "exclusiveMinimum": small, "multipleOf": st.integers(1, 3)}),
        st.fixed_dictionaries({"type": st.sampled_from(["number", ["number", "null"]])}, optional={
            "minimum": st.sampled_from([-1, 0, 0.5]), "exclusiveMaximum": st.sampled_from([0.5, 1, 2])}),
        st.fixed_dictionaries({"type": st.sampled_from(["string", ["null", "string"]])}, optional={
            "minLength": st.integers(0, 2), "maxLength": st.integers(1, 3), "pattern": st.sampled_from(["^a", "b"])}),
        st.fixed_dictionaries({"enum": st.lists(st.sampled_from(["a", "ab", 1, 2.5, None]), min_size=1, unique=True)}),
        st.just({"type": "boolean"}),
        st.just({}),
        st.just({"$ref": "#/$defs/t"}),
    )  # fmt: skip


def objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3)},
        optional={
            "required": st.lists(st.sampled_from("abc"), unique=True, max_size=2),
            "additionalProperties": st.one_of(st.booleans(), inner),
            "minProperties": st.integers(0, 2), "maxProperties": st.integers(1, 3),
        },
    )  # fmt: skip


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    inner = st.recursive(
        scalars(),
        lambda inside: st.one_of(
            objects(inside),
            st.fixed_dictionaries({"type": st.just("array")}, optional={
                "items": inside, "minItems": st.integers(0, 1), "maxItems": st.integers(0, 2)}),
            st.fixed_dictionaries({"anyOf": st.lists(inside, min_size=1, max_size=2)}),
        ),
        max_leaves=4,
    )  # fmt: skip
    definition = scalars().filter(lambda one: "$ref" not in one)
    return st.tuples(objects(inner), definition).map(lambda pair: {**pair[0], "$defs": {"t": pair[1]}})


NUDGES: list[tuple[str, Any]] = [
    ("minimum", 0), ("maximum", 1), ("exclusiveMaximum", 1), ("minLength", 2), ("maxLength", 1), ("multipleOf", 2),
    ("minItems", 1), ("maxItems", 1), ("minProperties", 1), ("maxProperties", 1), ("required", ["a"]),
    ("additionalProperties", False), ("pattern", "^a"), ("uniqueItems", True), ("items", {"type": "string"}),
]  # fmt: skip


@st.composite
def versions(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two schemas, the second often the first with one thing changed: unrelated ones are seldom compatible."""
    older = draw(schemas())
    if draw(st.booleans()):
        return older, draw(schemas())
    newer = {**older, "properties": dict(older["properties"])}
    name = draw(st.sampled_from([*"abcd", *older["properties"], *older["properties"]]))
    change = draw(st.integers(0, 3))
    if change == 0:
        newer["properties"].pop(name, None)
    elif change < 3 and name in newer["properties"]:
        keyword, value = draw(st.sampled_from(NUDGES))
        newer["properties"][name] = {**newer["properties"][name], keyword: value}
    else:
        newer["properties"][name] = draw(scalars())
    return older, newer


POOL: list[Any] = [
    None, True, -2, -1, 0, 1, 2, 3, 4, 0.5, 1.0, 2.5, "", "a", "ab", "abcd", "b", [], ["a"], [1, 1], ["a", "a"],
    [None, 2], {}, {"a": 1}, {"a": "a", "b": 1}, {"b": None}, {"a": 0.5, "b": "ab", "c": []},
]  # fmt: skip


def samples_of(schema: dict[str, Any], random: Random) -> Iterator[dict[str, Any]]:
    """Data made of values that each field allows, with and without the fields that may be left out."""
    others = schema.get("additionalProperties", True)
    names = [*schema["properties"], *schema.get("required", ()), *("abc" if isinstance(others, dict) else "")]
    choices: dict[str, list[Any]] = {}
    for name in names:
        inner = schema["properties"].get(name, others)
        validator = jsonschema_rs.Draft202012Validator({"allOf": [inner], "$defs": schema["$defs"]})
        choices[name] = [value for value in POOL if validator.is_valid(value)]
    for _ in range(12):
        yield {name: random.choice(some) for name, some in choices.items() if some and random.random() < 0.7}


def declared(schema: Any, value: Any, root: dict[str, Any]) -> bool:
    """Whether the value holds only fields that the schema speaks of, as data of a version does."""
    if isinstance(schema, dict) and "$ref" in schema:
        schema = root["$defs"]["t"]
    if not isinstance(schema, dict):
        return True
    if "anyOf" in schema and len(schema) == 1:
        return any(
            declared(one, value, root) and valid({**one, "$defs": root["$defs"]}, value) for one in schema["anyOf"]
        )
    if isinstance(value, dict) and "properties" in schema:
        others = schema.get("additionalProperties", True)
        named = {*schema["properties"], *schema.get("required", ())}
        for name, inner in value.items():
            if name not in named and others in (True, {}):
                return False
            if not declared(schema["properties"].get(name, others), inner, root):
                return False
    if isinstance(value, list):
        return all(declared(schema.get("items", True), inner, root) for inner in value)
    return True


def valid(schema: dict[str, Any], value: Any) -> bool:
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True).is_valid(value)


def test_a_yes_is_never_wrong() -> None:
    held = 0

    @settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(versions(), st.integers(0, 2**32))
    def never_wrong(pair: tuple[dict[str, Any], dict[str, Any]], seed: int) -> None:
        nonlocal held
        older, newer = pair
        found = {one.sent for one in compatible(older, newer)}
        for sent, one, other in (("older", older, newer), ("newer", newer, older)):
            for value in samples_of(one, Random(seed)) if sent not in found else ():
                if valid(one, value) and declared(one, value, one):
                    held += 1
                    assert valid(other, value), (one, other, value)

    never_wrong()
    assert held > 1000


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas())
def test_every_schema_stands_for_itself(schema: dict[str, Any]) -> None:
    assert compatible(schema, schema) == []
    assert not changed(schema, {**schema, "description": "other words"})


def contracts(*schemas: dict[str, Any]) -> list[SignalContract]:
    return [
        SignalContract(signal="s", version=number, owner="tests", schema=schema)
        for number, schema in enumerate(schemas, 1)
    ]


def problems(*schemas: dict[str, Any]) -> Iterator[tuple[int, tuple[str | int, ...], str]]:
    registry = contracts(*schemas)
    for contract in registry:
        for one in contract_problems(contract, registry):
            yield contract.version, one.path, one.message


def test_every_version_is_held_against_every_other() -> None:
    # Each neighbour fits; the third gives a field of the first another type.
    found = list(problems(of(a=TEXT), of(), of(a=WHOLE)))
    assert {(version, path) for version, path, _ in found} == {(3, ("schema", "properties", "a"))}
    assert all("versions 1 and 3 are not compatible: `a` of version" in message for _, _, message in found)


def test_a_version_that_goes_on_by_an_upcaster_is_held_against_that_alone() -> None:
    first, second, third = contracts(of(a=TEXT), of(a=WHOLE), of(a=WHOLE, b=TEXT))
    second = SignalContract(
        signal="s", version=2, owner="tests", schema=second.schema, upcast={"1": {"a": "size(data.a)"}}
    )
    registry = [first, second, third]
    assert [one for contract in registry for one in contract_problems(contract, registry)] == []
