"""Offers whose effects are known: customers, what each offer changes, and a log that was or was not made by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log1p, sin
from typing import Any

import msgspec
import numpy as np

from opportune.core.models import EVERY_OFFER, Example, TrainingSet

NAMES = ("seats", "seat_ratio", "plan", "pricing_views", "vip", "tenure_days", "usage_trend", "tickets", "noise")
TYPES = ("int", "double", "string", "int", "bool", "int", "double", "int", "double")
OFFERS = ("seats_10", "plan_business", "annual_switch", "addon_support")
DAY_MS = 86_400_000
START_MS = 1_760_000_000_000
CHANCE_MIN, CHANCE_MAX = 0.02, 0.98
"""Nobody is certain to buy, or not to; nobody is certain to be offered something, or not to."""

Values = tuple[Any, ...]


class Settings(msgspec.Struct, frozen=True):
    """How the world is made.

    `effect` scales what offers change (0: nothing), `variety` how much that differs between customers (0: it is the
    same for all). `confounding` is how much whoever logged chose by what also makes customers buy by themselves
    (0: by chance alone; 1: customers who buy anyway are offered several times as often). `organic` scales purchases
    without an offer. `offered` is the share of assignments that are offered where nothing is confounded.
    """

    effect: float = 1.0
    variety: float = 1.0
    confounding: float = 0.0
    organic: float = 1.0
    offered: float = 0.5
    days: int = 120


class KnownEffects:
    """A population with several offers and known effects; the same seed and settings give the same rows."""

    def __init__(self, seed: int, settings: Settings = Settings()) -> None:  # noqa: B008 - frozen
        self.seed, self.settings = seed, settings
        self.offers = OFFERS

    def people(self, count: int, what: str = "people") -> list[Values]:
        """Customers' values in the order of NAMES; some are missing. Another `what` gives other people."""
        random = np.random.default_rng([self.seed, *what.encode()])
        return [_person(random) for _ in range(count)]

    def truth(self, values: Values, offer: str) -> tuple[float, float]:
        """(chance of buying within the label window when offered, when not)."""
        without = min(max(_organic(values, offer) * self.settings.organic, CHANCE_MIN / 4), 0.8)
        with_it = without + self.settings.effect * _effect(values, offer, self.settings.variety)
        return min(max(with_it, 0.001), CHANCE_MAX), without

    def amount(self, values: Values, offer: str) -> float:
        """The mean amount of a purchase, in money."""
        seats, _, plan, *_ = values
        price = {"seats_10": 900.0, "plan_business": 2400.0, "annual_switch": 700.0, "addon_support": 1500.0}[offer]
        return price * {"team": 0.7, "business": 1.0, "enterprise": 1.8}[plan] * (0.6 + 0.12 * log1p(seats))

    def annoyed(self, values: Values) -> float:
        """The chance that a contact is answered with a complaint, a withdrawal or a dismissal."""
        _, _, _, views, vip, _, trend, tickets, _ = values
        score = -2.0 + 0.45 * min(tickets, 4) - 0.3 * min(views, 3) - (0.5 if vip else 0.0)
        return _chance(score - 0.8 * ((1.0 if trend is None else trend) - 1.0))

    def leaves(self, values: Values) -> float:
        """The chance that the customer leaves within the label window."""
        _, ratio, plan, _, _, tenure, trend, tickets, _ = values
        score = -2.4 + 0.4 * min(tickets, 4) + {"team": 0.5, "business": 0.0, "enterprise": -0.8}[plan]
        score -= 1.6 * ((1.0 if trend is None else trend) - 1.0) + (0.6 if tenure > 700 else 0.0)
        return _chance(score - 0.8 * ((0.6 if ratio is None else ratio) - 0.6))

    def chances(self, values: Values) -> tuple[Mapping[str, float], float]:
        """How whoever logged chose: (chance of each offer to be the one in question, chance that it is offered)."""
        strength = self.settings.confounding
        scores = {offer: 2.5 * strength * _organic(values, offer) / 0.15 for offer in OFFERS}
        top = max(scores.values())
        raised = {offer: exp(min(score - top, 0.0)) + 0.15 for offer, score in scores.items()}
        total = sum(raised.values())
        mean = sum(_organic(values, offer) for offer in OFFERS) / len(OFFERS)
        lean = strength * 2.2 * (mean / 0.10 - 1.0)
        offered = _chance(lean + np.log(self.settings.offered / (1.0 - self.settings.offered)))
        return {o: raise_ / total for o, raise_ in raised.items()}, min(max(offered, 0.06), 0.94)

    def log(self, rows: int, offers: Sequence[str] = OFFERS) -> TrainingSet:
        """Assignments evenly over the days, with the probability of each as it was; one customer each."""
        random = np.random.default_rng([self.seed, 1])
        step = self.settings.days * DAY_MS // max(rows, 1)
        found = []
        for index, values in enumerate(self.people(rows, "log")):
            choice, share = self.chances(values)
            weights = np.array([choice[offer] for offer in offers])
            offer = offers[int(random.choice(len(offers), p=weights / weights.sum()))]
            treated = bool(random.random() < share)
            with_it, without = self.truth(values, offer)
            bought = bool(random.random() < (with_it if treated else without))
            amount = self.amount(values, offer) * float(random.gamma(4.0, 0.25)) if bought else 0.0
            chance = float(choice[offer] / weights.sum()) * (share if treated else 1.0 - share)
            found.append(Example(START_MS + index * step, f"account-{index}", offer, treated, chance, bought, values,
                                 round(amount, 2)))  # fmt: skip
        return TrainingSet(NAMES, TYPES, tuple(found), 14 * DAY_MS, {"account": 1})

    def happened(self, rows: int, target: str) -> TrainingSet:
        """Rows of a target that is no effect: `acceptance`, `value`, `churn_risk`, `fatigue`, of the same customers."""
        random = np.random.default_rng([self.seed, *target.encode()])
        log = self.log(rows)
        found = []
        for row in log.examples:
            offered = msgspec.structs.replace(row, treated=True, probability=1.0)
            if target in ("acceptance", "value"):
                bought = bool(random.random() < self.truth(row.values, row.offer)[0])
                amount = self.amount(row.values, row.offer) * float(random.gamma(4.0, 0.25)) if bought else 0.0
                one = msgspec.structs.replace(offered, bought=bought, amount=round(amount, 2))
                if target == "value" and not bought:
                    continue
            elif target == "fatigue":
                one = msgspec.structs.replace(offered, bought=bool(random.random() < self.annoyed(row.values)))
            else:
                left = bool(random.random() < self.leaves(row.values))
                one = msgspec.structs.replace(offered, offer=EVERY_OFFER, bought=left)
            found.append(one)
        return msgspec.structs.replace(log, examples=tuple(found), target=target)


