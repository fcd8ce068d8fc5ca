"""Random bytes of the operating system, drawn many at a time: each call for a few lets other threads take the GIL."""

import os
from threading import Lock
from typing import Final

DRAWN_BYTES: Final = 4_096


class Randomness:
    """`os.urandom` with a supply. No byte is given out twice, whichever threads ask; a forked child draws its own."""

    __slots__ = ("_lock", "_place", "_supply")

    def __init__(self) -> None:
        self._lock = Lock()
        self._supply = b""
        self._place = DRAWN_BYTES
        os.register_at_fork(after_in_child=self._forked)

    def take(self, size: int) -> bytes:
        """This many fresh bytes, at most DRAWN_BYTES."""
        with self._lock:
            place = self._place
            self._place = end = place + size
            if end > DRAWN_BYTES:
                self._supply = os.urandom(DRAWN_BYTES)
                place, self._place = 0, size
            return self._supply[place : self._place]

    def _forked(self) -> None:
        """INVARIANT: two processes never share bytes: one nonce for two texts would open both."""
        self._lock = Lock()
        self._place = DRAWN_BYTES


take_random: Final = Randomness().take
"""One supply for the whole process."""
