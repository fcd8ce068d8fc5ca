"""Real time, and names that sort by it: UUIDv7 (RFC 9562), growing also within one millisecond."""

from threading import Lock
from time import perf_counter_ns
from typing import Final

from opportune.adapters.system.randomness import take_random
from opportune.adapters.system.steady import Steady
from opportune.ports import Clock

TAIL_BITS: Final = 74
"""Bits of a UUIDv7 that are not time, version or variant."""
_LOW_BITS: Final = 62
_STEP_BYTES: Final = 4


def uuid7(at_ms: int, tail: int) -> str:
    """The UUIDv7 of a time and 74 other bits; greater (at_ms, tail) give greater text. RFC 9562, section 5.7."""
    high, low = tail >> _LOW_BITS, tail & (2**_LOW_BITS - 1)
    text = f"{at_ms << 80 | 7 << 76 | high << 64 | 2 << 62 | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class SystemClock(Clock):
    """Steady time. Ids never fall, also when the machine's clock is set back or two threads ask at once."""

    def __init__(self, steady: Steady | None = None) -> None:
        self.steady = steady or Steady()
        self._now_ns = self.steady.now_ns
        self._naming = Lock()
        self._last_ms = 0
        self._last_tail = 0

    def now_ms(self) -> int:
        return self._now_ns() // 1_000_000

    def tick_us(self) -> int:
        return perf_counter_ns() // 1_000

    def new_id(self) -> str:
        now_ms = self.now_ms()
        with self._naming:
            if now_ms > self._last_ms:
                self._last_ms = now_ms
                # The top bit stays free, so that many ids fit into one millisecond.
                self._last_tail = int.from_bytes(take_random(10)) >> (80 - TAIL_BITS + 1)
            else:
                # RFC 9562, section 6.2, method 2: a random step keeps the next id unguessable.
                self._last_tail += 1 + int.from_bytes(take_random(_STEP_BYTES))
            return uuid7(self._last_ms, self._last_tail)

    def salt(self) -> bytes:
        return take_random(32)
