"""The life of a merge decided by people: proposed, accepted or refused, made, undone; every step in the ledger.

1. propose: a linker finds pairs that may be one customer; nothing happens to them
2. decide: a person accepts or refuses, with a reason
3. merge: the same unit of work as for exact identifiers (`flows.identify.merge_in`)
4. undo: each record is told again from its own signals; what was refused meanwhile holds for both
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from opportune.core.customers import Consent, Identifier, Person
from opportune.core.features import CompiledViews, EntityFeatures
from opportune.core.identity import merged, pseudonym, unmerged
from opportune.core.linking import link_record
from opportune.core.releases import Release
from opportune.flows.identify import (
    customer_named,
    kept_apart,
    lives_on,
    marker,
    merge_in,
    proposal_of,
    stop_linking,
    witness,
)
from opportune.flows.ingest import fold, newest
from opportune.flows.share import Part, Share, share_of
from opportune.ports import Clock, Linker, Merge, Proposal, Records, StoredSignal, Transaction, Vault

WRITTEN_AT_ONCE = 500


class IdentityError(ValueError):
    """A merge, its undoing or a proposal that cannot be: `code` for machines, a sentence that says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Proposed(msgspec.Struct, frozen=True):
    """What a search found: pairs at or above the probability, those that are new, those somebody decided before."""

    pairs: int
    new: int
    decided: int


