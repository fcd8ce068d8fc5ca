"""The waiting room: questions that found no place, by class; the highest is decided first, the lowest shed first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

import msgspec

from opportune.core.catalog import PriorityClass
from opportune.flows.admission import RANKS, Gate

T = TypeVar("T")

ROOM_MAX: Final = 1024
"""Questions that wait at the same time; beyond this, one of the lowest class goes."""
WAIT_SHARE: Final = 0.4
"""A question waits for at most this part of its budget: the rest is for deciding."""


class Waiter(msgspec.Struct, Generic[T], frozen=True):
    """Who waits (`asking`), in which class, and until when it makes sense."""

    asking: T
    priority: PriorityClass
    until_us: int


class Room(Generic[T]):
    """Who waits for a place at the gate. One thread uses it: the event loop's."""

    def __init__(self, gate: Gate, most: int = ROOM_MAX) -> None:
        self._gate = gate
        self._most = most
        self._classes: tuple[deque[Waiter[T]], ...] = tuple(deque() for _ in RANKS)
        self._shed: deque[T] = deque()
        self.waiting = 0

    def __bool__(self) -> bool:
        """Does anybody wait, for a decision or for being told that there is none?"""
        return self.waiting > 0 or bool(self._shed)

    def arrive(self, asking: T, priority: PriorityClass, now_us: int, budget_us: int) -> None:
        """Takes somebody in. INVARIANT: when the room is full, whoever goes is of the lowest class in it, and came
        last of that."""
        rank = RANKS[priority]
        if self.waiting >= self._most:
            lowest = next((row for row in reversed(range(rank + 1, len(RANKS))) if self._classes[row]), None)
            if lowest is None:
                self._shed.append(asking)
                return
            self._shed.append(self._classes[lowest].pop().asking)
            self.waiting -= 1
        self._classes[rank].append(Waiter(asking, priority, now_us + int(budget_us * WAIT_SHARE)))
        self.waiting += 1

    def admitted(self, now_us: int) -> T | None:
        """Whoever is to be decided next, with a place at the gate; None when nobody waits or has one.

        INVARIANT: nobody of a lower class gets a place while somebody of a higher one waits for it.
        """
        for row in self._classes:
            while row:
                first = row[0]
                if first.until_us < now_us:
                    self._shed.append(row.popleft().asking)
                    self.waiting -= 1
                    continue
                if not self._gate.enter(first.priority):
                    return None
                self.waiting -= 1
                return row.popleft().asking
        return None

    def tidy(self, now_us: int) -> None:
        """Everybody who has waited too long is to be shed."""
        for row in self._classes:
            late = [one for one in row if one.until_us < now_us]
            if late:
                self._shed.extend(one.asking for one in late)
                self.waiting -= len(late)
                kept = [one for one in row if one.until_us >= now_us]
                row.clear()
                row.extend(kept)

    def turned_away(self) -> Iterator[T]:
        """Those to be shed, as long as one is asked for."""
        while self._shed:
            yield self._shed.popleft()
