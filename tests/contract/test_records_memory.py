"""Memory keeps the contract of the system of record."""

from collections.abc import Iterator
from threading import Event

from opportune.adapters.memory import MemoryRecords
from opportune.ports import Records
from opportune.testing.contracts import records_samples as a
from opportune.testing.contracts.records import RecordsContract


class TestMemoryRecords(RecordsContract):
    def make(self) -> Records:
        return MemoryRecords()


def test_a_unit_that_came_during_an_erasure_is_not_left_waiting() -> None:
    """It finds the store held, and nobody else would come to run it."""
    records, told = MemoryRecords(), Event()

    class Meanwhile(list[str]):
        def __iter__(self) -> Iterator[str]:
            records.submit(lambda tx: tx.put_person(a.person("c2")), lambda result: told.set())
            assert not told.is_set()
            return super().__iter__()

    records.erase(Meanwhile(["c1"]))
    assert told.is_set()
    assert records.person("c2") == a.person("c2")
