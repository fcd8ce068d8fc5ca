"""The machine as a product: its clock, its randomness, its files of keys."""

from opportune.adapters.system.clock import SystemClock
from opportune.adapters.system.vault import FileVault

__all__ = ["FileVault", "SystemClock"]
