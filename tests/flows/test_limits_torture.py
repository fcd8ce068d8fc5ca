"""Sixty-four workers on a few hot customers, over a real store: no limit is exceeded in any stretch of time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from threading import Lock, Thread
from time import perf_counter
from unittest.mock import patch

import pytest
from counted import Cap, Story, late, over_at_a_commit, over_in_any_window, story_of
from msgspec.structs import replace
from small import consenting, playbook, question, region_of

from opportune.core.catalog import ContactLimit, Limit
from opportune.core.outcomes import OutcomePost
from opportune.core.playbook import Playbook
from opportune.flows import decide
from opportune.flows.region import Region
from opportune.testing.clock import FrozenClock

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
TTL_MS = 15 * MINUTE_MS
ATTEMPTS = 2_000
ATTEMPTS_LONG = 100_000
CUSTOMERS, ACCOUNTS = 24, 6
STEP_MS, STEP_LONG_MS = 30_000, 2_500
"""So much time passes with every attempt."""

CAPS = (
    Cap("person, banner, hour", "person", 2, HOUR_MS, lambda offer, channel: channel == "in_app"),
    Cap("person, day", "person", 9, 24 * HOUR_MS),
    Cap("person, seats, 6 hours", "person", 3, 6 * HOUR_MS, each_offer=True),
    Cap("account, hour", "account", 4, HOUR_MS),
    Cap("account, addons, day", "account", 25, 24 * HOUR_MS, lambda offer, channel: offer == "addon"),
    Cap("everyone, hour", "everyone", 18, HOUR_MS),
    Cap("everyone, each offer, 4 hours", "everyone", 45, 4 * HOUR_MS, each_offer=True),
    Cap("everyone, money, 6 hours", "everyone", 130_000_000, 6 * HOUR_MS,
        units=lambda offer, channel: {"seats": 3_250_000, "addon": 1_000_000}[offer]),
)  # fmt: skip


def hot_playbook() -> Playbook:
    """The same limits as CAPS, as a playbook says them."""
    book = playbook(limits=(ContactLimit(limit="hourly", at_most=2, per="1h"),), explore=True)
    seats, addon = book.offers
    app = replace(
        book.app, arbitration=replace(book.app.arbitration, same_kind_max=2),
        limits=(
            Limit(limit="daily", at_most=9, per="1d"),
            Limit(limit="same", at_most=3, per="6h", count="offer"),
            Limit(limit="company", at_most=4, per="1h", of="account"),
            Limit(limit="addons", at_most=25, per="1d", of="account", offers=("addon",)),
            Limit(limit="volume", at_most=18, per="1h", of="everyone"),
            Limit(limit="each", at_most=45, per="4h", of="everyone", count="offer"),
            Limit(limit="budget", amount=130.0, per="6h", of="everyone"),
        ),
    )  # fmt: skip
    return replace(book, app=app, offers=(replace(seats, spend=2.25), addon))


class Passing(FrozenClock):
    """A clock for many threads, which goes on with every attempt."""

    def __init__(self) -> None:
        super().__init__(step_us=0)
        self._going = Lock()

    def pass_by(self, ms: int) -> None:
        with self._going:
            self.at_ms += ms

    def new_id(self) -> str:
        with self._going:
            return super().new_id()


class Worker(Thread):
    """Asks, and does with each offer whatever callers do: present it at once, later, never, or fail to."""

    def __init__(self, region: Region, clock: Passing, seed: int, attempts: int, step_ms: int) -> None:
        super().__init__()
        self.region, self.clock, self.attempts, self.step_ms = region, clock, attempts, step_ms
        self.chance = Random(seed)
        self.waiting: list[tuple[int, OutcomePost]] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            for _ in range(self.attempts):
                self.clock.pass_by(self.step_ms)
                self.ask()
                self.tell(self.clock.at_ms)
        except BaseException as error:  # noqa: BLE001 - raised where the workers were started
            self.error = error

    def ask(self) -> None:
        chance, number = self.chance, self.chance.randrange(CUSTOMERS)
        answer = self.region.decide.run(question(f"c{number}", limit=chance.choice((1, 1, 1, 2)), budget_ms=10_000))
        assert answer.recorded, answer
        if answer.disposition != "offered" or answer.offer is None:
            return
        now_ms = self.clock.at_ms
        for offer in (answer.offer.id, *(one.offer.id for one in answer.slate)):
            fate, later_ms = chance.random(), chance.randrange(TTL_MS // 2)
            if fate < 0.25:
                self.waiting.append((now_ms, OutcomePost("delivered", decision=answer.decision_id, offer=offer)))
            elif fate < 0.6:
                self.waiting.append(
                    (now_ms + later_ms, OutcomePost("seen", decision=answer.decision_id, offer=offer))
                )
            elif fate < 0.8:
                post = OutcomePost("undeliverable", decision=answer.decision_id, offer=offer)
                self.waiting.append((now_ms + later_ms, post))

    def tell(self, now_ms: int) -> None:
        due = [post for at_ms, post in self.waiting if at_ms <= now_ms]
        self.waiting = [(at_ms, post) for at_ms, post in self.waiting if at_ms > now_ms]
        if due:
            self.region.act.run(due)


def tortured(folder: Path, threads: int, attempts: int, step_ms: int = STEP_MS) -> tuple[Story, float]:
    """Everything that was recorded, and the seconds it took."""
    clock = Passing()
    with region_of(folder, hot_playbook(), clock=clock, kind="sqlite", under_way_max=10_000) as region:
        for number in range(CUSTOMERS):
            consenting(region, f"c{number}", account=f"a{number % ACCOUNTS}")
        workers = [Worker(region, clock, seed, (attempts + seed) // threads, step_ms) for seed in range(threads)]
        began = perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        took = perf_counter() - began
        for worker in workers:
            if worker.error is not None:
                raise worker.error
        return story_of(region.records, TTL_MS), took


def hold(story: Story, took: float, attempts: int, caps: Sequence[Cap] = CAPS) -> None:
    told_late = late(story)
    delivered = sum(one.delivered_ms is not None for one in story.contacts)
    print(
        f"{story.attempts:,} attempts in {took:.1f} s ({story.attempts / took:,.0f}/s): {len(story.contacts):,} "
        f"offers, {delivered:,} delivered, {len(told_late)} told after the end of their reservation"
    )
    assert story.attempts == attempts
    assert over_at_a_commit(story, caps) == []
    assert over_in_any_window(story, caps, told_late) == []


def test_eight_workers_never_exceed_a_limit(tmp_path: Path) -> None:
    story, took = tortured(tmp_path, 8, ATTEMPTS)
    hold(story, took, ATTEMPTS)
    # Nor are they stricter than they must be: of 18 an hour in 16 hours most are used.
    assert len(story.contacts) > 180


@pytest.mark.torture
def test_sixty_four_workers_never_exceed_a_limit(tmp_path: Path) -> None:
    attempts = int(os.environ.get("OPPORTUNE_ATTEMPTS", ATTEMPTS_LONG))
    story, took = tortured(tmp_path, 64, attempts, STEP_LONG_MS)
    hold(story, took, attempts)


def _no_guard(self, tx, brain, asked, named, made, answer, probe):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """The commit without looking again whether what was seen still holds."""
    person = tx.person(named)
    self._reserve(tx, brain, made.record, person, None if person.account is None else tx.account(person.account))
    self._write(tx, made)
    return answer


@pytest.mark.parametrize(
    "without",
    [
        lambda: patch.object(decide.Decide, "_record", _no_guard),
        lambda: patch.object(decide, "has_room", lambda tx, brain, record: True),
    ],
    ids=["no look at the customer in the commit", "no look at the counters in the commit"],
)
def test_each_safeguard_is_needed(tmp_path: Path, without: Callable[[], object]) -> None:
    with without():  # type: ignore[attr-defined]
        story, _ = tortured(tmp_path, 8, ATTEMPTS)
    assert over_at_a_commit(story, CAPS) != []
