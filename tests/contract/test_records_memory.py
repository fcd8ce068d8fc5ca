"""Memory keeps the contract of the system of record."""

from opportune.adapters.memory import MemoryRecords
from opportune.ports import Records
from opportune.testing.contracts.records import RecordsContract


class TestMemoryRecords(RecordsContract):
    def make(self) -> Records:
        return MemoryRecords()
