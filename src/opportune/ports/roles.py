"""The other roles: ledger, keys, clock, pulse, tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import msgspec
from numpy.typing import NDArray

from opportune.core.features.relational import Asked, Fact, Relational
from opportune.core.linking import Likely, LinkRecord


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


class Erased(Exception):
    """The key that could open this was destroyed: the customer was erased."""


class Seal(Protocol):
    """Keys of the subjects of one region (see `core.customers.subject_of`): what a store keeps about them is sealed."""

    def seal(self, subject: str, place: str, plain: bytes) -> bytes:
        """Sealed under the subject's key, made when it is new; bound to `place` (such as `signals/17`).

        The first byte is 0xC1, with which neither MessagePack nor JSON can begin. A subject whose key was destroyed
        gets a new one. Threads may share a seal."""

    def open(self, subject: str, place: str, sealed: bytes) -> bytes:
        """Raises Erased when the key is gone, ValueError when the bytes are not what was sealed for this place."""

    def flush(self) -> None:
        """Makes new keys durable. INVARIANT: called before what they seal is committed."""


class Vault(Seal, Protocol):
    """Keys of one region: identifiers are looked up by keyed hash, grants are signed, commitments are salted."""

    def identifier(self, kind: str, value: str) -> bytes:
        """The keyed hash of a normalised identifier."""

    def commit_salt(self, name: str, subject: str) -> bytes:
        """32 bytes that only this vault can make again: the salt of the commitment of the thing called `name`, about
        this subject. Once the subject's key is destroyed nobody can."""

    def destroy(self, subjects: Collection[str]) -> int:
        """Destroys the keys of these subjects for good, on disk too; how many there were."""

    def token(self, purpose: str, text: str) -> str:
        """`text` as an opaque URL-safe token that only this vault can read, for this purpose."""

    def read_token(self, purpose: str, token: str) -> str | None:
        """The text of a token; None when it was not made here for this purpose, or was altered."""

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


class Parcel(msgspec.Struct, frozen=True):
    """What a channel hands over: one offer to one customer. `to` is the address in this channel.

    `unsubscribe` and `preferences` are the customer's own tokens: to stop these messages, and to choose (see the
    preference pages).
    """

    id: str
    channel: str
    to: str
    headline: str
    body: str
    action: str
    expires_ms: int
    unsubscribe: str
    preferences: str


class Delivery(msgspec.Struct, frozen=True):
    """What became of handing a parcel over.

    `sent`: the other side has taken it. `held`: it was not allowed to go, nothing left. `failed`: nothing left, and
    it may be tried again. `refused`: the other side will never take it. `unknown`: it may or may not have left.
    """

    status: Literal["sent", "held", "failed", "refused", "unknown"]
    detail: str = ""


class Courier(Protocol):
    """Hands parcels over in one channel."""

    address_kind: str
    """The kind of identifier that is an address here, such as `email`."""

    def deliver(self, parcel: Parcel, may_go: Callable[[], bool]) -> Delivery:
        """Asks `may_go` immediately before the step that cannot be taken back, and goes no further on False."""


class Hit(msgspec.Struct, frozen=True):
    """A file in which one of the texts stands, and how it is written there; never the text itself."""

    path: str
    form: str


class Scanned(msgspec.Struct, frozen=True):
    """How much was looked through, and what was found; `unread` are files that could not be read, `discarded` were
    exports that held a text."""

    files: int = 0
    bytes: int = 0
    hits: tuple[Hit, ...] = ()
    unread: tuple[str, ...] = ()
    discarded: tuple[str, ...] = ()


class Scanner(Protocol):
    """Looks through every file of a region for texts that must not be there, however they are written."""

    def __call__(self, texts: Collection[str], also: Sequence[str] = (), *, discard: bool = False) -> Scanned:
        """`also` are further files and folders; `discard` removes what holds a text from the folder of exports.
        Raises OSError when the scan could not be done."""


class ShelfError(ValueError):
    """An artefact that is not there, or is not what its name says: then it was `altered`."""

    def __init__(self, message: str, *, altered: bool = False) -> None:
        super().__init__(message)
        self.altered = altered


class Shelf(Protocol):
    """Artefacts by kind (`models`, `proposals`), named by the hash of their content: 32 hexadecimal digits."""

    def put(self, kind: str, content: bytes) -> str:
        """Stores an artefact once, durably; returns its name."""

    def get(self, kind: str, name: str) -> bytes:
        """The artefact's bytes; ShelfError when it is absent, or is not what its name says."""

    def names(self, kind: str) -> list[str]:
        """All artefacts of a kind, the newest first."""


class TableReader(Protocol):
    """Reads a source's files as rows in time order."""

    def rows(self, sql: str, files: Mapping[str, str]) -> Iterator[dict[str, Any]]: ...

    def columns(self, path: str) -> Sequence[str]: ...


ColumnKind = Literal["bool", "int", "double", "string", "timestamp", "duration", "list", "other"]
"""What a column of a file holds; timestamps (UTC) and durations are handed over in milliseconds."""

Columns = Mapping[str, NDArray[Any]]
"""Column -> one value per row: numbers as numbers, texts and lists as objects; where a value is missing, masked."""


class ColumnFiles(Protocol):
    """Reads and writes files of many rows column by column, in bounded memory."""

    def kinds(self, path: str) -> Mapping[str, ColumnKind]:
        """Column -> what it holds, in the order of the file."""

    def rows(self, path: str, names: Sequence[str], texts: Collection[str], rows_at_once: int) -> Iterator[Columns]:
        """These columns in the order of the rows; of a file whose columns have no types (CSV), `texts` are text."""

    def writer(self, path: str) -> AbstractContextManager[Callable[[Columns], None]]:
        """Adds rows to a file, which stands in its place, readable by its owner alone, once all are written."""


class Linker(Protocol):
    """Finds records that are probably one customer, offline."""

    def pairs(self, records: Iterable[LinkRecord], at_least: float) -> Iterator[Likely]:
        """Every pair at or above the probability, the most probable first; each pair once."""


class OfflineFeatures(Protocol):
    """Works out features of many rows at once, each as of its own time, from the signals themselves."""

    def values(self, form: Relational, facts: Iterable[Fact], asked: Sequence[Asked]) -> dict[str, list[Any]]:
        """Feature -> one value per asked row, None where it is missing: what the fold would have read then.

        `facts` are read once, in any order. Nothing of them is kept."""

    def write(
        self, path: str, columns: Sequence[tuple[str, str, Sequence[Any]]], metadata: Mapping[str, str]
    ) -> None:
        """A Parquet file of (name, type, values), readable by its owner alone, with texts in its metadata.

        Types are bool, int, double and string."""


class FeatureReader(Protocol):
    """Reads features that somebody else works out and keeps, for one decision at a time; threads share a reader."""

    def read(
        self, entity: str, id_: str, names: Sequence[str], now_ms: int, left_s: float
    ) -> Mapping[str, tuple[Any, int | None]]:
        """Name -> (value or None, event time in ms or None where it is not kept), as of `now_ms`; empty when nothing
        is kept about this person or account.

        Nobody waits longer than `left_s` seconds: give up then. Raises whatever went wrong."""
