"""Places: threads of one source; who waits, in which order, and what hangs."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import TypeVar

import pytest

from opportune.flows.places import HUNG_US, Call, Places

T = TypeVar("T")


class Hold:
    """Work that says when it has begun and ends when it is let go."""

    def __init__(self) -> None:
        self.begun, self.go = Event(), Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.go.wait(60)
        return "done"


class Pool:
    def __init__(self, size: int, waiting_max: int = 100) -> None:
        self.now_us = 0
        self.places = Places("tests", size, waiting_max, lambda: self.now_us)

    def submit(self, work: Callable[[], T], rank: int = 0) -> Call[T]:
        future = self.places.submit(work, rank)
        assert future is not None
        return future

    def held(self) -> tuple[Hold, Call[str]]:
        hold = Hold()
        future = self.submit(hold)
        assert hold.begun.wait(60)
        return hold, future


def test_results_and_errors_reach_who_waits_and_threads_are_used_again() -> None:
    pool = Pool(4)
    assert pool.places.threads == 0
    for number in range(20):
        assert pool.submit(lambda number=number: number).result(60) == number  # type: ignore[misc]
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 // 0).result(60)
    assert pool.places.threads <= 2  # one may not be back yet when the next work comes
    pool.places.close()


def test_the_lowest_rank_goes_first_and_too_many_are_refused() -> None:
    pool = Pool(1, waiting_max=3)
    hold, _ = pool.held()
    order: list[str] = []
    waiting = [
        pool.submit(lambda name=name: order.append(name), rank)  # type: ignore[misc]
        for name, rank in (("batch", 3), ("critical", 0), ("standard", 2))
    ]
    assert pool.places.submit(lambda: None) is None
    hold.go.set()
    for one in waiting:
        one.result(60)
    assert order == ["critical", "standard", "batch"]
    pool.places.close()


def test_what_has_not_begun_can_be_cancelled_and_what_has_cannot() -> None:
    pool = Pool(1)
    hold, running = pool.held()
    ran: list[int] = []
    queued = pool.submit(lambda: ran.append(1))
    assert (queued.cancel(), running.cancel()) == (True, False)
    hold.go.set()
    assert running.result(60) == "done"
    pool.submit(lambda: None).result(60)
    assert ran == []
    pool.places.close()


def test_what_hangs_gives_its_place_to_another_thread_and_is_not_missed_when_it_returns() -> None:
    pool = Pool(1)
    hold, hung = pool.held()
    queued = pool.submit(lambda: "first")
    pool.now_us = HUNG_US + 1
    assert pool.submit(lambda: "second").result(60) == "second"
    assert queued.result(60) == "first"
    assert pool.places.threads == 2
    hold.go.set()
    assert hung.result(60) == "done"
    pool.places.close(60)
    assert pool.places.submit(lambda: None) is None


def test_closing_lets_work_end_for_a_while_and_drops_what_has_not_begun() -> None:
    pool = Pool(1)
    hold, running = pool.held()
    queued = pool.submit(lambda: "never")
    pool.places.close(0)
    assert queued.cancelled()
    hold.go.set()
    assert running.result(60) == "done"
    other = Pool(1)
    last = [other.submit(lambda: "kept") for _ in range(5)]
    other.places.close(60)
    assert [one.result(0) for one in last] == ["kept"] * 5


def test_what_is_given_up_was_late_by_itself_or_for_want_of_a_place() -> None:
    pool = Pool(1)
    hold, running = pool.held()
    queued, slow = pool.submit(lambda: "never"), Hold()
    pool.now_us = 100
    assert (queued.given_up(100), running.given_up(100)) == ("full", "late")
    waited = pool.submit(slow)
    pool.now_us = 200
    hold.go.set()
    assert slow.begun.wait(60)
    # It waited 100 µs for its place: until it has run for as long, the place is to blame.
    assert (waited.given_up(299), waited.given_up(300)) == ("full", "late")
    slow.go.set()
    assert waited.result(60) == "done"
    assert (waited.given_up(400), running.given_up(400)) == (None, None)
    pool.places.close(60)
