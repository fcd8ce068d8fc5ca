"""Admission: how many decisions may be under way at once, and which class meets that limit first.

The limit follows what is measured: it grows while decisions that fill it are well within their budgets, and falls
when they are not (additive increase, multiplicative decrease, as TCP does).
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Final

import msgspec

from opportune.core.catalog import PriorityClass

SHARES: Final[Mapping[PriorityClass, float]] = {
    "critical": 1.0,
    "interactive": 0.9,
    "standard": 0.75,
    "batch": 0.5,
}
"""The share of all places that a class may fill: the lowest class meets its limit first, the first class never."""

RANKS: Final[Mapping[PriorityClass, int]] = {name: rank for rank, name in enumerate(SHARES)}
"""The order of classes, the first served first and shed last."""

PLACES_AT_FIRST: Final = 128
PLACES_MIN: Final = 16
SLOW_SHARE: Final = 0.5
"""A decision that took more than this part of its budget, once it had its place, met too much company."""
GROWTH: Final = 0.1
"""Places gained by each decision that was fast although at least half of all places were taken."""
SHRINKAGE: Final = 0.75
"""What is left of the places after one was slow; once per decision's time, for all who met the same jam."""


class Limit(msgspec.Struct, frozen=True):
    """The number of places, and since when: what began before does not count against it."""

    places: float
    since_us: int = 0


def adapted(limit: Limit, began_us: int, now_us: int, budget_us: int, taken: int, most: int) -> Limit:
    """The limit after a decision that began at `began_us` ended now, when `taken` places were."""
    if now_us - began_us > budget_us * SLOW_SHARE:
        if began_us < limit.since_us or limit.places <= PLACES_MIN:
            return limit
        return Limit(max(limit.places * SHRINKAGE, PLACES_MIN), now_us)
    if taken * 2 < limit.places or limit.places >= most:
        return limit
    return Limit(min(limit.places + GROWTH, most), limit.since_us)


class Gate:
    """Counts decisions between question and answer; there are never more than `under_way_max` places."""

    def __init__(self, under_way_max: int = 512) -> None:
        self._most = under_way_max
        self._limit = Limit(float(min(PLACES_AT_FIRST, under_way_max)))
        self._places = places_of(self._limit.places)
        self._under_way = 0
        self._lock = Lock()
        self.shed: dict[PriorityClass, int] = dict.fromkeys(SHARES, 0)
        """How many were turned away, by class."""

    @property
    def under_way(self) -> int:
        return self._under_way

    @property
    def places(self) -> int:
        return int(self._limit.places)

    def enter(self, priority: PriorityClass) -> bool:
        """Takes a place, or says no: the caller then waits or answers `shed`, and must not call `leave`."""
        with self._lock:
            if self._under_way >= self._places[priority]:
                return False
            self._under_way += 1
            return True

    def leave(self) -> None:
        """Gives the place back; how long it was taken says nothing about the company."""
        with self._lock:
            self._under_way -= 1

    def leave_after(self, began_us: int, now_us: int, budget_us: int) -> None:
        """Gives the place back after a decision, and learns from how long it took."""
        with self._lock:
            before = self._limit
            self._limit = limit = adapted(before, began_us, now_us, budget_us, self._under_way, self._most)
            self._under_way -= 1
            if limit is not before and int(limit.places) != int(before.places):
                self._places = places_of(limit.places)


def places_of(places: float) -> dict[PriorityClass, int]:
    """How many of all places may be taken when a question of each class comes."""
    return {name: max(1, int(places * share)) for name, share in SHARES.items()}


def lowered(priority: PriorityClass, wish: PriorityClass | None) -> PriorityClass:
    """The class of a question: its moment's, or a lower one that it asks for itself."""
    return priority if wish is None or RANKS[wish] <= RANKS[priority] else wish
