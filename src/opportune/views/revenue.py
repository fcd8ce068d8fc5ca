"""What offers earn: revenue per unit against the hold-out, with an interval that may be looked at any time."""

from __future__ import annotations

from math import log, sqrt

import msgspec

from opportune.ports import Records

UNITS_MIN = 30
ALPHA = 0.05
_TUNED_AT = 5_000


class Revenue(msgspec.Struct, frozen=True):
    """Mean revenue per unit with offers and in the hold-out, in the playbook's currency.

    `lift` is the difference per unit; `low` and `high` bound it at 95 % at every look. All three are None while
    either group has fewer than 30 units.
    """

    since_ms: int
    offered_units: int
    holdout_units: int
    offered_mean: float
    holdout_mean: float
    lift: float | None
    low: float | None
    high: float | None


class _Sums:
    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.squares = 0.0

    def add(self, amount: float) -> None:
        self.count += 1
        self.total += amount
        self.squares += amount * amount

    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def error_squared(self) -> float:
        """The squared standard error of the mean; needs two units."""
        spread = (self.squares - self.count * self.mean() ** 2) / (self.count - 1)
        return max(spread, 0.0) / self.count


def revenue_view(records: Records, since_ms: int) -> Revenue | None:
    """Walks every unit that was decided on since then; None when there is none. Not for every request."""
    offered, held = _Sums(), _Sums()
    for _, in_holdout, amount in records.revenue_by_unit(since_ms):
        (held if in_holdout else offered).add(amount)
    if not offered.count and not held.count:
        return None
    lift = low = high = None
    if min(offered.count, held.count) >= UNITS_MIN:
        lift = offered.mean() - held.mean()
        error = sqrt(offered.error_squared() + held.error_squared())
        reach = error * any_time_factor(offered.count + held.count)
        low, high = lift - reach, lift + reach
    return Revenue(
        since_ms, offered.count, held.count, offered.mean(), held.mean(), lift, low, high
    )


def any_time_factor(count: int) -> float:
    """How many standard errors an interval must reach to hold at every look.

    The asymptotic confidence sequence of Waudby-Smith et al. (2021, eq. 14), tightest at about 5,000 units.
    """
    tuning = (-2 * log(ALPHA) + log(-2 * log(ALPHA) + 1)) / _TUNED_AT
    grown = count * tuning + 1
    return sqrt(2 * grown / (count * tuning) * log(sqrt(grown) / ALPHA))
