"""The stacked learner ranks customers of a real trial far better than chance, as the served card tells them."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import hillstrom_data, uplift_measures
from benchmarks.hillstrom import Served

from opportune.core.models import TrainingSet

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trial() -> hillstrom_data.Trial:
    return hillstrom_data.read()


def test_who_would_visit_because_of_the_e_mail_is_found(trial: hillstrom_data.Trial) -> None:
    """Protocol H2, seed 0. The peers have .060 to .075 here, chance has -.002 with a deviation of .012."""
    split = hillstrom_data.two_arms(trial, 2, trial.visit, 0)
    served = Served(trial, split, ("womens_email",), "stacked")
    arm, visited = split.arm[split.test], split.outcome[split.test]
    score = served.uplift[:, 0] + np.random.default_rng(0).uniform(0.0, 1e-9, len(arm))
    share = float(split.arm[split.train].mean())
    assert uplift_measures.qini(score, arm, visited) > 0.045
    assert uplift_measures.gain_at_top(score, arm, visited, share) > 17.0
    assert abs(served.uplift.mean() - (visited[arm == 1].mean() - visited[arm == 0].mean())) < 0.012
    assert 0.004 < served.error.mean() < 0.03


def test_the_trial_is_read_as_published(trial: hillstrom_data.Trial) -> None:
    assert len(trial.arm) == 64_000
    assert np.bincount(trial.arm).tolist() == [21_306, 21_307, 21_387]
    assert trial.x.shape == (64_000, 12)
    assert round(100.0 * float(trial.visit.mean()), 1) == 14.7
    split = hillstrom_data.three_arms(trial, trial.visit, 1)
    learned: TrainingSet = hillstrom_data.training_set(trial, split, ("mens_email", "womens_email"))
    held = sum(1 for row in learned.examples if not row.treated)
    assert held == 2 * int((split.arm[split.train] == 0).sum())
    assert not set(split.train.tolist()) & set(split.test.tolist())
