"""The life of a call to rank: for teams whose Azure Personalizer was retired, over the same log as everything else.

1. check: nothing that names a person, or cannot be learned from
2. rank: chances by what was learned so far, one action drawn by them (or the caller's own, in apprentice mode)
3. record: the call and its answer as a signal of the log, with its ledger entry, before the answer
4. reward: kept as a signal of its own, then joined to the call it speaks of
5. learn: what is durable is folded in the order of the log (`core/bandits/joined.py`)

The learner is in memory and is made again from the log: the same log gives the same bytes. Calls are no customers'
signals: they are sealed under the region's key, their fields are `personal` and leave with that class's retention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final

import msgspec

from opportune.core.bandits.joined import Activated, Entry, Joined, Rewarded
from opportune.core.bandits.ranking import (
    Parsed,
    Ranked,
    RankError,
    RankRequest,
    Setting,
    check_event_id,
    check_rank,
    rank,
)
from opportune.core.decisions.draws import uniform
from opportune.core.releases import Release
from opportune.core.retention import period_ms
from opportune.core.signals import Signal, content_hash
from opportune.flows.ingest import write_signal
from opportune.ports import Clock, Records, StoredSignal, Transaction, Vault

SOURCE: Final = "opportune.personalizer"
RANKED, REWARDED, ACTIVATED = "personalizer.ranked", "personalizer.rewarded", "personalizer.activated"
POSITION: Final = "personalizer"
"""How many entries there are, and the place of the first in the log: `<count>/<place>`."""

REWARD_MAX: Final = 1e6

Told = tuple[Entry, Parsed | None]
"""An entry, and the features of a call where they were worked out already."""


class Personalize:
    """Ranks, rewards and learns; safe for many threads. One per region, in the process that writes it."""

    def __init__(self, records: Records, vault: Vault, clock: Clock, release: Callable[[], Release]) -> None:
        self._records = records
        self._vault = vault
        self._clock = clock
        self._release = release
        self._lock = Lock()
        self._joined: Joined | None = None
        self._next = 0
        self._ahead: dict[int, Told] = {}

    def setting(self) -> Setting:
        """What the live release says; RankError where it says nothing."""
        said = self._release().playbook.app.personalizer
        if said is None:
            message = "the live release has no `personalizer:` in its opportune.yaml: write it there, then release it"
            raise RankError("ResourceNotFound", "personalizer", message)
        return Setting(
            said.mode, said.method, said.exploration, period_ms(said.reward_wait), said.default_reward,
            said.reward_aggregation,
        )  # fmt: skip

    def rank(self, request: RankRequest) -> Ranked:
        """The answer, recorded; the same call with the same event id gets the same answer. Raises RankError."""
        setting = self.setting()
        # 1. check
        parsed = check_rank(request)
        own = self._clock.new_id()
        event = request.event_id or own
        # 2. rank
        with self._lock:
            learner = self._ready().learner
            ranked = rank(request, parsed, learner, setting, event, self._clock.now_ms(), uniform(own, "rank"))
        # 3. record
        data = {"ranked": msgspec.to_builtins(ranked)}
        if self._write(RANKED, event, data, (ranked, parsed)):
            return ranked
        known = self._asked_before(event)
        if known is None or msgspec.structs.replace(known.request, event_id=event) != msgspec.structs.replace(
            request, event_id=event
        ):
            message = "this event id belongs to another call: send a new one with each call"
            raise RankError("BadRequest", "eventId", message)
        return known

    def reward(self, event: str, value: float) -> None:
        """Keeps a reward and joins it to its call; one that comes twice or late is kept and changes nothing. Raises
        RankError."""
        self.setting()
        check_event_id(event)
        if not -REWARD_MAX <= value <= REWARD_MAX:
            message = f"a reward is a number from {-REWARD_MAX:.0f} to {REWARD_MAX:.0f}, usually from 0 to 1"
            raise RankError("BadRequest", "value", message)
        at_ms = self._clock.now_ms()
        self._write_about(event, REWARDED, {"event": event, "value": value}, Rewarded(event, at_ms, value))

    def activate(self, event: str) -> None:
        """What a deferred call chose was shown. Raises RankError."""
        self.setting()
        check_event_id(event)
        at_ms = self._clock.now_ms()
        self._write_about(event, ACTIVATED, {"event": event}, Activated(event, at_ms))

    def joined(self) -> Joined:
        """What was learned and judged so far: for reports, which do not change it."""
        with self._lock:
            return self._ready()

    @contextmanager
    def reading(self) -> Iterator[Joined]:
        """What was learned and judged so far, held still while it is read."""
        with self._lock:
            yield self._ready()

    def again(self) -> None:
        """The log was changed (a period ran out): what was learned is made again from what is left of it."""
        with self._lock:
            self._joined = None

    def _write_about(self, event: str, type_: str, data: dict[str, Any], entry: Entry) -> None:
        """Keeps something about a call; RankError when nobody made it."""
        if not self._write(type_, self._clock.new_id(), data, (entry, None), about=event):
            message = "no call to rank had this event id, or it is gone by now: check the id"
            raise RankError("ResourceNotFound", "eventId", message)

    def _write(self, type_: str, id_: str, data: dict[str, Any], told: Told, about: str | None = None) -> bool:
        """False, and nothing was written, when there is a signal with this id already, or none of the call `about`."""
        at_ms = told[0].at_ms
        signal = Signal(SOURCE, id_, type_, 1, at_ms, at_ms, None, None, data)
        content, release = content_hash(signal), self._release()

        def work(tx: Transaction) -> int | None:
            if tx.signal_seen(SOURCE, id_) is not None:
                return None
            if about is not None and tx.signal_seen(SOURCE, about) is None:
                return None
            count, _, first = (tx.position(POSITION) or "").partition("/")
            seq = write_signal(tx, release, self._vault, signal, content)
            number = int(count or 0)
            tx.set_position(POSITION, f"{number + 1}/{first or seq}")
            return number

        number = self._records.run(work)
        if number is None:
            return False
        with self._lock:
            self._fold(number, told)
        return True

    def _fold(self, number: int, told: Told) -> None:
        """5. learn: what was committed, in the order of the log, whoever is told of it first."""
        joined = self._joined
        if joined is None or number < self._next:
            return  # it will be read from the log, or was
        self._ahead[number] = told
        while (found := self._ahead.pop(self._next, None)) is not None:
            joined.take(*found)
            self._next += 1

    def _ready(self) -> Joined:
        """The state, made from the log when there is none. Called under the lock."""
        if self._joined is None:
            # What is committed while the log is read comes to `_fold`, which waits for the lock: it is counted here.
            joined, count = Joined(), 0
            for entry in logged(self._records):
                if entry is not None:
                    joined.take(entry)
                count += 1
            self._joined, self._next = joined, count
            self._ahead = {}
        return self._joined

    def _asked_before(self, event: str) -> Ranked | None:
        seen = self._records.run(lambda tx: tx.signal_seen(SOURCE, event))
        stored = None if seen is None else next(self._records.signals(seen[0] - 1), None)
        found = None if stored is None else entry_of(stored)
        return found if isinstance(found, Ranked) else None


def logged(records: Records) -> Iterator[Entry | None]:
    """Every entry of the log in order; None for one whose fields have outlived their period."""
    position = records.position(POSITION)
    if position is None:
        return
    _, _, first = position.partition("/")
    for stored in records.signals(int(first) - 1):
        if stored.signal.source == SOURCE:
            yield entry_of(stored)


def entry_of(stored: StoredSignal) -> Entry | None:
    """What a signal of the log says; None when nothing is left of it."""
    signal = stored.signal
    data = signal.data
    if signal.type == RANKED and "ranked" in data:
        return msgspec.convert(data["ranked"], Ranked)
    if signal.type == REWARDED and "value" in data and "event" in data:
        return Rewarded(str(data["event"]), signal.at_ms, float(data["value"]))
    if signal.type == ACTIVATED and "event" in data:
        return Activated(str(data["event"]), signal.at_ms)
    return None
