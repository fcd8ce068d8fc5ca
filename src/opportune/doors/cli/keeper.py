"""What a server does beside answering: finishes erasures and backfills, keeps periods, every day."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event, Thread

from opportune.flows.backfill import resume
from opportune.flows.erase import finish
from opportune.flows.region import Region
from opportune.flows.retain import retain

LOOK_EVERY_S = 60.0
REST_S = 0.05
"""After every few hundred signals, so that decisions need not wait for the interpreter."""

DAY_MS = 86_400_000


class Keeper:
    """A thread that once at the start and then every day by the clock removes what outlived its period."""

    def __init__(self, region: Region, *, look_every_s: float = LOOK_EVERY_S) -> None:
        self._region = region
        self._look_every_s = look_every_s
        self._stop = Event()
        self._trouble: str | None = None
        self._thread = Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def degraded(self) -> Sequence[tuple[str, str]]:
        """(component, what is wrong), for the console."""
        return () if self._trouble is None else (("retention", self._trouble),)

    def _run(self) -> None:
        kept_ms: int | None = None
        while True:
            now_ms = self._region.clock.now_ms()
            if kept_ms is None or now_ms - kept_ms >= DAY_MS:
                try:
                    finish(self._region)
                    resume(self._region, self._rest)
                    retain(self._region, rest=self._rest)
                    kept_ms, self._trouble = now_ms, None
                except _Stopped:
                    return
                except Exception as error:  # noqa: BLE001 - whatever it was is shown, and tried again
                    self._trouble = f"not done today ({type(error).__name__}): tried again in a minute"
            if self._stop.wait(self._look_every_s):
                return

    def _rest(self) -> None:
        if self._stop.wait(REST_S):
            raise _Stopped


class _Stopped(Exception):
    """The server ends: what is left to do is done the next time."""
