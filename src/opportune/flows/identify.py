"""Which customer a signal is about: by id, by exact identifiers, and through merges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from opportune.core.customers import Identifier, Person, person_subject
from opportune.core.identity import (
    LINKED_MAX,
    LINKED_SIGNALS_MAX,
    identifier_in,
    links,
    merged,
    normalised,
    pseudonym,
    survivor,
)
from opportune.core.ledger import commitment, entry
from opportune.core.releases import Release
from opportune.core.signals import Draft, Problem, Signal
from opportune.flows.share import share_of
from opportune.ports import Merge, Proposal, Transaction, Vault

MERGES_FOLLOWED_MAX = 16
ALIASED = "person.aliased"
BY_INGEST = "ingest"


class People(Protocol):
    """Where customers are looked up: the records, or a unit of work."""

    def person(self, id_: str) -> Person | None: ...

    def customer_by(self, identifier: bytes) -> str | None: ...


def lives_on(person: Callable[[str], Person | None], id_: str) -> Person | None:
    """The state of a customer, through any merge: the one that lives on; None when nobody has this id.

    INVARIANT: merges make no circle (`core.identity` keeps it so); the bound only guards against a damaged store.
    """
    found = person(id_)
    for _ in range(MERGES_FOLLOWED_MAX):
        if found is None or found.merged_into is None:
            return found
        found = person(found.merged_into)
    return found


def customer_named(people: People, vault: Vault, text: str) -> str | None:
    """The customer that somebody means by `text`: an id, an id they were called by before, an e-mail address or a
    phone number in E.164; None when nobody is meant. It may have been merged: `lives_on` follows."""
    named = identifier_in(text)
    if named is not None:
        hashed = vault.identifier(*named)
        own = pseudonym(hashed)
        found = own if people.person(own) is not None else people.customer_by(hashed)
        if found is not None:
            return found
    if people.person(text) is not None:
        return text
    return people.customer_by(vault.identifier("external", text))


def customer_by_email(people: People, vault: Vault, email: str) -> str | None:
    """The customer an e-mail address points to."""
    text = normalised("email", email)
    return None if text is None else customer_named(people, vault, text)


def same_customer(people: People, vault: Vault, text: str, customer: str) -> bool:
    """Does this name lead to this customer, through merges?"""
    named = customer_named(people, vault, text)
    return named is not None and _same(people, named, customer)


def customer_id(vault: Vault, subject: str) -> str:
    """The id a subject is kept under: itself, or a pseudonym when it is an e-mail address or a phone number."""
    named = identifier_in(subject)
    return subject if named is None else pseudonym(vault.identifier(*named))


def subject_of_draft(draft: Draft, vault: Vault) -> str | None:
    """The customer a draft names, as far as it can be told, never as an address in clear."""
    subject = draft.subject
    if not isinstance(subject, str) or not 0 < len(subject) <= 256:
        return None
    return customer_id(vault, subject)


def identified(signal: Signal, release: Release, vault: Vault) -> tuple[Signal, tuple[Identifier, ...]]:
    """Step 2: the signal with keyed hashes for identifiers, and these; the same signal when it has none.

    What cannot be read as its kind is flagged `identifier:<field>` and identifies nobody. A subject that is an e-mail
    address or a phone number becomes a pseudonym. Pure but for the vault's key.
    """
    declared = release.contracts[signal.type, signal.version].contract.identifiers
    customer = signal.customer
    named = None if customer is None else identifier_in(customer)
    if named is None and not declared:
        return signal, ()
    region = release.playbook.app.identity.phone_region
    found: list[Identifier] = []
    data, flags = dict(signal.data), list(signal.flags)
    if named is not None:
        hashed = vault.identifier(*named)
        found.append(Identifier(*named, hashed, signal.source, signal.at_ms))
        customer = pseudonym(hashed)
    for field, kind in declared.items():
        raw = _text_of(data.get(field))
        if raw is None:
            continue
        # An id of another system may be an address as well: then it is looked up as one.
        kind, text = (identifier_in(raw) if kind.startswith("external") else None) or (
            kind, normalised(kind, raw, region)
        )  # fmt: skip
        if text is None:
            flags.append(f"identifier:{field}")
            data[field] = f"#{vault.identifier('unreadable', raw).hex()[:16]}"
            continue
        hashed = vault.identifier(kind, text)
        data[field] = marker(hashed)
        if all(one.hash != hashed for one in found):
            found.append(Identifier(kind, text, hashed, signal.source, signal.at_ms))
    replaced = msgspec.structs.replace(signal, customer=customer, data=data, flags=tuple(flags))
    return (signal, ()) if replaced == signal else (replaced, tuple(found))


def nobody(signal: Signal, release: Release) -> tuple[Problem, ...]:
    """What keeps a signal out that names a person by nothing but identifiers, none of which can be read."""
    contract = release.contracts[signal.type, signal.version].contract
    if signal.customer is not None or contract.about == "account":
        return ()
    if contract.about == "either" and signal.account is not None:
        return ()
    message = "is no {} and nothing else names the customer: correct it, or send a `subject`"
    return tuple(
        Problem("identifier", f"data.{field}", f"`data.{field}` {message.format(kind)}")
        for field, kind in contract.identifiers.items()
        if field in signal.data
    )


def marker(hashed: bytes) -> str:
    """What stands in a signal's data where an identifier was."""
    return f"#{hashed.hex()[:16]}"


