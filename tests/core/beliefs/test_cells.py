"""Cells: exact whatever the order and however late, and nothing of a person in them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opportune.core.beliefs import Adaptive, Cell, Event, Trial, empty_cell, form_of, settled, standing, with_trial
from opportune.core.beliefs.cells import COHORTS, STEPS, step_of

DAY_MS = 86_400_000
FORM = form_of(Adaptive(window="30d"))
TRIALS = st.builds(
    Trial, st.just("o"), st.just("c"), st.just("s"), st.integers(0, 90 * DAY_MS), st.booleans(),
    st.none() | st.integers(0, FORM.window_ms), st.booleans(),
)  # fmt: skip


@given(st.lists(TRIALS, max_size=30), st.randoms(use_true_random=False), st.integers(60, 120))
def test_the_same_trials_give_the_same_cell_in_any_order(trials: list[Trial], rng: random.Random, day: int) -> None:
    """Counted at different times, with some counted wrongly first and taken back later."""
    now_ms = day * DAY_MS
    one = empty_cell(FORM, Trial("o", "c", "s", 0, True))
    for trial in trials:
        one = with_trial(FORM, one, trial, now_ms)
    other = empty_cell(FORM, Trial("o", "c", "s", 0, True))
    steps = [(trial, 1) for trial in trials]
    for trial in rng.sample(trials, len(trials) // 2):
        at = rng.randrange(len(steps) + 1)
        steps.insert(at, (trial, 1))
        steps.insert(rng.randrange(at + 1, len(steps) + 1), (trial, -1))
    rng.shuffle(steps)
    times = sorted(rng.randrange(now_ms + 1) for _ in steps)
    for (trial, sign), at_ms in zip(steps, times, strict=True):
        other = with_trial(FORM, other, trial, at_ms, sign)

    assert settled(FORM, other, now_ms) == settled(FORM, one, now_ms)


@pytest.mark.parametrize(
    ("events", "delay", "revoked"),
    [
        ([], None, False),
        ([(5, "converted")], 5, False),
        ([(9, "converted"), (5, "converted")], 5, False),
        ([(5, "converted"), (900, "churned")], None, True),
        ([(5, "converted"), (6, "converted", -10.0)], None, True),
        ([(5, "converted"), (7, "churned"), (20, "converted")], 20, True),
        ([(FORM.window_ms + 1, "converted")], None, False),
        ([(4, "churned"), (5, "converted")], 5, False),
        ([(5, "accepted"), (6, "declined")], None, False),
    ],
)
def test_a_trial_stands_as_its_outcomes_leave_it(events: list[Any], delay: int | None, revoked: bool) -> None:
    trial = Trial("o", "c", "", 0, False)
    found = standing(FORM, trial, [Event(*one) for one in events])

    assert found == Trial("o", "c", "", 0, False, delay, revoked)


def test_an_offer_that_arrived_nowhere_is_no_trial_and_anothers_purchase_does_not_make_it_one() -> None:
    trial = Trial("o", "c", "", 0, True)

    assert standing(FORM, trial, []) is None
    assert standing(FORM, trial, [Event(5, "converted", 0.0, False)]) is None
    found = standing(FORM, trial, [Event(5, "converted", 0.0, False), Event(900, "seen")])
    assert found is not None
    assert found.delay_ms == 5


def test_what_counts_as_a_purchase_can_be_an_acceptance() -> None:
    form = form_of(Adaptive(window="30d", success="accepted"))
    found = standing(form, Trial("o", "c", "", 0, True), [Event(5, "accepted")])
    assert found is not None
    assert found.delay_ms == 5


def test_a_cell_stays_small_over_years() -> None:
    rng = random.Random(5)
    cell = empty_cell(FORM, Trial("o", "c", "s", 0, True))
    for day in range(1_000):
        for _ in range(3):
            trial = Trial("o", "c", "s", day * DAY_MS + rng.randrange(DAY_MS), rng.random() < 0.8)
            cell = with_trial(FORM, cell, trial, (day + 1) * DAY_MS)
    assert len(cell.cohorts) <= COHORTS + 2
    assert sum(one.shown + one.control for one in cell.every) == 3_000


def test_steps_are_short_first_and_cover_the_window() -> None:
    steps = [step_of(FORM, FORM.window_ms * part // 10_000) for part in range(10_001)]
    assert steps == sorted(steps)
    assert set(steps) == set(range(STEPS))
    assert steps.count(0) < steps.count(STEPS - 2)


def test_forms_differ_by_what_is_counted_alone() -> None:
    plain = Adaptive()
    same = [Adaptive(strength=9.0), Adaptive(handover=5), Adaptive(optimism=0.0)]
    others = [Adaptive(window="15d"), Adaptive(success="accepted"), Adaptive(segments={"plan": ("a",)})]
    assert {form_of(one).key for one in same} == {form_of(plain).key}
    assert len({form_of(one).key for one in [plain, *others]}) == 4
    assert Cell("i", "f", "o", "c", "s").every[0].shown == 0
