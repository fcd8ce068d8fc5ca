"""Erasure: everything about one customer is gone for good, cannot come back, and a scan of the files says so.

1. find: everybody who is this customer, through merges in both directions
2. collect: their ids, identifiers and personal texts, to look for afterwards; in memory alone
3. suppress: keyed hashes that keep them out, the erasure as begun, and a ledger entry that names nobody; one unit
4. quarantine: entries that hold one of their ids or identifiers are filed under them, whoever they stood under
5. remove: every row about them
6. destroy: their keys, so that no backup of the store says anything without an equally old backup of the keys
7. scrub: write-ahead log and free pages emptied, the ledger published, the erasure as finished
8. scan: every file of the region for what was collected; exports that hold it are removed, and what is found
   elsewhere is scrubbed deeply and looked for again

Killed between any two steps it is finished by running it again: step 3 wrote down whom it is about, in a token that
only this region's key opens.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from opportune.core.customers import REGION_SUBJECT, Identifier, person_subject
from opportune.core.decisions.records import decode_record
from opportune.core.ledger import commitment, entry
from opportune.core.masking import IN_CLEAR, classes_of
from opportune.core.signals import Signal
from opportune.flows.access import actor_code
from opportune.flows.identify import customer_id, customer_named
from opportune.flows.suppress import hashes_of, texts_of
from opportune.ports import Hit, Quarantined, Records, Scanned, StoredDecision, Transaction

if TYPE_CHECKING:
    from opportune.flows.region import Region

TEXT_CHARS_MIN: Final = 6
"""Shorter texts stand in any file by chance: they are not looked for, and the report says how many they were."""

PAGE: Final = 500
POSITION: Final = "erasures"
_PURPOSE: Final = "erasures"
_TEXTS_MAX: Final = 100_000


class Begun(msgspec.Struct, frozen=True):
    """An erasure under way: its ledger entry, everybody it is about, and the hashes that keep them out."""

    id: str
    ids: tuple[str, ...]
    hashes: tuple[bytes, ...]


class ErasureReport(msgspec.Struct, frozen=True):
    """What an erasure did. It names the customer to whoever asked, and nobody else: it is kept nowhere.

    `status`: `erased`; `completed`, when an earlier one was finished, or nothing was left to do. `removed` counts rows
    by kind, `ids` how many ids the customer had. `texts` were looked for in `files`, `too_short` were not, and after
    an interruption only ids can be looked for. `hits` are files where one still stands: then it is not `clean`.
    """

    customer: str
    status: Literal["erased", "completed"]
    erasure: str
    ids: int
    removed: Mapping[str, int]
    keys_destroyed: int
    texts: int
    too_short: int
    files: int
    bytes: int
    hits: tuple[Hit, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return not self.hits and not self.unread


class Unknown(LookupError):
    """Nobody is called this, and nobody who was erased was."""


class _About(msgspec.Struct, frozen=True):
    """Everybody who is the customer, what identifies them, and the texts to look for."""

    ids: tuple[str, ...]
    identifiers: tuple[Identifier, ...] = ()
    texts: frozenset[str] = frozenset()


def erase(region: Region, customer: str, actor: str, why: str, also: Sequence[str] = ()) -> ErasureReport:
    """Erases a customer, named by an id, an e-mail address or a phone number; runs beside everything else.

    `also` are further files and folders to scan. Raises Unknown; OSError and TimeoutError when it could not be
    finished: then run it again.
    """
    records, vault = region.records, region.vault
    named = customer_named(records, vault, customer)
    begun = next((one for one in unfinished(region) if _is_about(region, one, customer)), None)
    if named is not None:
        # 1. find and 2. collect
        about = _collected(region, everybody(records, named, () if begun is None else begun.ids))
    elif begun is not None:
        about = _About(begun.ids, (), frozenset(begun.ids))
    else:
        # Nobody is called so: either it was finished before, or there never was anybody.
        id_ = customer_id(vault, customer)
        hashes = hashes_of(vault, (id_,), ())
        if not records.run(lambda tx: any(tx.suppressed(one) for one in hashes)):
            raise Unknown("nobody is called this: check the id")
        about = _About((id_,), (), frozenset((id_, customer)))
        begun = Begun("", about.ids, ())
    if named is not None:
        # 3. suppress
        begun = _begin(region, about, actor, why, begun)
    assert begun is not None
    removed, destroyed = _removed(region, begun, about)
    return _proved(region, customer, "completed" if named is None else "erased", begun, about, removed, destroyed, also)


def finish(region: Region) -> int:
    """Finishes what was interrupted, without the scan; how many erasures. For the start of a server."""
    waiting = unfinished(region)
    for begun in waiting:
        _removed(region, begun, _About(begun.ids))
    return len(waiting)


def unfinished(region: Region) -> list[Begun]:
    """The erasures that were begun and not finished."""
    token = region.records.run(lambda tx: tx.position(POSITION))
    return _read(region, token)


def everybody(records: Records, customer: str, known: Collection[str] = ()) -> tuple[str, ...]:
    """1. find: the ids of everybody who is this customer; merges that were undone made nobody the same."""
    found: dict[str, None] = dict.fromkeys((customer, *known))
    waiting = list(found)
    while waiting:
        one = waiting.pop()
        person = records.person(one)
        linked = [person.merged_into] if person is not None and person.merged_into is not None else []
        for merge in records.merges_of(one):
            if merge.undone_ms is None:
                linked += [merge.kept, merge.merged]
        for other in linked:
            if other not in found:
                found[other] = None
                waiting.append(other)
    return tuple(found)


def _collected(region: Region, ids: tuple[str, ...]) -> _About:
    """2. collect: everything about them that a file must not hold afterwards."""
    records, contracts = region.records, region.releases.live().contracts
    newest = {name: one.contract for (name, _), one in sorted(contracts.items())}
    identifiers: dict[bytes, Identifier] = {}
    texts: set[str] = set(ids)

    def take(type_: str, version: int | None, data: Mapping[str, object]) -> None:
        known = newest.get(type_) if version is None else None
        if version is not None and (type_, version) in contracts:
            known = contracts[type_, version].contract
        class_of = classes_of(known)
        for name, value in data.items():
            if class_of(name) not in IN_CLEAR:
                texts.update(texts_of(value, _TEXTS_MAX))

    for id_ in ids:
        person = records.person(id_)
        if person is not None:
            identifiers.update((one.hash, one) for one in person.identifiers)
            take("person.updated", None, person.traits)
        for decision in _decisions(records, id_):
            asked = decode_record(decision.record).asked
            texts.update(texts_of(dict(asked.context), _TEXTS_MAX))
            if asked.key is not None:
                texts.add(asked.key)
            texts.update(one.detail for one in records.outcomes(decision.id) if one.detail is not None)
    texts.update(one.value for one in identifiers.values())
    for signal in _signals(records, ids):
        take(signal.type, signal.version, signal.data)
    known = _known_otherwise(region, texts, ids)
    return _About(ids, tuple(identifiers.values()), frozenset(texts - known))


def _known_otherwise(region: Region, texts: Collection[str], ids: Sequence[str]) -> set[str]:
    """Texts that stay, because they are not the customer's alone: words of a playbook, other customers, accounts."""
    records = region.records
    playbooks = b"\n".join(one.manifest for one in records.releases()).decode("utf-8", "replace")
    kept: set[str] = set()
    for text in texts:
        if text in ids:
            continue
        other = records.person(text) is not None or records.account(text) is not None
        if other or text in playbooks:
            kept.add(text)
    return kept


