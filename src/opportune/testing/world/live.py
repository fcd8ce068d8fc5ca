"""The endless present: small signals and moments, at the rate asked for, with the state kept in balance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opportune.testing.world.events import Event
from opportune.testing.world.life import Life
from opportune.testing.world.state import FEATURES, Account
from opportune.testing.world.truth import DAY_MS

MOMENT_SHARE = 0.3
OPEN_TICKETS_SHARE = 0.12
CHANNELS = {
    "usage.limit_reached": ("in_app", "email"),
    "page.pricing_viewed": ("in_app",),
    "support.chat_opened": ("agent_desk",),
    "renewal.approaching": ("email", "agent_desk"),
    "feature.blocked": ("in_app", "email"),
}
WEIGHTS = {"usage.limit_reached": 30, "page.pricing_viewed": 25, "support.chat_opened": 15,
           "renewal.approaching": 15, "feature.blocked": 15}  # fmt: skip
Step = dict[str, Any]


class Stream:
    """Steps from `start_ms` on. Simulated time is real time: at a high rate each signal is small, so that a week
    still holds a week's worth of usage."""

    def __init__(self, life: Life, start_ms: int, rate: float) -> None:
        if rate <= 0:
            raise ValueError(f"`rate` must be more than 0 steps a second, not `{rate}`")
        self.life, self.at_ms, self.rate = life, start_ms, rate

    def steps(self) -> Iterator[Step]:
        life, rng = self.life, self.life.rng
        clock = float(self.at_ms)
        while True:
            clock += rng.expovariate(self.rate) * 1000.0
            self.at_ms = max(self.at_ms, int(clock))
            life.now_ms = max(life.now_ms, self.at_ms)
            for event in life.until(self.at_ms):
                yield self._signal(event)
            account = rng.choice(life.accounts)
            if not account.alive or account.signup_ms > self.at_ms:
                continue
            if rng.random() < MOMENT_SHARE:
                yield from self._moment()
            else:
                for event in self._something(account):
                    yield self._signal(event)

    def _signal(self, event: Event) -> Step:
        return {"kind": "signal", "at_ms": self.at_ms, "event": event}

    def _something(self, account: Account) -> list[Event]:
        """One thing an account does."""
        life, rng, at_ms = self.life, self.life.rng, self.at_ms
        kind = rng.random()
        if kind < 0.55:
            per_day = self.rate * (1 - MOMENT_SHARE) * 0.55 * (DAY_MS / 1000) / len(life.accounts)
            mean = account.rate * 5 / 7 / per_day
            count = int(mean) + (rng.random() < mean % 1)
            if count:
                return life.use(account, rng.choice(FEATURES[: account.breadth]), count, at_ms)
            return life.view(account, "board", at_ms)
        if kind < 0.75:
            target = account.pull * account.seats
            account.used += rng.choice((-0.5, 0.5)) + 0.1 * (target - account.used)
            account.used = min(float(account.seats), max(1.0, account.used))
            return [life.post.seats(at_ms, account)]
        if kind < 0.80:
            return self._ticket(account)
        if kind < 0.805:
            return life.pay(account, rng.random() < 0.9, at_ms)
        if kind < 0.806 and any(account.people[0].consents.values()):
            return life.withdraw(account, account.people[0], ["email"], at_ms)
        return life.view(account, "board", at_ms)

    def _ticket(self, account: Account) -> list[Event]:
        """Opens a ticket, or closes one when enough are open."""
        troubled = [other for other in self.life.accounts if other.open_tickets]
        if len(troubled) < OPEN_TICKETS_SHARE * len(self.life.accounts):
            return self.life.open_ticket(account, self.at_ms)
        other = self.life.rng.choice(troubled)
        return self.life.close_ticket(other, next(iter(other.open_tickets)), self.at_ms)

    def _moment(self) -> Iterator[Step]:
        """A moment, at an account that fits it, for somebody who can most often buy."""
        life, rng = self.life, self.life.rng
        moment = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        account = self._fitting(moment)
        buyers = [person for person in account.people if person.role != "member"]
        person = rng.choice(buyers if rng.random() < 0.85 else account.people)
        if moment == "page.pricing_viewed":
            account.pricing.append(self.at_ms)
            yield self._signal(life.post.event("page.viewed", self.at_ms, account, person, name="pricing"))
        yield {
            "kind": "moment",
            "at_ms": self.at_ms,
            "customer": person.id,
            "account": account.id,
            "moment": moment,
            "channels": list(CHANNELS[moment]),
            "context": self._context(moment, account),
        }

    def _fitting(self, moment: str) -> Account:
        """Full accounts reach limits; the best of a few drawn at random."""
        rng = self.life.rng
        here = [account for account in self.life.accounts if account.alive and account.signup_ms <= self.at_ms]
        drawn = [rng.choice(here) for _ in range(4)]
        if moment == "usage.limit_reached":
            return max(drawn, key=lambda account: account.used / account.seats)
        if moment == "feature.blocked":
            return min(drawn, key=lambda account: ("team", "business", "enterprise").index(account.plan))
        return drawn[0]

    def _context(self, moment: str, account: Account) -> dict[str, Any]:
        rng = self.life.rng
        match moment:
            case "usage.limit_reached":
                return {"limit": "seats", "used": account.used_whole}
            case "page.pricing_viewed":
                return {"page": "pricing"}
            case "support.chat_opened":
                return {"intent": rng.choice(("question", "problem", "billing"))}
            case "renewal.approaching":
                return {"days_left": rng.randrange(5, 45)}
            case _:
                return {"feature": rng.choice(("automation", "forms", "audit_log"))}
