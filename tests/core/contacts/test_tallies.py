"""What everybody has used of a limit is never told too low, and at most a 64th of the period too long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from opportune.core.contacts import Tally, hold_end_ms, holding, settled, used_at
from opportune.core.contacts.tallies import HOLD_PARTS, SLACK_MS, TILES

PER_MS = 64_000
TTL_MS = 32_000
TILE_MS = PER_MS // TILES
STEPS = st.lists(
    st.tuples(st.integers(0, 9_000), st.sampled_from(("hold", "deliver", "release", "late")), st.integers(1, 5)),
    min_size=1, max_size=40,
)  # fmt: skip


class Naive:
    """Every contact by itself: [units, reserved until, delivered at]."""

    def __init__(self) -> None:
        self.rows: list[list[int | None]] = []

    def used(self, now_ms: int, per_ms: int) -> int:
        return sum(
            int(units or 0)
            for units, until_ms, delivered_ms in self.rows
            if (delivered_ms is None and until_ms is not None and until_ms > now_ms)
            or (delivered_ms is not None and delivered_ms > now_ms - per_ms)
        )


@given(STEPS)
def test_a_tally_is_never_below_the_truth_and_a_64th_of_the_period_above_it_at_most(
    steps: list[tuple[int, str, int]],
) -> None:
    now_ms, tally, naive = 1_000_000, None, Naive()
    open_: list[tuple[list[int | None], int]] = []
    for pause_ms, kind, units in steps:
        now_ms += pause_ms
        if kind == "hold" or not open_:
            row: list[int | None] = [units, now_ms + TTL_MS, None]
            end_ms = hold_end_ms(now_ms + TTL_MS, TTL_MS)
            assert now_ms + TTL_MS <= end_ms < now_ms + TTL_MS + TTL_MS / HOLD_PARTS
            tally = holding(tally, "t", PER_MS, end_ms, units, now_ms)
            naive.rows.append(row)
            open_.append((row, end_ms))
        else:
            row, end_ms = open_.pop(0)
            assert tally is not None
            at_ms = None if kind == "release" else now_ms
            tally = settled(tally, end_ms, int(row[0] or 0), now_ms, at_ms)
            row[1], row[2] = None, at_ms
        for later_ms in (now_ms, now_ms + 5_000, now_ms + PER_MS - 1, now_ms + PER_MS, now_ms + 2 * PER_MS):
            told = used_at(tally, PER_MS, later_ms)
            assert told >= naive.used(later_ms, PER_MS)
            slack_ms = max(TILE_MS, TTL_MS // HOLD_PARTS)
            earlier = max(naive.used(at, PER_MS) for at in range(later_ms - slack_ms, later_ms + 1, 100))
            assert told <= max(earlier, naive.used(later_ms - slack_ms, PER_MS)) + _between(naive, later_ms, slack_ms)
        assert tally is not None
        assert len(tally.spent) <= TILES + 2 + SLACK_MS // TILE_MS
        assert len(tally.held) <= HOLD_PARTS + 2 + SLACK_MS // (TTL_MS // HOLD_PARTS)


def _between(naive: Naive, now_ms: int, slack_ms: int) -> int:
    """What ended within the slack before now, one after the other: the tally may still count all of it."""
    return sum(
        int(units or 0)
        for units, until_ms, delivered_ms in naive.rows
        for end_ms in ((until_ms or 0) if delivered_ms is None else delivered_ms + PER_MS,)
        if now_ms - slack_ms <= end_ms <= now_ms
    )


@given(st.integers(0, 10**13), st.integers(1, 5), st.sampled_from((PER_MS // 2, PER_MS, 3 * PER_MS)))
def test_a_period_that_is_changed_holds_for_what_was_there_before(now_ms: int, units: int, per_ms: int) -> None:
    end_ms = hold_end_ms(now_ms + TTL_MS, TTL_MS)
    tally = settled(holding(None, "t", PER_MS, end_ms, units, now_ms), end_ms, units, now_ms, now_ms)
    assert used_at(tally, per_ms, now_ms + per_ms - 1) == units
    assert used_at(tally, per_ms, now_ms + per_ms + TILE_MS) == 0
    again = holding(tally, "t", per_ms, hold_end_ms(now_ms + TTL_MS, TTL_MS), 1, now_ms)
    assert again.per_ms == per_ms
    assert used_at(again, per_ms, now_ms + min(per_ms, TTL_MS) - 1) == units + 1


def test_what_is_settled_late_counts_and_what_is_given_back_late_takes_nothing_away() -> None:
    end_ms = hold_end_ms(TTL_MS, TTL_MS)
    tally = holding(None, "t", PER_MS, end_ms, 3, 0)
    late_ms = end_ms + 10
    assert used_at(tally, PER_MS, late_ms) == 0
    # Others came and went meanwhile, so that the entry itself is gone.
    tally = holding(tally, "t", PER_MS, late_ms + TTL_MS, 1, late_ms)
    assert used_at(settled(tally, end_ms, 3, late_ms, late_ms), PER_MS, late_ms) == 4
    assert used_at(settled(tally, end_ms, 3, late_ms, None), PER_MS, late_ms) == 1


def test_what_is_forgotten_stays_forgotten() -> None:
    """A decision of an earlier time that is recorded later does not make the tally know that time again."""
    tally = holding(None, "t", PER_MS, 10_000, 2, 0)
    tally = settled(holding(tally, "t", PER_MS, 90_000, 1, 20_000), 90_000, 1, 20_000, None)
    assert (tally.since_ms, tally.used) == (20_000 - SLACK_MS, 0)
    assert holding(tally, "t", PER_MS, 50_000, 1, 9_000).since_ms == 20_000 - SLACK_MS


def test_what_ended_a_moment_ago_is_known_to_who_decided_before() -> None:
    tally = holding(None, "t", PER_MS, 10_000, 2, 0)
    tally = holding(tally, "t", PER_MS, 90_000, 1, 10_000 + SLACK_MS - 1)
    assert used_at(tally, PER_MS, 9_999) == 3
    assert used_at(tally, PER_MS, 10_000) == 1


def test_a_tally_of_nobody_uses_nothing() -> None:
    assert used_at(None, PER_MS, 5) == 0
    assert used_at(Tally("t", PER_MS), PER_MS, 5) == 0
