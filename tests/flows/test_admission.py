"""The gate and the waiting room: who gets a place, waits or is shed, and how the limit follows what it measures."""

from __future__ import annotations

from random import Random

import pytest

from opportune.core.catalog import PriorityClass
from opportune.flows.admission import (
    GROWTH,
    PLACES_AT_FIRST,
    PLACES_MIN,
    RANKS,
    SHARES,
    SHRINKAGE,
    Gate,
    Limit,
    adapted,
    lowered,
    places_of,
)
from opportune.flows.waiting import WAIT_SHARE, Room

BUDGET_US = 100_000
FAST, SLOW = 10_000, 60_000


def after(limit: Limit, took_us: int, now_us: int, taken: int, most: int = 512) -> Limit:
    return adapted(limit, now_us - took_us, now_us, BUDGET_US, taken, most)


def test_fast_decisions_that_fill_it_let_the_limit_grow_up_to_the_most() -> None:
    assert after(Limit(100.0), FAST, 0, taken=50).places == 100.0 + GROWTH
    assert after(Limit(100.0), FAST, 0, taken=49).places == 100.0  # half of it was never needed
    limit = Limit(511.95)
    for _ in range(3):
        limit = after(limit, FAST, 0, taken=512)
    assert limit.places == 512


def test_a_slow_one_shrinks_it_once_for_all_who_met_the_same_jam() -> None:
    limit = after(Limit(100.0), SLOW, 1_000_000, taken=100)
    assert limit == Limit(100 * SHRINKAGE, 1_000_000)
    assert after(limit, SLOW, 1_000_000 + SLOW - 1, taken=100) == limit  # it began before
    assert after(limit, SLOW, 1_000_000 + SLOW, taken=100).places == 100 * SHRINKAGE**2


def test_it_never_falls_below_the_fewest_places_and_the_first_class_may_use_them_all() -> None:
    limit, now_us = Limit(100.0), 0
    for _ in range(50):
        now_us += 2 * SLOW
        limit = after(limit, SLOW, now_us, taken=100)
    assert limit.places == PLACES_MIN
    places = places_of(limit.places)
    assert places["critical"] == PLACES_MIN
    assert min(places.values()) >= 1
    assert [places[name] for name in SHARES] == sorted(places.values(), reverse=True)


@pytest.mark.parametrize("seed", range(20))
def test_it_settles_where_decisions_keep_their_budgets(seed: int) -> None:
    """A server of eight workers: what is let in beyond them only makes everybody slower."""
    random = Random(seed)
    limit, now_us, service_us, workers = Limit(128.0), 0, 4_000 + random.randrange(4_000), 8
    slow = 0
    for step in range(4_000):
        taken = int(limit.places)
        took_us = service_us * max(1.0, taken / workers) * random.uniform(0.9, 1.1)
        now_us += max(1, int(service_us / workers))
        if step > 1_000:
            slow += took_us > BUDGET_US * 0.7
        limit = adapted(limit, int(now_us - took_us), now_us, BUDGET_US, taken, 512)
    assert slow == 0
    assert limit.places >= workers  # and nobody of the workers is idle


def test_the_gate_learns_from_decisions_but_not_from_those_that_say_nothing() -> None:
    gate = Gate(512)
    for _ in range(PLACES_AT_FIRST):
        assert gate.enter("critical")
    assert not gate.enter("critical")
    gate.leave()
    assert gate.places == PLACES_AT_FIRST
    gate.leave_after(0, SLOW, BUDGET_US)
    assert (gate.places, gate.under_way) == (PLACES_AT_FIRST * SHRINKAGE, PLACES_AT_FIRST - 2)
    assert not gate.enter("critical")


def test_a_question_lowers_its_class_and_never_raises_it() -> None:
    classes: list[PriorityClass] = list(RANKS)
    for own in classes:
        assert lowered(own, None) == own
        for wish in classes:
            assert RANKS[lowered(own, wish)] == max(RANKS[own], RANKS[wish])


