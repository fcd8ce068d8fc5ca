"""What is leaving this very moment: whoever withdraws consent hears of it only when nothing of theirs is on its way."""

from __future__ import annotations

from collections.abc import Callable, Collection
from threading import Lock


class Outgoing:
    """The customers to whom something is being handed over, and who waits for the end of that.

    INVARIANT: a hand-over either sees a committed withdrawal and does not begin, or the withdrawal sees the hand-over
    and is acknowledged after it. `begin` registers before it looks; a withdrawal is committed before it looks here.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._leaving: dict[str, int] = {}
        self._waiting: list[tuple[set[str], Callable[[], None]]] = []

    def begin(self, customer: str, may: Callable[[], bool]) -> bool:
        """Registers a hand-over and then looks whether it may be; False takes it back. `end` must follow a True."""
        with self._lock:
            self._leaving[customer] = self._leaving.get(customer, 0) + 1
        try:
            allowed = may()
        except BaseException:
            self.end(customer)
            raise
        if not allowed:
            self.end(customer)
        return allowed

    def end(self, customer: str) -> None:
        """The hand-over is over, whatever became of it."""
        ready: list[Callable[[], None]] = []
        with self._lock:
            left = self._leaving[customer] - 1
            if left:
                self._leaving[customer] = left
            else:
                del self._leaving[customer]
                for customers, _ in self._waiting:
                    customers.discard(customer)
                ready = [then for customers, then in self._waiting if not customers]
                self._waiting = [one for one in self._waiting if one[0]]
        for then in ready:
            then()

    def after(self, customers: Collection[str], then: Callable[[], None]) -> None:
        """Calls `then` when nothing that had begun is on its way to any of these customers; often at once."""
        if self._leaving:
            with self._lock:
                held = {one for one in customers if one in self._leaving}
                if held:
                    self._waiting.append((held, then))
                    return
        then()
