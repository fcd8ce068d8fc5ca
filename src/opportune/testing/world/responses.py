"""How customers answer a decision: drawn from the true probabilities, with delays as people have them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from opportune.testing.world.state import Account, situation
from opportune.testing.world.truth import DAY_MS, OFFERS, WINDOW_MS, effect

SEEN = {"in_app": 0.85, "email": 0.45, "agent_desk": 0.9}
DECAY = 0.5
"""What an offer adds falls by this much each time the same account sees it again within 14 days."""

Shown = tuple[str, str] | None
Outcome = dict[str, Any]


def answer_of(answer: Mapping[str, Any] | None) -> Shown:
    """(offer, channel) that was shown, or None. `offer` may be an id, or a mapping with `offer` or `id`."""
    if answer is None or answer.get("disposition", "offered") != "offered":
        return None
    offer = answer.get("offer")
    if isinstance(offer, Mapping):
        offer = offer.get("offer", offer.get("id"))
    if offer is None or offer == "NO_OFFER":
        return None
    return str(offer), str(answer.get("channel", "in_app"))


def outcomes_of(
    rng: random.Random, account: Account, shown: Shown, at_ms: int, delay_scale: float
) -> list[Outcome]:
    """Everything that follows, by time; `account.windows` and `account.presented` remember what was drawn."""
    found: list[Outcome] = []
    if shown is not None:
        found += _presented(rng, account, shown, at_ms, delay_scale)
    now = situation(account, at_ms)
    for offer in OFFERS:
        if (shown is not None and offer == shown[0]) or account.windows.get(offer, 0) > at_ms:
            continue
        account.windows[offer] = at_ms + WINDOW_MS
        if rng.random() < effect(now, offer)[1]:
            after_ms = round(rng.uniform(0.05, 12.0) * DAY_MS * delay_scale)
            found.append(_outcome("converted", offer, after_ms, amount=OFFERS[offer].amount, organic=True))
    return sorted(found, key=lambda outcome: outcome["after_ms"])


def _presented(
    rng: random.Random, account: Account, shown: tuple[str, str], at_ms: int, delay_scale: float
) -> list[Outcome]:
    offer, channel = shown
    bought = offer in OFFERS and rng.random() < _chance(account, offer, at_ms)
    if not bought and rng.random() < 0.03:
        return []  # never delivered
    delivered_ms = rng.randrange(200, 2_000) if channel != "email" else rng.randrange(2_000, 20_000)
    found = [_outcome("delivered", offer, delivered_ms)]
    if not bought and rng.random() >= SEEN.get(channel, 0.8):
        return found
    slow = DAY_MS / 8 if channel == "email" else 20_000.0
    seen_ms = delivered_ms + 500 + round(rng.expovariate(1 / slow) * (delay_scale if channel == "email" else 1.0))
    found.append(_outcome("seen", offer, seen_ms))
    if bought:
        clicked_ms = seen_ms + rng.randrange(1_000, 60_000)
        accepted_ms = clicked_ms + rng.randrange(1_000, 120_000)
        converted_ms = accepted_ms + 1_000 + round(min(rng.expovariate(1 / 1.5), 10.0) * DAY_MS * delay_scale)
        found += [_outcome("clicked", offer, clicked_ms), _outcome("accepted", offer, accepted_ms)]
        return [*found, _outcome("converted", offer, converted_ms, amount=OFFERS[offer].amount)]
    said = rng.random()
    if said < 0.12:
        found.append(_outcome("declined", offer, seen_ms + rng.randrange(2_000, 60_000)))
    elif said < 0.42:
        found.append(_outcome("dismissed", offer, seen_ms + rng.randrange(1_000, 20_000)))
    elif said < 0.52:
        found.append(_outcome("clicked", offer, seen_ms + rng.randrange(1_000, 60_000)))
    return found


def _chance(account: Account, offer: str, at_ms: int) -> float:
    """The probability of buying now that it is shown.

    INVARIANT: the first showing in a window has the true p_if_offered; after the organic draw of that window came
    out negative, or the offer was shown before, only what showing adds is left.
    """
    p_if_offered, p_if_not = effect(situation(account, at_ms), offer)
    if account.windows.get(offer, 0) <= at_ms:
        account.windows[offer] = at_ms + WINDOW_MS
        account.presented[offer] = 1
        return p_if_offered
    times = account.presented.get(offer, 0)
    account.presented[offer] = times + 1
    if p_if_offered <= p_if_not:
        return 0.0
    return (p_if_offered - p_if_not) / (1.0 - p_if_not) * DECAY**times


def _outcome(
    kind: str, offer: str, after_ms: int, *, amount: float = 0.0, organic: bool = False
) -> Outcome:
    return {"kind": kind, "offer": offer, "amount": amount, "after_ms": after_ms, "organic": organic}
