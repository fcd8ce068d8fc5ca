"""Admission: how many decisions may be under way at once, and who is turned away first."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

from opportune.core.catalog import PriorityClass

SHARES: Mapping[PriorityClass, float] = {
    "critical": 1.0,
    "interactive": 0.9,
    "standard": 0.75,
    "batch": 0.5,
}
"""The share of all places that a class may fill: the lowest class meets its limit first."""


class Gate:
    """Counts decisions between question and answer; `under_way_max` is the number of places."""

    def __init__(self, under_way_max: int = 512) -> None:
        self._places = {name: max(1, int(under_way_max * share)) for name, share in SHARES.items()}
        self._under_way = 0
        self._lock = Lock()

    @property
    def under_way(self) -> int:
        return self._under_way

    def enter(self, priority: PriorityClass) -> bool:
        """Takes a place, or says no: the caller then answers `shed` and must not call `leave`."""
        with self._lock:
            if self._under_way >= self._places[priority]:
                return False
            self._under_way += 1
            return True

    def leave(self) -> None:
        with self._lock:
            self._under_way -= 1
