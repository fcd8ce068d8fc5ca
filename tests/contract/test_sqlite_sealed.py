"""What stands in the file about somebody is sealed, row by row; a store from before sealing is read as it is."""

import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sealed import MemorySeal, path, records, seal

from opportune.adapters.sqlite import SqliteRecords, schema
from opportune.adapters.sqlite.reading import SqliteReading
from opportune.core.customers import account_subject, person_subject
from opportune.core.signals import Problem, Repair
from opportune.ports import Access, Action, Merge, Proposal, Quarantined, StoreBroken, Transaction
from opportune.testing.contracts import records_samples as a

__all__ = ["path", "records", "seal"]

SECRET = "Ada Lovelace"
PROBLEM = Problem("schema", "data.seats", f"`{SECRET}` is no number")
QUARANTINED = Quarantined(5, "app", "q-1", "t", (PROBLEM,), SECRET.encode(), 1, "c1", "discarded", f"by {SECRET}")
NOBODYS = Quarantined(5, "app", "q-2", "t", (PROBLEM,), SECRET.encode(), 2)
MERGE = Merge("m1", 6, "c1", "c2", "email", "ann", f"both are {SECRET}", 7, "bob")
PROPOSAL = Proposal("p1", 6, "c1", "c2", 0.9, {"name": SECRET}, "refused", 7, "ann", f"not {SECRET}")
ACCESS = Access("x1", 6, "ann", "customer", "c1", ("personal", "sensitive"), f"{SECRET} called")
ACTION = Action("d1", 6, "c1", "a1", "email", "o1", "marketing", 7, 8, "failed", 2, f"{SECRET} has moved")
SIGNAL = msgspec.structs.replace(
    a.signal(1, name=SECRET), flags=("odd",), repairs=(Repair("known", "name", SECRET.lower(), SECRET),)
)
ACCOUNTS = msgspec.structs.replace(a.signal(2, name=SECRET), customer=None)
OUTCOME = a.outcome(1, detail=f"{SECRET} says no")
DECISION = a.decision(1, record=SECRET.encode(), salt=b"salted " + SECRET.encode())


def write(tx: Transaction) -> None:
    for signal in (SIGNAL, ACCOUNTS):
        a.append(tx, signal)
    tx.quarantine(QUARANTINED)
    tx.quarantine(NOBODYS)
    a.put(tx, a.person("c1", name=SECRET), a.account("a1", name=SECRET), DECISION, OUTCOME)
    tx.put_merge(MERGE)
    tx.put_proposal(PROPOSAL)
    tx.put_access(ACCESS)
    tx.put_action(ACTION)


def everything(records: SqliteRecords) -> list[Any]:
    return [
        [stored.signal for stored in records.signals()], records.signals_of(["c1"], 9)[-1:],
        records.signals_of_account("a1", 9)[:1], records.quarantined(9), records.quarantine_entry(1),
        records.person("c1"), records.account("a1"), list(records.people()), records.decision(DECISION.id),
        records.decisions(9), records.outcomes(DECISION.id), records.merges_of("c2"), records.proposals("refused", 9),
        records.accesses(9), records.actions(["failed"], 9, 9),
    ]  # fmt: skip


def test_nothing_about_somebody_stands_in_a_file_in_clear(records: SqliteRecords, path: Path) -> None:
    records.run(write)
    assert everything(records)[0] == [SIGNAL, ACCOUNTS]
    assert everything(records)[3:] == [
        [NOBODYS, QUARANTINED], QUARANTINED, a.person("c1", name=SECRET), a.account("a1", name=SECRET),
        [a.person("c1", name=SECRET)], DECISION, [DECISION], [OUTCOME], [MERGE], [PROPOSAL], [ACCESS], [ACTION],
    ]  # fmt: skip
    files = list(path.parent.iterdir())
    assert sum(file.stat().st_size for file in files) > 10_000
    for file in files:
        assert SECRET.encode().lower() not in file.read_bytes().lower()


def test_a_reader_of_its_own_and_the_next_start_read_the_same(
    records: SqliteRecords, path: Path, seal: MemorySeal
) -> None:
    records.run(write)
    before = everything(records)
    reading = SqliteReading(path, seal)
    assert everything(reading) == before
    reading.close()
    records.close()
    again = SqliteRecords(path, seal)
    assert everything(again) == before
    again.close()


def test_without_its_key_a_row_is_not_there(path: Path, seal: MemorySeal) -> None:
    records = SqliteRecords(path, seal)
    records.run(write)
    records.run(lambda tx: tx.put_person(a.person("c3")))
    records.close()
    del seal.keys[person_subject("c1")]
    records = SqliteRecords(path, seal)
    account = a.account("a1", name=SECRET)
    assert everything(records) == [
        [ACCOUNTS], [], [records.signals_of_account("a1", 9)[0]], [NOBODYS], None, None, account, [a.person("c3")],
        None, [], [], [], [], [], [],
    ]  # fmt: skip

    def read(tx: Transaction) -> list[Any]:
        looked_up = [tx.person("c1"), tx.decision(DECISION.id), tx.outcome(OUTCOME.id), tx.quarantined(1)]
        return [*looked_up, tx.merge("m1"), tx.proposal("p1"), tx.action("d1"), *tx.signals_of(["c1"])]

    assert records.run(read) == [None] * 7
    del seal.keys[account_subject("a1")]
    assert list(records.signals()) == []
    records.close()


