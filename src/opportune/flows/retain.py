"""Retention: what has outlived the period of its class is removed, field by field, and the ledger says how much.

1. signals: fields of a class older than its period are taken out of the log, place by place
2. traits: those whose origin is older are taken out of people and accounts
3. entries: quarantine and the access log lose what is older
4. ledger: one entry with counts, when something was removed; the files are emptied of it
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from opportune.core.customers import Account, Person
from opportune.core.ledger import entry
from opportune.core.masking import classes_of
from opportune.core.releases import Release
from opportune.core.retention import ClassOf, expired_traits, period_ms, without_expired
from opportune.core.signals import FieldClass
from opportune.ports import Records, StoredSignal, Transaction

if TYPE_CHECKING:
    from opportune.flows.region import Region

T = TypeVar("T")
BATCH: Final = 500
POSITION: Final = "retention"
CLASSES: Final[tuple[FieldClass, ...]] = ("public", "internal", "personal", "sensitive")


class RetentionReport(msgspec.Struct, frozen=True):
    """What was removed, or would be: fields of signals, traits, quarantine entries, access entries.

    `periods` are those of the live release; without any, nothing is ever removed.
    """

    periods: Mapping[str, str]
    signals: int = 0
    fields: int = 0
    people: int = 0
    accounts: int = 0
    traits: int = 0
    quarantine: int = 0
    access: int = 0

    @property
    def removed(self) -> int:
        return self.fields + self.traits + self.quarantine + self.access


class _Rules(msgspec.Struct, frozen=True):
    """The periods of the live release, and the classes of its contracts."""

    release: Release
    periods: Mapping[FieldClass, int]
    now_ms: int
    known: dict[tuple[str, int], ClassOf]

    def class_of(self, type_: str, version: int) -> ClassOf:
        """The classes of a signal type; of its newest version where this one is not known any more."""
        found = self.known.get((type_, version))
        if found is None:
            contracts = self.release.contracts
            versions = [one for name, one in contracts if name == type_]
            best = version if version in versions else max(versions, default=0)
            found = classes_of(contracts[type_, best].contract if versions else None)
            self.known[type_, version] = found
        return found

    def name(self) -> str:
        """What was removed under other rules must be looked at again under these."""
        periods = sorted(self.periods.items())
        return sha256(msgspec.json.encode((self.release.hash, periods))).hexdigest()[:16]


def retain(region: Region, *, dry_run: bool = False, rest: Callable[[], None] = lambda: None) -> RetentionReport:
    """Removes what has outlived its period; with `dry_run` only counts it. Runs beside everything else, and calls
    `rest` after every few hundred signals."""
    release, now_ms = region.releases.live(), region.clock.now_ms()
    said: dict[str, str] = dict(release.playbook.app.privacy.retention.items())
    periods = {name: period_ms(text) for name, text in said.items()}
    by_class = {name: periods[name] for name in CLASSES if name in periods}
    rules = _Rules(release, by_class, now_ms, {})
    # 1. signals and 2. traits
    signals, fields = _signals(region, rules, rest, dry_run=dry_run) if by_class else (0, 0)
    people, accounts, traits = _traits(region, rules, dry_run=dry_run) if by_class else (0, 0, 0)
    # 3. entries
    quarantine = _entries(region.records, "quarantine", periods, now_ms, dry_run=dry_run)
    access = _entries(region.records, "access", periods, now_ms, dry_run=dry_run)
    report = RetentionReport(said, signals, fields, people, accounts, traits, quarantine, access)
    if report.removed and not dry_run:
        # What was learned of calls to rank is made again from what is left of them.
        region.personalize.again()
        # 4. ledger
        region.records.run(partial(_witness, region=region, report=report, now_ms=now_ms))
        region.records.scrub()
    return report


def _signals(region: Region, rules: _Rules, rest: Callable[[], None], *, dry_run: bool) -> tuple[int, int]:
    """(signals changed, fields removed). What is older than every period was looked at once and is not again."""
    records = region.records
    done, name = _position(records, rules.name())
    oldest_ms = rules.now_ms - max(rules.periods.values())
    changed = fields = 0
    for batch in _batches(records.signals(done), BATCH):
        rewritten: list[StoredSignal] = []
        for stored in batch:
            signal, gone = without_expired(
                stored.signal, rules.class_of(stored.signal.type, stored.signal.version), rules.periods, rules.now_ms
            )
            if gone:
                rewritten.append(msgspec.structs.replace(stored, signal=signal))
                fields += gone
            if stored.signal.received_ms < oldest_ms and stored.seq > done:
                done = stored.seq
        changed += len(rewritten)
        if rewritten and not dry_run:
            records.rewrite_signals(rewritten)
        rest()
    if not dry_run:
        records.run(lambda tx: tx.set_position(POSITION, f"{done}/{name}"))
    return changed, fields


def _traits(region: Region, rules: _Rules, *, dry_run: bool) -> tuple[int, int, int]:
    """(people changed, accounts changed, traits removed)."""
    records = region.records
    people = [one.id for one in records.people() if _expired(one, rules)]
    accounts = {one.account for one in records.people() if one.account is not None}
    late = [one.id for one in (records.account(id_) for id_ in sorted(accounts)) if one and _expired(one, rules)]
    if dry_run:
        found = [*(records.person(id_) for id_ in people), *(records.account(id_) for id_ in late)]
        return len(people), len(late), sum(len(_expired(one, rules)) for one in found if one is not None)
    traits = 0
    for batch in _batches(people, BATCH):
        traits += records.run(partial(_drop_of_people, ids=batch, rules=rules))
    for batch in _batches(late, BATCH):
        traits += records.run(partial(_drop_of_accounts, ids=batch, rules=rules))
    return len(people), len(late), traits


def _drop_of_people(tx: Transaction, ids: Iterable[str], rules: _Rules) -> int:
    gone = 0
    for id_ in ids:
        person = tx.person(id_)
        if person is not None and (names := _expired(person, rules)):
            tx.put_person(_without(person, names))
            gone += len(names)
    return gone


def _drop_of_accounts(tx: Transaction, ids: Iterable[str], rules: _Rules) -> int:
    gone = 0
    for id_ in ids:
        account = tx.account(id_)
        if account is not None and (names := _expired(account, rules)):
            tx.put_account(_without(account, names))
            gone += len(names)
    return gone


def _expired(who: Person | Account, rules: _Rules) -> tuple[str, ...]:
    type_ = "person.updated" if isinstance(who, Person) else "account.updated"
    class_of = rules.class_of(type_, 0)
    return expired_traits(who.origins, who.traits, class_of, rules.periods, who.last_ms, rules.now_ms)


Holder = TypeVar("Holder", Person, Account)


def _without(who: Holder, names: tuple[str, ...]) -> Holder:
    traits = {name: value for name, value in who.traits.items() if name not in names}
    origins = {name: value for name, value in who.origins.items() if name not in names}
    return msgspec.structs.replace(who, traits=traits, origins=origins)


def _entries(
    records: Records, what: Literal["quarantine", "access"], periods: Mapping[str, int], now_ms: int, *, dry_run: bool
) -> int:
    if what not in periods:
        return 0
    at_ms = now_ms - periods[what]
    if not dry_run:
        return records.drop_before(what, at_ms)
    return sum(one < at_ms for one in (_quarantined(records) if what == "quarantine" else _accessed(records)))


def _quarantined(records: Records) -> Iterator[int]:
    before: int | None = None
    while page := records.quarantined(BATCH, before=before):
        yield from (one.received_ms for one in page)
        before = page[-1].seq


def _accessed(records: Records) -> Iterator[int]:
    before: str | None = None
    while page := records.accesses(BATCH, before=before):
        yield from (one.at_ms for one in page)
        before = page[-1].id


def _witness(tx: Transaction, region: Region, report: RetentionReport, now_ms: int) -> None:
    codes = {"fields": report.fields, "traits": report.traits}
    codes |= {"quarantine": report.quarantine, "access": report.access}
    id_ = region.clock.new_id()
    leaf = entry(entry_id=id_, ts_ms=now_ms, kind="retention", region=region.name, actor="retain", codes=codes)
    tx.append_leaf(leaf)


def _position(records: Records, name: str) -> tuple[int, str]:
    found = records.run(lambda tx: tx.position(POSITION)) or ""
    place, _, rules = found.partition("/")
    return (int(place) if rules == name and place.isdecimal() else 0), name


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
