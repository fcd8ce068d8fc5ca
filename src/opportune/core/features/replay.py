"""Features as they would have been: signals replayed in time order, for training, parity checks and view tests."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from opportune.core.features.compiled import CompiledViews
from opportune.core.features.documents import FeatureView, ViewTest, epoch_ms
from opportune.core.features.reader import FeatureVector
from opportune.core.features.state import EntityFeatures


class PastSignal(msgspec.Struct, frozen=True):
    """A signal about the person, the account, or both (`entities`)."""

    type: str
    id: str
    at_ms: int
    data: Mapping[str, Any]
    entities: tuple[str, ...] = ("person", "account")


def read_as_of(
    compiled: CompiledViews, signals: Iterable[PastSignal], read_at_ms: Iterable[int]
) -> Iterator[tuple[int, FeatureVector]]:
    """The vectors of one person with their account at each time, in time order: exact, with nothing of the future.

    A signal at the very millisecond of a read counts. This is the reader of decisions, fed in time order.
    """
    waiting = sorted(signals, key=lambda signal: (signal.at_ms, signal.id))
    states: dict[str, EntityFeatures | None] = {"person": None, "account": None}
    at = 0
    for now_ms in sorted(read_at_ms):
        while at < len(waiting) and waiting[at].at_ms <= now_ms:
            signal = waiting[at]
            for entity in signal.entities:
                states[entity] = compiled.fold(
                    entity, states[entity], signal.type, signal.id, signal.at_ms, signal.data
                )
            at += 1
        yield now_ms, compiled.read(states["person"], states["account"], now_ms)


class ViewTestFailure(msgspec.Struct, frozen=True):
    """A view's test that did not come out; `got` is None when the value was missing."""

    view: str
    test: str
    feature: str
    expected: object
    got: object
    message: str


def run_view_tests(
    compiled: CompiledViews, views: Sequence[FeatureView] | None = None
) -> tuple[ViewTestFailure, ...]:
    """Runs the tests written in the views (by default all that were compiled) and returns what failed."""
    return tuple(
        failure
        for view in (compiled.views if views is None else views)
        for test in view.tests
        for failure in _run(compiled, view.view, test)
    )


def _run(compiled: CompiledViews, view: str, test: ViewTest) -> Iterator[ViewTestFailure]:
    signals = [
        PastSignal(signal.type, signal.id or f"{position:06d}", epoch_ms(signal.at), signal.data)
        for position, signal in enumerate(test.signals)
    ]
    ((_, vector),) = read_as_of(compiled, signals, [epoch_ms(test.read_at)])
    for name, expected in test.expect.items():
        feature = compiled.features.get(name)
        if feature is None:
            yield ViewTestFailure(view, test.name, name, expected, None, f"there is no feature `{name}`")
            continue
        got = vector.values[feature.index]
        if not _same(expected, got):
            shown = "a missing value" if got is None else f"`{got}`"
            wanted = "a missing value" if expected is None else f"`{expected}`"
            yield ViewTestFailure(view, test.name, name, expected, got, f"expected {wanted}, got {shown}")


def _same(expected: object, got: object) -> bool:
    """Equal as values of one type; ints and doubles compare by number, doubles to nine digits."""
    if isinstance(expected, bool) or isinstance(got, bool) or expected is None or got is None:
        return expected is got
    if isinstance(expected, int | float) and isinstance(got, int | float):
        return abs(expected - got) <= 1e-9 * max(1.0, abs(expected), abs(got))
    return expected == got
