"""Decision tables: every form of a cell, what each hit policy makes of the rows, and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opportune.core.expressions import EvaluationError, Expression, Missing, parse
from opportune.core.policies import Variable, run_policy_tests
from opportune.core.policies.cells import CellError, Column
from opportune.core.policies.decision_tables import ROWS_MAX, compile_table
from opportune.core.policies.table_documents import DecisionTable, TableTest

TYPES = {
    "plan": "string", "seats": "int", "mrr": "double", "trial": "bool", "now": "timestamp", "age": "duration",
    "tags": "list(string)", "offer.seats": "int", "context": "map(string,dyn)", "priority": "int",
}  # fmt: skip

CELLS = [
    ("plan", "team", "plan == 'team'"),
    ("plan", "team | pro", "plan in ['team', 'pro']"),
    ("plan", "\"a,b\", 'c'", "plan in ['a,b', 'c']"),
    ("plan", "New York", "plan == 'New York'"),
    ("plan", "O'Neill", "plan == 'O\\'Neill'"),
    ("plan", "a..b", "plan == 'a..b'"),
    ("plan", "true", "plan == 'true'"),
    ("plan", "not(team)", "!(plan == 'team')"),
    ("plan", "NOT (team, pro)", "!(plan in ['team', 'pro'])"),
    ("plan", "<> team", "plan != 'team'"),
    ("plan", "missing", "!has(plan)"),
    ("plan", "missing | team", "(!has(plan) || plan == 'team')"),
    ("plan", "not(missing)", "has(plan)"),
    ("plan", "given", "has(plan)"),
    ("plan", "'missing'", "plan == 'missing'"),
    ("plan", "-", None),
    ("plan", "–", None),
    ("plan", "  ", None),
    ("seats", ">= 10", "seats >= 10"),
    ("seats", "≥10", "seats >= 10"),
    ("seats", "=< 10", "seats <= 10"),
    ("seats", "[10..20)", "(seats >= 10 && seats < 20)"),
    ("seats", "]10..20]", "(seats > 10 && seats <= 20)"),
    ("seats", "-5..5", "(seats >= -5 && seats <= 5)"),
    ("seats", "1, 2", "seats in [1, 2]"),
    ("seats", "< 3 | > 9", "(seats < 3 || seats > 9)"),
    ("seats", ">= {offer.seats * 2}", "seats >= (offer.seats * 2)"),
    ("seats * 2", "> 4", "(seats * 2) > 4"),
    ("mrr", "10", "mrr == 10.0"),
    ("mrr", "60%", "mrr == 0.6"),
    ("trial", "yes", "trial"),
    ("trial", "FALSE", "!trial"),
    ("seats > 3", "no", "!(seats > 3)"),
    ("now", ">= 2026-11-24", "now >= timestamp('2026-11-24T00:00:00Z')"),
    ("age", "> 7d", "age > duration('604800s')"),
    ("tags", "vip", "('vip' in tags)"),
    ("tags", "not(vip | staff)", "!(('vip' in tags) || ('staff' in tags))"),
]

REFUSED = [
    ("seats", "1,5", 0, "can be read in two ways"),
    ("mrr", "> 1.000,50", 0, "can be read in two ways"),
    ("mrr", "3 | 1,000", 3, "can be read in two ways"),
    ("seats", "10.5", 0, "is not a whole number"),
    ("seats", "10 | x", 5, "`x` is not a whole number"),
    ("seats", "offer.seats", 0, "write `{offer.seats}`"),
    ("seats", "99999999999999999999", 0, "is not a whole number"),
    ("mrr", "1e999", 0, "is not a number"),
    ("mrr", "nan", 0, "is not a number"),
    ("seats", ">=", 2, "a value is missing after `>=`"),
    ("seats", "[1..5", 0, "a bracket at both ends"),
    ("seats", "1..", 0, "a span has two ends"),
    ("plan", "a,,b", 2, "a value is missing between two separators"),
    ("plan", "'a", 0, "is not closed"),
    ("plan", "'a' b", 0, "is not closed, or something stands behind it"),
    ("plan", "not()", 4, "needs what is excluded"),
    ("plan", "not team", 0, "write `not(team)`"),
    ("plan", "{pln}", 1, "unknown name `pln`"),
    ("plan", "{seats}", 0, "`seats` is int"),
    ("trial", "maybe", 0, "is not `true` or `false`"),
    ("trial", "> true", 2, "does not apply to true and false"),
    ("now", "2026-13-01", 0, "is not a time"),
    ("tags", "> a", 2, "does not apply to a list"),
    ("tags", "[a..b]", 0, "a span needs numbers or times"),
    ("seats * 2", "missing", 0, "ask about a variable"),
    ("plan", "x" * 3000, 0, "at most 2000 characters"),
]  # fmt: skip


def column(heading: str) -> Column:
    return Column(heading, parse(heading, TYPES).type, TYPES)


def table(*rows: dict[str, Any], **more: Any) -> DecisionTable:
    fields: dict[str, Any] = {
        "table": "t",
        "owner": "o",
        "class_": "commercial",
        "effect": "permit",
        "reason": "r",
        **more,
    }
    return DecisionTable(rows=rows, **fields)


def whens(found: DecisionTable) -> list[str]:
    compiled = compile_table(found, TYPES)
    assert compiled.problems == ()
    return [row.policy.when for row in compiled.rows]


def problems(found: DecisionTable) -> list[tuple[tuple[str | int, ...], str]]:
    return [(one.path, one.message) for one in compile_table(found, TYPES).problems]


@pytest.mark.parametrize(("heading", "cell", "expected"), CELLS)
def test_a_cell_means_an_expression_that_compiles(heading: str, cell: str, expected: str | None) -> None:
    found = column(heading).condition(cell)

    assert found == expected
    assert found is None or parse(found, TYPES, expect="bool")


@pytest.mark.parametrize(("heading", "cell", "offset", "message"), REFUSED)
def test_a_cell_that_cannot_be_read_says_where_and_why(heading: str, cell: str, offset: int, message: str) -> None:
    with pytest.raises(CellError) as caught:
        column(heading).condition(cell)
    assert message in caught.value.message
    assert caught.value.offset == offset


def test_rows_become_policies_named_after_the_table() -> None:
    compiled = compile_table(
        table(
            {"plan": "team", "id": "small", "reason": "few {seats}"},
            {"plan": "pro", "Effect": "adjust", "adjust": 15, "obligations": "review, disclose", "priority": 7},
            adjust="1.0", hit_policy="collect", version=3,
        ),
        TYPES,
    )  # fmt: skip
    small, lever = (row.policy for row in compiled.rows)
    assert (small.id, small.when, small.reason, small.version, small.adjust) == (
        "t.small", "plan == 'team'", "few {seats}", 3, None,
    )  # fmt: skip
    assert (lever.id, lever.effect, lever.adjust, lever.obligations, lever.priority, lever.owner) == (
        "t.2", "adjust", "15.0", ("review", "disclose"), 7, "o",
    )  # fmt: skip


def test_a_heading_that_is_also_a_field_is_a_variable_in_brackets() -> None:
    assert whens(table({"(priority)": "> 3", "priority": 2})) == ["(priority) > 3"]


def test_a_list_is_any_of_its_values() -> None:
    assert whens(table({"plan": ("team", "a,b"), "seats": (1, 2), "trial": True})) == [
        "plan in ['team', 'a,b'] && seats in [1, 2] && trial"
    ]


def test_first_excludes_the_rows_above_unless_one_column_keeps_them_apart() -> None:
    rows: tuple[dict[str, Any], ...] = ({"plan": "team", "seats": ">= 10"}, {"plan": "pro"}, {"seats": ">= 5"}, {})
    assert whens(table(*rows, hit_policy="first")) == [
        "plan == 'team' && seats >= 10",
        "plan == 'pro'",
        "seats >= 5 && !(plan == 'team' && seats >= 10) && !(plan == 'pro')",
        "!(plan == 'team' && seats >= 10) && !(plan == 'pro') && !(seats >= 5)",
    ]


def test_a_row_above_excludes_only_while_it_is_valid() -> None:
    rows: tuple[dict[str, Any], ...] = ({"plan": "team", "valid_to": "2026-06-30"}, {"plan": "team"})
    first, second = whens(table(*rows, hit_policy="first"))
    assert first == "plan == 'team'"
    assert second == "plan == 'team' && !(now < timestamp('2026-07-01T00:00:00Z') && plan == 'team')"
    assert problems(table({"valid_to": "2026-06-30"}, {"valid_from": "2026-07-01"})) == []


def test_rows_of_a_unique_table_that_apply_together_are_named_with_an_example() -> None:
    rows = ({"plan": "team", "seats": ">= 10"}, {"plan": "pro"}, {"plan": "team | x", "seats": "[5..20)"})
    assert problems(table(*rows)) == [
        (
            ("rows", 2),
            "rows `1` and `3` both apply when `seats` is 10 and `plan` is team: make them exclude each other, or "
            "choose hit policy `first`",
        )
    ]


def test_rows_of_an_any_table_must_say_the_same() -> None:
    same = ({"plan": "team"}, {"seats": "> 3"})
    assert whens(table(*same, hit_policy="any")) == ["plan == 'team'", "seats > 3 && !(plan == 'team')"]
    ((path, message),) = problems(table(same[0], {**same[1], "effect": "forbid"}, hit_policy="any"))
    assert path == ("rows", 1)
    assert "but do not say the same" in message


WRONG: list[tuple[DecisionTable, tuple[Any, ...], str]] = [
    (table(), ("rows",), "no rows"),
    (table(*[{"plan": "a"}] * (ROWS_MAX + 1)), ("rows",), f"more than {ROWS_MAX} rows"),
    (table({"pln": "team"}), ("rows", 0, "pln"), "unknown name `pln`"),
    (table({"seats >": "3"}), ("rows", 0, "seats >"), "this heading: this is not a CEL expression"),
    (table({"context": "x"}), ("rows", 0, "context"), "no type that cells can be compared with"),
    (table({"plan": "'"}), ("rows", 0, "plan"), "is not closed"),
    (table({"effect": "perm"}), ("rows", 0, "effect"), "`perm` is not one of"),
    (table({"class": "legl"}), ("rows", 0, "class"), "`legl` is not one of"),
    (table({"priority": "high"}), ("rows", 0, "priority"), "is not a whole number"),
    (table({"explore": "perhaps"}), ("rows", 0, "explore"), "is not `true` or `false`"),
    (table({"adjust": "plan"}), ("rows", 0, "adjust"), "double"),
    (table({"reason": ("a", "b")}), ("rows", 0, "reason"), "one value, not a list"),
    (table({}, owner=None), ("rows", 0), "row `1` has no `owner`"),
    (table({"id": "a", "plan": "x"}, {"id": "a", "plan": "y"}), ("rows", 1, "id"), "there twice, first as row 1"),
    (table({}, tests=(TableTest(name="a", expect=3),)), ("tests", 0, "expect"), "there is no row `3`"),
    (table({}, tests=(TableTest(name="a", given={"x": 1}, expect=1),)), ("tests", 0, "given", "x"), "unknown name"),
    (table({}, tests=(TableTest(name="a", expect=1), TableTest(name="a", expect=1))), ("tests", 1, "name"), "two"),
    (table({}, {}, hit_policy="first", tests=(TableTest(name="a", expect=(1, 2)),)), ("tests", 0, "expect"), "one row"),
    (table({}, tests=(TableTest(name="a", given={"seats": "> 3"}, expect=1),)), ("tests", 0, "given", "seats"), "each"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "path", "message"), WRONG)
def test_what_is_wrong_with_a_table_names_the_field(wrong: DecisionTable, path: tuple[Any, ...], message: str) -> None:
    found = problems(wrong)
    assert found
    assert found[0][0] == path
    assert message in found[0][1]


def test_a_first_table_that_grows_too_long_says_so() -> None:
    rows = [{"seats": f">= {300 - number}", "mrr": f"> {number}"} for number in range(300)]
    found = problems(table(*rows, hit_policy="first"))
    assert found
    assert "split the table" in found[0][1]


def test_tests_of_a_table_say_which_row_applies_and_that_the_others_do_not() -> None:
    tests = (
        TableTest(name="team", given={"plan": "team", "seats": "3"}, expect=1),
        TableTest(name="nothing", given={"plan": "x", "seats": 3}, expect="none"),
        TableTest(name="unknown", given={"seats": 3}, expect={"1": "missing"}),
        TableTest(name="wrong", given={"plan": "pro", "seats": 3}, expect=1),
    )
    rows = compile_table(table({"plan": "team"}, {"plan": "pro", "seats": "< 9"}, tests=tests), TYPES).rows
    variables = [Variable(name, type_, "request") for name, type_ in TYPES.items()]
    results = run_policy_tests([row.policy for row in rows], variables)
    assert [(one.policy, one.test, one.passed) for one in results] == [
        ("t.1", "team", True), ("t.1", "nothing", True), ("t.1", "unknown", True), ("t.1", "wrong", False),
        ("t.2", "team", True), ("t.2", "nothing", True), ("t.2", "wrong", False),
    ]  # fmt: skip


# --- what the hit policies promise, over all values ----------------------------------------------------------------

SMALL = {"a": "int", "b": "string", "c": "bool", "now": "timestamp"}
VALUES: dict[str, tuple[Any, ...]] = {"a": (None, 0, 1, 2, 3), "b": (None, "x", "y", "z"), "c": (None, True, False)}
PARTS: dict[str, list[str]] = {
    "a": ["-", "1", ">= 2", "[1..3)", "not(0 | 3)", "missing", "< 2 | missing"],
    "b": ["-", "x", "x | y", "not(x)", "given"], "c": ["-", "yes", "no"],
}  # fmt: skip
ROWS = st.lists(
    st.fixed_dictionaries({name: st.sampled_from(cells) for name, cells in PARTS.items()}), min_size=1, max_size=5
)


def answer(expression: Expression, values: dict[str, Any]) -> bool | None:
    try:
        return expression.evaluate(values) is True
    except (Missing, EvaluationError):
        return None


@settings(max_examples=50, deadline=None)
@given(ROWS)
def test_hit_policies_hold_for_all_values(rows: list[dict[str, str]]) -> None:
    """`first`: the topmost that applies, and a row above without an answer leaves those below without one; `unique`:
    two rows apply together for some values exactly when that is told."""
    first = compile_table(table(*rows, hit_policy="first"), SMALL).rows
    unique = compile_table(table(*rows), SMALL)
    told = {one.path for one in unique.problems}
    together = False
    owns = [parse(row.own, SMALL) for row in first]
    whens = [parse(row.policy.when, SMALL) for row in first]
    for combination in itertools.product(*VALUES.values()):
        values = {name: value for name, value in zip(VALUES, combination, strict=True) if value is not None}
        own = [answer(one, values) for one in owns]
        got = [answer(one, values) for one in whens]
        expected: list[bool | None] = []
        for place, one in enumerate(own):
            above = own[:place]
            if one is False or True in above:
                expected.append(False)
            else:
                expected.append(None if None in (one, *above) else one)

        assert got == expected, (values, [row.policy.when for row in first])
        together |= own.count(True) > 1
    assert together == bool(told)
