"""The life of a signal: from what a door parsed to a durable receipt.

1. check: region, envelope, size, time and schema against the live release's contracts; older versions are upcast
2. identify: identifiers become keyed hashes
3. tell apart: the same id with the same content is a duplicate, with other content a conflict
4. judge: quality rules, each with its remedy; whoever was erased does not come back
5. resolve: which customer this is, by id and by exact identifiers; two records that are one are merged
6. fold: features, consent and traits of the person and the account, as new values
7. write: signal, states, identifiers and ledger entry in one transaction
8. answer: one receipt per signal, only when it is durable
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Event
from typing import Any

import msgspec

from opportune.core.consents import CONSENT_SIGNALS, apply_consent, own_words
from opportune.core.customers import Account, Flag, Identifier, Origin, Person, subject_of
from opportune.core.features import CompiledViews
from opportune.core.ledger import commitment, entry
from opportune.core.playbook import controller_of
from opportune.core.quality import Judged, Lookups, judge
from opportune.core.releases import Release
from opportune.core.residency import elsewhere, wrong_region
from opportune.core.signals import (
    Checked,
    CompiledContract,
    Draft,
    Problem,
    Receipt,
    Signal,
    check,
    content_hash,
    upcast,
)
from opportune.flows.identify import identified, lives_on, nobody, resolve, subject_of_draft
from opportune.flows.outgoing import Outgoing
from opportune.flows.refuse import LOCAL, Refusals, Sender
from opportune.flows.share import share_of
from opportune.flows.suppress import ERASED, names_erased, was_erased
from opportune.ports import Clock, Quarantined, Records, StoredSignal, Transaction, Vault

PERSON_TRAITS = "person.updated"
ACCOUNT_TRAITS = "account.updated"

Identifiers = tuple[Identifier, ...]
"""Each identifier a signal carried, normalised, with its keyed hash."""

BODY_BYTES_MAX = 4 * 1024 * 1024
"""What a door takes in at most: quarantine keeps it whole."""

REFUSALS = ("consent.refused", "consent.withdrawn", "consent.expired")

Done = Callable[[list[Receipt] | BaseException], None]


class Taken(msgspec.Struct, frozen=True):
    """A draft after steps 1 and 2: what was said, and what was made of it."""

    draft: Draft
    checked: Checked
    identifiers: Identifiers = ()
    elsewhere: str | None = None
    """The region it was meant for, when that is not this one: such a draft is kept nowhere."""


class Ingest(msgspec.Struct, frozen=True):
    """The ports and the live release that this flow needs."""

    records: Records
    vault: Vault
    clock: Clock
    release: Callable[[], Release]
    outgoing: Outgoing
    refusals: Refusals

    def submit(self, drafts: Sequence[Draft], done: Done, sender: Sender = LOCAL) -> None:
        """Takes a batch; `done` gets the receipts in order once they are durable. Raises StoreFull."""
        release = self.release()
        received_ms = self.clock.now_ms()
        taken = [take(draft, release, self.vault, received_ms) for draft in drafts]
        self._note_elsewhere(taken, sender)

        def work(tx: Transaction) -> list[Receipt]:
            return [self._write(tx, release, one, received_ms) for one in taken]

        self.records.submit(work, self._acknowledge(taken, done))

    def run(
        self, drafts: Sequence[Draft], sender: Sender = LOCAL, position: tuple[str, str] | None = None
    ) -> list[Receipt]:
        """`submit` and wait: for the CLI, sources and tests. `position` is (reader, how far it has come with these
        drafts), kept with them or not at all."""
        release = self.release()
        received_ms = self.clock.now_ms()
        taken = [take(draft, release, self.vault, received_ms) for draft in drafts]
        self._note_elsewhere(taken, sender)

        def work(tx: Transaction) -> list[Receipt]:
            receipts = [self._write(tx, release, one, received_ms) for one in taken]
            if position is not None:
                tx.set_position(*position)
            return receipts

        receipts = self.records.run(work)
        self.settled(taken)
        return receipts

    def within(self, tx: Transaction, release: Release, taken: Taken, received_ms: int) -> Receipt:
        """Steps 3 to 8 for one draft inside a unit that does more; when it is durable, call `settled`."""
        return self._write(tx, release, taken, received_ms)

    def settled(self, taken: Sequence[Taken]) -> None:
        """Returns when nothing is on its way any more to whoever just refused."""
        ended = Event()
        self._acknowledge(taken, lambda _: ended.set())([])
        ended.wait()

    def _note_elsewhere(self, taken: Sequence[Taken], sender: Sender) -> None:
        """Units are written in order: the entry of a refusal is there before the receipts are."""
        for region, count in Counter(one.elsewhere for one in taken if one.elsewhere is not None).items():
            self.refusals.note(region, sender, count)

    def _acknowledge(self, taken: Sequence[Taken], done: Done) -> Done:
        """`done`, which a refusal of consent reaches only when nothing is on its way to that customer any more."""
        refusing = [
            one for one in taken if one.checked.signal is not None and one.checked.signal.type in REFUSALS
        ]
        if not refusing:
            return done

        def acknowledged(outcome: list[Receipt] | BaseException) -> None:
            # Whoever was named by an address alone is known by now.
            ids = {self.records.customer_by(each.hash) for one in refusing for each in one.identifiers}
            ids |= {one.checked.signal.customer for one in refusing if one.checked.signal is not None}
            people = [lives_on(self.records.person, id_) for id_ in ids if id_ is not None]
            names = [name for one in people if one is not None for name in (one.id, *one.absorbed)]
            self.outgoing.after(names, lambda: done(outcome))

        return acknowledged

    def _write(self, tx: Transaction, release: Release, taken: Taken, received_ms: int) -> Receipt:
        if taken.elsewhere is not None:
            source, id_ = _short(taken.draft.source), _short(taken.draft.id)
            return Receipt(source, id_, "rejected", None, taken.checked.problems)
        signal = taken.checked.signal
        if signal is None:
            if names_erased(tx, self.vault, taken.draft):
                return _erased(taken.draft)
            return keep_out(tx, self.vault, taken.draft, taken.checked.problems, received_ms)
        if was_erased(tx, self.vault, signal, taken.identifiers):
            return _erased(taken.draft)
        # 3. tell apart
        content = content_hash(taken.checked.sent or signal, taken.checked.said_ms)
        known = tx.signal_seen(signal.source, signal.id)
        if known is not None:
            return _again(tx, self.vault, taken, signal, known, content, received_ms)
        # 4. judge
        judged = _judged(tx, release, self.vault, signal, received_ms)
        if judged.signal is None:
            if judged.remedy == "reject":
                return Receipt(signal.source, signal.id, "rejected", None, judged.problems)
            return keep_out(tx, self.vault, taken.draft, judged.problems, received_ms)
        # 5. resolve
        _take_claims(tx, self.vault, judged.signal, judged.claims)
        signal = resolve(tx, release, self.vault, judged.signal, taken.identifiers)
        # 6. fold and 7. write
        seq = write_signal(tx, release, self.vault, signal, content, taken.identifiers)
        # 8. answer
        repaired = tuple(repair.field for repair in signal.repairs)
        return Receipt(signal.source, signal.id, "accepted", seq, (), signal.flags, repaired)


def take(draft: Draft, release: Release, vault: Vault, received_ms: int) -> Taken:
    """Steps 1 and 2 for one draft; pure but for the vault's key."""
    # 1. check
    meant_for = elsewhere(draft.region, release.region, release.playbook.app.region)
    if meant_for is not None:
        return Taken(draft, Checked(None, (wrong_region(meant_for, release.region),)), (), meant_for)
    checked = check(draft, release.contracts, received_ms)
    signal = checked.signal
    if signal is None:
        return Taken(draft, checked)
    if signal.type in CONSENT_SIGNALS:
        signal = own_words(signal, controller_of(release.playbook.app))
        checked = msgspec.structs.replace(checked, signal=signal)
    # 2. identify
    if checked.sent is not None:
        checked = msgspec.structs.replace(checked, sent=identified(checked.sent, release, vault)[0])
    signal, identifiers = identified(signal, release, vault)
    if signal is checked.signal:
        return Taken(draft, checked)
    if not identifiers and (problems := nobody(signal, release)):
        return Taken(draft, Checked(None, problems, checked.said_ms))
    return Taken(draft, msgspec.structs.replace(checked, signal=signal), identifiers)


