"""A clock that stands until it is told: the same seed gives the same ids and salts."""

from random import Random

from opportune.adapters.system.clock import TAIL_BITS, uuid7
from opportune.ports import Clock


class FrozenClock(Clock):
    """`at_ms` is now, and may be set; each reading of `tick_us` adds `step_us`."""

    def __init__(self, at_ms: int = 1_795_514_400_000, *, seed: int = 0, step_us: int = 0) -> None:
        """The first instant is 2026-11-24T10:00:00Z unless told otherwise."""
        self.at_ms = at_ms
        self.step_us = step_us
        self._ticks_us = 0
        self._named_ms = 0
        self._tail = 0
        self._random = Random(seed)  # noqa: S311 - must be the same every time

    def now_ms(self) -> int:
        return self.at_ms

    def tick_us(self) -> int:
        self._ticks_us += self.step_us
        return self.at_ms * 1000 + self._ticks_us

    def new_id(self) -> str:
        """A UUIDv7, greater than the one before also when the clock was set back."""
        if self.at_ms > self._named_ms:
            self._named_ms = self.at_ms
            self._tail = self._random.getrandbits(TAIL_BITS - 1)
        else:
            self._tail += 1 + self._random.getrandbits(32)
        return uuid7(self._named_ms, self._tail)

    def salt(self) -> bytes:
        return self._random.randbytes(32)
