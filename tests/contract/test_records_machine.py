"""SQLite and memory, told the same random units, answer the same."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sealed import MemorySeal

from opportune.adapters.memory import MemoryRecords
from opportune.adapters.sqlite import SqliteRecords
from opportune.ports import Records
from opportune.testing.contracts.records_machine import RecordsMachine

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""


class SqliteAgainstMemory(RecordsMachine):
    def open_model(self) -> Records:
        return MemoryRecords()

    def open_subject(self) -> Records:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "records.db")
        self.seal = MemorySeal()
        # A cache of two: most reads have to go through both generations and the file.
        return SqliteRecords(self.path, self.seal, cached_max=2)

    def reopen_subject(self, subject: Records) -> Records:
        subject.close()
        return SqliteRecords(self.path, self.seal, cached_max=2)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


TestSqliteAgainstMemory = SqliteAgainstMemory.TestCase
TestSqliteAgainstMemory.settings = settings(
    max_examples=40, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
