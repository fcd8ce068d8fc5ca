"""A reader, the model and the store, each slow, hung, failing or talking garbage, alone and together.

Time is simulated: whoever waits for a source that hangs has waited as soon as it hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import product
from pathlib import Path
from threading import Condition
from typing import Any

import msgspec
import pytest
from small import ask, card, consenting, kept, playbook, question, region_of, say

from opportune.core.decisions.answers import Answer
from opportune.core.features import FeatureSpec, FeatureView, ReaderSpec
from opportune.core.models.model import Model
from opportune.core.playbook import Playbook
from opportune.flows import guarded, outside
from opportune.flows.breakers import BURST_US, IN_A_ROW, PAUSE_US, PAUSE_US_MAX, Breakers
from opportune.flows.decide import Decide
from opportune.flows.guarded import Scoring, with_model
from opportune.flows.outside import OutsideReads
from opportune.flows.places import Call
from opportune.flows.region import Region
from opportune.testing.clock import FrozenClock
from opportune.testing.faults import MODES, FaultyModel, FaultyReader, FaultyRecords, Mode, Switch

BUDGET_US = 50_000
LATE_US = 10_000
SQL = ReaderSpec(kind="sql", path="features.db", table="f", entity="person_id", time="at")


def book() -> Playbook:
    """The small playbook with a feature from outside."""
    made = playbook(limits=())
    view = FeatureView(
        view="warehouse", version=1, entity="person", owner="data", purposes=("marketing",), reader=SQL,
        features=(FeatureSpec(id="segment", column="segment", type="string"),),
    )  # fmt: skip
    return msgspec.structs.replace(made, views=(*made.views, view))


class SimulatedClock(FrozenClock):
    def passes(self, micros: float) -> None:
        self._ticks_us += int(micros)


class World:
    """A region whose three sources do as they are told, and a client with a watch."""

    def __init__(self, region: Region, clock: SimulatedClock) -> None:
        self.region = region
        self.clock = clock
        self.changed = Condition()
        self.reader, self.model, self.store = (Switch(1e9, self._blocked) for _ in range(3))
        self._waited_for = {"reader": 0, "model": 0}
        brain = region.releases.brain()
        assert brain.model is not None
        scorer: Model = FaultyModel(self.model, brain.model)
        faulty = with_model(brain, scorer)
        reader = FaultyReader(self.reader, {"segment": ("gold", None)})
        self.breakers = Breakers(clock.tick_us)
        self.decide: Decide = msgspec.structs.replace(
            region.decide, records=FaultyRecords.over(self.store, region.records), brain=lambda: faulty,
            outside=OutsideReads(lambda _: reader, self.breakers, clock.tick_us),
            scoring=Scoring(self.breakers, clock.tick_us), breakers=self.breakers, store=self.breakers.of_the_store(),
        )  # fmt: skip

    def answer(self, customer: str = "ada", **more: Any) -> tuple[Answer, float]:
        """As the HTTP door does: the answer, or the safe default when the record is late; and how long it took."""
        began_us = self.clock.tick_us()
        found: Future[Answer | BaseException] = Future()
        found.add_done_callback(lambda _: self._notify())
        calls = self.store.calls
        asking = self.decide.check(question(customer, **more))
        told = self.decide.same.first(asking.question, found.set_result)
        assert told is not None
        assert self.decide.gate.enter(asking.priority)
        self.decide.begin(asking, told)
        with self.changed:
            assert self.changed.wait_for(lambda: found.done() or hanging(self.store, calls), 60)
        if found.done():
            answer = found.result()
            assert isinstance(answer, Answer)
        else:
            self.clock.passes(max(0, began_us + BUDGET_US + LATE_US - self.clock.tick_us()))
            answer = self.decide.too_late(asking)
        return answer, self.clock.tick_us() - began_us

    def wait(self, source: str) -> Callable[..., None]:
        """Instead of `concurrent.futures.wait`: until all have ended, or hang as they were told to."""
        switch: Switch = getattr(self, source)

        def waits(calls: Sequence[Call[Any]], timeout: float) -> None:
            for call in calls:
                call.add_done_callback(lambda _: self._notify())
            with self.changed:
                known = self._waited_for[source]
                assert self.changed.wait_for(lambda: all(one.done() for one in calls) or hanging(switch, known), 60)
            self._waited_for[source] = switch.calls
            if not all(call.done() for call in calls):
                self.clock.passes(timeout * 1e6)

        return waits

    def heal(self) -> None:
        for switch in (self.reader, self.model, self.store):
            switch.to("fine")
        self.region.records.run(lambda tx: None)  # whatever waited is through

    def _blocked(self) -> None:
        self._notify()

    def _notify(self) -> None:
        with self.changed:
            self.changed.notify_all()


def hanging(switch: Switch, calls: int) -> bool:
    """Does a call hang that came after so many others?"""
    return switch.calls > calls and switch.mode in ("slow", "hung")


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Region, SimulatedClock]]:
    clock = SimulatedClock()
    with region_of(tmp_path_factory.mktemp("faults"), book(), clock=clock, cards=[card()]) as made:
        consenting(made, "ada", "bob")
        yield made, clock


@pytest.fixture
def world(region: tuple[Region, SimulatedClock], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(*region)
    monkeypatch.setattr(outside, "wait", made.wait("reader"))
    monkeypatch.setattr(guarded, "wait", made.wait("model"))
    try:
        yield made
    finally:
        made.heal()


SAID = {"slow": "late", "hung": "late", "failing": "failed", "garbage": "failed"}


def missing(reader: Mode, model: Mode, store: Mode) -> tuple[str, ...]:
    named = (("warehouse", reader), ("score", model), ("record", store))
    return tuple(f"{what}.{SAID[mode]}" for what, mode in named if mode != "fine")


@pytest.mark.parametrize(("reader", "model", "store"), list(product(MODES, repeat=3)))
def test_every_question_is_answered_in_time_and_the_answer_says_what_was_missing(
    world: World, reader: Mode, model: Mode, store: Mode
) -> None:
    for switch, mode in ((world.reader, reader), (world.model, model), (world.store, store)):
        switch.to(mode)

    answer, took_us = world.answer()

    assert answer.degraded == missing(reader, model, store)
    assert took_us <= BUDGET_US + LATE_US
    assert answer.recorded == (store == "fine")
    if answer.recorded:
        assert answer.disposition == "offered"
        assert answer.grant is not None
        assert (answer.model is not None) == (model == "fine")
        kept(world.region, answer.decision_id)
    else:
        assert (answer.disposition, answer.offer, answer.grant) == ("fallback", None, None)
        assert answer.reason == ("TIMEOUT" if store in ("slow", "hung") else "FAULT")
    for what in answer.degraded:
        assert what in answer.explanation["auditor"]
        assert world.breakers.missing()[what] == 1


SOURCES = {"reader": "warehouse", "model": "score", "store": "record"}


@pytest.mark.parametrize(("source", "mode"), list(product(SOURCES, MODES[1:])))
def test_a_source_that_keeps_failing_is_not_asked_until_it_answers_again(
    world: World, source: str, mode: Mode
) -> None:
    switch: Switch = getattr(world, source)
    name = SOURCES[source]
    switch.to(mode)
    for _ in range(IN_A_ROW):
        answer, _ = world.answer()
        assert answer.degraded == (f"{name}.{SAID[mode]}",)
        world.clock.passes(BURST_US)
    calls = switch.calls
    for _ in range(10):
        answer, took_us = world.answer()
        assert answer.degraded == (f"{name}.open",)
        assert answer.recorded == (source != "store")
        assert took_us == 0  # nobody waits for it
        if answer.recorded:
            kept(world.region, answer.decision_id)
    assert switch.calls == calls
    assert [one.split()[0] for one in world.breakers.not_closed()] == [name]

    world.clock.passes(PAUSE_US)
    tried, _ = world.answer()
    assert tried.degraded == (f"{name}.{SAID[mode]}",)  # one call tried, in vain
    assert world.answer()[0].degraded == (f"{name}.open",)
    world.heal()
    world.clock.passes(PAUSE_US_MAX)
    answer, _ = world.answer()
    assert (answer.degraded, answer.disposition, answer.recorded) == ((), "offered", True)
    assert world.breakers.not_closed() == []


def test_all_of_them_gone_nobody_waits_for_anything(world: World) -> None:
    for switch in (world.reader, world.model, world.store):
        switch.to("hung")
    for _ in range(2 * IN_A_ROW + 1):  # the store is not blamed while the others take the time
        _, took_us = world.answer()
        assert took_us <= BUDGET_US + LATE_US
        world.clock.passes(BURST_US)
    calls = [switch.calls for switch in (world.reader, world.model, world.store)]
    for _ in range(5):
        answer, took_us = world.answer()
        assert (answer.recorded, answer.degraded[-1], took_us) == (False, "record.open", 0)
    assert calls == [switch.calls for switch in (world.reader, world.model, world.store)]


def test_what_was_handed_to_a_store_that_hung_is_kept_when_it_comes_back(world: World) -> None:
    world.store.to("hung")
    late, _ = world.answer(idempotency_key="hung-1")
    assert not late.recorded
    world.heal()
    wait_for(lambda: world.region.records.decision_by_key("ada/hung-1") is not None)
    again, _ = world.answer(idempotency_key="hung-1")
    assert (again.recorded, again.disposition) == (True, "offered")
    found = world.region.records.decision_by_key("ada/hung-1")
    assert found is not None
    assert found.id == again.decision_id  # the late record is the answer of its key
    kept(world.region, again.decision_id)


def test_a_decision_made_again_in_the_commit_waits_for_no_model(world: World) -> None:
    """The writer is everybody's: what the model said of the same counts, and it is not asked again."""
    again_with(world, changed=False, said=())
    again_with(world, changed=True, said=("score.late",))


