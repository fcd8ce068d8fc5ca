"""The compiled masks equal evaluating every policy for every candidate, with values missing and candidates odd."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opportune.core.expressions import EvaluationError, Missing, parse
from opportune.core.policies import CandidateTable, Policy, Variable, Verdicts, compile_policies

pytestmark = pytest.mark.slow

VARIABLES = (
    Variable("ratio", "double", "request"),
    Variable("seats", "int", "request"),
    Variable("plan", "string", "request"),
    Variable("blocked", "list(string)", "request"),
    Variable("trial", "bool", "request"),
    Variable("context", "map(string,dyn)", "request"),
    Variable("now", "timestamp", "request"),
    Variable("offer.kind", "string", "candidate"),
    Variable("offer.price", "double", "candidate"),
    Variable("offer.seats", "int", "candidate"),
    Variable("offer.bundle", "bool", "candidate"),
    Variable("offer.since", "timestamp", "candidate"),
    Variable("offer.tags", "list(string)", "candidate"),
    Variable("consent.status", "string", "channel"),
    Variable("contacts.week", "int", "channel"),
)
TYPES = {variable.name: variable.type for variable in VARIABLES}
ATOMS = [
    "true", "false", "ratio > 0.5", "seats + 1 > 3", "9223372036854775807 + seats > 0", "plan == 'pro'", "trial",
    "'a' in blocked", "context.beta == true", "has(ratio)", "has(offer.price)", "has(consent.status)",
    "offer.kind == 'a'", "offer.price > 10.0", "offer.bundle", "offer.seats / (offer.seats - 1) > 0",
    "offer.tags.exists(t, t == 'a')", "consent.status == 'granted'", "contacts.week >= 2",
    "contacts.week * seats > 3", "offer.price <= ratio", "ratio < offer.price", "offer.price >= ratio * 20.0",
    "offer.price > ratio", "offer.price == ratio", "offer.price != ratio", "offer.seats <= seats",
    "offer.kind == plan", "offer.kind in blocked", "plan in offer.tags", "offer.kind.startsWith(plan)",
    "offer.bundle == trial", "offer.since < now", "now - offer.since > duration('24h')", "offer.kind < plan",
    "consent.status == offer.kind", "contacts.week > offer.seats", "offer.price * ratio > 3.0",
    "offer.tags.exists(t, t in blocked)", "(trial ? offer.price : ratio) > 1.0", "offer.seats - seats > 0",
    "consent.status == plan && offer.bundle", "context.limit > offer.price", "seats / (seats - 2) > offer.seats",
]  # fmt: skip
LEVERS = ["1.0", "ratio", "offer.price * 0.1", "offer.price * ratio", "1.0 / ratio", "double(contacts.week)"]
WORDS = st.sampled_from(["a", "b", "pro", "granted", ""])
DOUBLES = st.sampled_from([0.0, -0.0, 1.0, 10.0, 20.0, float("nan"), float("inf"), 0.7])
INTS = st.sampled_from([-1, 0, 1, 2, 3, 2**63 - 1, -(2**63)])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "double": DOUBLES | st.sampled_from([0, 10]), "int": INTS, "string": WORDS, "bool": st.booleans(),
    "list(string)": st.lists(WORDS, max_size=3), "timestamp": st.integers(0, 10**12),
    "map(string,dyn)": st.fixed_dictionaries({}, optional={"beta": st.booleans() | st.none(), "limit": DOUBLES}),
}  # fmt: skip
WRONG = st.sampled_from(["text", 5, 1.5, True, [1], {}, 2**70])
CHANNELS = ("email", "in_app", "sms")


def some(type_: str) -> st.SearchStrategy[Any]:
    """A value of the type, mostly; now and then none or a wrong one."""
    return st.integers(0, 19).flatmap(lambda n: st.none() if n < 2 else WRONG if n == 2 else VALUES[type_])


@st.composite
def conditions(draw: st.DrawFn, depth: int = 2) -> str:
    form = draw(st.integers(0, 5)) if depth else 0
    if form <= 1:
        return draw(st.sampled_from(ATOMS))
    parts = [draw(conditions(depth - 1)) for _ in range(3)]
    if form == 2:
        return "(" + " && ".join(parts) + ")"
    if form == 3:
        return "(" + " || ".join(parts) + ")"
    return f"!({parts[0]})" if form == 4 else f"({parts[0]} ? {parts[1]} : {parts[2]})"


@st.composite
def tables(draw: st.DrawFn) -> CandidateTable:
    size = draw(st.sampled_from([1, 3, 8, 40]))
    columns = {
        v.name: tuple(draw(st.lists(some(v.type), min_size=size, max_size=size)))
        for v in VARIABLES
        if v.kind == "candidate"
    }
    channels = draw(st.lists(st.sampled_from(CHANNELS), min_size=size, max_size=size))
    return CandidateTable(tuple(f"c{n}" for n in range(size)), columns, tuple(channels))


REQUESTS = st.fixed_dictionaries({}, optional={v.name: some(v.type) for v in VARIABLES if v.kind == "request"})
PER_CHANNEL = st.fixed_dictionaries(
    {},
    optional={
        v.name: st.fixed_dictionaries({}, optional=dict.fromkeys(CHANNELS, some(v.type)))
        for v in VARIABLES
        if v.kind == "channel"
    },
)


def policy(number: int, when: str, adjust: str | None) -> Policy:
    effect: Any = "adjust" if adjust else "forbid"
    return Policy(
        id=f"p{number:02}", effect=effect, class_="commercial", when=when, adjust=adjust, reason="r", owner="o"
    )


def one_by_one(
    text: str, table: CandidateTable, request: dict[str, Any], channel: dict[str, Any]
) -> tuple[int, int]:
    """Return (hits, failures) by evaluating the text for each candidate by itself."""
    expression, hits, failed = parse(text, TYPES), 0, 0
    for row, of in enumerate(table.channels):
        values = {**request, **{name: column[row] for name, column in table.columns.items()}}
        values.update({name: per_channel.get(of) for name, per_channel in channel.items()})
        try:
            hits |= (expression.evaluate(values) is True) << row
        except (Missing, EvaluationError):
            failed |= 1 << row
    return hits, failed


def unordered(verdicts: Verdicts) -> tuple[object, ...]:
    return verdicts.hits, sorted((n, m, sorted(c)) for n, m, c in verdicts.failed), verdicts.levers, verdicts.within


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(conditions(), min_size=1, max_size=4), tables(),
    st.lists(st.tuples(REQUESTS, PER_CHANNEL), min_size=1, max_size=3), st.integers(0, 2**40),
)  # fmt: skip
def test_masks_equal_evaluating_each_candidate(
    texts: list[str], table: CandidateTable, asked: list[tuple[dict[str, Any], dict[str, Any]]], within: int
) -> None:
    """A candidate's bit is its evaluation; it failed where evaluation fails; the exact judgement says the same."""
    policies = [policy(number, text, None) for number, text in enumerate(texts)]
    compiled = compile_policies(policies, VARIABLES, table)
    for request, channel in asked:
        verdicts = compiled.judge(request, channel, 0)
        failed = {number: mask for number, mask, _ in verdicts.failed}
        for number, text in enumerate(texts):
            expected = one_by_one(text, table, request, channel)

            assert expected == (verdicts.hits[number], failed.get(number, 0)), (text, request, channel)
        assert all(causes for _, _, causes in verdicts.failed)
        some_only = compiled.judge(request, channel, 0, within)
        assert unordered(compiled.judge_exactly(request, channel, 0, within)) == unordered(some_only)
        assert tuple(hit & within for hit in verdicts.hits) == some_only.hits


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    conditions(), st.sampled_from(LEVERS), tables(), REQUESTS, PER_CHANNEL,
)  # fmt: skip
def test_levers_equal_the_exact_ones(
    when: str, adjust: str, table: CandidateTable, request: dict[str, Any], channel: dict[str, Any]
) -> None:
    """What a lever adds is finite and equal on both paths; what it cannot say is a reported failure."""
    compiled = compile_policies([policy(0, when, adjust)], VARIABLES, table)
    verdicts = compiled.judge(request, channel, 0)

    assert unordered(compiled.judge_exactly(request, channel, 0)) == unordered(verdicts)
    assert all(value - value == 0.0 for _, _, value in verdicts.levers)


