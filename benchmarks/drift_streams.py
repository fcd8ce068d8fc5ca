"""Streams of decisions with known drift: accounts that come again and again, offers whose effects are known."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from opportune.core.drift import AnsweredRows, SeenRows
from opportune.core.models import Example, TrainingSet
from opportune.testing.world.effects import NAMES, OFFERS, TYPES, KnownEffects, Values

ACCOUNTS = 1_500
DAY_MS = 86_400_000
START_MS = 1_760_000_000_000
ROW_MS = 120_000


class Stream:
    """Moments of a fixed set of accounts: each has values of its own, part of which change from moment to moment."""

    def __init__(self, seed: int, accounts: int = ACCOUNTS) -> None:
        self.world = KnownEffects(seed)
        self.random = np.random.default_rng([seed, 7])
        self.accounts = self.world.people(accounts, "accounts")
        self.at_ms = START_MS
        self.share_offered = 0.5

    def rows(self, count: int, twist: Twist | None = None) -> list[Example]:
        """The next moments: who, with which values, which offer by chance, and what came of it. `twist` is the world
        after it has changed."""
        twist, random, found = twist or Twist(), self.random, []
        for _ in range(count):
            self.at_ms += ROW_MS
            number = self._account(twist)
            true = _lately(random, self.accounts[number])
            offer = OFFERS[int(random.integers(len(OFFERS)))]
            treated = bool(random.random() < self.share_offered)
            with_it, without = self.world.truth(true, offer)
            with_it, without = twist.chances(true, with_it, without)
            bought = bool(random.random() < (with_it if treated else without))
            seen = twist.seen(random, true)
            chance = 0.25 * (self.share_offered if treated else 1.0 - self.share_offered)
            found.append(Example(self.at_ms, f"account-{number}", offer, treated, chance, bought, seen))
        return found

    def _account(self, twist: Twist) -> int:
        """Somebody; after a shift of who comes, mostly the one of three whose seats are the fullest."""
        drawn = self.random.integers(len(self.accounts), size=3)
        if not twist.fuller:
            return int(drawn[0])
        return int(max(drawn, key=lambda number: self.accounts[number][1] or 0.0))


class Twist(msgspec.Struct, frozen=True):
    """How the world is after it changed: nothing of it, where nothing is named."""

    fuller: bool = False
    plan_new: float = 0.0
    """So large a part of accounts is on a plan that training never saw."""
    lost: float = 0.0
    """The usage trend is missing so often."""
    as_text: float = 0.0
    """Seats come as text so often."""
    swapped: bool = False
    """Whoever was likely to buy is not any more, and the other way round, at the same mean."""
    base: float = 1.0
    """So many times as many purchases."""
    of_plan: str = ""
    """Only in this segment are purchases fewer or more, by `base`."""

    def chances(self, values: Values, with_it: float, without: float) -> tuple[float, float]:
        if self.swapped:
            return 0.30 - min(with_it, 0.28), 0.16 - min(without, 0.14)
        if self.of_plan and values[2] != self.of_plan:
            return with_it, without
        return min(with_it * self.base, 0.97), min(without * self.base, 0.97)

    def seen(self, random: np.random.Generator, values: Values) -> Values:
        one = list(values)
        if self.plan_new and random.random() < self.plan_new:
            one[2] = "scale"
        if self.lost and random.random() < self.lost:
            one[6] = None
        if self.as_text and random.random() < self.as_text:
            one[0] = f"{one[0]} seats"
        return tuple(one)


TWISTS: Mapping[str, Twist] = {
    "other customers come (covariate shift)": Twist(fuller=True),
    "a new category in a tenth of rows": Twist(plan_new=0.10),
    "a feature lost in a fifth of rows": Twist(lost=0.20),
    "a number comes as text in a twentieth of rows": Twist(as_text=0.05),
    "who buys is turned round (concept)": Twist(swapped=True),
    "half as many purchases (base rate)": Twist(base=0.5),
    "twice as many purchases (base rate)": Twist(base=2.0),
    "a third of the purchases in one segment only": Twist(base=0.33, of_plan="team"),
}


def _lately(random: np.random.Generator, own: Values) -> Values:
    """An account at one moment: its ratio, views, trend and tickets move about its own."""
    one = list(own)
    if one[1] is not None:
        one[1] = round(float(np.clip(one[1] + random.normal(0.0, 0.05), 0.0, 1.0)), 4)
    one[3] = int(random.binomial(one[3], 0.8) + random.poisson(0.2 * 1.0))
    if one[6] is not None:
        one[6] = round(float(one[6] + random.normal(0.0, 0.1)), 4)
    return tuple(one)


def set_of(rows: list[Example]) -> TrainingSet:
    """Rows as a training set of all features."""
    return TrainingSet(NAMES, TYPES, tuple(rows), 14 * DAY_MS, {"account": 1})


def windowed(rows: list[Example], names: tuple[str, ...]) -> AnsweredRows:
    """Rows as a window: inputs, and what came of them."""
    places = [NAMES.index(name) for name in names]
    seen = SeenRows(
        tuple(one.unit for one in rows), tuple(tuple(one.values[place] for place in places) for one in rows),
        rows[0].at_ms, rows[-1].at_ms,
    )  # fmt: skip
    return AnsweredRows(
        seen, tuple(one.offer for one in rows), tuple(one.treated for one in rows), tuple(one.bought for one in rows)
    )