def _person(random: np.random.Generator) -> Values:
    ratio = float(random.beta(3, 2))
    trend = float(random.normal(1.0, 0.35))
    return (
        int(random.lognormal(3.0, 1.0)) + 1,
        None if random.random() < 0.06 else round(ratio, 4),
        ("team", "business", "enterprise")[int(random.choice(3, p=[0.5, 0.35, 0.15]))],
        int(random.poisson(1.0)),
        bool(random.random() < 0.2),
        int(random.gamma(1.6, 280.0)),
        None if random.random() < 0.08 else round(trend, 4),
        int(random.poisson(0.8)),
        round(float(random.normal()), 4),
    )


def _organic(values: Values, offer: str) -> float:
    """The chance of buying without an offer, within about 0.01 to 0.35."""
    seats, ratio, plan, views, vip, tenure, trend, _, _ = values
    ratio, trend = 0.6 if ratio is None else ratio, 1.0 if trend is None else trend
    score = {
        "seats_10": -3.2 + 1.6 * ratio + 0.5 * (trend - 1.0),
        "plan_business": -3.1 + {"team": 0.8, "business": 0.0, "enterprise": -1.0}[plan] + 0.15 * log1p(seats),
        "annual_switch": -2.9 + min(tenure, 900) / 700.0,
        "addon_support": -3.0 + (0.7 if vip else 0.0) + 0.1 * log1p(seats),
    }[offer]
    return _chance(score + 0.3 * min(views, 4))


def _effect(values: Values, offer: str, variety: float) -> float:
    """What an offer adds to the chance of buying; it differs smoothly, by threshold and by two features together."""
    seats, ratio, plan, views, vip, tenure, trend, tickets, _ = values
    ratio, trend = 0.6 if ratio is None else ratio, 1.0 if trend is None else trend
    if offer == "seats_10":
        middle, own = 0.07, 0.22 * (ratio - 0.6) + (0.07 if ratio > 0.85 else -0.01)
    elif offer == "plan_business":
        middle, own = 0.05, {"team": 0.04, "business": -0.01, "enterprise": -0.07}[plan] + 0.08 * (trend - 1.0)
        own += 0.05 if plan == "team" and seats > 25 else 0.0
    elif offer == "annual_switch":
        middle, own = 0.06, 0.05 * sin(min(tenure, 1200) / 190.0) + 0.02 * min(views, 3) - 0.02
    else:
        middle, own = 0.04, 0.03 * (min(tickets, 4) - 0.8) - (0.10 if vip else -0.02)
    return middle + variety * own


def _chance(score: float) -> float:
    return 1.0 / (1.0 + exp(-min(max(score, -30.0), 30.0)))
