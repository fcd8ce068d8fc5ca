"""How units of work run over any store: reads see earlier writes, a unit that raises leaves nothing behind.

It stands next to the ports because every adapter of `Records` needs exactly this, and adapters may not import
each other. It does no I/O: an adapter supplies a `Backing` to read through, and stores the `Changes` it gets back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from opportune.core.beliefs import Cell
from opportune.core.contacts import Tally
from opportune.core.customers import Account, Person
from opportune.core.registry import ModelEvent
from opportune.core.signals import Signal
from opportune.ports import (
    Access,
    Action,
    Duplicate,
    Merge,
    Proposal,
    Quarantined,
    Review,
    StoredDecision,
    StoredDrift,
    StoredOutcome,
    StoredRelease,
    StoredSignal,
    Transaction,
)

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

COUNTED: Final = (
    "signals", "quarantined", "people", "accounts", "decisions", "outcomes", "reviews", "leaves"
)  # fmt: skip
"""The counters that `Records.counts` always names."""

_UNREAD: Final[Any] = object()


class Backing(Protocol):
    """What is durable, as a group of units reads it; None means not there."""

    @property
    def signal_count(self) -> int: ...

    @property
    def quarantined_count(self) -> int: ...

    @property
    def leaf_count(self) -> int: ...

    def signal_seen(self, identity: tuple[str, str]) -> tuple[int, bytes] | None: ...

    def person(self, id_: str) -> Person | None: ...

    def account(self, id_: str) -> Account | None: ...

    def tally(self, id_: str) -> Tally | None: ...

    def identifier(self, identifier: bytes) -> tuple[str, str] | None:
        """(kind, customer)"""

    def decision(self, id_: str) -> StoredDecision | None: ...

    def decision_of_key(self, key: str) -> str | None: ...

    def outcome(self, id_: str) -> StoredOutcome | None: ...

    def review(self, id_: str) -> Review | None: ...

    def release(self, hash_: str) -> StoredRelease | None: ...

    def position(self, reader: str) -> str | None: ...

    def signals_of(self, customers: Collection[str]) -> list[StoredSignal]: ...

    def quarantine_entry(self, seq: int) -> Quarantined | None: ...

    def claimed(self, claim: tuple[str, bytes]) -> str | None:
        """Who holds this (rule, value)."""

    def suppressed(self, identifier: bytes) -> int | None:
        """Since when, in ms."""

    def merge(self, id_: str) -> Merge | None: ...

    def proposal(self, id_: str) -> Proposal | None: ...

    def action(self, id_: str) -> Action | None: ...

    def belief(self, id_: str) -> Cell | None: ...

    def decisions_of(self, customers: Collection[str], since_ms: int) -> list[StoredDecision]: ...

    def decisions_after(self, id_: str, last: int) -> list[StoredDecision]:
        """By id."""

    def outcomes_of(self, customers: Collection[str]) -> list[StoredOutcome]: ...

    def merges_of(self, customer: str) -> list[Merge]: ...

    def model_events(self, card: str) -> list[ModelEvent]: ...

    def drift(self, id_: str) -> StoredDrift | None: ...


class Undo:
    """What to put back, newest last, when the unit that runs now is dropped."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[tuple[dict[Any, Any], Any, Any]] = []

    def set(self, values: dict[K, V], key: K, value: V) -> None:
        self.entries.append((values, key, values.get(key, _UNREAD)))
        values[key] = value

    def revert(self) -> None:
        for values, key, before in reversed(self.entries):
            if before is _UNREAD:
                del values[key]
            else:
                values[key] = before
        self.entries.clear()


class Overlay(Generic[K, V]):
    """The newest value per key over what is durable. A None in `values` is a miss remembered, not a write."""

    __slots__ = ("load", "undo", "values")

    def __init__(self, load: Callable[[K], V | None], undo: Undo) -> None:
        self.load = load
        self.undo = undo
        self.values: dict[K, V | None] = {}

    def get(self, key: K) -> V | None:
        found: V | None = self.values.get(key, _UNREAD)
        if found is _UNREAD:
            found = self.load(key)
            if found is None:
                self.values[key] = None
        return found

    def put(self, key: K, value: V) -> None:
        self.undo.set(self.values, key, value)

    def written(self) -> Iterator[tuple[K, V]]:
        """Every key that kept units wrote, with its last value."""
        return ((key, value) for key, value in self.values.items() if value is not None)

    def values_written(self) -> list[V]:
        return [value for value in self.values.values() if value is not None]


