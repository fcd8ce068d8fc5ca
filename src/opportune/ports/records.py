"""The system of record: units of work over it, and what can be read from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Literal, Protocol, TypeVar

from opportune.core.beliefs import Cell
from opportune.core.contacts import Tally
from opportune.core.customers import Account, Person
from opportune.core.registry import ModelEvent
from opportune.core.signals import Signal
from opportune.ports.stored import (
    Access,
    Action,
    Merge,
    Proposal,
    Quarantined,
    Review,
    StoredDecision,
    StoredDrift,
    StoredOutcome,
    StoredRelease,
    StoredSignal,
)

T = TypeVar("T")


class Transaction(Protocol):
    """One unit of work. Reads see everything written before, also by this unit; writes are kept or dropped whole."""

    def signal_seen(self, source: str, id_: str) -> tuple[int, bytes] | None:
        """(seq, content hash) of an accepted signal with this identity."""

    def append_signal(self, signal: Signal, content: bytes) -> int:
        """The place of the signal; the next `append_leaf` of this unit is its place in the ledger."""

    def last_signal(self) -> int:
        """The place of the newest signal, this unit's among them; 0 for an empty log."""

    def signals_of(self, customers: Collection[str]) -> list[StoredSignal]:
        """Every signal that named one of these customers as its subject, in the order of the log."""

    def quarantine(self, entry: Quarantined) -> int: ...

    def quarantined(self, seq: int) -> Quarantined | None: ...

    def put_quarantined(self, entry: Quarantined) -> None:
        """Replaces the entry at its `seq`: a new status, or the body as fixed."""

    def person(self, id_: str) -> Person | None: ...

    def put_person(self, person: Person) -> None: ...

    def account(self, id_: str) -> Account | None: ...

    def put_account(self, account: Account) -> None: ...

    def tally(self, id_: str) -> Tally | None:
        """What everybody together has used of a limit."""

    def put_tally(self, tally: Tally) -> None: ...

    def belief(self, id_: str) -> Cell | None:
        """What became of an offer in a channel and a segment: counts, nobody's data."""

    def put_belief(self, cell: Cell) -> None: ...

    def customer_by(self, identifier: bytes) -> str | None:
        """The customer a keyed-hashed identifier points to."""

    def put_identifier(self, identifier: bytes, kind: str, customer: str) -> None:
        """Points the identifier at this customer from now on."""

    def claim(self, rule: str, value: bytes, holder: str) -> str:
        """Whoever held this value of a uniqueness rule first: `holder` itself when nobody did."""

    def claimed(self, rule: str, value: bytes) -> str | None:
        """Who holds this value of a uniqueness rule; None when nobody does."""

    def suppressed(self, identifier: bytes) -> bool:
        """Was the customer behind this keyed hash erased, and may it therefore not come back?"""

    def suppress(self, identifier: bytes, at_ms: int) -> None: ...

    def put_merge(self, merge: Merge) -> None: ...

    def merge(self, id_: str) -> Merge | None: ...

    def put_proposal(self, proposal: Proposal) -> None: ...

    def proposal(self, id_: str) -> Proposal | None: ...

    def put_access(self, access: Access) -> None: ...

    def put_action(self, action: Action) -> None: ...

    def action(self, id_: str) -> Action | None: ...

    def decision_by_key(self, key: str) -> StoredDecision | None: ...

    def decision(self, id_: str) -> StoredDecision | None: ...

    def put_decision(self, decision: StoredDecision) -> None: ...

    def decisions_of(self, customers: Collection[str], since_ms: int) -> list[StoredDecision]:
        """Decisions about any of these customers, made since then, by id."""

    def decisions_after(self, id_: str, last: int) -> list[StoredDecision]:
        """So many decisions about anybody, by id, from the one after `id_`."""

    def outcomes_of(self, customers: Collection[str]) -> list[StoredOutcome]:
        """Every outcome of any of these customers, by time."""

    def merges_of(self, customer: str) -> list[Merge]:
        """Every merge that kept or merged this customer, the newest first."""

    def outcome(self, id_: str) -> StoredOutcome | None: ...

    def put_outcome(self, outcome: StoredOutcome) -> None: ...

    def put_review(self, review: Review) -> None: ...

    def put_release(self, release: StoredRelease) -> None: ...

    def set_live(self, hash_: str, at_ms: int, actor: str, why: str) -> None: ...

    def model_events(self, card: str) -> list[ModelEvent]:
        """What happened to one artefact, in the order of writing."""

    def put_model_event(self, event: ModelEvent) -> None:
        """Adds one to the end; its id is new."""

    def drift(self, id_: str) -> StoredDrift | None: ...

    def put_drift(self, entry: StoredDrift) -> None:
        """Adds a report or a case, or replaces it at its id."""

    def position(self, reader: str) -> str | None:
        """How far a reader of an outside source has come."""

    def set_position(self, reader: str, position: str) -> None: ...

    def append_leaf(self, entry: bytes) -> int:
        """Adds one ledger entry and returns its index (0, 1, 2, … without gaps)."""


