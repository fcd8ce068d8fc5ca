"""Coverage: which cells of the states of a region hold every signal of the log, and which are still owed some.

Releases share the states of people and accounts, cell by cell. Cells are independent of the order of signals, so a
backfill can fold old signals into a cell while new ones go on being folded into it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

KEPT_MAX: Final = 2
"""Releases whose cells are folded beside those of the live one: the one before it, and one being prepared."""


POSITION: Final = "features"
"""Under which name the records keep the coverage of a region."""


class Owed(msgspec.Struct, frozen=True):
    """Cells that were new at place `end` of the log: what came later is folded as it arrives.

    Signals up to `end` are folded by a backfill, with the definitions of `release`; it has come to place `done`.
    """

    release: str
    keys: tuple[str, ...]
    end: int
    done: int = 0

    def holds(self, seq: int) -> bool:
        """Has the signal at this place been folded into these cells already?"""
        return seq <= self.done or seq > self.end


class Coverage(msgspec.Struct, frozen=True):
    """What is folded: INVARIANT: every signal goes into each cell of `whole` and `owed` exactly once, into no other.

    `whole` are cells that hold the whole log, `kept` releases whose cells are folded beside the live one's (the newest
    first), `dropped` are cells that no release reads any more and that states may still hold.
    """

    whole: tuple[str, ...] = ()
    owed: tuple[Owed, ...] = ()
    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def folded(self) -> frozenset[str]:
        """Every cell that a new signal goes into."""
        return frozenset(self.whole).union(*(one.keys for one in self.owed))

    def missing(self, keys: Collection[str]) -> tuple[str, ...]:
        """Those of these cells that no signal goes into yet."""
        folded = self.folded
        return tuple(sorted(key for key in set(keys) if key not in folded))

    def owed_of(self, keys: Collection[str]) -> tuple[Owed, ...]:
        """What is still owed to these cells."""
        wanted = set(keys)
        return tuple(one for one in self.owed if not wanted.isdisjoint(one.keys))

    def incomplete(self, keys: Collection[str]) -> frozenset[str]:
        """Those of these cells that do not hold the whole log yet."""
        return frozenset(keys).difference(self.whole)


def begun(coverage: Coverage, release: str, keys: Collection[str], end: int) -> Coverage:
    """From place `end` of the log on, new signals go into all cells of `release` too.

    Raises ValueError when states may still hold retired cells of these names: prune them first.
    """
    new = coverage.missing(keys)
    if left := set(new).intersection(coverage.dropped):
        raise ValueError(f"{len(left)} retired cells must be pruned before they are folded again")
    whole, owed = coverage.whole, coverage.owed
    if new and end:
        owed = (*owed, Owed(release, new, end))
    elif new:  # an empty log is folded whole
        whole = tuple(sorted({*whole, *new}))
    return msgspec.structs.replace(coverage, whole=whole, owed=owed)


def come_to(coverage: Coverage, owed: Owed, place: int) -> Coverage:
    """The backfill of `owed` has folded every signal up to this place; at its end the cells are whole."""
    others = tuple(one for one in coverage.owed if one != owed)
    if place >= owed.end:
        whole = tuple(sorted({*coverage.whole, *owed.keys}))
        return msgspec.structs.replace(coverage, whole=whole, owed=others)
    return msgspec.structs.replace(coverage, owed=(msgspec.structs.replace(owed, done=place), *others))


def sharing(
    coverage: Coverage, live: str | None, kept: Collection[str], keys_of: Mapping[str, Collection[str]]
) -> Coverage:
    """The releases that share the states from now on: cells that none of them reads are retired.

    `keys_of` names the cells of `live` and of every one of `kept` (the newest first, at most KEPT_MAX stay).
    """
    others = tuple(dict.fromkeys(one for one in kept if one != live))[:KEPT_MAX]
    read: set[str] = set()
    for release in (*others, *(() if live is None else (live,))):
        read.update(keys_of[release])
    owed = tuple(
        msgspec.structs.replace(one, keys=tuple(key for key in one.keys if key in read))
        for one in coverage.owed
        if not read.isdisjoint(one.keys)
    )
    return Coverage(
        tuple(key for key in coverage.whole if key in read),
        owed,
        others,
        tuple(sorted({*coverage.dropped, *(coverage.folded - read)})),
    )


def pruned(coverage: Coverage, keys: Collection[str]) -> Coverage:
    """No state holds these retired cells any more."""
    return msgspec.structs.replace(coverage, dropped=tuple(key for key in coverage.dropped if key not in set(keys)))


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Coverage)


def encode_coverage(coverage: Coverage) -> str:
    """As JSON, to be kept with the states."""
    return _encoder.encode(coverage).decode()


def decode_coverage(text: str) -> Coverage:
    """Raises msgspec.DecodeError when the text is no coverage."""
    return _decoder.decode(text)
