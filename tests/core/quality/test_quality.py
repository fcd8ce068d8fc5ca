"""Quality rules: what breaks each kind, what each remedy makes of it, and that kept-out signals hold nothing."""

from __future__ import annotations

from typing import Any

import pytest

from opportune.core.contracts import compile_contract, contract_problems
from opportune.core.quality import Judged, Lookups, judge
from opportune.core.signals import QualityRule, Repair, Signal, SignalContract

NOW_MS = 1_795_478_400_000
DAY_MS = 86_400_000
SCHEMA = {
    "type": "object",
    "required": ["plan"],
    "properties": {
        "plan": {"type": "string"},
        "seats": {"type": "integer"},
        "share": {"type": "number", "maximum": 2},
        "offer": {"type": ["string", "null"]},
        "buyer": {"type": "string"},
        "price": {"type": "object", "properties": {"amount": {"type": "number"}, "unit": {"type": "string"}}},
        "note": {},
        "email": {"type": "string"},
    },
}


def contract(*rules: QualityRule) -> SignalContract:
    return SignalContract(
        signal="plan.changed", owner="tests", schema=SCHEMA, quality=rules, identifiers={"email": "email"}
    )


def rule(kind: Any, remedy: Any, **more: Any) -> QualityRule:
    return QualityRule(rule=more.pop("rule", "r"), kind=kind, remedy=remedy, **more)


def judged(
    data: dict[str, Any], *rules: QualityRule, age_ms: int = 0, held: frozenset[bytes] = frozenset()
) -> Judged:
    signal = Signal("tests", "s1", "plan.changed", 1, NOW_MS - age_ms, NOW_MS, "ada", None, {"plan": "team", **data})
    lookups = Lookups(
        customer={"ada"}.__contains__,
        account={"acme"}.__contains__,
        offer={"seats_10"}.__contains__,
        held=lambda _, value: value in held,
    )
    return judge(compile_contract(contract(*rules)), signal, NOW_MS, lookups)


BROKEN: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"kind": "range", "field": "seats", "min": 1, "max": 100}, {"seats": 101}, {"seats": 100}),
    ({"kind": "range", "field": "seats", "min": 1}, {"seats": 0}, {"seats": 1}),
    ({"kind": "range", "field": "share", "max": 0.5}, {"share": 0.75}, {"share": 0.5}),
    ({"kind": "range", "field": "price.amount", "min": 0}, {"price": {"amount": -3.5, "unit": "EUR"}}, {"amount": 0}),
    ({"kind": "set", "field": "plan", "values": ("team", "business"), "otherwise": "team"}, {"plan": "gold"},
     {"plan": "team"}),
    ({"kind": "set", "field": "plan", "values": ("team plus", "business"), "otherwise": "business"},
     {"plan": " TEAMplus"}, {"plan": "team plus"}),
    ({"kind": "referential", "field": "offer", "refers": "offer", "otherwise": "seats_10"}, {"offer": "seats_9"},
     {"offer": "seats_10"}),
    ({"kind": "referential", "field": "buyer", "refers": "account"}, {"buyer": "nobody"}, {"buyer": None}),
    ({"kind": "referential", "field": "buyer", "refers": "customer"}, {"buyer": "nobody"}, {"buyer": None}),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "data", "right"), BROKEN)
def test_each_remedy_of_a_broken_rule(keys: dict[str, Any], data: dict[str, Any], right: dict[str, Any]) -> None:
    plain = {name: value for name, value in keys.items() if name != "otherwise"}
    field = f"data.{keys['field']}"
    for remedy in ("reject", "quarantine"):
        out = judged(data, rule(remedy=remedy, **plain))
        assert (out.signal, out.remedy, out.problems[0].field) == (None, remedy, field)
        assert "`r`" in out.problems[0].message
    flagged = judged(data, rule(remedy="accept_and_flag", **plain)).signal
    assert flagged is not None
    assert (flagged.flags, flagged.repairs, flagged.data) == (("r",), (), {"plan": "team", **data})
    repaired = judged(data, rule(remedy="repair", **keys)).signal
    assert repaired is not None
    assert (repaired.flags, repaired.repairs[0].rule, repaired.repairs[0].field) == ((), "r", field)
    inside = repaired.data["price"] if "price" in data else repaired.data
    for name, value in right.items():
        assert inside.get(name) == value
        assert type(inside.get(name)) is type(value) or isinstance(value, int)
        assert repaired.repairs[0].after == value
    if "price" in data:
        assert inside["unit"] == "EUR"


def test_what_holds_or_is_missing_breaks_nothing() -> None:
    rules = [
        rule("range", "reject", field="seats", min=1, max=100),
        rule("set", "reject", rule="s", field="note", values=(1, True, "x")),
        rule("referential", "reject", rule="o", field="offer", refers="offer"),
        rule("uniqueness", "reject", rule="u", fields=("buyer", "seats")),
        rule("freshness", "reject", rule="f", within="7d"),
    ]
    empty = judged({"offer": None}, *rules, age_ms=7 * DAY_MS)
    assert empty.signal is not None
    assert empty.claims == ()
    assert judged({"seats": 100, "note": "x", "offer": "seats_10"}, *rules).signal is not None
    assert judged({"note": 2}, *rules).signal is None
    assert judged({}, *rules, age_ms=7 * DAY_MS + 1).problems[0].field == "time"


def test_one_and_true_are_not_the_same_value() -> None:
    assert judged({"note": True}, rule("set", "reject", field="note", values=(1,))).signal is None
    assert judged({"note": 1.0}, rule("set", "reject", field="note", values=(1,))).signal is not None


