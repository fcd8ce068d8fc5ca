"""The system of record in plain dicts: the same units of work and the same answers as a durable store."""

import logging
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from threading import Event, Lock, get_ident
from typing import Any, TypeVar

from opportune.core.customers import Account, Person
from opportune.ports import (
    Quarantined,
    Records,
    Review,
    StoreBroken,
    StoredDecision,
    StoredOutcome,
    StoredRelease,
    StoredSignal,
    StoreFull,
    Transaction,
)
from opportune.unit_of_work import COUNTED, Changes, Group

T = TypeVar("T")

_log = logging.getLogger(__name__)


class _Kept:
    """What kept units wrote; the backing of the unit that runs. Readers see it change unit by unit."""

    def __init__(self) -> None:
        self.signals: list[StoredSignal] = []
        self.quarantined: list[Quarantined] = []
        self.leaves: list[bytes] = []
        self.live: list[tuple[int, str, str, str]] = []
        self.seen: dict[tuple[str, str], tuple[int, bytes]] = {}
        self.people: dict[str, Person] = {}
        self.accounts: dict[str, Account] = {}
        self.identifiers: dict[bytes, tuple[str, str]] = {}
        self.decisions: dict[str, StoredDecision] = {}
        self.decision_ids: list[str] = []
        self.keys: dict[str, str] = {}
        self.outcomes: dict[str, StoredOutcome] = {}
        self.reviews: dict[str, Review] = {}
        self.releases: dict[str, StoredRelease] = {}
        self.positions: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        self.signal_seen = self.seen.get
        self.person = self.people.get
        self.account = self.accounts.get
        self.identifier = self.identifiers.get
        self.decision = self.decisions.get
        self.decision_of_key = self.keys.get
        self.outcome = self.outcomes.get
        self.review = self.reviews.get
        self.release = self.releases.get
        self.position = self.positions.get

    @property
    def signal_count(self) -> int:
        return len(self.signals)

    @property
    def quarantined_count(self) -> int:
        return len(self.quarantined)

    @property
    def leaf_count(self) -> int:
        return len(self.leaves)

    def take_over(self, changes: Changes) -> None:
        for id_, _ in changes.decisions.written():
            if id_ not in self.decisions:
                insort(self.decision_ids, id_)
        self.signals.extend(stored for stored, _ in changes.signals)
        self.quarantined.extend(changes.quarantined)
        self.leaves.extend(changes.leaves)
        self.live.extend(changes.live)
        self.seen.update(changes.seen.written())
        self.people.update(changes.people.written())
        self.accounts.update(changes.accounts.written())
        self.identifiers.update(changes.identifiers.written())
        self.decisions.update(changes.decisions.written())
        self.keys.update(changes.keys.written())
        self.outcomes.update(changes.outcomes.written())
        self.reviews.update(changes.reviews.written())
        self.releases.update(changes.releases.written())
        self.positions.update(changes.positions.written())
        self.counts = {
            **self.counts,
            **{name: self.counts.get(name, 0) + by for name, by in changes.counts.items()},
        }


class MemoryRecords(Records):
    """`Records` in memory. A unit runs on the thread that submits it, or on one that is running units already."""

    def __init__(self, *, queue_max: int = 10_000) -> None:
        self._kept = _Kept()
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
        # Checked again after the release: a unit that came in between must not be left waiting.
        while self._waiting and self._running.acquire(blocking=False):
            self._runner = get_ident()
            try:
                self._run_waiting()
            finally:
                self._runner = 0
                self._running.release()

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

    def outcomes(self, decision: str) -> list[StoredOutcome]:
        found = [outcome for outcome in list(self._kept.outcomes.values()) if outcome.decision == decision]
        return sorted(found, key=lambda outcome: (outcome.at_ms, outcome.id))

    def reviews(self, status: str, last: int) -> list[Review]:
        found = [review for review in list(self._kept.reviews.values()) if review.status == status]
        return sorted(found, key=lambda review: (review.opened_ms, review.id), reverse=True)[:last]

    def signals(self, after: int = 0) -> Iterator[StoredSignal]:
        for index in count(max(after, 0)):
            if index >= len(self._kept.signals):
                return
            yield self._kept.signals[index]

    def quarantined(self, last: int) -> list[Quarantined]:
        return self._kept.quarantined[::-1][:last]

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

    def release(self, hash_: str) -> StoredRelease | None:
        return self._kept.releases.get(hash_)

    def releases(self) -> list[StoredRelease]:
        found = list(self._kept.releases.values())
        return sorted(found, key=lambda release: (-release.created_ms, release.hash))

    def live(self) -> str | None:
        return self._kept.live[-1][1] if self._kept.live else None

    def live_history(self) -> list[tuple[int, str, str, str]]:
        return self._kept.live[::-1]

    def leaves(self, start: int, stop: int) -> list[bytes]:
        return self._kept.leaves[max(start, 0) : max(stop, 0)]

    def leaf_count(self) -> int:
        return len(self._kept.leaves)

    def close(self) -> None:
        self._closed = True

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
