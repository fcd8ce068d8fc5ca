"""Work in a thread of its own, again and again while a server runs; what fails is shown, and tried again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Event, Thread

from opportune.core.ledger import LedgerError
from opportune.core.models import ModelError
from opportune.flows.region import NotReady
from opportune.ports import StoreBroken, StoreFull

_SPOKEN = (LedgerError, ModelError, NotReady, OSError, StoreBroken, StoreFull)
"""Errors whose words are for people, and hold no personal value."""

_log = logging.getLogger(__name__)

Rest = Callable[[float], None]
"""Waits so many seconds; raises Stopped when the server ends meanwhile."""


class Stopped(Exception):
    """The server ends: what is left to do is done the next time."""


class Background:
    """Takes a turn every `every_s` seconds, the first `at_once` or after that time, until it is stopped.

    INVARIANT: the thread outlives every failure of a turn; `degraded` tells of it until a turn succeeds.
    """

    def __init__(self, component: str, every_s: float, turn: Callable[[Rest], None], *, at_once: bool = False) -> None:
        self._component = component
        self._every_s = every_s
        self._turn = turn
        self._at_once = at_once
        self._stop = Event()
        self._trouble: str | None = None
        self._thread = Thread(target=self._run, name=component, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Lets a turn that is under way come to its end, or to its next rest."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def degraded(self) -> Sequence[tuple[str, str]]:
        """(component, what is wrong), for the console."""
        return () if self._trouble is None else ((self._component, self._trouble),)

    def _run(self) -> None:
        try:
            if not self._at_once:
                self._rest(self._every_s)
            while True:
                self._take_turn()
                self._rest(self._every_s)
        except Stopped:
            return

    def _take_turn(self) -> None:
        try:
            self._turn(self._rest)
            self._trouble = None
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the work must go on
            words = str(error) if isinstance(error, _SPOKEN) else type(error).__name__
            self._trouble = f"not done, tried again: {words}"
            _log.error("the %s could not do its work: %s", self._component, type(error).__name__)

    def _rest(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped
