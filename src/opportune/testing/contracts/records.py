"""The contract of `Records`: serial units kept whole or not at all, durable before anybody is told."""

from __future__ import annotations

import random
from functools import partial
from threading import Event, Thread
from typing import Any

import msgspec
import pytest

from opportune.ports import Duplicate, Records, StoreBroken, StoreFull, Transaction
from opportune.testing.contracts import records_samples as a
from opportune.testing.contracts.records_customers import CustomerRecordsContract
from opportune.testing.contracts.records_removal import RemovalContract
from opportune.testing.contracts.records_store import Refusal, picture, run_together, write_everything

__all__ = ["RecordsContract", "Refusal", "picture", "put_with_key", "run_together", "write_everything"]


class RecordsContract(CustomerRecordsContract, RemovalContract):
    """Subclass it as `Test…` with `make`; override `reopen` when the store outlives its process."""

    # Units

    def test_a_unit_reads_its_own_writes_and_those_of_earlier_units(self, records: Records) -> None:
        def first(tx: Transaction) -> tuple[Any, ...]:
            tx.put_person(a.person("c1", plan="free"))
            tx.put_person(a.person("c1", plan="pro"))
            return tx.person("c1"), tx.person("c2"), tx.account("a1")

        assert records.run(first) == (a.person("c1", plan="pro"), None, None)
        assert records.run(lambda tx: tx.person("c1")) == a.person("c1", plan="pro")
        assert records.person("c1") == a.person("c1", plan="pro")
        assert records.person("c2") is None

    def test_a_unit_that_raises_is_dropped_whole(self, records: Records) -> None:
        records.run(lambda tx: tx.put_person(a.person("c1", plan="free")))

        def refused(tx: Transaction) -> None:
            write_everything(tx, 1)
            tx.put_person(a.person("c1", plan="pro"))
            tx.put_person(a.person("c9"))
            raise Refusal

        before = picture(records)
        with pytest.raises(Refusal):
            records.run(refused)
        assert picture(records) == before
        assert records.run(lambda tx: (tx.person("c1"), tx.person("c9"))) == (a.person("c1", plan="free"), None)

    def test_a_dropped_unit_leaves_no_gap_in_the_log_or_the_ledger(self, records: Records) -> None:
        def numbers(tx: Transaction, number: int) -> tuple[int, int, int]:
            seq = a.append(tx, a.signal(number))
            return seq, tx.append_leaf(b"%d" % number), tx.quarantine(a.quarantined(number))

        def refused(tx: Transaction) -> None:
            numbers(tx, 2)
            raise Refusal

        results = run_together(
            records, [lambda tx: numbers(tx, 1), refused, lambda tx: numbers(tx, 3), lambda tx: numbers(tx, 2)]
        )
        assert [r for r in results if not isinstance(r, Refusal)] == [(1, 0, 1), (2, 1, 2), (3, 2, 3)]
        assert isinstance(results[1], Refusal)
        assert [s.seq for s in records.signals()] == [1, 2, 3]
        assert records.leaves(0, 9) == [b"1", b"3", b"2"]

    def test_drift_is_kept_by_id_and_read_the_newest_first(self, records: Records) -> None:
        reports = [a.drift(n) for n in range(1, 5)]
        case = a.drift(9, what="case", status="proposed")
        apart = a.drift(7, what="disagreement", status="disagreement")

        def work(tx: Transaction) -> object:
            for one in (*reports, case, apart):
                tx.put_drift(one)
            return tx.drift("w9"), tx.drift("w8")

        assert records.run(work) == (case, None)
        later = a.drift(9, what="case", status="approved", at_ms=401)
        records.run(lambda tx: tx.put_drift(later))
        assert records.drift("report", 3) == [reports[3], reports[2], reports[1]]
        assert records.drift("report", 9, model="m1") == [reports[2], reports[0]]
        assert records.drift("case", 9, status="proposed") == []
        assert records.drift("disagreement", 9) == [apart]
        assert records.drift("case", 9, model="m1", status="approved") == [later]
        assert records.run(lambda tx: tx.drift("w9")) == later

    def test_the_log_is_read_by_types(self, records: Records) -> None:
        kinds = ("offer.seen", "usage.reported", "offer.converted", "usage.reported")
        some = [msgspec.structs.replace(a.signal(n), type=kind) for n, kind in enumerate(kinds, 1)]
        records.run(lambda tx: [a.append(tx, one) for one in some])
        assert [one.seq for one in records.signals(types=["usage.reported"])] == [2, 4]
        assert [one.seq for one in records.signals(after=1, types=["offer.seen", "offer.converted"])] == [3]
        assert list(records.signals(types=[])) == []

    def test_what_happened_to_models_is_read_in_the_order_of_writing(self, records: Records) -> None:
        first, other, second = a.model_event(9), a.model_event(5, card=2), a.model_event(1, kind="refused", details={})

        def work(tx: Transaction) -> Any:  # noqa: ANN401 - what the unit read
            for event in (first, other, second):
                tx.put_model_event(event)
            return tx.model_events("card1")

        assert records.run(work) == [first, second]
        assert records.model_events() == [first, other, second]
        assert records.model_events("card1") == records.run(lambda tx: tx.model_events("card1")) == [first, second]
        assert records.model_events("card9") == []

    def test_results_come_in_the_order_of_submission(self, records: Records) -> None:
        order: list[int] = []
        all_told = Event()

        def unit(number: int) -> None:
            def work(tx: Transaction) -> None:
                tx.append_leaf(b"%d" % number)
                if number % 7 == 3:
                    raise Refusal

            def done(result: object) -> None:
                order.append(number)
                if number == 199:
                    all_told.set()

            records.submit(work, done)

        for number in range(200):
            unit(number)
        assert all_told.wait(30)
        assert order == list(range(200))
        assert records.leaves(0, 200) == [b"%d" % n for n in range(200) if n % 7 != 3]

    def test_a_result_is_told_when_readers_can_see_it(self, records: Records) -> None:
        seen: list[Any] = []
        told = Event()

        def done(result: object) -> None:
            seen.extend([records.person("c1"), records.leaf_count(), records.counts()["people"]])
            told.set()

        def work(tx: Transaction) -> None:
            tx.put_person(a.person("c1"))
            tx.append_leaf(b"x")

        records.submit(work, done)
        assert told.wait(30)
        assert seen == [a.person("c1"), 1, 1]

    def test_a_done_that_raises_harms_nobody_else(self, records: Records) -> None:
        def bad(result: object) -> None:
            raise Refusal

        records.submit(lambda tx: tx.put_person(a.person("c1")), bad)
        records.run(lambda tx: tx.put_person(a.person("c2")))
        assert records.counts()["people"] == 2

    def test_running_inside_a_unit_is_refused_instead_of_waiting_for_ever(self, records: Records) -> None:
        with pytest.raises(RuntimeError, match="submit"):
            records.run(lambda tx: records.run(lambda inner: None))

    def test_a_closed_store_refuses_work(self, records: Records) -> None:
        records.close()
        with pytest.raises(StoreBroken):
            records.submit(lambda tx: None, print)

    def test_too_many_waiting_units_are_refused(self, records: Records) -> None:
        started, go = Event(), Event()
        full: list[int] = []

        def slow(tx: Transaction) -> None:
            started.set()
            go.wait(30)

        first = Thread(target=lambda: records.run(slow))
        first.start()
        assert started.wait(30)
        try:
            for number in range(20_000):
                records.submit(lambda tx: None, lambda result: None)
                full.append(number)
        except StoreFull:
            pass
        finally:
            go.set()
            first.join(30)
        assert 1 <= len(full) <= 10_000
        assert records.run(lambda tx: 7) == 7

    def test_eight_threads_lose_nothing(self, records: Records) -> None:
        def client(seed: int) -> None:
            rng = random.Random(seed)  # noqa: S311
            for step in range(50):
                number = seed * 1000 + step
                try:
                    records.run(partial(visit, number=number, refuse=rng.random() < 0.2))
                except Refusal:
                    refused.append(number)

        def visit(tx: Transaction, number: int, refuse: bool) -> None:
            visits = tx.person("c1")
            count = 0 if visits is None else visits.traits["visits"]
            tx.put_person(a.person("c1", visits=count + 1))
            a.append(tx, a.signal(number))
            tx.append_leaf(b"%d" % number)
            if refuse:
                raise Refusal

        refused: list[int] = []
        threads = [Thread(target=client, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        kept = {s * 1000 + step for s in range(8) for step in range(50)} - set(refused)
        person = records.person("c1")
        assert person is not None
        assert person.traits["visits"] == len(kept)
        assert {int(leaf) for leaf in records.leaves(0, 500)} == kept
        assert [s.seq for s in records.signals()] == list(range(1, len(kept) + 1))
        assert records.counts()["signals"] == len(kept)

    # What is taken already

    def test_a_signal_is_known_by_source_and_id(self, records: Records) -> None:
        content = records.run(lambda tx: (a.append(tx, a.signal(1)), tx.signal_seen("app", "s-1")))[1]
        assert content is not None
        assert content[0] == 1
        assert records.run(lambda tx: tx.signal_seen("app", "s-1")) == content
        assert records.run(lambda tx: tx.signal_seen("crm", "s-1")) is None
        assert records.run(lambda tx: a.append(tx, a.signal(1, source="crm"))) == 2
        with pytest.raises(Duplicate):
            records.run(lambda tx: a.append(tx, a.signal(1, seats=5)))
        assert records.counts()["signals"] == 2

    def test_a_key_names_one_decision_for_ever(self, records: Records) -> None:
        first = a.decision(1, key="k")
        records.run(lambda tx: tx.put_decision(first))
        assert records.run(lambda tx: tx.decision_by_key("k")) == first == records.decision_by_key("k")
        assert records.decision_by_key("other") is None
        with pytest.raises(Duplicate):
            records.run(lambda tx: tx.put_decision(a.decision(2, key="k")))
        with pytest.raises(Duplicate):
            records.run(lambda tx: tx.put_decision(a.decision(1, key="other")))
        assert records.counts()["decisions"] == 1

    def test_two_units_of_one_sync_cannot_share_a_key(self, records: Records) -> None:
        results = run_together(records, [partial(put_with_key, number=number) for number in (1, 2)])
        assert [type(result) for result in results] == [type(None), Duplicate]

    def test_what_is_put_again_is_replaced_and_counted_once(self, records: Records) -> None:
        def put(tx: Transaction, disposition: str, kind: str, status: str) -> None:
            tx.put_decision(a.decision(1, disposition=disposition))
            tx.put_outcome(a.outcome(1, kind=kind))
            tx.put_review(a.review(1, status))

        records.run(lambda tx: put(tx, "escalated", "delivered", "open"))
        records.run(lambda tx: put(tx, "offered", "converted", "approved"))
        counts = records.counts()
        assert {name: value for name, value in counts.items() if value} == {
            "decisions": 1, "decisions.offered": 1, "outcomes": 1, "outcomes.converted": 1, "reviews": 1
        }  # fmt: skip
        assert records.reviews("open", 9) == []
        assert records.reviews("approved", 9) == [a.review(1, "approved")]

    # Read models

    def test_decisions_are_paged_newest_first(self, records: Records) -> None:
        all_of_them = [a.decision(n, disposition="held" if n % 2 else "offered") for n in range(10)]
        records.run(lambda tx: a.put(tx, *all_of_them))
        newest = all_of_them[::-1]
        assert records.decisions(4) == newest[:4]
        assert records.decisions(4, before=newest[3].id) == newest[4:8]
        assert records.decisions(2, disposition="held") == [all_of_them[9], all_of_them[7]]
        assert records.decisions(9, customer="c1") == [all_of_them[7], all_of_them[4], all_of_them[1]]
        assert records.decisions(9, customer="c1", disposition="held", before=newest[2].id) == [all_of_them[1]]
        assert records.decision(newest[0].id) == newest[0]
        assert records.decision("nothing") is None

    def test_the_log_can_be_read_from_any_place_while_it_grows(self, records: Records) -> None:
        total = 1_203
        signals = [a.signal(n, seats=n, tags=["x", None, 1.5]) for n in range(total)]
        records.run(lambda tx: [a.append(tx, one) for one in signals])
        assert [stored.signal for stored in records.signals()] == signals
        assert [stored.seq for stored in records.signals(after=1_000)] == list(range(1_001, total + 1))
        reading = records.signals(after=total - 1)
        assert next(reading).seq == total
        records.run(lambda tx: a.append(tx, a.signal(total)))
        assert next(reading).seq == total + 1

    def test_revenue_is_told_for_every_unit_that_was_decided_on(self, records: Records) -> None:
        def work(tx: Transaction) -> None:
            tx.put_decision(a.decision(1, unit="held", holdout=True))
            tx.put_decision(a.decision(2, unit="bought"))
            tx.put_decision(a.decision(3, unit="bought"))
            tx.put_decision(a.decision(4, unit="quiet"))
            tx.put_decision(a.decision(0, unit="long ago", at_ms=1))
            tx.put_outcome(a.outcome(1, unit="bought", amount=10.0))
            tx.put_outcome(a.outcome(2, unit="bought", amount=5.0, decision=None))
            tx.put_outcome(a.outcome(3, unit="bought", amount=7.0, kind="delivered"))
            tx.put_outcome(a.outcome(4, unit="bought", amount=9.0, at_ms=2))
            tx.put_outcome(a.outcome(5, unit="held", amount=3.0, decision=None))
            tx.put_outcome(a.outcome(6, unit="nobody", amount=4.0, decision=None))

        records.run(work)
        found = [("bought", False, 15.0), ("held", True, 3.0), ("quiet", False, 0.0)]
        assert list(records.revenue_by_unit(10_000)) == found

    def test_outcomes_of_a_decision_in_order_of_time(self, records: Records) -> None:
        later, sooner = a.outcome(1, at_ms=9), a.outcome(2, at_ms=8, kind="delivered", detail="mail")
        other = a.outcome(3, decision=None)
        records.run(lambda tx: a.put(tx, later, sooner, other))
        assert records.outcomes(a.decision(1).id) == [sooner, later]
        assert records.run(lambda tx: tx.outcome(later.id)) == later
        assert records.run(lambda tx: tx.outcome("nothing")) is None

    def test_purchases_that_no_decision_claims(self, records: Records) -> None:
        early, late = a.outcome(1, at_ms=8, decision=None), a.outcome(2, at_ms=9, decision=None)
        claimed, other = a.outcome(3, at_ms=9), a.outcome(4, at_ms=9, decision=None, kind="churned")
        records.run(lambda tx: a.put(tx, late, early, claimed, other))
        assert list(records.unclaimed(8)) == [early, late]
        assert list(records.unclaimed(9)) == [late]

    def test_releases_and_what_was_live_when(self, records: Records) -> None:
        assert records.live() is None
        records.run(lambda tx: a.put(tx, a.release(1), a.release(2)))
        records.run(lambda tx: tx.set_live("r1", 5, "ann", "first"))
        records.run(lambda tx: tx.set_live("r2", 6, "bob", "better"))
        assert records.live() == "r2"
        assert records.live_history() == [(6, "r2", "bob", "better"), (5, "r1", "ann", "first")]
        assert records.releases() == [a.release(2), a.release(1)]
        assert records.release("r1") == a.release(1)
        assert records.release("r9") is None

    def test_identifiers_quarantine_reviews_and_positions(self, records: Records) -> None:
        records.run(lambda tx: write_everything(tx, 1))
        records.run(lambda tx: write_everything(tx, 2))
        assert records.customer_by(b"hash1") == "c1"
        assert records.customer_by(b"hash9") is None
        assert records.run(lambda tx: tx.customer_by(b"hash2")) == "c2"
        assert [(q.seq, q.id) for q in records.quarantined(9)] == [(2, "q-2"), (1, "q-1")]
        assert records.quarantined(1)[0].problems == a.quarantined(2).problems
        assert records.reviews("open", 9) == [a.review(2), a.review(1)]
        assert (records.review(a.review(1).id), records.review("nothing")) == (a.review(1), None)
        assert records.run(lambda tx: tx.position("crm")) == "2"
        assert records.run(lambda tx: tx.position("erp")) is None

    def test_leaves_are_read_by_range(self, records: Records) -> None:
        records.run(lambda tx: [tx.append_leaf(b"%d" % n) for n in range(5)])
        assert records.leaf_count() == 5
        assert records.leaves(1, 3) == [b"1", b"2"]
        assert records.leaves(4, 99) == [b"4"]
        assert records.leaves(7, 9) == []

    # Durability

    def test_reopening_gives_everything_back(self, records: Records) -> None:
        for number in range(1, 6):
            records.run(partial(write_everything, number=number))
        before = picture(records)
        again = self.reopen(records)
        try:
            assert picture(again) == before
            records_after = again.run(lambda tx: (a.append(tx, a.signal(99)), tx.append_leaf(b"x")))
            assert records_after == (6, 5)
        finally:
            again.close()


def put_with_key(tx: Transaction, number: int) -> None:
    tx.put_decision(a.decision(number, key="k"))
