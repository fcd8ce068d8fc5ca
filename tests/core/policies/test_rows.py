"""Over a table all policies say of every row what `standing.resolve` says of it alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opportune.core.expressions.columns import column
from opportune.core.policies import CandidateTable, CompiledPolicies, Policy, Standing, compile_policies
from opportune.core.policies.documents import CLASS_ORDER
from opportune.core.policies.rows import RowPolicies, RowStanding, Table, Words

from .test_masks import CHANNELS, LEVERS, PER_CHANNEL, REQUESTS, TYPES, VARIABLES, conditions, tables

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""


@st.composite
def some_policies(draw: st.DrawFn) -> list[Policy]:
    """Policies of all effects and classes, some not valid at the instant, some that demand a person."""
    found = []
    for number in range(draw(st.integers(1, 6))):
        effect: Any = draw(st.sampled_from(["forbid", "permit", "permit", "require_review", "adjust", "force"]))
        found.append(
            Policy(
                id=f"p{number}", effect=effect, class_=draw(st.sampled_from(CLASS_ORDER)), when=draw(conditions()),
                adjust=draw(st.sampled_from(LEVERS)) if effect == "adjust" else None, reason="r", owner="o",
                priority=draw(st.integers(0, 1)), explore=draw(st.booleans()),
                obligations=draw(st.sampled_from([(), ("review",), ("disclose",)])),
                valid_to=draw(st.sampled_from([None, None, None, "1970-01-01"])),
            )
        )  # fmt: skip
    return found


def table_of(asked: list[tuple[dict[str, Any], dict[str, Any]]]) -> Table:
    """The rows as columns; a variable that no row has has no column."""
    request = {
        name: column(TYPES[name], [row.get(name) for row, _ in asked], name)
        for name in {name for row, _ in asked for name in row}
    }
    channel: dict[str, Any] = {}
    for name in {name for _, per in asked for name in per}:
        channel[name] = {
            id_: column(TYPES[name], [per.get(name, {}).get(id_) for _, per in asked], name) for id_ in CHANNELS
        }
    return Table(len(asked), request, channel)


def mask(words: Words, row: int) -> int:
    one = words[row] if words.ndim == 2 else words
    return sum(int(word) << 64 * place for place, word in enumerate(one))


def masks(pairs: Any, row: int) -> list[tuple[str, int]]:
    """(policy, mask) of a row, those without a candidate left out."""
    return [(getattr(one, "id", one), m) for one, words in pairs if (m := mask(words, row))]


def merged(pairs: Any) -> list[tuple[str, int]]:
    """A policy that fails in its condition and in its lever is reported twice when judged alone."""
    found: dict[str, int] = {}
    for name, m, *_ in pairs:
        found[name] = found.get(name, 0) | m
    return list(found.items())


def check_row(alone: Standing, found: RowStanding, row: int) -> None:
    review = 0
    for _, m in (*alone.review, *(one for one in alone.obligations if one[0] == "review")):
        review |= m

    assert mask(found.permitted, row) == alone.permitted
    assert mask(found.forced, row) == alone.forced
    assert masks(found.forbids, row) == [(policy.id, m) for policy, m in alone.forbids]
    assert sorted(masks(found.skipped, row)) == sorted(merged(alone.skipped))
    assert mask(found.review, row) == review
    assert mask(found.unexplored, row) == alone.unexplored
    if found.levers is None:
        assert not alone.levers
    else:
        money, where = found.levers
        levers = {place: money[row, place] for place in range(money.shape[1]) if where[row, place]}
        assert levers == dict(alone.levers)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    some_policies(), tables(), st.lists(st.tuples(REQUESTS, PER_CHANNEL), min_size=1, max_size=6),
    st.integers(0, 2**40 - 1), st.sampled_from([0, 86_400_000]),
)  # fmt: skip
def test_a_table_stands_where_its_rows_stand(
    policies: list[Policy], table: CandidateTable, asked: list[tuple[dict[str, Any], dict[str, Any]]], within: int,
    at_ms: int,
) -> None:  # fmt: skip
    """Every field of the standing, for every row: values missing, wrong or odd, candidates without some."""
    compiled: CompiledPolicies = compile_policies(policies, VARIABLES, table)
    rows = table_of(asked)
    within &= compiled.every
    found = RowPolicies(policies, VARIABLES, table).judge(rows, at_ms, within)
    for row, (request, channel) in enumerate(asked):
        check_row(compiled.resolve(compiled.judge_exactly(request, channel, at_ms, within)), found, row)
        check_row(compiled.resolve(compiled.judge(request, channel, at_ms, within)), found, row)


def test_more_candidates_than_a_word_holds() -> None:
    """130 candidates: an order over their prices, across words, is the same as one at a time."""
    columns: dict[str, Any] = {v.name: (None,) * 130 for v in VARIABLES if v.kind == "candidate"}
    columns["offer.price"] = tuple(float(place % 67) for place in range(130))
    columns["offer.seats"] = tuple(place % 5 for place in range(130))
    table = CandidateTable(tuple(f"c{n}" for n in range(130)), columns, ("email",) * 130)
    texts = ["offer.price > ratio", "offer.seats == seats", "!(offer.price <= ratio) && offer.seats != seats"]
    policies = [
        Policy(id=f"p{n}", effect="forbid", class_="commercial", when=text, reason="r", owner="o")
        for n, text in enumerate(texts)
    ]
    compiled = compile_policies(policies, VARIABLES, table)
    asked: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"ratio": ratio, "seats": seats}, {}) for ratio in (0.0, 33.0, 33.5, 66.0, 99.0) for seats in (0, 4, 9)
    ]
    found = RowPolicies(policies, VARIABLES, table).judge(table_of(asked), 0, compiled.every)
    for row, (request, channel) in enumerate(asked):
        check_row(compiled.resolve(compiled.judge_exactly(request, channel, 0)), found, row)