def _begin(region: Region, about: _About, actor: str, why: str, again: Begun | None) -> Begun:
    """3. suppress: from here on nobody of these comes in again. What goes on with `again` is in the ledger already."""
    vault, clock = region.vault, region.clock
    hashes = hashes_of(vault, about.ids, about.identifiers)
    known = () if again is None else again.hashes
    begun = Begun(clock.new_id() if again is None else again.id, about.ids, tuple({*known, *hashes}))
    at_ms = clock.now_ms()

    def work(tx: Transaction) -> None:
        for one in begun.hashes:
            tx.suppress(one, at_ms)
        others = [one for one in _read(region, tx.position(POSITION)) if one.id != begun.id]
        tx.set_position(POSITION, _written(region, [*others, begun]))
        if again is None:
            salt = vault.commit_salt(f"erasure/{begun.id}", REGION_SUBJECT)
            tx.append_leaf(
                entry(
                    entry_id=begun.id, ts_ms=at_ms, kind="erasure", region=region.name, actor=actor_code(actor),
                    commit=commitment(salt, why.encode()),
                    codes={"ids": len(about.ids), "identifiers": len(about.identifiers)},
                )
            )  # fmt: skip

    region.records.run(work)
    return begun


def _removed(region: Region, begun: Begun, about: _About) -> tuple[dict[str, int], int]:
    """Steps 4 to 7: (rows removed by kind, keys destroyed)."""
    records = region.records
    # 4. quarantine
    wanted = frozenset((*begun.ids, *(one.value for one in about.identifiers)))
    _refile(records, begun.ids[0], wanted)
    # 5. remove
    if (live := records.live()) is not None:
        region.beliefs.forget(live, begun.ids, begun.id)
    removed = dict(records.erase(begun.ids))
    # 6. destroy
    destroyed = region.vault.destroy([person_subject(one) for one in begun.ids])
    # 7. scrub
    records.scrub()
    # INVARIANT: an erasure is finished only when the files are empty of it; then of the token as well.
    records.run(lambda tx: _finished(region, tx, begun))
    records.scrub()
    region.ledger.publish()
    return removed, destroyed


