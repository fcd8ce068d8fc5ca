"""One meaning, two engines: the relational form on DuckDB gives what the fold would have read, value by value."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opportune.adapters.duckdb import DuckOffline
from opportune.core.features import CompiledViews, FeatureView, PastSignal, compile_views, read_as_of
from opportune.core.features.relational import Asked, Fact, relational_of

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

HOUR_MS = 3_600_000
START_MS = 1_767_225_600_000
TYPES = {"n": "int", "d": "double", "s": "string", "b": "bool", "x": "dyn", "deep.n": "int"}
FIELDS = {"a": TYPES, "b": TYPES}

WHERES = (
    None, "data.b", "!data.b", "data.n > 3", "data.s == 'red'", "data.s in ['red', 'blue'] && data.d >= 0.5",
    "data.b || data.n < 0", "data.n + 1 > data.deep.n", "data.d * 2.0 < 5.0", "data.s.contains('e')",
    "data.s.startsWith('r') || data.b", "has(data.n)", "data.x == 1", "data.d / data.d > 0.0", "data.n % 2 == 0",
    "data.n > 0 ? data.b : data.d < 1.0", "data.n * data.n > 9223372036854775806",
)  # fmt: skip
INTS = ("data.n", "data.deep.n", "data.n * 2", "data.n > 1 ? data.n : 7", "data.n / 2", "data.x")
DOUBLES = ("data.d", "data.n", "data.d * 0.1", "data.d / 3.0", "data.d / data.d", "double(data.n) + 0.5", "data.x")
TEXTS = ("data.s", "data.b ? data.s : 'none'", "string(data.n)", "data.x")
VALUES = {"int": INTS, "double": DOUBLES, "string": TEXTS, "bool": ("data.b", "data.n > 2", "data.x")}
DEFAULTS = {"int": 5, "double": 0.25, "string": "it's", "bool": False}
WINDOWS = ((), ("6h", "1h"), ("24h", "1h"), ("7d", "1d"), ("1h", "1m"))
FOLDED = {
    "count": ("int",), "sum": ("int", "double"), "mean": ("double",), "min": ("int", "double"), "streak": ("int",),
    "max": ("int", "double"), "last": ("int", "double", "string", "bool"), "first": ("int", "string"),
    "distinct": ("int",), "time_since": ("int", "double"), "ratio": ("double",),
}  # fmt: skip
DERIVED = (
    "{0} > 1 ? double({0}) : {1}", "{1} / double({0})", "{1} * 2.0 + {1}", "double({0}) / 3.0", "1.0 / (1.0 / {1})",
)  # fmt: skip


@st.composite
def folded(draw: st.DrawFn, name: str) -> dict[str, Any]:
    aggregate = draw(st.sampled_from(sorted(FOLDED)))
    type_ = draw(st.sampled_from(FOLDED[aggregate]))
    spec: dict[str, Any] = {"id": name, "aggregate": aggregate, "type": type_}
    spec["from"] = draw(st.sampled_from(["a", "b", ["a", "b"]]))
    spec["where"] = draw(st.sampled_from(WHERES))
    window = draw(st.sampled_from(WINDOWS[1:] if aggregate == "streak" else WINDOWS))
    if window and aggregate not in ("first", "time_since"):
        spec |= {"window": window[0], "hop": window[1]}
    if aggregate == "time_since":
        spec["unit"] = draw(st.sampled_from("hd"))
    elif aggregate == "distinct":
        spec["value"] = draw(st.sampled_from((*INTS, *DOUBLES, *TEXTS)))
        spec["distinct_max"] = draw(st.sampled_from((2, 64)))
    elif aggregate == "ratio":
        spec["value"] = draw(st.sampled_from(("data.n", "data.b")))
    elif aggregate not in ("count", "streak"):
        spec["value"] = draw(st.sampled_from(VALUES[type_]))
    if draw(st.booleans()):
        spec["default"] = DEFAULTS[type_]
    return {key: value for key, value in spec.items() if value is not None}


@st.composite
def views(draw: st.DrawFn) -> CompiledViews:
    specs = [draw(folded(f"f{index}")) for index in range(draw(st.integers(1, 6)))]
    numbers = {kind: [one["id"] for one in specs if one["type"] == kind] for kind in ("int", "double")}
    if numbers["int"] and numbers["double"]:
        for index, text in enumerate(draw(st.lists(st.sampled_from(DERIVED), max_size=3))):
            text = text.format(draw(st.sampled_from(numbers["int"])), draw(st.sampled_from(numbers["double"])))
            spec = {"id": f"d{index}", "derive": text, "type": "double"}
            specs.append(spec if draw(st.booleans()) else {**spec, "default": -1.0})
            numbers["double"].append(f"d{index}")
    half = draw(st.integers(1, len(specs)))
    documents = [
        {"view": f"v{index}", "version": 1, "entity": "person", "owner": "o", "purposes": ["p"], "features": part}
        for index, part in enumerate((specs[:half], specs[half:])) if part
    ]  # fmt: skip
    return compile_views([msgspec.convert(one, FeatureView) for one in documents], FIELDS)


PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "n": st.one_of(st.integers(-3, 6), st.sampled_from([2**62, -(2**63), 2**63 - 1, 3.0])),
        "d": st.one_of(st.sampled_from([0, 0.0, -0.0, 0.1, 0.2, 0.0000005, 2.5, -7, 1e17, 1e300]), st.floats(-9, 9)),
        "s": st.sampled_from(["red", "blue", "green", "", "é" * 128, "x" * 255]),
        "b": st.booleans(),
        "x": st.sampled_from([1, 1.0, True, "1", 2.5, 0]),
        "deep": st.fixed_dictionaries({}, optional={"n": st.integers(-2, 4)}),
    },
)


@st.composite
def signals(draw: st.DrawFn) -> list[Fact]:
    """Few ids and few moments, so that ties in time and name occur."""
    moments = st.one_of(st.integers(0, 30).map(lambda hours: hours * HOUR_MS), st.integers(0, 9 * 24 * HOUR_MS))
    return [
        Fact(seq, draw(st.sampled_from("ab")), draw(st.sampled_from(["i", "j", "é", "k" * 260])),
             START_MS + draw(moments), draw(st.sampled_from(["p", "q"])), None, draw(PAYLOADS))
        for seq in range(1, draw(st.integers(0, 25)) + 1)
    ]  # fmt: skip


def online(compiled: CompiledViews, facts: Sequence[Fact], asked: Asked) -> tuple[Any, ...]:
    mine = [fact for fact in facts if fact.person == asked.person and fact.seq <= asked.known_seq]
    past = [PastSignal(fact.type, fact.id, fact.at_ms, fact.data, ("person",)) for fact in mine]
    ((_, vector),) = read_as_of(compiled, past, [asked.at_ms])
    return vector.values


def alike(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-9 * max(1.0, abs(one), abs(other))
    return type(one) is type(other) and one == other


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    views(),
    signals(),
    st.lists(st.tuples(st.sampled_from(["p", "q", "r", None]), st.integers(-HOUR_MS, 10 * 24 * HOUR_MS),
                       st.one_of(st.none(), st.integers(0, 25))), min_size=1, max_size=6),
)  # fmt: skip
def test_offline_is_online(
    compiled: CompiledViews, facts: list[Fact], reads: list[tuple[str | None, int, int | None]]
) -> None:
    asked = [Asked(who, None, START_MS + at, 2**62 if known is None else known) for who, at, known in reads]
    # At the very millisecond of a signal, and one before it.
    asked += [Asked(fact.person, None, fact.at_ms - back) for fact in facts[:4] for back in (0, 1)]
    form = relational_of(compiled, FIELDS)
    values = DuckOffline().values(form, facts, asked)
    assert tuple(values) == compiled.names
    for row, one in enumerate(asked):
        for name, expected in zip(compiled.names, online(compiled, facts, one), strict=True):
            got = values[name][row]
            assert alike(expected, got), (name, form.forms[name], expected, got, one)


@pytest.mark.parametrize(
    ("spec", "form"),
    [
        ({"aggregate": "count", "where": "data.n > 3 && data.s == 'red'"}, "sql"),
        ({"aggregate": "sum", "value": "data.d", "type": "double"}, "sql"),
        ({"aggregate": "count", "where": "data.s.matches('r.*')"}, "python column"),
        ({"aggregate": "distinct", "value": "data.x"}, "sql"),
        ({"aggregate": "distinct", "value": "data.s", "approximate": True}, "replay"),
    ],
)
def test_says_how_each_feature_is_worked_out(spec: dict[str, Any], form: str) -> None:
    document = {
        "view": "v", "version": 1, "entity": "person", "owner": "o", "purposes": ["p"],
        "features": [{"id": "f", "from": "a", **spec}],
    }  # fmt: skip
    compiled = compile_views([msgspec.convert(document, FeatureView)], FIELDS)
    assert relational_of(compiled, FIELDS).forms == {"f": form}


@pytest.mark.parametrize("aggregate", ["count", "streak"])
def test_rows_of_one_moment_may_know_different_signals(aggregate: str) -> None:
    document = {
        "view": "v", "version": 1, "entity": "person", "owner": "o", "purposes": ["p"],
        "features": [{"id": "f", "from": "a", "aggregate": aggregate, "window": "6h", "hop": "1h"}],
    }  # fmt: skip
    compiled = compile_views([msgspec.convert(document, FeatureView)], FIELDS)
    facts = [Fact(seq, "a", str(seq), START_MS - (2 - seq) * HOUR_MS, "p", None, {}) for seq in (1, 2)]
    asked = [Asked("p", None, START_MS, known) for known in (2, 0, 1, 2)]
    assert DuckOffline().values(relational_of(compiled, FIELDS), facts, asked) == {"f": [2, None, 1, 2]}
