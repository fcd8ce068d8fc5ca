"""What every part of the contract of `Records` needs: a store, units that wait together, and a picture of it all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Event, Thread
from typing import Any

import pytest

from opportune.ports import Records, Transaction
from opportune.testing.contracts import records_samples as a


class Refusal(Exception):
    """A unit's own reason to be dropped."""


class _Told(Exception):
    """What a unit read that is to leave nothing behind."""


class StoreContract:
    """One part of the contract of `Records`: subclass the whole of it, `RecordsContract`."""

    def make(self) -> Records:
        """A new, empty store."""
        raise NotImplementedError

    def reopen(self, records: Records) -> Records:
        """The same store after a close; memory, which has nothing to reopen, gives back what it was given."""
        return records

    @pytest.fixture
    def records(self) -> Iterator[Records]:
        records = self.make()
        yield records
        records.close()


def run_together(records: Records, works: Sequence[Callable[[Transaction], Any]]) -> list[Any]:
    """Submits while the writer is held, so that a store that groups units has all of these in one group."""
    started, go, all_told = Event(), Event(), Event()
    results: list[Any] = []

    def hold(tx: Transaction) -> None:
        started.set()
        go.wait(30)

    def done(result: object) -> None:
        results.append(result)
        if len(results) == len(works):
            all_told.set()

    holder = Thread(target=lambda: records.submit(hold, lambda result: None))
    holder.start()
    assert started.wait(30)
    for work in works:
        records.submit(work, done)
    go.set()
    assert all_told.wait(30)
    holder.join(30)
    return results


def write_everything(tx: Transaction, number: int) -> None:
    """One of each thing that can be stored."""
    a.append(tx, a.signal(number, seats=number))
    seq = tx.quarantine(a.quarantined(number))
    tx.put_quarantined(a.quarantined(number, seq=seq, note="seen"))
    tx.put_person(a.person(f"c{number}", plan="pro"))
    tx.put_account(a.account(f"a{number}", seats=number))
    tx.put_tally(a.tally(number))
    tx.put_belief(a.belief(number))
    tx.put_identifier(b"hash%d" % number, "email", f"c{number}")
    tx.claim("rule", b"value%d" % number, f"app#s-{number}")
    tx.suppress(b"gone%d" % number, number)
    tx.put_decision(a.decision(number, key=f"k{number}", leaf=number))
    tx.put_outcome(a.outcome(number))
    tx.put_review(a.review(number))
    tx.put_release(a.release(number))
    tx.set_live(f"r{number}", number, "ann", "why")
    tx.put_model_event(a.model_event(number))
    tx.put_drift(a.drift(number))
    tx.set_position("crm", str(number))
    a.put(tx, a.merge(number), a.proposal(number), a.access(number), a.action(number))
    tx.append_leaf(b"leaf %d" % number)


def picture(records: Records) -> dict[str, Any]:
    """Everything that can be read, for comparing two stores or two moments."""
    decisions = records.decisions(1_000)
    customers = sorted({f"c{n}" for n in range(10)} | {d.customer for d in decisions})
    return {
        "counts": dict(records.counts()),
        "decisions": decisions,
        "by key": [records.decision_by_key(d.key) for d in decisions if d.key],
        "forwards": [[d.id for d in records.decisions_after(after, 2)] for after in ("", *(d.id for d in decisions))],
        "by id": [records.decision(d.id) for d in decisions],
        "outcomes": [records.outcomes(d.id) for d in decisions],
        "signals": list(records.signals()),
        "signals of": {id_: records.signals_of({id_}, 1_000) for id_ in customers},
        "signals of accounts": [records.signals_of_account(f"a{n}", 1_000) for n in range(10)],
        "quarantined": records.quarantined(1_000),
        "entries": [records.quarantine_entry(seq) for seq in range(10)],
        "reviews": {status: records.reviews(status, 1_000) for status in ("open", "approved", "refused")},
        "people": [records.person(id_) for id_ in customers],
        "everybody": sorted(person.id for person in records.people()),
        "accounts": [records.account(f"a{n}") for n in range(10)],
        "tallies": [records.tally(f"t{n}") for n in range(10)],
        "beliefs": sorted(records.beliefs(), key=lambda cell: cell.id),
        "read by units": records.run(lambda tx: _read_by_units(tx, customers)),
        "identifiers": [records.customer_by(b"hash%d" % n) for n in range(10)],
        "merges": [records.merges_of(id_) for id_ in customers],
        "proposals": {status: records.proposals(status, 1_000) for status in ("open", "refused")},
        "accesses": records.accesses(1_000),
        "actions": records.actions(("queued", "sending", "sent"), 1_000_000, 1_000),
        "held": held(records),
        "positions": records.run(lambda tx: [tx.position(reader) for reader in ("crm", "erp")]),
        "releases": records.releases(),
        "live": (records.live(), records.live_history()),
        "model events": (records.model_events(), [records.model_events(f"card{n}") for n in range(4)]),
        "drift": (records.drift("report", 1_000), records.drift("case", 1_000)),
        "leaves": records.leaves(0, 10_000),
        "leaf count": records.leaf_count(),
        "revenue": list(records.revenue_by_unit(0)),
    }


def _read_by_units(tx: Transaction, customers: list[str]) -> list[object]:
    """What units alone read of decisions, outcomes and merges."""
    return [
        [(tx.decisions_of([id_], 0), tx.outcomes_of([id_]), tx.merges_of(id_)) for id_ in customers],
        tx.decisions_after("", 1_000),
        [tx.belief(a.belief(number).id) for number in range(10)],
    ]


def held(records: Records) -> tuple[list[str], list[bool]]:
    """Who holds each value, and which identifiers are suppressed, read by a unit that is dropped."""

    def look(tx: Transaction) -> None:
        holders = [tx.claim("rule", b"value%d" % number, "") for number in range(10)]
        suppressed = [tx.suppressed(prefix + b"%d" % n) for prefix in (b"gone", b"hash") for n in range(10)]
        raise _Told(holders, suppressed)

    try:
        records.run(look)
    except _Told as told:
        holders, suppressed = told.args
        return holders, suppressed
    raise AssertionError("the unit was not dropped")