def room(places: int, most: int = 100) -> tuple[Room[str], Gate]:
    gate = Gate(places)
    return Room(gate, most), gate


def test_the_highest_class_is_next_and_within_a_class_who_came_first() -> None:
    waiting, gate = room(1)
    assert gate.enter("critical")
    for name, priority in (("b1", "batch"), ("i1", "interactive"), ("s1", "standard"), ("c1", "critical"),
                           ("i2", "interactive"), ("c2", "critical")):  # fmt: skip
        waiting.arrive(name, priority, 0, BUDGET_US)  # type: ignore[arg-type]
    assert (waiting.admitted(0), waiting.waiting) == (None, 6)
    order = []
    for _ in range(6):
        gate.leave()
        order.append(waiting.admitted(0))
    assert order == ["c1", "c2", "i1", "i2", "s1", "b1"]
    gate.leave()
    assert (waiting.admitted(0), bool(waiting)) == (None, False)


def test_a_class_that_may_not_have_the_next_place_leaves_it_to_the_first() -> None:
    waiting, gate = room(4)
    for _ in range(3):
        assert gate.enter("critical")
    waiting.arrive("batch", "batch", 0, BUDGET_US)
    assert waiting.admitted(0) is None  # half of four are taken
    waiting.arrive("critical", "critical", 0, BUDGET_US)
    assert waiting.admitted(0) == "critical"


def test_who_waited_too_long_is_shed_and_not_decided() -> None:
    waiting, gate = room(1)
    waiting.arrive("short", "batch", 0, 10_000)
    waiting.arrive("long", "batch", 0, BUDGET_US)
    now_us = int(10_000 * WAIT_SHARE) + 1
    assert waiting.admitted(now_us) == "long"
    assert list(waiting.turned_away()) == ["short"]
    waiting.arrive("other", "critical", 0, 10_000)
    waiting.tidy(now_us)
    assert (list(waiting.turned_away()), waiting.waiting, gate.under_way) == (["other"], 0, 1)


def test_when_it_is_full_the_last_of_the_lowest_class_goes() -> None:
    waiting, _ = room(1, most=3)
    for name, priority in (("s1", "standard"), ("b1", "batch"), ("b2", "batch"), ("i1", "interactive"),
                           ("b3", "batch"), ("c1", "critical"), ("s2", "standard"), ("c2", "critical")):  # fmt: skip
        waiting.arrive(name, priority, 0, BUDGET_US)  # type: ignore[arg-type]
    assert list(waiting.turned_away()) == ["b2", "b3", "b1", "s2", "s1"]
    assert waiting.waiting == 3


@pytest.mark.parametrize("seed", range(50))
def test_nobody_is_decided_while_a_higher_class_waits_and_everybody_gets_one_answer(seed: int) -> None:
    random = Random(seed)
    waiting, gate = room(random.randint(1, 6), most=random.randint(2, 20))
    now_us, in_room, ends = 0, dict[str, tuple[int, int]](), list[str]()
    for step in range(400):
        now_us += random.randrange(5_000)
        if random.random() < 0.6:
            priority = random.choice(list(RANKS))
            waiting.arrive(f"{step}", priority, now_us, BUDGET_US)
            in_room[f"{step}"] = RANKS[priority], now_us
        if gate.under_way and random.random() < 0.5:
            gate.leave()
        if random.random() < 0.1:
            waiting.tidy(now_us)
        found = waiting.admitted(now_us) if random.random() < 0.7 else None
        away = list(waiting.turned_away())
        for one in away:
            rank, since_us = in_room.pop(one)
            worst = max((rank for rank, _ in in_room.values()), default=0)
            assert now_us - since_us > BUDGET_US * WAIT_SHARE or rank >= worst
        if found is not None:
            rank, _ = in_room.pop(found)
            assert all(rank <= other for other, _ in in_room.values())
        ends += [*away, *([found] if found else [])]
    assert len(ends) == len(set(ends))
    assert waiting.waiting == len(in_room)
