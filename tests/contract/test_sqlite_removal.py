"""What was removed is in no file, in no memory and in no counter, and its place is not given out again."""

import random
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sealed import MemorySeal, path, records, seal
from test_sqlite_sealed import ACCESS, ACTION, MERGE, PROPOSAL

from opportune.adapters.sqlite import SqliteRecords
from opportune.adapters.sqlite import records as records_module
from opportune.adapters.sqlite.cache import Cache
from opportune.adapters.sqlite.reading import SqliteReading
from opportune.ports import StoreBroken, Transaction
from opportune.testing.contracts import records_samples as a
from opportune.testing.contracts.records import picture, write_everything

__all__ = ["path", "records", "seal"]

GONE = "canary-7f3a9c"


def write_canary(tx: Transaction, who: str = GONE, number: int = 50) -> None:
    """Rows in every table whose clear columns name this customer."""
    changed = msgspec.structs.replace
    a.append(tx, changed(a.signal(number), id=f"{who}-s{number}", customer=who))
    tx.quarantine(changed(a.quarantined(number), id=f"{who}-q{number}", customer=who))
    tx.put_person(a.person(who))
    tx.put_identifier(f"{who}-{number}".encode(), "email", who)
    tx.claim("once", f"{who}{number}".encode(), f"app#{who}-s{number}")
    tx.put_decision(a.decision(number, customer=who, unit=who, key=f"{who}-{number}"))
    tx.put_outcome(a.outcome(number, customer=who, unit=who))
    tx.put_review(changed(a.review(number), customer=who))
    tx.put_merge(changed(MERGE, id=f"{who}-m{number}", kept=who))
    tx.put_proposal(changed(PROPOSAL, id=f"{who}-p{number}", other=who))
    tx.put_access(changed(ACCESS, id=f"{who}-x{number}", customer=who))
    tx.put_action(changed(ACTION, id=f"{who}-d{number}", customer=who))


def files_with(folder: Path, text: str) -> list[str]:
    return [file.name for file in folder.iterdir() if text.encode() in file.read_bytes()]


def test_no_file_holds_what_was_erased_once_it_is_scrubbed(records: SqliteRecords, path: Path) -> None:
    records.run(partial(write_everything, number=1))
    before = picture(records)
    records.run(write_canary)
    assert "records.db-wal" in files_with(path.parent, GONE)
    found = records.erase([GONE])
    assert set(found.values()) == {1}
    assert picture(records) == before
    assert files_with(path.parent, GONE)
    records.scrub()
    assert path.with_name("records.db-wal").stat().st_size == 0
    assert files_with(path.parent, GONE) == []
    assert picture(records) == before


def test_a_deep_scrub_also_clears_the_gaps_that_split_pages_keep(records: SqliteRecords, path: Path) -> None:
    everybody = [f"{GONE}-{number:03}" for number in range(300)]
    rng = random.Random(7)
    for turn in range(4):
        rng.shuffle(everybody)

        def work(tx: Transaction, turn: int = turn) -> None:
            for place, who in enumerate(everybody):
                write_canary(tx, who, turn * 1_000 + place)

        records.run(work)
    records.erase(everybody)
    records.scrub(deep=True)
    assert files_with(path.parent, GONE) == []
    assert path.stat().st_size < 500_000
    records.run(write_canary)
    assert records.person(GONE) == a.person(GONE)


def test_places_of_the_newest_are_not_given_out_again(path: Path, seal: MemorySeal) -> None:
    records = SqliteRecords(path, seal)
    records.run(partial(write_everything, number=1))
    records.run(write_canary)
    records.erase([GONE])

    def places(tx: Transaction) -> tuple[int, int]:
        return a.append(tx, a.signal(int(tx.position("crm") or 0) + 100)), tx.quarantine(a.quarantined(9))

    assert records.run(places) == (3, 3)
    records.run(lambda tx: tx.set_position("crm", "2"))
    assert records.drop_before("quarantine", 6) == 2
    records.close()
    records = SqliteRecords(path, seal)
    assert records.run(places) == (4, 4)
    assert [stored.seq for stored in records.signals()] == [1, 3, 4]
    assert (records.counts()["signals"], records.counts()["quarantined"]) == (3, 1)
    records.close()


@pytest.mark.parametrize("table", ["signals", "quarantine"])
def test_a_row_that_is_missing_is_noticed_also_after_an_erasure(path: Path, seal: MemorySeal, table: str) -> None:
    records = SqliteRecords(path, seal)
    records.run(write_canary)
    records.erase([GONE])
    records.run(partial(write_everything, number=1))
    records.close()
    SqliteRecords(path, seal).close()
    with sqlite3.connect(path) as other:
        other.execute(f"DELETE FROM {table} WHERE seq = 2")
    other.close()
    with pytest.raises(StoreBroken, match="counters"):
        SqliteRecords(path, seal)