EDGES: dict[str, list[Any]] = {
    "offer.price": [0.0, -0.0, 1.0, 10.0, 20.0, float("inf"), 0.7],
    "offer.seats": [0, 1, 2, 3, 2**63 - 1],
    "offer.since": [0, 1000, 2000],
    "offer.kind": ["", "a", "b", "pro"],
}
PARTNERS = {"offer.price": "ratio", "offer.seats": "seats", "offer.since": "now", "offer.kind": "plan"}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("operator", ["<", "<=", ">", ">=", "==", "!="])
def test_comparisons_hold_at_every_edge(name: str, operator: str) -> None:
    """Both ways round, at, between and beyond the candidates' values, and for what is no number."""
    rows = [*EDGES[name], None]
    columns = {v.name: (None,) * len(rows) for v in VARIABLES if v.kind == "candidate"} | {name: tuple(rows)}
    table = CandidateTable(tuple(map(str, range(len(rows)))), columns, ("app",) * len(rows))
    texts = [f"{name} {operator} {PARTNERS[name]}", f"{PARTNERS[name]} {operator} {name}"]
    compiled = compile_policies([policy(n, text, None) for n, text in enumerate(texts)], VARIABLES, table)
    beyond: list[Any] = [float("nan"), float("-inf"), 5.0] if name == "offer.price" else []
    for value in EDGES[name] + beyond:
        request = {PARTNERS[name]: value}
        verdicts = compiled.judge(request, {}, 0)
        failed = {number: mask for number, mask, _ in verdicts.failed}
        for number, text in enumerate(texts):
            assert one_by_one(text, table, request, {}) == (verdicts.hits[number], failed[number]), (text, value)
        assert unordered(compiled.judge_exactly(request, {}, 0)) == unordered(verdicts)


