"""Rings of more than 256 tiles, whose offsets take two bytes: what is read is what lies in the window."""

import pytest

from opportune.core.features import tiles

DAY_MS = 86_400_000
TILES = 365
KEPT = TILES + tiles.SPARE_TILES
BEGAN_MS = 20_000 * DAY_MS


@pytest.mark.parametrize("step", [1, 7, 90, 363])
@pytest.mark.parametrize("aggregate", ["count", "sum", "max"])
def test_a_year_of_days_is_read_to_the_day(aggregate: str, step: int) -> None:
    fold = tiles.ring_folder(aggregate, False, DAY_MS, KEPT)
    read = tiles.ring_reader(aggregate, False, DAY_MS, TILES, KEPT)
    cell: bytes | None = None
    folded: list[tuple[int, int]] = []
    for day in range(0, 800, step):
        at_ms, value = BEGAN_MS + day * DAY_MS + 5, day * 1000 + 7
        cell = fold(cell, at_ms, f"{day}", True if aggregate == "count" else value)
        folded.append((at_ms, value))
        for later in (0, 1, 200, 363, 364, 365, 500):
            now_ms = at_ms + later * DAY_MS
            seen = [each for when, each in folded if when // DAY_MS > now_ms // DAY_MS - TILES]
            expected = {"count": len(seen), "sum": sum(seen), "max": max(seen, default=0)}[aggregate] or None
            assert read(cell, now_ms) == (expected, now_ms - at_ms)
