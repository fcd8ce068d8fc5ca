"""The life of a backfill: cells that are new get the whole log, while everything else goes on.

1. prune: retired cells that are to be folded anew are taken out of all states
2. begin: one unit says at which place of the log the cells are new; from it on, live signals go into them too
3. fold: the log up to that place, batch by batch; states and how far it has come are written in one unit
4. end: the cells are whole; releases that read them may be promoted, and nothing is missing

Memory is bounded: one batch of signals is held at a time, and states are read and written where they are kept.
Killed anywhere, it goes on where its last unit ended. INVARIANT: each signal goes into each cell exactly once: up to
the place of step 2 here, after it live. The order does not matter to a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from opportune.core.customers import Account, Person
from opportune.core.features import CompiledViews
from opportune.core.features.coverage import POSITION, Coverage, Owed, begun, come_to, pruned, sharing
from opportune.core.signals import happened_ms
from opportune.flows.identify import lives_on
from opportune.flows.ingest import newest
from opportune.flows.share import coverage_in, keep_coverage, with_features
from opportune.flows.then import AccountsThen
from opportune.ports import StoredSignal, Transaction

if TYPE_CHECKING:
    from opportune.flows.region import Region

T = TypeVar("T")
BATCH: Final = 200
"""Signals, or states, of one unit: what waits behind it waits for some milliseconds."""

Tell = Callable[[int, int], None]
"""(signals folded, signals in all)"""


class Needed(msgspec.Struct, frozen=True):
    """What a release lacks before it can be promoted without gaps: features, and signals that are to be folded."""

    release: str
    features: tuple[str, ...]
    signals: int


class Backfilled(msgspec.Struct, frozen=True):
    """What a backfill did: the features that are whole now, and how many signals it went through."""

    release: str
    features: tuple[str, ...]
    signals: int


def needed(region: Region, hash_: str) -> Needed:
    """What `backfill` would have to do for a release; reads only. LookupError when there is none of this name."""
    release = region.releases.get(hash_)
    coverage = current(region)
    lacking = coverage.incomplete(release.views.keys)
    if region.records.live() is None or not lacking:
        return Needed(hash_, (), 0)
    owed = coverage.owed_of(lacking)
    signals = sum(one.end - one.done for one in owed)
    if coverage.missing(release.views.keys):
        signals += region.records.counts().get("signals", 0)
    return Needed(hash_, _named(release.views, lacking), signals)


def backfill(
    region: Region, hash_: str, tell: Tell = lambda done, end: None, rest: Callable[[], None] = lambda: None
) -> Backfilled:
    """Steps 1 to 4 for a release, from wherever it stands. LookupError when there is none of this name.

    Runs beside everything else, one at a time; `rest` is called after every batch.
    """
    with region.preparing:
        prepare(region, hash_)
        return finish(region, hash_, tell, rest)


def prepare(region: Region, hash_: str) -> None:
    """Steps 1 and 2: from now on live signals go into the cells of this release too. Call it with the lock held."""
    records = region.records
    live = records.live()
    wanted = [one for one in (live, hash_) if one is not None]
    before = current(region)
    missing = {key for one in wanted for key in before.missing(_keys(region, one))}
    if not missing and records.position(POSITION) is not None:
        return
    # 1. prune
    if left := missing.intersection(before.dropped):
        records.run(lambda tx: keep_coverage(tx, coverage_in(tx) or before))
        prune(region, left)
    keys_of = {one: _keys(region, one) for one in (*wanted, *before.kept)}

    # 2. begin
    def work(tx: Transaction) -> None:
        coverage = coverage_in(tx) or before
        for one in wanted:
            coverage = begun(coverage, one, keys_of[one], tx.last_signal())
        keep_coverage(tx, sharing(coverage, live, (hash_, *coverage.kept), keys_of))

    records.run(work)
    region.releases.refresh()


def finish(region: Region, hash_: str, tell: Tell, rest: Callable[[], None]) -> Backfilled:
    """Steps 3 and 4 for whatever is owed to a release and to the live one. Call it with the lock held."""
    get, live = region.releases.get, region.records.live()
    keys = get(hash_).views.keys.union(() if live is None else _keys(region, live))
    owed = current(region).owed_of(keys)
    end = sum(one.end - one.done for one in owed)
    done = 0
    for one in owed:
        release = get(one.release)
        log = newest(_until(region.records.signals(one.done), one.end), release.contracts)
        then, place = AccountsThen(region.records), one.done
        for batch in _batches(log, BATCH):
            # 3. fold
            found = [(stored, then.account(stored)) for stored in batch]
            region.records.run(partial(_fold, views=release.views, owed=one, place=batch[-1].seq, found=found))
            done, place = done + batch[-1].seq - place, batch[-1].seq
            tell(done, end)
            rest()
        # 4. end
        region.records.run(partial(_fold, views=release.views, owed=one, place=one.end, found=()))
        done += one.end - place
        region.releases.refresh()
    return Backfilled(hash_, _named(get(hash_).views, {key for one in owed for key in one.keys}), done)


def share_from_now(region: Region, live: str) -> Callable[[Transaction], None]:
    """The part of the unit that promotes `live`: the release before it stays kept, older ones are retired."""
    before = region.records.live()
    known = current(region)
    kept = [one for one in (before, *known.kept) if one is not None and one != live]
    keys_of = {one: _keys(region, one) for one in (live, *kept)}

    def work(tx: Transaction) -> None:
        keep_coverage(tx, sharing(coverage_in(tx) or known, live, kept, keys_of))

    return work


def _keys(region: Region, hash_: str) -> frozenset[str]:
    """The cells of a release. One that cannot be used any more (altered, or gone) has none: what takes its place must
    not be held up by it."""
    try:
        return region.releases.get(hash_).views.keys
    except (LookupError, ValueError):
        return frozenset()


def prune(region: Region, keys: Collection[str] | None = None) -> int:
    """Takes retired cells (all of them when none are named) out of the states; how many states changed."""
    records = region.records
    known = records.position(POSITION)
    gone = frozenset(current(region).dropped) if known is not None else frozenset[str]()
    gone = gone if keys is None else gone.intersection(keys)
    if not gone:
        return 0

    def holding(entities: Iterable[Person] | Iterable[Account]) -> Iterator[str]:
        return (one.id for one in entities if one.features is not None and not gone.isdisjoint(one.features.cells))

    changed = 0
    for ids in _batches(holding(records.people()), BATCH):
        changed += records.run(partial(_prune_people, ids=ids, gone=gone))
    for ids in _batches(holding(records.accounts()), BATCH):
        changed += records.run(partial(_prune_accounts, ids=ids, gone=gone))

    def work(tx: Transaction) -> None:
        coverage = coverage_in(tx)
        if coverage is not None:
            keep_coverage(tx, pruned(coverage, gone))

    records.run(work)
    return changed


def resume(region: Region, rest: Callable[[], None] = lambda: None) -> None:
    """Finishes what the live release is owed, and prunes what is retired. For the start of a server."""
    live = region.records.live()
    if live is None or region.records.position(POSITION) is None:
        return
    with region.preparing:
        finish(region, live, lambda done, end: None, rest)
        prune(region)


def current(region: Region) -> Coverage:
    """What is folded. Of a store that never kept it: cells that every release which was live had hold the whole log,
    and of the others nobody knows what they hold."""
    text = region.records.position(POSITION)
    if text is not None:
        return msgspec.json.decode(text, type=Coverage)
    ever = [_keys(region, hash_) for hash_ in {hash_ for _, hash_, _, _ in region.records.live_history()}]
    if not ever:
        return Coverage()
    whole, known = frozenset.intersection(*ever), frozenset[str]().union(*ever)
    return Coverage(whole=tuple(sorted(whole)), dropped=tuple(sorted(known - whole)))


def _fold(
    tx: Transaction, views: CompiledViews, owed: Owed, place: int, found: Sequence[tuple[StoredSignal, str | None]]
) -> None:
    """One batch and how far it came; signals of customers who were erased in the meantime are gone."""
    coverage = coverage_in(tx)
    now = None if coverage is None else next((one for one in coverage.owed if _same(one, owed)), None)
    if coverage is None or now is None or place <= now.done < now.end:
        return
    cells = views.only(now.keys)
    for stored, account_id in found:
        _fold_one(tx, cells, stored, account_id)
    keep_coverage(tx, come_to(coverage, now, place))


def _fold_one(tx: Transaction, cells: CompiledViews, stored: StoredSignal, account_id: str | None) -> None:
    signal = stored.signal
    about = [entity for entity in ("person", "account") if (entity, signal.type) in cells.steps]
    if not about:
        return
    at_ms = happened_ms(signal)
    if signal.customer is not None:
        person = lives_on(tx.person, signal.customer)
        if person is None:
            return
        if "person" in about:
            features = cells.fold("person", person.features, signal.type, signal.id, at_ms, signal.data)
            if features is not person.features:
                tx.put_person(with_features(person, features))
    if "account" in about and account_id is not None:
        account = tx.account(account_id) or Account(account_id, first_ms=at_ms)
        features = cells.fold("account", account.features, signal.type, signal.id, at_ms, signal.data)
        if features is not account.features:
            tx.put_account(with_features(account, features))


def _same(one: Owed, other: Owed) -> bool:
    """Keys may have been retired meanwhile; release and place name it."""
    return (one.release, one.end) == (other.release, other.end)


def _prune_people(tx: Transaction, ids: Sequence[str], gone: frozenset[str]) -> int:
    people = [person for id_ in ids if (person := tx.person(id_)) is not None]
    for person in people:
        tx.put_person(_without(person, gone))
    return len(people)


def _prune_accounts(tx: Transaction, ids: Sequence[str], gone: frozenset[str]) -> int:
    accounts = [account for id_ in ids if (account := tx.account(id_)) is not None]
    for account in accounts:
        tx.put_account(_without(account, gone))
    return len(accounts)


Entity = TypeVar("Entity", Person, Account)


def _without(entity: Entity, gone: frozenset[str]) -> Entity:
    features = entity.features
    if features is None:
        return entity
    cells = {key: cell for key, cell in features.cells.items() if key not in gone}
    return with_features(entity, msgspec.structs.replace(features, cells=cells))


def _named(views: CompiledViews, keys: Collection[str]) -> tuple[str, ...]:
    """The features kept in these cells, and those derived from them."""
    direct = {feature.name for feature in views.features.values() if feature.key in keys}
    return tuple(
        name for name in views.names if name in direct or not direct.isdisjoint(views.lineage(name).features)
    )


def _until(log: Iterator[StoredSignal], end: int) -> Iterator[StoredSignal]:
    for stored in log:
        if stored.seq > end:
            return
        yield stored


def _batches(found: Iterator[T], size: int) -> Iterator[list[T]]:
    while batch := list(islice(found, size)):
        yield batch
