"""Any sequence of steps: what goes live has the approvals it takes, counted here by a rule of the test's own."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from artefacts import PEOPLE, card, move, playbook, region_at, spec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from opportune.core.catalog import Risk
from opportune.core.models import card_hash
from opportune.core.registry import RegistryError
from opportune.flows.approve import CARDS
from opportune.flows.govern import GovernError

CARDS_N = st.integers(1, 3)
PERSON = st.sampled_from(("ada", "dana", "lee", "rae", "eve"))
RISK: st.SearchStrategy[Risk] = st.sampled_from(("low", "high"))
MAY = {"dana", "lee"}
HASH = {number: card_hash(card(number)) for number in (1, 2, 3)}
NUMBER = {name: number for number, name in HASH.items()}


class Told:
    """What this test itself knows of one artefact."""

    def __init__(self) -> None:
        self.authors: set[str] = set()
        self.approvers: set[str] = set()
        self.high = False
        self.refused = False
        self.altered = False


class RegistryMachine(RuleBasedStateMachine):
    """Approvals are counted from what was asked and not refused; the live release is held against them."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.region = self.stack.enter_context(region_at(Path(folder)))
        self.told = {number: Told() for number in HASH}
        self.good: set[str] = set()
        self.made: dict[str, tuple[int, Risk]] = {}
        self.whole: dict[int, bytes] = {}

    @rule(number=CARDS_N, by=PERSON, risk=RISK)
    def propose(self, number: int, by: str, risk: Risk) -> None:
        move(self.region)
        before = self.region.registry.standing(HASH[number])
        self.region.registry.propose(card(number), by, spec(risk))
        told = self.told[number]
        told.altered = False
        if before.proposed_ms is None or before.ended is not None:
            told.authors.add(by)
            told.approvers.clear()
            told.refused = False
            told.high = told.high or risk == "high"

    @rule(number=CARDS_N, by=PERSON, reason=st.sampled_from(("good", "", " ")))
    def approve(self, number: int, by: str, reason: str) -> None:
        move(self.region)
        told = self.told[number]
        try:
            self.region.registry.approve(HASH[number], by, PEOPLE, reason)
        except RegistryError:
            self._void(number)
            return
        assert by in MAY - told.authors - told.approvers
        assert reason.strip()
        assert not told.refused
        assert not told.altered
        told.approvers.add(by)

    @rule(number=CARDS_N, by=PERSON)
    def refuse(self, number: int, by: str) -> None:
        self._end(number, by, "refuse")

    @rule(number=CARDS_N, by=PERSON)
    def retire(self, number: int, by: str) -> None:
        self._end(number, by, "retire")

    def _end(self, number: int, by: str, step: str) -> None:
        move(self.region)
        try:
            getattr(self.region.registry, step)(HASH[number], by, PEOPLE, "no more")
        except RegistryError:
            self._void(number)
            return
        self.told[number].approvers.clear()
        self.told[number].refused = step == "refuse" or self.told[number].refused

    @rule(number=CARDS_N)
    def alter(self, number: int) -> None:
        """Somebody writes into the shelf, past the registry."""
        kept: Any = self.region.registry.shelf
        key = (CARDS, HASH[number])
        if key in kept.kept:
            kept.kept[key] += b" "
            self.told[number].altered = True

    @rule()
    def take_in(self) -> None:
        move(self.region)
        self.region.registry.take_in()
        for number in HASH:
            self._void(number)

    def _void(self, number: int) -> None:
        """What was altered and then looked at has no approval any more."""
        if self.told[number].altered:
            self.told[number].approvers.clear()

    @rule(number=CARDS_N, risk=RISK)
    def release(self, number: int, risk: Risk) -> None:
        try:
            made = self.region.release(playbook(risk), [card(number)]).hash
        except GovernError:
            return
        self._enough(number, risk)
        self.made[made] = (number, risk)

    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        if not self.made:
            return
        move(self.region)
        hash_ = data.draw(st.sampled_from(sorted(self.made)))
        try:
            self.region.promote(hash_, "ann", "a try")
        except GovernError:
            return
        number, risk = self.made[hash_]
        assert not self.told[number].refused
        if hash_ not in self.good:
            self._enough(number, risk)
        self.good.add(hash_)

    @rule()
    def rollback(self) -> None:
        move(self.region)
        try:
            hash_ = self.region.rollback("ann", "back")
        except GovernError:
            return
        assert hash_ in self.good
        assert not self.told[self.made[hash_][0]].refused

    def _enough(self, number: int, risk: Risk) -> None:
        told = self.told[number]
        needed = 2 if told.high or risk == "high" else 1
        assert len(told.approvers) >= needed, (number, risk, told.approvers)
        assert not told.authors & told.approvers

    @invariant()
    def what_is_live_was_approved(self) -> None:
        live = self.region.records.live()
        assert live is None or live in self.good
        for standing in self.region.registry.every():
            assert {one.by for one in standing.approvals} <= self.told[NUMBER[standing.card]].approvers
            assert (standing.stage == "live") == (
                live is not None and HASH[self.made[live][0]] == standing.card
            )

    def teardown(self) -> None:
        self.stack.close()


RegistryMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRegistry = RegistryMachine.TestCase
