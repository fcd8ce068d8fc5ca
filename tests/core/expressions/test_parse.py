"""What the reader of expressions refuses, in which words and where; and what missing values do."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from opportune.core.expressions import (
    EvaluationError,
    ExpressionError,
    Missing,
    fold_constants,
    free_names,
    parse,
)
from opportune.core.expressions.nodes import Const

VARIABLES = {
    "seat_ratio": "double", "seats": "int", "offer.kind": "string", "tags": "list(string)", "now": "timestamp",
    "context": "map(string,dyn)", "consent.given": "bool",
}  # fmt: skip
REFUSED = [
    ("seat_rato > 1.0", 1, 1, "unknown name `seat_rato`; did you mean `seat_ratio`?"),
    ("seats > 1 &&\n  offer.kindd == 'a'", 2, 3, "unknown name `offer.kindd`; did you mean `offer.kind`?"),
    ("seat_ratio > 1", 1, 12, "`>` cannot mix double and int: write `1.0`"),
    ("10 <= seat_ratio", 1, 4, "`<=` cannot mix int and double: write `10.0`"),
    ("seats == seat_ratio", 1, 7,
     "`==` cannot mix int and double: write a whole number as `1.0`, or convert with `double(...)`"),
    ("offer == 'a'", 1, 1, "`offer` is no variable itself: read one of its values, such as `offer.kind`"),
    ("'a'.upperAscii() == 'A'", 1, 5, "the function `upperAscii` is not supported"),
    ("offer.kind.startWith('a')", 1, 12,
     "the function `startWith` is not supported; did you mean `startsWith`?"),
    ("type(seats) == int", 1, 5, "`type` is not supported: types are no values here"),
    ("b'a' == b'a'", 1, 1, "bytes literals are not supported"),
    ("offer.kind.matches(offer.kind)", 1, 19, "the pattern of `matches` must be written out as a literal"),
    ("offer.kind.matches('(?=a)')", 1, 19, "look-around in a pattern is not supported"),
    ("offer.kind.matches('(a+)+b')", 1, 19,
     "a repeat inside a repeat in a pattern is not supported: it could run away"),
    ("now.getHours('Europe/Brlin') > 1", 1, 13, "`Europe/Brlin` is not a time zone"),
    ("now > timestamp('2026-13-01T00:00:00Z')", 1, 16, "`2026-13-01T00:00:00Z` is not an RFC 3339 date-time"),
    ("has((consent.given))", 1, 1, "write `has(name)` with the plain name of a variable or of a map's value"),
    ("seats >", 1, 8, "this is not a CEL expression: mismatched input '<EOF>'"),
    ("", 1, 1, "an expression may not be empty"),
    ("seats", 1, 1, "expected bool, got int"),
    ("context.beta", 1, 1, "expected bool, got dyn: write `(context.beta) == true`"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "sentence"), REFUSED)
def test_a_refusal_says_where_and_what_to_write(text: str, line: int, column: int, sentence: str) -> None:
    """Each refusal is one sentence with a place."""
    with pytest.raises(ExpressionError) as refused:
        parse(text, VARIABLES, expect="bool")

    assert (line, column, sentence) == (refused.value.line, refused.value.column, str(refused.value))


def test_depth_and_size_are_limited() -> None:
    """An expression that would exhaust the evaluator is refused."""
    for text in ("[" * 99 + "]" * 99, " + ".join(["seats"] * 100), "x" * 20_000):
        with pytest.raises(ExpressionError):
            parse(text, VARIABLES)


MISSING = [
    ("seats > 1 || true", True),
    ("true || seats > 1", True),
    ("seats > 1 && false", False),
    ("seats > 1 && true", ("seats",)),
    ("seats > 1 && seat_ratio > 1.0", ("seats", "seat_ratio")),
    ("seats > 1 ? true : true", ("seats",)),
    ("false ? seats > 1 : true", True),
    ("context.beta == true", ("context",)),
    ("tags.exists(t, t == 'a')", ("tags",)),
    ("['a'].exists(t, t == 'a' || seats > 1)", True),
    ("has(consent.given)", False),
    ("has(consent.given) && consent.given", False),
]


@pytest.mark.parametrize(("text", "expected"), MISSING)
def test_a_missing_value_is_absorbed_or_named(text: str, expected: object) -> None:
    """Both paths: the answer where it is decided without the value, else the names."""
    expression = parse(text, VARIABLES)
    names = sorted(expression.names)
    function = expression.function(names)
    runs: list[Callable[[], object]] = [lambda: expression.evaluate({}), lambda: function(*[None] * len(names))]
    for run in runs:
        try:
            found = run()
        except Missing as error:
            found = error.names

        assert expected == found


def test_has_asks_for_presence_not_for_the_value() -> None:
    """`has(consent.given)` is true of a consent that was refused: Google's checker alone would read its value."""
    expression = parse("has(consent.given)", VARIABLES)

    assert expression.evaluate({"consent.given": False}) is True
    assert parse("'has(consent.given)'", VARIABLES).evaluate({}) == "has(consent.given)"


def test_null_in_a_map_is_missing() -> None:
    """A JSON null in the context never passes for a value."""
    expression = parse("context.plan.name == 'free'", VARIABLES)

    with pytest.raises(Missing, match=r"context\.plan\.name"):
        expression.evaluate({"context": {"plan": {"name": None}}})


def test_a_wrong_type_is_an_error_that_names_the_variable() -> None:
    """A whole number passes for a double, a text never for a number."""
    expression = parse("seat_ratio / 2.0", VARIABLES)

    assert expression.evaluate({"seat_ratio": 5}) == 2.5
    for value in ("5", True, 2**64):
        with pytest.raises(EvaluationError, match="seat_ratio"):
            expression.function(["seat_ratio"])(value)


def test_folding_keeps_what_must_fail() -> None:
    """Known values are computed away; a constant that fails stays, and a deciding constant decides."""
    root = parse("offer.kind == 'a' && 1 / 0 > seats", VARIABLES).root

    assert fold_constants(root, {"offer.kind": "b"}) == Const(value=False, type="bool", offset=18)
    assert free_names(fold_constants(root, {"offer.kind": "a"})) == {"seats"}


def test_google_cel_is_loaded_only_to_parse() -> None:
    """Importing the room costs nothing; the 58 MB come with the first parse."""
    code = "import sys, opportune.core.expressions; assert not any('cel_expr' in name for name in sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True)
