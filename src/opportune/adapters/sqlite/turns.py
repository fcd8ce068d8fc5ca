"""Work that either of two threads does, whichever comes to it first: a busy one at its next pause, or the writer."""

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Turn(Generic[T]):
    """One piece of work, done once."""

    __slots__ = ("_begun", "_error", "_over", "_result", "_rung", "_work")

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._begun = Lock()
        self._rung: SimpleQueue[None] = SimpleQueue()
        self._over = False
        self._result: list[T] = []
        self._error: BaseException | None = None

    def take(self) -> None:
        """By the busy thread, at its pause: does the work, unless the writer has begun."""
        if self._begun.acquire(blocking=False):
            try:
                self._result.append(self._work())
            except BaseException as error:  # noqa: BLE001 - raised where the writer waits
                self._error = error
            self._over = True
            self._rung.put(None)

    def hurry(self) -> None:
        """The writer is not to wait for a pause: the busy thread may be waiting for the writer itself."""
        self._rung.put(None)

    def result(self, wait_s: float) -> T:
        """By the writer: what came of it; does the work itself when nobody has begun within `wait_s`."""
        with suppress(Empty):
            self._rung.get(timeout=wait_s)
        if self._begun.acquire(blocking=False):
            return self._work()
        while not self._over:
            self._rung.get()
        if self._error is not None:
            raise self._error
        return self._result[0]