class Merging(msgspec.Struct, frozen=True):
    """The ports and the live release that this flow needs."""

    records: Records
    vault: Vault
    clock: Clock
    release: Callable[[], Release]

    def merge(self, one: str, other: str, actor: str, why: str, rule: str = "person") -> Merge:
        """Makes one customer of two, each named in any way (`customer_named`). Raises IdentityError."""
        release, at_ms = self.release(), self.clock.now_ms()
        return self.records.run(lambda tx: self._merge(tx, release, one, other, at_ms, rule, actor, why))

    def unmerge(self, id_: str, actor: str, why: str) -> Merge:
        """Makes two of one again; returns the merge as undone. Raises IdentityError.

        Both histories are read and told again, inside the unit of work: exact, but it holds up other units meanwhile.
        """
        release, at_ms = self.release(), self.clock.now_ms()
        found = self.records.run(lambda tx: tx.merge(id_))
        if found is None:
            raise IdentityError("unknown_merge", f"no merge has the id `{id_[:64]}`")
        whole = lives_on(self.records.person, found.kept)
        members = () if whole is None else (whole.id, *whole.absorbed)
        rows = {row.id: row for member in members for row in self.records.merges_of(member)}
        return self.records.run(lambda tx: self._unmerge(tx, release, id_, rows, at_ms, actor, why))

    def propose(self, linker: Linker, at_least: float) -> Proposed:
        """Step 1. Pairs that somebody refused, or that a person made two again, are not proposed anew."""
        at_ms = self.clock.now_ms()
        records = (link_record(person) for person in self.records.people())
        waiting: list[Proposal] = []
        pairs = new = decided = 0
        for likely in linker.pairs(records, at_least):
            pairs += 1
            evidence = dict(likely.evidence)
            waiting.append(proposal_of(self.vault, likely.one, likely.other, at_ms, likely.probability, evidence))
            if len(waiting) == WRITTEN_AT_ONCE:
                written = self._write_proposals(waiting)
                new, decided, waiting = new + written[0], decided + written[1], []
        written = self._write_proposals(waiting)
        return Proposed(pairs, new + written[0], decided + written[1])

    def accept(self, id_: str, actor: str, why: str) -> Merge:
        """Steps 2 and 3. Raises IdentityError."""
        release, at_ms = self.release(), self.clock.now_ms()

        def work(tx: Transaction) -> Merge:
            proposal = _open(tx, id_)
            tx.put_proposal(_decided(proposal, "accepted", at_ms, actor, why))
            return self._merge(tx, release, proposal.one, proposal.other, at_ms, "proposal", actor, why)

        return self.records.run(work)

    def refuse(self, id_: str, actor: str, why: str) -> Proposal:
        """Step 2: these are two, and stay two. Raises IdentityError."""
        at_ms = self.clock.now_ms()

        def work(tx: Transaction) -> Proposal:
            refused = _decided(_open(tx, id_), "refused", at_ms, actor, why)
            tx.put_proposal(refused)
            return refused

        return self.records.run(work)

    def _merge(
        self, tx: Transaction, release: Release, one: str, other: str, at_ms: int, rule: str, actor: str, why: str
    ) -> Merge:
        people = [self._living(tx, text) for text in (one, other)]
        if people[0].id == people[1].id:
            raise IdentityError("already_one", "both names lead to the same customer already: nothing to merge")
        return merge_in(
            tx, release, self.vault, people[0], people[1], at_ms=at_ms, rule=rule, actor=actor, reason=why
        )

    def _living(self, tx: Transaction, text: str) -> Person:
        id_ = customer_named(tx, self.vault, text)
        person = None if id_ is None else lives_on(tx.person, id_)
        if person is None:
            raise IdentityError("unknown_customer", "no signal has named this customer yet: check the id")
        return person

    def _unmerge(
        self, tx: Transaction, release: Release, id_: str, rows: Mapping[str, Merge], at_ms: int, actor: str, why: str
    ) -> Merge:
        merge = tx.merge(id_)
        assert merge is not None
        if merge.undone_ms is not None:
            raise IdentityError("already_undone", f"merge `{id_}` was undone before: see the merges of its customers")
        whole, gone = lives_on(tx.person, merge.kept), tx.person(merge.merged)
        if whole is None or gone is None:
            raise IdentityError("unknown_customer", "a customer of this merge was erased: nothing is left to undo")
        branch, rest = _parted(tx, whole, merge)
        standing = [row for row in rows.values() if row.undone_ms is None and row.id != id_]
        if {*branch, *rest} - {whole.id, merge.merged} - {row.merged for row in standing}:
            raise IdentityError("merged_meanwhile", "this customer was merged again just now: try once more")
        told = {
            members[0]: list(newest(tx.signals_of(members), release.contracts)) for members in (branch, rest)
        }
        guard = max(whole.guard, gone.guard) + 1
        share = share_of(tx, release)
        own = {
            members[0]: retold(release.views, members, standing, told[members[0]], share.fold_again)
            for members in (branch, rest)
        }
        shared = self._identifiers(tx, whole, branch, rest, told)
        for members, others in ((branch, rest), (rest, branch)):
            head = members[0]
            refusals = _refusals_for(whole, own[head], told[head], told[others[0]], merge.at_ms)
            foreign = _made_for_others(tx, whole, members)
            tx.put_person(unmerged(own[head], whole, refusals, foreign, shared[head], guard))
        undone = msgspec.structs.replace(merge, undone_ms=at_ms, undone_by=actor)
        tx.put_merge(undone)
        witness(tx, release.region, self.vault, msgspec.structs.replace(undone, reason=why), "unmerge", at_ms, actor)
        return undone

    def _identifiers(
        self,
        tx: Transaction,
        whole: Person,
        branch: Sequence[str],
        rest: Sequence[str],
        told: Mapping[str, Sequence[StoredSignal]],
    ) -> dict[str, tuple[Identifier, ...]]:
        """The identifiers of each: those its own signals carried. What both carried links nobody any more."""
        found: dict[str, list[Identifier]] = {branch[0]: [], rest[0]: []}
        marks = {head: _marks(signals) for head, signals in told.items()}
        for identifier in whole.identifiers:
            holder = tx.customer_by(identifier.hash)
            having = [
                members[0]
                for members in (branch, rest)
                if marker(identifier.hash) in marks[members[0]]
                or pseudonym(identifier.hash) in members
                or holder in members
            ]
            for head in having:
                found[head].append(identifier)
            if len(having) == 2:
                stop_linking(tx, self.vault, identifier)
        return {head: tuple(identifiers) for head, identifiers in found.items()}

    def _write_proposals(self, proposals: Sequence[Proposal]) -> tuple[int, int]:
        def work(tx: Transaction) -> tuple[int, int]:
            new = decided = 0
            for proposal in proposals:
                known = tx.proposal(proposal.id)
                if (known is not None and known.status != "open") or kept_apart(
                    tx, self.vault, proposal.one, proposal.other
                ):
                    decided += 1
                else:
                    new += known is None
                    tx.put_proposal(proposal)
            return new, decided

        return self.records.run(work)


