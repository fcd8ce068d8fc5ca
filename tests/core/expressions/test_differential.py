"""The exact evaluator, the generated Python and Google's reference agree on random expressions and rows."""

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from opportune.core.expressions import EvaluationError, Expression, ExpressionError, Missing, parse

from .reference import FAILED, VARIABLES, answer

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

LITERALS_REFUSED = ("finer than a millisecond", "is not a duration", "is not an RFC 3339", "nested at most")
INT_MAX = 2**63 - 1
INTS = st.one_of(st.integers(-3, 3), st.sampled_from([INT_MAX, -INT_MAX - 1, INT_MAX - 1, 2**53, 2**53 + 1]))
DOUBLES = st.sampled_from(
    [0.0, -0.0, 1.0, 0.5, -2.5, 1e300, 9.007199254740993e15, math.nan, math.inf, 1e-9, 123456.75]
)
WORDS = st.sampled_from(["", "a", "b", "ab", "addon", "Ä😀", "12", "1.5", "true", "2026-01-31T10:00:00Z", "36h"])
MOMENTS = st.integers(
    -62_135_500_000_000, 253_402_200_000_000
)  # a day inside: zones must not leave the years 1-9999
SPANS = st.integers(-10_000_000_000, 10_000_000_000)
JSON = st.one_of(st.booleans(), st.integers(-3, 3), DOUBLES, WORDS, st.lists(st.integers(-2, 2), max_size=2))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int": INTS, "double": DOUBLES, "string": WORDS, "bool": st.booleans(), "timestamp": MOMENTS, "duration": SPANS,
    "list(string)": st.lists(WORDS, max_size=3), "list(int)": st.lists(INTS, max_size=3),
    "list(double)": st.lists(DOUBLES, max_size=3), "map(string,dyn)": st.dictionaries(st.sampled_from("kln"), JSON),
    "dyn": JSON,
}  # fmt: skip
ROWS = st.fixed_dictionaries(
    {}, optional={name: st.one_of(st.none(), VALUES[t], VALUES[t], VALUES[t]) for name, t in VARIABLES.items()}
)
LITERALS: dict[str, list[str]] = {
    "int": ["0", "1", "-1", "7", "9223372036854775807", "2"],
    "double": ["0.0", "1.0", "-0.5", "1e308", "2.5"],
    "string": ["''", "'a'", "'addon'", "'12'", "'Ä😀'"],
    "bool": ["true", "false"],
    "timestamp": ["timestamp('2026-03-29T01:30:00Z')", "timestamp('1969-12-31T23:59:59.999Z')"],
    "duration": ["duration('36h')", "duration('-1.5s')", "duration('0')"],
    "list(string)": ["['']", "['a', 'addon']"],
    "list(int)": ["[1, 2, 3]", "[0]"],
    "list(double)": ["[0.5, 1.0]"],
    "map(string,dyn)": [],
    "dyn": ["dyn(1)", "dyn('a')", "dyn(1.0)", "dyn(true)"],
}
FORMS: dict[str, list[str]] = {
    "bool": [
        "(<int> < <int>)", "(<double> <= <double>)", "(<string> > <string>)", "(<timestamp> >= <timestamp>)",
        "(<int> == <int>)", "(<double> != <double>)", "(<string> == <string>)", "(<bool> == <bool>)",
        "(<duration> < <duration>)", "(<bool> && <bool>)", "(<bool> || <bool>)", "(<bool> && <bool> && <bool>)",
        "!<bool>", "(<bool> ? <bool> : <bool>)", "(<string> in <list(string)>)", "(<int> in <list(int)>)",
        "(<double> in <list(double)>)", "<string>.contains(<string>)", "<string>.startsWith(<string>)",
        "<string>.endsWith(<string>)", "<string>.matches('^[a-c]+$')", "(<dyn> == <dyn>)", "(<dyn> < <dyn>)",
        "(<dyn> > <int>)", "has(m.k)", "<list(string)>.exists(e, e == <string>)", "(<list(int)> == <list(int)>)",
        "<list(int)>.all(e, 6 / e > <int>)", "<list(int)>.exists_one(e, e > <int>)", "('k' in m)",
        "<list(string)>.exists(e, <list(int)>.exists(f, f > size(e)))", "bool(<string>)", "(<dyn> && <bool>)",
        "m.exists(e, m[e] == <int>)",
    ],
    "int": [
        "(<int> + <int>)", "(<int> - <int>)", "(<int> * <int>)", "(<int> / <int>)", "(<int> % <int>)", "(-<int>)",
        "size(<string>)", "size(<list(int)>)", "int(<double>)", "int(<string>)", "int(<timestamp>)",
        "<timestamp>.getHours('Europe/Berlin')", "<timestamp>.getDayOfWeek()", "<timestamp>.getDayOfYear('+05:30')",
        "<timestamp>.getMonth()", "<duration>.getHours()", "<duration>.getMilliseconds()", "<list(int)>[<int>]",
        "(<bool> ? <int> : <int>)", "<list(int)>.map(e, e + <int>)[0]",
    ],
    "double": [
        "(<double> + <double>)", "(<double> - <double>)", "(<double> * <double>)", "(<double> / <double>)",
        "(-<double>)", "double(<int>)", "double(<string>)", "(<bool> ? <double> : <double>)", "<list(double)>[0]",
    ],
    "string": [
        "(<string> + <string>)", "string(<int>)", "string(<double>)", "string(<bool>)", "string(<timestamp>)",
        "string(<duration>)", "<list(string)>[<int>]", "(<bool> ? <string> : <string>)",
    ],
    "timestamp": ["(<timestamp> + <duration>)", "(<timestamp> - <duration>)", "timestamp(<string>)",
                  "timestamp(<int>)"],
    "duration": ["(<timestamp> - <timestamp>)", "(<duration> + <duration>)", "duration(<string>)"],
    "list(string)": ["<list(string)>.filter(e, e != <string>)", "(<list(string)> + [<string>])",
                     "<list(int)>.map(e, string(e))", "<list(string)>.map(e, e != 'a', e + 'b')"],
    "list(int)": ["<list(int)>.filter(e, e > <int>)", "[<int>, <int>]", "<list(string)>.map(e, size(e))"],
    "list(double)": ["[<double>]"],
    "dyn": ["m.k", "m['l']", "dyn(<int>)", "dyn(<double>)", "dyn(<string>)", "m.n", "(<dyn> + <dyn>)", "<dyn>[0]",
            "[<dyn>, <dyn>][<int>]"],
}  # fmt: skip


