"""Models whose time nobody can promise run in places of their own: what is not there in time is done without.

The built-in scorecard has a fixed cost and runs where the decision is made, until it was slow or failed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import wait
from typing import Final, Literal, TypeVar

import msgspec

from opportune.core.decisions.brain import Brain
from opportune.core.models import CompiledModel, Reasons, Scores
from opportune.core.models.model import Model, check_scores
from opportune.flows.breakers import Breaker, Breakers
from opportune.flows.places import Places

T = TypeVar("T")

ScoreFault = Literal["late", "full", "failed"]

MODEL_PLACES: Final = 8
"""Decisions that are scored by such a model at the same time."""
WAITING_MAX: Final = 256


class NotScored(Exception):
    """The model said nothing in time, or nothing that can be used: the owner's priors stand in."""

    def __init__(self, fault: ScoreFault) -> None:
        super().__init__(fault)
        self.fault = fault


class Scoring:
    """Where the models of a region run, each with a breaker of its own."""

    def __init__(self, breakers: Breakers, tick_us: Callable[[], int]) -> None:
        self._breakers = breakers
        self._tick_us = tick_us
        self._places = Places("models", MODEL_PLACES, WAITING_MAX, tick_us)
        self._last: tuple[str | None, Breaker] = (None, breakers.of("score"))

    def breaker(self, brain: Brain) -> Breaker:
        """That of this brain's model: another model begins anew."""
        name, breaker = self._last
        if name is not brain.model_name:
            breaker = self._breakers.of("score" if brain.model_name is None else f"score {brain.model_name}")
            self._last = brain.model_name, breaker
        return breaker

    def apart(self, brain: Brain) -> bool:
        """Does this brain's model run in a place, and so must whoever waits for it?"""
        model = brain.model
        return model is not None and (not isinstance(model, CompiledModel) or self.breaker(brain).uneasy)

    def guarded(self, brain: Brain, rank: int, until_us: int) -> Guarded:
        """The brain's model for one decision, that nobody waits for after `until_us`."""
        model = brain.model
        assert model is not None
        return Guarded(model, len(brain.offers), self._places, self.breaker(brain), self._tick_us, rank, until_us)

    def close(self) -> None:
        """Waits for no model."""
        self._places.close()


class Guarded:
    """A model as one decision meets it: every call ends in time, and what it says can be used."""

    def __init__(
        self, model: Model, offers: int, places: Places, breaker: Breaker, tick_us: Callable[[], int], rank: int,
        until_us: int,
    ) -> None:  # fmt: skip
        self._model = model
        self._offers = offers
        self._places = places
        self._breaker = breaker
        self._tick_us = tick_us
        self._rank = rank
        self._until_us = until_us
        self._said: tuple[list[object], Scores] | None = None
        self._explained: dict[int, Reasons] = {}
        self._fault: ScoreFault = "late"
        self._over = False

    def score(self, values: Sequence[object]) -> Scores:
        """NotScored when there is nothing in time."""
        asked = list(values)
        if self._said is not None and self._said[0] == asked:
            return self._said[1]
        scores = self._call(lambda: check_scores(self._model.score(asked), self._offers))
        self._said = asked, scores
        return scores

    def explain(self, scores: Scores, offer_index: int) -> Reasons:
        """NotScored when there is nothing in time."""
        if offer_index not in self._explained:
            self._explained[offer_index] = self._call(lambda: self._model.explain(scores, offer_index))
        return self._explained[offer_index]

    def no_more(self) -> Guarded:
        """Repeats what it has said, and waits for nothing else: for a decision that is made again in the commit."""
        self._over = True
        return self

    def _call(self, work: Callable[[], T]) -> T:
        if self._over:
            raise NotScored(self._fault)
        call = self._places.submit(work, self._rank)
        if call is None:
            raise self._not("full")
        wait((call,), max(self._until_us - self._tick_us(), 0) / 1e6)
        fault = None if call.done() else call.given_up(self._tick_us())
        if fault == "late":
            self._breaker.failed()
        if fault is not None:
            raise self._not(fault)
        try:
            found = call.result()
        except Exception as error:
            self._breaker.failed()
            raise self._not("failed") from error
        self._breaker.succeeded()
        return found

    def _not(self, fault: ScoreFault) -> NotScored:
        self._fault = fault
        return NotScored(fault)


def with_model(brain: Brain, model: Model) -> Brain:
    """The brain with another model in the place of its own."""
    return msgspec.structs.replace(brain, model=model)
