"""Apprentices: what a learner or a release would have done beside the one that decides, and what that would earn.

A learner is judged by the calls to rank whose rewards are settled. A release is judged by recorded decisions: each
holds the snapshot it rested on, so that the other release runs on the same ones, without effects and as often as one
likes. Values come from the chances that were logged (`core/offpolicy`), with intervals, or with the reason why the log
cannot say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from opportune.core.bandits.joined import Joined, Judged
from opportune.core.decisions.differences import Differences
from opportune.core.offpolicy.estimators import estimated, snips
from opportune.core.offpolicy.log import Log
from opportune.core.offpolicy.overlap import overlap_of
from opportune.flows.region import Region
from opportune.flows.replay import compare_window

LEAST = 10
"""Of fewer calls nothing is worked out."""


class Worth(msgspec.Struct, frozen=True):
    """What a policy earns per call: the estimate (SNIPS) with its 95 % interval, or None with `reasons` why the log
    cannot say."""

    value: float | None
    low: float | None
    high: float | None
    grade: Literal["good", "weak", "none"]
    effective_calls: float
    reasons: tuple[str, ...]


class LearnerReport(msgspec.Struct, frozen=True):
    """A Personalizer's learner beside the application's own choice (the first action of each call).

    `matching` is how often what was shown is what the learner alone would have shown; `earned` the average reward;
    `earned_where_matching` that of those calls. `modelled_gain` is how much more the learner itself expects of its
    choice than of the baseline: no evidence, but there before any exploration.
    """

    mode: str
    calls: int
    waiting: int
    counted: Mapping[str, int]
    matching: float | None
    earned: float | None
    earned_where_matching: float | None
    modelled_gain: float | None
    baseline: Worth | None
    learner: Worth | None


class ReleaseReport(msgspec.Struct, frozen=True):
    """A release beside those that decided, on the same snapshots: how many answers are the same, and all that differs.

    `live` is the release that is live now; decisions of the window may be older than it.
    """

    release: str
    live: str | None
    decisions: int
    matching: float | None
    differences: Differences


def learner_report(region: Region, last: int) -> LearnerReport:
    """The newest settled calls to rank. Raises RankError when the live release has no `personalizer:`."""
    setting = region.personalize.setting()
    with region.personalize.reading() as joined:
        judged = list(joined.judged)[-last:]
        return report_of(setting.mode, joined, judged)


def release_report(
    region: Region, release: str, last: int, tell: Callable[[int], None] = lambda done: None
) -> ReleaseReport:
    """The newest recorded decisions again under `release` (its full hash); writes nothing. Raises LookupError."""
    other = region.releases.brain_of(release)
    found = compare_window(region.records, region.releases.brain_of, last, other, None, tell)
    matching = None if found.of == 0 else 1.0 - found.changed / found.of
    return ReleaseReport(release, region.records.live(), found.of, matching, found)


def report_of(mode: str, joined: Joined, judged: Sequence[Judged]) -> LearnerReport:
    """The report over these judged calls."""
    counted = {**msgspec.structs.asdict(joined.counted), "learned": joined.learner.learned}
    if not judged:
        return LearnerReport(mode, 0, joined.waiting, counted, None, None, None, None, None, None)
    matched = [one.reward for one in judged if one.is_wanted]
    enough = len(judged) >= LEAST
    return LearnerReport(
        mode,
        len(judged),
        joined.waiting,
        counted,
        len(matched) / len(judged),
        float(np.mean([one.reward for one in judged])),
        float(np.mean(matched)) if matched else None,
        float(np.mean([one.expected[0] - one.expected[1] for one in judged])),
        _worth(judged, "is_baseline", "baseline_chance") if enough else None,
        _worth(judged, "is_wanted", "wanted_chance") if enough else None,
    )


def _worth(judged: Sequence[Judged], same: str, chance: str) -> Worth:
    return worth_of(judged, [getattr(one, same) for one in judged], [getattr(one, chance) for one in judged])


def worth_of(judged: Sequence[Judged], same: Sequence[bool], chance: Sequence[float]) -> Worth:
    """What a policy earns that always does one thing: `same` says where that is what was done, `chance` how likely it
    was."""
    n = len(judged)
    action = np.where(same, 0, 1)
    # Two actions are enough: what the policy does, and anything else.
    behaviour = np.stack([np.array(chance), 1.0 - np.array(chance)], axis=1)
    target = np.tile(np.array([1.0, 0.0]), (n, 1))
    log = Log(
        ("as the policy does", "otherwise"),
        action.astype(np.int64),
        np.array([one.probability for one in judged]),
        np.array([one.reward for one in judged]),
        target,
        np.arange(n, dtype=np.int64),
        behaviour,
    )
    overlap = overlap_of(log)
    if overlap.grade == "none":
        return Worth(None, None, None, "none", overlap.effective_rows, overlap.reasons)
    found = estimated(snips(log), log)
    interval = found.interval
    return Worth(found.value, interval.low, interval.high, overlap.grade, overlap.effective_rows, overlap.reasons)