@st.composite
def texts(draw: st.DrawFn, type_: str, depth: int = 3) -> str:
    """Return CEL text of the type."""
    leaves = [name for name, t in VARIABLES.items() if t == type_] * 2 + LITERALS[type_]
    if depth == 0 or type_ not in FORMS or draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(leaves))
    form = draw(st.sampled_from(FORMS[type_]))
    while "<" in form and (place := _hole(form)):
        form = form.replace(f"<{place}>", draw(texts(place, depth - 1)).replace("<", "\0"), 1)
    return form.replace("\0", "<")


def _hole(form: str) -> str | None:
    found = [(form.index(f"<{t}>"), t) for t in VALUES if f"<{t}>" in form]
    return min(found)[1] if found else None


def parsed(text: str) -> Expression:
    """Parse, passing over texts whose literals we refuse beforehand and the reference only when it gets there."""
    try:
        return parse(text, VARIABLES)
    except ExpressionError as error:
        assume(all(words not in str(error) for words in LITERALS_REFUSED))
        raise


def outcome(run: Any, *arguments: object) -> object:
    try:
        return run(*arguments)
    except (Missing, EvaluationError) as error:
        return type(error), str(error)


def same(left: object, right: object) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return repr(left) == repr(right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(
        ["bool", "bool", "bool", "int", "double", "string", "timestamp", "duration", "list(int)", "dyn"]
    ).flatmap(texts),
    st.lists(ROWS, min_size=1, max_size=4),
)
def test_evaluate_function_and_reference_agree(text: str, rows: list[dict[str, Any]]) -> None:
    """One text, several rows: the same answer or no answer, in all three."""
    expression = parsed(text)
    parameters = sorted(expression.names)
    function = expression.function(parameters)
    for row in rows:
        exact = outcome(expression.evaluate, row)
        fast = outcome(function, *(row.get(name) for name in parameters))

        assert same(exact, fast), (text, row, exact, fast)
        theirs = answer(text, row)
        if isinstance(exact, tuple):
            assert theirs == FAILED, (text, row, exact, theirs)
        else:
            assert same(exact, theirs), (text, row, exact, theirs)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts("bool"), ROWS, st.sets(st.sampled_from(sorted(VARIABLES))))
def test_taking_values_away_never_turns_an_answer_round(text: str, row: dict[str, Any], gone: set[str]) -> None:
    """What is known with fewer values stays so with more: a missing value never turns a forbid into a permit."""
    expression = parsed(text)
    if "has(" in text:
        return
    whole = outcome(expression.evaluate, row)
    part = outcome(expression.evaluate, {name: value for name, value in row.items() if name not in gone})
    if not isinstance(part, tuple):
        assert same(whole, part), (text, row, gone)
