"""Rewards joined to the calls they speak of: a fold over what was logged, so that the log alone gives the same learner.

1. a call to rank waits for its reward, from when it is shown; one that is deferred waits to be activated first
2. `earliest`: the first reward is taken in at once; `sum`: all that come in time, when the time is over
3. the time is over when something later is logged: without a reward the default is taken in, and what was never
   activated is let go unlearned
4. what comes twice or too late is counted, and changes nothing

INVARIANT: nothing but the log moves the state: the time is that of the newest entry, never a clock's.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import Final, Literal

import msgspec

from opportune.core.bandits.ranking import Parsed, Ranked, Setting, check_rank
from opportune.core.bandits.shared import Shared

KEPT_MAX: Final = 100_000
"""So many of the newest judged calls are held for reports."""

SPENT_MAX: Final = 100_000
"""So many ids of calls that got their reward are remembered, to tell a second one from one nobody knows."""


class Rewarded(msgspec.Struct, frozen=True):
    """A reward for a call."""

    event: str
    at_ms: int
    value: float


class Activated(msgspec.Struct, frozen=True):
    """What a deferred call chose was shown after all."""

    event: str
    at_ms: int


Entry = Ranked | Rewarded | Activated


class Judged(msgspec.Struct, frozen=True):
    """A call whose reward is settled, for reports: the chances of what was shown, of what the learner wanted, and of
    the baseline; whether what was shown is that; the rewards the learner expected of the two."""

    mode: str
    probability: float
    wanted_chance: float
    baseline_chance: float
    is_wanted: bool
    is_baseline: bool
    expected: tuple[float, float]
    reward: float
    by_default: bool


class Waiting(msgspec.Struct):
    """A call that waits. `due_ms` is None while it is not known to be shown."""

    ranked: Ranked
    parsed: Parsed
    chosen: int
    until_ms: int
    active: bool
    rewards: list[float] = msgspec.field(default_factory=list)


class Counted(msgspec.Struct):
    """What became of calls and rewards."""

    ranked: int = 0
    settled: int = 0
    by_default: int = 0
    never_shown: int = 0
    rewards: int = 0
    twice: int = 0
    late: int = 0
    unknown: int = 0
    unread: int = 0


class Joined:
    """The learner with what it waits for; `take` in the order of the log."""

    def __init__(self, learner: Shared | None = None) -> None:
        self.learner = learner or Shared()
        self.counted = Counted()
        self.judged: deque[Judged] = deque(maxlen=KEPT_MAX)
        self._waiting: dict[str, Waiting] = {}
        self._due: list[tuple[int, int, str]] = []
        self._spent: dict[str, None] = {}
        self._now_ms = 0
        self._turn = 0

    def take(self, entry: Entry, parsed: Parsed | None = None) -> None:
        """One entry of the log; `parsed` are the features of a call that somebody worked out already."""
        self._now_ms = max(self._now_ms, entry.at_ms)
        self._settle_due()
        if isinstance(entry, Ranked):
            self._wait_for(entry, parsed)
        elif isinstance(entry, Rewarded):
            self._reward(entry)
        else:
            self._activate(entry)

    @property
    def waiting(self) -> int:
        """How many calls have no reward yet."""
        return len(self._waiting)

    def state_of(self, event: str) -> Literal["waiting", "spent", "unknown"]:
        """Whether a call still waits for its reward."""
        return "waiting" if event in self._waiting else "spent" if event in self._spent else "unknown"

    def _wait_for(self, ranked: Ranked, parsed: Parsed | None) -> None:
        self.counted.ranked += 1
        try:
            parsed = parsed or check_rank(ranked.request)
            chosen = [action.id for action in ranked.request.actions].index(ranked.chosen)
        except ValueError:
            # What retention left of it can no longer be learned from.
            self.counted.unread += 1
            return
        until_ms = ranked.at_ms + ranked.setting.wait_ms
        self._waiting[ranked.event] = Waiting(ranked, parsed, chosen, until_ms, ranked.active)
        self._remind(ranked.event, until_ms)

    def _reward(self, entry: Rewarded) -> None:
        self.counted.rewards += 1
        waiting = self._waiting.get(entry.event)
        if waiting is None:
            if entry.event in self._spent:
                self.counted.late += 1
            else:
                self.counted.unknown += 1
            return
        if waiting.ranked.setting.aggregation == "earliest" and waiting.rewards:
            self.counted.twice += 1
            return
        waiting.rewards.append(entry.value)
        if waiting.active and waiting.ranked.setting.aggregation == "earliest":
            self._settle(entry.event, waiting)

    def _activate(self, entry: Activated) -> None:
        waiting = self._waiting.get(entry.event)
        if waiting is None or waiting.active:
            return
        waiting.active = True
        waiting.until_ms = entry.at_ms + waiting.ranked.setting.wait_ms
        self._remind(entry.event, waiting.until_ms)
        if waiting.rewards and waiting.ranked.setting.aggregation == "earliest":
            self._settle(entry.event, waiting)

    def _settle_due(self) -> None:
        while self._due and self._due[0][0] < self._now_ms:
            until_ms, _, event = heappop(self._due)
            waiting = self._waiting.get(event)
            if waiting is not None and waiting.until_ms <= until_ms:
                self._settle(event, waiting)

    def _settle(self, event: str, waiting: Waiting) -> None:
        del self._waiting[event]
        self._spent[event] = None
        if len(self._spent) > SPENT_MAX:
            del self._spent[next(iter(self._spent))]
        if not waiting.active:
            self.counted.never_shown += 1
            return
        ranked = waiting.ranked
        by_default = not waiting.rewards
        reward = ranked.setting.default_reward if by_default else sum(waiting.rewards)
        self.counted.settled += 1
        self.counted.by_default += by_default
        self.judged.append(_judged(ranked, reward, by_default=by_default))
        if ranked.setting.mode != "logging_only":
            parsed = waiting.parsed
            self.learner.learn(self.learner.rows(parsed.context, [parsed.actions[waiting.chosen]])[0], reward)

    def _remind(self, event: str, until_ms: int) -> None:
        self._turn += 1
        heappush(self._due, (until_ms, self._turn, event))


def _judged(ranked: Ranked, reward: float, *, by_default: bool) -> Judged:
    return Judged(
        ranked.setting.mode,
        ranked.probability,
        ranked.chance(ranked.wanted),
        ranked.chance(ranked.baseline),
        ranked.chosen == ranked.wanted,
        ranked.chosen == ranked.baseline,
        ranked.expected,
        reward,
        by_default,
    )


__all__ = ["Activated", "Counted", "Entry", "Joined", "Judged", "Ranked", "Rewarded", "Setting"]