def write_signal(
    tx: Transaction,
    release: Release,
    vault: Vault,
    signal: Signal,
    content: bytes,
    identifiers: Identifiers = (),
) -> int:
    """Steps 6 and 7: folds one new signal and writes everything it changes; returns its place in the log."""
    # 6. fold
    person, account = states_of(tx, signal)
    share = share_of(tx, release)
    person, account = fold(share.views, signal, person, account)
    if share.beside:
        person, account = share.fold_beside(signal, person, account)
    # 7. write
    seq = tx.append_signal(signal, content)
    salt = vault.commit_salt(f"signal/{seq}", subject_of(signal.customer, signal.account))
    tx.append_leaf(
        entry(
            entry_id=f"signal-{seq}",
            ts_ms=signal.received_ms,
            kind="signal",
            region=release.region,
            actor="ingest",
            commit=commitment(salt, content),
        )
    )
    if person is not None:
        tx.put_person(with_identifiers(person, identifiers))
    if account is not None:
        tx.put_account(account)
    return seq


def with_identifiers(person: Person, identifiers: Identifiers) -> Person:
    """The person with these identifiers too; the same one twice is one, with its first source."""
    known = {one.hash for one in person.identifiers}
    new = tuple(one for one in identifiers if one.hash not in known)
    return msgspec.structs.replace(person, identifiers=(*person.identifiers, *new)) if new else person


