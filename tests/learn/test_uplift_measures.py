"""The measures of benchmarks/hillstrom.py, on rows few enough to count by hand; it prints them beside the peers'."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.uplift_measures import aipw, auuc, gain_at_top, qini, uplift_at_top

TREATED = np.array([1, 0, 1, 0, 1, 0, 1, 0, 1, 0])
BOUGHT = np.array([1, 0, 1, 0, 0, 0, 0, 1, 0, 1])
RIGHT = -np.arange(10.0)


def test_the_perfect_order_has_one_and_its_reverse_less_than_nothing() -> None:
    perfect = (BOUGHT * TREATED - BOUGHT * (1 - TREATED)).astype(float)
    assert qini(perfect, TREATED, BOUGHT) == pytest.approx(1.0)
    assert qini(-perfect, TREATED, BOUGHT) < -0.2
    assert auuc(RIGHT, TREATED, BOUGHT) > 0.5 > auuc(-RIGHT, TREATED, BOUGHT)


def test_the_best_thirty_per_cent_are_counted_by_hand() -> None:
    # Of the first three rows two are treated and bought, one is held out and did not.
    assert uplift_at_top(RIGHT, TREATED, BOUGHT) == pytest.approx(1.0)
    # Treating them: rows 0, 2 (treated) and all held out after them match, of which 2 + 2 bought among 6.
    assert gain_at_top(RIGHT, TREATED, BOUGHT, 0.5) == pytest.approx(1000.0 * (4 / 6 - 2 / 5))


def test_what_a_policy_earns_is_right_if_either_model_or_probabilities_are() -> None:
    random = np.random.default_rng(3)
    arm = random.integers(0, 2, 40_000)
    reward = (random.random(40_000) < np.where(arm == 1, 0.3, 0.1)).astype(float)
    everyone = np.ones(40_000, dtype=np.int64)
    nonsense = np.full((40_000, 2), 0.9)
    true = np.tile([0.1, 0.3], (40_000, 1))
    assert aipw(everyone, arm, reward, nonsense, [0.5, 0.5]) == pytest.approx(0.3, abs=0.02)
    assert aipw(everyone, arm, reward, true, [0.8, 0.2]) == pytest.approx(0.3, abs=0.02)