def resolve(
    tx: Transaction, release: Release, vault: Vault, signal: Signal, identifiers: tuple[Identifier, ...]
) -> Signal:
    """Step 5: the signal with the customer it names, or the one its identifiers point to; the identifiers then point
    to that customer. Two customers that share an identifier of `identity.link_on` are merged on the way.

    A signal keeps the id it was sent under, also when that customer was merged: so a merge can be undone.
    """
    if not identifiers:
        if signal.customer is None or tx.person(signal.customer) is not None:
            return signal
        # Somebody may have said before that this id is a known customer's.
        known = tx.customer_by(vault.identifier("external", signal.customer))
        return signal if known is None else msgspec.structs.replace(signal, customer=known)
    link_on = release.playbook.app.identity.link_on
    aliased = signal.type == ALIASED
    linking = tuple(one for one in identifiers if aliased or links(one.kind, link_on))
    customer = _customer(tx, release, signal, identifiers, linking)
    if customer is None:
        return signal
    for one in linking:
        holder = tx.customer_by(one.hash)
        if holder is None and aliased:
            holder = customer_named(tx, vault, one.value)
        if holder is not None and holder != customer:
            _link(tx, release, vault, signal, customer, holder, one, "alias" if aliased else one.kind)
    _point(tx, customer, identifiers, linking)
    return signal if customer == signal.customer else msgspec.structs.replace(signal, customer=customer)


def merge_in(
    tx: Transaction,
    release: Release,
    vault: Vault,
    one: Person,
    other: Person,
    *,
    at_ms: int,
    rule: str,
    actor: str,
    reason: str = "",
) -> Merge:
    """Merges two records that live, in this unit of work: states, history and ledger entry.

    Folding does not depend on the order of signals: those of the record with fewer are folded onto the other's.
    """
    kept, gone = survivor(one, other)
    few, many = (one, other) if one.signals <= other.signals else (other, one)
    share = share_of(tx, release)
    features = share.folded(many.features)
    for stored in tx.signals_of((few.id, *few.absorbed)) if few.signals else ():
        features = share.fold_again(features, stored)
    for person in merged(kept, gone, at_ms, features):
        tx.put_person(person)
    merge = Merge(_free_id(tx, vault, kept.id, gone.id), at_ms, kept.id, gone.id, rule, actor, reason)
    tx.put_merge(merge)
    witness(tx, release.region, vault, merge, "merge", at_ms, actor)
    return merge


def witness(tx: Transaction, region: str, vault: Vault, merge: Merge, kind: str, at_ms: int, actor: str) -> None:
    """The ledger entry of a merge or its undoing: rule and merge, nobody's name."""
    salt = vault.commit_salt(f"{kind}/{merge.id}", person_subject(merge.kept))
    tx.append_leaf(
        entry(
            entry_id=f"{kind}-{merge.id}",
            ts_ms=at_ms,
            kind=kind,
            region=region,
            actor=actor,
            commit=commitment(salt, msgspec.json.encode(merge)),
            codes={"rule": merge.rule, "merge": merge.id},
        )
    )


def kept_apart(tx: Transaction, vault: Vault, one: str, other: str) -> bool:
    """Were these two merged before, and was that undone? Then only a person merges them again."""
    return tx.merge(_merge_id(vault, one, other, 0)) is not None


