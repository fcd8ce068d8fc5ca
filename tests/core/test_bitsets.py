"""Sets of candidates equal what they stand for, also where memory keeps only some of their joined steps."""

from __future__ import annotations

import random

import pytest

from opportune.core import bitsets
from opportune.core.bitsets import Ladder, Windows, indices, mask_of_places


@pytest.mark.parametrize("places", [[], [0], [5, 3], list(range(0, 3000, 7)), [9, *range(40, 60), 5000]])
def test_a_mask_has_just_the_bits_of_its_places(places: list[int]) -> None:
    assert mask_of_places(places) == sum(1 << place for place in places)
    assert indices(mask_of_places(places)) == sorted(places)


@pytest.mark.parametrize("bytes_max", [1 << 20, 2000, 100])
def test_the_first_rows_of_a_ladder_are_joined(monkeypatch: pytest.MonkeyPatch, bytes_max: int) -> None:
    monkeypatch.setattr(bitsets, "LADDER_BYTES_MAX", bytes_max)
    rng = random.Random(bytes_max)
    rows = [rng.sample(range(500), rng.randrange(1, 4)) for _ in range(83)]
    ladder = Ladder(rows)
    assert (ladder.totals is None) == (bytes_max < 5000)
    for count in range(len(rows) + 1):
        assert ladder.first(count) == mask_of_places({place for row in rows[:count] for place in row})


def test_windows_include_their_first_and_last_millisecond() -> None:
    windows = [(0, None), (100, 200), (100, None), (0, 200), (201, 300)]
    found = Windows(windows)
    for at_ms in (1, 99, 100, 150, 200, 201, 300, 301):
        expected = mask_of_places(
            place
            for place, (first, last) in enumerate(windows)
            if at_ms < first or (last is not None and at_ms > last)
        )
        assert found.outside(at_ms) == expected, at_ms


@pytest.mark.parametrize("count", [1, 7, 9, 40, 900])
def test_long_sets_are_taken_apart_like_short_ones(count: int) -> None:
    places = sorted(random.Random(count).sample(range(20_000), count))
    assert indices(mask_of_places(places)) == places
