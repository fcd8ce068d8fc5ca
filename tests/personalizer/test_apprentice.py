"""Apprentices: a learner beside the application's own choice, and a release beside the one that decided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from personalizer_room import Room

from opportune.core.bandits.joined import Judged
from opportune.core.playbook import Personalizer
from opportune.flows.learning.apprentice import LearnerReport, learner_report, worth_of

pytestmark = pytest.mark.slow


def lived(folder: Path, personalizer: Personalizer, calls: int) -> tuple[Room, LearnerReport]:
    """A room in which weather is liked and nothing else, and its report."""
    room = Room(folder, personalizer)
    for number in range(calls):
        event = f"e{number}"
        room.reward(event, 1.0 if room.rank(event)["rewardActionId"] == "weather" else 0.0)
    return room, learner_report(room.region, 10_000)


def test_online_it_says_what_the_application_alone_would_have_earned(tmp_path: Path) -> None:
    room, found = lived(tmp_path, Personalizer(exploration=0.6), 400)

    assert found.calls == 400
    assert found.baseline is not None
    assert found.learner is not None
    # The first action is sports, which nobody likes; the learner has shown weather for almost all of the time.
    assert found.baseline.value == pytest.approx(0.0)
    assert found.learner.value is not None
    assert found.learner.low is not None
    assert found.earned is not None
    assert found.learner.low > found.earned
    assert found.learner.value > 0.85
    answered = room.get("/v1/apprentice", {"authorization": "Bearer reader"})
    room.close()
    assert (answered.status, answered.json()["calls"]) == (200, 400)


def test_an_apprentice_says_that_its_log_cannot_tell_what_was_never_tried(tmp_path: Path) -> None:
    room = Room(tmp_path, Personalizer(mode="apprentice"))
    for number in range(60):
        event = f"e{number}"
        shown = room.rank(event, excludedActions=["sports"] if number % 2 else [])["rewardActionId"]
        room.reward(event, 0.0 if shown == "sports" else 1.0)
    found = learner_report(room.region, 10_000)
    room.close()

    assert found.mode == "apprentice"
    assert found.baseline is not None
    assert found.learner is not None
    assert found.baseline.value == pytest.approx(found.earned)
    assert found.learner.value is None
    assert any("never tried" in reason for reason in found.learner.reasons)
    assert found.matching == pytest.approx(0.5, abs=0.1)
    assert found.modelled_gain is not None
    assert found.modelled_gain > 0.1


def judged(chances: Sequence[float], pays: Sequence[float], rounds: int, seed: int) -> list[Judged]:
    """Two actions: the first is the baseline, the second what the learner wants."""
    chance = np.random.default_rng(seed)
    found = []
    for _ in range(rounds):
        done = int(chance.random() < chances[1])
        reward = float(chance.random() < pays[done])
        found.append(
            Judged("online", chances[done], chances[1], chances[0], done == 1, done == 0, (0.0, 0.0), reward, False)
        )
    return found


def test_the_worth_of_a_policy_is_found_where_it_was_tried() -> None:
    inside = 0
    for seed in range(60):
        log = judged((0.8, 0.2), (0.1, 0.3), 2000, seed)
        found = worth_of(log, [one.is_wanted for one in log], [one.wanted_chance for one in log])
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0.3 <= found.high

    assert inside >= 52  # 57 of 60 are expected; fewer than 52 happen once in 100 times


def test_before_the_first_reward_there_is_nothing_to_compare(tmp_path: Path) -> None:
    room = Room(tmp_path, Personalizer())
    room.rank("e")
    found = learner_report(room.region, 100)
    closed = Room(tmp_path / "closed", None)
    refused = closed.get("/v1/apprentice", {"authorization": "Bearer reader"})
    room.close()
    closed.close()

    assert (found.calls, found.waiting, found.matching) == (0, 1, None)
    assert (refused.status, "personalizer" in refused.json()["detail"]) == (404, True)
