"""The bridge from the writer's thread to the event loop: results of one group commit wake the loop once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any


class LoopBridge:
    """Hands results to futures of one loop, then calls `after`; thread-safe on the side of the writer.

    `finish` is given all results that came together, on the loop, and returns what the futures get.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        after: Callable[[], None] = lambda: None,
        finish: Callable[[list[Any]], list[Any]] = lambda results: results,
    ) -> None:
        self._loop = loop
        self._finish = finish
        self._after = after
        self._waiting: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self._lock = Lock()
        self._scheduled = False

    def future(self) -> tuple[asyncio.Future[Any], Callable[[Any], None]]:
        """A future of the loop, and what to call with its result (or exception) from any thread."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(outcome: Any) -> None:  # noqa: ANN401
            with self._lock:
                self._waiting.append((future, outcome))
                if self._scheduled:
                    return
                self._scheduled = True
            self._loop.call_soon_threadsafe(self._drain)

        return future, done

    def _drain(self) -> None:
        with self._lock:
            ready = [one for one in self._waiting if not one[0].done()]
            self._waiting.clear()
            self._scheduled = False
        outcomes: list[Any]
        try:
            outcomes = self._finish([outcome for _, outcome in ready])
        except Exception as error:  # noqa: BLE001 - everybody hears of it
            outcomes = [error] * len(ready)
        for (future, _), outcome in zip(ready, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._after()
