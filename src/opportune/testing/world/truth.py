"""The truth of the world: how likely each purchase is with its offer and without, by the account's situation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

DAY_MS = 86_400_000
WINDOW_MS = 14 * DAY_MS
"""Probabilities are for a purchase within this time."""


class Situation(msgspec.Struct, frozen=True):
    """What decides about purchases; each field can be worked out from signals, so that a model can learn it."""

    plan: str
    billing: str
    seats: int
    seat_ratio: float
    tenure_days: int
    usage_trend: float
    api_calls_7d: int
    features_used_28d: int
    open_tickets: int
    tickets_90d: int
    last_csat: float
    pricing_views_7d: int
    payment_failures_30d: int
    addons: frozenset[str]


class TrueOffer(msgspec.Struct, frozen=True):
    """An offer as it really works: who can buy it, the base rate without it, what showing it adds, what it brings.

    `amount` is the revenue of the first year; the probabilities are for an account without special circumstances.
    """

    applies: Callable[[Situation], bool]
    organic: float
    lift: Callable[[Situation], float]
    amount: float


def _plan_business(s: Situation) -> float:
    if s.usage_trend >= 1.2:
        return 0.22
    return 0.07 if s.usage_trend >= 1.0 else 0.01


def _plan_enterprise(s: Situation) -> float:
    return 0.14 if s.api_calls_7d >= 300 else 0.02


def _annual_switch(s: Situation) -> float:
    if s.tenure_days >= 365:
        return 0.22
    return 0.10 if s.tenure_days >= 180 else 0.02


def _seats_10(s: Situation) -> float:
    if s.seat_ratio >= 0.9:
        return 0.25
    return 0.08 if s.seat_ratio >= 0.8 else 0.005


def _seats_25(s: Situation) -> float:
    if s.seat_ratio < 0.9:
        return 0.005
    return 0.16 if s.seats >= 40 else 0.05


def _addon_analytics(s: Situation) -> float:
    return 0.16 if s.features_used_28d >= 6 else 0.02


def _addon_sso(s: Situation) -> float:
    if s.seats >= 40:
        return 0.14
    return 0.05 if s.seats >= 20 else 0.01


def _addon_support(s: Situation) -> float:
    return 0.12 if s.tickets_90d >= 2 and s.last_csat >= 4 else 0.015


OFFERS: Mapping[str, TrueOffer] = {
    "plan_business": TrueOffer(lambda s: s.plan == "team" and s.seats >= 5, 0.03, _plan_business, 2880.0),
    "plan_enterprise": TrueOffer(
        lambda s: s.plan == "business" and s.seats >= 30, 0.012, _plan_enterprise, 14400.0
    ),
    "annual_switch": TrueOffer(
        lambda s: s.billing == "monthly" and s.tenure_days >= 60, 0.03, _annual_switch, 700.0
    ),
    "seats_10": TrueOffer(lambda s: s.seat_ratio >= 0.6, 0.035, _seats_10, 1440.0),
    "seats_25": TrueOffer(lambda s: s.seat_ratio >= 0.8 and s.seats >= 20, 0.015, _seats_25, 3600.0),
    "addon_analytics": TrueOffer(lambda s: "analytics" not in s.addons, 0.025, _addon_analytics, 1080.0),
    "addon_sso": TrueOffer(lambda s: "sso" not in s.addons and s.seats >= 10, 0.02, _addon_sso, 720.0),
    "addon_support": TrueOffer(lambda s: "support" not in s.addons, 0.02, _addon_support, 1800.0),
}


def effect(situation: Situation, offer: str) -> tuple[float, float]:
    """(probability of buying within WINDOW_MS when offered, when not offered); both 0 for what cannot be bought.

    Open tickets take two thirds of what an offer adds, failed payments half; interest in prices raises both.
    Sleeping dogs: accounts whose last answer from support was rated 2 or worse buy on their own more often than
    others, and an offer drives most of them away.
    """
    true = OFFERS[offer]
    if not true.applies(situation):
        return 0.0, 0.0
    organic, lift = true.organic, true.lift(situation)
    if situation.pricing_views_7d > 0:
        organic, lift = organic * 1.6, lift * 1.2
    if situation.payment_failures_30d > 0:
        organic, lift = organic * 0.5, lift * 0.5
    if situation.open_tickets > 0:
        lift *= 0.35
    if situation.last_csat <= 2:
        organic *= 2.2
        return organic * 0.25, organic
    return organic + lift, organic