def stop_linking(tx: Transaction, vault: Vault, identifier: Identifier) -> None:
    """From now on nobody is linked by this identifier: it turned out to be more than one person's."""
    for place in range(LINKED_MAX):
        tx.claim(f"identity.link.{place}", identifier.hash, "stopped")
    tx.put_identifier(identifier.hash, identifier.kind, pseudonym(identifier.hash))


def _text_of(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def _customer(
    tx: Transaction,
    release: Release,
    signal: Signal,
    identifiers: tuple[Identifier, ...],
    linking: tuple[Identifier, ...],
) -> str | None:
    """The one a signal is about: as it says, or as its identifiers say, or somebody new."""
    customer = signal.customer
    if customer is None:
        if release.contracts[signal.type, signal.version].contract.about == "account":
            return None
        for one in linking:
            if (holder := tx.customer_by(one.hash)) is not None:
                return holder
        return pseudonym((linking or identifiers)[0].hash)
    # A pseudonym that nobody lives under yet: the address may be a known customer's.
    for one in linking:
        if pseudonym(one.hash) == customer and tx.person(customer) is None:
            return tx.customer_by(one.hash) or customer
    return customer


def _link(
    tx: Transaction,
    release: Release,
    vault: Vault,
    signal: Signal,
    customer: str,
    holder: str,
    identifier: Identifier,
    rule: str,
) -> None:
    """Merges the two customers of one identifier, unless a person said they are two or the identifier is shared."""
    theirs = lives_on(tx.person, holder)
    mine = lives_on(tx.person, customer) or Person(customer, first_ms=min(signal.at_ms, signal.received_ms))
    if theirs is None or theirs.id == mine.id:
        return
    if kept_apart(tx, vault, mine.id, theirs.id) or kept_apart(tx, vault, customer, holder):
        return
    if rule != "alias" and not (
        _counted(tx, vault, identifier, holder) and _counted(tx, vault, identifier, customer)
    ):
        # It is a shared inbox: what comes without a customer's id is nobody's of them.
        tx.put_identifier(identifier.hash, identifier.kind, pseudonym(identifier.hash))
        return
    if min(mine.signals, theirs.signals) > LINKED_SIGNALS_MAX:
        # Folding that many would hold up every decision: a person merges them at a quiet hour.
        tx.put_proposal(proposal_of(vault, mine.id, theirs.id, signal.received_ms, 1.0, {rule: "the same"}))
        return
    merge_in(
        tx, release, vault, mine, theirs, at_ms=signal.received_ms, rule=rule, actor=BY_INGEST,
        reason=f"both have the same {rule}" if rule != "alias" else "the sender said that both are one",
    )


def proposal_of(
    vault: Vault, one: str, other: str, at_ms: int, probability: float, evidence: dict[str, str]
) -> Proposal:
    """Two records that may be one, for a person; the same two always get the same id."""
    first, second = sorted((one, other))
    id_ = "p-" + vault.identifier("proposal", f"{first}\n{second}").hex()[:24]
    return Proposal(id_, at_ms, first, second, probability, evidence)


def _counted(tx: Transaction, vault: Vault, identifier: Identifier, customer: str) -> bool:
    """Is this one of the first LINKED_MAX customers with this identifier? The places are claimed once, for ever."""
    holder = vault.identifier("customer", customer).hex()[:24]
    return any(
        tx.claim(f"identity.link.{place}", identifier.hash, holder) == holder for place in range(LINKED_MAX)
    )


def _point(
    tx: Transaction, customer: str, identifiers: tuple[Identifier, ...], linking: tuple[Identifier, ...]
) -> None:
    """Makes identifiers that are new point to the customer. What links stays with whoever had it first; what does
    not link follows the latest."""
    for one in identifiers:
        holder = tx.customer_by(one.hash)
        if holder is None or (one not in linking and holder != customer and not _same(tx, holder, customer)):
            tx.put_identifier(one.hash, one.kind, customer)


def _same(people: People, one: str, other: str) -> bool:
    first, second = lives_on(people.person, one), lives_on(people.person, other)
    return first is not None and second is not None and first.id == second.id


def _free_id(tx: Transaction, vault: Vault, one: str, other: str) -> str:
    count = 0
    while tx.merge(id_ := _merge_id(vault, one, other, count)) is not None:
        count += 1
    return id_


def _merge_id(vault: Vault, one: str, other: str, count: int) -> str:
    """The same two, merged for the `count`th time, always get the same id; it tells nobody who they are."""
    first, second = sorted((one, other))
    return "m-" + vault.identifier("merge", f"{first}\n{second}\n{count}").hex()[:24]
