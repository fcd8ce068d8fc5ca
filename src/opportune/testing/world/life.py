"""The life of the simulated company: actions in time order, each changing the state and saying so in signals."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from opportune.testing.world import state as states
from opportune.testing.world.events import Event, Post
from opportune.testing.world.state import Account, Person, situation
from opportune.testing.world.truth import DAY_MS, OFFERS, WINDOW_MS, effect

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
ACTION_PROBABILITY = 0.5
WARM_UP_MS = 10 * DAY_MS
CHANNELS_OF = {
    "plan_enterprise": ("email", "agent_desk"),
    "addon_support": ("email", "agent_desk"),
}

Action = Callable[[int], list[Event]]


@dataclass(slots=True)
class Assignment:
    """One past offer decided by chance, with the probabilities true for it; `bought` when it really was."""

    at_ms: int
    customer: str
    account: str
    offer: str
    treated: bool
    p_if_offered: float
    p_if_not: float
    bought: bool = False


class Life:
    """Everything that happens from `start_ms` on; actions wait in a heap and run in order of time."""

    def __init__(self, seed: int, accounts: int, start_ms: int, end_ms: int) -> None:
        self.rng = random.Random(f"world/{seed}")  # noqa: S311 - a simulation, repeatable by design
        self.post = Post(f"world-{seed}")
        self.start_ms, self.end_ms = start_ms, end_ms
        self.now_ms = 0
        self.campaign = True
        """Whether offers are assigned by chance, as in the past; the company may leave it to decisions."""
        self.accounts = [
            states.new_account(self.rng, number, start_ms, end_ms) for number in range(1, accounts + 1)
        ]
        self.assignments: list[Assignment] = []
        self._waiting: list[tuple[int, int, Action]] = []
        self._order = 0
        for account in self.accounts:
            self.at(account.signup_ms, partial(self._sign_up, account))
        for day_ms in range(start_ms - start_ms % DAY_MS, end_ms, DAY_MS):
            self.at(day_ms, self._day)

    def at(self, at_ms: int, action: Action) -> None:
        """Runs `action` at `at_ms`; actions of the same instant run in the order they were asked for."""
        self._order += 1
        heapq.heappush(self._waiting, (at_ms, self._order, action))

    def until(self, end_ms: int) -> Iterator[Event]:
        """Every signal up to `end_ms`; what is due later keeps waiting."""
        while self._waiting and self._waiting[0][0] <= end_ms:
            due_ms, _, action = heapq.heappop(self._waiting)
            self.now_ms = max(self.now_ms, due_ms)
            yield from action(self.now_ms)
        self.now_ms = max(self.now_ms, end_ms)

    def purchase(self, account: Account, offer: str, at_ms: int) -> list[Event]:
        """What changes when the account buys: its state, and the signals that say so."""
        if offer.startswith("addon_"):
            addon = offer.removeprefix("addon_")
            account.addons.add(addon)
            price = states.ADDON_PRICE[addon]
            return [self.post.event("addon.activated", at_ms, account, account.people[0], addon=addon, mrr=price)]
        if offer.startswith("seats_"):
            account.seats += int(offer.removeprefix("seats_"))
            changed = self.post.subscription("subscription.changed", at_ms, account)
            return [changed, self.post.seats(at_ms, account)]
        if offer == "annual_switch":
            account.billing = "annual"
        else:
            account.plan = offer.removeprefix("plan_")
        return [self.post.subscription("subscription.changed", at_ms, account)]

    def use(self, account: Account, feature: str, count: int, at_ms: int) -> list[Event]:
        """Somebody uses a part of the product."""
        account.record_usage(at_ms, feature, count)
        rng = self.rng
        person = rng.choice(account.people)
        return [
            self.post.event(
                "usage.recorded", at_ms, account, person,
                feature=feature, count=count, duration_s=count * rng.randrange(5, 40),
                errors=1 if rng.random() < 0.05 else 0, beta=feature == "goals",
            )
        ]  # fmt: skip

    def view(self, account: Account, page: str, at_ms: int) -> list[Event]:
        """Somebody looks at a page."""
        if page == "pricing":
            account.pricing.append(at_ms)
        return [self.post.event("page.viewed", at_ms, account, self.rng.choice(account.people), name=page)]

    def open_ticket(self, account: Account, at_ms: int) -> list[Event]:
        """A new support ticket; closing it is up to the caller."""
        ticket = f"tic_{self.post.number:07d}"
        priority = self.rng.choices(("low", "medium", "high", "urgent"), (30, 40, 20, 10))[0]
        account.open_tickets[ticket] = (priority, at_ms)
        account.tickets.append(at_ms)
        person = self.rng.choice(account.people)
        return [self.post.event("ticket.opened", at_ms, account, person, ticket=ticket, priority=priority)]

    def close_ticket(self, account: Account, ticket: str, at_ms: int) -> list[Event]:
        """Support closes a ticket; most customers then say how satisfied they were."""
        priority, opened_ms = account.open_tickets.pop(ticket)
        said: dict[str, object] = {}
        if account.grumpy or self.rng.random() < 0.7:
            score = self.rng.choice((1, 2)) if account.grumpy else self.rng.choice((3, 4, 4, 5, 5))
            account.last_csat = float(score)
            said["satisfaction"] = score
        hours = round((at_ms - opened_ms) / HOUR_MS, 1)
        closed = self.post.event(
            "ticket.closed", at_ms, account, None, ticket=ticket, priority=priority, hours=hours, **said
        )
        return [closed]

    def pay(self, account: Account, works: bool, at_ms: int) -> list[Event]:
        """A payment that works or fails."""
        if not works:
            account.failures.append(at_ms)
        status = "succeeded" if works else "failed"
        return [self.post.event(f"payment.{status}", at_ms, account, amount=account.mrr, status=status)]

    def withdraw(self, account: Account, person: Person, channels: list[str], at_ms: int) -> list[Event]:
        """A person takes back their consent to marketing."""
        person.consents.update(dict.fromkeys(channels, False))
        data = {"purpose": "marketing", "channels": channels}
        return [self.post.event("consent.withdrawn", at_ms, account, person, **data)]

    def _sign_up(self, account: Account, at_ms: int) -> list[Event]:
        post = self.post
        found = [
            post.event(
                "account.updated", at_ms, account, new=True, name=account.name, industry=account.industry,
                country=account.country, plan=account.plan, seats=account.seats, trial=False,
            ),
            post.subscription("subscription.started", at_ms, account),
        ]  # fmt: skip
        for addon in sorted(account.addons):
            price = states.ADDON_PRICE[addon]
            found.append(post.event("addon.activated", at_ms, account, account.people[0], addon=addon, mrr=price))
        for person in account.people:
            found.append(
                post.event(
                    "person.updated", at_ms, account, person,
                    email=person.email, role=person.role, locale=person.locale, timezone=person.timezone,
                )
            )  # fmt: skip
            for type_, said in (("consent.given", True), ("consent.withdrawn", False)):
                channels = [channel for channel, given in person.consents.items() if given is said]
                if channels:
                    found.append(post.event(type_, at_ms, account, person, purpose="marketing", channels=channels))
        first_ms = max(at_ms, self.start_ms) + HOUR_MS
        self.at(first_ms, lambda now_ms: [post.seats(now_ms, account)])
        if account.grumpy:
            self.at(first_ms + self.rng.randrange(7) * DAY_MS, lambda now_ms: self._ticket(account, now_ms))
        return found

    def _day(self, day_ms: int) -> list[Event]:
        """Plans the day of every account; says nothing itself."""
        for account in self.accounts:
            if account.alive and account.signup_ms <= day_ms:
                self._plan(account, day_ms)
        return []

    def _plan(self, account: Account, day_ms: int) -> None:
        rng, day = self.rng, day_ms // DAY_MS
        self._grow(account)
        weekday = (day + 3) % 7
        if weekday < 5:
            feature = states.FEATURES[day % account.breadth]
            count = max(1, round(rng.gauss(account.rate, 0.1 * account.rate)))
            self._later(day_ms, lambda at_ms: self.use(account, feature, count, at_ms))
            if rng.random() < 0.035:
                self._later(day_ms, lambda at_ms: self.view(account, "pricing", at_ms))
            if rng.random() < 0.1:
                self._later(day_ms, lambda at_ms: self.view(account, "board", at_ms))
        if account.api_rate and weekday in (0, 2, 4):
            calls = max(1, round(rng.gauss(account.api_rate, 0.15 * account.api_rate) / 3))
            self._later(day_ms, lambda at_ms: self.use(account, "api", calls, at_ms))
        number = int(account.id[-4:])
        if (number + day) % 5 == 0:
            self._later(day_ms, lambda at_ms: [self.post.seats(at_ms, account)])
        if rng.random() < (0.04 if account.grumpy else 0.022):
            self._later(day_ms, lambda at_ms: self._ticket(account, at_ms))
        if account.billing == "monthly" and (number + day) % 30 == 0:
            self._later(day_ms, lambda at_ms: self._payment(account, 0, at_ms))
        if rng.random() < (0.0012 if account.drift < 0 else 0.0001):
            self._later(day_ms, lambda at_ms: self._churn(account, at_ms))
        for person in account.people:
            if rng.random() < 0.0006 and any(person.consents.values()):
                channels = ["email"] if rng.random() < 0.6 else list(states.CHANNELS)
                self._later(day_ms, partial(self.withdraw, account, person, channels))
        if day_ms >= self.start_ms + WARM_UP_MS and rng.random() < 0.55 and self.campaign:
            self._later(day_ms, lambda at_ms: self._assign(account, at_ms))
        self._later(day_ms, lambda at_ms: self._organic(account, at_ms))

    def _later(self, day_ms: int, action: Action) -> None:
        """During the working hours of that day."""
        self.at(day_ms + self.rng.randrange(7 * HOUR_MS, 19 * HOUR_MS), action)

    def _grow(self, account: Account) -> None:
        rng = self.rng
        account.rate = min(2000.0, max(5.0, account.rate * math.exp(account.drift)))
        if rng.random() < 1 / 30:
            states.new_drift(rng, account)
        towards = 0.08 * (account.pull * account.seats - account.used)
        account.used = min(float(account.seats), max(1.0, account.used + towards + rng.gauss(0.0, 0.25)))

    def _ticket(self, account: Account, at_ms: int) -> list[Event]:
        found = self.open_ticket(account, at_ms)
        ticket = found[0]["data"]["ticket"]
        closed_ms = at_ms + round(self.rng.uniform(4, 120) * HOUR_MS)
        self.at(closed_ms, lambda now_ms: self.close_ticket(account, ticket, now_ms))
        return found

    def _payment(self, account: Account, attempt: int, at_ms: int) -> list[Event]:
        works = self.rng.random() < (0.93 if attempt == 0 else 0.6)
        if not works and attempt < 3:
            self.at(at_ms + 3 * DAY_MS, lambda now_ms: self._payment(account, attempt + 1, now_ms))
        return self.pay(account, works, at_ms)

    def _churn(self, account: Account, at_ms: int) -> list[Event]:
        account.alive = False
        reason = self.rng.choice(("pricing", "support", "budget", "competitor"))
        return [
            self.post.event("subscription.ended", at_ms, account, subscription=account.subscription),
            self.post.event("account.churned", at_ms, account, reason=reason, reactivation=False),
        ]

    def _organic(self, account: Account, at_ms: int) -> list[Event]:
        """Purchases that no assignment watches."""
        if not account.alive:
            return []
        found: list[Event] = []
        for offer in OFFERS:
            if account.windows.get(offer, 0) > at_ms:
                continue
            _, p_if_not = effect(situation(account, at_ms), offer)
            if self.rng.random() < p_if_not * DAY_MS / WINDOW_MS:
                found += self._convert(account, account.people[0], offer, at_ms)
        return found

    def _assign(self, account: Account, at_ms: int) -> list[Event]:
        rng, now = self.rng, situation(account, at_ms)
        offers = [o for o in OFFERS if OFFERS[o].applies(now) and account.windows.get(o, 0) <= at_ms]
        person = account.people[0] if rng.random() < 0.7 else rng.choice(account.people)
        if not account.alive or not offers or person.role == "member":
            return []
        offer = rng.choice(offers)
        channels = [c for c in CHANNELS_OF.get(offer, states.CHANNELS) if person.consents.get(c)]
        if not channels:
            return []
        channel, treated = rng.choice(channels), rng.random() < ACTION_PROBABILITY
        p_if_offered, p_if_not = effect(now, offer)
        made = Assignment(at_ms, person.id, account.id, offer, treated, p_if_offered, p_if_not)
        self.assignments.append(made)
        account.windows[offer] = at_ms + WINDOW_MS
        self._answer(account, person, made, channel)
        said = {"offer": offer, "channel": channel, "treated": treated, "action_probability": ACTION_PROBABILITY}
        return [self.post.event("offer.assigned", at_ms, account, person, **said)]

    def _answer(self, account: Account, person: Person, made: Assignment, channel: str) -> None:
        """Draws what becomes of an assignment, and plans it."""
        rng, at_ms, offer = self.rng, made.at_ms, made.offer
        about = {"offer": offer, "channel": channel}
        shown_ms = at_ms + rng.randrange(1_000, 30 * MINUTE_MS)
        if made.treated:
            self.at(shown_ms, lambda now_ms: [self.post.event("offer.presented", now_ms, account, person, **about)])
        if rng.random() < (made.p_if_offered if made.treated else made.p_if_not):
            days = min(rng.expovariate(1 / 1.5), 10.0) if made.treated else rng.uniform(0.1, 12.0)
            due_ms = shown_ms + MINUTE_MS + round(days * DAY_MS)
            self.at(due_ms, lambda now_ms: self._convert(account, person, offer, now_ms, made))
        elif made.treated and rng.random() < 0.15:
            said_ms = shown_ms + rng.randrange(MINUTE_MS, HOUR_MS)
            self.at(said_ms, lambda now_ms: [self.post.event("offer.declined", now_ms, account, person, **about)])

    def _convert(
        self, account: Account, person: Person, offer: str, at_ms: int, made: Assignment | None = None
    ) -> list[Event]:
        if not account.alive or not OFFERS[offer].applies(situation(account, at_ms)):
            return []  # bought in another way, or gone
        if made is not None:
            made.bought = True
        amount = OFFERS[offer].amount
        converted = self.post.event("offer.converted", at_ms, account, person, offer=offer, amount=amount)
        return [converted, *self.purchase(account, offer, at_ms)]
