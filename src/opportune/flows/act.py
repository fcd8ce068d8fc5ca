"""The life of an outcome: what became of a decision, joined to it and to the customer's picture.

1. find the decision it speaks of, or the customer for revenue that no decision claims
2. the same outcome twice is one outcome
3. move the contact the decision reserved: delivered, seen, or released
4. fold it as a signal `offer.<kind>`, so that features and models learn from it
5. write outcome, states and ledger entry in one transaction; what is believed of the offer follows in the same
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from opportune.core.customers import person_subject
from opportune.core.decisions.records import decode_record
from opportune.core.ledger import commitment, entry
from opportune.core.outcomes import CONTACT_STATE, OutcomeError, OutcomePost
from opportune.core.releases import Release
from opportune.core.signals import Signal, content_hash, parse_time_ms
from opportune.flows.identify import customer_named, lives_on, same_customer
from opportune.flows.ingest import write_signal
from opportune.flows.learning.adapt import Beliefs
from opportune.flows.reserve import move_contact
from opportune.ports import Clock, Records, StoredDecision, StoredOutcome, Transaction, Vault

SOURCE = "opportune"


class OutcomeReceipt(msgspec.Struct, frozen=True):
    """What became of one posted outcome."""

    id: str
    kind: str
    status: Literal["accepted", "duplicate"]
    decision: str | None


Done = Callable[[list[OutcomeReceipt] | BaseException], None]


class Act(msgspec.Struct, frozen=True):
    """The ports and the live release that this flow needs."""

    records: Records
    vault: Vault
    clock: Clock
    release: Callable[[], Release]
    beliefs: Beliefs | None = None

    def submit(self, posts: Sequence[OutcomePost], done: Done) -> None:
        """Takes outcomes as one unit: all or none; `done` gets receipts in order, or OutcomeError."""
        release, now_ms = self.release(), self.clock.now_ms()
        self.records.submit(lambda tx: [self.take(tx, release, post, now_ms) for post in posts], done)

    def run(self, posts: Sequence[OutcomePost]) -> list[OutcomeReceipt]:
        """`submit` and wait."""
        release, now_ms = self.release(), self.clock.now_ms()
        return self.records.run(lambda tx: [self.take(tx, release, post, now_ms) for post in posts])

    def take(self, tx: Transaction, release: Release, post: OutcomePost, now_ms: int) -> OutcomeReceipt:
        """Steps 1 to 5 for one outcome, inside somebody's unit of work. Raises OutcomeError."""
        # 1. find
        decision = _decision_of(tx, self.vault, post)
        named = str(post.customer)
        customer = decision.customer if decision is not None else customer_named(tx, self.vault, named)
        _check_offered(decision, post)
        person = None if customer is None else lives_on(tx.person, customer)
        if customer is None or person is None:
            message = "no signal has named this customer yet: send one first, or check the id"
            raise OutcomeError("unknown_customer", "customer", message)
        # 2. the same twice is one
        id_ = post.id or _natural_id(decision, post) or self.clock.new_id()
        if (known := tx.outcome(id_)) is not None:
            if (known.kind, known.decision) != (post.kind, post.decision):
                message = f"outcome id `{id_}` was used for another outcome: send a new id"
                raise OutcomeError("outcome_conflict", "id", message)
            return OutcomeReceipt(id_, post.kind, "duplicate", post.decision)
        at_ms = _at_ms(post, now_ms)
        offer = post.offer or (None if decision is None else decision.offer)
        outcome = StoredOutcome(
            id=id_, at_ms=at_ms, kind=post.kind, customer=customer,
            unit=(person.account or person.id) if decision is None else decision.unit,
            decision=post.decision, offer=offer, amount=post.amount, detail=post.reason,
        )
        # 3. move the contact
        if decision is not None:
            state = CONTACT_STATE.get(post.kind)
            if state is not None:
                move_contact(tx, decision, state, now_ms, offer, at_ms)
        # 4. fold and 5. write
        self._fold(tx, release, outcome, decision, now_ms)
        outcome = msgspec.structs.replace(outcome, leaf=self._leaf(tx, release, outcome))
        tx.put_outcome(outcome)
        if self.beliefs is not None:
            self.beliefs.became(tx, outcome)
        return OutcomeReceipt(id_, post.kind, "accepted", post.decision)

    def _fold(
        self,
        tx: Transaction,
        release: Release,
        outcome: StoredOutcome,
        decision: StoredDecision | None,
        now_ms: int,
    ) -> None:
        type_ = f"offer.{outcome.kind}"
        versions = [version for name, version in release.contracts if name == type_]
        if not versions:
            return
        data: dict[str, Any] = {"offer": outcome.offer or "", "amount": outcome.amount}
        if decision is not None:
            data.update(decision=decision.id, channel=decision.channel or "")
        if outcome.detail is not None:
            data["reason"] = outcome.detail
        person = lives_on(tx.person, outcome.customer)
        account = None if person is None else person.account
        signal = Signal(
            SOURCE, f"outcome-{outcome.id}", type_, max(versions), outcome.at_ms, now_ms, outcome.customer,
            account, data,
        )
        write_signal(tx, release, self.vault, signal, content_hash(signal))

    def _leaf(self, tx: Transaction, release: Release, outcome: StoredOutcome) -> int:
        private = msgspec.json.encode(outcome)
        codes = {"kind": outcome.kind}
        if outcome.decision is not None:
            codes["decision"] = outcome.decision
        salt = self.vault.commit_salt(f"outcome/{outcome.id}", person_subject(outcome.customer))
        return tx.append_leaf(
            entry(
                entry_id=self.clock.new_id(),
                ts_ms=outcome.at_ms,
                kind="outcome",
                region=release.region,
                actor="act",
                commit=commitment(salt, private),
                codes=codes,
            )
        )