def test_a_sealed_row_opens_only_in_its_own_place(path: Path, seal: MemorySeal) -> None:
    records = SqliteRecords(path, seal)
    records.run(lambda tx: a.put(tx, a.decision(1, customer="c1"), a.decision(4, customer="c1")))
    records.close()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE decisions SET record = (SELECT record FROM decisions ORDER BY id DESC LIMIT 1)")
    other.close()
    records = SqliteRecords(path, seal)
    assert records.decision(a.decision(4).id) == a.decision(4, customer="c1")
    with pytest.raises(ValueError, match="decisions/"):
        records.decision(a.decision(1).id)
    records.close()


def test_keys_are_durable_before_what_they_seal(path: Path) -> None:
    class Watching(MemorySeal):
        def flush(self) -> None:
            other = sqlite3.connect(path)
            seen.append(other.execute("SELECT count(*) FROM people").fetchone()[0])
            other.close()

    seen: list[int] = []
    records = SqliteRecords(path, Watching())
    records.run(lambda tx: tx.put_person(a.person("c1")))
    records.run(lambda tx: tx.put_person(a.person("c2")))
    assert seen == [0, 1]
    records.close()


def test_keys_that_cannot_be_made_durable_break_the_store_and_nothing_is_kept(path: Path, seal: MemorySeal) -> None:
    class Full(MemorySeal):
        def flush(self) -> None:
            raise OSError("no space left")

    records = SqliteRecords(path, Full())
    with pytest.raises(StoreBroken):
        records.run(lambda tx: tx.put_person(a.person("c1")))
    with pytest.raises(StoreBroken, match="reopen"):
        records.run(lambda tx: None)
    records.close()
    records = SqliteRecords(path, seal)
    assert records.counts()["people"] == 0
    records.close()


def store_of_the_first_version(path: Path) -> None:
    """As the version before sealing wrote it."""
    json, pack = msgspec.json.encode, msgspec.msgpack.encode
    person, account, s, d = a.person("c1", plan="pro"), a.account("a1", seats=3), a.signal(1, seats=4), a.decision(1)
    o, q = a.outcome(1, detail="mail"), a.quarantined(1)
    old = sqlite3.connect(path, isolation_level=None)
    schema.migrate(old, schema.MIGRATIONS[:1])
    put = {
        "signals": (
            1, s.source, s.id, b"content", s.type, 1, s.at_ms, s.received_ms, s.customer, s.account, json(s.data)
        ),
        "quarantine": (1, q.received_ms, q.source, q.id, q.type, json(q.problems), q.body),
        "people": ("c1", pack(person)), "accounts": ("a1", pack(account)),
        "decisions": (
            d.id, d.at_ms, d.customer, d.account, d.unit, d.moment, d.release, d.disposition, d.offer, d.channel,
            0, d.total_us, d.leaf, d.key, d.salt, d.record,
        ),
        "outcomes": (o.id, o.at_ms, o.kind, o.customer, o.unit, o.decision, o.offer, o.amount, o.detail, o.leaf),
    }  # fmt: skip
    for table, row in put.items():
        old.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    counted = ("signals", "quarantined", "people", "accounts", "decisions", "decisions.offered", "outcomes")
    old.executemany("INSERT INTO counters VALUES (?, 1)", [(name,) for name in counted])
    old.close()


def test_a_store_of_the_first_version_is_upgraded_and_read(path: Path, seal: MemorySeal) -> None:
    store_of_the_first_version(path)
    with pytest.raises(StoreBroken, match="start it once"):
        SqliteReading(path, seal)
    records = SqliteRecords(path, seal)
    assert records.person("c1") == a.person("c1", plan="pro")
    assert records.account("a1") == a.account("a1", seats=3)
    assert [(stored.seq, stored.signal, stored.leaf) for stored in records.signals()] == [
        (1, a.signal(1, seats=4), -1)
    ]
    assert records.quarantined(9, status="open") == [msgspec.structs.replace(a.quarantined(1), seq=1)]
    assert records.decisions(9) == [a.decision(1)]
    assert records.outcomes(a.decision(1).id) == [a.outcome(1, detail="mail")]
    records.run(lambda tx: a.put(tx, a.person("c1", plan=SECRET), a.outcome(1, detail=SECRET)))
    sent_again = msgspec.structs.replace(a.quarantined(1), seq=1, status="resubmitted")
    records.run(lambda tx: tx.put_quarantined(sent_again))
    records.close()
    assert SECRET.encode() not in path.read_bytes()
    records = SqliteRecords(path, seal)
    assert records.person("c1") == a.person("c1", plan=SECRET)
    assert records.outcomes(a.decision(1).id) == [a.outcome(1, detail=SECRET)]
    assert [entry.status for entry in records.quarantined(9)] == ["resubmitted"]
    assert records.erase(["c1"])["signals"] == 1
    records.close()
