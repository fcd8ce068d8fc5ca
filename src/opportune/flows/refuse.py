"""Attempts to cross regions, told to the ledger: each is counted, and a flood of them gives few entries.

1. who asked, at which door, for which region: never about whom, and no name that is no region of the playbook
2. the first attempt is an entry at once; those after it are counted, and told together when their wait is over
3. the wait is a second, and doubles up to a minute while attempts go on: at most 60 entries an hour per
   (region asked for, door, sender) in a flood, and no attempt is left out of the counts
4. what is still counted is told when the region is closed; a process that is killed may lose the counts of one wait
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event, Lock

import msgspec

from opportune.core.ledger import entry
from opportune.core.residency import UNLISTED
from opportune.ports import Clock, Records, StoreBroken, StoreFull, Transaction

WAIT_MS_MIN = 1_000
WAIT_MS_MAX = 60_000
KINDS_MAX = 1_024
"""How many different attempts are counted apart; further callers are counted as one."""


class Sender(msgspec.Struct, frozen=True):
    """Who brings something: the door it came through, and the key or person behind it, as codes."""

    door: str = "ingest"
    actor: str = "local"


LOCAL = Sender()
"""Somebody at the machine itself."""


class Attempt(msgspec.Struct, frozen=True):
    """Somebody asked this region for another one. `asked` is a region of the playbook, or `unlisted`."""

    asked: str
    door: str
    actor: str


class _Counted:
    """What is counted and not told of one kind of attempt, and when it may be."""

    def __init__(self) -> None:
        self.count = 0
        self.next_ms = 0
        self.wait_ms = WAIT_MS_MIN


class Refusals:
    """Counts the attempts of one region, and writes them into its ledger."""

    def __init__(
        self, region: str, records: Records, clock: Clock, known: Callable[[], Sequence[str]]
    ) -> None:
        self._region = region
        self._records = records
        self._clock = clock
        self._known = known
        self._lock = Lock()
        self._counted: dict[Attempt, _Counted] = {}

    def note(
        self, asked: str, sender: Sender, count: int = 1, done: Callable[[], None] = lambda: None
    ) -> None:
        """Steps 1 and 2; `done` is called when what is due is durable, or nothing is. Never raises for a full store."""
        now_ms = self._clock.now_ms()
        named = asked if asked in self._known() else UNLISTED
        with self._lock:
            attempt = Attempt(named, sender.door, sender.actor)
            if attempt not in self._counted and len(self._counted) >= KINDS_MAX:
                attempt = Attempt(UNLISTED, "any", "others")
            counted = self._counted.setdefault(attempt, _Counted())
            counted.count += count
            due = self._due(attempt, counted, now_ms)
        self._tell([] if due == 0 else [(attempt, due)], now_ms, done)

    def flush(self, *, final: bool = False) -> None:
        """Step 3 for everything whose wait is over, or, at the end, for everything."""
        now_ms = self._clock.now_ms()
        with self._lock:
            told = []
            for attempt, counted in list(self._counted.items()):
                if final:
                    counted.next_ms = 0
                if counted.count and (due := self._due(attempt, counted, now_ms)):
                    told.append((attempt, due))
                elif not counted.count and now_ms >= counted.next_ms + counted.wait_ms:
                    del self._counted[attempt]
        written = Event()
        self._tell(told, now_ms, written.set)
        if final:
            written.wait()

    def _due(self, attempt: Attempt, counted: _Counted, now_ms: int) -> int:
        """How many attempts are to be told now; 0 while they wait."""
        if now_ms < counted.next_ms:
            return 0
        late = counted.next_ms > 0
        counted.wait_ms = min(counted.wait_ms * 2, WAIT_MS_MAX) if late else WAIT_MS_MIN
        counted.next_ms = now_ms + counted.wait_ms
        count, counted.count = counted.count, 0
        return count

    def _tell(self, due: Sequence[tuple[Attempt, int]], now_ms: int, done: Callable[[], None]) -> None:
        if not due:
            done()
            return

        def work(tx: Transaction) -> None:
            for attempt, count in due:
                tx.append_leaf(self._entry(attempt, count, now_ms))

        def written(outcome: object) -> None:
            if isinstance(outcome, BaseException):
                self._put_back(due)
            done()

        try:
            self._records.submit(work, written)
        except (StoreFull, StoreBroken):
            self._put_back(due)
            done()

    def _put_back(self, due: Sequence[tuple[Attempt, int]]) -> None:
        with self._lock:
            for attempt, count in due:
                self._counted.setdefault(attempt, _Counted()).count += count

    def _entry(self, attempt: Attempt, count: int, now_ms: int) -> bytes:
        return entry(
            entry_id=self._clock.new_id(),
            ts_ms=now_ms,
            kind="refusal",
            region=self._region,
            actor=attempt.actor,
            codes={"what": "wrong_region", "asked": attempt.asked, "door": attempt.door, "count": count},
        )
