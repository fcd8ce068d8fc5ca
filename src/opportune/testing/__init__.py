"""Shipped for whoever builds on Opportune: a clock that stands still, and one contract suite per port."""

from opportune.testing.clock import FrozenClock

__all__ = ["FrozenClock"]
