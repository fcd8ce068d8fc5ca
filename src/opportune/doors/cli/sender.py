"""The worker that sends what is in the outbox, in a thread of its own."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event, Thread

from opportune.flows.region import NotReady, Region
from opportune.ports import StoreBroken, StoreFull

LOOK_EVERY_S = 0.2


class Sender:
    """Looks into the outbox five times a second while a channel has a courier; a failure is shown as degraded."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._stop = Event()
        self._trouble: str | None = None
        self._thread = Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finishes what is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def degraded(self) -> Sequence[tuple[str, str]]:
        """(component, what is wrong), for the console."""
        return () if self._trouble is None else (("outbox", self._trouble),)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                while self._region.send.step() and not self._stop.is_set():
                    pass
                self._trouble = None
            except (StoreBroken, StoreFull, NotReady) as error:
                self._trouble = f"nothing is sent: {error}"
