"""Breakers: when they open, who tries again, when they close; threads see one of them."""

from __future__ import annotations

import logging

import pytest

from opportune.flows.breakers import (
    BURST_US,
    IN_A_ROW,
    OF_WINDOW,
    PAUSE_US,
    PAUSE_US_MAX,
    WINDOW,
    Breaker,
    Breakers,
)


class Ticks:
    def __init__(self) -> None:
        self.us = 0

    def __call__(self) -> int:
        return self.us


def breaker() -> tuple[Breaker, Ticks]:
    ticks = Ticks()
    return Breaker("warehouse", ticks), ticks


def opened() -> tuple[Breaker, Ticks]:
    one, ticks = breaker()
    for _ in range(IN_A_ROW):
        assert one.allows()
        one.failed()
    assert one.phase == "open"
    return one, ticks


def test_failures_in_a_row_open_it_and_one_success_between_them_does_not() -> None:
    one, _ = breaker()
    for failed in [True] * (IN_A_ROW - 1) + [False] + [True] * (IN_A_ROW - 1):
        assert one.allows()
        one.failed() if failed else one.succeeded()
    assert one.phase == "closed"
    one.failed()
    assert (one.phase, one.allows(), one.opened) == ("open", False, 1)


def test_half_of_a_window_opens_it_and_old_failures_are_forgotten() -> None:
    one, _ = breaker()
    for _ in range(OF_WINDOW - 1):
        one.failed()
        one.succeeded()
    assert one.phase == "closed"
    one.failed()
    assert one.phase == "open"
    other, _ = breaker()
    for _ in range(3):
        for _ in range(IN_A_ROW - 1):
            other.failed()
        for _ in range(WINDOW):
            other.succeeded()
        assert (other.phase, other.uneasy) == ("closed", False)


def test_after_the_pause_one_call_tries_and_its_success_closes() -> None:
    one, ticks = opened()
    ticks.us += PAUSE_US - 1
    assert not one.allows()
    ticks.us += 1
    assert one.allows()
    assert (one.phase, one.allows(), one.allows()) == ("half_open", False, False)
    one.succeeded()
    assert (one.phase, one.allows(), one.uneasy) == ("closed", True, False)


def test_each_failed_try_doubles_the_pause_up_to_the_longest() -> None:
    one, ticks = opened()
    pause_us, pauses = PAUSE_US, []
    for _ in range(4):
        ticks.us += pause_us
        assert one.allows()
        one.failed()
        pause_us = min(2 * pause_us, PAUSE_US_MAX)
        pauses.append(pause_us)
        ticks.us += pause_us - 1
        assert not one.allows()
        ticks.us -= pause_us - 1
    assert pauses[-1] == PAUSE_US_MAX
    ticks.us += PAUSE_US_MAX
    assert one.allows()
    one.succeeded()
    for _ in range(IN_A_ROW):
        one.failed()
    ticks.us += PAUSE_US
    assert one.allows()  # once it was well, it begins with the short pause again


def test_a_try_that_never_ends_is_followed_by_another() -> None:
    one, ticks = opened()
    ticks.us += PAUSE_US
    assert one.allows()
    ticks.us += PAUSE_US - 1
    assert not one.allows()
    ticks.us += 1
    assert one.allows()


def test_what_ends_while_it_is_open_began_before_and_changes_nothing() -> None:
    one, ticks = opened()
    one.succeeded()
    one.failed()
    assert (one.phase, one.opened) == ("open", 1)
    ticks.us += PAUSE_US
    assert one.allows()


def test_each_source_has_its_own_and_changes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    ticks = Ticks()
    breakers = Breakers(ticks)
    with caplog.at_level(logging.WARNING):
        for _ in range(IN_A_ROW):
            breakers.of("warehouse").failed()
        assert breakers.not_closed() == ["warehouse"]
        assert breakers.of("score").allows()
        ticks.us += PAUSE_US
        assert breakers.of("warehouse").allows()
        assert breakers.not_closed() == ["warehouse"]
        breakers.of("warehouse").succeeded()
    assert breakers.not_closed() == []
    assert [record.getMessage() for record in caplog.records] == [
        "`warehouse` keeps failing: it is not asked for 1 s", "`warehouse` answers again",
    ]  # fmt: skip


def test_what_was_missing_is_counted() -> None:
    breakers = Breakers(Ticks())
    breakers.missed(("score.late", "warehouse.open"))
    breakers.missed(("score.late",))
    assert breakers.missing() == {"score.late": 2, "warehouse.open": 1}


def test_failures_of_one_moment_are_one_failure_of_the_store() -> None:
    ticks = Ticks()
    store = Breakers(ticks).of_the_store()
    for _ in range(IN_A_ROW - 1):
        for _ in range(100):
            store.failed()
        ticks.us += BURST_US
    assert store.phase == "closed"
    store.failed()
    assert store.phase == "open"
