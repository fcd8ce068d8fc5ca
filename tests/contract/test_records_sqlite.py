"""SQLite keeps the contract of the system of record, and what only a disk can break."""

from pathlib import Path

import pytest
from sealed import MemorySeal

from opportune.adapters.sqlite import SqliteRecords
from opportune.ports import Records
from opportune.testing.contracts.records import RecordsContract


class TestSqliteRecords(RecordsContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "records.db"
        self.seal = MemorySeal()

    def make(self) -> Records:
        return SqliteRecords(self.path, self.seal)

    def reopen(self, records: Records) -> Records:
        records.close()
        return SqliteRecords(self.path, self.seal)
