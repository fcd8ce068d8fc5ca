"""A region lived in by the simulated company: its history, then moments, decisions, answers and outcomes as time goes.

Nothing waits: the clock is set to the time of each step. `twist` may change the company or its signals on the way,
which is how drift is planted.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from opportune.core.decisions.answers import Answer
from opportune.core.decisions.questions import Question, Who
from opportune.core.outcomes import OutcomePost
from opportune.core.signals import Draft, parse_time_ms
from opportune.flows.region import Region
from opportune.testing.clock import FrozenClock
from opportune.testing.world import World
from opportune.testing.world.truth import DAY_MS

MOMENT, CONTEXT = "page.pricing_viewed", {"page": "pricing"}
CHANNELS = ("in_app", "email", "agent_desk")
BATCH = 500
AMPLE_MS = 10_000

Event = dict[str, Any]
Twist = Callable[[Event], Event | None]
"""What becomes of a signal on its way; None: it is lost."""
Becomes = Callable[[Answer, list[Event]], list[Event]]


def draft(event: Event) -> Draft:
    """A structured CloudEvent of the world as the ingest flow takes it."""
    return Draft(
        event["source"], event["id"], event["type"], event["time"], event.get("subject"), event.get("account"),
        data=event["data"],
    )  # fmt: skip


class Living:
    """A world in a region whose clock is a FrozenClock; the region has a live release.

    The world's last day is that of the last decision: history is what happens before `live` is called.
    """

    def __init__(self, region: Region, world: World) -> None:
        assert isinstance(region.clock, FrozenClock)
        self.region, self.world, self.clock = region, world, region.clock
        self._random = Random(f"living/{world.seed}")  # noqa: S311 - a simulation, repeatable by design
        self.dispositions: Counter[str] = Counter()
        self.becomes: Becomes = lambda answer, outcomes: outcomes
        """What becomes of a decision, from what the world says of it."""
        self._due: list[tuple[int, int, OutcomePost]] = []
        self._signals: list[Draft] = []
        self._number = 0

    def history(self, until_ms: int, twist: Twist = lambda event: event) -> None:
        """Everything up to then, with offers that were assigned by chance."""
        for event in self.world.until(until_ms):
            self._take(twist(event))
        self._ingest()
        self.clock.at_ms = until_ms

    def live(self, days: float, moments_a_day: int, twist: Twist = lambda event: event) -> Iterator[Answer]:
        """The next days, with moments of accounts by chance and decisions instead of the campaign; yields each
        answer. What it leads to comes when it is due."""
        self.world.leave_to_decisions()
        start_ms = self.clock.at_ms
        count = round(days * moments_a_day)
        times = sorted(start_ms + round(self._random.random() * days * DAY_MS) for _ in range(count))
        for at_ms in times:
            for event in self.world.until(at_ms):
                self._take(twist(event))
            self._ingest()
            self._settle(at_ms)
            self.clock.at_ms = max(self.clock.at_ms, at_ms)
            alive = [one for one in self.world.accounts if one.alive and one.signup_ms < self.clock.at_ms - DAY_MS]
            account = self._random.choice(alive)
            yield self._decide(self._random.choice(account.people).id)

    def wait(self, days: float) -> None:
        """Time goes on without questions: signals and outcomes that are due by then come."""
        end_ms = self.clock.at_ms + round(days * DAY_MS)
        for event in self.world.until(end_ms):
            self._take(event)
        self._ingest()
        self._settle(end_ms)
        self.clock.at_ms = end_ms

    def _decide(self, customer: str) -> Answer:
        question = Question(Who(id=customer), MOMENT, channels=CHANNELS, context=CONTEXT, budget_ms=AMPLE_MS)
        answer = self.region.decide.run(question)
        self.dispositions[answer.disposition] += 1
        shown = None
        if answer.disposition == "offered" and answer.offer is not None:
            shown = {"disposition": "offered", "offer": answer.offer.id, "channel": answer.channel}
        for outcome in self.becomes(answer, self.world.respond(customer, shown, self.clock.now_ms())):
            self._number += 1
            who = (
                {"customer": customer, "offer": outcome["offer"]}
                if outcome["organic"] else {"decision": answer.decision_id}
            )  # fmt: skip
            post = OutcomePost(outcome["kind"], amount=outcome["amount"] or 0.0, **who)
            heapq.heappush(self._due, (self.clock.now_ms() + outcome["after_ms"], self._number, post))
        return answer

    def _take(self, event: Event | None) -> None:
        if event is None:
            return
        self.clock.at_ms = max(self.clock.at_ms, parse_time_ms(event["time"]))
        self._signals.append(draft(event))
        if len(self._signals) >= BATCH:
            self._ingest()

    def _ingest(self) -> None:
        if self._signals:
            self.region.ingest.run(self._signals)
            self._signals = []

    def _settle(self, until_ms: int) -> None:
        """Outcomes that are due, at their times."""
        while self._due and self._due[0][0] <= until_ms:
            at_ms, _, post = heapq.heappop(self._due)
            self.clock.at_ms = max(self.clock.at_ms, at_ms)
            self.region.act.run([post])
