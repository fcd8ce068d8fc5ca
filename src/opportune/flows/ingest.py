"""The life of a signal: from what a door parsed to a durable receipt.

1. check: envelope, size, time and schema against the live release's contracts
2. identify: identifiers become keyed hashes; nothing else of them is kept
3. tell apart: the same id with the same content is a duplicate, with other content a conflict
4. fold: features, consent and traits of the person and the account, as new values
5. write: signal, states, identifiers and ledger entry in one transaction
6. answer: one receipt per signal, only when it is durable
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from opportune.core.consents import apply_consent
from opportune.core.customers import Account, Person
from opportune.core.features import CompiledViews
from opportune.core.ledger import commitment, entry
from opportune.core.releases import Release
from opportune.core.signals import (
    Checked,
    Draft,
    Problem,
    Receipt,
    Signal,
    check,
    content_hash,
)
from opportune.ports import Clock, Quarantined, Records, Transaction, Vault

PERSON_TRAITS = "person.updated"
ACCOUNT_TRAITS = "account.updated"

Identifiers = tuple[tuple[str, bytes], ...]
"""(kind, keyed hash) of each identifier a signal carried."""

Done = Callable[[list[Receipt] | BaseException], None]


class Taken(msgspec.Struct, frozen=True):
    """A draft after steps 1 and 2: what was said, and what was made of it."""

    draft: Draft
    checked: Checked
    identifiers: Identifiers = ()


class Ingest(msgspec.Struct, frozen=True):
    """The ports and the live release that this flow needs."""

    records: Records
    vault: Vault
    clock: Clock
    release: Callable[[], Release]

    def submit(self, drafts: Sequence[Draft], done: Done) -> None:
        """Takes a batch; `done` gets the receipts in order once they are durable. Raises StoreFull."""
        release = self.release()
        received_ms = self.clock.now_ms()
        taken = [take(draft, release, self.vault, received_ms) for draft in drafts]

        def work(tx: Transaction) -> list[Receipt]:
            return [self._write(tx, release, one, received_ms) for one in taken]

        self.records.submit(work, done)

    def run(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """`submit` and wait: for the CLI, sources and tests."""
        release = self.release()
        received_ms = self.clock.now_ms()
        taken = [take(draft, release, self.vault, received_ms) for draft in drafts]
        return self.records.run(lambda tx: [self._write(tx, release, one, received_ms) for one in taken])

    def _write(self, tx: Transaction, release: Release, taken: Taken, received_ms: int) -> Receipt:
        signal = taken.checked.signal
        if signal is None:
            return keep_out(tx, taken.draft, taken.checked.problems, received_ms)
        # 3. tell apart
        content = content_hash(signal, taken.checked.said_ms)
        known = tx.signal_seen(signal.source, signal.id)
        if known is not None:
            return _again(tx, taken, signal, known, content, received_ms)
        # 4. fold and 5. write
        seq = write_signal(tx, release, self.vault, signal, content, taken.identifiers)
        # 6. answer
        return Receipt(signal.source, signal.id, "accepted", seq)


def take(draft: Draft, release: Release, vault: Vault, received_ms: int) -> Taken:
    """Steps 1 and 2 for one draft; pure but for the vault's key."""
    # 1. check
    checked = check(draft, release.contracts, received_ms)
    signal = checked.signal
    if signal is None:
        return Taken(draft, checked)
    # 2. identify
    declared = release.contracts[signal.type, signal.version].contract.identifiers
    found: list[tuple[str, bytes]] = []
    data: dict[str, Any] | None = None
    for field, kind in declared.items():
        value = signal.data.get(field)
        if isinstance(value, str) and value:
            hashed = vault.identifier(kind, value)
            found.append((kind, hashed))
            data = {**(signal.data if data is None else data), field: f"#{hashed.hex()[:16]}"}
    if data is None:
        return Taken(draft, checked)
    replace = msgspec.structs.replace
    return Taken(draft, replace(checked, signal=replace(signal, data=data)), tuple(found))


def write_signal(
    tx: Transaction,
    release: Release,
    vault: Vault,
    signal: Signal,
    content: bytes,
    identifiers: Identifiers = (),
) -> int:
    """Steps 4 and 5: folds one new signal and writes everything it changes; returns its place in the log."""
    # 4. fold
    person, account = states_of(tx, signal)
    person, account = fold(release.views, signal, person, account)
    # 5. write
    seq = tx.append_signal(signal, content)
    if person is not None:
        tx.put_person(person)
        for kind, hashed in identifiers:
            tx.put_identifier(hashed, kind, person.id)
    if account is not None:
        tx.put_account(account)
    salt = vault.commit_salt(f"signal/{seq}")
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
    return seq


def states_of(tx: Transaction, signal: Signal) -> tuple[Person | None, Account | None]:
    """The person and account a signal is about, made when they are new."""
    person: Person | None = None
    account_id = signal.account
    if signal.customer is not None:
        person = tx.person(signal.customer) or Person(signal.customer)
        if account_id is None:
            account_id = person.account
    account = None if account_id is None else tx.account(account_id) or Account(account_id)
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
        traits = _merged(person.traits, signal.data) if signal.type == PERSON_TRAITS else person.traits
        person = replace(
            apply_consent(person, signal),
            account=signal.account or person.account,
            features=features,
            traits=traits,
            last_ms=max(person.last_ms, at_ms),
        )
    if account is not None:
        features = views.fold("account", account.features, signal.type, signal.id, at_ms, signal.data)
        traits = _merged(account.traits, signal.data) if signal.type == ACCOUNT_TRAITS else account.traits
        account = replace(
            account, features=features, traits=traits, last_ms=max(account.last_ms, at_ms)
        )
    return person, account


def keep_out(
    tx: Transaction, draft: Draft, problems: tuple[Problem, ...], received_ms: int
) -> Receipt:
    """Quarantines what cannot be trusted, whole, with its reasons."""
    body = _body(draft)
    source, id_, type_ = (_short(value) for value in (draft.source, draft.id, draft.type))
    tx.quarantine(Quarantined(received_ms, source, id_, type_, problems, body))
    return Receipt(source, id_, "quarantined", None, problems)


def _again(
    tx: Transaction, taken: Taken, signal: Signal, known: tuple[int, bytes], content: bytes, received_ms: int
) -> Receipt:
    seq, known_content = known
    if known_content == content:
        return Receipt(signal.source, signal.id, "duplicate", seq)
    message = (
        f"`{signal.id}` was already received from `{signal.source}` with other content: "
        "an id names one fact for ever, send a new id"
    )
    return keep_out(tx, taken.draft, (Problem("conflict", "id", message),), received_ms)


def _merged(traits: Mapping[str, Any], data: Mapping[str, Any]) -> Mapping[str, Any]:
    plain = {k: v for k, v in data.items() if isinstance(v, (str, int, float, bool))}
    return {**traits, **plain}


def _short(value: object) -> str:
    return value[:64] if isinstance(value, str) else ""


def _body(draft: Draft) -> bytes:
    if draft.problems:
        draft = msgspec.structs.replace(draft, problems=())
    try:
        return msgspec.json.encode(draft)[:65_536]
    except (TypeError, ValueError, RecursionError):
        return msgspec.json.encode(repr(draft)[:65_536])
