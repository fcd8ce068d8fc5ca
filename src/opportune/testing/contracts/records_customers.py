"""The contract of `Records` about customers: their signals, quarantine, identity, accesses, and the outbox."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from opportune.ports import Records, Transaction
from opportune.testing.contracts import records_samples as a
from opportune.testing.contracts.records_store import Refusal, StoreContract, picture, run_together, write_everything


class CustomerRecordsContract(StoreContract):
    """Part of `RecordsContract`."""

    def test_what_was_used_of_a_limit_is_kept_with_its_unit_and_no_erasure_changes_it(self, records: Records) -> None:
        def refused(tx: Transaction) -> None:
            tx.put_tally(a.tally(1, used=9))
            raise Refusal

        assert records.tally("t1") is None
        records.run(lambda tx: tx.put_tally(a.tally(1)))
        records.run(lambda tx: tx.put_person(a.person("c1")))
        told = run_together(
            records, [refused, lambda tx: tx.tally("t1"), lambda tx: tx.put_tally(a.tally(1, used=5)),
                      lambda tx: tx.tally("t1")],
        )  # fmt: skip
        assert isinstance(told[0], Refusal)
        assert told[1:] == [a.tally(1), None, a.tally(1, used=5)]
        records.erase(["c1"])
        again = self.reopen(records)
        assert again.tally("t1") == a.tally(1, used=5)
        again.close()

    def test_beliefs_are_kept_with_their_unit_and_an_erasure_of_rows_leaves_them(self, records: Records) -> None:
        def refused(tx: Transaction) -> None:
            tx.put_belief(a.belief(1, shown=9))
            raise Refusal

        assert records.beliefs() == []
        records.run(lambda tx: tx.put_belief(a.belief(1)))
        records.run(lambda tx: tx.put_belief(a.belief(2)))
        id_ = a.belief(1).id
        told = run_together(
            records, [refused, lambda tx: tx.belief(id_), lambda tx: tx.put_belief(a.belief(1, shown=5)),
                      lambda tx: tx.belief(id_)],
        )  # fmt: skip
        assert isinstance(told[0], Refusal)
        assert told[1:] == [a.belief(1), None, a.belief(1, shown=5)]
        records.erase(["c1"])
        again = self.reopen(records)
        assert sorted(again.beliefs(), key=lambda cell: cell.id) == [a.belief(1, shown=5), a.belief(2)]
        again.close()

    def test_a_unit_reads_what_was_decided_and_what_became_of_it(self, records: Records) -> None:
        decided = [a.decision(n, customer=f"c{n % 2}", at_ms=1_000 * n) for n in range(1, 6)]
        became = [a.outcome(n, customer=f"c{n % 2}", at_ms=9_000 - n) for n in range(1, 5)]

        def first(tx: Transaction) -> None:
            for decision in decided[:4]:
                tx.put_decision(decision)
            for outcome in became[:3]:
                tx.put_outcome(outcome)

        records.run(first)

        def work(tx: Transaction) -> list[object]:
            tx.put_decision(decided[4])
            tx.put_decision(msgspec.structs.replace(decided[2], disposition="held"))
            tx.put_outcome(became[3])
            tx.put_merge(a.merge(1, "c1", "c2"))
            return [
                [one.id for one in tx.decisions_of(["c1"], 2_000)],
                [one.disposition for one in tx.decisions_of(["c1"], 3_000)],
                [one.id for one in tx.decisions_after(decided[1].id, 2)],
                [one.id for one in tx.outcomes_of(["c0"])],
                [one.id for one in tx.outcomes_of(["c0", "c1"])],
                [merge.id for merge in tx.merges_of("c2")],
                tx.merges_of("c3"),
            ]

        ids, outcomes = [one.id for one in decided], [one.id for one in became]
        assert records.run(work) == [
            [ids[2], ids[4]], ["held", "offered"], ids[2:4], [outcomes[3], outcomes[1]], outcomes[::-1], ["m1"], [],
        ]  # fmt: skip
        assert records.run(lambda tx: [one.id for one in tx.decisions_after(ids[2], 9)]) == ids[3:]

    def test_the_signals_of_customers_and_accounts_are_paged_newest_first(self, records: Records) -> None:
        who = [("c1", "a1"), ("c2", "a1"), (None, "a2"), ("c1", None), ("c3", "a2"), ("c2", "a2")]
        signals = [a.signal(n, customer=customer, account=account) for n, (customer, account) in enumerate(who, 1)]
        records.run(lambda tx: [a.append(tx, one) for one in signals])

        def seqs(*customers: str, last: int = 9, before: int | None = None) -> list[int]:
            found = records.signals_of(customers, last, before)
            assert [stored.signal for stored in found] == [signals[stored.seq - 1] for stored in found]
            return [stored.seq for stored in found]

        assert seqs("c1") == [4, 1]
        assert seqs("c1", "c2") == [6, 4, 2, 1]
        assert seqs("c1", "c2", last=2) == [6, 4]
        assert seqs("c1", "c2", last=2, before=4) == [2, 1]
        assert seqs("c9") == seqs() == []
        assert [s.seq for s in records.signals_of_account("a1", 9)] == [2, 1]
        assert [s.seq for s in records.signals_of_account("a2", 2)] == [6, 5]
        assert [s.seq for s in records.signals_of_account("a2", 2, 5)] == [3]

    def test_a_unit_reads_the_signals_of_customers_in_the_order_of_the_log(self, records: Records) -> None:
        records.run(lambda tx: [a.append(tx, a.signal(n, customer=f"c{n % 2}")) for n in range(4)])

        def work(tx: Transaction) -> list[int]:
            a.append(tx, a.signal(8, customer="c9"))
            a.append(tx, a.signal(9, customer="c1"))
            return [stored.seq for stored in tx.signals_of({"c1", "c7"})]

        assert records.run(work) == [2, 4, 6]

    def test_a_signal_knows_its_place_in_the_ledger_its_flags_and_its_repairs(self, records: Records) -> None:
        one = a.repaired(1)

        def work(tx: Transaction) -> None:
            tx.append_leaf(b"before")
            a.append(tx, one)
            tx.append_leaf(b"the signal's")

        records.run(work)
        stored = next(iter(records.signals()))
        assert (stored.leaf, stored.signal) == (1, one)

    def test_quarantine_entries_are_paged_by_status_and_replaced_at_their_place(self, records: Records) -> None:
        records.run(lambda tx: [tx.quarantine(a.quarantined(n, customer=f"c{n}")) for n in range(1, 7)])
        entry = records.quarantine_entry(4)
        assert entry == a.quarantined(4, customer="c4", seq=4)
        closed = msgspec.structs.replace(entry, status="discarded", note="ann: a test", body=b"{}")
        fixed = a.quarantined(2, customer="c2", seq=2, status="resubmitted", note="signal s-2")
        records.run(lambda tx: tx.put_quarantined(closed))
        records.run(lambda tx: tx.put_quarantined(fixed))
        assert records.quarantine_entry(4) == closed == records.run(lambda tx: tx.quarantined(4))
        assert records.quarantined(9, status="resubmitted") == [fixed]
        assert [one.seq for one in records.quarantined(9, status="open")] == [6, 5, 3, 1]
        assert [one.seq for one in records.quarantined(2, status="open", before=5)] == [3, 1]
        assert [one.seq for one in records.quarantined(3, before=6)] == [5, 4, 3]
        assert records.quarantine_entry(99) is None
        assert records.run(lambda tx: tx.quarantined(99)) is None
        assert records.counts()["quarantined"] == 6

    def test_an_entry_may_be_closed_by_the_unit_that_kept_it_out(self, records: Records) -> None:
        def keep_out(tx: Transaction) -> object:
            seq = tx.quarantine(a.quarantined(1))
            kept = tx.quarantined(seq)
            tx.put_quarantined(a.quarantined(1, seq=seq, status="discarded"))
            return kept, tx.quarantined(seq)

        def refused(tx: Transaction) -> None:
            tx.put_quarantined(a.quarantined(1, seq=1, status="resubmitted"))
            raise Refusal

        results = run_together(records, [keep_out, refused, lambda tx: tx.quarantined(1)])
        closed = a.quarantined(1, seq=1, status="discarded")
        assert results[0] == (a.quarantined(1, seq=1), closed)
        assert results[2] == closed == records.quarantine_entry(1)

    def test_a_value_belongs_to_whoever_claimed_it_first(self, records: Records) -> None:
        def refused(tx: Transaction) -> None:
            assert tx.claim("email", b"v", "nobody") == "nobody"
            raise Refusal

        claims = [partial(claim, holder=holder) for holder in ("app#1", "app#2")]
        results = run_together(records, [refused, *claims])
        assert results[1:] == ["app#1", "app#1"]
        assert records.run(lambda tx: tx.claim("email", b"v", "app#3")) == "app#1"
        assert records.run(lambda tx: tx.claim("email", b"w", "app#3")) == "app#3"
        assert records.run(lambda tx: tx.claim("phone", b"v", "app#3")) == "app#3"

    def test_what_is_suppressed_stays_so(self, records: Records) -> None:
        assert not records.run(lambda tx: tx.suppressed(b"hash"))
        records.run(lambda tx: tx.suppress(b"hash", 5))
        assert records.run(lambda tx: (tx.suppressed(b"hash"), tx.suppressed(b"other"))) == (True, False)

    def test_merges_of_a_customer_newest_first(self, records: Records) -> None:
        merges = [a.merge(1, "c1", "c2"), a.merge(2, "c1", "c3"), a.merge(3, "c4", "c1"), a.merge(4, "c5", "c6")]
        records.run(lambda tx: a.put(tx, *merges))
        assert records.merges_of("c1") == [merges[2], merges[1], merges[0]]
        assert records.merges_of("c6") == [merges[3]]
        assert records.merges_of("c9") == []
        undone = msgspec.structs.replace(merges[1], undone_ms=7, undone_by="ann")
        records.run(lambda tx: tx.put_merge(undone))
        assert records.merges_of("c3") == [undone] == [records.run(lambda tx: tx.merge("m2"))]
        assert records.run(lambda tx: tx.merge("m9")) is None

    def test_proposals_most_probable_first(self, records: Records) -> None:
        chances = (0.6, 0.9, 0.7, 0.9)
        proposals = [a.proposal(n, probability=chance) for n, chance in enumerate(chances)]
        records.run(lambda tx: a.put(tx, *proposals))
        assert records.proposals("open", 9) == [proposals[1], proposals[3], proposals[2], proposals[0]]
        accepted = msgspec.structs.replace(proposals[3], status="accepted", decided_ms=9, decided_by="ann", why="same")
        records.run(lambda tx: tx.put_proposal(accepted))
        assert records.proposals("open", 2) == [proposals[1], proposals[2]]
        assert records.proposals("accepted", 9) == [accepted] == [records.run(lambda tx: tx.proposal("p3"))]

    def test_accesses_newest_first(self, records: Records) -> None:
        accesses = [a.access(n, f"c{n % 2}", classes=("personal", "sensitive")) for n in range(6)]
        records.run(lambda tx: a.put(tx, *accesses))
        newest = accesses[::-1]
        assert records.accesses(9) == newest
        assert records.accesses(2, before=newest[1].id) == newest[2:4]
        assert records.accesses(9, customer="c1") == [accesses[5], accesses[3], accesses[1]]
        assert records.accesses(1, customer="c1", before=accesses[5].id) == [accesses[3]]

    def test_the_outbox_the_longest_due_first(self, records: Records) -> None:
        actions = [a.action(n, due_ms=due_ms) for n, due_ms in enumerate((50, 10, 30, 20))]
        records.run(lambda tx: a.put(tx, *actions))
        assert records.actions(("queued",), 30, 9) == [actions[1], actions[3], actions[2]]
        assert records.actions(("queued",), 30, 1) == [actions[1]]
        sending = msgspec.structs.replace(actions[1], status="sending", due_ms=40, attempts=1)
        records.run(lambda tx: tx.put_action(sending))
        assert records.actions(("queued",), 99, 9) == [actions[3], actions[2], actions[0]]
        assert records.actions(("queued", "sending"), 40, 9) == [actions[3], actions[2], sending]
        assert records.actions((), 99, 9) == records.actions(("sent",), 99, 9) == []
        assert records.run(lambda tx: (tx.action("n1"), tx.action("n9"))) == (sending, None)

    def test_everybody_but_who_was_merged(self, records: Records) -> None:
        people = [a.person(f"c{n:04d}", plan=n) for n in range(1_201)]
        records.run(lambda tx: a.put(tx, *people))
        records.run(lambda tx: tx.put_person(msgspec.structs.replace(people[7], merged_into="c0008")))
        found = sorted(records.people(), key=lambda person: person.id)
        assert found == people[:7] + people[8:]

    def test_every_account(self, records: Records) -> None:
        accounts = [a.account(f"a{n:04d}", plan=n) for n in range(1_201)]
        records.run(lambda tx: a.put(tx, *accounts))
        assert sorted(records.accounts(), key=lambda account: account.id) == accounts

    def test_a_unit_knows_how_far_the_log_has_come(self, records: Records) -> None:
        def more(tx: Transaction) -> tuple[int, int]:
            before = tx.last_signal()
            a.append(tx, a.signal(before + 1, customer="c1"))
            return before, tx.last_signal()

        assert [records.run(more) for _ in range(2)] == [(0, 1), (1, 2)]
        records.erase({"c1"})
        assert records.run(more) == (2, 3)

    def test_units_of_one_sync_leave_nothing_of_the_one_that_raised(self, records: Records) -> None:
        def refused(tx: Transaction) -> None:
            write_everything(tx, 2)
            tx.put_action(a.action(1, status="sent"))
            tx.put_quarantined(a.quarantined(1, seq=1, status="discarded"))
            raise Refusal

        run_together(records, [partial(write_everything, number=1), refused])
        after = picture(records)
        records.run(lambda tx: None)
        assert after == picture(records)
        assert after["counts"]["quarantined"] == len(after["merges"][1]) == len(after["accesses"]) == 1
        assert [action.status for action in after["actions"]] == ["queued"]
        assert after["proposals"] == {"open": [a.proposal(1)], "refused": []}
        assert after["entries"][1:3] == [a.quarantined(1, seq=1, note="seen"), None]
        assert after["held"][0][1:3] == ["app#s-1", ""]
        assert after["held"][1][1:3] == [True, False]

    def test_nothing_can_be_told_of_an_empty_store(self, records: Records) -> None:
        assert records.proposals("open", 9) == []
        assert records.accesses(9) == []
        assert list(records.people()) == []
        with pytest.raises(StopIteration):
            next(records.signals())


def claim(tx: Transaction, holder: str) -> str:
    return tx.claim("email", b"v", holder)