@pytest.mark.parametrize("price", [10.0, None])
@pytest.mark.parametrize("answers", [(True, False), (False, True), (True, True), (False, False)])
def test_a_candidate_without_a_value_is_absorbed_on_the_fast_path(price: float | None, answers: Any) -> None:
    """Some candidates have no price: && and || and !, with a part that decides on either side."""
    columns = {v.name: (None, None) for v in VARIABLES if v.kind == "candidate"}
    columns |= {"offer.price": (5.0, price), "offer.bundle": (True, None), "offer.kind": ("a", "b")}  # type: ignore[dict-item]
    table = CandidateTable(("x", "y"), columns, ("app", "app"))
    atoms = ["offer.price > ratio", "offer.bundle", "trial", "offer.kind == plan", "consent.status == 'granted'"]
    texts = [f"{a} {o} {b}" for a in atoms for b in atoms for o in ("&&", "||")]
    texts += [f"!({text})" for text in texts] + [f"({a} ? {b} : trial)" for a in atoms for b in atoms]
    compiled = compile_policies([policy(n, text, None) for n, text in enumerate(texts)], VARIABLES, table)
    request = {"ratio": 7.0, "trial": answers[0], "plan": "b" if answers[1] else "z"}
    channel = {"consent.status": {"app": "granted" if answers[1] else "refused"}}
    verdicts = compiled.judge(request, channel, 0)
    failed = {compiled.policies[number].id: mask for number, mask, _ in verdicts.failed}
    for rule, hits in zip(compiled.policies, verdicts.hits, strict=True):
        expected = one_by_one(rule.when, table, request, channel)

        assert expected == (hits, failed.get(rule.id, 0)), rule.when
