"""Over a table an expression says of every row what it says of the row alone, and what the reference says."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from opportune.core.expressions import EvaluationError, Expression, ExpressionError, Missing, parse
from opportune.core.expressions.columns import Column, Tally, column, numbers, repeated, texts
from opportune.core.expressions.columns_evaluate import answers, over_rows, truth_over_rows
from opportune.core.expressions.values import COMPUTED_MAX, DURATION_MAX, TIMESTAMP_MAX, TIMESTAMP_MIN, plain

from . import random_conditions
from .reference import FAILED, VARIABLES, answerer
from .test_differential import LITERALS_REFUSED, same

ROWS_PER_CONDITION = 5


def outcome(run: Callable[[], object]) -> object:
    """The answer, `missing`, or `error`."""
    try:
        return run()
    except Missing:
        return "missing"
    except EvaluationError:
        return "error"


def parsed(text: str) -> Expression | None:
    """The expression, None for a text whose literals we refuse beforehand."""
    try:
        return parse(text, VARIABLES)
    except ExpressionError as refused:
        if any(words in str(refused) for words in LITERALS_REFUSED):
            return None
        raise


def alone(expression: Expression, rows: list[dict[str, Any]]) -> list[object]:
    return [outcome(partial(expression.evaluate, row)) for row in rows]


def generated(expression: Expression, rows: list[dict[str, Any]]) -> list[object]:
    names = sorted(expression.names)
    function = expression.function(names)
    return [outcome(partial(function, *(row.get(name) for name in names))) for row in rows]


def over_table(text_root: Any, rows: list[dict[str, Any]]) -> list[object]:
    """The answers of the table evaluation, as `outcome` says them."""
    columns = {name: column(type_, [row.get(name) for row in rows], name) for name, type_ in VARIABLES.items()}
    found = answers(over_rows(text_root, columns, len(rows)))
    return ["error" if one == EvaluationError.__name__ else plain(one) for one in found]


def pairs(count: int, seed: int) -> Counter[object]:
    """Conditions and rows until `count` pairs agreed in all four forms; how often each outcome came."""
    rng = random.Random(seed)
    seen: Counter[object] = Counter()
    while seen.total() < count:
        text = random_conditions.condition(rng)
        expression = parsed(text)
        if expression is None:
            continue
        rows = [random_conditions.row(rng) for _ in range(ROWS_PER_CONDITION)]
        answered = (alone(expression, rows), generated(expression, rows), over_table(expression.root, rows))
        reference = answerer(text)
        for row, exact, fast, tabled in zip(rows, *answered, strict=True):
            theirs = reference(row)

            assert exact == fast == tabled, (text, row, exact, fast, tabled)
            assert (theirs == FAILED) is (exact in ("missing", "error")), (text, row, exact, theirs)
            assert theirs == FAILED or theirs is exact, (text, row, exact, theirs)
            seen[exact] += 1
    return seen


def show(seen: Counter[object]) -> None:
    print(f"(condition, row) pairs in which generated = table = exact = Google's CEL: {seen.total():,}")
    for name in (True, False, "missing", "error"):
        print(f"  {seen[name]:8,} {str(name).lower()}")


@pytest.mark.slow
def test_generated_table_exact_and_reference_agree() -> None:
    """A few thousand pairs of every build; the outcomes are of all four kinds."""
    seen = pairs(4_000, 11)
    show(seen)

    assert min(seen[True], seen[False], seen["missing"], seen["error"]) > 200


@pytest.mark.torture
def test_generated_table_exact_and_reference_agree_100_000_times() -> None:
    seen = pairs(100_000, 12)
    show(seen)

    assert min(seen[True], seen[False], seen["missing"], seen["error"]) > 5_000


EDGES: dict[str, list[object]] = {
    "int": [*random_conditions.INTS, 2**31, 2**31 - 1, -(2**31), 2**62, -(2**62), 10**9, 3037000500, -3037000500],
    "double": [*random_conditions.DOUBLES, 2.0**63, -(2.0**63), 9.223372036854775e18, -math.inf, -0.5, 0.1],
    "timestamp": [0, 999, -1, TIMESTAMP_MIN, TIMESTAMP_MAX, 10**12],
    "duration": [0, 1, -1, DURATION_MAX, -DURATION_MAX, COMPUTED_MAX, -COMPUTED_MAX],
    "bool": [True, False],
}
OPERATIONS = [
    *((f"{{}} {sign} {{}}", "int", "int") for sign in ("+", "-", "*", "/", "%")),
    *((f"{{}} {sign} {{}}", "double", "double") for sign in ("+", "-", "*", "/")),
    *((f"{{}} {sign} {{}}", kind, kind) for sign in ("<", "<=", ">", ">=", "==", "!=") for kind in EDGES),
    ("{} + {}", "timestamp", "duration"), ("{} + {}", "duration", "timestamp"), ("{} - {}", "timestamp", "duration"),
    ("{} - {}", "timestamp", "timestamp"), ("{} + {}", "duration", "duration"), ("{} - {}", "duration", "duration"),
    *((f"{function}({{}}) == {function}({{}})", kind, kind) for function, kind in (
        ("-", "int"), ("-", "double"), ("int", "double"), ("int", "timestamp"), ("double", "int"), ("string", "int"),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("form", "left", "right"), OPERATIONS)
def test_operations_hold_at_every_edge(form: str, left: str, right: str) -> None:
    """Every pair of values at which numbers overflow, round, or leave their range, and of missing ones."""
    expression = parse(form.format("one", "other"), {"one": left, "other": right})
    rows = [{"one": one, "other": other} for one in (*EDGES[left], None) for other in (*EDGES[right], None)]
    columns = {
        "one": column(left, [row["one"] for row in rows]), "other": column(right, [row["other"] for row in rows]),
    }  # fmt: skip
    tabled = answers(over_rows(expression.root, columns, len(rows)))
    for row, exact, found in zip(rows, alone(expression, rows), tabled, strict=True):
        assert same(exact, "error" if found == EvaluationError.__name__ else plain(found)), (row, exact, found)


@pytest.mark.parametrize("type_", ["int", "double", "string", "timestamp", "duration", "list(string)", "dyn"])
def test_values_of_every_type_agree(type_: str) -> None:
    """Not only conditions: what an expression of any type gives, over a table and row by row, wrong types too."""
    rng = random.Random(type_)
    kinds: Counter[str] = Counter()
    for _ in range(60):
        expression = parsed(random_conditions.condition(rng, type_))
        if expression is None:
            continue
        rows = [random_conditions.row(rng) for _ in range(20)]
        for row in rows:
            row.update({name: rng.choice(["wrong", 7, 2**64, None]) for name in rng.sample(sorted(row), 1)})
        for row, exact, tabled in zip(
            rows, alone(expression, rows), over_table(expression.root, rows), strict=True
        ):
            assert same(exact, tabled), (expression.text, row, exact, tabled)
            kinds["lost" if exact in ("missing", "error") else "value"] += 1
    assert kinds["value"] > 100


def test_columns_of_arrays_are_those_of_values() -> None:
    """What a file gives (arrays and masks) and what callers give (values) are the same columns."""
    missing = np.array([False, True, False])

    for made, given in (
        (numbers("int", np.array([1, 9, 3]), missing), column("int", [1, None, 3])),
        (numbers("double", np.array([1, 9, 3]), missing), column("double", [1.0, None, 3])),
        (numbers("bool", np.array([True, False, False]), missing), column("bool", [True, None, False])),
        (texts(["a", None, "b"]), column("string", ["a", None, "b"])),
        (repeated("string", "a", 3), column("string", ["a", "a", "a"])),
        (repeated("int", None, 3), column("int", [None, None, None])),
        (repeated("int", "no", 3), column("int", ["no", "no", "no"])),
    ):
        assert answers(made) == answers(given)
        assert answers(made.rows(np.array([2, 0]))) == [answers(given)[2], answers(given)[0]]


def test_a_condition_is_true_only_where_it_has_an_answer() -> None:
    """`true` never marks a row whose value is missing or failed, whatever stands in its place."""
    root = parse("!(a / b > 1)", VARIABLES).root
    rows = {"a": column("int", [4, 4, None, 1]), "b": column("int", [2, 0, 1, 1])}
    found = truth_over_rows(root, rows, 4)

    assert found.true.tolist() == [False, False, False, True]
    assert found.missing is not None
    assert found.missing.tolist() == [False, False, True, False]
    assert found.failed is not None
    assert found.failed.tolist() == [False, True, False, False]


def test_work_is_done_once_per_distinct_value() -> None:
    """A thousand rows of three plans cost three looks, and numbers none."""
    tally = Tally()
    columns: dict[str, Column] = {
        "s": column("string", [("a", "ab", "b")[row % 3] for row in range(1000)]),
        "a": column("int", list(range(1000))),
    }
    found = truth_over_rows(parse("s.startsWith('a') && a % 2 == 0", VARIABLES).root, columns, 1000, tally)

    assert found.true.sum() == sum(1 for row in range(1000) if row % 3 < 2 and row % 2 == 0)
    assert (tally.rows, tally.values) == (1000, 4)  # three texts and the place that stands for none
