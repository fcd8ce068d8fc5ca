"""Delays, shrinkage and tables against truth: unbiased at every age, and sure as often as they say."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from opportune.core.beliefs import Adaptive, Cell, Trial, compile_beliefs, form_of
from opportune.core.beliefs.delays import EDGES, cohorts_of, curve
from opportune.core.beliefs.shrink import shrink
from opportune.core.beliefs.table import BeliefTable, Row
from opportune.core.catalog import Candidate, Channel, Offer, Price, Prior, Treatment, candidates_of
from opportune.testing.world import newcomer
from opportune.testing.world.newcomer import CHANNELS, DAY_MS, SEGMENTS, TrueEffect

NOW_MS = 100 * DAY_MS


def offer(name: str, p_accept: float = 0.06, uplift: float = 0.03, kind: str = "addon") -> Offer:
    return Offer(
        offer=name, title=name, kind=kind, price=Price(amount=1.0), margin=100.0, owner="o",
        treatments={channel: Treatment(headline="x") for channel in CHANNELS},
        prior=Prior(p_accept=p_accept, uplift=uplift),
    )  # fmt: skip


def candidates(*offers: Offer) -> tuple[Candidate, ...]:
    return candidates_of(offers, [Channel(channel=one, title=one, kind="pull") for one in CHANNELS])


def flat(p_accept: float, base: float) -> TrueEffect:
    everywhere = [(channel, segment) for channel in CHANNELS for segment in SEGMENTS]
    return TrueEffect(dict.fromkeys(everywhere, p_accept), dict.fromkeys(everywhere, base))


def named(trials: Sequence[Trial], segment: str | None = None) -> list[Trial]:
    """In the words of a playbook that tells `tier` apart, or in one segment."""
    return [
        Trial(one.offer, one.channel, f"tier {one.segment}" if segment is None else segment, one.at_ms, one.shown,
              one.delay_ms)
        for one in trials
    ]  # fmt: skip


def table_of(adaptive: Adaptive, offers: Sequence[Offer], trials: Sequence[Trial], now_ms: int = NOW_MS) -> BeliefTable:
    cells = newcomer.counted(form_of(adaptive), trials, now_ms)
    return compile_beliefs(adaptive, candidates(*offers), cells.values(), {}, now_ms)


def pooled(table: BeliefTable) -> Row:
    return table.row(0, "")


# --- delays ----------------------------------------------------------------------------------------------------------


def test_the_curve_of_delays_is_found_although_most_windows_are_not_over() -> None:
    """Ninety days of exposures, a window of 60: the curve of a uniform delay, from two offers that sell 4 times apart,
    the better one of which is new: what began late does not bend it."""
    rng = random.Random(11)
    form = form_of(Adaptive(window="60d"))
    times = {"window_days": 60.0, "delay": lambda rng: rng.uniform(0.0, 60.0)}
    trials = newcomer.history(rng, {"one": flat(0.1, 0.05)}, [10.0, 100.0], 20_000, **times)  # type: ignore[arg-type]  # two types of settings
    trials += newcomer.history(rng, {"two": flat(0.4, 0.05)}, [80.0, 100.0], 8_000, **times)  # type: ignore[arg-type]  # likewise
    found = curve(form, cohorts_of(newcomer.counted(form, trials, NOW_MS).values()), NOW_MS, shown=True)

    assert np.abs(np.array(found.share) - EDGES).max() < 0.05
    assert found.purchases > 1_000


def test_before_any_purchase_a_curve_is_what_is_believed_and_ends_at_one() -> None:
    found = curve(form_of(Adaptive()), cohorts_of([]), NOW_MS, shown=True)
    assert found.share == pytest.approx(np.sqrt(EDGES))
    assert found.refunds == 0.0


def late_estimates(ages: Sequence[int], worlds: int) -> dict[int, tuple[float, float]]:
    """By age of an offer in days: (corrected, naive) acceptance in shares of the truth, where contracts take 30 to 365
    days; means over worlds."""
    adaptive = Adaptive(window="365d")
    sums = {age: np.zeros(2) for age in ages}
    for seed in range(worlds):
        rng = random.Random(f"late {seed}")
        times = {"window_days": 365.0, "delay": newcomer.slow}
        trials = newcomer.history(rng, {"known": flat(0.2, 0.1)}, [0.0, 730.0], 6_000, **times)  # type: ignore[arg-type]  # two types of settings
        trials += newcomer.history(rng, {"new": flat(0.1, 0.05)}, [730.0, 730.0 + max(ages)], 8_000, **times)  # type: ignore[arg-type]  # likewise
        for age in ages:
            table = table_of(adaptive, [offer("new", 0.1, 0.05), offer("known", 0.2, 0.1)], named(trials, ""),
                             (730 + age) * DAY_MS)  # fmt: skip
            rows = [table.row(place, "") for place in (0, 1)]
            bought, shown = sum(row.bought for row in rows), sum(row.shown for row in rows)
            counted = sum(row.counted for row in rows)
            sums[age] += (bought / counted / 0.1 / worlds, bought / shown / 0.1 / worlds)
    return {age: (float(found[0]), float(found[1])) for age, found in sums.items()}


def test_late_purchases_are_foreseen_and_correct_what_was_believed_without_a_reset() -> None:
    found = late_estimates((90, 180, 365), 4)
    print(found)
    for age, tolerance in ((90, 0.3), (180, 0.12), (365, 0.08)):
        corrected, naive = found[age]
        assert abs(corrected - 1.0) < tolerance
        assert naive < corrected - 0.2


def test_a_purchase_that_is_often_taken_back_counts_for_the_chance_that_it_stays() -> None:
    adaptive = Adaptive(window="60d")
    rng = random.Random(3)
    trials = named(newcomer.history(rng, {"one": flat(0.3, 0.1)}, [0.0, 100.0], 4_000, window_days=60.0,
                                    delay=newcomer.quick), "")  # fmt: skip
    # Every second purchase is taken back at some time within the window.
    cut = [
        Trial(one.offer, one.channel, "", one.at_ms, True, None, True)
        if one.delay_ms is not None and number % 2 and one.at_ms + rng.uniform(0.0, 60.0) * DAY_MS < NOW_MS else one
        for number, one in enumerate(trials)
    ]  # fmt: skip
    kept, half = (pooled(table_of(adaptive, [offer("one", 0.3)], some)) for some in (trials, cut))
    assert half.bought / kept.bought > 0.6
    assert half.p_accept == pytest.approx(kept.p_accept * 0.5, rel=0.1)


# --- shrinkage -------------------------------------------------------------------------------------------------------


def one_leaf(sold: float, expected: float, spreads: Sequence[float]) -> tuple[float, float]:
    zero = np.zeros(1, np.int64)
    found = shrink(np.array([sold]), np.array([expected]), [zero] * (len(spreads) - 1), spreads)
    return float(found.mean[0]), float(found.shape[0])


@pytest.mark.parametrize(("sold", "expected"), [(0.0, 0.0), (0.0, 5.0), (10.0, 2.0), (3.0, 3.0)])
def test_one_leaf_alone_is_the_gamma_posterior_whose_variances_add_up(sold: float, expected: float) -> None:
    shape = 1.0 / (0.125 + 0.125 + 0.08 + 0.12)
    mean, found = one_leaf(sold, expected, (0.12, 0.08, 0.125, 0.125))

    assert mean == pytest.approx((sold + shape) / (expected + shape))
    assert found == pytest.approx(sold + shape)


def test_relatives_teach_a_leaf_the_nearer_the_more_and_its_own_evidence_takes_over() -> None:
    """Leaves 0, 1 of one offer, 2 of a sister, 3 of another kind; only the first and others have evidence."""
    leaf, candidate, offers = np.arange(4), np.array([0, 0, 1, 2]), np.array([0, 0, 1])
    spreads = (0.12, 0.08, 0.125, 0.125)

    def means(sold: list[float], expected: list[float]) -> list[float]:
        return list(shrink(np.array(sold), np.array(expected), [leaf, candidate, offers], spreads).mean.tolist())

    taught = means([20.0, 0.0, 0.0, 0.0], [5.0, 0.0, 0.0, 0.0])
    assert taught[0] > taught[1] > taught[2] > taught[3] == pytest.approx(1.0)
    alone = means([20.0, 400.0, 0.0, 0.0], [5.0, 400.0, 0.0, 0.0])
    assert alone[1] == pytest.approx(1.0, abs=0.03)
    assert alone[0] < taught[0]


def test_truths_are_within_intervals_as_often_as_they_say() -> None:
    """60 worlds x 6 leaves after 400 exposures: owners of the kind err together, offers and segments each for itself.
    90 % intervals hold 80 to 97 %."""
    adaptive = Adaptive(segments={"tier": SEGMENTS})
    held: list[bool] = []
    for seed in range(60):
        rng = random.Random(f"coverage {seed}")
        kind_error = math.exp(rng.gauss(-0.06, 0.35))
        new = newcomer.drawn_effect(rng, 0.06, 0.03, kind_error=kind_error, spread=0.35)
        old = newcomer.drawn_effect(rng, 0.06, 0.03, kind_error=kind_error, spread=0.35)
        times = {"window_days": 14.0, "delay": newcomer.quick}
        trials = newcomer.history(rng, {"old": old}, [0.0, 100.0], 1_500, **times)  # type: ignore[arg-type]  # two types of settings
        trials += newcomer.history(rng, {"new": new}, [80.0, 100.0], 440, **times)  # type: ignore[arg-type]  # likewise
        table = table_of(adaptive, [offer("new"), offer("old")], named(trials))
        for place, channel in enumerate(CHANNELS):
            for segment in SEGMENTS:
                row = table.row(place, f"tier {segment}")
                truths = (new.shown[channel, segment], new.uplift(channel, segment))
                for (_, low, high), truth in zip(row.intervals(1.6449), truths, strict=True):
                    held.append(low <= truth <= high)
    print(sum(held) / len(held))
    assert 0.80 < sum(held) / len(held) < 0.97


def test_a_new_offer_starts_from_its_owners_belief_as_far_as_its_kind_bears_it_out() -> None:
    """All owners of addons hoped for twice of what came; the newest, and one of another kind, have no history."""
    rng = random.Random(9)
    sold = {f"old_{number}": flat(0.03, 0.015) for number in range(4)}
    trials = newcomer.history(rng, sold, [0.0, 100.0], 3_000, window_days=14.0, delay=newcomer.quick)
    book = [offer("new"), offer("plan", kind="plan"), *(offer(name) for name in sold)]
    table = table_of(Adaptive(), book, named(trials, ""))

    new = table.row(0, "")
    assert 0.03 < new.p_accept < 0.045
    assert new.shown == 0
    assert 0.0 < new.uplift < 0.025
    believed = table.seen({}, CHANNELS)
    assert believed is not None
    assert not any(one.startswith("plan@") for one in believed.candidates)
    assert believed.alike[0][0] == "addon"
    assert believed.alike[0][1] > 10_000


def test_a_segment_nobody_was_seen_in_borrows_from_the_others() -> None:
    adaptive = Adaptive(segments={"tier": SEGMENTS})
    trials = named(newcomer.history(random.Random(2), {"one": flat(0.2, 0.1)}, [0.0, 100.0], 3_000, window_days=14.0,
                                    delay=newcomer.quick))  # fmt: skip
    table = table_of(adaptive, [offer("one")], [one for one in trials if one.segment != "tier large"])
    unseen, seen = table.row(0, "tier large"), table.row(0, "tier small")
    assert 0.12 < unseen.p_accept < 0.22
    assert unseen.p_accept_se > seen.p_accept_se


def test_a_model_that_learned_from_enough_rows_leaves_nothing_to_believe() -> None:
    trials = named(newcomer.history(random.Random(2), {"one": flat(0.2, 0.1)}, [0.0, 100.0], 300, window_days=14.0,
                                    delay=newcomer.quick), "")  # fmt: skip
    adaptive = Adaptive(handover=800)
    cells: list[Cell] = list(newcomer.counted(form_of(adaptive), trials, NOW_MS).values())
    for rows, share in ((0, 1000), (200, 750), (799, 1), (800, None), (5_000, None)):
        table = compile_beliefs(adaptive, candidates(offer("one")), cells, {"one": rows}, NOW_MS)
        found = table.seen({}, CHANNELS)
        assert (None if found is None else found.shares[0]) == share
