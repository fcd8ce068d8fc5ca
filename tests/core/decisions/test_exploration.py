"""Exploration: what is chosen is chosen as often as logged, and a policy that was never live can be judged from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from exploring import (
    SETTINGS,
    Corrupt,
    Logged,
    Question,
    agreement,
    brain_of,
    decisions,
    last_of_a_tie,
    logged,
    questions,
    rounded,
    slate_agreement,
    ten_percent_off,
    without_floor,
)
from scipy.stats import chi2

from opportune.core.catalog import NO_OFFER
from opportune.core.decisions import arbitration
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.draws import uniform

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`: chance needs numbers."""

SEED = 20_261_124
PLAUSIBLE, IMPOSSIBLE = 0.001, 1e-6
SHORT, LONG = 2_500, 40_000
"""Decisions per setting; there are five settings."""


@cache
def scene(setting: str, count: int = 250, limit: int = 1) -> tuple[Brain, list[Question]]:
    brain = brain_of(*SETTINGS[setting])
    return brain, questions(brain, count, SEED, limit)


def logs(setting: str, count: int, corrupt: Corrupt = lambda log: log) -> Iterator[Logged]:
    brain, asked = scene(setting)
    for _, result in decisions(brain, asked, count):
        log = logged(brain, result)
        if result.scored.values:
            assert result.action_probability == pytest.approx(log.chances[log.chosen], abs=1e-8)
        yield corrupt(log)


@pytest.mark.parametrize("setting", SETTINGS)
def test_candidates_are_chosen_as_often_as_logged(setting: str) -> None:
    assert agreement(logs(setting, SHORT)).p > PLAUSIBLE


@pytest.mark.torture
def test_over_200_000_decisions_candidates_are_chosen_as_often_as_logged() -> None:
    statistic, freedom, total = 0.0, 0, 0
    print()
    for setting in SETTINGS:
        found = agreement(logs(setting, LONG))
        print(f"{setting}: chi-square {found.statistic:.1f} on {found.freedom} degrees, p {found.p:.3f}, "
              f"{found.decisions:,} decisions")  # fmt: skip
        assert found.p > PLAUSIBLE
        statistic, freedom, total = statistic + found.statistic, freedom + found.freedom, total + found.decisions
    p = float(chi2.sf(statistic, freedom))
    print(f"all: chi-square {statistic:.1f} on {freedom} degrees, p {p:.3f}, {total:,} decisions")
    assert total == 200_000
    assert p > PLAUSIBLE


@cache
def sound_logs(setting: str) -> list[Logged]:
    return list(logs(setting, 8_000))


@pytest.mark.parametrize("corrupt", [ten_percent_off, last_of_a_tie, rounded, without_floor])
def test_a_wrong_log_is_found(corrupt: Corrupt) -> None:
    """The test above would tell: with each of these mistakes in the log it fails."""
    found = sound_logs("floor_only" if corrupt is without_floor else "inverse_gap")
    assert agreement(found).p > PLAUSIBLE
    assert agreement(corrupt(log) for log in found).p < IMPOSSIBLE


def test_everything_that_may_bend_chance_is_in_play() -> None:
    brain, asked = scene("inverse_gap")
    stages: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for _, result in decisions(brain, asked, len(asked)):
        stages.update(stage for stage, _, _ in result.stages)
        reasons[result.reason] += 1
        if result.forced:
            assert (result.action_probability, result.offer or result.would) in ((1.0, "sorry"), (1.0, "sorry@app"))
    assert {"consent", "suitability", "no_permit", "contact_limit", "volume_limit"} <= stages.keys()
    assert {"OFFERED", "EXPLORED", "FORCED", "HELD_OUT", "NO_CONSENT"} <= reasons.keys()


def test_what_is_never_explored_is_never_tried_while_another_is_better() -> None:
    brain, asked = scene("inverse_gap")
    tried = 0
    for _, result in decisions(brain, asked, SHORT):
        log = logged(brain, result)
        if "careful@app" in log.chances and not result.forced:
            best = max(log.values[name] for name in log.values)
            if log.values["careful@app"] < best:
                assert log.chances["careful@app"] == 0.0
            else:
                tried += 1
    assert tried > 20  # as the best it is offered