class Changes:
    """What the kept units of one group wrote: overlays by key, and lists of what is only ever appended.

    `counts` holds how much each counter of `Records.counts` grew. `signals` are (stored, content hash);
    `quarantined` are new, `requarantined` replace what is there.
    """

    def __init__(self, backing: Backing) -> None:
        self.undo = undo = Undo()
        self.signals: list[tuple[StoredSignal, bytes]] = []
        self.quarantined: list[Quarantined] = []
        self.leaves: list[bytes] = []
        self.live: list[tuple[int, str, str, str]] = []
        self.accesses: list[Access] = []
        self.model_events: list[ModelEvent] = []
        self.seen = Overlay(backing.signal_seen, undo)
        self.people = Overlay(backing.person, undo)
        self.accounts = Overlay(backing.account, undo)
        self.tallies = Overlay(backing.tally, undo)
        self.identifiers = Overlay(backing.identifier, undo)
        self.decisions = Overlay(backing.decision, undo)
        self.keys = Overlay(backing.decision_of_key, undo)
        self.outcomes = Overlay(backing.outcome, undo)
        self.reviews = Overlay(backing.review, undo)
        self.releases = Overlay(backing.release, undo)
        self.positions = Overlay(backing.position, undo)
        self.requarantined = Overlay(backing.quarantine_entry, undo)
        self.claims = Overlay(backing.claimed, undo)
        self.suppressed = Overlay(backing.suppressed, undo)
        self.merges = Overlay(backing.merge, undo)
        self.proposals = Overlay(backing.proposal, undo)
        self.actions = Overlay(backing.action, undo)
        self.beliefs = Overlay(backing.belief, undo)
        self.drift = Overlay(backing.drift, undo)
        self.counts: dict[str, int] = {}

    def empty(self) -> bool:
        """Did no unit write anything?"""
        if self.counts or self.live or self.accesses or self.model_events:
            return False
        overlays = (self.people, self.accounts, self.identifiers, self.decisions, self.outcomes)
        others = (self.reviews, self.releases, self.positions, self.requarantined, self.claims)
        more = (self.suppressed, self.merges, self.proposals, self.actions, self.tallies, self.beliefs, self.drift)
        return not any(any(overlay.written()) for overlay in (*overlays, *others, *more))


