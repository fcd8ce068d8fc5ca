"""The system of record in plain dicts: the same units of work and the same answers as a durable store."""

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from threading import Event, Lock, get_ident
from typing import Any, Literal, TypeVar

from opportune.adapters.memory.kept import Kept, seq_of
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
    Records,
    Review,
    StoreBroken,
    StoredDecision,
    StoredDrift,
    StoredOutcome,
    StoredRelease,
    StoredSignal,
    StoreFull,
    Transaction,
)
from opportune.unit_of_work import COUNTED, Group

T = TypeVar("T")

_log = logging.getLogger(__name__)


class MemoryRecords(Records):
    """`Records` in memory. A unit runs on the thread that submits it, or on one that is running units already."""

    def __init__(self, *, queue_max: int = 10_000) -> None:
        self._kept = Kept()
        self._queue_max = queue_max
        self._waiting: deque[tuple[Callable[[Transaction], Any], Callable[[Any], None]]] = deque()
        self._running = Lock()
        self._runner = 0
        self._closed = False

    def submit(self, work: Callable[[Transaction], T], done: Callable[[T | BaseException], None]) -> None:
        if self._closed:
            raise StoreBroken("the store is closed")
        if len(self._waiting) >= self._queue_max:
            raise StoreFull(f"{self._queue_max} units of work wait already: try again later")
        self._waiting.append((work, done))
        self._run_if_free()

    def run(self, work: Callable[[Transaction], T]) -> T:
        """Raises RuntimeError on a thread that is running a unit, where it would wait for itself."""
        if self._runner == get_ident():
            raise RuntimeError("`run` was called by a unit of work or its `done`: use `submit` there")
        answer: list[Any] = []
        answered = Event()

        def done(result: T | BaseException) -> None:
            answer.append(result)
            answered.set()

        self.submit(work, done)
        answered.wait()
        if isinstance(answer[0], BaseException):
            raise answer[0]
        result: T = answer[0]
        return result

    def person(self, id_: str) -> Person | None:
        return self._kept.people.get(id_)

    def account(self, id_: str) -> Account | None:
        return self._kept.accounts.get(id_)

    def tally(self, id_: str) -> Tally | None:
        return self._kept.tallies.get(id_)

    def beliefs(self) -> list[Cell]:
        return list(self._kept.beliefs.values())

    def customer_by(self, identifier: bytes) -> str | None:
        found = self._kept.identifiers.get(identifier)
        return None if found is None else found[1]

    def decision(self, id_: str) -> StoredDecision | None:
        return self._kept.decisions.get(id_)

    def decision_by_key(self, key: str) -> StoredDecision | None:
        id_ = self._kept.keys.get(key)
        return None if id_ is None else self._kept.decisions.get(id_)

    def decisions(
        self, last: int, *, before: str | None = None, disposition: str | None = None, customer: str | None = None
    ) -> list[StoredDecision]:
        """By falling id, which for UUIDv7 is the order of time; `before` is the last id of the page before."""
        found: list[StoredDecision] = []
        for id_ in reversed(self._kept.decision_ids[:]):
            if len(found) >= last:
                break
            decision = self._kept.decisions.get(id_)
            if decision is None or (before is not None and id_ >= before):
                continue
            if disposition in (None, decision.disposition) and customer in (None, decision.customer):
                found.append(decision)
        return found

    def decisions_after(self, id_: str, last: int) -> list[StoredDecision]:
        return self._kept.decisions_after(id_, last)

    def outcomes(self, decision: str) -> list[StoredOutcome]:
        found = [outcome for outcome in list(self._kept.outcomes.values()) if outcome.decision == decision]
        return sorted(found, key=lambda outcome: (outcome.at_ms, outcome.id))

    def reviews(self, status: str, last: int) -> list[Review]:
        found = [review for review in list(self._kept.reviews.values()) if review.status == status]
        return sorted(found, key=lambda review: (review.opened_ms, review.id), reverse=True)[:last]

    def review(self, id_: str) -> Review | None:
        return self._kept.reviews.get(id_)

    def position(self, reader: str) -> str | None:
        return self._kept.positions.get(reader)

    def signals(self, after: int = 0, types: Collection[str] | None = None) -> Iterator[StoredSignal]:
        """A signal that is erased meanwhile does not appear; the ones after it do."""
        log: list[StoredSignal] | None = None
        index = 0
        while True:
            if log is not self._kept.signals:
                log = self._kept.signals
                index = bisect_right(log, after, key=seq_of)
            if index >= len(log):
                return
            after = log[index].seq
            if types is None or log[index].signal.type in types:
                yield log[index]
            index += 1

    def signals_of(self, customers: Collection[str], last: int, before: int | None = None) -> list[StoredSignal]:
        return self._newest_signals(lambda stored: stored.signal.customer in customers, last, before)

    def signals_of_account(self, account: str, last: int, before: int | None = None) -> list[StoredSignal]:
        return self._newest_signals(lambda stored: stored.signal.account == account, last, before)

    def quarantined(self, last: int, *, status: str | None = None, before: int | None = None) -> list[Quarantined]:
        entries = list(self._kept.quarantined.values())
        found = [
            entry for entry in entries
            if status in (None, entry.status) and (before is None or entry.seq < before)
        ]  # fmt: skip
        return sorted(found, key=lambda entry: -entry.seq)[:last]

    def quarantine_entry(self, seq: int) -> Quarantined | None:
        return self._kept.quarantined.get(seq)

    def merges_of(self, customer: str) -> list[Merge]:
        found = [merge for merge in list(self._kept.merges.values()) if customer in (merge.kept, merge.merged)]
        return sorted(found, key=lambda merge: (merge.at_ms, merge.id), reverse=True)

    def proposals(self, status: str, last: int) -> list[Proposal]:
        found = [proposal for proposal in list(self._kept.proposals.values()) if proposal.status == status]
        return sorted(found, key=lambda proposal: (-proposal.probability, proposal.id))[:last]

    def accesses(self, last: int, *, customer: str | None = None, before: str | None = None) -> list[Access]:
        """By falling id, as `decisions`."""
        found = [
            access for access in list(self._kept.accesses.values())
            if customer in (None, access.customer) and (before is None or access.id < before)
        ]  # fmt: skip
        return sorted(found, key=lambda access: access.id, reverse=True)[:last]

    def actions(self, statuses: Collection[str], due_ms: int, last: int) -> list[Action]:
        found = [
            action for action in list(self._kept.actions.values())
            if action.status in statuses and action.due_ms <= due_ms
        ]  # fmt: skip
        return sorted(found, key=lambda action: (action.due_ms, action.id))[:last]

    def people(self) -> Iterator[Person]:
        return (person for person in list(self._kept.people.values()) if person.merged_into is None)

    def accounts(self) -> Iterator[Account]:
        return iter(list(self._kept.accounts.values()))

    def erase(self, customers: Collection[str]) -> Mapping[str, int]:
        return self._between_units(lambda: self._kept.erase(customers))

    def rewrite_signals(self, signals: Sequence[StoredSignal]) -> None:
        self._between_units(lambda: self._kept.rewrite_signals(signals))

    def drop_before(self, what: Literal["quarantine", "access"], at_ms: int) -> int:
        return self._between_units(lambda: self._kept.drop_before(what, at_ms))

    def scrub(self, *, deep: bool = False) -> None:
        """Nothing to do: memory has no file, and what was taken out of it is nowhere else."""

    def counts(self) -> Mapping[str, int]:
        found = self._kept.counts
        return {**dict.fromkeys(COUNTED, 0), **{name: value for name, value in found.items() if value}}

    def revenue_by_unit(self, since_ms: int) -> Iterator[tuple[str, bool, float]]:
        decided: dict[str, bool] = {}
        for decision in list(self._kept.decisions.values()):
            if decision.at_ms >= since_ms:
                decided[decision.unit] = decided.get(decision.unit, False) or decision.holdout
        earned = dict.fromkeys(decided, 0.0)
        for outcome in list(self._kept.outcomes.values()):
            if outcome.kind == "converted" and outcome.at_ms >= since_ms and outcome.unit in earned:
                earned[outcome.unit] += outcome.amount
        for unit in sorted(decided):
            yield unit, decided[unit], earned[unit]

    def unclaimed(self, since_ms: int) -> Iterator[StoredOutcome]:
        found = [
            one
            for one in list(self._kept.outcomes.values())
            if one.kind == "converted" and one.decision is None and one.at_ms >= since_ms
        ]
        yield from sorted(found, key=lambda one: (one.at_ms, one.id))

    def release(self, hash_: str) -> StoredRelease | None:
        return self._kept.releases.get(hash_)

    def releases(self) -> list[StoredRelease]:
        found = list(self._kept.releases.values())
        return sorted(found, key=lambda release: (-release.created_ms, release.hash))

    def live(self) -> str | None:
        return self._kept.live[-1][1] if self._kept.live else None

    def live_history(self) -> list[tuple[int, str, str, str]]:
        return self._kept.live[::-1]

    def drift(
        self, what: Literal["report", "case", "disagreement"], last: int, *, model: str | None = None,
        status: str | None = None,
    ) -> list[StoredDrift]:
        found = [
            one for one in list(self._kept.drifts.values())
            if one.what == what and model in (None, one.model) and status in (None, one.status)
        ]  # fmt: skip
        return sorted(found, key=lambda one: (one.at_ms, one.id), reverse=True)[:last]

    def model_events(self, card: str | None = None) -> list[ModelEvent]:
        return self._kept.model_events(card)

    def leaves(self, start: int, stop: int) -> list[bytes]:
        return self._kept.leaves[max(start, 0) : max(stop, 0)]

    def leaf_count(self) -> int:
        return len(self._kept.leaves)

    def close(self) -> None:
        self._closed = True

    def _newest_signals(
        self, wanted: Callable[[StoredSignal], bool], last: int, before: int | None
    ) -> list[StoredSignal]:
        found: list[StoredSignal] = []
        for stored in reversed(self._kept.signals[:]):
            if len(found) >= last:
                break
            if (before is None or stored.seq < before) and wanted(stored):
                found.append(stored)
        return found

    def _between_units(self, work: Callable[[], T]) -> T:
        """Waits for the units that were there before; RuntimeError where that would be waiting for oneself."""
        if self._runner == get_ident():
            raise RuntimeError("the store cannot be erased from or rewritten by a unit of work or its `done`")
        if self._closed:
            raise StoreBroken("the store is closed")
        with self._running:
            self._runner = get_ident()
            try:
                self._run_waiting()
                result = work()
            finally:
                self._runner = 0
        self._run_if_free()
        return result

    def _run_if_free(self) -> None:
        # Checked again after the release: a unit that came in between must not be left waiting.
        while self._waiting and self._running.acquire(blocking=False):
            self._runner = get_ident()
            try:
                self._run_waiting()
            finally:
                self._runner = 0
                self._running.release()

    def _run_waiting(self) -> None:
        while self._waiting:
            work, done = self._waiting.popleft()
            result = self._outcome(work)
            try:
                done(result)
            except Exception as error:  # noqa: BLE001 - the others must hear of their units
                _log.error("the `done` of a unit of work raised %s", type(error).__name__)

    def _outcome(self, work: Callable[[Transaction], Any]) -> Any:  # noqa: ANN401 - the unit's own result
        group = Group(self._kept)
        try:
            result = group.run(work)
        except BaseException as error:  # noqa: BLE001 - belongs to the unit's caller, whatever it is
            return error
        self._kept.take_over(group.changes)
        return result
