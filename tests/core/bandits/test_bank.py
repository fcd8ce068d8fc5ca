"""Real data: learning online whom to offer a deposit earns at least what the best peers did under the same protocol."""

from __future__ import annotations

import os

import numpy as np
import pytest
from benchmarks.bandits import SHARED, Floats, Raw, bank, play, play_batches, play_hashed

pytestmark = pytest.mark.slow
DATA = SHARED / "bank_marketing"
if not DATA.exists() and os.environ.get("CI") == "true":
    raise FileNotFoundError(f"{DATA} must be there in CI: set OPPORTUNE_SHARED")
needs_bank = pytest.mark.skipif(not DATA.exists(), reason="the shared data sets are not on this machine")


Bank = tuple[Floats, Floats, Raw]


@pytest.fixture(scope="module")
def customers() -> Bank:
    return bank()


@needs_bank
def test_shuffled_customers(customers: Bank) -> None:
    x, rewards, raw = customers
    orders = [np.random.RandomState(100 + seed).permutation(len(x))[:8000] for seed in range(3)]
    each = [float(np.mean(play(x[order], rewards[order], seed)[0])) for seed, order in enumerate(orders)]
    hashed = play_hashed([raw[place] for place in orders[0]], rewards[orders[0]], 0)[0]

    assert np.mean(each) > 0.0468  # Vowpal Wabbit's best in BASELINES; always to offer earns 0.006
    assert np.mean(hashed) > 0.035


@needs_bank
def test_customers_in_the_order_of_time(customers: Bank) -> None:
    x, rewards, _ = customers
    got, batches = play(x, rewards, 0)[0], play_batches(x, rewards, 0)[0]

    assert np.mean(got) > 0.0530  # MABWiser's best in the same run
    assert np.mean(got[len(got) // 2 :]) > 0.1074  # a model frozen after the first half earns 0.0188
    assert np.mean(batches) > 0.0515