class Records(Protocol):
    """The system of record: serial units of work, durable when they are said to be done, and read models."""

    def submit(self, work: Callable[[Transaction], T], done: Callable[[T | BaseException], None]) -> None:
        """Runs `work` in one transaction (several units may share one sync); `done` gets its result only when it
        is durable, or the exception, in which case nothing of it was kept. `done` must be quick; it runs on the
        writer's thread. `work` has no effect outside its transaction: it may run again before it is kept, when
        another unit of the same sync had to be taken out. Raises StoreFull when `queue_max` units wait."""

    def submit_short(self, work: Callable[[Transaction], T], done: Callable[[T | BaseException], None]) -> None:
        """`submit` for a unit of some microseconds: the thread given to `share` may run it."""
        self.submit(work, done)

    def share(self, elsewhere: Callable[[Callable[[], None]], object]) -> None:
        """`elsewhere` has a busy thread, such as an event loop, call what it is given at its next pause. Where the
        store can use that, short units run there: two threads that take turns at one interpreter hold each other up."""
        return

    def run(self, work: Callable[[Transaction], T]) -> T:
        """`submit` and wait."""

    def person(self, id_: str) -> Person | None: ...

    def account(self, id_: str) -> Account | None: ...

    def tally(self, id_: str) -> Tally | None:
        """What everybody together has used of a limit; on every decision's path, so at about a microsecond."""

    def beliefs(self) -> list[Cell]:
        """What became of every offer by channel and segment, from memory, in no order; of committed work."""

    def customer_by(self, identifier: bytes) -> str | None: ...

    def decision(self, id_: str) -> StoredDecision | None: ...

    def decision_by_key(self, key: str) -> StoredDecision | None: ...

    def decisions(
        self, last: int, *, before: str | None = None, disposition: str | None = None, customer: str | None = None
    ) -> list[StoredDecision]:
        """The newest first."""

    def decisions_after(self, id_: str, last: int) -> list[StoredDecision]:
        """So many decisions by id, from the one after `id_`; of committed work."""

    def outcomes(self, decision: str) -> list[StoredOutcome]: ...

    def reviews(self, status: str, last: int) -> list[Review]:
        """The newest first."""

    def review(self, id_: str) -> Review | None: ...

    def position(self, reader: str) -> str | None:
        """How far a reader of an outside source has come."""

    def signals(self, after: int = 0, types: Collection[str] | None = None) -> Iterator[StoredSignal]:
        """The log in order from the one after `after`; only signals of some types, when they are named."""

    def signals_of(self, customers: Collection[str], last: int, before: int | None = None) -> list[StoredSignal]:
        """The newest signals that named one of these customers, from before place `before`; the newest first."""

    def signals_of_account(self, account: str, last: int, before: int | None = None) -> list[StoredSignal]:
        """Likewise for an account, whoever their subject is."""

    def quarantined(self, last: int, *, status: str | None = None, before: int | None = None) -> list[Quarantined]:
        """The newest first."""

    def quarantine_entry(self, seq: int) -> Quarantined | None: ...

    def merges_of(self, customer: str) -> list[Merge]:
        """Every merge that kept or merged this customer, the newest first."""

    def proposals(self, status: str, last: int) -> list[Proposal]:
        """The most probable first."""

    def accesses(self, last: int, *, customer: str | None = None, before: str | None = None) -> list[Access]:
        """Who read what about whom, the newest first."""

    def actions(self, statuses: Collection[str], due_ms: int, last: int) -> list[Action]:
        """The outbox: actions with one of these statuses that are due, the longest due first."""

    def people(self) -> Iterator[Person]:
        """Everybody, merged ones left out."""

    def accounts(self) -> Iterator[Account]:
        """Every account."""

    def erase(self, customers: Collection[str]) -> Mapping[str, int]:
        """Removes every row about these customers, at once and for good; how many of each. Runs between units.

        Rows: signals, person, identifiers, decisions, outcomes, reviews, quarantine entries, merges, proposals,
        accesses, actions; the answer names them `signals people identifiers decisions outcomes reviews quarantined
        merges proposals accesses actions`, each with its count. Counters fall with them, places in the log and in
        quarantine are not given out again. What only their signals held (`claim` with the holder `<source>#<id>`)
        is free again. The ledger's entries, other claims and suppressions stay: they name nobody.
        RuntimeError on the thread that runs units.
        """

    def rewrite_signals(self, signals: Sequence[StoredSignal]) -> None:
        """Replaces the data of signals at their places, when what they hold may not be kept any longer; a place
        whose signal was erased stays empty. Runs between units."""

    def drop_before(self, what: Literal["quarantine", "access"], at_ms: int) -> int:
        """Removes entries received, or read, before this moment; how many. Runs between units."""

    def scrub(self, *, deep: bool = False) -> None:
        """Leaves nothing in any file of what was removed or replaced: empties the write-ahead log; `deep` also
        writes the whole file anew."""

    def counts(self) -> Mapping[str, int]:
        """signals, quarantined, people, accounts, decisions, outcomes, reviews, leaves, and `decisions.<disposition>`,
        `outcomes.<kind>` for each that occurs; of committed work, at no more than a few milliseconds."""

    def revenue_by_unit(self, since_ms: int) -> Iterator[tuple[str, bool, float]]:
        """(unit, in the hold-out?, revenue) for every unit that was decided on since then."""

    def unclaimed(self, since_ms: int) -> Iterator[StoredOutcome]:
        """Purchases since then that no decision claims (nothing was offered, or another sender reports them)."""

    def release(self, hash_: str) -> StoredRelease | None: ...

    def releases(self) -> list[StoredRelease]: ...

    def live(self) -> str | None: ...

    def live_history(self) -> list[tuple[int, str, str, str]]:
        """(at_ms, release, actor, why), the newest first."""

    def model_events(self, card: str | None = None) -> list[ModelEvent]:
        """What happened to one artefact, or to all, in the order of writing."""

    def drift(
        self, what: Literal["report", "case", "disagreement"], last: int, *, model: str | None = None,
        status: str | None = None,
    ) -> list[StoredDrift]:
        """Reports about drift, cases, or disagreements, the newest first (by time, then id)."""

    def leaves(self, start: int, stop: int) -> list[bytes]: ...

    def leaf_count(self) -> int: ...

    def close(self) -> None: ...


class StoreFull(Exception):
    """The writer is behind by more than it may be: try again later (HTTP 503)."""


class StoreBroken(Exception):
    """The disk refused a write: the unit is not acknowledged, and the store refuses work until it is reopened.

    Whether a unit whose sync failed is there afterwards is not known before that: its key or id tells.
    """


class Duplicate(Exception):
    """A signal's identity or a decision's key is taken: the unit is dropped. Look before you write."""
