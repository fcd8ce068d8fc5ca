"""SIGKILL at any moment: what was acknowledged is there, and the counters are the rows."""

import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from opportune.adapters.sqlite import SqliteRecords
from opportune.adapters.system.vault import FileVault

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

WRITER = Path(__file__).with_name("sqlite_writer.py")
TABLES = {
    "signals": "signals", "quarantined": "quarantine", "people": "people", "accounts": "accounts",
    "decisions": "decisions", "outcomes": "outcomes", "reviews": "reviews", "leaves": "leaves",
}  # fmt: skip


def kill_after(path: Path, acknowledged_min: int) -> set[int]:
    """What the writer said was kept, up to its death, which comes after at least so many."""
    with subprocess.Popen([sys.executable, WRITER, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(acknowledged_min)]
        process.kill()
        told += process.stdout.readlines()
    return {int(line) for line in told if line.endswith(b"\n")}


def rounds(path: Path, seeds: range) -> None:
    acknowledged: set[int] = set()
    for seed in seeds:
        acknowledged |= kill_after(path, random.Random(seed).randrange(1, 150))
        vault = FileVault(f"{path}-keys")
        records = SqliteRecords(path, vault)
        try:
            kept = {int(leaf.split()[1]) for leaf in records.leaves(0, 1_000_000)}
            assert acknowledged <= kept
            for number in acknowledged:
                decision = records.decision_by_key(f"k{number}")
                assert decision is not None
                assert decision.leaf == number
                assert records.person(f"c{number}") is not None
            assert_counters_are_rows(records, path)
            assert [stored.seq for stored in records.signals()] == list(range(1, len(kept) + 1))
        finally:
            records.close()
            vault.close()


def assert_counters_are_rows(records: SqliteRecords, path: Path) -> None:
    with sqlite3.connect(path) as other:
        counted = {name: f"SELECT count(*) FROM {table}" for name, table in TABLES.items()}
        rows = {name: other.execute(sql).fetchone()[0] for name, sql in counted.items()}
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    other.close()
    assert {name: records.counts()[name] for name in TABLES} == rows


def test_five_kills_lose_nothing_acknowledged(tmp_path: Path) -> None:
    rounds(tmp_path / "records.db", range(5))


@pytest.mark.torture
def test_a_hundred_kills_lose_nothing_acknowledged(tmp_path: Path) -> None:
    rounds(tmp_path / "records.db", range(5, 105))
