"""What only a store on a disk can do wrong: tell too early, survive a failed sync, let one value spoil a group."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sealed import MemorySeal

from opportune.adapters.sqlite import SqliteRecords
from opportune.adapters.sqlite.cache import Cache
from opportune.adapters.sqlite.reading import SqliteReading
from opportune.ports import StoreBroken, Transaction
from opportune.testing.contracts import records_samples as a
from opportune.testing.contracts.records import picture, put_with_key, run_together, write_everything

SEAL = MemorySeal()


class Disk(sqlite3.Connection):
    """A connection whose disk refuses the statement that starts with `refused`."""

    refused: str | None = None

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if Disk.refused is not None and sql.startswith(Disk.refused):
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *parameters)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Disk]]:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Disk))
    yield Disk
    Disk.refused = None


def test_another_connection_finds_the_row_when_the_unit_is_told(path: Path) -> None:
    records = SqliteRecords(path, SEAL)
    found: list[Any] = []
    told = Event()

    def done(result: object) -> None:
        other = sqlite3.connect(path)
        found.extend(other.execute("SELECT entry FROM leaves").fetchall())
        found.extend(other.execute("SELECT value FROM counters WHERE name = 'leaves'").fetchall())
        other.close()
        told.set()

    records.submit(lambda tx: tx.append_leaf(b"x"), done)
    assert told.wait(30)
    assert found == [(b"x",), (1,)]
    records.close()


@pytest.mark.parametrize("statement", ["COMMIT", "INSERT INTO leaves", "INSERT INTO counters"])
def test_a_refused_write_acknowledges_nobody_and_breaks_the_store(
    path: Path, refuse: type[Disk], statement: str
) -> None:
    records = SqliteRecords(path, SEAL)
    write = write_everything
    records.run(partial(write, number=1))
    before = picture(records)
    refuse.refused = statement
    results = run_together(records, [partial(write, number=n) for n in (2, 3)])
    refuse.refused = None
    assert [type(result) for result in results] == [StoreBroken, StoreBroken]
    with pytest.raises(StoreBroken, match="reopen"):
        records.run(lambda tx: None)
    assert records.person("c2") is None
    assert records.counts() == before["counts"]
    records.close()
    again = SqliteRecords(path, SEAL)
    assert picture(again) == before
    again.run(partial(write, number=2))
    again.close()


def test_a_failed_read_breaks_the_store_too(path: Path, refuse: type[Disk]) -> None:
    records = SqliteRecords(path, SEAL)
    refuse.refused = "SELECT position"
    results = run_together(records, [lambda tx: tx.append_leaf(b"x"), lambda tx: tx.position("crm")])
    refuse.refused = None
    assert [type(result) for result in results] == [StoreBroken, StoreBroken]
    assert records.leaf_count() == 0
    records.close()


FULL_DISK = """
import resource, signal, sys
from opportune.adapters.sqlite import SqliteRecords
from opportune.adapters.system.vault import FileVault
from opportune.ports import StoreBroken
records = SqliteRecords(sys.argv[1], FileVault(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    for n in range(100_000):
        records.run(lambda tx: tx.append_leaf(b"%d " % n + bytes(900)))
        print(n, flush=True)
except StoreBroken as error:
    print(error, file=sys.stderr)
    try:
        records.run(lambda tx: None)
    except StoreBroken:
        sys.exit(3)
"""


def test_a_file_that_cannot_grow_loses_nothing_acknowledged(path: Path) -> None:
    """A real refusal by the operating system, in a process of its own."""
    called = [sys.executable, "-c", FULL_DISK, str(path), str(path.with_name("keys"))]
    ended = subprocess.run(called, capture_output=True, check=False)
    assert ended.returncode == 3, ended.stderr
    acknowledged = [int(line) for line in ended.stdout.split()]
    assert len(acknowledged) > 10
    records = SqliteRecords(path, SEAL)
    kept = [int(leaf.split()[0]) for leaf in records.leaves(0, 100_000)]
    assert kept[: len(acknowledged)] == acknowledged
    assert records.counts()["leaves"] == len(kept)
    assert records.run(lambda tx: tx.append_leaf(b"0 more")) == len(kept)
    records.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tx: tx.put_decision(a.decision(9, moment="\ud800")),
        lambda tx: tx.put_decision(a.decision(9, total_us=2**70)),
        lambda tx: tx.put_decision(a.decision(9, unit=None)),
        lambda tx: tx.put_decision(a.decision(9, record=object())),
        lambda tx: tx.put_person(a.person("c9", odd=object())),
        lambda tx: a.append(tx, a.signal(9, text="\ud800")),
    ],
)
def test_a_value_that_cannot_be_stored_fails_only_its_own_unit(path: Path, spoil: Any) -> None:
    records = SqliteRecords(path, SEAL)

    def spoiled(tx: Transaction) -> None:
        tx.append_leaf(b"spoiled")
        spoil(tx)

    results = run_together(
        records, [lambda tx: tx.append_leaf(b"1"), spoiled, lambda tx: tx.append_leaf(b"2")]
    )
    assert results[0] == 0
    assert isinstance(results[1], Exception)
    assert not isinstance(results[1], StoreBroken)
    assert results[2] == 1
    assert records.leaves(0, 9) == [b"1", b"2"]
    records.close()


def test_closing_finishes_what_waits(path: Path) -> None:
    records = SqliteRecords(path, SEAL)
    results: list[object] = []
    for number in range(1, 200):
        records.submit(partial(put_with_key, number=1) if number == 1 else lambda tx: None, results.append)
    records.close()
    assert results == [None] * 199


def test_one_process_owns_a_file(path: Path) -> None:
    records = SqliteRecords(path, SEAL)
    with pytest.raises(StoreBroken, match="another process"):
        SqliteRecords(path, SEAL)
    records.close()
    SqliteRecords(path, SEAL).close()


def test_a_reader_beside_the_writer_sees_every_unit_and_writes_none(path: Path) -> None:
    records = SqliteRecords(path, SEAL)
    records.run(partial(write_everything, number=1))
    reading = SqliteReading(path, SEAL)
    records.run(partial(write_everything, number=2))
    records.run(lambda tx: tx.put_person(a.person("c1", plan="changed")))
    for ask in (
        lambda r: r.counts(), lambda r: r.person("c1"), lambda r: r.account("a2"), lambda r: r.decisions(9),
        lambda r: list(r.signals()), lambda r: r.leaves(0, 9), lambda r: r.leaf_count(), lambda r: r.live(),
    ):  # fmt: skip
        assert ask(reading) == ask(records)
    with pytest.raises(StoreBroken, match="reading"):
        reading.run(lambda tx: None)
    reading.close()
    records.close()


def test_the_file_is_nobody_elses_to_read(path: Path) -> None:
    records = SqliteRecords(path, SEAL)
    records.run(lambda tx: tx.append_leaf(b"x"))
    assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir() if file.stat().st_size} == {0}
    records.close()


def test_a_file_from_a_newer_version_is_refused(path: Path) -> None:
    SqliteRecords(path, SEAL).close()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(StoreBroken, match="upgrade"):
        SqliteRecords(path, SEAL)


def test_counters_that_disagree_with_the_rows_are_noticed(path: Path) -> None:
    records = SqliteRecords(path, SEAL)
    records.run(lambda tx: tx.append_leaf(b"x"))
    records.close()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE counters SET value = 2 WHERE name = 'leaves'")
    other.close()
    with pytest.raises(StoreBroken, match="counters"):
        SqliteRecords(path, SEAL)


def test_the_cache_stays_within_its_bound_and_keeps_what_is_used() -> None:
    loads: list[str] = []

    def load(key: str) -> str:
        loads.append(key)
        return key

    cache: Cache[str] = Cache(load, 100)
    for number in range(1_000):
        assert cache.get(str(number)) == str(number)
        assert cache.get("hot") == "hot"
        assert len(cache) <= 102
    assert loads.count("hot") == 1


@pytest.mark.parametrize("others", [0, 2])
def test_a_slow_reader_never_puts_an_old_value_over_a_newer_one(others: int) -> None:
    reads: list[str] = []

    def load(key: str) -> str:
        """The writer commits after this read, and before the reader keeps what it read."""
        reads.append("new" if reads else "old")
        cache.replace([("c1", "new"), *((f"other {n}", "x") for n in range(others))])
        return reads[-1]

    cache: Cache[str] = Cache(load, 4)
    cache.get("c1")
    assert cache.get("c1") == "new"
