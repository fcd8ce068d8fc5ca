"""What must hold for any signals in any order: the same state, the brute-force value, nothing of the future."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opportune.core.features import (
    CompiledViews,
    EntityFeatures,
    FeatureVector,
    FeatureView,
    PastSignal,
    compile_views,
    decode_state,
    encode_state,
    read_as_of,
)

pytestmark = pytest.mark.slow

HOUR_MS = 3_600_000
START_MS = 1_767_225_600_000
Kept = Sequence[PastSignal]

FEATURES: dict[str, tuple[dict[str, Any], Callable[[Kept], object]]] = {}


def feature(id_: str, oracle: Callable[[Kept], object], **document: Any) -> None:
    FEATURES[id_] = ({"id": id_, "from": document.pop("source", "a"), **document}, oracle)


def newest(kept: Kept) -> PastSignal:
    return max(kept, key=lambda signal: (signal.at_ms, signal.id))


def ints(kept: Kept) -> list[int]:
    return [signal.data["n"] for signal in kept]


def whole_sum(kept: Kept) -> object:
    return sum(ints(kept)) if -(2**63) <= sum(ints(kept)) < 2**63 else None


def millionths(kept: Kept) -> int:
    return sum(round(signal.data["d"] * 1_000_000) for signal in kept)


WINDOWED: dict[str, tuple[Callable[[Kept], object], dict[str, Any]]] = {
    "count": (len, {"aggregate": "count"}),
    "sum": (whole_sum, {"aggregate": "sum", "value": "data.n", "type": "int"}),
    "total": (lambda kept: millionths(kept) / 1_000_000, {"aggregate": "sum", "value": "data.d", "type": "double"}),
    "mean": (lambda kept: millionths(kept) / (len(kept) * 1_000_000), {"aggregate": "mean", "value": "data.d"}),
    "min": (lambda kept: min(ints(kept)), {"aggregate": "min", "value": "data.n", "type": "int"}),
    "max": (lambda kept: max(s.data["d"] for s in kept), {"aggregate": "max", "value": "data.d", "type": "double"}),
    "last": (lambda kept: newest(kept).data["s"], {"aggregate": "last", "value": "data.s", "type": "string"}),
    "distinct": (lambda kept: len({s.data["s"] for s in kept}), {"aggregate": "distinct", "value": "data.s"}),
}
for name, (oracle, document) in WINDOWED.items():
    feature(name, oracle, **document)
    feature(f"{name}_6h", oracle, window="6h", hop="1h", **document)
    feature(f"{name}_20h", oracle, window="20h", hop="2h", **document)
feature(
    "first",
    lambda kept: min(kept, key=lambda s: (s.at_ms, s.id)).data["n"],
    aggregate="first",
    value="data.n",
    type="int",
)

WINDOWS = {"6h": (HOUR_MS, 6), "20h": (2 * HOUR_MS, 10)}
VIEW = {
    "view": "v",
    "version": 1,
    "entity": "account",
    "owner": "o",
    "purposes": ["service"],
    "features": [document for document, _ in FEATURES.values()],
}
COMPILED = compile_views([msgspec.convert(VIEW, FeatureView)], {"a": {"n": "int", "d": "double", "s": "string"}})

times = st.integers(0, 30 * 4).map(lambda quarter: START_MS + quarter * HOUR_MS // 4) | st.integers(
    START_MS, START_MS + 30 * HOUR_MS
)
payloads = st.fixed_dictionaries(
    {
        "n": st.integers(-300, 300) | st.integers(-(2**63), 2**63 - 1),
        "d": st.integers(-1000, 1000).map(lambda cents: cents / 100)
        | st.sampled_from([0.0, -0.0])
        | st.floats(-1e18, 1e18),
        "s": st.sampled_from("abcdef"),
    }
)
signal_lists = st.lists(st.tuples(times, payloads), max_size=25).map(
    lambda rows: [PastSignal("a", f"{index:03d}", at, data, ("account",)) for index, (at, data) in enumerate(rows)]
)


def folded(signals: Kept, compiled: CompiledViews = COMPILED) -> EntityFeatures | None:
    state: EntityFeatures | None = None
    for signal in signals:
        state = compiled.fold("account", state, signal.type, signal.id, signal.at_ms, signal.data)
    return state


def expected(name: str, signals: Kept, now_ms: int) -> object:
    """The value by brute force; -0.0 is taken as 0.0, as it is on the way in."""
    kept = [signal for signal in signals if signal.at_ms <= now_ms]
    hop_ms, tiles = WINDOWS.get(name.rpartition("_")[2], (1, 2**62))
    kept = [signal for signal in kept if signal.at_ms // hop_ms > now_ms // hop_ms - tiles]
    value = FEATURES[name][1](kept) if kept else None
    return value + 0.0 if isinstance(value, float) else value


def assert_exact(vector: FeatureVector, signals: Kept, now_ms: int) -> None:
    for name, value in zip(COMPILED.names, vector.values, strict=True):
        if name not in vector.unknown:
            assert value == expected(name, signals, now_ms), name


@settings(max_examples=120, deadline=None)
@given(signal_lists, st.randoms(use_true_random=False), st.integers(0, 40 * HOUR_MS))
def test_any_order_of_arrival_gives_the_same_state_to_the_byte(signals: Kept, random: Any, later_ms: int) -> None:
    shuffled = list(signals)
    random.shuffle(shuffled)
    state, other = folded(signals), folded(shuffled)

    assert (state and state.cells) == (other and other.cells)

    now_ms = max((signal.at_ms for signal in signals), default=START_MS) + later_ms
    vector = COMPILED.read(None, state, now_ms)

    assert vector == COMPILED.read(None, other, now_ms)
    assert_exact(vector, signals, now_ms)
    assert {name.partition("_")[0] for name in vector.unknown} <= {"sum"}  # beyond 64 bits


@settings(max_examples=120, deadline=None)
@given(signal_lists, times)
def test_a_read_is_exact_or_unknown_however_far_the_state_is_ahead(signals: Kept, now_ms: int) -> None:
    """No signal later than `now` changes a value: at most it takes the answer away, and says so."""
    vector = COMPILED.read(None, folded(signals), now_ms)

    assert_exact(vector, signals, now_ms)


@settings(max_examples=60, deadline=None)
@given(signal_lists, st.lists(times, min_size=1, max_size=6))
def test_replay_in_time_order_is_exact_at_every_read(signals: Kept, read_at_ms: list[int]) -> None:
    """Training reads know everything: only a sum beyond 64 bits is unknown."""
    for now_ms, vector in read_as_of(COMPILED, signals, read_at_ms):
        assert {name.partition("_")[0] for name in vector.unknown} <= {"sum"}
        assert_exact(vector, signals, now_ms)


@settings(max_examples=60, deadline=None)
@given(signal_lists, times, payloads)
def test_fold_never_changes_its_input_and_shares_what_it_does_not_touch(signals: Kept, at: int, data: Any) -> None:
    state = folded(signals)
    before = None if state is None else encode_state(state)
    after = COMPILED.fold("account", state, "a", "new", at, data)

    assert (None if state is None else encode_state(state)) == before
    assert after is not None
    assert COMPILED.fold("account", after, "unheard.of", "new", at, data) is after
    assert COMPILED.fold("person", after, "a", "new", at, data) is after
    assert COMPILED.fold("account", after, "a", "new", at, {}) is not after  # count needs no field


@settings(max_examples=60, deadline=None)
@given(signal_lists)
@example([])
def test_a_state_survives_messagepack(signals: Kept) -> None:
    state = folded(signals)
    if state is not None:
        assert decode_state(encode_state(state)) == state


def test_a_cell_stays_small_however_many_signals_come() -> None:
    """Rings, not lists of events: 20,000 signals over 400 days in no more room than the tiles need."""
    state: EntityFeatures | None = None
    for number in range(20_000):
        at = START_MS + number * 400 * 24 * HOUR_MS // 20_000
        state = COMPILED.fold("account", state, "a", str(number), at, {"n": 7, "d": 0.25, "s": str(number)})
    assert state is not None
    sizes = {key.split(".")[2]: len(cell) for key, cell in state.cells.items()}

    assert max(sizes[name] for name in sizes if "distinct" not in name) < 120
    assert max(sizes.values()) == 8 + 64 * 12
