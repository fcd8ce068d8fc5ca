"""The system of record for readers only: beside the process that writes it, and never in its way."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from opportune.adapters.sqlite import queries, rows
from opportune.adapters.sqlite.file import Readers
from opportune.adapters.sqlite.records import SqliteRecords
from opportune.adapters.sqlite.rows import Rows
from opportune.adapters.sqlite.schema import MIGRATIONS, version_of
from opportune.adapters.sqlite.sealing import known
from opportune.core.beliefs import Cell
from opportune.core.contacts import Tally
from opportune.core.customers import Account, Person
from opportune.ports import Seal, StoreBroken, StoredSignal, Transaction
from opportune.unit_of_work import COUNTED

T = TypeVar("T")


class SqliteReading(SqliteRecords):
    """`Records` that sees every committed unit and refuses to write; any number of processes may have one."""

    def __init__(self, path: Path, seal: Seal) -> None:
        """Raises StoreBroken when there is no store, or it was last written by another version."""
        if not path.is_file():
            raise StoreBroken(f"there is no store at `{path}`")
        self._readers = Readers(path)
        with self._readers.lend() as connection:
            version = version_of(connection)
        if version != len(MIGRATIONS):
            self._readers.close()
            fix = "upgrade Opportune" if version > len(MIGRATIONS) else "start it once, which upgrades the store"
            raise StoreBroken(f"the store has schema version {version}, this Opportune reads {len(MIGRATIONS)}: {fix}")
        self._rows = Rows(seal)
        self._person = self._read_person
        self._account = self._read_account
        self._tally = self._read_tally
        self._beliefs = self._read_beliefs

    def submit(self, work: Callable[[Transaction], T], done: Callable[[T | BaseException], None]) -> None:
        raise StoreBroken("this store is open for reading only")

    def run(self, work: Callable[[Transaction], T]) -> T:
        raise StoreBroken("this store is open for reading only")

    def erase(self, customers: Collection[str]) -> Mapping[str, int]:
        raise StoreBroken("this store is open for reading only")

    def rewrite_signals(self, signals: Sequence[StoredSignal]) -> None:
        raise StoreBroken("this store is open for reading only")

    def drop_before(self, what: Literal["quarantine", "access"], at_ms: int) -> int:
        raise StoreBroken("this store is open for reading only")

    def scrub(self, *, deep: bool = False) -> None:
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
        return known(self._rows.person, self._readers.one(queries.PERSON, id_))

    def _read_account(self, id_: str) -> Account | None:
        return known(self._rows.account, self._readers.one(queries.ACCOUNT, id_))

    def _read_tally(self, id_: str) -> Tally | None:
        row = self._readers.one(queries.TALLY, id_)
        return None if row is None else rows.tally(row)

    def _read_beliefs(self) -> list[Cell]:
        return [rows.belief(row) for row in self._readers.all(queries.BELIEFS)]