class Group(Transaction):
    """Runs units one after the other; the `Transaction` that each of them is given, valid only while it runs."""

    def __init__(self, backing: Backing) -> None:
        self.changes = changes = Changes(backing)
        self._signals_before = backing.signal_count
        self._quarantined_before = backing.quarantined_count
        self._backing = backing
        self._leaves_before = backing.leaf_count
        self._undo = changes.undo

    def run(self, work: Callable[[Transaction], T]) -> T:
        """The result of one unit. If it raises, so does this, and nothing of it is kept.

        INVARIANT: an aborted unit leaves no gap: its places in the log and the ledger go to the next unit.
        """
        changes = self.changes
        lists: tuple[list[Any], ...] = (
            changes.signals, changes.quarantined, changes.leaves, changes.live, changes.accesses,
            changes.model_events,
        )  # fmt: skip
        marks = [len(appended) for appended in lists]
        self._undo.entries.clear()
        try:
            return work(self)
        except BaseException:
            self._undo.revert()
            for appended, mark in zip(lists, marks, strict=True):
                del appended[mark:]
            raise

    def signal_seen(self, source: str, id_: str) -> tuple[int, bytes] | None:
        return self.changes.seen.get((source, id_))

    def append_signal(self, signal: Signal, content: bytes) -> int:
        identity = (signal.source, signal.id)
        if self.changes.seen.get(identity) is not None:
            raise Duplicate(f"signal `{signal.id}` of `{signal.source}` is already in the log")
        signals = self.changes.signals
        seq = self._signals_before + len(signals) + 1
        leaf = self._leaves_before + len(self.changes.leaves)
        signals.append((StoredSignal(seq, signal, leaf), content))
        self.changes.seen.put(identity, (seq, content))
        self._count("signals")
        return seq

    def last_signal(self) -> int:
        return self._signals_before + len(self.changes.signals)

    def quarantine(self, entry: Quarantined) -> int:
        seq = self._quarantined_before + len(self.changes.quarantined) + 1
        self.changes.quarantined.append(msgspec.structs.replace(entry, seq=seq))
        self._count("quarantined")
        return seq

    def quarantined(self, seq: int) -> Quarantined | None:
        found = self.changes.requarantined.get(seq)
        place = seq - self._quarantined_before - 1
        if found is None and 0 <= place < len(self.changes.quarantined):
            return self.changes.quarantined[place]
        return found

    def put_quarantined(self, entry: Quarantined) -> None:
        self.changes.requarantined.put(entry.seq, entry)

    def signals_of(self, customers: Collection[str]) -> list[StoredSignal]:
        fresh = (stored for stored, _ in self.changes.signals if stored.signal.customer in customers)
        return [*self._backing.signals_of(customers), *fresh]

    def person(self, id_: str) -> Person | None:
        return self.changes.people.get(id_)

    def put_person(self, person: Person) -> None:
        people = self.changes.people
        if people.get(person.id) is None:
            self._count("people")
        people.put(person.id, person)

    def account(self, id_: str) -> Account | None:
        return self.changes.accounts.get(id_)

    def put_account(self, account: Account) -> None:
        accounts = self.changes.accounts
        if accounts.get(account.id) is None:
            self._count("accounts")
        accounts.put(account.id, account)

    def tally(self, id_: str) -> Tally | None:
        return self.changes.tallies.get(id_)

    def put_tally(self, tally: Tally) -> None:
        self.changes.tallies.put(tally.id, tally)

    def belief(self, id_: str) -> Cell | None:
        return self.changes.beliefs.get(id_)

    def put_belief(self, cell: Cell) -> None:
        self.changes.beliefs.put(cell.id, cell)

    def customer_by(self, identifier: bytes) -> str | None:
        found = self.changes.identifiers.get(identifier)
        return None if found is None else found[1]

    def put_identifier(self, identifier: bytes, kind: str, customer: str) -> None:
        self.changes.identifiers.put(identifier, (kind, customer))

    def claim(self, rule: str, value: bytes, holder: str) -> str:
        known = self.changes.claims.get((rule, value))
        if known is None:
            self.changes.claims.put((rule, value), holder)
        return known or holder

    def claimed(self, rule: str, value: bytes) -> str | None:
        return self.changes.claims.get((rule, value))

    def suppressed(self, identifier: bytes) -> bool:
        return self.changes.suppressed.get(identifier) is not None

    def suppress(self, identifier: bytes, at_ms: int) -> None:
        self.changes.suppressed.put(identifier, at_ms)

    def put_merge(self, merge: Merge) -> None:
        self.changes.merges.put(merge.id, merge)

    def merge(self, id_: str) -> Merge | None:
        return self.changes.merges.get(id_)

    def merges_of(self, customer: str) -> list[Merge]:
        found = {merge.id: merge for merge in self._backing.merges_of(customer)}
        found |= self.changes.merges.written()
        mine = [merge for merge in found.values() if customer in (merge.kept, merge.merged)]
        return sorted(mine, key=lambda merge: (merge.at_ms, merge.id), reverse=True)

    def put_proposal(self, proposal: Proposal) -> None:
        self.changes.proposals.put(proposal.id, proposal)

    def proposal(self, id_: str) -> Proposal | None:
        return self.changes.proposals.get(id_)

    def put_access(self, access: Access) -> None:
        self.changes.accesses.append(access)

    def put_action(self, action: Action) -> None:
        self.changes.actions.put(action.id, action)

    def action(self, id_: str) -> Action | None:
        return self.changes.actions.get(id_)

    def decision_by_key(self, key: str) -> StoredDecision | None:
        id_ = self.changes.keys.get(key)
        return None if id_ is None else self.changes.decisions.get(id_)

    def decision(self, id_: str) -> StoredDecision | None:
        return self.changes.decisions.get(id_)

    def put_decision(self, decision: StoredDecision) -> None:
        changes = self.changes
        before = changes.decisions.get(decision.id)
        if before is None:
            self._count("decisions")
            if decision.key is not None:
                self._claim(decision.key, decision.id)
        else:
            if before.key != decision.key:
                raise Duplicate(f"decision `{decision.id}` was stored with another key, which cannot change")
            self._count(f"decisions.{before.disposition}", -1)
        self._count(f"decisions.{decision.disposition}")
        changes.decisions.put(decision.id, decision)

    def decisions_of(self, customers: Collection[str], since_ms: int) -> list[StoredDecision]:
        found = {one.id: one for one in self._backing.decisions_of(customers, since_ms)}
        found |= self.changes.decisions.written()
        mine = [one for one in found.values() if one.customer in customers and one.at_ms >= since_ms]
        return sorted(mine, key=lambda one: one.id)

    def decisions_after(self, id_: str, last: int) -> list[StoredDecision]:
        found = {one.id: one for one in self._backing.decisions_after(id_, last)}
        found |= ((key, one) for key, one in self.changes.decisions.written() if key > id_)
        return [found[key] for key in sorted(found)[:last]]

    def outcomes_of(self, customers: Collection[str]) -> list[StoredOutcome]:
        found = {one.id: one for one in self._backing.outcomes_of(customers)}
        found |= self.changes.outcomes.written()
        mine = [one for one in found.values() if one.customer in customers]
        return sorted(mine, key=lambda one: (one.at_ms, one.id))

    def outcome(self, id_: str) -> StoredOutcome | None:
        return self.changes.outcomes.get(id_)

    def put_outcome(self, outcome: StoredOutcome) -> None:
        before = self.changes.outcomes.get(outcome.id)
        if before is None:
            self._count("outcomes")
        else:
            self._count(f"outcomes.{before.kind}", -1)
        self._count(f"outcomes.{outcome.kind}")
        self.changes.outcomes.put(outcome.id, outcome)

    def put_review(self, review: Review) -> None:
        if self.changes.reviews.get(review.id) is None:
            self._count("reviews")
        self.changes.reviews.put(review.id, review)

    def put_release(self, release: StoredRelease) -> None:
        if self.changes.releases.get(release.hash) is None:
            self.changes.releases.put(release.hash, release)

    def set_live(self, hash_: str, at_ms: int, actor: str, why: str) -> None:
        self.changes.live.append((at_ms, hash_, actor, why))

    def model_events(self, card: str) -> list[ModelEvent]:
        fresh = (event for event in self.changes.model_events if event.card == card)
        return [*self._backing.model_events(card), *fresh]

    def drift(self, id_: str) -> StoredDrift | None:
        return self.changes.drift.get(id_)

    def put_drift(self, entry: StoredDrift) -> None:
        self.changes.drift.put(entry.id, entry)

    def put_model_event(self, event: ModelEvent) -> None:
        self.changes.model_events.append(event)

    def position(self, reader: str) -> str | None:
        return self.changes.positions.get(reader)

    def set_position(self, reader: str, position: str) -> None:
        self.changes.positions.put(reader, position)

    def append_leaf(self, entry: bytes) -> int:
        leaves = self.changes.leaves
        index = self._leaves_before + len(leaves)
        leaves.append(entry)
        self._count("leaves")
        return index

    def _claim(self, key: str, id_: str) -> None:
        if self.changes.keys.get(key) is not None:
            raise Duplicate(f"the key `{key}` already belongs to another decision")
        self.changes.keys.put(key, id_)

    def _count(self, name: str, by: int = 1) -> None:
        counts = self.changes.counts
        self._undo.set(counts, name, counts.get(name, 0) + by)


def run_units(
    group: Group, works: list[Callable[[Transaction], Any]]
) -> list[Any | BaseException]:
    """What became of each unit, in order: its result or the exception that dropped it."""
    results: list[Any | BaseException] = []
    for work in works:
        try:
            results.append(group.run(work))
        except BaseException as error:  # noqa: BLE001 - belongs to the unit's caller, whatever it is
            results.append(error)
    return results
