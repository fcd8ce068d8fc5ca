"""Memory as a product: for tests, `what if` runs and first steps; the same contract, gone when the process ends."""

from opportune.adapters.memory.records import MemoryRecords

__all__ = ["MemoryRecords"]
