"""Over a real server: what hangs holds up nobody, whoever is shed is recorded, what fails is said where people look."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Semaphore
from typing import Any

import msgspec
import pytest
from door import MOMENT, Door, Reply, served

from opportune.flows.breakers import IN_A_ROW, Breakers
from opportune.flows.guarded import MODEL_PLACES, Scoring, with_model
from opportune.flows.region import Region
from opportune.testing.faults import FaultyModel, FaultyRecords, OwnersModel, Switch


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with served(tmp_path_factory.mktemp("faults")) as found:
        yield found


@contextmanager
def faulty(region: Region, model: Switch | None = None, store: Switch | None = None) -> Iterator[None]:
    """The region decides by a model, or over a store, that does as its switch says, and knows of no failure yet."""
    before, known = region.decide, region.breakers
    region.breakers = fresh = Breakers(region.clock.tick_us)
    region.decide = msgspec.structs.replace(
        before, breakers=fresh, scoring=Scoring(fresh, region.clock.tick_us), store=fresh.of_the_store()
    )
    if model is not None:
        brain = region.releases.brain()
        other = with_model(brain, FaultyModel(model, OwnersModel(brain)))
        region.decide = msgspec.structs.replace(region.decide, brain=lambda: other)
    if store is not None:
        region.decide = msgspec.structs.replace(region.decide, records=FaultyRecords.over(store, region.records))
    try:
        yield
    finally:
        for switch in (model, store):
            if switch is not None:
                switch.to("fine")
        region.decide, region.breakers = before, known


def said_by(reply: Reply) -> dict[str, Any]:
    """The answer, with what is left out when it goes without saying."""
    assert reply.status == 200, reply
    return {"degraded": [], "recorded": True, "grant": None, "model": None, **reply.json()}


def test_a_model_that_hangs_holds_up_nobody_else(door: Door) -> None:
    who, other = door.customer(), door.customer()
    hangs = Semaphore(0)
    switch = Switch(blocked=hangs.release)
    with faulty(door.region, model=switch):
        assert said_by(door.decide(who))["degraded"] == []
        switch.to("hung")
        asked = {"customer": {"id": other}, "moment": MOMENT, "budget_ms": 10_000}
        with ThreadPoolExecutor(2) as pool:
            waiting = pool.submit(door.decide, who, budget_ms=10_000)
            preview = pool.submit(door.post, "/v1/decisions/preview", asked)
            assert hangs.acquire(timeout=60)
            assert hangs.acquire(timeout=60)
            # They wait for the model for 9 s; meanwhile the loop answers everybody.
            assert door.get("/healthz").status == 200
            assert not preview.done()
            late = said_by(door.decide(other, budget_ms=600))
            assert not waiting.done()
            switch.to("fine")
            found = said_by(waiting.result(60))
        assert (late["degraded"], late["recorded"], late["model"]) == (["score.late"], True, None)
        assert said_by(preview.result(60))["degraded"] == []
        assert (found["degraded"], found["recorded"]) == ([], True)


def test_a_model_that_keeps_failing_is_named_where_people_look(door: Door) -> None:
    customers = [door.customer() for _ in range(IN_A_ROW + 1)]
    switch = Switch()
    with faulty(door.region, model=switch):
        switch.to("garbage")
        said = [said_by(door.decide(who))["degraded"] for who in customers]
        assert said == [["score.failed"]] * IN_A_ROW + [["score.open"]]
        assert door.get("/readyz").json()["not_asked"] == ["score"]
        metrics = door.get("/metrics").body.decode()
    assert 'opportune_breaker_open{source="score"} 1' in metrics
    assert 'opportune_missing_total{what="score.open"} ' in metrics
    assert "opportune_decision_places " in metrics
    assert 'opportune_shed_total{class="batch"} ' in metrics


@pytest.mark.parametrize(("mode", "said"), [("hung", "late"), ("failing", "failed"), ("garbage", "failed")])
def test_without_a_store_everybody_gets_the_safe_default_and_nothing_is_offered(
    door: Door, mode: Any, said: str
) -> None:
    who = door.customer()
    switch = Switch()
    with faulty(door.region, store=switch):
        assert said_by(door.decide(who, limit=2))["recorded"]
        switch.to(mode)
        reply = door.decide(who, budget_ms=500)
        answer = said_by(reply)
        assert (answer["degraded"], answer["recorded"], answer["offer"]) == ([f"record.{said}"], False, None)
        assert answer["grant"] is None
        assert f"record.{said}" in answer["explanation"]["auditor"]


def test_many_more_than_there_are_places_all_get_an_answer_that_is_recorded(door: Door) -> None:
    customers = [door.customer() for _ in range(4)]
    switch = Switch()
    counts = door.region.records.counts
    before = counts().get("decisions", 0)
    with faulty(door.region, model=switch), ThreadPoolExecutor(3 * MODEL_PLACES) as pool:
        switch.to("slow")
        switch.slow_s = 0.02
        asked = [
            pool.submit(door.decide, customers[n % 4], budget_ms=2_000, priority=("batch", None)[n % 2])
            for n in range(6 * MODEL_PLACES)
        ]
        answers = [said_by(one.result(60)) for one in asked]
    assert all(one["recorded"] for one in answers)
    assert counts()["decisions"] == before + len(answers)
    assert door.region.gate.under_way == 0


def test_a_shed_answer_has_a_page_and_a_place_in_the_ledger(door: Door) -> None:
    who = door.customer()
    region = door.region
    taken = 0
    while region.gate.enter("critical"):
        taken += 1
    try:
        reply = door.decide(who, budget_ms=1_000, idempotency_key="shed")
    finally:
        for _ in range(taken):
            region.gate.leave()
    answer = said_by(reply)
    assert (answer["disposition"], answer["reason"], answer["recorded"]) == ("shed", "OVERLOAD", True)
    assert answer["timings_us"]["admit"] >= 400_000  # it waited for two fifths of its budget
    page = door.get(f"/v1/decisions/{answer['decision_id']}")
    assert (page.status, page.json()["answer"]["reason"]) == (200, "OVERLOAD")
    assert door.post(f"/v1/decisions/{answer['decision_id']}/replay", {}).json()["same"] is True
    assert said_by(door.decide(who, idempotency_key="shed"))["disposition"] == "offered"


def test_a_class_that_is_none_is_refused(door: Door) -> None:
    code, fields, _ = door.decide(door.customer(), priority="vip").problem(422)
    assert (code, fields) == ("invalid-question", ["priority"])
