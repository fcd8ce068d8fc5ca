"""Turns of the event loop: who is decided when, with a clock that moves only while somebody is decided."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from opportune.core.catalog import PriorityClass
from opportune.doors.http.turns import SHED_US, TURN_US, Turns
from opportune.flows.admission import Gate
from opportune.flows.asking import Asking

COST_US = TURN_US // 2
BUDGET_MS = 50


class Deciding:
    """Stands for the flow: each decision takes `COST_US` and keeps its place until `leave`."""

    def __init__(self, places: int) -> None:
        self.now_us = 1_000_000
        self.gate = Gate(places)
        self.turns = Turns(asyncio.get_running_loop(), self.gate, lambda: self.now_us)
        self.begun: list[str] = []
        self.shed_: list[str] = []
        self.told: list[str] = []

    def ask(self, name: str, priority: PriorityClass = "interactive") -> Asking:
        question: Any = name
        nothing: Any = None
        asking = Asking(question, nothing, nothing, (), self.now_us, BUDGET_MS, priority, self.now_us)
        self.turns.ask(cast(Any, self), asking, lambda answer: self.told.append(f"{answer}"))
        return asking

    def begin(self, asking: Asking, done: Callable[[Any], None]) -> None:
        self.now_us += COST_US
        self.begun.append(str(asking.question))

    def shed(self, asking: Asking, done: Callable[[Any], None]) -> None:
        self.shed_.append(str(asking.question))

    def unrecorded(self, asking: Asking, missing: str) -> str:
        return f"{asking.question} {missing}"

    def leave(self) -> None:
        self.gate.leave()
        self.turns.woken()


def on_a_loop(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(bounded())


async def turn() -> None:
    await asyncio.sleep(0)


def test_while_nobody_waits_a_question_is_decided_at_once() -> None:
    async def story() -> None:
        deciding = Deciding(places=8)
        for name in ("a", "b", "c"):
            deciding.ask(name, "batch")
            assert deciding.begun[-1] == name
            await turn()
        assert deciding.turns.waiting == 0

    on_a_loop(story)


def test_of_many_in_one_turn_some_are_decided_and_the_most_important_of_the_others_next() -> None:
    async def story() -> None:
        deciding = Deciding(places=64)
        for number in range(6):
            deciding.ask(f"b{number}", "batch")
        deciding.ask("chat", "critical")
        assert deciding.begun == ["b0", "b1"]  # two take a turn
        await turn()
        assert deciding.begun == ["b0", "b1", "chat", "b2"]
        deciding.ask("late", "critical")
        await turn()
        assert deciding.begun[4:] == ["late", "b3"]
        await turn()
        assert (deciding.begun[6:], deciding.turns.waiting) == (["b4", "b5"], 0)
        await turn()
        deciding.ask("at once")
        assert deciding.begun[-1] == "at once"

    on_a_loop(story)


def test_whoever_finds_no_place_waits_for_one_and_the_first_class_gets_it() -> None:
    async def story() -> None:
        deciding = Deciding(places=1)
        deciding.ask("first", "batch")
        for name, priority in (("batch", "batch"), ("standard", "standard"), ("chat", "critical")):
            deciding.ask(name, cast(PriorityClass, priority))
        await turn()
        assert deciding.begun == ["first"]
        for expected in ("chat", "standard", "batch"):
            deciding.leave()
            await turn()
            assert deciding.begun[-1] == expected
        assert deciding.shed_ == []

    on_a_loop(story)


def test_whoever_waited_for_too_long_is_shed_without_anybody_leaving() -> None:
    async def story() -> None:
        deciding = Deciding(places=1)
        deciding.ask("first")
        deciding.ask("second")
        deciding.now_us += BUDGET_MS * 1000
        while not deciding.shed_:
            await asyncio.sleep(0.001)
        assert (deciding.shed_, deciding.begun, deciding.turns.waiting) == (["second"], ["first"], 0)

    on_a_loop(story)


def test_whoever_waited_for_too_long_behind_a_higher_class_is_shed_too() -> None:
    async def story() -> None:
        deciding = Deciding(places=1)
        deciding.ask("first", "critical")
        deciding.ask("batch", "batch")
        deciding.now_us += BUDGET_MS * 1000
        deciding.ask("critical", "critical")
        while not deciding.shed_:
            await asyncio.sleep(0.001)
        assert (deciding.shed_, deciding.turns.waiting) == (["batch"], 1)

    on_a_loop(story)


def test_whoever_has_the_safe_default_already_is_told_and_not_recorded() -> None:
    async def story() -> None:
        deciding = Deciding(places=1)
        deciding.ask("first")
        deciding.ask("second").given_up = True
        deciding.now_us += BUDGET_MS * 1000
        while not deciding.told:
            await asyncio.sleep(0.001)
        assert (deciding.told, deciding.shed_) == (["second decision.late"], [])

    on_a_loop(story)


def test_what_lay_unread_while_the_loop_was_busy_counts_against_its_budget() -> None:
    async def story() -> None:
        deciding = Deciding(places=8)
        first = deciding.ask("first")
        assert first.start_us == 1_000_000
        deciding.now_us += 30_000  # something else keeps the loop busy
        await turn()
        deciding.now_us += 100
        late = deciding.now_us
        second = deciding.ask("second")
        assert second.start_us == late - (30_000 + COST_US - TURN_US - SHED_US)
        await turn()
        deciding.now_us += 60_000  # nothing happens for a while
        later = deciding.now_us
        assert deciding.ask("third").start_us == later
        assert deciding.begun == ["first", "second", "third"]

    on_a_loop(story)