def states_of(tx: Transaction, signal: Signal) -> tuple[Person | None, Account | None]:
    """The person and account a signal is about, made when they are new; of a merged person the one that lives on."""
    person: Person | None = None
    account_id = signal.account
    if signal.customer is not None:
        person = lives_on(tx.person, signal.customer) or Person(signal.customer, first_ms=signal.at_ms)
        if account_id is None:
            account_id = person.account
    account = None if account_id is None else tx.account(account_id) or Account(account_id, first_ms=signal.at_ms)
    return person, account


def fold(
    views: CompiledViews, signal: Signal, person: Person | None, account: Account | None
) -> tuple[Person | None, Account | None]:
    """Both states after a signal; pure. The same function serves live, replay, backfill and training.

    A sender's clock may run a little ahead: what it says happened no later than it was received.
    """
    replace = msgspec.structs.replace
    at_ms = min(signal.at_ms, signal.received_ms)
    if person is not None:
        features = views.fold("person", person.features, signal.type, signal.id, at_ms, signal.data)
        traits, origins = person.traits, person.origins
        if signal.type == PERSON_TRAITS:
            traits, origins = _described(traits, origins, signal, at_ms)
        person = replace(
            apply_consent(person, signal),
            account=signal.account or person.account,
            features=features,
            traits=traits,
            origins=origins,
            flags=_flagged(person.flags, signal, at_ms) if signal.flags or signal.repairs else person.flags,
            last_ms=max(person.last_ms, at_ms),
            first_ms=min(person.first_ms or at_ms, at_ms),
            signals=person.signals + 1,
        )
    if account is not None:
        features = views.fold("account", account.features, signal.type, signal.id, at_ms, signal.data)
        traits, origins = account.traits, account.origins
        if signal.type == ACCOUNT_TRAITS:
            traits, origins = _described(traits, origins, signal, at_ms)
        account = replace(
            account,
            features=features,
            traits=traits,
            origins=origins,
            flags=_flagged(account.flags, signal, at_ms) if signal.flags or signal.repairs else account.flags,
            last_ms=max(account.last_ms, at_ms),
            first_ms=min(account.first_ms or at_ms, at_ms),
        )
    return person, account


def newest(
    log: Iterable[StoredSignal], contracts: Mapping[tuple[str, int], CompiledContract]
) -> Iterator[StoredSignal]:
    """The log as these contracts read it: data of older versions upcast, for whoever folds it again."""
    for stored in log:
        signal = upcast(stored.signal, contracts)
        yield stored if signal is stored.signal else msgspec.structs.replace(stored, signal=signal)


