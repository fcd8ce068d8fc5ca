"""Each row of feature_cases.yaml: these signals, this request, these values."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from ruamel.yaml import YAML

from opportune.core.features import (
    UNREAD,
    CompiledViews,
    EntityFeatures,
    FeatureView,
    compile_views,
    decode_state,
    encode_state,
)

T0_MS = 1_767_225_600_000
HOUR_MS = 3_600_000
FIELDS = {"n": "int", "d": "double", "s": "string", "b": "bool", "deep.n": "int"}
CASES = YAML(typ="safe").load((Path(__file__).parent / "feature_cases.yaml").read_text())


def compiled_of(*features: dict[str, Any], **view: Any) -> CompiledViews:
    document = {
        "view": "v",
        "version": 1,
        "entity": "account",
        "owner": "o",
        "purposes": ["service"],
        "features": features,
        **view,
    }
    return compile_views([msgspec.convert(document, FeatureView)], {"a": FIELDS, "b": FIELDS})


def at_ms(hours: float) -> int:
    return T0_MS + round(hours * HOUR_MS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "backwards"])
def test_a_feature_gives_the_values_of_its_table(case: dict[str, Any], backwards: bool) -> None:
    """Whatever the order of arrival."""
    compiled = compiled_of({"id": "x", **case["feature"]})
    state: EntityFeatures | None = None
    signals = list(enumerate(case["signals"]))
    for position, signal in reversed(signals) if backwards else signals:
        data = {key: value for key, value in signal.items() if key not in ("at", "id", "type")}
        signal_id = signal.get("id", f"s{position}")
        state = compiled.fold("account", state, signal.get("type", "a"), signal_id, at_ms(signal["at"]), data)
    state = None if state is None else decode_state(encode_state(state))
    for read in case["reads"]:
        vector = compiled.read(None, state, at_ms(read["now"]))
        (value,) = vector.values

        assert (value, type(value)) == (read["x"], type(read["x"])), read
        assert vector.missing == (("x",) if read["x"] is None else ())
        assert vector.unknown == (("x",) if read.get("unknown") else ())
        if "age_h" in read:
            age_h = read["age_h"]
            assert vector.ages_ms == (None if age_h is None else round(age_h * HOUR_MS),)


def test_derived_features_are_computed_in_the_order_they_need() -> None:
    """A derived feature may stand before what it reads, and may read another derived one."""
    compiled = compiled_of(
        {"id": "twice", "derive": "ratio * 2.0", "type": "double"},
        {"id": "ratio", "derive": "double(used) / double(total)", "type": "double"},
        {"id": "used", "from": "a", "value": "data.n", "aggregate": "last", "type": "int"},
        {"id": "total", "from": "b", "value": "data.n", "aggregate": "last", "type": "int"},
    )
    state = compiled.fold("account", None, "a", "1", at_ms(1), {"n": 3})
    assert compiled.read(None, state, at_ms(2)).missing == ("twice", "ratio", "total")

    state = compiled.fold("account", state, "b", "2", at_ms(2), {"n": 4})
    vector = compiled.read(None, state, at_ms(3))

    assert vector.values == (1.5, 0.75, 3, 4)
    assert [age // HOUR_MS for age in vector.ages_ms if age is not None] == [2, 2, 2, 1]

    state = compiled.fold("account", state, "b", "3", at_ms(3), {"n": 0})
    assert compiled.read(None, state, at_ms(3)).values == (None, None, 3, 0)


def test_a_derived_feature_may_answer_without_a_value_it_does_not_need() -> None:
    compiled = compiled_of(
        {"id": "busy", "derive": "n > 5 || m > 5", "type": "bool"},
        {"id": "n", "from": "a", "value": "data.n", "aggregate": "last", "type": "int"},
        {"id": "m", "from": "b", "value": "data.n", "aggregate": "last", "type": "int"},
    )
    state = compiled.fold("account", None, "a", "1", at_ms(1), {"n": 6})
    assert compiled.read(None, state, at_ms(1)).values == (True, 6, None)

    state = compiled.fold("account", None, "a", "1", at_ms(1), {"n": 5})
    assert compiled.read(None, state, at_ms(1)).values == (None, 5, None)


def test_a_default_is_never_given_for_what_is_unknown() -> None:
    """A state that was not read says nothing, however many defaults are declared."""
    compiled = compiled_of(
        {"id": "n", "from": "a", "aggregate": "count", "default": 0},
        {"id": "more", "derive": "n + 1", "type": "int", "default": 7},
        {"id": "w", "from": "a", "aggregate": "count", "window": "7d", "default": 0},
        {"id": "l", "from": "a", "value": "data.n", "aggregate": "last", "type": "int", "default": 1},
        {"id": "f", "from": "a", "value": "data.s", "aggregate": "first", "type": "string", "default": "-"},
        {"id": "t", "from": "a", "aggregate": "time_since", "unit": "d", "default": 9},
        {"id": "u", "from": "a", "value": "data.n", "aggregate": "distinct", "window": "7d", "default": 0},
        {"id": "s", "from": "a", "value": "data.d", "aggregate": "mean", "default": 0},
        {"id": "h", "from": "a", "value": "data.d", "aggregate": "max", "type": "double", "default": 0},
    )
    assert compiled.read(None, None, at_ms(1)).values == (0, 1, 0, 1, "-", 9, 0, 0.0, 0.0)

    vector = compiled.read(None, UNREAD, at_ms(1))

    assert vector.values == (None,) * 9
    assert vector.unknown == vector.missing == compiled.names
    with pytest.raises(ValueError, match="read it first"):
        compiled.fold("account", UNREAD, "a", "1", at_ms(1), {})


def test_values_older_than_the_view_allows_are_stale_and_so_is_what_rests_on_them() -> None:
    compiled = compiled_of(
        {"id": "more", "derive": "n + 1", "type": "int"},
        {"id": "n", "from": "a", "value": "data.n", "aggregate": "last", "type": "int"},
        {"id": "m", "from": "b", "aggregate": "count", "default": 0},
        freshness="2h",
    )
    state = compiled.fold("account", None, "a", "1", at_ms(1), {"n": 6})

    assert compiled.read(None, state, at_ms(3)).stale == ()
    assert compiled.read(None, state, at_ms(3) + 1).stale == ("more", "n")


def test_person_and_account_features_live_apart() -> None:
    """The same signal feeds both when both are asked to take it, and only the one asked."""
    views = [
        msgspec.convert(
            {
                "view": entity,
                "version": 1,
                "entity": entity,
                "owner": "o",
                "purposes": ["service"],
                "features": [{"id": f"{entity}_n", "from": "a", "aggregate": "count"}],
            },
            FeatureView,
        )
        for entity in ("person", "account")
    ]
    compiled = compile_views(views, {"a": {}})
    person = compiled.fold("person", None, "a", "1", at_ms(1), {})
    account = compiled.fold("account", None, "a", "1", at_ms(1), {})
    account = compiled.fold("account", account, "a", "2", at_ms(1), {})

    assert compiled.read(person, account, at_ms(1)).values == (1, 2)
    assert compiled.read(person, None, at_ms(1)).values == (1, None)
