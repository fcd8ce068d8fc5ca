"""Short units may run on another thread when it pauses; what is told is durable all the same, nobody waits for ever."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread, get_ident
from typing import Any

import pytest
from sealed import MemorySeal

from opportune.adapters.sqlite import SqliteRecords, writer
from opportune.adapters.sqlite.turns import Turn
from opportune.ports import StoreBroken, Transaction
from opportune.testing.contracts import records_samples as a

SEAL = MemorySeal()


class Busy:
    """A thread that does one thing after the other, as an event loop does."""

    def __init__(self) -> None:
        self._things: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def call(self, thing: Callable[[], None]) -> None:
        self._things.put(thing)

    @property
    def ident(self) -> int | None:
        return self._thread.ident

    def end(self) -> None:
        self._things.put(None)
        self._thread.join(30)

    def _run(self) -> None:
        while (thing := self._things.get()) is not None:
            thing()


@pytest.fixture
def busy() -> Iterator[Busy]:
    found = Busy()
    yield found
    found.end()


@pytest.fixture
def records(tmp_path: Path, busy: Busy) -> Iterator[SqliteRecords]:
    found = SqliteRecords(tmp_path / "records.db", SEAL)
    found.share(busy.call)
    yield found
    found.close()


def together(records: SqliteRecords, busy: Busy, works: list[Callable[[Transaction], Any]]) -> list[Any]:
    """What became of short units that are submitted by the busy thread in one go, by their place."""
    results: dict[int, Any] = {}
    told = Event()

    def done(place: int, result: Any) -> None:
        results[place] = result
        if len(results) == len(works):
            told.set()

    begun, writing, submitted = Event(), Event(), Event()

    def keep(tx: Transaction) -> None:
        begun.set()
        writing.wait(30)

    def submit() -> None:
        for place, work in enumerate(works):
            records.submit_short(work, partial(done, place))
        submitted.set()

    # The writer is kept until all of them wait. Once it has begun: what waits together is taken together.
    records.submit(keep, lambda _: None)
    assert begun.wait(30)
    busy.call(submit)
    assert submitted.wait(30)
    writing.set()
    assert told.wait(30)
    return [results[place] for place in range(len(works))]


def test_units_run_where_they_were_submitted_and_are_durable_when_told(
    records: SqliteRecords, busy: Busy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SHARED_WAIT_S", 3600.0)  # however slow the machine is
    where: list[int] = []

    def work(tx: Transaction) -> int:
        where.append(get_ident())
        return tx.append_leaf(b"x")

    assert together(records, busy, [work] * 10) == list(range(10))
    assert set(where) == {busy.ident}
    with sqlite3.connect(tmp_path / "records.db") as other:
        assert other.execute("SELECT count(*) FROM leaves").fetchone() == (10,)


def test_a_thread_that_never_pauses_is_not_waited_for(
    records: SqliteRecords, busy: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SHARED_WAIT_S", 0.001)
    end, where = Event(), list[int]()
    results: SimpleQueue[object] = SimpleQueue()

    def submit_and_stay() -> None:
        for _ in range(8):
            records.submit_short(lambda tx: where.append(get_ident()), results.put)
        end.wait(30)

    busy.call(submit_and_stay)
    assert [results.get(timeout=30) for _ in range(8)] == [None] * 8
    assert busy.ident not in where
    end.set()


def test_a_thread_that_waits_for_the_writer_itself_is_not_waited_for(
    records: SqliteRecords, busy: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SHARED_WAIT_S", 3600.0)
    found: SimpleQueue[object] = SimpleQueue()

    def submit_and_wait() -> None:
        for _ in range(8):
            records.submit_short(lambda tx: tx.append_leaf(b"short"), lambda _: None)
        found.put(records.run(lambda tx: tx.append_leaf(b"waited for")))

    busy.call(submit_and_wait)
    assert found.get(timeout=30) == 8


def test_a_thread_that_has_ended_is_done_without(tmp_path: Path) -> None:
    records = SqliteRecords(tmp_path / "records.db", SEAL)

    def ended(_: object) -> None:
        raise RuntimeError("the loop is closed")

    records.share(ended)
    busy = Busy()
    assert together(records, busy, [lambda tx: tx.append_leaf(b"x")] * 5) == list(range(5))
    busy.end()
    records.close()


def test_what_fails_elsewhere_fails_only_its_own_unit(records: SqliteRecords, busy: Busy) -> None:
    def refused(tx: Transaction) -> None:
        tx.append_leaf(b"refused")
        raise ValueError("no")

    def spoiled(tx: Transaction) -> None:
        tx.append_leaf(b"spoiled")
        tx.put_person(a.person("c9", odd=object()))

    def good(tx: Transaction) -> int:
        return tx.append_leaf(b"good")

    first, no, second, bad, third = together(records, busy, [good, refused, good, spoiled, good])
    assert (first, second, third) == (0, 1, 2)
    assert isinstance(no, ValueError)
    assert isinstance(bad, Exception)
    assert not isinstance(bad, StoreBroken)
    assert records.leaves(0, 9) == [b"good"] * 3


def test_a_unit_cannot_wait_for_the_store_wherever_it_runs(records: SqliteRecords, busy: Busy) -> None:
    results = together(records, busy, [lambda tx: records.run(lambda tx: None)] * 4)
    assert [type(result) for result in results] == [RuntimeError] * 4


def test_a_turn_is_taken_once() -> None:
    ran: list[int] = []

    def work() -> int:
        ran.append(1)
        return len(ran)

    early, late = Turn(work), Turn(work)
    early.take()
    early.take()
    assert early.result(0.0) == 1
    assert late.result(0.0) == 2
    late.take()
    assert len(ran) == 2
