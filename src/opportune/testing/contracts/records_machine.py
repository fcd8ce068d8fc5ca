"""Two stores told the same random story must show the same: hypothesis looks for a story that parts them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from opportune.ports import Duplicate, Records, Transaction
from opportune.testing.contracts import records_samples as a
from opportune.testing.contracts.records_store import Refusal, picture, run_together

NUMBERS = st.integers(0, 5)
STEPS = st.one_of(
    st.tuples(st.just("signal"), NUMBERS),
    st.tuples(st.just("quarantine"), NUMBERS),
    st.tuples(st.just("person"), NUMBERS, st.integers(0, 9)),
    st.tuples(st.just("account"), NUMBERS, st.integers(0, 9)),
    st.tuples(st.just("tally"), NUMBERS, st.integers(1, 9)),
    st.tuples(st.just("belief"), NUMBERS, st.integers(1, 9)),
    st.tuples(st.just("read"), NUMBERS),
    st.tuples(st.just("identifier"), NUMBERS, NUMBERS),
    st.tuples(st.just("decision"), NUMBERS, st.sampled_from(("offered", "held")), st.none() | NUMBERS),
    st.tuples(st.just("outcome"), NUMBERS, st.sampled_from(("converted", "delivered")), NUMBERS),
    st.tuples(st.just("review"), NUMBERS, st.sampled_from(("open", "approved"))),
    st.tuples(st.just("release"), NUMBERS),
    st.tuples(st.just("live"), NUMBERS),
    st.tuples(st.just("position"), st.sampled_from(("crm", "erp")), NUMBERS),
    st.tuples(st.just("leaf"), NUMBERS),
    st.tuples(st.just("requarantine"), NUMBERS, st.sampled_from(("open", "discarded"))),
    st.tuples(st.just("claim"), NUMBERS, NUMBERS),
    st.tuples(st.just("suppress"), NUMBERS),
    st.tuples(st.just("merge"), NUMBERS, NUMBERS, NUMBERS),
    st.tuples(st.just("proposal"), NUMBERS, st.sampled_from(("open", "refused"))),
    st.tuples(st.just("action"), NUMBERS, st.sampled_from(("queued", "sent"))),
    st.tuples(st.just("drift"), NUMBERS, st.sampled_from(("report", "case"))),
    st.tuples(st.just("signals of"), NUMBERS),
    st.tuples(st.just("refuse")),
)
UNITS = st.lists(STEPS, max_size=6)

Step = tuple[Any, ...]


class RecordsMachine(RuleBasedStateMachine):
    """Subclass it with `open_model`, `open_subject` and `reopen_subject`; use `.TestCase`."""

    def open_model(self) -> Records:
        raise NotImplementedError

    def open_subject(self) -> Records:
        raise NotImplementedError

    def reopen_subject(self, subject: Records) -> Records:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.accesses = 0
        self.model_events = 0
        self.model = self.open_model()
        self.subject = self.open_subject()

    @rule(units=st.lists(UNITS, min_size=1, max_size=5))
    def run_units(self, units: list[list[Step]]) -> None:
        """Units that wait together: one group, if the store makes groups."""
        works = [unit_of(steps) for steps in units]
        told = [[_comparable(result) for result in run_together(r, works)] for r in (self.model, self.subject)]
        assert told[0] == told[1]

    @rule(customers=st.sets(NUMBERS, max_size=3))
    def erase(self, customers: set[int]) -> None:
        them = [f"c{number}" for number in sorted(customers)]
        assert self.subject.erase(them) == self.model.erase(them)

    @rule(places=st.sets(st.integers(1, 9), max_size=3))
    def rewrite(self, places: set[int]) -> None:
        for records in (self.model, self.subject):
            found = [stored for stored in records.signals() if stored.seq in places]
            records.rewrite_signals([a.without_data(stored) for stored in found])

    @rule(what=st.sampled_from(("quarantine", "access")), number=NUMBERS)
    def drop_before(self, what: Literal["quarantine", "access"], number: int) -> None:
        at_ms = number + (0 if what == "quarantine" else 700)
        assert self.subject.drop_before(what, at_ms) == self.model.drop_before(what, at_ms)

    @rule(number=NUMBERS)
    def access(self, number: int) -> None:
        """Not a step of a unit: the log of accesses is only ever appended to, each with a new id."""
        self.accesses += 1
        for records in (self.model, self.subject):
            records.run(lambda tx: tx.put_access(a.access(self.accesses, f"c{number}", at_ms=700 + number)))

    @rule(card=NUMBERS, refused=st.booleans())
    def model_event(self, card: int, refused: bool) -> None:
        """Two in one unit, which reads the first back; each has a new id, as `access`."""
        self.model_events += 2
        first, second = (a.model_event(self.model_events + n, card) for n in (0, 1))

        def work(tx: Transaction) -> object:
            tx.put_model_event(first)
            seen = tx.model_events(first.card)
            tx.put_model_event(second)
            if refused:
                raise Refusal
            return seen

        told = [_comparable(run_together(records, [work])[0]) for records in (self.model, self.subject)]
        assert told[0] == told[1]

    @rule()
    def reopen(self) -> None:
        self.subject = self.reopen_subject(self.subject)

    @invariant()
    def both_show_the_same(self) -> None:
        assert picture(self.subject) == picture(self.model)

    def teardown(self) -> None:
        self.model.close()
        self.subject.close()


def unit_of(steps: list[Step]) -> Callable[[Transaction], list[Any]]:
    """A unit that does these steps and returns everything it read on its way."""

    def work(tx: Transaction) -> list[Any]:
        return [_do(tx, step) for step in steps]

    return work


def _do(tx: Transaction, step: Step) -> Any:  # noqa: ANN401 - whatever the step reads
    kind, *given = step
    if kind == "refuse":
        raise Refusal
    return _DO[kind](tx, *given)


def _signal(tx: Transaction, number: int) -> object:
    one = a.signal(number, customer=f"c{number % 3}", seats=number)
    return tx.signal_seen(one.source, one.id) or a.append(tx, one)


def _person(tx: Transaction, number: int, seats: int) -> object:
    before = tx.person(f"c{number}")
    tx.put_person(a.person(f"c{number}", seats=seats))
    return before, tx.person(f"c{number}")


def _account(tx: Transaction, number: int, seats: int) -> object:
    before = tx.account(f"a{number}")
    tx.put_account(a.account(f"a{number}", seats=seats))
    return before


def _tally(tx: Transaction, number: int, used: int) -> object:
    before = tx.tally(f"t{number}")
    tx.put_tally(a.tally(number, used))
    return before, tx.tally(f"t{number}")


def _belief(tx: Transaction, number: int, shown: int) -> object:
    before = tx.belief(a.belief(number).id)
    tx.put_belief(a.belief(number, shown))
    return before, tx.belief(a.belief(number).id)


def _read(tx: Transaction, number: int) -> object:
    them = [f"c{number}", "c1"]
    since_ms = a.decision(number).at_ms
    decided = (tx.decisions_of(them, since_ms), tx.decisions_after(a.decision(number).id, 2))
    return decided, tx.outcomes_of(them), tx.merges_of(f"c{number}")


def _identifier(tx: Transaction, number: int, customer: int) -> object:
    before = tx.customer_by(b"hash%d" % number)
    tx.put_identifier(b"hash%d" % number, "email", f"c{customer}")
    return before


def _decision(tx: Transaction, number: int, disposition: str, key: int | None) -> object:
    """May raise Duplicate in the middle of a unit: that too must be the same in both stores."""
    tx.put_decision(
        a.decision(number, disposition=disposition, holdout=number == 2, key=None if key is None else f"k{key}")
    )
    return tx.decision_by_key("k1"), tx.decision(a.decision(number).id)


def _outcome(tx: Transaction, number: int, kind: str, decision: int) -> object:
    before = tx.outcome(a.outcome(number).id)
    changed = {"kind": kind, "decision": a.decision(decision).id, "unit": f"u{decision % 3}"}
    tx.put_outcome(msgspec.structs.replace(a.outcome(number), **changed))
    return before


def _position(tx: Transaction, reader: str, number: int) -> object:
    before = tx.position(reader)
    tx.set_position(reader, str(number))
    return before


def _quarantine(tx: Transaction, number: int) -> object:
    customer = f"c{number}" if number % 2 else None
    return tx.quarantine(a.quarantined(number, received_ms=number, customer=customer))


def _requarantine(tx: Transaction, seq: int, status: str) -> object:
    before = tx.quarantined(seq)
    if before is not None:
        tx.put_quarantined(msgspec.structs.replace(before, status=status, note="seen"))
    return before, tx.quarantined(seq)


def _suppress(tx: Transaction, number: int) -> object:
    before = tx.suppressed(b"hash%d" % number)
    tx.suppress(b"hash%d" % number, number)
    return before, tx.suppressed(b"hash%d" % number)


def _merge(tx: Transaction, number: int, kept: int, merged: int) -> object:
    before = tx.merge(f"m{number}")
    tx.put_merge(a.merge(number, f"c{kept}", f"c{merged}"))
    return before, tx.merge(f"m{number}")


def _proposal(tx: Transaction, number: int, status: str) -> object:
    before = tx.proposal(f"p{number}")
    tx.put_proposal(a.proposal(number, f"c{number}", "c1", probability=0.5 + number % 2 / 4, status=status))
    return before


def _action(tx: Transaction, number: int, status: str) -> object:
    before = tx.action(f"n{number}")
    tx.put_action(a.action(number, f"c{number}", status=status))
    return before


def _drift(tx: Transaction, number: int, what: str) -> object:
    before = tx.drift(f"w{number}")
    tx.put_drift(a.drift(number, what=what))
    return before, tx.drift(f"w{number}")


_DO: dict[str, Callable[..., object]] = {
    "signal": _signal,
    "quarantine": _quarantine,
    "person": _person,
    "account": _account,
    "tally": _tally,
    "belief": _belief,
    "read": _read,
    "identifier": _identifier,
    "decision": _decision,
    "outcome": _outcome,
    "review": lambda tx, number, status: tx.put_review(a.review(number, status)),
    "release": lambda tx, number: tx.put_release(a.release(number)),
    "live": lambda tx, number: tx.set_live(f"r{number}", number, "ann", "why"),
    "position": _position,
    "requarantine": _requarantine,
    "claim": lambda tx, number, holder: tx.claim("rule", b"value%d" % number, f"app#s-{holder}"),
    "suppress": _suppress,
    "merge": _merge,
    "proposal": _proposal,
    "action": _action,
    "drift": _drift,
    "signals of": lambda tx, number: tx.signals_of({f"c{number}"}),
    "leaf": lambda tx, number: tx.append_leaf(b"%d" % number),
}


def _comparable(result: object) -> object:
    return (type(result), str(result)) if isinstance(result, (Duplicate, Refusal)) else result
