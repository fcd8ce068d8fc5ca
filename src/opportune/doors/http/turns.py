"""Turns of the event loop: a question is decided at once while nobody waits, otherwise the highest class first.

Deciding is work, and the loop does nothing else meanwhile: some milliseconds per turn, so that questions go on being
read, and an important one that comes late is not behind all that came before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from opportune.flows.admission import Gate
from opportune.flows.asking import Asking
from opportune.flows.decide import Decide
from opportune.flows.same import Done
from opportune.flows.waiting import Room

TURN_US: Final = 2_000
"""How long decisions are made in one turn of the loop; then the loop reads on."""
SHED_US: Final = 1_000
"""How long, after that, those are answered for whom there is no place."""
LOOK_S: Final = 0.005
"""How often the room is looked through while nobody leaves the gate."""

Waiting = tuple[Decide, Asking, Done]


class Turns:
    """Who is decided when, on one event loop and for one gate."""

    def __init__(self, loop: asyncio.AbstractEventLoop, gate: Gate, tick_us: Callable[[], int]) -> None:
        self._loop = loop
        self._gate = gate
        self._tick_us = tick_us
        self._room: Room[Waiting] = Room(gate)
        self._until_us = 0
        """In this turn, questions that come are decided at once until then; 0 when no turn has begun."""
        self._coming = False
        self._called_us = self._turned_us = 0
        self._lags_us = (0, 0)
        self._looking: asyncio.TimerHandle | None = None

    def ask(self, decide: Decide, asking: Asking, done: Done) -> None:
        """Decides, now or as soon as it is this question's turn, or sheds; `done` gets the answer."""
        now_us = asking.start_us
        asking.start_us -= self._unread_us(now_us)
        if self._until_us == 0:
            self._until_us = now_us + TURN_US
            self._come(now_us)
        if not self._room and now_us < self._until_us and self._gate.enter(asking.priority):
            decide.begin(asking, done)
            return
        self._room.arrive((decide, asking, done), asking.priority, asking.start_us, asking.budget_ms * 1000)
        self._look_later()

    def woken(self) -> None:
        """Somebody may have left the gate."""
        if self._room:
            self._come(self._tick_us())

    @property
    def waiting(self) -> int:
        return self._room.waiting

    def _come(self, now_us: int) -> None:
        if not self._coming:
            self._coming = True
            self._called_us = now_us
            self._loop.call_soon(self._turn)

    def _unread_us(self, now_us: int) -> int:
        """How long a question that is read now may have lain unread: as long as the loop was busy, in the turn in
        which it came or the one in which it was read."""
        lag_us = max(self._lags_us)
        return lag_us if 0 < now_us - self._turned_us <= lag_us else 0

    def _turn(self) -> None:
        now_us = self._tick_us()
        if self._coming:
            # A turn's own share is no lag: questions are read between two of them.
            self._lags_us = max(0, now_us - self._called_us - TURN_US - SHED_US), self._lags_us[0]
            self._turned_us = now_us
        self._coming = False
        self._until_us = 0
        if not self._room:
            return
        until_us = now_us + TURN_US
        while now_us < until_us and (found := self._room.admitted(now_us)) is not None:
            decide, asking, done = found
            asking.began_us = now_us
            decide.begin(asking, done)
            now_us = self._tick_us()
        more = now_us >= until_us
        until_us = now_us + SHED_US
        for decide, asking, done in self._room.turned_away():
            if asking.given_up:  # too late for a record to be of use
                done(decide.unrecorded(asking, "decision.late"))
            else:
                decide.shed(asking, done)
            now_us = self._tick_us()
            if now_us > until_us:
                more = True
                break
        if more:
            # What comes before the next turn waits for it.
            self._until_us = now_us
            self._come(now_us)
        self._look_later()

    def _look_later(self) -> None:
        if self._looking is None and self._room:
            self._looking = self._loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._looking = None
        self._room.tidy(self._tick_us())
        self._turn()
