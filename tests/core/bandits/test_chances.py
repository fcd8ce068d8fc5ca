"""Chances: they are distributions, Thompson's are those of the normal, and what is drawn follows them."""

from __future__ import annotations

from math import fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opportune.core.bandits.chances import drawn, drawn_all, even_share, greedy, inverse_gap, rounded, thompson

VALUES = st.lists(st.floats(-10.0, 10.0), min_size=1, max_size=12)


@given(VALUES, st.data())
def test_thompson_gives_a_distribution(values: list[float], data: st.DataObject) -> None:
    errors = [data.draw(st.floats(0.0, 5.0)) for _ in values]
    chances = rounded(thompson(values, errors))

    assert min(chances) >= 0.0
    assert fsum(chances) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("actions", [2, 3, 7, 20])
def test_thompson_is_how_often_each_is_the_best(actions: int) -> None:
    chance = np.random.default_rng(actions)
    values, errors = chance.normal(0.0, 0.5, actions), chance.uniform(0.1, 1.0, actions)
    draws = values + errors * chance.standard_normal((400_000, actions))
    often = np.bincount(draws.argmax(axis=1), minlength=actions) / len(draws)

    assert thompson(values.tolist(), errors.tolist()) == pytest.approx(often, abs=4e-3)


def test_without_errors_the_best_has_it_all_and_equals_share_it() -> None:
    assert thompson([0.2, 0.1, 0.0], [0.0, 0.0, 0.0]) == pytest.approx([1.0, 0.0, 0.0])
    assert thompson([0.2, 0.2, 0.0], [0.0, 0.0, 0.0]) == pytest.approx([0.5, 0.5, 0.0])
    assert thompson([0.2, 0.2], [0.0, 0.0]) == [0.5, 0.5]
    assert thompson([1.0, 0.0, 0.0], [0.0, 0.01, 0.01]) == [1.0, 0.0, 0.0]


def test_inverse_gap_is_its_formula() -> None:
    assert inverse_gap([1.0, 0.5, 1.0], 10.0) == pytest.approx([1 - 1 / 8 - 1 / 3, 1 / 8, 1 / 3])


@given(VALUES, st.floats(0.0, 1.0))
def test_no_action_is_tried_less_than_its_even_share(values: list[float], share: float) -> None:
    chances = even_share(greedy(values), share)

    assert min(chances) >= share / len(values) - 1e-12
    assert fsum(chances) == pytest.approx(1.0)


def test_what_is_drawn_follows_the_chances() -> None:
    chances = [0.2, 0.0, 0.5, 0.3]
    often = np.bincount([drawn(chances, u) for u in (np.arange(10_000) + 0.5) / 10_000], minlength=4) / 10_000

    assert often == pytest.approx(chances, abs=1e-4)
    assert drawn([0.5, 0.4999999999, 0.0], 0.99999999999) == 1


def test_many_are_drawn_as_each_is() -> None:
    chance = np.random.default_rng(3)
    rows = chance.dirichlet([0.3] * 5, 200)
    rows[:20, 4] = 0.0
    uniforms = chance.random(200)
    uniforms[:20] = 0.999999999999

    assert drawn_all(rows, uniforms).tolist() == [drawn(row, u) for row, u in zip(rows.tolist(), uniforms, strict=True)]