def test_a_value_is_held_once_and_digits_do_not_matter() -> None:
    once = rule("uniqueness", "quarantine", fields=("note", "plan"))
    first = judged({"note": 7}, once)
    ((name, digest),) = first.claims
    assert name == "plan.changed/r"
    again = judged({"note": 7.0}, once, held=frozenset({digest}))
    assert (again.signal, again.remedy, again.claims) == (None, "quarantine", ())
    assert judged({"note": 8}, once, held=frozenset({digest})).signal is not None


def test_a_signal_that_is_kept_out_claims_nothing() -> None:
    once = rule("uniqueness", "quarantine", rule="once", fields=("buyer",))
    out = judged({"buyer": "x", "seats": 0}, once, rule("range", "quarantine", field="seats", min=1))
    assert (out.signal, out.claims) == (None, ())


def test_later_rules_see_what_was_repaired() -> None:
    clamp = rule("range", "repair", field="seats", max=10)
    done = judged({"seats": 99}, clamp, rule("range", "reject", rule="late", field="seats", max=10)).signal
    assert done is not None
    assert done.repairs == (Repair("r", "data.seats", 99, 10),)


def test_a_repair_that_is_impossible_is_quarantined() -> None:
    words = judged({"note": "many"}, rule("range", "repair", field="note", max=10))
    assert (words.signal, words.remedy) == (None, "quarantine")
    # The schema allows at most 2: a value put up to 5 would not meet it.
    high = judged({"share": 1.0}, rule("range", "repair", field="share", min=5))
    assert (high.signal, high.remedy) == (None, "quarantine")


def test_everything_that_keeps_a_signal_out_is_named_and_reject_wins() -> None:
    rules = (
        rule("range", "quarantine", rule="a", field="seats", min=1),
        rule("set", "reject", rule="b", field="plan", values=("business",)),
    )
    out = judged({"seats": 0}, *rules)
    assert out.remedy == "reject"
    assert [problem.field for problem in out.problems] == ["data.seats", "data.plan"]


def test_no_value_is_told_in_a_problem() -> None:
    out = judged({"buyer": "ada@example.com"}, rule("referential", "reject", field="buyer", refers="customer"))
    assert "ada" not in out.problems[0].message


REFUSED: list[tuple[dict[str, Any], tuple[Any, ...], str]] = [
    ({"kind": "range", "field": "seat", "min": 1}, ("field",), "no field `seat`"),
    ({"kind": "range", "field": "price.amont", "min": 1}, ("field",), "no field `price.amont`"),
    ({"kind": "range", "field": "seats"}, (), "needs `min`, `max` or both"),
    ({"kind": "range", "field": "seats", "min": 3, "max": 1}, ("max",), "`max` is less than `min`"),
    ({"kind": "range", "field": "plan", "min": 3}, ("field",), "reads a number"),
    ({"kind": "range", "min": 3}, (), "needs `field`"),
    ({"kind": "range", "field": "seats", "min": 1, "values": ("a",)}, ("values",), "has no `values`"),
    ({"kind": "range", "field": "seats", "min": 1, "otherwise": 2, "remedy": "repair"}, ("otherwise",),
     "nearest bound"),
    ({"kind": "set", "field": "plan"}, (), "needs `values`"),
    ({"kind": "set", "field": "plan", "values": ("a",), "remedy": "repair"}, ("remedy",), "is required"),
    ({"kind": "set", "field": "buyer", "values": ("a",), "otherwise": "b", "remedy": "repair"}, ("otherwise",),
     "not one of the rule's own values"),
    ({"kind": "set", "field": "seats", "values": (1, "a"), "otherwise": "a", "remedy": "repair"}, ("otherwise",),
     "no value of `seats`"),
    ({"kind": "set", "field": "buyer", "values": ("a",), "otherwise": "a"}, ("otherwise",), "for the remedy `repair`"),
    ({"kind": "freshness"}, (), "needs `within`"),
    ({"kind": "freshness", "within": "soon"}, ("within",), "is not a duration"),
    ({"kind": "freshness", "within": "7d", "field": "seats"}, ("field",), "has no `field`"),
    ({"kind": "freshness", "within": "7d", "remedy": "repair"}, ("remedy",), "cannot be repaired"),
    ({"kind": "uniqueness", "fields": ("plan",), "remedy": "repair"}, ("remedy",), "cannot be repaired"),
    ({"kind": "uniqueness", "field": "plan"}, (), "needs `fields`"),
    ({"kind": "uniqueness", "fields": ("plan", "plam")}, ("fields", 1), "no field `plam`"),
    ({"kind": "referential", "field": "offer"}, (), "needs `refers`"),
    ({"kind": "referential", "field": "seats", "refers": "offer"}, ("field",), "reads text"),
    ({"kind": "set", "field": "email", "values": ("a",)}, ("field",), "only a keyed hash is kept"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "path", "message"), REFUSED)
def test_a_rule_that_cannot_work_is_refused(keys: dict[str, Any], path: tuple[Any, ...], message: str) -> None:
    wrong = contract(rule(**{"remedy": "quarantine", **keys}))
    found = [one for one in contract_problems(wrong, [wrong]) if message in one.message]
    assert found, list(contract_problems(wrong, [wrong]))
    assert found[0].path == ("quality", 0, *path)
    with pytest.raises(ValueError, match="version 1"):
        compile_contract(wrong)


def test_two_rules_of_one_name_are_refused() -> None:
    twice = contract(rule("freshness", "reject", within="1d"), rule("freshness", "reject", within="2d"))
    assert [one.path for one in contract_problems(twice, [twice])] == [("quality", 1, "rule")]