def again_with(world: World, *, changed: bool, said: tuple[str, ...]) -> None:
    """Of two decisions at once the second is made again; what is known of the customer may have `changed`."""
    world.model.to("fine")
    found: list[Future[Answer | BaseException]] = [Future(), Future()]
    world.store.to("hung")
    for one in found:
        calls = world.store.calls
        asking = world.decide.check(question("bob"))
        assert world.decide.gate.enter("interactive")
        world.decide.begin(asking, one.set_result)
        wait_for(lambda calls=calls: world.store.calls > calls)  # type: ignore[misc]
    if changed:
        say(world.region, "usage.recorded", "bob", count=100)
    calls = world.model.calls
    world.model.to("hung")
    world.store.to("fine")
    answers = [one.result(60) for one in found]
    assert world.model.calls == calls
    for answer, missing in zip(answers, ((), said), strict=True):
        assert isinstance(answer, Answer)
        assert (answer.disposition, answer.degraded) == ("offered", missing)
        assert (answer.model is None) == (missing != ())
        kept(world.region, answer.decision_id)


def wait_for(holds: Callable[[], bool]) -> None:
    changed = Condition()
    with changed:
        for _ in range(6_000):
            if holds():
                return
            changed.wait(0.01)
    raise AssertionError("it never came to be")


