"""Places: a few threads that one source may use, so that a source that hangs takes nobody else's.

Threads begin with the first work and are daemons: one that never comes back holds up neither a decision nor the end
of the process.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from heapq import heappop, heappush
from threading import Condition, Thread, get_ident
from typing import Any, Final, Literal, TypeVar

T = TypeVar("T")

Fault = Literal["late", "full"]

HUNG_US: Final = 10_000_000
"""Work that runs for longer hangs: its place is given to a new thread."""
HUNG_MAX: Final = 32
"""At most this many threads hang beside those that work."""


class Call(Future[T]):
    """Work in a place, and who waits for it."""

    def __init__(self, submitted_us: int) -> None:
        super().__init__()
        self.submitted_us = submitted_us
        self.began_us = submitted_us

    def given_up(self, now_us: int) -> Fault | None:
        """Nobody waits for it any longer: `late` when the work took the time, `full` when waiting for a place did;
        None when it has ended after all."""
        if self.cancel():
            return "full"
        if self.done():
            return None
        return "late" if now_us - self.began_us >= self.began_us - self.submitted_us else "full"


class Places:
    """`size` threads; what finds none free waits, the lowest rank first, at most `waiting_max` of it."""

    def __init__(self, name: str, size: int, waiting_max: int, tick_us: Callable[[], int]) -> None:
        self._name = name
        self._size = size
        self._waiting_max = waiting_max
        self._tick_us = tick_us
        self._changed = Condition()
        self._waiting: list[tuple[int, int, Callable[[], Any], Call[Any]]] = []
        self._submitted = 0
        self._began_us: dict[int, int] = {}
        self._threads = 0
        self._idle = 0
        self._closed = False

    def submit(self, work: Callable[[], T], rank: int = 0) -> Call[T] | None:
        """The work under way, or None when too much waits."""
        call: Call[T] = Call(self._tick_us())
        with self._changed:
            if self._closed or len(self._waiting) >= self._waiting_max:
                return None
            self._submitted += 1
            heappush(self._waiting, (rank, self._submitted, work, call))
            if self._idle >= len(self._waiting):
                self._changed.notify()
            elif self._threads - self._hung() < self._size:
                self._threads += 1
                Thread(target=self._work, name=self._name, daemon=True).start()
        return call

    @property
    def threads(self) -> int:
        return self._threads

    def close(self, wait_s: float = 0.0) -> None:
        """Takes no more work; what there is has so long to end, then what has not begun is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._began_us and not self._waiting, wait_s)
            for _, _, _, call in self._waiting:
                call.cancel()
            self._waiting.clear()

    def _hung(self) -> int:
        now_us = self._tick_us()
        return min(HUNG_MAX, sum(now_us - began_us > HUNG_US for began_us in self._began_us.values()))

    def _work(self) -> None:
        me = get_ident()
        while (taken := self._next(me)) is not None:
            work, call = taken
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - whoever waits hears of it
                call.set_exception(error)
            else:
                call.set_result(result)

    def _next(self, me: int) -> tuple[Callable[[], Any], Call[Any]] | None:
        """The next work, waited for; None for a thread that is not needed any more."""
        with self._changed:
            self._began_us.pop(me, None)
            while self._threads - self._hung() <= self._size:
                while self._waiting:
                    _, _, work, call = heappop(self._waiting)
                    call.began_us = now_us = self._tick_us()
                    if call.set_running_or_notify_cancel():
                        self._began_us[me] = now_us
                        return work, call
                if self._closed:
                    break
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            self._threads -= 1
            self._changed.notify_all()
            return None