def test_whoever_was_erased_is_not_found_in_memory_either(records: SqliteRecords) -> None:
    records.run(write_canary)
    assert records.person(GONE) is not None
    records.erase([GONE])
    assert records.person(GONE) is None
    assert records.run(lambda tx: (tx.person(GONE), tx.signal_seen("app", f"{GONE}-s50"))) == (None, None)
    records.run(write_canary)
    assert records.counts()["people"] == 1


@pytest.mark.parametrize("kept_since", [1, 5])
def test_a_slow_reader_does_not_bring_back_what_was_removed(kept_since: int) -> None:
    stored = {"c1": "state"}

    def load(key: str) -> str | None:
        """The erasure is committed after this read, and before the reader keeps what it read."""
        found = stored.get(key)
        stored.clear()
        cache.remove(["c1"])
        return found

    cache: Cache[str] = Cache(load, 4)
    assert cache.get("c1") == "state"
    assert cache.get("c1") is None
    cache.replace([("c1", "state"), *((f"other {n}", "x") for n in range(kept_since))])
    cache.remove(["c1"])
    assert cache.get("c1") is None


def test_a_value_that_an_erased_signal_held_is_free_and_that_of_others_is_not(records: SqliteRecords) -> None:
    def write(tx: Transaction) -> None:
        write_canary(tx)
        a.append(tx, a.signal(1))
        tx.claim("once", b"theirs", "app#s-1")
        # Kept out because another signal has its name already: the value is the other one's.
        tx.quarantine(msgspec.structs.replace(a.quarantined(1), id="s-1", customer=GONE))

    records.run(write)
    records.erase([GONE])
    assert records.run(lambda tx: tx.claim("once", f"{GONE}50".encode(), "app#new")) == "app#new"
    assert records.run(lambda tx: tx.claim("once", b"theirs", "app#new")) == "app#s-1"


def test_signals_are_rewritten_at_their_places(path: Path, seal: MemorySeal) -> None:
    records = SqliteRecords(path, seal)
    records.run(lambda tx: a.append(tx, a.signal(1, name="Ada")))
    records.run(write_canary)
    first, second = records.signals()
    records.erase([GONE])
    changed = msgspec.structs.replace
    emptied = [changed(one, signal=changed(one.signal, data={})) for one in (first, second)]
    records.rewrite_signals(emptied)
    assert list(records.signals()) == emptied[:1]
    assert records.run(lambda tx: tx.signal_seen("app", "s-1")) is not None
    records.close()
    records = SqliteRecords(path, seal)
    assert list(records.signals()) == emptied[:1]
    records.close()


def test_old_accesses_are_dropped(records: SqliteRecords) -> None:
    old, new = (msgspec.structs.replace(ACCESS, id=f"x{at_ms}", at_ms=at_ms) for at_ms in (5, 6))
    records.run(lambda tx: tx.put_access(old))
    records.run(lambda tx: tx.put_access(new))
    assert records.drop_before("access", 6) == 1
    assert records.accesses(9) == [new]


def test_a_reader_in_the_log_delays_a_scrub_but_no_unit(
    records: SqliteRecords, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_module, "SCRUB_ATTEMPTS", 2)
    monkeypatch.setattr(records_module, "SCRUB_PAUSE_S", 0.0)
    records.run(write_canary)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM people").fetchone()
    records.erase([GONE])
    with pytest.raises(TimeoutError, match="scrub again"):
        records.scrub()
    records.run(partial(write_everything, number=1))
    other.execute("ROLLBACK")
    records.scrub()
    assert files_with(path.parent, GONE) == []
    assert records.person("c1") is not None
    other.close()


def test_a_removal_that_the_disk_refuses_removes_nothing(
    path: Path, seal: MemorySeal, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Disk(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if refused and sql.startswith("DELETE FROM actions"):
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, *parameters)

    refused: list[bool] = []
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Disk))
    records = SqliteRecords(path, seal)
    records.run(write_canary)
    before = picture(records)
    refused.append(True)
    with pytest.raises(StoreBroken):
        records.erase([GONE])
    with pytest.raises(StoreBroken, match="reopen"):
        records.erase([GONE])
    records.close()
    refused.clear()
    records = SqliteRecords(path, seal)
    assert picture(records) == before
    records.close()


def test_only_the_writer_removes(records: SqliteRecords, path: Path, seal: MemorySeal) -> None:
    with pytest.raises(RuntimeError, match="submit"):
        records.run(lambda tx: records.erase([GONE]))
    reading = SqliteReading(path, seal)
    for ask in (
        lambda: reading.erase([GONE]), lambda: reading.drop_before("access", 1), lambda: reading.rewrite_signals([]),
        reading.scrub,
    ):  # fmt: skip
        with pytest.raises(StoreBroken, match="reading"):
            ask()
    reading.close()
