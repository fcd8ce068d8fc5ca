"""Any order of arrival within the lateness gives the same values: those of a reference that keeps every signal."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opportune.core.features import (
    CompiledViews,
    EntityFeatures,
    FeatureView,
    PastSignal,
    compile_views,
    read_as_of,
)

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_767_225_600_000
FIELDS = {"n": "int", "m": "int", "d": "double", "s": "string", "b": "bool"}
LATENESS_MS = {"none": HOUR_MS // 2, "5h": 5 * HOUR_MS, "2d": 2 * DAY_MS}
"""Without a declared lateness it holds for one hop; the shortest hop here is half an hour."""
WINDOWS = {"": None, "6h": (HOUR_MS, 6), "20h": (2 * HOUR_MS, 10), "5h": (HOUR_MS // 2, 10), "3d": (DAY_MS, 3)}
HOPS = {"6h": "1h", "20h": "2h", "5h": "30m", "3d": "1d"}

Signals = Sequence[PastSignal]
Rows = Sequence[tuple[PastSignal, Any]]
"""Signals that count, each with what the feature takes of it."""


def has(*fields: str) -> Callable[[Any], Any]:
    """The field, or the pair of fields; None when one is missing."""

    def take(data: Any) -> Any:
        found = [data.get(field) for field in fields]
        return None if None in found else found[0] if len(found) == 1 else tuple(found)

    return take


def millionths(amount: float) -> Fraction:
    return Fraction(round(amount * 1_000_000), 1_000_000)


def newest(rows: Rows) -> tuple[PastSignal, Any]:
    return max(rows, key=lambda row: (row[0].at_ms, row[0].id))


def divided(part: Any, whole: Any) -> object:
    return None if whole == 0 else float(Fraction(part) / Fraction(whole))


def whole_sum(rows: Rows) -> object:
    total = sum(amount for _, amount in rows)
    return total if -(2**63) <= total < 2**63 else None


Case = tuple[dict[str, Any], Callable[[Any], Any], Callable[[Rows], object] | None]
CASES: dict[str, Case] = {
    "count": ({"aggregate": "count"}, lambda data: 1, len),
    "count_where": ({"aggregate": "count", "where": "data.b"}, lambda data: data.get("b") or None, len),
    "sum": ({"aggregate": "sum", "value": "data.n", "type": "int"}, has("n"), whole_sum),
    "total": (
        {"aggregate": "sum", "value": "data.d", "type": "double"},
        has("d"),
        lambda rows: float(sum(millionths(amount) for _, amount in rows)),
    ),
    "mean": (
        {"aggregate": "mean", "value": "data.d"},
        has("d"),
        lambda rows: float(sum(millionths(amount) for _, amount in rows) / len(rows)),
    ),
    "min": (
        {"aggregate": "min", "value": "data.n", "type": "int"},
        has("n"),
        lambda rows: min(n for _, n in rows),
    ),
    "max": (
        {"aggregate": "max", "value": "data.d", "type": "double"},
        has("d"),
        lambda rows: max(d for _, d in rows),
    ),
    "last": ({"aggregate": "last", "value": "data.s", "type": "string"}, has("s"), lambda rows: newest(rows)[1]),
    "first": (
        {"aggregate": "first", "value": "data.n", "type": "int"},
        has("n"),
        lambda rows: min(rows, key=lambda row: (row[0].at_ms, row[0].id))[1],
    ),
    "distinct": ({"aggregate": "distinct", "value": "data.s"}, has("s"), lambda rows: len({s for _, s in rows})),
    "many": (
        {"aggregate": "distinct", "value": "data.n", "approximate": True},
        has("n"),
        lambda rows: len({n for _, n in rows}),
    ),
    "time_since": ({"aggregate": "time_since", "unit": "h", "type": "int"}, lambda data: 1, None),
    "ratio": (
        {"aggregate": "ratio", "value": "data.n", "over": "data.m"},
        has("n", "m"),
        lambda rows: divided(sum(n for _, (n, _) in rows), sum(m for _, (_, m) in rows)),
    ),
    "ratio_doubles": (
        {"aggregate": "ratio", "value": "data.d", "over": "data.m * 2"},
        has("d", "m"),
        lambda rows: divided(sum(millionths(d) for _, (d, _) in rows), sum(2 * m for _, (_, m) in rows)),
    ),
    "share": (
        {"aggregate": "ratio", "value": "data.n > 0", "over": "data.b"},
        lambda data: (data.get("n", 0) > 0, data.get("b", False)),
        lambda rows: divided(sum(part for _, (part, _) in rows), sum(whole for _, (_, whole) in rows)),
    ),
    "share_of_all": (
        {"aggregate": "ratio", "value": "data.s == 'a'"},
        lambda data: data.get("s") == "a",
        lambda rows: divided(sum(part for _, part in rows), len(rows)),
    ),
    "slope": ({"aggregate": "slope", "value": "data.n"}, has("n"), None),
    "slope_doubles": ({"aggregate": "slope", "value": "data.d"}, has("d"), None),
    "slope_counts": ({"aggregate": "slope"}, lambda data: 1, None),
    "slope_means": ({"aggregate": "slope", "value": "data.d", "of": "mean"}, has("d"), None),
    "streak": ({"aggregate": "streak", "where": "data.b"}, lambda data: data.get("b") or None, None),
}
NEEDS_WINDOW = ("slope", "slope_doubles", "slope_counts", "slope_means", "streak")
SINCE_EVER = ("first", "time_since", "many")
BY_NEWEST_TILE = ("last", "distinct")
"""With a window these know the newest tile of each thing only: no read before the newest signal has an answer."""


def features() -> Iterator[tuple[str, str, str, str]]:
    """(name, lateness, case, window)"""
    for lateness in LATENESS_MS:
        for case in CASES:
            for window in WINDOWS:
                if case in (SINCE_EVER if window else NEEDS_WINDOW):
                    continue
                yield f"{case}_{window or 'ever'}_{lateness}", lateness, case, window


def view(lateness: str) -> dict[str, Any]:
    documents = []
    for name, owner, case, window in features():
        if owner == lateness:
            parts = {"window": window, "hop": HOPS[window]} if window else {}
            documents.append({"id": name, "from": "a", **CASES[case][0], **parts})
    declared = {} if lateness == "none" else {"lateness": lateness}
    base = {"version": 1, "entity": "account", "owner": "o", "purposes": ["service"], **declared}
    return {"view": f"late_{lateness}", "features": documents, **base}


COMPILED = {
    lateness: compile_views([msgspec.convert(view(lateness), FeatureView)], {"a": FIELDS}) for lateness in LATENESS_MS
}


def folded(compiled: CompiledViews, signals: Signals) -> EntityFeatures | None:
    state: EntityFeatures | None = None
    for signal in signals:
        state = compiled.fold("account", state, signal.type, signal.id, signal.at_ms, signal.data)
    return state


def taken(case: str, signals: Signals) -> Rows:
    rows = [(signal, CASES[case][1](signal.data)) for signal in signals]
    return [row for row in rows if row[1] is not None]


def expected(case: str, window: str, signals: Signals, now_ms: int) -> object:
    """The value by definition, from all signals up to `now_ms`; None is missing."""
    rows = [row for row in taken(case, signals) if row[0].at_ms <= now_ms]
    within = WINDOWS[window]
    if within is not None:
        hop_ms, tiles = within
        low, high = now_ms // hop_ms - tiles + 1, now_ms // hop_ms
        if case.startswith("slope"):
            low, high = low - 1, high - 1
        rows = [row for row in rows if low <= row[0].at_ms // hop_ms <= high]
        by_hop = [[row for row in rows if row[0].at_ms // hop_ms == tile] for tile in range(low, high + 1)]
        if rows and case.startswith("slope"):
            return trend(by_hop, hop_ms, means=case == "slope_means")
        if rows and case == "streak":
            return in_a_row([bool(hop) for hop in by_hop])
    if not rows:
        return None
    if case == "time_since":
        return (now_ms - newest(rows)[0].at_ms) // HOUR_MS
    reduce = CASES[case][2]
    assert reduce is not None
    return reduce(rows)


def trend(by_hop: Sequence[Rows], hop_ms: int, *, means: bool) -> object:
    """The slope of the least-squares line, in exact arithmetic; days go to the right."""
    points = [
        (Fraction(place * hop_ms, DAY_MS), sum((millionths(amount) for _, amount in hop), Fraction(0)), len(hop))
        for place, hop in enumerate(by_hop)
    ]
    line = [(x, total / size) for x, total, size in points if size] if means else [(x, y) for x, y, _ in points]
    if len(line) < 2:
        return None
    middle = sum(x for x, _ in line) / len(line)
    return float(sum((x - middle) * y for x, y in line) / sum((x - middle) ** 2 for x, _ in line))


def in_a_row(hops: list[bool]) -> int:
    closed = hops if hops[-1] else hops[:-1]
    return next((back for back, busy in enumerate(reversed(closed)) if not busy), len(closed))


def is_unknown(case: str, window: str, signals: Signals, now_ms: int) -> bool:
    """Where a read within the lateness has no answer: it is before the newest signal, and nothing kept can say."""
    rows = taken(case, signals)
    within = WINDOWS[window]
    if not rows or newest(rows)[0].at_ms <= now_ms or case.startswith("slope"):
        return False
    if within is None or case in BY_NEWEST_TILE:
        return True
    return any(row[0].at_ms // within[0] == now_ms // within[0] for row in rows)


def same(case: str, got: object, wanted: object, signals: Signals) -> bool:
    if case != "slope_means" or got is None or wanted is None:
        return got == wanted
    size = max(abs(amount) for _, amount in taken(case, signals))
    return math.isclose(got, wanted, rel_tol=1e-9, abs_tol=1e-9 * max(1.0, 48 * size))  # type: ignore[arg-type]


times = st.integers(0, 60 * 4).map(lambda quarter: START_MS + quarter * HOUR_MS // 4) | st.integers(
    START_MS, START_MS + 60 * HOUR_MS
)
payloads = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(-300, 300) | st.integers(-(2**63), 2**63 - 1),
        "m": st.integers(-3, 9) | st.integers(-(2**61), 2**61),
        "d": st.integers(-1000, 1000).map(lambda cents: cents / 100) | st.floats(-1e18, 1e18).map(lambda d: d + 0.0),
        "s": st.sampled_from("abcdef"),
        "b": st.booleans(),
    },
)
Arrivals = Sequence[tuple[int, Any, float, float]]
"""(time, data, and for each of two runs the share of the lateness by which the signal is late)"""


def busy(seed: int) -> Arrivals:
    """A hundred signals or so, more than hypothesis puts into a list."""
    chance = random.Random(seed)
    return [
        (
            START_MS + chance.randrange(60 * HOUR_MS),
            {
                "n": chance.randrange(-5, 50),
                "m": chance.randrange(4),
                "d": chance.randrange(999) / 8,
                "s": chance.choice("abcdef"),
                "b": chance.random() < 0.7,
            },
            chance.random(),
            chance.random(),
        )
        for _ in range(chance.randrange(20, 150))
    ]


arrivals = st.lists(
    st.tuples(times, payloads, st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=25
) | st.integers(0, 2**32).map(busy)


def in_order_of_arrival(rows: Arrivals, run: int, lateness_ms: int) -> list[PastSignal]:
    """The signals as they come in: each by up to the lateness after its time."""
    late = [(row[0] + row[2 + run] * lateness_ms, index) for index, row in enumerate(rows)]
    return [PastSignal("a", f"{index:03d}", rows[index][0], rows[index][1], ("account",)) for _, index in sorted(late)]


@pytest.mark.parametrize("lateness", LATENESS_MS)
@settings(max_examples=60, deadline=None)
@given(arrivals, st.floats(0, 1), st.integers(0, 80 * HOUR_MS))
@example([(START_MS, {"n": 1, "d": 1.0, "b": True}, 0.0, 1.0), (START_MS + HOUR_MS // 2, {"n": 2}, 0.0, 0.0)], 1.0, 0)
def test_any_order_of_arrival_within_the_lateness_gives_the_values_of_the_definition(
    lateness: str, rows: Arrivals, back: float, later_ms: int
) -> None:
    """Read as of up to the lateness before the newest signal, and any time after it."""
    compiled, lateness_ms = COMPILED[lateness], LATENESS_MS[lateness]
    signals, others = (in_order_of_arrival(rows, run, lateness_ms) for run in (0, 1))
    one, other = folded(compiled, signals), folded(compiled, others)
    assert (one and one.cells) == (other and other.cells)

    newest_ms = max(row[0] for row in rows)
    for now_ms in (newest_ms - int(back * lateness_ms), newest_ms - lateness_ms, newest_ms, newest_ms + later_ms):
        vector = compiled.read(None, one, now_ms)
        assert vector == compiled.read(None, other, now_ms)
        for name, owner, case, window in features():
            if owner != lateness:
                continue
            got, wanted = vector.values[compiled.features[name].index], expected(case, window, signals, now_ms)
            if is_unknown(case, window, signals, now_ms):
                assert name in vector.unknown, name
                continue
            assert same(case, got, wanted, signals), (name, got, wanted)
            assert name not in vector.unknown or case == "sum", name  # a sum beyond 64 bits


@pytest.mark.parametrize("lateness", LATENESS_MS)
@settings(max_examples=60, deadline=None)
@given(arrivals, times, st.randoms(use_true_random=False))
def test_beyond_the_lateness_a_read_is_exact_or_has_no_answer(
    lateness: str, rows: Arrivals, now_ms: int, chance: random.Random
) -> None:
    """However late signals come, and however far back is read: never a wrong value; the order still does not show."""
    compiled = COMPILED[lateness]
    signals = in_order_of_arrival(rows, 0, 0)
    shuffled = list(signals)
    chance.shuffle(shuffled)
    one, other = folded(compiled, signals), folded(compiled, shuffled)
    assert (one and one.cells) == (other and other.cells)

    vector = compiled.read(None, other, now_ms)
    for name, owner, case, window in features():
        if owner == lateness and name not in vector.unknown:
            got, wanted = vector.values[compiled.features[name].index], expected(case, window, signals, now_ms)
            assert same(case, got, wanted, signals), (name, got, wanted)


@settings(max_examples=60, deadline=None)
@given(arrivals, st.lists(times, min_size=1, max_size=6))
def test_replay_in_time_order_has_an_answer_at_every_read(rows: Arrivals, read_at_ms: list[int]) -> None:
    compiled, signals = COMPILED["none"], in_order_of_arrival(rows, 0, 0)
    for now_ms, vector in read_as_of(compiled, signals, read_at_ms):
        for name, owner, case, window in features():
            if owner == "none":
                got = vector.values[compiled.features[name].index]
                assert same(case, got, expected(case, window, signals, now_ms), signals), name
                assert name not in vector.unknown or case == "sum", name


def one_feature(lateness: str | None, **document: Any) -> CompiledViews:
    base = {"view": "v", "version": 1, "entity": "account", "owner": "o", "purposes": ["service"]}
    late = {} if lateness is None else {"lateness": lateness}
    features = [{"id": "x", "from": "a", **document}]
    return compile_views([msgspec.convert({**base, **late, "features": features}, FeatureView)], {"a": FIELDS})


@pytest.mark.parametrize(("lateness", "known"), [(None, False), ("2d", True)])
def test_a_read_two_days_back_needs_two_days_of_lateness(lateness: str | None, known: bool) -> None:
    """The window of three days before it: whole with the lateness, and without it an answer nobody has."""
    compiled = one_feature(lateness, aggregate="sum", value="data.n", type="int", window="3d", hop="1d", default=0)
    days = [PastSignal("a", str(day), START_MS + day * DAY_MS, {"n": 10**day}) for day in (0, 1, 2, 4)]
    late = PastSignal("a", "late", START_MS + 2 * DAY_MS + HOUR_MS, {"n": 5})
    vector = compiled.read(None, folded(compiled, [*days, late]), START_MS + 3 * DAY_MS - 1)
    assert vector.values == (None,)  # the open day has signals, and one could be of the future

    vector = compiled.read(None, folded(compiled, [*days, late]), START_MS + 3 * DAY_MS + 1)
    assert vector.values == (115,)

    further = PastSignal("a", "next", START_MS + 5 * DAY_MS, {"n": 7})
    vector = compiled.read(None, folded(compiled, [*days, late, further]), START_MS + 3 * DAY_MS + 1)
    assert vector.values == ((115,) if known else (None,))
    assert vector.unknown == (() if known else ("x",))


@pytest.mark.parametrize(
    ("document", "bytes_max"),
    [
        ({"aggregate": "count"}, 15 + 94 * (1 + 2)),
        ({"aggregate": "sum", "value": "data.n", "type": "int"}, 15 + 94 * (1 + 8)),
        ({"aggregate": "mean", "value": "data.d"}, 15 + 94 * (1 + 8 + 2)),
        ({"aggregate": "ratio", "value": "data.n", "over": "data.m"}, 15 + 94 * (1 + 8 + 8)),
        ({"aggregate": "slope", "value": "data.n"}, 15 + 95 * (1 + 8)),
        ({"aggregate": "streak"}, 12 + 12),
    ],
    ids=lambda part: part.get("aggregate") if isinstance(part, dict) else None,
)
def test_the_state_of_a_window_is_bounded_by_its_tiles_and_the_spare_ones(
    document: dict[str, Any], bytes_max: int
) -> None:
    """90 days and four days of lateness; 20,000 signals over two years, some of them late by any time."""
    compiled = one_feature("4d", window="90d", hop="1d", **document)
    state: EntityFeatures | None = None
    for number in range(20_000):
        at_ms = START_MS + number * 730 * DAY_MS // 20_000 - (number % 7 == 0) * number % 200 * DAY_MS
        data = {"n": 10**9 + number, "m": 10**9, "d": 1000.5}
        state = compiled.fold("account", state, "a", str(number), at_ms, data)
    assert state is not None
    (cell,) = state.cells.values()

    assert bytes_max / 2 < len(cell) <= bytes_max
