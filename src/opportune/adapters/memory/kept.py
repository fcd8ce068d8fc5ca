"""What the store in memory keeps: plain dicts and lists, and what is taken out of them again."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal, TypeVar

from opportune.core.beliefs import Cell
from opportune.core.contacts import Tally
from opportune.core.customers import Account, Person
from opportune.core.registry import ModelEvent
from opportune.ports import (
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
from opportune.unit_of_work import Changes

V = TypeVar("V")

seq_of: Callable[[StoredSignal], int] = attrgetter("seq")


class Kept:
    """What kept units wrote; the backing of the unit that runs. Readers see it change unit by unit.

    `signals` is ordered by place and only ever appended to; a list that lost or changed some is a new list, so that
    whoever reads the old one notices. `signal_count` and `quarantined_count` are the last places given out, also
    when what stood there is erased.
    """

    def __init__(self) -> None:
        self.signal_count = 0
        self.quarantined_count = 0
        self.signals: list[StoredSignal] = []
        self.quarantined: dict[int, Quarantined] = {}
        self.leaves: list[bytes] = []
        self.live: list[tuple[int, str, str, str]] = []
        self.seen: dict[tuple[str, str], tuple[int, bytes]] = {}
        self.people: dict[str, Person] = {}
        self.accounts: dict[str, Account] = {}
        self.tallies: dict[str, Tally] = {}
        self.beliefs: dict[str, Cell] = {}
        self.identifiers: dict[bytes, tuple[str, str]] = {}
        self.decisions: dict[str, StoredDecision] = {}
        self.decision_ids: list[str] = []
        self.keys: dict[str, str] = {}
        self.outcomes: dict[str, StoredOutcome] = {}
        self.reviews: dict[str, Review] = {}
        self.releases: dict[str, StoredRelease] = {}
        self.positions: dict[str, str] = {}
        self.claims: dict[tuple[str, bytes], str] = {}
        self.suppressions: dict[bytes, int] = {}
        self.merges: dict[str, Merge] = {}
        self.proposals: dict[str, Proposal] = {}
        self.accesses: dict[str, Access] = {}
        self.actions: dict[str, Action] = {}
        self.events: list[ModelEvent] = []
        self.drifts: dict[str, StoredDrift] = {}
        self.counts: dict[str, int] = {}
        self.signal_seen = self.seen.get
        self.person = self.people.get
        self.account = self.accounts.get
        self.tally = self.tallies.get
        self.belief = self.beliefs.get
        self.drift = self.drifts.get
        self.identifier = self.identifiers.get
        self.decision = self.decisions.get
        self.decision_of_key = self.keys.get
        self.outcome = self.outcomes.get
        self.review = self.reviews.get
        self.release = self.releases.get
        self.position = self.positions.get
        self.quarantine_entry = self.quarantined.get
        self.claimed = self.claims.get
        self.suppressed = self.suppressions.get
        self.merge = self.merges.get
        self.proposal = self.proposals.get
        self.action = self.actions.get

    @property
    def leaf_count(self) -> int:
        return len(self.leaves)

    def model_events(self, card: str | None = None) -> list[ModelEvent]:
        return [event for event in list(self.events) if card in (None, event.card)]

    def signals_of(self, customers: Collection[str]) -> list[StoredSignal]:
        return [stored for stored in self.signals if stored.signal.customer in customers]

    def decisions_of(self, customers: Collection[str], since_ms: int) -> list[StoredDecision]:
        return [one for one in self.decisions.values() if one.customer in customers and one.at_ms >= since_ms]

    def decisions_after(self, id_: str, last: int) -> list[StoredDecision]:
        first = bisect_right(self.decision_ids, id_)
        return [self.decisions[one] for one in self.decision_ids[first : first + last]]

    def outcomes_of(self, customers: Collection[str]) -> list[StoredOutcome]:
        return [one for one in self.outcomes.values() if one.customer in customers]

    def merges_of(self, customer: str) -> list[Merge]:
        return [one for one in self.merges.values() if customer in (one.kept, one.merged)]

    def take_over(self, changes: Changes) -> None:
        for id_, _ in changes.decisions.written():
            if id_ not in self.decisions:
                insort(self.decision_ids, id_)
        self.signals.extend(stored for stored, _ in changes.signals)
        self.signal_count += len(changes.signals)
        self.quarantined.update((entry.seq, entry) for entry in changes.quarantined)
        self.quarantined.update(changes.requarantined.written())
        self.quarantined_count += len(changes.quarantined)
        self.leaves.extend(changes.leaves)
        self.live.extend(changes.live)
        self.events.extend(changes.model_events)
        self.drifts.update(changes.drift.written())
        self.accesses.update((access.id, access) for access in changes.accesses)
        self.seen.update(changes.seen.written())
        self.people.update(changes.people.written())
        self.accounts.update(changes.accounts.written())
        self.tallies.update(changes.tallies.written())
        self.beliefs.update(changes.beliefs.written())
        self.identifiers.update(changes.identifiers.written())
        self.decisions.update(changes.decisions.written())
        self.keys.update(changes.keys.written())
        self.outcomes.update(changes.outcomes.written())
        self.reviews.update(changes.reviews.written())
        self.releases.update(changes.releases.written())
        self.positions.update(changes.positions.written())
        self.claims.update(changes.claims.written())
        self.suppressions.update(changes.suppressed.written())
        self.merges.update(changes.merges.written())
        self.proposals.update(changes.proposals.written())
        self.actions.update(changes.actions.written())
        self._count(changes.counts)

    def erase(self, customers: Collection[str]) -> Mapping[str, int]:
        """Takes out what is about these customers; how many of each kind of row."""
        gone = frozenset(customers)
        self._free_claims(gone)
        log = self.signals
        self.signals = [stored for stored in log if stored.signal.customer not in gone]
        for stored in log:
            if stored.signal.customer in gone:
                del self.seen[stored.signal.source, stored.signal.id]
        decisions = _take_out(self.decisions, lambda decision: decision.customer in gone)
        for decision in decisions:
            del self.decision_ids[bisect_left(self.decision_ids, decision.id)]
            if decision.key is not None:
                del self.keys[decision.key]
        outcomes = _take_out(self.outcomes, lambda outcome: outcome.customer in gone)
        found = {
            "signals": len(log) - len(self.signals),
            "people": len(_take_out(self.people, lambda person: person.id in gone)),
            "identifiers": len(_take_out(self.identifiers, lambda pointer: pointer[1] in gone)),
            "decisions": len(decisions),
            "outcomes": len(outcomes),
            "reviews": len(_take_out(self.reviews, lambda review: review.customer in gone)),
            "quarantined": len(_take_out(self.quarantined, lambda entry: entry.customer in gone)),
            "merges": len(_take_out(self.merges, lambda merge: merge.kept in gone or merge.merged in gone)),
            "proposals": len(_take_out(self.proposals, lambda pair: pair.one in gone or pair.other in gone)),
            "accesses": len(_take_out(self.accesses, lambda access: access.customer in gone)),
            "actions": len(_take_out(self.actions, lambda action: action.customer in gone)),
        }
        self._count({name: -found[name] for name in ("signals", "quarantined", "people", "reviews")})
        self._count({"decisions": -len(decisions), "outcomes": -len(outcomes)})
        for decision in decisions:
            self._count({f"decisions.{decision.disposition}": -1})
        for outcome in outcomes:
            self._count({f"outcomes.{outcome.kind}": -1})
        return found

    def rewrite_signals(self, signals: Sequence[StoredSignal]) -> None:
        """A place that was erased meanwhile stays empty."""
        anew = {stored.seq: stored for stored in signals}
        self.signals = [anew.get(stored.seq, stored) for stored in self.signals]

    def drop_before(self, what: Literal["quarantine", "access"], at_ms: int) -> int:
        if what == "access":
            return len(_take_out(self.accesses, lambda access: access.at_ms < at_ms))
        dropped = len(_take_out(self.quarantined, lambda entry: entry.received_ms < at_ms))
        self._count({"quarantined": -dropped})
        return dropped

    def _free_claims(self, gone: Collection[str]) -> None:
        """What only signals of theirs held, accepted or kept out."""
        holders = {
            f"{entry.source}#{entry.id}" for entry in self.quarantined.values()
            if entry.customer in gone and (entry.source, entry.id) not in self.seen
        }  # fmt: skip
        theirs = (stored.signal for stored in self.signals if stored.signal.customer in gone)
        holders.update(f"{signal.source}#{signal.id}" for signal in theirs)
        _take_out(self.claims, lambda holder: holder in holders)

    def _count(self, grown: Mapping[str, int]) -> None:
        """A new dict each time: readers may hold the one before."""
        self.counts = {**self.counts, **{name: self.counts.get(name, 0) + by for name, by in grown.items()}}


def _take_out(values: dict[Any, V], gone: Callable[[V], bool]) -> list[V]:
    keys = [key for key, value in values.items() if gone(value)]
    return [values.pop(key) for key in keys]