def _proved(
    region: Region,
    customer: str,
    status: Literal["erased", "completed"],
    begun: Begun,
    about: _About,
    removed: Mapping[str, int],
    destroyed: int,
    also: Sequence[str],
) -> ErasureReport:
    """8. scan."""
    wanted = {text for text in about.texts if len(text) >= TEXT_CHARS_MIN}
    found = Scanned()
    if region.scan is not None:
        found = region.scan(wanted, also, discard=True)
        discarded = found.discarded
        if found.hits:
            region.records.scrub(deep=True)
            found = region.scan(wanted, also)
        removed = {**removed, "exports": len(discarded)}
    return ErasureReport(
        customer, status, begun.id, len(begun.ids), removed, destroyed, len(wanted), len(about.texts) - len(wanted),
        found.files, found.bytes, found.hits, found.unread,
    )


def _refile(records: Records, customer: str, wanted: frozenset[str]) -> None:
    """Files every quarantine entry that holds one of the texts under the customer, whose rows are removed next."""
    before: int | None = None
    while page := records.quarantined(PAGE, before=before):
        before = page[-1].seq
        found = [one for one in page if one.customer != customer and _holds(one.body, wanted)]
        if found:
            records.run(partial(_put, entries=found, customer=customer))


def _put(tx: Transaction, entries: Iterable[Quarantined], customer: str) -> None:
    for one in entries:
        tx.put_quarantined(msgspec.structs.replace(one, customer=customer))


def _holds(body: bytes, wanted: Collection[str]) -> bool:
    """Does a quarantined body hold one of these: as a whole value, or a longer one as part of any text?"""
    try:
        texts = texts_of(msgspec.json.decode(body), _TEXTS_MAX)
    except ValueError:
        texts = [body.decode("utf-8", "replace")]
    spelt = {text.strip().casefold() for text in texts}
    for one in wanted:
        sought = one.casefold()
        if sought in spelt or (len(sought) >= TEXT_CHARS_MIN and any(sought in text for text in spelt)):
            return True
    return False


def _is_about(region: Region, begun: Begun, customer: str) -> bool:
    if customer in begun.ids:
        return True
    return any(one in begun.hashes for one in hashes_of(region.vault, (customer,), ()))


def _finished(region: Region, tx: Transaction, begun: Begun) -> None:
    others = [one for one in _read(region, tx.position(POSITION)) if one.id != begun.id]
    tx.set_position(POSITION, _written(region, others))


def _read(region: Region, token: str | None) -> list[Begun]:
    text = region.vault.read_token(_PURPOSE, token) if token else None
    return [] if text is None else msgspec.json.decode(text, type=list[Begun])


def _written(region: Region, under_way: list[Begun]) -> str:
    return region.vault.token(_PURPOSE, msgspec.json.encode(under_way).decode()) if under_way else ""


def _signals(records: Records, ids: Collection[str]) -> Iterator[Signal]:
    before: int | None = None
    while page := records.signals_of(ids, PAGE, before):
        yield from (one.signal for one in page)
        before = page[-1].seq


def _decisions(records: Records, customer: str) -> Iterator[StoredDecision]:
    before: str | None = None
    while page := records.decisions(PAGE, before=before, customer=customer):
        yield from page
        before = page[-1].id
