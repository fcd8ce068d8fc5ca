"""The roles the flows rely on, one page: adapters implement them, wiring chooses, tests hold them to one contract."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from opportune.core.customers import Account, Person
from opportune.core.signals import Problem, Signal

T = TypeVar("T")


class StoredSignal(msgspec.Struct, frozen=True):
    """A signal in the log at its position `seq` (1, 2, 3, … without gaps)."""

    seq: int
    signal: Signal


class Quarantined(msgspec.Struct, frozen=True):
    """A signal kept out, with everything needed to look at it, fix it and send it again."""

    received_ms: int
    source: str
    id: str
    type: str
    problems: tuple[Problem, ...]
    body: bytes
    seq: int = 0


class StoredDecision(msgspec.Struct, frozen=True):
    """A decision as kept: the exact record bytes, the salt of its commitment and its place in the ledger."""

    id: str
    at_ms: int
    customer: str
    account: str | None
    unit: str
    moment: str
    release: str
    disposition: str
    offer: str | None
    channel: str | None
    holdout: bool
    total_us: int
    record: bytes
    salt: bytes
    leaf: int = -1
    key: str | None = None


class StoredOutcome(msgspec.Struct, frozen=True):
    """What became of a decision. `decision` is None for revenue that no decision claims (also in the hold-out)."""

    id: str
    at_ms: int
    kind: str
    customer: str
    unit: str
    decision: str | None
    offer: str | None
    amount: float
    detail: str | None = None
    leaf: int = -1


class Review(msgspec.Struct, frozen=True):
    """A decision waiting for a person."""

    id: str
    decision: str
    customer: str
    opened_ms: int
    reason: str
    status: str = "open"


class StoredRelease(msgspec.Struct, frozen=True):
    """An immutable release: `manifest` holds every playbook document and every model it is made of."""

    hash: str
    created_ms: int
    note: str
    manifest: bytes


class Transaction(Protocol):
    """One unit of work. Reads see everything written before, also by this unit; writes are kept or dropped whole."""

    def signal_seen(self, source: str, id_: str) -> tuple[int, bytes] | None:
        """(seq, content hash) of an accepted signal with this identity."""

    def append_signal(self, signal: Signal, content: bytes) -> int: ...

    def quarantine(self, entry: Quarantined) -> int: ...

    def person(self, id_: str) -> Person | None: ...

    def put_person(self, person: Person) -> None: ...

    def account(self, id_: str) -> Account | None: ...

    def put_account(self, account: Account) -> None: ...

    def customer_by(self, identifier: bytes) -> str | None:
        """The customer a keyed-hashed identifier points to."""

    def put_identifier(self, identifier: bytes, kind: str, customer: str) -> None: ...

    def decision_by_key(self, key: str) -> StoredDecision | None: ...

    def decision(self, id_: str) -> StoredDecision | None: ...

    def put_decision(self, decision: StoredDecision) -> None: ...

    def outcome(self, id_: str) -> StoredOutcome | None: ...

    def put_outcome(self, outcome: StoredOutcome) -> None: ...

    def put_review(self, review: Review) -> None: ...

    def put_release(self, release: StoredRelease) -> None: ...

    def set_live(self, hash_: str, at_ms: int, actor: str, why: str) -> None: ...

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

    def run(self, work: Callable[[Transaction], T]) -> T:
        """`submit` and wait."""

    def person(self, id_: str) -> Person | None: ...

    def account(self, id_: str) -> Account | None: ...

    def customer_by(self, identifier: bytes) -> str | None: ...

    def decision(self, id_: str) -> StoredDecision | None: ...

    def decision_by_key(self, key: str) -> StoredDecision | None: ...

    def decisions(
        self, last: int, *, before: str | None = None, disposition: str | None = None, customer: str | None = None
    ) -> list[StoredDecision]:
        """The newest first."""

    def outcomes(self, decision: str) -> list[StoredOutcome]: ...

    def reviews(self, status: str, last: int) -> list[Review]: ...

    def signals(self, after: int = 0) -> Iterator[StoredSignal]:
        """The log in order from the one after `after`."""

    def quarantined(self, last: int) -> list[Quarantined]: ...

    def counts(self) -> Mapping[str, int]:
        """signals, quarantined, people, accounts, decisions, outcomes, reviews, leaves, and `decisions.<disposition>`,
        `outcomes.<kind>` for each that occurs; of committed work, at no more than a few milliseconds."""

    def revenue_by_unit(self, since_ms: int) -> Iterator[tuple[str, bool, float]]:
        """(unit, in the hold-out?, revenue) for every unit that was decided on since then."""

    def release(self, hash_: str) -> StoredRelease | None: ...

    def releases(self) -> list[StoredRelease]: ...

    def live(self) -> str | None: ...

    def live_history(self) -> list[tuple[int, str, str, str]]:
        """(at_ms, release, actor, why), the newest first."""

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


class Ledger(Protocol):
    """The published tamper-evident log over the entries that the system of record holds."""

    origin: str
    vkey: str

    def publish(self) -> int:
        """Publishes every entry recorded so far; returns the size of the signed checkpoint."""

    def checkpoint(self) -> bytes: ...

    def tile(self, path: str) -> bytes: ...

    def proof(self, index: int) -> bytes:
        """The .tlog-proof of one published entry."""


class Vault(Protocol):
    """Keys of one region: identifiers are looked up by keyed hash, grants are signed, commitments are salted."""

    def identifier(self, kind: str, value: str) -> bytes:
        """The keyed hash of a normalised identifier."""

    def commit_salt(self, name: str) -> bytes:
        """32 bytes that only this vault can make again: the salt of the commitment of the thing called `name`."""

    def sign(self, message: bytes) -> bytes:
        """Ed25519."""

    def public_key(self) -> bytes: ...

    def hook_secrets(self, source: str) -> tuple[str, ...]:
        """What the webhooks of a source are signed with, any of them; empty when nothing was put there.

        Raises OSError when they cannot be read, or others can read them too.
        """


class Clock(Protocol):
    """Time and names, from outside."""

    def now_ms(self) -> int: ...

    def tick_us(self) -> int:
        """A monotonic counter in microseconds."""

    def new_id(self) -> str:
        """A UUIDv7."""

    def salt(self) -> bytes:
        """32 unguessable bytes."""


class PulseWindow(msgspec.Struct, frozen=True):
    """The decisions of the last `seconds` (fewer than asked for when the ring is too small to know).

    Percentiles are None without a decision. `mix` counts by disposition. `buckets` are (upper end in µs, decisions
    up to it and above the one before), ascending; `strip` is (decisions, slowest µs) per second, the oldest first.
    """

    seconds: int
    count: int
    rate: float
    p50_us: int | None
    p99_us: int | None
    max_us: int | None
    mix: Mapping[str, int]
    buckets: tuple[tuple[int, int], ...]
    strip: tuple[tuple[int, int], ...]


class Pulse(Protocol):
    """The last decisions as numbers, for whoever watches; recording costs less than a microsecond."""

    def record(self, at_ms: int, total_us: int, disposition: str, decision_id: str = "", store_us: int = 0) -> None:
        """One decision that is durable; `store_us` is the part of `total_us` that recording took."""

    def window(self, now_ms: int, seconds: int = 60) -> PulseWindow: ...

    def took(self, decision_ids: Collection[str]) -> Mapping[str, tuple[int, int]]:
        """(total, store) in µs of those of these decisions that are still in the ring."""


class TableReader(Protocol):
    """Reads a source's files as rows in time order."""

    def rows(self, sql: str, files: Mapping[str, str]) -> Iterator[dict[str, Any]]: ...

    def columns(self, path: str) -> Sequence[str]: ...
