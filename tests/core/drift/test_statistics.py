"""Distances and chances, against what is known of them: exact values, simulations, and what does not change them."""

from __future__ import annotations

from itertools import pairwise
from math import erf, exp, isclose, sqrt

import numpy as np
import pytest

from opportune.core.drift import share_of_look, surprising
from opportune.core.drift.statistics import (
    bets,
    chance_of,
    chi_squared_tail,
    homogeneity,
    kolmogorov_smirnov,
    least_chance,
    miscalibration,
    more_often,
    proportions,
    psi,
)
from opportune.core.models.populations import Bins, Cell
from opportune.core.models.snapshot import counted, numbered


@pytest.mark.parametrize(
    ("statistic", "freedom", "tail"),
    [(3.841459, 1, 0.05), (9.487729, 4, 0.05), (11.070498, 5, 0.05), (24.322, 7, 0.001), (0.0, 3, 1.0)],
)
def test_the_tail_of_chi_squared_is_that_of_the_tables(statistic: float, freedom: int, tail: float) -> None:
    assert isclose(chi_squared_tail(statistic, freedom), tail, rel_tol=2e-3)


def test_the_tail_of_two_degrees_is_an_exponential_and_of_one_an_error_function() -> None:
    for x in (0.1, 1.0, 7.5, 40.0):
        assert isclose(chi_squared_tail(x, 2), exp(-x / 2))
        assert isclose(chi_squared_tail(x, 1), 1.0 - erf(sqrt(x / 2)), rel_tol=1e-9, abs_tol=1e-15)


def test_psi_of_the_same_shares_is_nothing_and_of_others_what_its_formula_says() -> None:
    same = Bins((4_000, 3_000, 3_000))
    assert psi(same, same) == 0.0
    other = Bins((2_000, 3_000, 5_000))
    formula = (0.2 - 0.4) * np.log(0.2 / 0.4) + (0.5 - 0.3) * np.log(0.5 / 0.3)
    assert isclose(psi(same, other), formula - 2 * (2 / 10_000), rel_tol=1e-3)


def test_chance_alone_gives_no_psi_on_average() -> None:
    random = np.random.default_rng(3)
    before = Bins(tuple(random.multinomial(2_000, [0.1] * 10).tolist()))
    found = [psi(before, Bins(tuple(random.multinomial(300, [0.1] * 10).tolist()))) for _ in range(200)]
    assert float(np.mean(found)) < 0.012  # uncorrected, chance gives (k - 1)(1/n + 1/m) = 0.035


def test_an_empty_side_says_nothing() -> None:
    none, some = Bins((0, 0)), Bins((5, 5))
    assert psi(none, some) == 0.0
    assert homogeneity(none, some) == 1.0
    assert kolmogorov_smirnov(some, none) == (0.0, 1.0)
    assert more_often(none, some, 0) == (0.0, 1.0)
    assert proportions(0.0, 10, 0.0, 10) == 1.0


def test_rows_that_repeat_each_other_count_as_often_as_there_are_units() -> None:
    random = np.random.default_rng(5)
    once = random.integers(0, 5, 200)
    alone = counted(once, 5, np.arange(200))
    repeated = counted(np.repeat(once, 20), 5, np.repeat(np.arange(200), 20))
    assert alone.spread < 1.1
    assert isclose(repeated.rows / repeated.spread, 200, rel_tol=0.1)


def test_p_of_clustered_rows_is_as_rare_as_it_says() -> None:
    """Accounts that come again and again: without the design effect nearly every look would be an alarm."""
    random = np.random.default_rng(7)
    chances, naive = [], []
    for _ in range(300):
        sides = []
        for accounts in (300, 120):
            own = random.integers(0, 6, accounts)
            units = random.integers(0, accounts, accounts * 8)
            values = np.where(random.random(len(units)) < 0.9, own[units], random.integers(0, 6, len(units)))
            sides.append(counted(values, 6, numbered([str(unit) for unit in units])))
        chances.append(homogeneity(*sides))
        naive.append(homogeneity(Bins(sides[0].counts), Bins(sides[1].counts)))
    assert np.mean(np.array(chances) < 0.05) < 0.09
    assert np.mean(np.array(chances) < 0.001) < 0.012
    assert np.mean(np.array(naive) < 0.001) > 0.3


def test_the_gap_of_two_distributions_has_a_bound_that_holds() -> None:
    random = np.random.default_rng(11)
    points = np.linspace(-2, 2, 40)
    below = 0
    for _ in range(300):
        sides = [
            counted(np.searchsorted(points, random.normal(size=n)), 41, np.arange(n)) for n in (1_000, 300)
        ]  # fmt: skip
        below += kolmogorov_smirnov(*sides)[1] < 0.05
    assert below <= 15
    shifted = counted(np.searchsorted(points, random.normal(0.6, 1.0, 300)), 41, np.arange(300))
    gap, chance = kolmogorov_smirnov(sides[0], shifted)
    assert gap > 0.15
    assert chance < 1e-6


def test_bets_never_gain_while_nothing_changed_and_do_when_it_did() -> None:
    random = np.random.default_rng(13)
    predicted = random.uniform(0.02, 0.3, 600)
    low = 0
    for _ in range(400):
        happened = (random.random(600) < predicted).astype(float)
        low += least_chance(bets(predicted, happened, 0.1)) < 0.05
    assert low <= 20
    half = (random.random(600) < predicted * 0.4).astype(float)
    assert least_chance(bets(predicted, half, 0.1)) < 1e-3
    assert chance_of(bets(predicted, half, 0.1).sum(0)) < 1e-2


def test_calibration_is_compared_bin_by_bin() -> None:
    before = (Cell(1_000, 100.0, 100.0), Cell(1_000, 300.0, 300.0))
    size, chance = miscalibration(before, (Cell(400, 40.0, 41.0), Cell(400, 120.0, 118.0)), 1.0, 1.0)
    assert size < 0.02
    assert chance > 0.5
    size, chance = miscalibration(before, (Cell(400, 40.0, 120.0), Cell(400, 120.0, 40.0)), 1.0, 1.0)
    assert isclose(size, 0.2, abs_tol=0.02)
    assert chance < 1e-8
    assert miscalibration(before, (Cell(9, 1.0, 9.0), Cell(9, 2.0, 9.0)), 1.0, 1.0) == (0.0, 1.0)


def test_all_looks_together_spend_less_than_the_whole() -> None:
    shares = [share_of_look(look) for look in range(1, 200_000)]
    assert 0.9 < sum(shares) < 1.0
    assert all(one > other for one, other in pairwise(shares))


def test_holm_believes_what_is_certain_enough_among_all() -> None:
    assert surprising([0.03, 0.004, 0.02], 0.05) == (True, True, True)
    assert surprising([0.03, 0.02, 0.02], 0.05) == (False, False, False)
    assert surprising([0.9, 0.01, 0.04], 0.05) == (False, True, False)
    assert surprising([], 0.05) == ()
