"""What offers require, judged jointly by index, equals evaluating each requirement for each candidate."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opportune.core.policies import CandidateTable, PolicyError, Requirement, Requirements

from .test_masks import PER_CHANNEL, REQUESTS, VARIABLES, conditions, tables

pytestmark = pytest.mark.slow

DOUBLES = ("0.0", "0.5", "1.0", "10.0", "-0.0", "-1.0")
OPERATORS = ("<", "<=", ">", ">=", "==", "!=")


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    """A comparison of a request's value with a constant, in either direction, as offers have them."""
    operator = draw(st.sampled_from(OPERATORS))
    value, constants = draw(
        st.sampled_from(
            [
                ("ratio", DOUBLES), ("seats", ("-1", "0", "1", "2", "3")), ("plan", ("'a'", "'b'", "'pro'")),
                ("now", ("timestamp('1970-01-02T00:00:00Z')", "timestamp('1990-01-01T00:00:00Z')")),
                ("seats + 1", ("0", "2", "3")), ("ratio / 2.0", DOUBLES),
            ]
        )
    )  # fmt: skip
    constant = draw(st.sampled_from(constants))
    sides = (value, operator, constant) if draw(st.booleans()) else (constant, operator, value)
    return " ".join(sides) if draw(st.integers(0, 9)) else "plan in ['a', 'pro']"


@st.composite
def requirements(draw: st.DrawFn, depth: int = 3) -> str:
    """Mostly comparisons under `&&`, `||` and `!`; now and then any condition there is."""
    form = draw(st.integers(0, 7)) if depth else 0
    if form <= 1:
        return draw(comparisons())
    if form == 2:
        return draw(conditions(1))
    if form == 7:
        return f"!({draw(requirements(depth - 1))})"
    parts = [draw(requirements(depth - 1)) for _ in range(draw(st.integers(2, 3)))]
    return "(" + (" && " if form < 6 else " || ").join(parts) + ")"


def joined(texts: list[str], table: CandidateTable) -> Requirements:
    """Candidate n has the requirement n, over and over."""
    return Requirements(
        [
            Requirement(f"o{number}", text, tuple(range(number, len(table.ids), len(texts))))
            for number, text in enumerate(texts)
            if number < len(table.ids)
        ],
        VARIABLES,
        table,
    )


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(requirements(), min_size=1, max_size=12), tables(),
    st.lists(st.tuples(REQUESTS, PER_CHANNEL), min_size=1, max_size=4),
)  # fmt: skip
def test_the_index_equals_evaluating_each_requirement(
    texts: list[str], table: CandidateTable, asked: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    """Also with values that are missing, of a wrong type, or not a number; and whatever is unknown has a cause."""
    compiled = joined(texts, table)
    for request, channel in asked:
        found, exact = compiled.judge(request, channel), compiled.judge_exactly(request, channel)
        assert (found.unmet, found.unknown) == (exact.unmet, exact.unknown), (texts, request, channel)
        assert bool(found.causes) == bool(found.unknown)


def plain(*texts: str) -> Requirements:
    table = CandidateTable(
        tuple(f"c{n}" for n in range(len(texts))),
        {v.name: (None,) * len(texts) for v in VARIABLES if v.kind == "candidate"},
        ("email",) * len(texts),
    )
    return joined(list(texts), table)


def test_offers_with_different_thresholds_share_one_look_up() -> None:
    compiled = plain("seats >= 5", "seats >= 10", "seats < 8 && plan == 'pro'", "true")
    assert compiled.judge({"seats": 9, "plan": "pro"}, {}) == (0b0110, 0, ())
    assert compiled.judge({"seats": 5, "plan": "pro"}, {}) == (0b0010, 0, ())
    assert compiled.judge({"seats": 7, "plan": "team"}, {}) == (0b0110, 0, ())
    assert compiled.names == {"o0": ("seats",), "o1": ("seats",), "o2": ("plan", "seats")}


def test_what_cannot_be_judged_is_unknown_unless_something_else_decides() -> None:
    compiled = plain("seats >= 5", "seats >= 5 && plan == 'pro'", "seats >= 5 || plan == 'pro'", "plan == 'pro'")
    assert compiled.judge({"plan": "team"}, {}) == (0b1010, 0b0101, ("seats",))
    assert compiled.judge({"plan": "pro"}, {}) == (0, 0b0011, ("seats",))
    assert compiled.judge({}, {}) == (0, 0b1111, ("plan", "seats"))


def test_two_terms_of_one_kind_on_one_offer_do_not_hide_each_other() -> None:
    compiled = plain("plan != 'a' && plan != 'b'", "plan == 'a' || plan == 'b'", "plan in ['a', 'b'] && plan == 'a'")
    assert compiled.judge({"plan": "a"}, {}).unmet == 0b001
    assert compiled.judge({"plan": "b"}, {}).unmet == 0b101
    assert compiled.judge({"plan": "c"}, {}).unmet == 0b110


@pytest.mark.parametrize("operator", OPERATORS)
def test_what_is_not_a_number_is_in_no_order(operator: str) -> None:
    """Only `!=` holds; also under `!` and inside `||`."""
    term = f"ratio {operator} 1.0"
    compiled = plain(term, f"!({term})", f"{term} || false", f"!({term}) || seats > 5")
    found = compiled.judge({"ratio": float("nan"), "seats": 0}, {})
    assert found == compiled.judge_exactly({"ratio": float("nan"), "seats": 0}, {})
    assert found.unmet == (0b1010 if operator == "!=" else 0b0101)


def test_a_requirement_that_does_not_compile_names_the_offer_and_the_place() -> None:
    with pytest.raises(PolicyError) as caught:
        plain("true", "seets > 3")
    assert str(caught.value) == (
        "policy `offer.o1.requires`, requires, line 1 column 1: unknown name `seets`; did you mean `seats`?"
    )
