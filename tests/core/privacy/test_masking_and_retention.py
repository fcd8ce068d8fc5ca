"""Masking shows a shape and no value; retention removes fields by their class and age."""

from __future__ import annotations

import pytest

from opportune.core.customers import Origin
from opportune.core.masking import (
    EVERYTHING,
    IN_CLEAR,
    class_of_field,
    classes_of,
    clear_for,
    masked,
    masked_fields,
)
from opportune.core.retention import expired_traits, nearest_period, period_ms, without_expired
from opportune.core.signals import Repair, Signal, SignalContract

DAY_MS = 86_400_000
CONTRACT = SignalContract(
    signal="person.updated", owner="tests", class_="internal", identifiers={"mail": "email"},
    schema={
        "type": "object",
        "properties": {
            "plan": {"type": "string", "class": "public"},
            "mail": {"type": "string"},
            "name": {"$ref": "#/$defs/name"},
            "seats": {"type": "integer"},
            "home": {
                "type": "object", "class": "internal",
                "properties": {"street": {"type": "string", "class": "personal"}, "type": {"type": "string"}},
            },
            "visits": {
                "type": "array",
                "items": {"type": "object", "properties": {"why": {"type": "string", "class": "sensitive"}}},
            },
        },
        "$defs": {"name": {"type": "string", "class": "personal"}},
    },
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("jane.doe@example.co.uk", "j…@e….uk"), ("jane@example.com", "j…@e….com"), ("+49 170 1234567", "•••67"),
        ("0170/1234567", "•••67"), ("Jane Doe", "•••"), ("", ""), (7, None), (True, None), (1.5, None), (None, None),
        ({"a": "x", "b": [1, "y"]}, {"a": "•••", "b": [None, "•••"]}),
    ],
)  # fmt: skip
def test_a_masked_value_keeps_its_shape_alone(value: object, shown: object) -> None:
    assert masked(value, "personal", IN_CLEAR) == shown
    assert masked(value, "internal", IN_CLEAR) == value
    assert masked(value, "sensitive", EVERYTHING) == value


def test_scopes_open_their_own_class() -> None:
    assert clear_for({"read"}) == IN_CLEAR
    assert clear_for({"read", "personal"}) == IN_CLEAR | {"personal"}
    assert clear_for({"read", "personal", "sensitive"}) == EVERYTHING
    found = masked_fields({"plan": "pro", "name": "Jane", "said": "undeclared"}, classes_of(CONTRACT), IN_CLEAR)
    assert found == {"plan": "pro", "name": "•••", "said": "•••"}


@pytest.mark.parametrize(
    ("path", "class_"),
    [
        ("plan", "public"), ("seats", "internal"), ("mail", "personal"), ("name", "personal"),
        ("home.street", "personal"), ("home.type", "internal"), ("visits[].why", "sensitive"), ("nobody", "personal"),
    ],
)  # fmt: skip
def test_a_field_has_its_own_class_or_the_one_around_it(path: str, class_: str) -> None:
    assert class_of_field(CONTRACT, path) == class_
    assert class_of_field(None, path) == "personal"


def test_what_outlived_its_period_is_taken_out_of_a_signal() -> None:
    data = {
        "plan": "pro", "name": "Jane", "home": {"street": "Elm", "type": "flat"}, "visits": [{"why": "x", "seen": 1}],
        "seats": 3,
    }  # fmt: skip
    repairs = (Repair("r", "name", "jane", "Jane"), Repair("r", "plan", "PRO", "pro"))
    signal = Signal("s", "1", "person.updated", 1, 0, 0, "ada", None, data, (), repairs)
    class_of = classes_of(CONTRACT)
    same, gone = without_expired(signal, class_of, {"personal": 10 * DAY_MS}, 10 * DAY_MS)
    assert (same, gone) == (signal, 0)
    left, gone = without_expired(signal, class_of, {"personal": 10 * DAY_MS, "sensitive": DAY_MS}, 10 * DAY_MS + 1)
    assert left.data == {"plan": "pro", "home": {"type": "flat"}, "visits": [{}], "seats": 3}
    assert [one.field for one in left.repairs] == ["plan"]
    assert gone == 5
    assert signal.data is data


def test_traits_go_by_the_age_of_their_origin() -> None:
    origins = {"name": Origin("s", "1", 0), "mail": Origin("s", "2", 5 * DAY_MS), "plan": Origin("s", "1", 0)}
    traits = {"name": "Jane", "mail": "#12", "plan": "pro", "old": "undeclared"}
    periods = {"personal": 3 * DAY_MS}
    assert expired_traits(origins, traits, classes_of(CONTRACT), periods, 6 * DAY_MS, 7 * DAY_MS) == ("name",)  # type: ignore[arg-type]
    late = expired_traits(origins, traits, classes_of(CONTRACT), periods, 6 * DAY_MS, 10 * DAY_MS)  # type: ignore[arg-type]
    assert late == ("name", "mail", "old")


def test_periods_are_read_as_people_write_them() -> None:
    assert period_ms("3y") == 3 * 365 * DAY_MS
    assert period_ms("2w") == 14 * DAY_MS
    assert [nearest_period(text) for text in ("90 days", "3 years", "12H", "soon", "6 months")] == [
        "90d", "3y", "12h", None, None,
    ]  # fmt: skip
    for text in ("", "0d", "3", "-3d", "6 months", "1.5y"):
        with pytest.raises(ValueError, match="is not a period"):
            period_ms(text)
