"""Reads, before a decision, the features that somebody else keeps; what does not come in time is done without.

Readers may be slow, so each view is read in places of its own: one that hangs takes nobody else's, and after a few
vain reads its breaker opens and nobody waits for it. Decisions that wait have threads of their own too: whoever asked
goes on at once, and decisions that wait for nothing never meet one that does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from threading import Lock
from typing import Any, Final

from opportune.core.features import Outside, OutsideView, ReaderSpec
from opportune.core.features.outside import ValuesAt, fitted
from opportune.flows.breakers import Breaker, Breakers
from opportune.flows.places import Call, Places
from opportune.ports import FeatureReader

VIEW_PLACES: Final = 8
"""Reads of one view at the same time; the others queue, inside their own budgets."""
DECIDING_PLACES: Final = 64
"""Decisions that wait for something at the same time."""
WAITING_MAX: Final = 256
CLOSE_WAIT_S: Final = 15.0

_log = logging.getLogger(__name__)


class _Source:
    """One view: its places, its breaker, and its reader, made anew when the view is read elsewhere."""

    def __init__(self, view: str, breakers: Breakers, tick_us: Callable[[], int]) -> None:
        self.places = Places(f"reads {view}", VIEW_PLACES, WAITING_MAX, tick_us)
        self.breaker = breakers.of(view)
        self._lock = Lock()
        self._made: tuple[ReaderSpec, FeatureReader] | None = None

    def reader(self, spec: ReaderSpec, make: Callable[[ReaderSpec], FeatureReader] | None) -> FeatureReader:
        with self._lock:
            if self._made is None or self._made[0] != spec:
                if make is None:
                    raise LookupError("nothing here can read features from outside")
                self._made = spec, make(spec)
            return self._made[1]


class OutsideReads:
    """The readers of a region, made on first use by `make`; without it every read fails, and is said to have."""

    def __init__(
        self, make: Callable[[ReaderSpec], FeatureReader] | None, breakers: Breakers, tick_us: Callable[[], int]
    ) -> None:
        self._make = make
        self._breakers = breakers
        self._tick_us = tick_us
        self._lock = Lock()
        self._sources: dict[str, _Source] = {}
        # Threads begin with the first work: a region without readers has none of them.
        self._deciding = Places("decides", DECIDING_PLACES, WAITING_MAX, tick_us)

    def prepare(self, views: Sequence[OutsideView]) -> None:
        """Makes the readers of these views ahead of the first decision; one that cannot be made is tried again."""
        for view in views:
            try:
                self._source(view.view).reader(view.spec, self._make)
            except Exception as error:  # noqa: BLE001 - whatever an adapter raises; the release goes live without it
                _log.error("view %s cannot be read: %s", view.view, type(error).__name__)

    def hand_over(self, work: Callable[[], None], rank: int = 0) -> bool:
        """Has a decision that will wait for something made in another thread; False when too many wait."""
        return self._deciding.submit(work, rank) is not None

    def read(
        self, views: Sequence[OutsideView], person: str, account: str | None, now_ms: int, left_s: float, rank: int = 0
    ) -> Outside:
        """The values of all views, side by side, as far as they came within `left_s` seconds; of the others, why not:
        `late`, `full` (no place came free in time), `failed`, or `open` (its breaker)."""
        values: dict[str, tuple[Any, int | None]] = {}
        unread: dict[str, str] = {}
        begun: list[tuple[OutsideView, Breaker, Call[ValuesAt]]] = []
        for view in views:
            id_ = person if view.entity == "person" else account
            if id_ is None:  # there is nobody to ask about: as nothing seen
                values.update(fitted(view, {}))
                continue
            source = self._source(view.view)
            if left_s <= 0:
                unread[view.view] = "late"
            elif not source.breaker.allows():
                unread[view.view] = "open"
            elif (call := source.places.submit(self._reading(source, view, id_, now_ms, left_s), rank)) is None:
                unread[view.view] = "full"
            else:
                begun.append((view, source.breaker, call))
        wait([call for _, _, call in begun], timeout=left_s)
        for view, breaker, call in begun:
            found = self._found(view, breaker, call)
            if isinstance(found, str):
                unread[view.view] = found
            else:
                values.update(found)
        return Outside(values, tuple(sorted(unread.items())))

    def close(self) -> None:
        """Lets decisions under way end, and waits for no reader."""
        self._deciding.close(CLOSE_WAIT_S)
        for source in self._sources.values():
            source.places.close()

    def _found(self, view: OutsideView, breaker: Breaker, call: Call[ValuesAt]) -> ValuesAt | str:
        """What a read gave, or the word for why it gave nothing."""
        fault = None if call.done() else call.given_up(self._tick_us())
        if fault == "full":
            return fault
        if fault == "late":
            breaker.failed()
            return fault
        error = call.exception()
        if error is None:
            breaker.succeeded()
            return call.result()
        breaker.failed()
        # The type alone: the text of an error may hold a personal value.
        _log.error("view %s could not be read: %s", view.view, type(error).__name__)
        return "late" if isinstance(error, TimeoutError) else "failed"

    def _reading(
        self, source: _Source, view: OutsideView, id_: str, now_ms: int, left_s: float
    ) -> Callable[[], ValuesAt]:
        until_us = self._tick_us() + int(left_s * 1e6)

        def reading() -> ValuesAt:
            reader = source.reader(view.spec, self._make)
            left = (until_us - self._tick_us()) / 1e6
            return fitted(view, reader.read(view.entity, id_, view.columns, now_ms, left))

        return reading

    def _source(self, view: str) -> _Source:
        found = self._sources.get(view)
        if found is None:
            with self._lock:
                found = self._sources.get(view)
                if found is None:
                    found = self._sources[view] = _Source(view, self._breakers, self._tick_us)
        return found


def lost(views: Sequence[OutsideView]) -> Outside:
    """Nothing was read, and there is no time to."""
    return Outside({}, tuple(sorted((view.view, "late") for view in views)))
