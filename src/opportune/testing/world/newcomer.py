"""A world in which a new offer comes to a market: its true effect is known, and its purchases come late.

Offers of one kind differ from what their owners believe, together and each for itself; channels and segments differ
from each offer's mean. Purchases follow after a delay that may be long, some are taken back, and some come without
any offer.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from opportune.core.beliefs import Cell, Form, Trial, cell_id, empty_cell, with_trial

DAY_MS = 86_400_000
SEGMENTS = ("small", "medium", "large")
CHANNELS = ("in_app", "email")

Delay = Callable[[random.Random], float]
"""Days from an offer to its purchase; what lies beyond the label window is no purchase."""


class TrueEffect(msgspec.Struct, frozen=True):
    """(channel, segment) -> chances of a purchase within the window when the offer is shown, and when it is not."""

    shown: Mapping[tuple[str, str], float]
    base: Mapping[tuple[str, str], float]

    def uplift(self, channel: str, segment: str) -> float:
        """What showing adds."""
        return self.shown[channel, segment] - self.base[channel, segment]


def drawn_effect(
    rng: random.Random, p_accept: float, uplift: float, *, kind_error: float = 1.0, spread: float = 0.5,
    channel_spread: float = 0.25, segment_spread: float = 0.3,
) -> TrueEffect:  # fmt: skip
    """An offer whose owner believes in this acceptance and uplift. `kind_error`: how far all owners of its kind are
    off; spreads are those of logarithms around it."""
    level = p_accept * kind_error * math.exp(rng.gauss(-(spread**2) / 2, spread))
    organic = (1.0 - uplift / p_accept) * math.exp(rng.gauss(-(spread**2) / 2, spread))
    channel = {one: math.exp(rng.gauss(-(channel_spread**2) / 2, channel_spread)) for one in CHANNELS}
    shown, base = {}, {}
    for one in CHANNELS:
        for segment in SEGMENTS:
            own = math.exp(rng.gauss(-(segment_spread**2) / 2, segment_spread))
            shown[one, segment] = min(level * channel[one] * own, 0.9)
            base[one, segment] = min(shown[one, segment] * organic, 0.9)
    return TrueEffect(shown, base)


def quick(rng: random.Random) -> float:
    """Most buy within days."""
    return rng.expovariate(1 / 2.5)


def slow(rng: random.Random) -> float:
    """A contract that takes 30 days at least and up to a year: about 130 days in the mean."""
    return 30.0 + min(rng.gammavariate(2.0, 50.0), 330.0)


def trial(
    rng: random.Random, effect: TrueEffect, offer: str, channel: str, segment: str, at_ms: int, *, shown: bool,
    window_days: float, delay: Delay,
) -> Trial:  # fmt: skip
    """One trial with all that will ever become of it. Without the offer a purchase may come at any time."""
    bought = rng.random() < (effect.shown if shown else effect.base)[channel, segment]
    days = window_days * 2
    while bought and days > window_days:
        days = delay(rng) if shown else rng.uniform(0.0, window_days)
    return Trial(offer, channel, segment, at_ms, shown, int(days * DAY_MS) if bought else None)


def known_at(one: Trial, now_ms: int) -> Trial:
    """The trial as far as anybody can know at a time."""
    if one.delay_ms is None or one.at_ms + one.delay_ms <= now_ms:
        return one
    return msgspec.structs.replace(one, delay_ms=None)


def counted(form: Form, trials: Iterable[Trial], now_ms: int) -> dict[str, Cell]:
    """What is counted of trials by now; those to come are left out."""
    cells: dict[str, Cell] = {}
    for one in trials:
        if one.at_ms <= now_ms:
            cell = cells.get(cell_id(form, one)) or empty_cell(form, one)
            cells[cell.id] = with_trial(form, cell, known_at(one, now_ms), now_ms)
    return cells


def history(
    rng: random.Random, effects: Mapping[str, TrueEffect], days: Sequence[float], per_offer: int, *,
    window_days: float, delay: Delay, holdout: float = 0.1,
) -> list[Trial]:  # fmt: skip
    """`per_offer` trials of each offer between the first and the last of `days`, in every channel and segment."""
    found = []
    for offer, effect in effects.items():
        for _ in range(per_offer):
            at_ms = round(rng.uniform(days[0], days[-1]) * DAY_MS)
            channel, segment = rng.choice(CHANNELS), rng.choice(SEGMENTS)
            shown = rng.random() >= holdout
            found.append(
                trial(
                    rng, effect, offer, channel, segment, at_ms, shown=shown, window_days=window_days, delay=delay
                )
            )
    return found
