"""What a server does beside answering: it goes on after a failure and says so, ends at once, and sends what is due."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import patch

import pytest
from msgspec.structs import replace
from small import DAY_MS, playbook, question, region_of
from test_withdrawal_race import WatchedCourier, sending_playbook

from opportune.core.playbook import Privacy
from opportune.core.signals import Draft
from opportune.doors.cli.background import Background, Rest
from opportune.doors.cli.chores import keeper, sender
from opportune.ports import StoreFull
from opportune.testing.clock import FrozenClock

WAIT_S = 30


class Turns:
    """Work that fails as told, and says when each turn was over."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.left = list(outcomes)
        self.over = [Event() for _ in outcomes]
        self.told: list[object] = []
        self.background: Background | None = None

    def __call__(self, rest: Rest) -> None:
        # What the turn before left behind is seen at the beginning of the next.
        assert self.background is not None
        self.told.append(self.background.degraded())
        number = len(self.over) - len(self.left)
        if not self.left:
            rest(WAIT_S)
        error = self.left.pop(0)
        self.over[number].set()
        if error is not None:
            raise error


@pytest.fixture
def ended() -> Iterator[list[Background]]:
    begun: list[Background] = []
    yield begun
    for one in begun:
        one.stop()


def test_a_failure_is_told_and_the_work_goes_on(ended: list[Background]) -> None:
    turns = Turns(StoreFull("10 units wait"), KeyError("jane@example.com"), None, None)
    turns.background = Background("outbox", 0.001, turns, at_once=True)
    ended.append(turns.background)
    turns.background.start()
    assert turns.over[-1].wait(WAIT_S)
    assert turns.told[:4] == [
        (),
        (("outbox", "not done, tried again: 10 units wait"),),
        (("outbox", "not done, tried again: KeyError"),),  # the words of an unknown error may be about a person
        (),
    ]


def test_a_rest_ends_with_the_server() -> None:
    resting = Event()

    def turn(rest: Rest) -> None:
        resting.set()
        rest(3600)
        raise AssertionError("went on after the end")

    background = Background("retention", 3600, turn, at_once=True)
    background.start()
    assert resting.wait(WAIT_S)
    background.stop()
    assert background.degraded() == ()


def test_the_sender_empties_the_outbox(tmp_path: Path, ended: list[Background]) -> None:
    courier, left = WatchedCourier(), Event()
    courier.point = lambda: left.set() if courier.events else None
    with region_of(tmp_path, sending_playbook(), kind="sqlite", couriers={"email": courier}) as region:
        ended.append(sender(region))
        ended[0].start()
        said = [("person.updated", {"email": "ada@example.com"}),
                ("consent.given", {"purpose": "marketing", "channels": ["*"]})]  # fmt: skip
        region.ingest.run([Draft("tests", region.clock.new_id(), type_, subject="ada", data=data)
                           for type_, data in said])  # fmt: skip
        assert region.decide.run(question("ada", "renewal")).delivery == "outbox"
        assert left.wait(WAIT_S)
        assert courier.events == [("left", "ada")]
        ended[0].stop()


def test_the_keeper_removes_at_the_start_what_outlived_its_period(tmp_path: Path, ended: list[Background]) -> None:
    clock, book = FrozenClock(), playbook()
    book = replace(book, app=replace(book.app, privacy=Privacy(retention={"quarantine": "30d"})))
    with region_of(tmp_path, book, kind="sqlite", clock=clock) as region:
        region.ingest.run([Draft("tests", "old", "nobody.knows")])
        clock.at_ms += 31 * DAY_MS
        region.ingest.run([Draft("tests", "new", "nobody.knows")])
        dropped, drop_before = Event(), region.records.drop_before

        def watched(*about: Any) -> int:
            count = drop_before(*about)
            if about[0] == "quarantine":
                dropped.set()
            return count

        with patch.object(region.records, "drop_before", watched):
            ended.append(keeper(region, 3600))
            ended[0].start()
            assert dropped.wait(WAIT_S)
        assert [one.id for one in region.records.quarantined(10)] == ["new"]
        ended[0].stop()
        assert ended[0].degraded() == ()
