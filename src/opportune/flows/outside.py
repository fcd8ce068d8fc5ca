"""Reads, before a decision, the features that somebody else keeps; what does not come in time is done without.

Readers may be slow, so they run in threads of their own, and so do the decisions that wait for them: whoever asked
goes on at once, and decisions that need no reader never meet one that does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import BoundedSemaphore, Lock
from typing import Any, Final

from opportune.core.features import Outside, OutsideView, ReaderSpec
from opportune.core.features.outside import ValuesAt, fitted
from opportune.ports import FeatureReader

READERS_MAX: Final = 8
"""Reads that run at the same time."""
WAITING_MAX: Final = 8
"""Decisions that wait for reads at the same time; the others queue, inside their own budgets."""
UNDER_WAY_MAX: Final = 64
"""Reads begun and not ended: beyond this, readers hang, and a read is late at once."""

_log = logging.getLogger(__name__)


class OutsideReads:
    """The readers of a region, made on first use by `make`; without it every read fails, and is said to have."""

    def __init__(self, make: Callable[[ReaderSpec], FeatureReader] | None = None) -> None:
        self._make = make
        self._lock = Lock()
        self._readers: dict[ReaderSpec, FeatureReader] = {}
        self._places = BoundedSemaphore(UNDER_WAY_MAX)
        # Threads begin with the first work: a region without readers has none of them.
        self._reading = ThreadPoolExecutor(READERS_MAX, "reads")
        self._deciding = ThreadPoolExecutor(WAITING_MAX, "decides")

    def prepare(self, views: Sequence[OutsideView]) -> None:
        """Makes the readers of these views ahead of the first decision; one that cannot be made is tried again."""
        for view in views:
            try:
                self._reader(view.spec)
            except Exception as error:  # noqa: BLE001 - whatever an adapter raises; the release goes live without it
                _log.error("view %s cannot be read: %s", view.view, type(error).__name__)

    def hand_over(self, work: Callable[[], None]) -> None:
        """Has a decision that will wait for reads made in another thread."""
        self._deciding.submit(work)

    def read(
        self, views: Sequence[OutsideView], person: str, account: str | None, now_ms: int, left_s: float
    ) -> Outside:
        """The values of all views, side by side, as far as they came within `left_s` seconds."""
        values: dict[str, tuple[Any, int | None]] = {}
        unread: dict[str, str] = {}
        begun: list[tuple[OutsideView, Future[ValuesAt]]] = []
        for view in views:
            id_ = person if view.entity == "person" else account
            if id_ is None:  # there is nobody to ask about: as nothing seen
                values.update(fitted(view, {}))
            elif left_s <= 0 or not self._places.acquire(blocking=False):
                unread[view.view] = "late"
            else:
                future = self._reading.submit(self._one, view, id_, now_ms, left_s)
                future.add_done_callback(lambda _: self._places.release())
                begun.append((view, future))
        wait([future for _, future in begun], timeout=left_s)
        for view, future in begun:
            if not future.done():
                future.cancel()
                unread[view.view] = "late"
            elif (error := future.exception()) is not None:
                # The type alone: the text of an error may hold a personal value.
                _log.error("view %s could not be read: %s", view.view, type(error).__name__)
                unread[view.view] = "late" if isinstance(error, TimeoutError) else "failed"
            else:
                values.update(future.result())
        return Outside(values, tuple(sorted(unread.items())))

    def close(self) -> None:
        """Lets decisions under way end, and waits for no reader."""
        self._deciding.shutdown(wait=True)
        self._reading.shutdown(wait=False, cancel_futures=True)

    def _one(self, view: OutsideView, id_: str, now_ms: int, left_s: float) -> ValuesAt:
        rows = self._reader(view.spec).read(view.entity, id_, view.columns, now_ms, left_s)
        return fitted(view, rows)

    def _reader(self, spec: ReaderSpec) -> FeatureReader:
        with self._lock:
            found = self._readers.get(spec)
            if found is None:
                if self._make is None:
                    raise LookupError("nothing here can read features from outside")
                found = self._readers[spec] = self._make(spec)
            return found


def lost(views: Sequence[OutsideView]) -> Outside:
    """Nothing was read, and there is no time to."""
    return Outside({}, tuple(sorted((view.view, "late") for view in views)))
