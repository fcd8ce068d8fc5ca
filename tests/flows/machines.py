"""A machine of which a test holds the time: what its clock says can be set, what really passes cannot."""

from __future__ import annotations

from pathlib import Path
from random import Random

from opportune.adapters.system.clock import TAIL_BITS, SystemClock, uuid7
from opportune.adapters.system.steady import Sources, Steady

EPOCH_MS = 1_795_514_400_000
"""2026-11-24T10:00:00Z"""


class Machine:
    """`true_ms` is what really passed since 1970; the clock on the wall differs from it by `off_ms`. `random` names
    what is decided on it."""

    def __init__(self, true_ms: int = EPOCH_MS) -> None:
        self.true_ms = true_ms
        self.off_ms = 0
        self.booted_ms = true_ms - 1_000_000
        self.boots = 1
        self.random = Random(0)

    def sources(self) -> Sources:
        return Sources(
            lambda: (self.true_ms + self.off_ms) * 1_000_000,
            lambda: (self.true_ms - self.booted_ms) * 1_000_000,
            f"boot-{self.boots}",
        )

    def clock(self, file: Path | None = None, not_before_ms: int = 0) -> SystemClock:
        """What a process that starts now goes by."""
        return SystemClock(Steady(self.sources(), file, not_before_ms))

    def seeded_clock(self, file: Path | None = None, not_before_ms: int = 0) -> SystemClock:
        """The same, with names and salts that are the same every time."""
        return _Seeded(self, Steady(self.sources(), file, not_before_ms))

    def boot(self) -> None:
        self.boots += 1
        self.booted_ms = self.true_ms


class _Seeded(SystemClock):
    def __init__(self, machine: Machine, steady: Steady) -> None:
        super().__init__(steady)
        self._machine = machine

    def new_id(self) -> str:
        return uuid7(self.now_ms(), self._machine.random.getrandbits(TAIL_BITS))

    def salt(self) -> bytes:
        return self._machine.random.randbytes(32)
