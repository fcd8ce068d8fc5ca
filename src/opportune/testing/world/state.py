"""The state of the simulated company: accounts, their people, and what they did lately."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from opportune.testing.world.truth import DAY_MS, Situation

SEAT_PRICE = {"team": 12.0, "business": 24.0, "enterprise": 48.0}
ADDON_PRICE = {"analytics": 90.0, "sso": 60.0, "support": 150.0}
CHANNELS = ("in_app", "email", "agent_desk")
FEATURES = ("boards", "reports", "search", "timeline", "automation", "forms", "export", "templates", "goals")
INDUSTRIES = ("DevTools", "EdTech", "FinTech", "HealthTech", "Logistics", "Retail", "Public sector")
ZONES = (("DE", "de", "Europe/Berlin"), ("FR", "fr", "Europe/Paris"), ("GB", "en", "Europe/London"),
         ("US", "en", "America/New_York"), ("IN", "en", "Asia/Kolkata"))  # fmt: skip


@dataclass(slots=True)
class Person:
    """One customer. `consents` is what they said about marketing, per channel; never asked is absent."""

    id: str
    account: str
    role: str
    email: str
    locale: str
    timezone: str
    consents: dict[str, bool] = field(default_factory=dict)


@dataclass(slots=True)
class Account:
    """One account. `drift` is the daily growth of its usage, `pull` the share of seats it tends to fill;
    `grumpy` accounts rate support badly. Deques hold (day or time, …) of the recent past, oldest first."""

    id: str
    name: str
    industry: str
    country: str
    signup_ms: int
    plan: str
    seats: int
    used: float
    billing: str
    rate: float
    drift: float
    pull: float
    breadth: int
    api_rate: float
    grumpy: bool
    people: list[Person]
    addons: set[str] = field(default_factory=set)
    alive: bool = True
    last_csat: float = 4.0
    open_tickets: dict[str, tuple[str, int]] = field(default_factory=dict)
    tickets: deque[int] = field(default_factory=deque)
    usage: deque[tuple[int, str, int]] = field(default_factory=deque)
    pricing: deque[int] = field(default_factory=deque)
    failures: deque[int] = field(default_factory=deque)
    windows: dict[str, int] = field(default_factory=dict)
    presented: dict[str, int] = field(default_factory=dict)

    @property
    def subscription(self) -> str:
        return "sub_" + self.id.removeprefix("acc_")

    @property
    def mrr(self) -> float:
        """Revenue per month, yearly billing ten percent less."""
        seats = SEAT_PRICE[self.plan] * self.seats * (0.9 if self.billing == "annual" else 1.0)
        return round(seats + sum(ADDON_PRICE[addon] for addon in self.addons), 2)

    @property
    def used_whole(self) -> int:
        return max(1, min(self.seats, round(self.used)))

    def record_usage(self, at_ms: int, feature: str, count: int) -> None:
        self.usage.append((at_ms // DAY_MS, feature, count))
        while self.usage and self.usage[0][0] <= at_ms // DAY_MS - 28:
            self.usage.popleft()


def situation(account: Account, at_ms: int) -> Situation:
    """The account as the features of samples/saas would see it at `at_ms`."""
    today = at_ms // DAY_MS
    week = month = calls = 0
    features = set()
    for day, feature, count in account.usage:
        if today - 28 < day <= today:
            features.add(feature)
            if feature == "api":
                calls += count if day > today - 7 else 0
                continue
            month += count
            week += count if day > today - 7 else 0
    return Situation(
        plan=account.plan,
        billing=account.billing,
        seats=account.seats,
        seat_ratio=account.used_whole / account.seats,
        tenure_days=(at_ms - account.signup_ms) // DAY_MS,
        usage_trend=4.0 * week / month if month else 1.0,
        api_calls_7d=calls,
        features_used_28d=len(features),
        open_tickets=len(account.open_tickets),
        tickets_90d=_since(account.tickets, today - 90),
        last_csat=account.last_csat,
        pricing_views_7d=_since(account.pricing, today - 7),
        payment_failures_30d=_since(account.failures, today - 30),
        addons=frozenset(account.addons),
    )


def new_account(rng: random.Random, number: int, start_ms: int, end_ms: int) -> Account:
    """A new account with its people; most signed up before `start_ms`, one in eight between then and `end_ms`."""
    id_ = f"acc_{number:04d}"
    late = rng.random() < 0.125
    earlier_ms = start_ms - rng.randrange(30, 1000) * DAY_MS
    signup_ms = rng.randrange(start_ms, max(start_ms + 1, end_ms - 5 * DAY_MS)) if late else earlier_ms
    country, locale, timezone = rng.choice(ZONES)
    plan = rng.choices(("team", "business", "enterprise"), (55, 33, 12))[0]
    seats = {"team": rng.randrange(5, 40), "business": rng.randrange(15, 90), "enterprise": rng.randrange(40, 160)}[
        plan
    ]
    pull = rng.choice((0.5, 0.65, 0.78, 0.87, 0.96, 0.99))
    return Account(
        id=id_,
        name=f"Example Company {number}",
        industry=rng.choice(INDUSTRIES),
        country=country,
        signup_ms=signup_ms,
        plan=plan,
        seats=seats,
        used=seats * pull,
        billing=rng.choices(("monthly", "annual"), (65, 35))[0],
        rate=rng.uniform(15, 40) + seats,
        drift=_drift(rng),
        pull=pull,
        breadth=rng.randrange(2, len(FEATURES) + 1),
        api_rate=rng.uniform(120, 600) if rng.random() < 0.35 else 0.0,
        grumpy=rng.random() < 0.09,
        people=[_person(rng, id_, number, index, locale, timezone) for index in range(rng.randrange(1, 5))],
        addons={addon for addon in sorted(ADDON_PRICE) if rng.random() < 0.15},
    )


def new_drift(rng: random.Random, account: Account) -> None:
    """The account enters another time: growing, steady or shrinking."""
    account.drift = _drift(rng)


def _drift(rng: random.Random) -> float:
    return rng.choices((0.03, 0.0, -0.025), (35, 45, 20))[0]


def _person(
    rng: random.Random, account: str, number: int, index: int, locale: str, timezone: str
) -> Person:
    role = "owner" if index == 0 else rng.choice(("admin", "billing", "member", "member"))
    id_ = f"cus_{number:04d}{'abcd'[index]}"
    person = Person(id_, account, role, f"{id_}@example.com", locale, timezone)
    said = rng.random()
    if said < 0.74:
        person.consents = dict.fromkeys(CHANNELS, True)
    elif said < 0.86:
        person.consents = {"in_app": True, "agent_desk": True, "email": False}
    elif said < 0.93:
        person.consents = dict.fromkeys(CHANNELS, False)
    return person


def _since(times_ms: deque[int], first_day_excluded: int) -> int:
    while times_ms and times_ms[0] // DAY_MS <= first_day_excluded:
        times_ms.popleft()
    return len(times_ms)
