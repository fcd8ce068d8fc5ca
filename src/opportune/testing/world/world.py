"""The world as its users see it: a history, a live stream, and customers who answer decisions."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from opportune.testing.world.events import Event, Post
from opportune.testing.world.life import Assignment, Life
from opportune.testing.world.live import Stream
from opportune.testing.world.responses import answer_of, outcomes_of
from opportune.testing.world.state import Account, Person, situation
from opportune.testing.world.truth import DAY_MS, OFFERS, WINDOW_MS, Situation, effect

__all__ = ["Assignment", "World"]


class World:
    """A company of `accounts` accounts whose last `days` days end at `end_ms`.

    The same arguments give the same world. `delay_scale` shortens how long customers take to answer `respond`:
    0.001 turns days into minutes, for demonstrations.
    """

    def __init__(
        self, seed: int, accounts: int = 420, days: int = 75, *, end_ms: int, delay_scale: float = 1.0
    ) -> None:
        self.seed, self.end_ms, self.delay_scale = seed, end_ms, delay_scale
        self._size = accounts
        self._start_ms = end_ms - days * DAY_MS
        self._begin()

    def _begin(self) -> None:
        self._life = Life(self.seed, self._size, self._start_ms, self.end_ms)
        self._accounts = {account.id: account for account in self._life.accounts}
        self._people = {person.id: person for account in self._life.accounts for person in account.people}

    @property
    def accounts(self) -> list[Account]:
        """The accounts in their present state."""
        return self._life.accounts

    @property
    def assignments(self) -> list[Assignment]:
        """Every past offer decided by chance so far, with its true probabilities."""
        return self._life.assignments

    @property
    def customers(self) -> list[Person]:
        """Everybody, in the order of their accounts."""
        return list(self._people.values())

    def history(self) -> Iterator[Event]:
        """Every signal up to `end_ms` as structured CloudEvents in time order; starts from the beginning."""
        self._begin()
        return self._life.until(self.end_ms)

    def until(self, at_ms: int) -> Iterator[Event]:
        """Every signal from where the world is to `at_ms`, as life goes on; days are lived up to `end_ms`."""
        return self._life.until(at_ms)

    def leave_to_decisions(self) -> None:
        """From now on no offer is assigned by chance: `respond` alone says what offers do."""
        self._life.campaign = False

    def live(self, start_ms: int, rate: float) -> Iterator[dict[str, Any]]:
        """Endless steps from `start_ms` on, `rate` a second: {kind: signal, at_ms, event} or {kind: moment, at_ms,
        customer, moment, channels, context}. Goes on from the end of the history."""
        for _ in self._life.until(self.end_ms):
            pass
        self._life.post = Post(f"live-{self.seed}-{start_ms}")
        self._life.rng = random.Random(f"world/{self.seed}/live/{start_ms}")  # noqa: S311 - a simulation
        return Stream(self._life, start_ms, rate).steps()

    def situation(self, customer_id: str) -> Situation:
        """What decides about this customer's purchases now; KeyError for somebody unknown."""
        return situation(self._account_of(customer_id), self._life.now_ms)

    def true_effect(self, customer_id: str, offer_id: str) -> tuple[float, float]:
        """(probability of buying within 14 days if offered now, if not); KeyError for what is unknown."""
        return effect(self.situation(customer_id), offer_id)

    def respond(
        self, customer_id: str, decision_answer: Mapping[str, Any] | None, at_ms: int
    ) -> list[dict[str, Any]]:
        """What the customer does after a decision: [{kind, offer, amount, after_ms, organic}], by time.

        `decision_answer` needs `disposition`, `offer` and `channel` (see `responses.answer_of`); None, or anything
        but `offered`, means that nothing was shown: then and in any case purchases happen that no offer caused
        (`organic`), each offer drawn at most once in 14 days per account. Signals that follow from a purchase come
        later in `live`. The same question gives the same answer in the same state.
        """
        account, life = self._account_of(customer_id), self._life
        life.now_ms = max(life.now_ms, at_ms)
        rng = random.Random(f"{self.seed}/{customer_id}/{at_ms}")  # noqa: S311 - a simulation
        shown = answer_of(decision_answer)
        found = outcomes_of(rng, account, shown, at_ms, self.delay_scale) if account.alive else []
        for outcome in found:
            if outcome["kind"] == "converted":
                self._buy(account, outcome["offer"], at_ms + outcome["after_ms"])
        return found

    def _buy(self, account: Account, offer: str, at_ms: int) -> None:
        def purchase(now_ms: int) -> list[Event]:
            if not OFFERS[offer].applies(situation(account, now_ms)):
                return []
            return self._life.purchase(account, offer, now_ms)

        account.windows[offer] = max(account.windows.get(offer, 0), at_ms + WINDOW_MS)
        self._life.at(at_ms, purchase)

    def _account_of(self, customer_id: str) -> Account:
        return self._accounts[self._people[customer_id].account]
