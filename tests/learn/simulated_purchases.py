"""A small world with known truth: logistic purchases, effects by customer, assignments by chance."""

from __future__ import annotations

from typing import Any

import numpy as np

from opportune.core.models import Example, TrainingSet

NAMES = ("seats", "seat_ratio", "plan", "pricing_views", "vip", "noise")
TYPES = ("int", "double", "string", "int", "bool", "double")
OFFERS = ("seats_10", "audit", "yearly")
DAY_MS = 86_400_000
START_MS = 1_760_000_000_000

_BASE = {"seats_10": -2.2, "audit": -2.6, "yearly": -1.8}


def customer(random: np.random.Generator) -> tuple[Any, ...]:
    """One customer's values in the order of NAMES; some are missing."""
    ratio = float(random.beta(3, 2))
    return (
        int(random.lognormal(3.0, 1.0)) + 1,
        None if random.random() < 0.05 else round(ratio, 4),
        ("team", "business", "enterprise")[int(random.choice(3, p=[0.5, 0.35, 0.15]))],
        int(random.poisson(1.2)),
        bool(random.random() < 0.2),
        None if random.random() < 0.1 else float(random.normal()),
    )


def truth(values: tuple[Any, ...], offer: str) -> tuple[float, float]:
    """(chance of buying with the offer, without it)."""
    seats, ratio, plan, views, vip, _ = values
    ratio = 0.6 if ratio is None else ratio
    base = _BASE[offer] + 0.25 * min(views, 4) + (0.4 if vip else 0.0)
    effect = {
        "seats_10": -0.6 + 2.4 * ratio,
        "audit": {"team": -0.2, "business": 0.6, "enterprise": 1.6}[plan],
        "yearly": 0.4 + 0.3 * min(views, 3) - (0.8 if vip else 0.0) - 0.1 * min(seats, 100) / 100,
    }[offer]
    return _chance(base + effect), _chance(base)


def world(rows: int, seed: int = 7, treated_share: float = 0.6) -> TrainingSet:
    """Assignments half an hour apart; offers and treatment drawn by chance."""
    random = np.random.default_rng(seed)
    examples = []
    for index in range(rows):
        values = customer(random)
        chances = np.array([0.5, 0.3, 0.2])
        pick = int(random.choice(3, p=chances))
        offer, treated = OFFERS[pick], bool(random.random() < treated_share)
        with_it, without = truth(values, offer)
        bought = bool(random.random() < (with_it if treated else without))
        probability = float(chances[pick]) * (treated_share if treated else 1.0 - treated_share)
        at_ms = START_MS + index * DAY_MS // 48
        examples.append(Example(at_ms, f"account-{index}", offer, treated, probability, bought, values))
    return TrainingSet(NAMES, TYPES, tuple(examples), 14 * DAY_MS, {"account": 1})


def _chance(log_odds: float) -> float:
    return float(1.0 / (1.0 + np.exp(-log_odds)))
