"""The contract of `Records` about removal: what is erased, rewritten or too old is gone, and nothing else is."""

from __future__ import annotations

from functools import partial
from threading import Event, Thread
from typing import Any

import pytest

from opportune.ports import Duplicate, Records, StoreBroken, Transaction
from opportune.testing.contracts import records_samples as a
from opportune.testing.contracts.records_store import StoreContract, held, picture


class RemovalContract(StoreContract):
    """Part of `RecordsContract`."""

    def test_erasing_a_customer_removes_every_row_about_them(self, records: Records) -> None:
        records.run(lambda tx: write_customers(tx, 1, 2))
        assert records.erase({"c2"}) == {
            "signals": 2, "people": 1, "identifiers": 1, "decisions": 2, "outcomes": 2, "reviews": 1,
            "quarantined": 1, "merges": 2, "proposals": 2, "accesses": 1, "actions": 1,
        }  # fmt: skip
        told = repr({name: value for name, value in picture(records).items() if name != "leaves"})
        left = told.replace("'c2': []", "")
        assert "'c2'" not in left
        assert "'c1'" in left
        assert records.run(lambda tx: [tx.person("c2"), tx.decision(a.decision(20).id), tx.decision_by_key("k20")]) == [
            None
        ] * 3
        assert records.run(lambda tx: [tx.outcome(a.outcome(20).id), tx.merge("m20"), tx.action("n20")]) == [None] * 3
        assert records.erase({"c2"}) == dict.fromkeys(records.erase(()), 0)

    def test_erasing_leaves_everybody_else_as_they_were(self, records: Records) -> None:
        records.run(lambda tx: write_customers(tx, 1, 3))
        before = picture(records)
        records.run(lambda tx: write_customer(tx, 2))
        records.erase(["c2"])
        after = picture(records)
        leaves = before.pop("leaves"), before.pop("leaf count"), before["counts"].pop("leaves")
        assert after.pop("leaves")[: len(leaves[0])] == leaves[0]
        assert after.pop("leaf count") == after["counts"].pop("leaves") == leaves[1] + 2
        assert after == before

    def test_several_are_erased_at_once_and_outlive_a_reopening(self, records: Records) -> None:
        records.run(lambda tx: write_customers(tx, 1, 2, 3, 4))
        assert records.erase({"c1", "c2", "c4", "nobody"})["people"] == 3
        before = picture(records)
        again = self.reopen(records)
        try:
            assert picture(again) == before
            assert [person.id for person in again.people()] == ["c3"]
        finally:
            again.close()

    def test_places_are_not_given_out_again(self, records: Records) -> None:
        """Also when the newest was erased, and the store was closed since."""
        records.run(lambda tx: write_customers(tx, 1, 2))
        records.erase({"c2"})
        assert [stored.seq for stored in records.signals()] == [1, 2]
        assert records.run(lambda tx: (a.append(tx, a.signal(900)), tx.quarantine(a.quarantined(9)))) == (5, 3)
        records.run(lambda tx: write_customer(tx, 3))
        records.erase({"c3"})
        again = self.reopen(records)
        try:
            assert again.run(lambda tx: (a.append(tx, a.signal(901)), tx.quarantine(a.quarantined(9)))) == (8, 5)
            assert [stored.seq for stored in again.signals()] == [1, 2, 5, 8]
            assert again.counts()["signals"] == 4
        finally:
            again.close()

    def test_what_was_erased_may_come_back_as_new(self, records: Records) -> None:
        """Whether it may is the flows' question: see `suppressed`."""
        records.run(lambda tx: write_customer(tx, 2))
        before = records.counts()
        with pytest.raises(Duplicate):
            records.run(lambda tx: a.append(tx, a.signal(20, customer="c2")))
        records.erase({"c2"})
        assert {name for name, value in records.counts().items() if value} == {"leaves"}
        records.run(lambda tx: write_customer(tx, 2))
        after = records.counts()
        assert {**after, "leaves": before["leaves"]} == before
        assert after["leaves"] == 2 * before["leaves"]

    def test_values_that_only_erased_signals_held_are_free_again(self, records: Records) -> None:
        def work(tx: Transaction) -> None:
            a.append(tx, a.signal(1, customer="c1"))
            a.append(tx, a.signal(2, customer="c2"))
            tx.quarantine(a.quarantined(3, customer="c2"))
            for number, holder in enumerate(("app#s-1", "app#s-2", "app#q-3", "stopped")):
                tx.claim("rule", b"value%d" % number, holder)
            tx.suppress(b"gone1", 5)

        records.run(work)
        records.erase({"c2"})
        holders, suppressed = held(records)
        assert holders[:4] == ["app#s-1", "", "", "stopped"]
        assert suppressed[1]

    def test_the_log_is_read_on_while_some_of_it_is_erased(self, records: Records) -> None:
        total = 1_300
        records.run(lambda tx: [a.append(tx, a.signal(n, customer=f"c{n % 2}")) for n in range(1, total + 1)])
        reading = records.signals()
        assert [next(reading).seq for _ in range(3)] == [1, 2, 3]
        records.erase({"c1"})
        rest = [stored.seq for stored in reading]
        assert rest == sorted(set(rest))
        assert set(range(4, total + 1, 2)) <= set(rest)
        assert rest[-1] == total
        assert [stored.seq for stored in records.signals(after=7)] == list(range(8, total + 1, 2))

    def test_signals_are_rewritten_at_their_places(self, records: Records) -> None:
        records.run(lambda tx: [a.append(tx, a.signal(n, customer=f"c{n}", name="Ann")) for n in range(1, 5)])
        first, second, third, fourth = records.signals()
        records.erase({"c2"})
        records.rewrite_signals([a.without_data(second), a.without_data(third)])
        assert list(records.signals()) == [first, a.without_data(third), fourth]
        assert records.signals_of({"c3"}, 9) == [a.without_data(third)]
        known = records.run(lambda tx: tx.signal_seen("app", "s-3"))
        assert known is not None
        assert known[0] == 3
        again = self.reopen(records)
        try:
            assert list(again.signals()) == [first, a.without_data(third), fourth]
        finally:
            again.close()

    def test_old_entries_are_dropped(self, records: Records) -> None:
        def work(tx: Transaction) -> None:
            for number in range(1, 6):
                tx.quarantine(a.quarantined(number, received_ms=number * 10))
                tx.put_access(a.access(number, at_ms=number * 10))

        records.run(work)
        assert records.drop_before("quarantine", 30) == 2
        assert [entry.seq for entry in records.quarantined(9)] == [5, 4, 3]
        assert records.counts()["quarantined"] == 3
        assert len(records.accesses(9)) == 5
        assert records.drop_before("access", 41) == 4
        assert [access.at_ms for access in records.accesses(9)] == [50]
        assert records.drop_before("quarantine", 30) == 0
        assert records.drop_before("quarantine", 1_000) == 3
        again = self.reopen(records)
        try:
            assert again.run(lambda tx: tx.quarantine(a.quarantined(6))) == 6
            assert again.counts()["quarantined"] == 1
        finally:
            again.close()

    def test_erasing_waits_for_the_units_before_it(self, records: Records) -> None:
        started, go = Event(), Event()
        found: list[Any] = []

        def slow(tx: Transaction) -> None:
            started.set()
            go.wait(30)
            tx.put_person(a.person("c1"))

        unit = Thread(target=lambda: records.run(slow))
        unit.start()
        assert started.wait(30)
        erasing = Thread(target=lambda: found.append(records.erase({"c1"})))
        erasing.start()
        go.set()
        unit.join(30)
        erasing.join(30)
        assert found[0]["people"] == 1
        assert records.run(lambda tx: tx.person("c1")) is None

    def test_units_and_erasures_from_many_threads_lose_nothing(self, records: Records) -> None:
        def client(seed: int) -> None:
            for step in range(25):
                records.run(partial(write_customer, number=seed * 100 + step))
                if step % 5 == 4:
                    records.erase({f"c{seed * 100 + step}"})

        threads = [Thread(target=client, args=(seed,)) for seed in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        left = {f"c{seed * 100 + step}" for seed in range(1, 5) for step in range(25) if step % 5 != 4}
        assert {person.id for person in records.people()} == left
        assert records.counts()["signals"] == 2 * len(left) == len(list(records.signals()))

    def test_removing_inside_a_unit_is_refused_instead_of_waiting_for_ever(self, records: Records) -> None:
        with pytest.raises(RuntimeError):
            records.run(lambda tx: records.erase({"c1"}))
        with pytest.raises(RuntimeError):
            records.run(lambda tx: records.rewrite_signals([]))
        with pytest.raises(RuntimeError):
            records.run(lambda tx: records.drop_before("access", 5))

    def test_scrubbing_changes_nothing_that_can_be_read(self, records: Records) -> None:
        records.run(lambda tx: write_customers(tx, 1, 2))
        records.erase({"c1"})
        before = picture(records)
        records.scrub()
        records.scrub(deep=True)
        assert picture(records) == before
        records.run(lambda tx: write_customer(tx, 3))
        assert records.person("c3") is not None

    def test_a_closed_store_removes_nothing(self, records: Records) -> None:
        records.close()
        with pytest.raises(StoreBroken):
            records.erase({"c1"})


def write_customers(tx: Transaction, *numbers: int) -> None:
    for number in numbers:
        write_customer(tx, number)


def write_customer(tx: Transaction, number: int) -> None:
    """Everything that can be kept about customer `c<number>`, some of it together with `d<number>`."""
    customer, other, first = f"c{number}", f"d{number}", number * 10
    unit = {"customer": customer, "unit": customer}
    a.append(tx, a.signal(first, customer=customer, account=None))
    tx.append_leaf(b"signal %d" % first)
    a.append(tx, a.signal(first + 1, customer=customer))
    tx.append_leaf(b"signal %d" % (first + 1))
    tx.quarantine(a.quarantined(number, customer=customer))
    tx.put_identifier(b"hash%d" % number, "email", customer)
    tx.put_review(a.review(number, customer=customer))
    a.put(
        tx,
        a.person(customer, plan="pro"),
        a.decision(first, key=f"k{first}", **unit),
        a.decision(first + 1, disposition="held", **unit),
        a.outcome(first, **unit),
        a.outcome(first + 1, kind="delivered", decision=None, **unit),
        a.merge(first, customer, other),
        a.merge(first + 1, other, customer),
        a.proposal(first, customer, other),
        a.proposal(first + 1, other, customer),
        a.access(number, customer),
        a.action(first, customer),
    )