def test_a_reader_that_hangs_takes_no_place_of_another_and_a_model_none_of_a_reader(world: World) -> None:
    world.model.to("hung")
    for _ in range(3):
        assert world.answer()[0].degraded == ("score.late",)
    world.model.to("fine")
    world.reader.to("hung")
    answer, _ = world.answer()
    assert (answer.degraded, answer.model is not None) == (("warehouse.late",), True)


def test_the_built_in_model_runs_where_it_is_asked_until_it_was_slow(tmp_path: Path) -> None:
    class Jump(SimulatedClock):
        score_takes_us = 0
        readings = 0

        def tick_us(self) -> int:
            self.readings += 1
            if self.readings == 6:  # after scoring
                self.passes(self.score_takes_us)
            return super().tick_us()

    clock = Jump()
    with region_of(tmp_path, playbook(limits=()), clock=clock, cards=[card()]) as region:
        consenting(region, "ada")
        brain = region.releases.brain()
        assert not region.decide.apart(brain)
        assert region.decide.run(question()).model is not None
        assert region.scoring._places.threads == 0
        clock.score_takes_us, clock.readings = BUDGET_US, 0
        answer = region.decide.run(question())
        assert (answer.disposition, answer.degraded) == ("fallback", ("choose.late",))
        clock.score_takes_us = 0
        assert region.decide.apart(brain)
        patient = question(budget_ms=10_000)
        assert region.decide.run(patient).degraded == ()
        assert region.scoring._places.threads == 1
        for _ in range(25):
            assert region.decide.run(patient).degraded == ()
        assert not region.decide.apart(brain)


def test_state_that_cannot_be_read_gives_the_recorded_safe_default(tmp_path: Path) -> None:
    with region_of(tmp_path, playbook(limits=())) as region:
        consenting(region, "ada")
        person = region.records.person("ada")
        assert person is not None
        torn: Any = msgspec.structs.replace(person, traits={"timezone": 7}, features=b"\xffgarbage")
        region.records.run(lambda tx: tx.put_person(torn))
        answer = ask(region, question()).result(60)
        assert (answer.disposition, answer.reason, answer.recorded) == ("fallback", "FAULT", True)
        assert answer.degraded == ("shortlist.failed",)
        kept(region, answer.decision_id)


def test_records_that_cannot_be_read_at_all_give_the_safe_default(tmp_path: Path) -> None:
    with region_of(tmp_path) as region:
        consenting(region, "ada")

        class Torn:
            def person(self, id_: str) -> None:
                raise OSError("the disk is gone")

        torn: Any = Torn()
        answer = msgspec.structs.replace(region.decide, records=torn).run(question())
        assert (answer.recorded, answer.degraded, answer.offer) == (False, ("decision.failed",), None)
        assert region.gate.under_way == 0
