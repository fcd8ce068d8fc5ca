"""Steady time: it goes on as it began, whatever is done to the machine's clock.

Contact limits and quiet hours are promises about real time. So within a process time follows a counter that nobody can
set, and a restart on the same boot goes on from the file of the one before. The machine's clock is followed only as
far as it drifts; where it was set, that is told (`opportune doctor`) until somebody accepts it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec

STEP_NS: Final = 1_000_000_000
"""The machine's clock was set, rather than drifted, when it differs by more."""
LOOK_NS: Final = 500_000_000
"""How often the machine's clock is looked at."""
SAVE_NS: Final = 250_000_000
"""The file is written anew when time has drifted by this much."""
DRIFT_SHARE: Final = 0.01
"""By so much faster or slower time runs at most, to follow a drift."""
CATCH_UP_SHARE: Final = 0.5
"""And by so much slower while it is ahead because something is recorded that the machine's clock has yet to reach."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_log = logging.getLogger(__name__)


class Sources(msgspec.Struct, frozen=True):
    """What a machine tells about time: its clock, which can be set, a counter since its boot, which cannot, and which
    boot that was ("" where nobody says)."""

    wall_ns: Callable[[], int]
    counter_ns: Callable[[], int]
    boot: str


class Anchor(msgspec.Struct, frozen=True):
    """Time in this boot: the counter plus `ahead_ns`. `catching_up` says that it is waited for the machine's clock."""

    boot: str
    ahead_ns: int
    catching_up: bool = False


def machine() -> Sources:
    """This machine; the counter also runs while it sleeps, where the system has such a one."""
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        boot = ""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return Sources(time.time_ns, lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME), boot)
    return Sources(time.time_ns, time.monotonic_ns, "")


class Steady:
    """Time in nanoseconds. INVARIANT: it never goes back, and never jumps while the process runs."""

    def __init__(
        self, sources: Sources | None = None, file: Path | None = None, not_before_ms: int = 0, *, keep: bool = True
    ) -> None:
        """Goes on from `file`, which is kept up to date if `keep`; never before what is recorded already."""
        self._sources = sources or machine()
        self._counter_ns = self._sources.counter_ns
        self._file = file if keep else None
        self._looking = Lock()
        counter_ns = self._counter_ns()
        found = _read(file)
        if found is not None and found.boot == self._sources.boot and found.boot:
            self._ahead_ns, self._catching_up = found.ahead_ns, found.catching_up
        else:
            self._ahead_ns, self._catching_up = self._sources.wall_ns() - counter_ns, False
        late_ns = not_before_ms * 1_000_000 - (counter_ns + self._ahead_ns)
        if not_before_ms and late_ns > 0:
            self._ahead_ns += late_ns
            self._catching_up = True
        self._saved_ns = self._ahead_ns - 2 * SAVE_NS
        self._floor_ns = counter_ns + self._ahead_ns
        self._looked_ns = counter_ns
        self._look_ns = counter_ns
        self.step_ms = 0
        self.now_ns()

    def now_ns(self) -> int:
        counter_ns = self._counter_ns()
        if counter_ns >= self._look_ns:
            self._look(counter_ns)
        # Slowing down is standing still for a moment.
        return max(counter_ns + self._ahead_ns, self._floor_ns)

    def _look(self, counter_ns: int) -> None:
        """Follows a drift of the machine's clock, and notes that it was set; one thread does."""
        if not self._looking.acquire(blocking=False):
            return
        try:
            if counter_ns < self._look_ns:
                return
            self._look_ns = counter_ns + LOOK_NS
            elapsed_ns, self._looked_ns = max(0, counter_ns - self._looked_ns), counter_ns
            drift_ns = self._sources.wall_ns() - (counter_ns + self._ahead_ns)
            self._catching_up = self._catching_up and drift_ns < 0
            set_ = abs(drift_ns) > STEP_NS
            self.step_ms = round(drift_ns / 1e6) if set_ else 0
            if not set_ or self._catching_up:
                share = CATCH_UP_SHARE if self._catching_up and set_ else DRIFT_SHARE
                most_ns = int(elapsed_ns * share)
                self._floor_ns = max(self._floor_ns, counter_ns + self._ahead_ns)
                self._ahead_ns += max(-most_ns, min(most_ns, drift_ns))
            if abs(self._ahead_ns - self._saved_ns) >= SAVE_NS:
                self._saved_ns = self._ahead_ns
                self._save()
        finally:
            self._looking.release()

    def _save(self) -> None:
        if self._file is None or not self._sources.boot:
            return
        made = self._file.with_name(f"{self._file.name}-{os.getpid()}")
        anchor = Anchor(self._sources.boot, self._ahead_ns, self._catching_up)
        try:
            made.write_bytes(msgspec.json.encode(anchor))
            made.replace(self._file)
        except OSError as error:
            # Time goes on all the same; only a restart would believe the machine's clock.
            _log.warning("`%s` cannot be written: %s", self._file, error.strerror)


def step_ms_since(file: Path, sources: Sources | None = None) -> int | None:
    """By how much the machine's clock was set since `file` was written in this boot (0: it was not); None when no
    process has kept time in this boot."""
    sources = sources or machine()
    found = _read(file)
    if found is None or not found.boot or found.boot != sources.boot:
        return None
    drift_ns = sources.wall_ns() - (sources.counter_ns() + found.ahead_ns)
    return round(drift_ns / 1e6) if abs(drift_ns) > STEP_NS else 0


def _read(file: Path | None) -> Anchor | None:
    if file is None:
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=Anchor)
    except (OSError, msgspec.MsgspecError):
        return None
