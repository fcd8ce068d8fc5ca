"""`opportune apprentice`: a release beside the one that decided, Personalizer's learner, and the refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from opportune.core.bandits.ranking import RankableAction, RankRequest
from opportune.wiring import open_region, writing

from .called import call, change

pytestmark = pytest.mark.slow


def test_a_release_beside_itself_answers_the_same(company: Path) -> None:
    live = call("releases", "--playbook", company, "--json").json["live"]
    said = call("apprentice", live[:8], "--last", 50, "--playbook", company)
    found = call("apprentice", live, "--last", 50, "--playbook", company, "--json").json

    assert said.code == 0
    assert "100.0% of answers are the same" in said.out
    assert (found["release"], found["live"], found["decisions"], found["matching"]) == (live, live, 50, 1.0)


def test_what_cannot_be_asked_is_one_sentence(company: Path) -> None:
    nobody = call("apprentice", "r0", "--playbook", company)
    closed = call("apprentice", "--playbook", company)

    assert (nobody.code, "no release is called `r0`" in nobody.err) == (2, True)
    assert (closed.code, "`personalizer:`" in closed.err) == (2, True)


def test_the_learner_of_a_personalizer(playbook: Path) -> None:
    change(playbook / "opportune.yaml", "project:", "personalizer:\n  mode: apprentice\nproject:")
    made = call("release", "--playbook", playbook, "--json").json["release"]
    assert call("promote", made, "--why", "personalizer", "--playbook", playbook).code == 0
    empty = call("apprentice", "--playbook", playbook)
    data = playbook / ".opportune"
    with writing(data):
        region = open_region(data, "larkfield", "eu")
        for number in range(20):
            ranked = region.personalize.rank(RankRequest((RankableAction("one"), RankableAction("two"))))
            region.personalize.reward(ranked.event, 1.0 if number % 2 else 0.0)
        region.close()
    said = call("apprentice", "--playbook", playbook)
    found = call("apprentice", "--playbook", playbook, "--json").json

    assert "no reward is settled yet" in empty.out
    assert "apprentice: 20 calls to rank, 20 settled" in said.out
    assert "0.5000 earned per call" in said.out
    assert (found["calls"], found["earned"], found["counted"]["rewards"]) == (20, 0.5, 20)


def test_a_personalizer_that_makes_no_sense_is_a_finding(playbook: Path) -> None:
    change(playbook / "opportune.yaml", "project:", "personalizer:\n  exploration: 1.5\n  reward_wait: soon\nproject:")
    said = call("check", "--playbook", playbook)

    assert said.code == 1
    assert "`1.5` is out of range: it must be from 0 to 1" in said.out
    assert "`soon` is not a period" in said.out
    assert said.out.count("opportune.yaml:") == 2
