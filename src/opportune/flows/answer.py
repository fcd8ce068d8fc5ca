"""What a person says of a decision, as data: an answer to its review, or why an agent did not make its offer.

1. find the review, or the decision, and who may answer
2. check the reasons against the catalog; the same answer twice is one, another one is a conflict
3. close the review; what was reserved for an offer that is not made is released
4. fold it as the built-in signal `feedback.given`, sealed with the customer, so that features and models learn from it
5. write review, states, outcome and ledger entry in one transaction
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from opportune.core.customers import person_subject
from opportune.core.decisions.records import decode_record
from opportune.core.feedback import (
    DEFAULT_REASONS,
    FEEDBACK_SIGNAL,
    Feedback,
    FeedbackError,
    FeedbackReason,
    check_feedback,
    signal_data,
)
from opportune.core.ledger import commitment, entry
from opportune.core.outcomes import OutcomePost
from opportune.core.releases import Release
from opportune.core.signals import Signal, content_hash
from opportune.flows.act import Act
from opportune.flows.identify import lives_on
from opportune.flows.ingest import write_signal
from opportune.ports import Clock, Records, Review, StoredDecision, Transaction, Vault

SOURCE = "opportune"
STATUS = {"approve": "approved", "change": "changed", "reject": "rejected"}


class FeedbackReceipt(msgspec.Struct, frozen=True):
    """What became of something said. `review` is None for an agent's decline."""

    decision: str
    review: str | None
    verdict: str
    status: Literal["accepted", "duplicate"]


class Answer(msgspec.Struct, frozen=True):
    """The ports and the live release that this flow needs."""

    records: Records
    vault: Vault
    clock: Clock
    release: Callable[[], Release]
    act: Act

    def review(self, id_: str, said: Feedback) -> FeedbackReceipt:
        """Answers a review; FeedbackError where it cannot be taken."""
        release, now_ms = self.release(), self.clock.now_ms()
        return self.records.run(lambda tx: self._review(tx, release, id_, said, now_ms))

    def decline(self, decision: str, said: Feedback) -> FeedbackReceipt:
        """An agent did not make the offer of a decision; FeedbackError where it cannot be taken."""
        release, now_ms = self.release(), self.clock.now_ms()
        return self.records.run(lambda tx: self._decline(tx, release, decision, said, now_ms))

    def _review(
        self, tx: Transaction, release: Release, id_: str, said: Feedback, now_ms: int
    ) -> FeedbackReceipt:
        # 1. find
        review = self.records.review(id_)
        decision = None if review is None else tx.decision(review.decision)
        if review is None or decision is None:
            raise FeedbackError("unknown_review", "review", f"no review has the id `{id_[:64]}`")
        if said.verdict not in STATUS:
            text = "a review is answered with approve, change or reject"
            raise FeedbackError("wrong_verdict", "verdict", text)
        _may_answer(release, said)
        # 2. check
        _checked(release, said)
        if self._known(tx, decision, said, _id_of(decision, "review")):
            return FeedbackReceipt(decision.id, id_, said.verdict, "duplicate")
        if review.status != "open":
            raise FeedbackError("answered", "review", f"this review was {review.status} already")
        # 3. close and 4. fold and 5. write
        tx.put_review(msgspec.structs.replace(review, status=STATUS[said.verdict]))
        self._write(tx, release, decision, said, now_ms, review)
        return FeedbackReceipt(decision.id, id_, said.verdict, "accepted")

    def _decline(
        self, tx: Transaction, release: Release, id_: str, said: Feedback, now_ms: int
    ) -> FeedbackReceipt:
        # 1. find
        decision = tx.decision(id_)
        if decision is None:
            raise FeedbackError("unknown_decision", "decision", f"no decision has the id `{id_[:64]}`")
        if decision.disposition != "offered":
            text = f"this decision offered nothing ({decision.disposition}): there is nothing to decline"
            raise FeedbackError("nothing_offered", "decision", text)
        if said.verdict != "decline":
            raise FeedbackError("wrong_verdict", "verdict", "an offer that was not made is a `decline`")
        # 2. check
        _checked(release, said)
        if self._known(tx, decision, said, _id_of(decision, "decline")):
            return FeedbackReceipt(decision.id, None, said.verdict, "duplicate")
        # 3. release, 4. fold and 5. write
        self._write(tx, release, decision, said, now_ms, None)
        # An outcome of its own that reached nobody: `undeliverable` says so to limits and learning alike.
        post = OutcomePost(kind="undeliverable", decision=decision.id, reason=said.reasons[0])
        self.act.take(tx, release, post, now_ms)
        return FeedbackReceipt(decision.id, None, said.verdict, "accepted")

    def _known(self, tx: Transaction, decision: StoredDecision, said: Feedback, id_: str) -> bool:
        """Whether exactly this was said already; FeedbackError when something else was."""
        seen = tx.signal_seen(SOURCE, id_)
        if seen is None:
            return False
        if seen[1] == _hash_of(self._signal(tx, decision, said, id_, 0)):
            return True
        raise FeedbackError("answered", "decision", "somebody said something else of this decision already")

    def _signal(
        self, tx: Transaction, decision: StoredDecision, said: Feedback, id_: str, now_ms: int
    ) -> Signal:
        result = decode_record(decision.record).result
        person = lives_on(tx.person, decision.customer)
        account = None if person is None else person.account
        data = signal_data(said, decision.id, result.offer, result.channel)
        return Signal(SOURCE, id_, FEEDBACK_SIGNAL, 1, now_ms, now_ms, decision.customer, account, data)

    def _write(
        self, tx: Transaction, release: Release, decision: StoredDecision, said: Feedback, now_ms: int,
        review: Review | None,
    ) -> None:  # fmt: skip
        id_ = _id_of(decision, "review" if review is not None else "decline")
        signal = self._signal(tx, decision, said, id_, now_ms)
        write_signal(tx, release, self.vault, signal, _hash_of(signal))
        # What the person saw is the decision's record; the entry binds the answer to it by its place in the log.
        salt = self.vault.commit_salt(f"feedback/{id_}", person_subject(decision.customer))
        tx.append_leaf(
            entry(
                entry_id=self.clock.new_id(), ts_ms=now_ms, kind="feedback", region=release.region, actor="answer",
                commit=commitment(salt, msgspec.json.encode(said)),
                codes={"decision": decision.id, "verdict": said.verdict, "seen": decision.leaf},
            )
        )  # fmt: skip


def reasons_of(release: Release) -> tuple[FeedbackReason, ...]:
    """The catalog of a release: its playbook's own, or the one for the start."""
    return release.playbook.app.feedback_reasons or DEFAULT_REASONS


def reviewers_of(release: Release) -> tuple[str, ...]:
    """Those who alone may answer reviews; none where the playbook names nobody with that role: then anybody may."""
    return tuple(name for name, roles in release.playbook.app.people.items() if "reviewer" in roles)


def _checked(release: Release, said: Feedback) -> None:
    check_feedback(said, reasons_of(release), release.brain.by_id)


def _may_answer(release: Release, said: Feedback) -> None:
    reviewers = reviewers_of(release)
    if reviewers and said.by not in reviewers:
        text = f"`{said.by}` is no reviewer: `people` of opportune.yaml names {', '.join(reviewers)}"
        raise FeedbackError("not_a_reviewer", "by", text)


def _hash_of(signal: Signal) -> bytes:
    """Of what was said alone: the account may have changed between two tries, and time has."""
    return content_hash(msgspec.structs.replace(signal, account=None), 0)


def _id_of(decision: StoredDecision, what: str) -> str:
    return f"{what}-{decision.id}"
