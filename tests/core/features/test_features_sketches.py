"""Approximate counts: exact while few, within the stated error beyond, the same for any order, and mergeable."""

import random
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opportune.core.features.sketches import (
    CELL_BYTES_MAX,
    FEW_MAX,
    STANDARD_ERROR,
    count_distinct,
    fold_sketch,
    merge_sketches,
    read_sketch,
)

pytestmark = pytest.mark.slow

values = st.integers(0, 2_000)
runs = st.lists(st.tuples(values, st.integers(0, 50)), min_size=1, max_size=600)


def cell_of(rows: list[tuple[int, int]]) -> bytes:
    cell: bytes | None = None
    for value, at_ms in rows:
        cell = fold_sketch(cell, at_ms, "id", value)
    assert cell is not None
    return cell


def test_the_count_is_exact_up_to_127_and_the_cell_stays_small() -> None:
    cell: bytes | None = None
    for number in range(5_000):
        cell = fold_sketch(cell, number, "id", f"value {number}")
        assert len(cell) <= CELL_BYTES_MAX == 1_032
        if number < FEW_MAX:
            assert read_sketch(cell, number + 5) == (number + 1, 5)


@pytest.mark.parametrize("size", [128, 300, 1_000, 3_000, 10_000, 100_000])
def test_the_error_is_the_one_stated(size: int) -> None:
    """Root mean square of the relative error over runs of different values; no run is far off."""
    repeats = 8 if size == 100_000 else 40
    errors = [count_distinct(f"{run}:{number}" for number in range(size)) / size - 1 for run in range(repeats)]

    assert (sum(error * error for error in errors) / repeats) ** 0.5 < 1.6 * STANDARD_ERROR
    assert max(map(abs, errors)) < 4 * STANDARD_ERROR


@settings(max_examples=50, deadline=None)
@given(runs, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_show(rows: list[tuple[int, int]], chance: random.Random) -> None:
    shuffled = rows + rows[: len(rows) // 3]
    chance.shuffle(shuffled)

    assert cell_of(rows) == cell_of(shuffled)
    assert read_sketch(cell_of(rows), 50)[0] == count_distinct(value for value, _ in rows)


@settings(max_examples=50, deadline=None)
@given(st.lists(runs, min_size=2, max_size=4))
def test_merged_cells_are_the_cell_of_all_signals(parts: list[list[tuple[int, int]]]) -> None:
    together = cell_of([row for part in parts for row in part])

    assert reduce(merge_sketches, map(cell_of, parts)) == together
    assert reduce(merge_sketches, map(cell_of, reversed(parts))) == together


def test_a_read_before_the_newest_signal_has_no_answer() -> None:
    assert read_sketch(fold_sketch(None, 10, "id", 1), 9) == (None, -1)


def test_an_old_signal_of_a_known_value_changes_nothing() -> None:
    cell = fold_sketch(None, 10, "id", 1)

    assert fold_sketch(cell, 9, "other", 1) is cell
    assert fold_sketch(cell, 11, "other", 1) != cell