def _decision_of(tx: Transaction, vault: Vault, post: OutcomePost) -> StoredDecision | None:
    if post.decision is None:
        return None
    decision = tx.decision(post.decision)
    if decision is None:
        raise OutcomeError("unknown_decision", "decision", f"no decision has the id `{post.decision}`")
    if post.customer not in (None, decision.customer) and not same_customer(
        tx, vault, str(post.customer), decision.customer
    ):
        raise OutcomeError("wrong_customer", "customer", "this decision was made for another customer")
    if post.offer not in (None, decision.offer, *_slate_of(decision)):
        raise OutcomeError("wrong_offer", "offer", f"this decision did not offer `{post.offer}`")
    return decision


def _slate_of(decision: StoredDecision) -> tuple[str, ...]:
    """The further offers of a decision."""
    return tuple(pick.offer for pick in decode_record(decision.record).result.slate)


def _check_offered(decision: StoredDecision | None, post: OutcomePost) -> None:
    """Only what was offered can be delivered, seen or answered; a purchase may follow any decision."""
    if decision is None or post.kind not in CONTACT_STATE:
        return
    if decision.disposition not in ("offered", "escalated"):
        message = f"this decision offered nothing ({decision.disposition}): it cannot be {post.kind}"
        raise OutcomeError("nothing_offered", "decision", message)


def _natural_id(decision: StoredDecision | None, post: OutcomePost) -> str | None:
    """Of a decision, each kind happens once per offer: sent without an id it is told apart by that."""
    if decision is None:
        return None
    further = "" if post.offer in (None, decision.offer) else f".{post.offer}"
    return f"{decision.id}.{post.kind}{further}"


def _at_ms(post: OutcomePost, now_ms: int) -> int:
    if post.at is None:
        return now_ms
    try:
        at_ms = parse_time_ms(post.at)
    except (ValueError, OverflowError) as error:
        raise OutcomeError("invalid_time", "at", str(error)) from None
    if at_ms > now_ms + 300_000:
        raise OutcomeError("invalid_time", "at", f"`{post.at}` lies in the future: check the sender's clock")
    return at_ms
