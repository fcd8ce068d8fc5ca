"""Breakers: a source that keeps failing is not asked for a while, so that nobody waits for it; then one call tries.

A breaker is closed (calls go), open (none does) or half open (one call tries, the others do without).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Final, Literal

import msgspec

IN_A_ROW: Final = 5
"""This many failures one after the other open a breaker."""
WINDOW: Final = 20
OF_WINDOW: Final = 10
"""So do this many among the last `WINDOW` calls."""
PAUSE_US: Final = 1_000_000
PAUSE_US_MAX: Final = 4_000_000
"""How long it stays open the first time, and at most: each call that tries in vain doubles it."""

BURST_US: Final = 100_000
"""What the store's units have in common: all of one sync are late together."""

_ROW_BITS: Final = (1 << IN_A_ROW) - 1
_WINDOW_BITS: Final = (1 << WINDOW) - 1

_log = logging.getLogger(__name__)


class State(msgspec.Struct, frozen=True):
    """What a breaker knows. `failures` has a bit for each of the last calls, the newest lowest, 1 where it failed.

    Open until `until_us`; half open, the one call that tries has until then."""

    phase: Literal["closed", "open", "half_open"] = "closed"
    failures: int = 0
    until_us: int = 0
    pause_us: int = PAUSE_US


CLOSED: Final = State()


def asked(state: State, now_us: int) -> tuple[State, bool]:
    """May a call go now? The state after the question: the first call after the pause is the one that tries."""
    if state.phase == "closed":
        return state, True
    if now_us < state.until_us:
        return state, False
    trying = msgspec.structs.replace(state, phase="half_open", until_us=now_us + state.pause_us)
    return trying, True


def after(state: State, failed: bool, now_us: int) -> State:
    """The state once a call has ended. What ends while the breaker is open began before, and says nothing new."""
    if state.phase == "open":
        return state
    if state.phase == "half_open":
        if not failed:
            return CLOSED
        pause_us = min(state.pause_us * 2, PAUSE_US_MAX)
        return State("open", 0, now_us + pause_us, pause_us)
    failures = (state.failures << 1 | failed) & _WINDOW_BITS
    if failures & _ROW_BITS == _ROW_BITS or failures.bit_count() >= OF_WINDOW:
        return State("open", 0, now_us + PAUSE_US)
    return msgspec.structs.replace(state, failures=failures) if failures else CLOSED


class Breaker:
    """The breaker of one source; threads may share it. A call that goes ends in `succeeded` or `failed`.

    Failures within `burst_us` of one that counted are the same one: a disk that stalls once is late for everybody.
    """

    def __init__(self, source: str, tick_us: Callable[[], int], burst_us: int = 0) -> None:
        self.source = source
        self._burst_us = burst_us
        self._failed_us = -burst_us
        self.opened = 0
        """How often it opened."""
        self._tick_us = tick_us
        self._lock = Lock()
        self._state = CLOSED

    @property
    def phase(self) -> str:
        return self._state.phase

    @property
    def uneasy(self) -> bool:
        """Has it seen a failure that still counts? A call that was never in doubt need not report."""
        return self._state is not CLOSED

    def allows(self) -> bool:
        """May a call go? Whoever is told no says that the source is `open`, and does without."""
        if self._state is CLOSED:
            return True
        with self._lock:
            self._state, may = asked(self._state, self._tick_us())
            return may

    def succeeded(self) -> None:
        if self._state is not CLOSED:
            self._ended(failed=False)

    def failed(self) -> None:
        self._ended(failed=True)

    def _ended(self, *, failed: bool) -> None:
        with self._lock:
            before, now_us = self._state, self._tick_us()
            if failed and before.phase == "closed":
                if now_us - self._failed_us < self._burst_us:
                    return
                self._failed_us = now_us
            self._state = now = after(before, failed, now_us)
            if now.phase == before.phase:
                return
            self.opened += now.phase == "open"
        if now.phase == "open":
            _log.warning("`%s` keeps failing: it is not asked for %.0f s", self.source, now.pause_us / 1e6)
        else:
            _log.warning("`%s` answers again", self.source)


class Breakers:
    """The breakers of a region by source, and how often what was missing from answers."""

    def __init__(self, tick_us: Callable[[], int]) -> None:
        self._tick_us = tick_us
        self._lock = Lock()
        self._breakers: dict[str, Breaker] = {}
        self._missing: dict[str, int] = {}

    def of(self, source: str, burst_us: int = 0) -> Breaker:
        found = self._breakers.get(source)
        if found is None:
            with self._lock:
                found = self._breakers.setdefault(source, Breaker(source, self._tick_us, burst_us))
        return found

    def of_the_store(self) -> Breaker:
        return self.of("record", BURST_US)

    def every(self) -> list[Breaker]:
        """By name of the source."""
        return [one for _, one in sorted(self._breakers.copy().items())]

    def not_closed(self) -> list[str]:
        """The sources that are not asked, or tried by one call at a time."""
        return [one.source for one in self.every() if one.phase != "closed"]

    def missed(self, degraded: tuple[str, ...]) -> None:
        """Counts an answer from which this was missing, such as `score.late`."""
        with self._lock:
            for what in degraded:
                self._missing[what] = self._missing.get(what, 0) + 1

    def missing(self) -> Mapping[str, int]:
        """What was missing from answers since the start, and from how many."""
        with self._lock:
            return dict(sorted(self._missing.items()))
