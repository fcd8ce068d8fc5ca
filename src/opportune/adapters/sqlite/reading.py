"""The system of record for readers only: beside the process that writes it, and never in its way."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from opportune.adapters.sqlite import queries, rows
from opportune.adapters.sqlite.file import Readers
from opportune.adapters.sqlite.records import SqliteRecords
from opportune.core.customers import Account, Person
from opportune.ports import StoreBroken, Transaction
from opportune.unit_of_work import COUNTED

T = TypeVar("T")


class SqliteReading(SqliteRecords):
    """`Records` that sees every committed unit and refuses to write; any number of processes may have one."""

    def __init__(self, path: Path) -> None:
        """Raises StoreBroken when there is no store."""
        if not path.is_file():
            raise StoreBroken(f"there is no store at `{path}`")
        self._readers = Readers(path)
        self._person = self._read_person
        self._account = self._read_account

    def submit(self, work: Callable[[Transaction], T], done: Callable[[T | BaseException], None]) -> None:
        raise StoreBroken("this store is open for reading only")

    def run(self, work: Callable[[Transaction], T]) -> T:
        raise StoreBroken("this store is open for reading only")

    def counts(self) -> Mapping[str, int]:
        found = dict(self._readers.all(queries.COUNTERS))
        return {**dict.fromkeys(COUNTED, 0), **{name: value for name, value in found.items() if value}}

    def leaf_count(self) -> int:
        count: int = self._readers.one(queries.LEAF_COUNT)[0]
        return count

    def close(self) -> None:
        self._readers.close()

    def _read_person(self, id_: str) -> Person | None:
        row = self._readers.one(queries.PERSON, id_)
        return None if row is None else rows.decode_person(row[0])

    def _read_account(self, id_: str) -> Account | None:
        row = self._readers.one(queries.ACCOUNT, id_)
        return None if row is None else rows.decode_account(row[0])