def test_off_always_takes_the_first_of_the_best() -> None:
    brain, asked = scene("off")
    for _, result in decisions(brain, asked, 500):
        log = logged(brain, result)
        assert result.action_probability == 1.0
        assert result.reason != "EXPLORED"
        if not result.forced and log.chances:
            assert log.values[log.chosen] == max(log.values.values())


def test_places_of_a_slate_are_filled_as_often_as_logged() -> None:
    for setting in ("inverse_gap, pcvl", "floor_only"):
        brain, asked = scene(setting, 12, 3)
        found = slate_agreement(brain, asked, 5_000)
        assert found.freedom > 10
        assert found.p > PLAUSIBLE, setting


def test_one_draw_for_all_places_of_a_slate_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def reused(decision_id: str, draw: str) -> float:
        return uniform(decision_id, draw.partition(".")[0])

    monkeypatch.setattr(arbitration, "uniform", reused)
    brain, asked = scene("floor_only", 12, 3)
    assert slate_agreement(brain, asked, 5_000).p < IMPOSSIBLE


# A policy that was never live: its value is estimated from what another policy tried.


def preference(place: int, name: str) -> float:
    return uniform("target", str(place), name)


def mean_reward(place: int, name: str) -> float:
    return 0.0 if name == NO_OFFER else 0.1 + 0.8 * uniform("reward", str(place), name)


class Estimate:
    """Inverse propensity scoring of a known target policy, and its true value over the same questions."""

    def __init__(self, setting: str, count: int, first: int, corrupt: Corrupt = lambda log: log) -> None:
        brain, asked = scene(setting)
        self.terms: list[float] = []
        truths: list[float] = []
        for number, (place, result) in enumerate(decisions(brain, asked, count, first)):
            # What was not left to chance says nothing about other policies. By `holdout` and not by the disposition: in
            # the control group chance may fall on NO_OFFER, and leaving out only the rest would bend the sample.
            if result.forced or result.holdout or not result.scored.values:
                continue
            true = logged(brain, result)
            tried = [name for name, chance in true.chances.items() if chance > 0.0]
            weights = {name: preference(place, name) for name in tried}
            target = {name: weight / math.fsum(weights.values()) for name, weight in weights.items()}
            truths.append(math.fsum(target[name] * mean_reward(place, name) for name in tried))
            got = uniform("answer", str(first + number)) < mean_reward(place, true.chosen)
            log = corrupt(true)
            self.terms.append(got * target[log.chosen] / log.chances[log.chosen])
        self.value = float(np.mean(self.terms))
        self.truth = float(np.mean(truths))
        self.error = float(np.std(self.terms, ddof=1) / math.sqrt(len(self.terms)))


def judged(setting: str, runs: int, each: int, corrupt: Corrupt = lambda log: log) -> tuple[float, float]:
    """(share of runs whose 99 % interval holds the truth, the distance of their mean from it in standard errors)."""
    found = [Estimate(setting, each, number * each, corrupt) for number in range(runs)]
    inside = sum(abs(one.value - one.truth) <= 2.5758 * one.error for one in found)
    off = float(np.mean([one.value - one.truth for one in found]))
    error = math.sqrt(sum(one.error**2 for one in found)) / runs
    return inside / runs, off / error


def test_a_policy_that_was_never_live_is_judged_without_bias() -> None:
    coverage, distance = judged("inverse_gap", 20, 300)
    assert coverage >= 0.9
    assert abs(distance) < 3.3


def test_and_with_bias_where_the_log_is_wrong() -> None:
    _, distance = judged("inverse_gap", 20, 600, ten_percent_off)
    assert abs(distance) > 3.3


@pytest.mark.torture
def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    print()
    for setting in ("inverse_gap", "inverse_gap, pcvl", "floor_only"):
        coverage, distance = judged(setting, 200, 1_000)
        print(f"{setting}: {coverage:.1%} of 200 intervals of 99 % hold the true value; the mean is {distance:+.2f} "
              "standard errors from it")  # fmt: skip
        assert coverage >= 0.96
        assert abs(distance) < 3.3
