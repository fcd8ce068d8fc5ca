"""Releases that share the states of a region: which cells a signal goes into, inside a unit of work.

What is folded stands in the records (`core.features.coverage`) and is read in the same unit as the states, so that
it does not matter which release a signal was checked against, nor when a backfill began.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from opportune.core.customers import Account, Person
from opportune.core.features import CompiledViews, EntityFeatures
from opportune.core.features.coverage import POSITION, Coverage, Owed, decode_coverage, encode_coverage
from opportune.core.releases import Release
from opportune.core.signals import CompiledContract, Signal, happened_ms, upcast
from opportune.ports import StoredSignal, Transaction

_SHARES_MAX: Final = 8

Features = EntityFeatures | None
Entity = TypeVar("Entity", Person, Account)


class Part(msgspec.Struct, frozen=True):
    """Cells with the definitions of one release; `owed` says which signals are in them, None: every one."""

    views: CompiledViews
    contracts: Mapping[tuple[str, int], CompiledContract]
    owed: Owed | None = None

    def holds(self, seq: int) -> bool:
        return self.owed is None or self.owed.holds(seq)

    def fold(self, entity: str, features: Features, signal: Signal) -> Features:
        """The features of a person or an account after one signal, as this release reads it."""
        read = upcast(signal, self.contracts)
        return self.views.fold(entity, features, read.type, read.id, happened_ms(read), read.data)


class Share(msgspec.Struct, frozen=True):
    """What a signal goes into: cells of the live release (`views`), and of others that share the states (`beside`).

    `past` are all cells by what they hold, for signals that are in the log already. `cells` are all cells that are
    folded, None where there never was more than one release.
    """

    views: CompiledViews
    beside: tuple[Part, ...]
    past: tuple[Part, ...]
    cells: frozenset[str] | None = None

    def fold_beside(
        self, signal: Signal, person: Person | None, account: Account | None
    ) -> tuple[Person | None, Account | None]:
        """Both states after a new signal went into the cells of the other releases."""
        for part in self.beside:
            if person is not None:
                person = with_features(person, part.fold("person", person.features, signal))
            if account is not None:
                account = with_features(account, part.fold("account", account.features, signal))
        return person, account

    def fold_again(self, features: Features, stored: StoredSignal) -> Features:
        """A person's features after a signal of the log went into every cell that should hold it."""
        for part in self.past:
            if part.holds(stored.seq):
                features = part.fold("person", features, stored.signal)
        return features

    def folded(self, features: Features) -> Features:
        """The features without cells that are not folded any more: what they hold is not the whole log."""
        if features is None or self.cells is None or self.cells.issuperset(features.cells):
            return features
        return EntityFeatures({key: cell for key, cell in features.cells.items() if key in self.cells})


def share_of(tx: Transaction, release: Release) -> Share:
    """What a unit folds: `release` is the live one it works with."""
    text = tx.position(POSITION)
    key = (text, release.hash, release.region)
    found = _shares.get(key)
    if found is None:
        found = _share(None if text is None else decode_coverage(text), release)
        while len(_shares) >= _SHARES_MAX:
            _shares.pop(next(iter(_shares)), None)
        _shares[key] = found
    return found


def coverage_in(tx: Transaction) -> Coverage | None:
    """None: no release was ever promoted here, or by a version that did not keep it."""
    text = tx.position(POSITION)
    return None if text is None else decode_coverage(text)


def keep_coverage(tx: Transaction, coverage: Coverage) -> None:
    """In the same unit as the states it is about."""
    tx.set_position(POSITION, encode_coverage(coverage))


def with_features(entity: Entity, features: Features) -> Entity:
    """The same object when nothing changed."""
    return entity if features is entity.features else msgspec.structs.replace(entity, features=features)


_shares: dict[tuple[str | None, str, str], Share] = {}
"""Made once per coverage, release and region, which decide everything a share says."""


def _share(coverage: Coverage | None, release: Release) -> Share:
    if coverage is None:
        return Share(release.views, (), (Part(release.views, release.contracts),))
    others = [release, *(_other(release, name) for name in coverage.kept)]
    others += [_other(release, one.release) for one in coverage.owed]
    holds: dict[str, Owed | None] = dict.fromkeys(coverage.whole)
    holds |= {key: one for one in coverage.owed for key in one.keys}
    views = release.views if release.views.keys.issubset(holds) else release.views.only(holds)
    beside: list[Part] = []
    past: list[Part] = []
    left = dict(holds)
    for other in others:
        mine = {key: left.pop(key) for key in other.views.keys if key in left}
        if mine and other is not release:
            beside.append(Part(other.views.only(mine), other.contracts))
        for owed in dict.fromkeys(mine.values()):
            cells = [key for key, one in mine.items() if one == owed]
            past.append(Part(other.views.only(cells), other.contracts, owed))
    return Share(views, tuple(beside), tuple(past), frozenset(holds))


def _other(release: Release, hash_: str) -> Release:
    if hash_ == release.hash or release.beside is None:
        return release
    return release.beside(hash_)
