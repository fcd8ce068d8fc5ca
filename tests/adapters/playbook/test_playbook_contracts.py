"""Contracts: validators that explain without echoing what people sent, and the types expressions see."""

from typing import Any

import pytest

from opportune.adapters.playbook import compile_contract, signal_fields
from opportune.core.expressions import TYPES
from opportune.core.signals import SignalContract

PERSONAL = "joe.bloggs@example.com"


def contract(**schema: Any) -> SignalContract:
    return SignalContract(signal="a.b", owner="o", schema=schema, identifiers={"mail": "email"})


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "integer"}, "12", "must be a whole number, not text"),
        ({"type": ["integer", "null"]}, "12", "must be a whole number or null, not text"),
        ({"minimum": 3}, 1, "`1` is less than 3"),
        ({"exclusiveMaximum": 3}, 3.5, "`3.5` must be less than 3"),
        ({"multipleOf": 2}, 3, "`3` is not a multiple of 2"),
        ({"enum": ["a", "b"]}, "c" * 80, "`cccccccccccccccccccc` is not one of `a`, `b`"),
        ({"const": 1}, 2, "must be `1`"),
        ({"maxLength": 3}, PERSONAL, "is too long: at most 3 characters"),
        ({"minItems": 1}, [], "is too short: at least 1 items"),
        ({"format": "date-time"}, PERSONAL, "must have the format `date-time`"),
        ({"pattern": "^[0-9]+$"}, PERSONAL, "must match the pattern `^[0-9]+$`"),
        ({"uniqueItems": True}, [1, 1], "must not hold the same item twice"),
        ({"not": {"type": "string"}}, PERSONAL, "does not meet `not` of the contract"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, PERSONAL, "does not meet `anyOf` of the contract"),
    ],
)
def test_a_violation_is_explained_without_the_value(schema: dict[str, Any], value: object, message: str) -> None:
    validate = compile_contract(contract(properties={"count": schema})).validate
    assert list(validate({"count": value})) == [(".count", message)]
    assert PERSONAL not in message


def test_paths_lead_into_lists_and_missing_or_extra_fields_are_named() -> None:
    validate = compile_contract(
        contract(
            required=["used"],
            additionalProperties=False,
            properties={"rows": {"items": {"properties": {"n": {"type": "integer"}}}}},
        )
    ).validate
    assert sorted(validate({"rows": [{"n": 1}, {"n": "x"}], "extra": 1, PERSONAL: 2})) == [
        ("", "`used` is missing: the contract requires it"),
        ("", "unknown field `extra`, `*`: add it to the contract or leave it out"),
        (".rows[1].n", "must be a whole number, not text"),
    ]


def test_at_most_five_problems_and_never_an_identifier() -> None:
    validate = compile_contract(contract(additionalProperties={"type": "string"})).validate
    assert len(list(validate({f"k{number}": number for number in range(99)}))) == 5
    hidden = compile_contract(contract(properties={"mail": {"enum": ["a"], "minimum": 5}})).validate
    assert list(hidden({"mail": PERSONAL})) == [(".mail", "text is not one of `a`")]


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$ref": "https://example.com/x"}}},
        {"properties": {"a": {"$ref": "#/$defs/none"}}},
        {"properties": {"a": {"pattern": "(?=x)"}}},
        {"properties": {"a": {"pattern": "("}}},
        {"type": "array"},
        {"required": "a"},
    ],
)
def test_a_schema_that_is_not_sound_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"schema of `a\.b`"):
        compile_contract(contract(**schema))


def test_fields_have_the_types_of_expressions() -> None:
    fields = signal_fields(
        contract(
            **{"$defs": {"money": {"type": "number"}}},
            properties={
                "count": {"type": "integer"},
                "mrr": {"$ref": "#/$defs/money"},
                "plan": {"enum": ["team", "business"]},
                "trial": {"type": ["boolean", "null"]},
                "seats": {"type": ["integer", "number"]},
                "tags": {"type": "array", "items": {"type": "string"}},
                "flags": {"type": "array", "items": {"type": "boolean"}},
                "address": {"type": "object"},
                "anything": {},
                "free": True,
                "either": {"type": ["string", "integer"]},
                "loop": {"$ref": "#/properties/loop"},
                "level": {"const": 3},
            },
        )
    )
    assert fields == {
        "count": "int",
        "mrr": "double",
        "plan": "string",
        "trial": "bool",
        "seats": "double",
        "tags": "list(string)",
        "flags": "dyn",
        "address": "map(string,dyn)",
        "anything": "dyn",
        "free": "dyn",
        "either": "dyn",
        "loop": "dyn",
        "level": "int",
    }
    assert set(fields.values()) <= set(TYPES)
