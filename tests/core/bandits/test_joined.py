"""Rewards joined to their calls: waiting, defaults, sums, what is late or twice, and what was never shown."""

from __future__ import annotations

from opportune.core.bandits.joined import Activated, Entry, Joined, Rewarded
from opportune.core.bandits.ranking import Mode, RankableAction, Ranked, RankRequest, Setting, check_rank, rank
from opportune.core.bandits.shared import Shared

MINUTE = 60_000
ACTIONS = (RankableAction("one"), RankableAction("two"))


def call(event: str, at_ms: int, *, defer: bool = False, **said: object) -> Ranked:
    setting = Setting(**{"wait_ms": 10 * MINUTE, **said})  # type: ignore[arg-type]  # what a test says is of the right type
    request = RankRequest(ACTIONS, ({"day": "mon"},), None, event, defer)
    return rank(request, check_rank(request), Shared(), setting, event, at_ms, 0.3)


def told(*entries: Entry) -> Joined:
    joined = Joined()
    for entry in entries:
        joined.take(entry)
    return joined


def test_the_earliest_reward_is_taken_in_at_once_and_the_next_is_not() -> None:
    joined = told(call("a", 0), Rewarded("a", 5, 1.0), Rewarded("a", 6, 0.2))

    assert [one.reward for one in joined.judged] == [1.0]
    assert joined.learner.learned == 1
    assert joined.counted.late == 1


def test_a_sum_is_taken_in_when_the_time_is_over() -> None:
    rewards = (Rewarded("a", 5, 0.5), Rewarded("a", 6, 0.25))
    waiting = told(call("a", 0, aggregation="sum"), *rewards)
    over = told(call("a", 0, aggregation="sum"), *rewards, call("b", 10 * MINUTE + 1))

    assert (list(waiting.judged), waiting.waiting) == ([], 1)
    assert [one.reward for one in over.judged] == [0.75]


def test_without_a_reward_the_default_is_taken_in_and_a_late_one_changes_nothing() -> None:
    entries = (call("a", 0, default_reward=-0.5), call("b", 10 * MINUTE + 1))
    joined, later = told(*entries), told(*entries, Rewarded("a", 11 * MINUTE, 1.0))

    assert [(one.reward, one.by_default) for one in joined.judged] == [(-0.5, True)]
    assert later.counted.late == 1
    assert later.learner.digest() == joined.learner.digest()


def test_at_the_last_moment_a_reward_still_counts() -> None:
    assert told(call("a", 0), Rewarded("a", 10 * MINUTE, 1.0)).judged[0].reward == 1.0


def test_what_is_never_shown_is_not_learned_from() -> None:
    joined = told(call("a", 0, defer=True), Rewarded("a", 5, 1.0), call("b", 10 * MINUTE + 1))

    assert (joined.learner.learned, joined.counted.never_shown, list(joined.judged)) == (0, 1, [])


def test_what_is_shown_later_waits_from_then_on() -> None:
    shown = (call("a", 0, defer=True), Activated("a", 9 * MINUTE))
    joined = told(*shown, Rewarded("a", 18 * MINUTE, 1.0))
    early = told(shown[0], Rewarded("a", 5, 1.0), shown[1])

    assert [one.reward for one in joined.judged] == [1.0]
    assert [one.reward for one in early.judged] == [1.0]


def test_time_is_the_logs_and_never_goes_back() -> None:
    joined = told(call("a", 0), call("b", 11 * MINUTE), call("c", 0), call("d", 0))

    assert joined.counted.settled == 2  # c's time was over before it came
    assert joined.waiting == 2


def test_modes() -> None:
    found = {}
    modes: tuple[Mode, ...] = ("online", "apprentice", "logging_only")
    for mode in modes:
        ranked = call("a", 0, mode=mode, exploration=0.5)
        joined = told(ranked, Rewarded("a", 5, 1.0))
        found[mode] = (ranked.chances, joined.learner.learned, len(joined.judged))

    assert found == {
        "online": ((0.75, 0.25), 1, 1), "apprentice": ((1.0, 0.0), 1, 1), "logging_only": ((1.0, 0.0), 0, 1)
    }  # fmt: skip


def test_a_reward_for_nothing_is_counted() -> None:
    assert told(Rewarded("a", 5, 1.0)).counted.unknown == 1
