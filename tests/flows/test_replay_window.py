"""A window of decisions: replayed page by page to the byte, and compared with what another release would answer."""

from __future__ import annotations

from pathlib import Path
from random import Random

import msgspec
import pytest
from small import card, consenting, playbook, question, region_of, say

from opportune.core.decisions.questions import QuestionError
from opportune.core.playbook import Playbook
from opportune.flows import replay as replaying
from opportune.flows.region import Region
from opportune.flows.replay import compare_window, replay_window


def decided(region: Region, count: int) -> None:
    rng = Random(5)
    for number in range(count):
        who = f"c{number}"
        say(region, "usage.recorded", who, count=rng.randrange(100))
        if number % 4:
            consenting(region, who)
        region.decide.run(question(who))


def open_to_all() -> Playbook:
    """Without the policy that asks for consent."""
    book = playbook()
    return msgspec.structs.replace(book, policies=book.policies[:1])


def test_a_window_is_the_same_whatever_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "PAGE", 7)
    with region_of(tmp_path, playbook(holdout=0.2, explore=True), cards=[card()]) as region:
        decided(region, 25)
        region.promote(region.release(open_to_all()).hash, "tests", "next")
        decided(region, 5)
        told: list[int] = []

        found = replay_window(region.records, region.releases.brain_of, 28, told.append)

        assert (found.of, found.same, found.different) == (28, 28, ())
        assert told == [7, 7, 7, 7]


def test_another_release_is_compared_by_policy_and_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "PAGE", 7)
    with region_of(tmp_path) as region:
        decided(region, 20)
        other = region.releases.brain_of(region.release(open_to_all()).hash)
        before = dict(region.records.counts())

        found = compare_window(region.records, region.releases.brain_of, 100, other, by="moment")

        assert (found.of, found.changed) == (20, 5)
        assert [(one.before, one.after, one.count) for one in found.dispositions] == [("no_offer", "offered", 5)]
        assert [(one.rule, one.frees, one.won, one.decisions) for one in found.policies] == [("consent", 10, 10, 5)]
        assert [(one.segment, one.of, one.changed) for one in found.segments] == [("limit", 20, 5)]
        assert region.records.counts() == before


def test_decisions_of_a_moment_that_is_gone_are_said_to_be_impossible(tmp_path: Path) -> None:
    with region_of(tmp_path) as region:
        decided(region, 4)
        book = playbook()
        app = msgspec.structs.replace(book.app, moments=book.app.moments[1:])
        other = region.releases.brain_of(region.release(msgspec.structs.replace(book, app=app)).hash)

        found = compare_window(region.records, region.releases.brain_of, 10, other)

        assert (found.of, found.changed) == (4, 0)
        (line,) = found.impossible
        assert (line.count, line.after) == (4, f"the moment `limit` is not in release {other.release}")


def test_a_feature_nobody_has_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with region_of(tmp_path) as region, pytest.raises(QuestionError, match="did you mean `used`") as told:
        compare_window(region.records, region.releases.brain_of, 1, region.releases.brain(), by="use")

    assert told.value.field == "by"