def keep_out(
    tx: Transaction, vault: Vault, draft: Draft, problems: tuple[Problem, ...], received_ms: int
) -> Receipt:
    """Quarantines what cannot be trusted, whole, with its reasons; the customer it names never as an address."""
    body = body_of(draft)
    source, id_, type_ = (_short(value) for value in (draft.source, draft.id, draft.type))
    customer = subject_of_draft(draft, vault)
    tx.quarantine(Quarantined(received_ms, source, id_, type_, problems, body, customer=customer))
    return Receipt(source, id_, "quarantined", None, problems)


def _again(
    tx: Transaction,
    vault: Vault,
    taken: Taken,
    signal: Signal,
    known: tuple[int, bytes],
    content: bytes,
    received_ms: int,
) -> Receipt:
    seq, known_content = known
    if known_content == content:
        return Receipt(signal.source, signal.id, "duplicate", seq)
    message = (
        f"`{signal.id}` was already received from `{signal.source}` with other content: "
        "an id names one fact for ever, send a new id"
    )
    return keep_out(tx, vault, taken.draft, (Problem("conflict", "id", message),), received_ms)


def _erased(draft: Draft) -> Receipt:
    """Whoever was erased does not come back: nothing of it is kept, in quarantine neither."""
    return Receipt(_short(draft.source), _short(draft.id), "rejected", None, (ERASED,))


def _judged(tx: Transaction, release: Release, vault: Vault, signal: Signal, received_ms: int) -> Judged:
    contract = release.contracts[signal.type, signal.version]
    if not contract.rules:
        return Judged(signal)
    holder = _holder(vault, signal)
    lookups = Lookups(
        customer=lambda id_: tx.person(id_) is not None,
        account=lambda id_: tx.account(id_) is not None,
        offer=lambda id_: id_ in release.brain.offers,
        held=lambda rule, value: tx.claimed(rule, _keyed(vault, value)) not in (None, holder),
    )
    return judge(contract, signal, received_ms, lookups)


def _take_claims(tx: Transaction, vault: Vault, signal: Signal, claims: Sequence[tuple[str, bytes]]) -> None:
    holder = _holder(vault, signal) if claims else ""
    for rule, value in claims:
        tx.claim(rule, _keyed(vault, value), holder)


def _holder(vault: Vault, signal: Signal) -> str:
    """Claims stay when a customer is erased: neither who holds a value nor the value may be told from them."""
    return vault.identifier("claim", f"{signal.source}#{signal.id}").hex()


def _keyed(vault: Vault, value: bytes) -> bytes:
    return vault.identifier("claim", value.hex())


def _described(
    traits: Mapping[str, Any], origins: Mapping[str, Origin], signal: Signal, at_ms: int
) -> tuple[Mapping[str, Any], Mapping[str, Origin]]:
    """Traits and where they came from after a description; an older word arriving late changes nothing newer."""
    origin = Origin(signal.source, signal.id, at_ms)
    plain = {
        name: value
        for name, value in signal.data.items()
        if isinstance(value, (str, int, float, bool)) and (name not in origins or origins[name].at_ms <= at_ms)
    }
    return {**traits, **plain}, {**origins, **dict.fromkeys(plain, origin)}


def _flagged(flags: tuple[Flag, ...], signal: Signal, at_ms: int) -> tuple[Flag, ...]:
    """The flags with those of one more signal; one per rule and type, the newest signal named."""
    found = {(one.rule, one.type): one for one in flags}
    for rule in (*signal.flags, *(repair.rule for repair in signal.repairs)):
        known = found.get((rule, signal.type))
        count = 1 if known is None else known.count + 1
        newest = known is None or known.at_ms <= at_ms
        found[rule, signal.type] = (
            Flag(rule, signal.type, signal.id, at_ms, count)
            if newest or known is None
            else msgspec.structs.replace(known, count=count)
        )
    return tuple(found.values())


def _short(value: object) -> str:
    return value[:64] if isinstance(value, str) else ""


def body_of(draft: Draft) -> bytes:
    """A draft as JSON, to be kept; what is larger than any door lets in is cut, and cannot be read back."""
    if draft.problems:
        draft = msgspec.structs.replace(draft, problems=())
    try:
        return msgspec.json.encode(draft)[:BODY_BYTES_MAX]
    except (TypeError, ValueError, RecursionError):
        return msgspec.json.encode(repr(draft)[:65_536])
