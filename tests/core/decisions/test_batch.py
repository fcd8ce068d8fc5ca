"""A batch gives every customer the answer that the kernel gives the customer alone, to the bit."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import random_release

from opportune.core.decisions import batch
from opportune.core.decisions.arbitration import scored_rows
from opportune.core.decisions.batch import DISPOSITIONS, REASONS, Answers, RowBrain
from opportune.core.decisions.batch_rows import rows_of_seen
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.kernel import run
from opportune.core.decisions.records import Asked, Result, Seen

CUSTOMERS = 120


class Quiet:
    """No fault at any step."""

    def before(self, step: str) -> str | None:
        return None


def check(brain: Brain, answers: Answers, row: int, seen: Seen, result: Result) -> None:
    """One row of a batch against the kernel's result."""
    candidate = int(answers.candidate[row])
    shown = None if candidate < 0 else brain.candidates[candidate]
    drawn = result.would or (None if result.offer is None else f"{result.offer}@{result.channel}")
    scored = {one.candidate: one for one in scored_rows(brain, result.scored, seen, result.model)}

    assert DISPOSITIONS[answers.disposition[row]] == result.disposition
    assert REASONS[answers.reason[row]] == result.reason
    assert (None if shown is None else shown.id) == drawn
    assert float(answers.value[row]).hex() == result.value.hex()
    assert float(answers.probability[row]).hex() == result.action_probability.hex()
    if drawn is None:
        assert np.isnan([answers.confidence[row], answers.p_accept[row], answers.uplift[row]]).all()
    else:
        assert answers.confidence[row] == result.confidence
        assert answers.p_accept[row] == scored[drawn].p_accept
        assert answers.uplift[row] == scored[drawn].uplift


def compare(seed: int) -> Counter[str]:
    """One random release, its customers in a batch and alone; how often each reason came."""
    rng = random.Random(f"rows {seed}")
    brain = random_release.brain(seed)
    moment = rng.choice(random_release.MOMENTS)
    channels = tuple(name for name in random_release.CHANNELS if rng.random() < 0.8 and seed % 20)
    room = random_release.room(rng, brain)
    believed = [random_release.beliefs(random.Random(f"beliefs {seed} {part}"), brain) for part in range(3)]
    seen: list[Seen] = [random_release.seen(rng, number, room, believed) for number in range(CUSTOMERS)]
    asked: list[Asked] = [random_release.asked(rng, number, moment, channels) for number in range(CUSTOMERS)]
    ids = [f"batch-{seed}/{number}" for number in range(CUSTOMERS)]
    rows = rows_of_seen(brain, moment, channels, ids, seen, [one.context for one in asked])
    answers = RowBrain(brain).decide(rows)
    reasons: Counter[str] = Counter()
    for row in range(CUSTOMERS):
        result = run(brain, asked[row], seen[row], ids[row], Quiet())
        check(brain, answers, row, seen[row], result)
        reasons[result.reason] += 1
    return reasons


@pytest.mark.slow
def test_a_batch_answers_as_the_kernel_does() -> None:
    """60 random releases, 7,200 customers: disposition, reason, candidate, value, chance and confidence."""
    reasons = sum((compare(seed) for seed in range(60)), Counter[str]())
    print(dict(reasons))

    expected = {
        "OFFERED", "EXPLORED", "FORCED", "NO_VALUE", "NO_CONSENT", "NOT_LAWFUL", "NOT_SUITABLE", "NOT_ELIGIBLE",
        "NO_PERMIT", "CONTACT_LIMIT", "QUIET_HOURS", "NOT_VALID_NOW", "NO_CANDIDATE", "HELD_OUT", "LOW_CONFIDENCE",
        "REVIEW_REQUIRED", "VOLUME_LIMIT", "BUDGET_SPENT",
    }  # fmt: skip
    assert expected - set(reasons) == set()


@pytest.mark.torture
def test_a_batch_answers_as_the_kernel_does_for_long() -> None:
    """1,000 random releases."""
    print(dict(sum((compare(seed) for seed in range(100, 1_100)), Counter[str]())))


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows are worked on at once, the answers are the same; none at all give none."""
    rng = random.Random(1)
    brain = random_release.brain(3)
    seen = [random_release.seen(rng, number) for number in range(50)]
    ids = [f"x{number}" for number in range(50)]
    rows = rows_of_seen(brain, random_release.MOMENTS[0], random_release.CHANNELS, ids, seen, [{}] * 50)
    whole = RowBrain(brain).decide(rows)
    monkeypatch.setattr(batch, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(batch, "CELLS_AT_ONCE", 3 * len(brain.candidates))
    parts = RowBrain(brain).decide(rows)

    for name in Answers.__struct_fields__:
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    assert len(RowBrain(brain).decide(rows.some(slice(0, 0))).reason) == 0
