"""The pulse in memory: a ring of the last decisions that threads append to and watchers summarise."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence

from opportune.ports import PulseWindow

KEPT = 16_384
_Beat = tuple[int, int, str, str, int]

_EDGES_US = (*(step * 10**power for power in range(2, 6) for step in (1, 2, 5)), 1_000_000)
"""Upper ends of the histogram's buckets: 100 µs, 200 µs, 500 µs, … 1 s; slower ones count in the last."""


class MemoryPulse:
    """The last `kept` decisions. Appending to a bounded deque is one atomic step, so recording takes no lock."""

    def __init__(self, kept: int = KEPT) -> None:
        self._beats: deque[_Beat] = deque(maxlen=kept)

    def record(self, at_ms: int, total_us: int, disposition: str, decision_id: str = "", store_us: int = 0) -> None:
        self._beats.append((at_ms, total_us, disposition, decision_id, store_us))

    def window(self, now_ms: int, seconds: int = 60) -> PulseWindow:
        """What happened in (now - seconds, now]; at no more than some milliseconds for a full ring."""
        beats = self._copy()
        since_ms = now_ms - seconds * 1000
        if len(beats) == self._beats.maxlen and beats[0][0] > since_ms:
            # The ring forgot the beginning: speak only of whole seconds it still knows.
            seconds = max(1, min(seconds, (now_ms - beats[0][0]) // 1000))
            since_ms = now_ms - seconds * 1000
        found = [beat for beat in beats if since_ms < beat[0] <= now_ms]
        slowness = sorted(beat[1] for beat in found)
        mix: dict[str, int] = {}
        strip = [[0, 0] for _ in range(seconds)]
        for at_ms, total_us, disposition, _, _ in found:
            mix[disposition] = mix.get(disposition, 0) + 1
            second = strip[(at_ms - since_ms - 1) // 1000]
            second[0] += 1
            second[1] = max(second[1], total_us)
        return PulseWindow(
            seconds=seconds,
            count=len(found),
            rate=len(found) / seconds,
            p50_us=_quantile(slowness, 0.50),
            p99_us=_quantile(slowness, 0.99),
            max_us=slowness[-1] if slowness else None,
            mix=mix,
            buckets=_buckets(slowness),
            strip=tuple((count, slowest) for count, slowest in strip),
        )

    def took(self, decision_ids: Collection[str]) -> Mapping[str, tuple[int, int]]:
        wanted = frozenset(decision_ids)
        return {id_: (total_us, store_us) for _, total_us, _, id_, store_us in self._copy() if id_ in wanted}

    def _copy(self) -> list[_Beat]:
        while True:
            try:
                return list(self._beats)
            except RuntimeError:  # appended to meanwhile
                continue


def _quantile(ordered: Sequence[int], share: float) -> int | None:
    """The smallest value that at least this share does not exceed (nearest rank)."""
    if not ordered:
        return None
    rank = -(-len(ordered) * round(share * 100) // 100)
    return ordered[max(rank, 1) - 1]


def _buckets(ordered: Sequence[int]) -> tuple[tuple[int, int], ...]:
    counts = [0] * len(_EDGES_US)
    place = 0
    for total_us in ordered:
        while place < len(_EDGES_US) - 1 and total_us > _EDGES_US[place]:
            place += 1
        counts[place] += 1
    return tuple(zip(_EDGES_US, counts, strict=True))
