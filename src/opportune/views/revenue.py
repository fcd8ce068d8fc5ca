"""What offers earn: revenue per unit against the hold-out, with an interval that may be looked at any time."""

from __future__ import annotations

from math import log, sqrt

import msgspec

from opportune.ports import Records

UNITS_MIN = 30
BUYERS_MIN = 10
ALPHA = 0.05
_TUNED_AT = 5_000


class Revenue(msgspec.Struct, frozen=True):
    """Mean revenue per unit with offers and in the hold-out, in the playbook's currency.

    `lift` is the difference per unit; `low` and `high` bound it at 95 % at every look. All three are None while
    either group has fewer than 30 units or 10 that bought.
    """

    since_ms: int
    offered_units: int
    holdout_units: int
    offered_buyers: int
    holdout_buyers: int
    offered_mean: float
    holdout_mean: float
    lift: float | None
    low: float | None
    high: float | None


class _Sums:
    def __init__(self) -> None:
        self.count = 0
        self.buyers = 0
        self.total = 0.0
        self.squares = 0.0

    def add(self, amount: float) -> None:
        self.count += 1
        self.buyers += amount != 0.0
        self.total += amount
        self.squares += amount * amount

    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def spread(self) -> float:
        """The variance of one unit's revenue; needs two units."""
        return max((self.squares - self.count * self.mean() ** 2) / (self.count - 1), 0.0)

    def joined(self, other: _Sums) -> _Sums:
        both = _Sums()
        both.count, both.total = self.count + other.count, self.total + other.total
        both.squares = self.squares + other.squares
        return both


def revenue_view(records: Records, since_ms: int) -> Revenue | None:
    """Walks every unit that was decided on since then; None when there is none. Not for every request."""
    offered, held = _Sums(), _Sums()
    for _, in_holdout, amount in records.revenue_by_unit(since_ms):
        (held if in_holdout else offered).add(amount)
    if not offered.count and not held.count:
        return None
    lift = low = high = None
    enough = min(offered.count, held.count) >= UNITS_MIN and min(offered.buyers, held.buyers) >= BUYERS_MIN
    if enough:
        lift = offered.mean() - held.mean()
        error = _error(offered, held)
        reach = error * any_time_factor(offered.count + held.count)
        low, high = lift - reach, lift + reach
    return Revenue(
        since_ms, offered.count, held.count, offered.buyers, held.buyers, offered.mean(), held.mean(),
        lift, low, high,
    )


def _error(offered: _Sums, held: _Sums) -> float:
    """The standard error of the difference. A small group in which by chance nobody spent much looks surer than it
    is: neither group counts as less spread than both together. Without that, one look in four was a false alarm."""
    floor = offered.joined(held).spread()
    return sqrt(max(offered.spread(), floor) / offered.count + max(held.spread(), floor) / held.count)


def any_time_factor(count: int) -> float:
    """How many standard errors an interval must reach to hold at every look.

    The asymptotic confidence sequence of Waudby-Smith et al. (2021, eq. 14), tightest at about 5,000 units.
    """
    tuning = (-2 * log(ALPHA) + log(-2 * log(ALPHA) + 1)) / _TUNED_AT
    grown = count * tuning + 1
    return sqrt(2 * grown / (count * tuning) * log(sqrt(grown) / ALPHA))