def retold(
    views: CompiledViews,
    members: Sequence[str],
    merges: Iterable[Merge],
    signals: Sequence[StoredSignal],
    fold_again: Callable[[EntityFeatures | None, StoredSignal], EntityFeatures | None] | None = None,
) -> Person:
    """The record of `members` (the first of them lives on) from their signals, in the order of the log, and the
    merges between them, each in its place; without contacts and identifiers, which no signal tells. Pure.

    `fold_again` folds the features where other releases share them; otherwise `views` does."""
    people: dict[str, Person] = {}
    into: dict[str, str] = {}
    again = fold_again or Share(views, (), (Part(views, {}),)).fold_again
    among = set(members)
    waiting = [merge for merge in merges if merge.merged in among and merge.kept in among]
    waiting.sort(key=lambda merge: (merge.at_ms, merge.id), reverse=True)

    def living(id_: str) -> Person:
        while id_ in into:
            id_ = into[id_]
        return people.get(id_) or Person(id_)

    def join(until_ms: float) -> None:
        while waiting and waiting[-1].at_ms <= until_ms:
            merge = waiting.pop()
            one, other = living(merge.kept), living(merge.merged)
            people[one.id], people[other.id] = merged(one, other, merge.at_ms, None)
            into[other.id] = one.id

    features = None
    for stored in signals:
        signal = stored.signal
        if signal.customer not in among:
            continue
        join(signal.received_ms)
        person, _ = fold(views, signal, living(signal.customer), None)
        assert person is not None
        people[person.id] = person
        features = again(features, stored)
    join(float("inf"))
    return msgspec.structs.replace(living(members[0]), features=features)


def _parted(tx: Transaction, whole: Person, merge: Merge) -> tuple[list[str], list[str]]:
    """(the members that came in by this merge, all others), each with the one that lives on first."""
    branch, rest = [merge.merged], [whole.id]
    for member in whole.absorbed:
        at: str | None = member
        while at is not None and at != merge.merged:
            person = tx.person(at)
            at = None if person is None else person.merged_into
        if member != merge.merged:
            (rest if at is None else branch).append(member)
    return branch, rest


def _refusals_for(
    whole: Person,
    own: Person,
    mine: Sequence[StoredSignal],
    theirs: Sequence[StoredSignal],
    merged_ms: int,
) -> list[tuple[str, Consent]]:
    """What was refused under the other's name while both were one, and what came from beyond both histories."""
    from opportune.core.consents import apply_consent

    found: list[tuple[str, Consent]] = []
    for stored in theirs:
        if stored.signal.received_ms >= merged_ms:
            said = apply_consent(Person(own.id), stored.signal)
            found += [(key, word) for key, word in said.consents.items() if word.status != "given"]
    known = {f"{stored.signal.source}#{stored.signal.id}" for stored in (*mine, *theirs)}
    found += [
        (key, word) for key, word in whole.consents.items() if word.status != "given" and word.source not in known
    ]
    return found


def _made_for_others(tx: Transaction, whole: Person, members: Collection[str]) -> set[str]:
    found = set()
    for contact in whole.contacts:
        decision = tx.decision(contact.decision)
        if decision is None or decision.customer not in members:
            found.add(contact.decision)
    return found


def _marks(signals: Iterable[StoredSignal]) -> set[str]:
    """What stands in the data of these signals where identifiers were."""
    return {
        value
        for stored in signals
        for value in stored.signal.data.values()
        if isinstance(value, str) and value.startswith("#")
    }


def _open(tx: Transaction, id_: str) -> Proposal:
    proposal = tx.proposal(id_)
    if proposal is None:
        raise IdentityError("unknown_proposal", f"no proposal has the id `{id_[:64]}`")
    if proposal.status != "open":
        raise IdentityError("already_decided", f"proposal `{id_}` was {proposal.status} before")
    return proposal


def _decided(proposal: Proposal, status: str, at_ms: int, actor: str, why: str) -> Proposal:
    return msgspec.structs.replace(proposal, status=status, decided_ms=at_ms, decided_by=actor, why=why)
