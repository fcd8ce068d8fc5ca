"""A new offer in the world of benchmarks/cold_start.py, under the real kernel: what its owner's error costs."""

from __future__ import annotations

import pytest
from benchmarks import cold_start

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", ["the owner hopes for too much", "the owner expects too little"])
def test_beliefs_that_follow_outcomes_cost_less_than_a_wrong_prior(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the first 6,000 decisions, 15 days: a fixed prior never learns, and a belief costs at least a fifth less."""
    monkeypatch.setattr(cold_start, "DECISIONS", 6_000)
    market = cold_start.Market(case, 7)
    regret = {policy: sum(market.live(policy)[0]) for policy in ("fixed prior", "adaptive")}
    print(regret)
    assert regret["adaptive"] < 0.8 * regret["fixed prior"]


def test_owners_who_are_right_lose_little_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over three worlds; in one alone, few early purchases may cost more."""
    monkeypatch.setattr(cold_start, "DECISIONS", 4_000)
    regret = dict.fromkeys(("fixed prior", "adaptive"), 0.0)
    for seed in range(3):
        market = cold_start.Market("the owner is right", seed)
        for policy in regret:
            regret[policy] += sum(market.live(policy)[0])
    print(regret)
    assert regret["adaptive"] < 1.1 * regret["fixed prior"]
