"""Probes: how the steps of a decision are watched, live against the clock or as they were recorded."""

from __future__ import annotations

from typing import Final

from opportune.flows.breakers import Breaker
from opportune.ports import Clock

FALLBACK_RESERVE_US: Final = 2_000
"""Left of the budget for recording and answering: later than this, no step of the kernel begins."""
SCORE_RESERVE_US_PER_MS: Final = 100
"""Of each millisecond of the budget, left for choosing: later than this, the owner's priors stand in for the model."""


class LiveProbe:
    """Measures each step; a step that would begin past the deadline gets the fault `late`, scoring by a model whose
    breaker is open the fault `open`."""

    def __init__(self, clock: Clock, start_us: int, budget_ms: int, score: Breaker | None = None) -> None:
        self._tick = clock.tick_us
        self.start_us = start_us
        self.budget_ms = budget_ms
        self.deadline_us = start_us + budget_ms * 1000 - FALLBACK_RESERVE_US
        self.score_by_us = self.deadline_us - budget_ms * SCORE_RESERVE_US_PER_MS
        self._score = score
        self._open = ("admit", start_us)
        self.timings_us: list[tuple[str, int]] = []
        self.faults: list[str] = []

    def before(self, step: str) -> str | None:
        now_us = self.begin(step)
        if step == "score":
            if now_us > self.score_by_us:
                return self._fault(step, "late")
            if self._score is not None and not self._score.allows():
                return self._fault(step, "open")
        elif now_us > self.deadline_us and step != "assign":
            return self._fault(step, "late")
        return None

    def begin(self, step: str) -> int:
        """Ends the step before and begins this one; returns the tick."""
        now_us = self._tick()
        name, since_us = self._open
        self.timings_us.append((name, now_us - since_us))
        self._open = (step, now_us)
        return now_us

    def took_us(self, step: str) -> int:
        """How long a step that has ended took."""
        return sum(micros for name, micros in self.timings_us if name == step)

    def _fault(self, step: str, fault: str) -> str:
        self.faults.append(f"{step}:{fault}")
        return fault


class RecordedProbe:
    """Repeats the faults of a recorded decision; measures nothing."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        self._faults = dict(fault.split(":", 1) for fault in faults)

    def before(self, step: str) -> str | None:
        return self._faults.get(step)
