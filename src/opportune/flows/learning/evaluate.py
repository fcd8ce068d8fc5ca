"""What a release would have earned over the system's own log, from the chances that were logged.

1. find the decisions of the window whose outcomes had time to come
2. distribute: what the release that decided could have done, and what the one that is judged would do, as chances
3. join what came of each decision, and what was bought without an offer
4. learn what each action earns, for each row from other customers' rows alone
5. judge: value, difference and overlap, or why the log cannot say

Hold-out: its units were offered nothing by chance of their own (`holdout.share`), which is a chance of NO_OFFER that
is known; what is estimated is per decision of those who are not in it. Review: a candidate that went to a person
first is another action than the candidate alone, whatever the person did. Forced: an action with chance 1, so that
the others are known never to have been tried. Left out, and counted: `shed` and `fallback` (nothing was drawn),
slates (several offers at once), decisions whose window is not over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from opportune.core.decisions.brain import Brain
from opportune.core.decisions.chances import NO_OFFER, chances, done
from opportune.core.decisions.kernel import ScoreFailed
from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.offpolicy import Judgement, Log, LogError, RewardLearner, check_log, cross_fitted, encoded, judge
from opportune.flows.region import Region
from opportune.flows.replay import check_segment, pages
from opportune.ports import Records, StoredDecision, StoredOutcome

Reward = Literal["conversion", "value", "acceptance", "click", "complaint"]

KINDS: Mapping[Reward, frozenset[str]] = {
    "conversion": frozenset({"converted"}),
    "value": frozenset({"converted"}),
    "acceptance": frozenset({"accepted", "converted"}),
    "click": frozenset({"clicked", "accepted", "converted"}),
    "complaint": frozenset({"complained"}),
}
"""Which outcomes are a reward of 1; for `value` their amounts are added up."""

ROWS_MIN = 200
NOT_OVER = "the window for outcomes is not over"
SAME = 1e-6
"""A chance that is worked out again is the recorded one up to this."""


class Evaluation(msgspec.Struct, frozen=True):
    """What a release would have earned per decision, and what this rests on.

    `reward` is per decision: a share, or money for `value` in the playbook's currency. `window_ms` is how long an
    outcome counts. `decisions` were looked at; `left_out` says why some were not judged, `late` how many outcomes
    came after the window, `unplaced` how many purchases belong to no decision that is judged. `from_ms` and `to_ms`
    are the first and the last decision judged.
    """

    release: str
    reward: Reward
    window_ms: int
    currency: str
    decisions: int
    left_out: Mapping[str, int]
    late: int
    unplaced: int
    from_ms: int
    to_ms: int
    judgement: Judgement


class _Row(msgspec.Struct, frozen=True):
    """A decision that is judged."""

    id: str
    at_ms: int
    unit: str
    moment: str
    features: Mapping[str, Any]
    action: str
    logged: Mapping[str, float]
    before: Mapping[str, float]
    after: Mapping[str, float]


def evaluate(
    region: Region, release: str, learner: RewardLearner, *, last: int, since_ms: int = 0,
    reward: Reward = "conversion", window_ms: int, by: Sequence[str] = (),
    tell: Callable[[int], None] = lambda done: None, seed: int = 0,
) -> Evaluation:  # fmt: skip
    """Judges a stored release by the newest `last` decisions since `since_ms`. The same records give the same answer.

    Raises LookupError for a release that is not stored, LogError where there is too little to judge by,
    QuestionError for a name in `by` that is no feature.
    """
    other = region.releases.brain_of(release)
    for name in by:
        check_segment(other, name)
    found = _Found(region.records, other, region.clock.now_ms() - window_ms, since_ms)
    # 1. find and 2. distribute
    rows = found.rows(region.releases.brain_of, last, tell)
    if len(rows) < ROWS_MIN:
        raise LogError("too_few", "last", _too_few(len(rows), found))
    # 3. join
    rewards, late, unplaced = _joined(region.records, rows, found.times, reward, window_ms)
    # 4. learn
    log, before = _log(rows, rewards)
    names = [name for name in other.views.names if any(name in row.features for row in rows)]
    columns: dict[str, list[Any]] = {name: [row.features.get(name) for row in rows] for name in names}
    contexts = encoded({"moment": [row.moment for row in rows], **columns}, len(rows))
    modelled = cross_fitted(log, contexts.rows, learner, np.random.default_rng(seed))
    # 5. judge
    groups = {name: [_shown(row, name) for row in rows] for name in ("moment", *by)}
    judgement = judge(log, before, modelled, groups)
    times = [row.at_ms for row in rows]
    return Evaluation(
        release, reward, window_ms, other.app.currency, found.seen, dict(found.left_out), late, unplaced,
        min(times), max(times), judgement,
    )  # fmt: skip


class _Found:
    """Steps 1 and 2 over the pages of the log."""

    def __init__(self, records: Records, other: Brain, until_ms: int, since_ms: int) -> None:
        self._records, self._other = records, other
        self._until_ms, self._since_ms = until_ms, since_ms
        self.left_out: Counter[str] = Counter()
        self.times: dict[str, list[tuple[int, str]]] = {}
        self.seen = 0

    def rows(self, brain_of: Callable[[str], Brain], last: int, tell: Callable[[int], None]) -> list[_Row]:
        """The decisions to judge, the oldest first; `times` then has every decision of every unit."""
        rows = []
        for stored in self._window(last, tell):
            self.seen += 1
            self.times.setdefault(stored.unit, []).append((stored.at_ms, stored.id))
            row = self._row(stored, brain_of)
            if isinstance(row, str):
                self.left_out[row] += 1
            else:
                rows.append(row)
        for times in self.times.values():
            times.sort()
        return rows[::-1]

    def _window(self, last: int, tell: Callable[[int], None]) -> Iterator[StoredDecision]:
        for page in pages(self._records, last):
            for stored in page:
                if stored.at_ms < self._since_ms:
                    return
                yield stored
            tell(len(page))

    def _row(self, stored: StoredDecision, brain_of: Callable[[str], Brain]) -> _Row | str:
        if stored.at_ms > self._until_ms:
            return NOT_OVER
        record = decode_record(stored.record)
        action = done(record)
        if action is None:
            return "several offers at once" if record.asked.limit > 1 else f"nothing was drawn ({stored.disposition})"
        if record.asked.moment not in self._other.moments:
            return "the moment is not in the release"
        try:
            brain = brain_of(record.release)
            before, after = chances(brain, record), chances(self._other, record)
        except LookupError:
            return "the release that decided is not stored"
        except ScoreFailed:
            return "a model failed"
        logged = _with_holdout(before, brain.app.holdout.share)
        if not _as_recorded(record, before, action):
            return "the chance cannot be worked out again"
        return _Row(
            stored.id, stored.at_ms, stored.unit, record.asked.moment, record.seen.features, action, logged, before,
            after,
        )  # fmt: skip


def _with_holdout(before: Mapping[str, float], share: float) -> Mapping[str, float]:
    """What a unit is given by all chances together, that of being held out among them."""
    logged = {action: chance * (1.0 - share) for action, chance in before.items()}
    logged[NO_OFFER] = logged.get(NO_OFFER, 0.0) + share
    return logged


def _as_recorded(record: DecisionRecord, before: Mapping[str, float], action: str) -> bool:
    if record.result.disposition == "held_out":
        return True
    said = record.result.action_probability
    return abs(before.get(action, 0.0) - said) <= SAME


def _joined(
    records: Records, rows: Sequence[_Row], times: Mapping[str, list[tuple[int, str]]], reward: Reward, window_ms: int
) -> tuple[list[float], int, int]:
    """The reward of each row, outcomes that came too late, and purchases that belong to no row.

    An outcome belongs to the decision it names. A purchase that names none belongs to its unit's latest decision
    before it, so that each counts once, and what is bought without an offer counts too.
    """
    kinds, place = KINDS[reward], {row.id: number for number, row in enumerate(rows)}
    got = [0.0] * len(rows)
    late = unplaced = 0
    for number, row in enumerate(rows):
        for outcome in records.outcomes(row.id):
            if outcome.kind in kinds:
                if outcome.at_ms > row.at_ms + window_ms:
                    late += 1
                else:
                    got[number] = _added(got[number], outcome, reward)
    if "converted" in kinds:
        for outcome in records.unclaimed(rows[0].at_ms):
            of = times.get(outcome.unit, [])
            at = bisect_right(of, (outcome.at_ms, "\x7f")) - 1
            found = place.get(of[at][1]) if at >= 0 else None
            if found is None:
                unplaced += 1
            elif outcome.at_ms > rows[found].at_ms + window_ms:
                late += 1
            else:
                got[found] = _added(got[found], outcome, reward)
    return got, late, unplaced


def _added(got: float, outcome: StoredOutcome, reward: Reward) -> float:
    return got + outcome.amount if reward == "value" else 1.0


def _log(rows: Sequence[_Row], rewards: Sequence[float]) -> tuple[Log, np.ndarray[Any, np.dtype[np.float64]]]:
    """The columns of the rows, and the chances of the policy that was live."""
    names = sorted({name for row in rows for chances in (row.logged, row.after) for name in chances})
    column = {name: number for number, name in enumerate(names)}
    shape = (len(rows), len(names))
    target, before, behaviour = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for number, row in enumerate(rows):
        for table, some in ((target, row.after), (before, row.before), (behaviour, row.logged)):
            for name, chance in some.items():
                table[number, column[name]] = chance
    units = {unit: number for number, unit in enumerate(dict.fromkeys(row.unit for row in rows))}
    log = Log(
        actions=tuple(names),
        action=np.array([column[row.action] for row in rows], dtype=np.int64),
        probability=np.array([row.logged[row.action] for row in rows]),
        reward=np.array(rewards, dtype=np.float64),
        target=target,
        unit=np.array([units[row.unit] for row in rows], dtype=np.int64),
        behaviour=behaviour,
    )
    return check_log(log), before


def _shown(row: _Row, name: str) -> str:
    if name == "moment":
        return row.moment
    value = row.features.get(name)
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _too_few(rows: int, found: _Found) -> str:
    why = "; ".join(f"{count:,} because {reason}" for reason, count in found.left_out.most_common())
    young = found.left_out[NOT_OVER] > found.seen / 2
    fix = "wait, or count outcomes for a shorter time with `--window`" if young else "look at more with `--last`"
    text = f"{rows:,} of {found.seen:,} decisions can be judged by, {ROWS_MIN} are needed: {fix}"
    return f"{text} (left out: {why})" if why else text
