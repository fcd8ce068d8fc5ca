"""The life of a decision: one question, one recorded answer, inside a latency budget.

1. admit: priority class, concurrency limit; over it the answer is a recorded `shed`
2. snapshot: customer, account, consent, features with ages, contacts, at one instant
3. assign: universal hold-out
4. shortlist: channels, validity, policies, limits; each dropped candidate keeps its reason
5. score: the model, or the owner's priors when it is missing, broken or late (said so)
6. choose: value, exploration, hold-out, gate
7. record: decision, contact reservation, review and ledger entry in one commit, before the answer
8. answer: offer, signed grant, explanation, reasons, timings
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

import msgspec

from opportune.core.catalog import Moment
from opportune.core.contacts import TallyOf
from opportune.core.customers import Account, Person
from opportune.core.decisions.answers import Answer, answer_of, unrecorded_answer
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.kernel import ScoreFailed, run
from opportune.core.decisions.questions import Question, QuestionError, check_question
from opportune.core.decisions.records import (
    RECORD_VERSION,
    Asked,
    DecisionRecord,
    Result,
    Seen,
    decode_record,
    encode_record,
)
from opportune.core.decisions.snapshot import NOTHING_READ, see
from opportune.core.features import Outside
from opportune.core.ledger import commitment, entry
from opportune.flows.admission import Gate
from opportune.flows.identify import customer_by_email, customer_named, lives_on
from opportune.flows.outside import OutsideReads, lost
from opportune.flows.reserve import has_room, reserve, room_now
from opportune.ports import Clock, Pulse, Records, Review, StoredDecision, Transaction, Vault

FALLBACK_RESERVE_US = 2_000
"""Left of the budget for recording and answering: later than this, no step of the kernel begins."""
SCORE_RESERVE_US_PER_MS = 100
"""Of each millisecond of the budget, left for choosing: later than this, the owner's priors stand in for the model."""

OUTSIDE_SHARE: Final = 0.5
"""Up to this part of its budget a decision waits for features that are read from outside."""

_log = logging.getLogger(__name__)

Done = Callable[[Answer | BaseException], None]


class LiveProbe:
    """Measures each step; a step that would begin past the deadline gets the fault `late`."""

    def __init__(self, clock: Clock, start_us: int, budget_ms: int, admitted: bool) -> None:
        self._tick = clock.tick_us
        self.start_us = start_us
        self.budget_ms = budget_ms
        self.deadline_us = start_us + budget_ms * 1000 - FALLBACK_RESERVE_US
        self.score_by_us = self.deadline_us - budget_ms * SCORE_RESERVE_US_PER_MS
        self._admitted = admitted
        self._open = ("admit", start_us)
        self.timings_us: list[tuple[str, int]] = []
        self.faults: list[str] = []

    def before(self, step: str) -> str | None:
        now_us = self.begin(step)
        if step == "assign" and not self._admitted:
            return self._fault(step, "open")
        if now_us > (self.score_by_us if step == "score" else self.deadline_us) and step != "assign":
            return self._fault(step, "late")
        return None

    def begin(self, step: str) -> int:
        """Ends the step before and begins this one; returns the tick."""
        now_us = self._tick()
        name, since_us = self._open
        self.timings_us.append((name, now_us - since_us))
        self._open = (step, now_us)
        return now_us

    def _fault(self, step: str, fault: str) -> str:
        self.faults.append(f"{step}:{fault}")
        return fault


class RecordedProbe:
    """Repeats the faults of a recorded decision; measures nothing."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        self._faults = dict(fault.split(":", 1) for fault in faults)

    def before(self, step: str) -> str | None:
        return self._faults.get(step)


class Made(msgspec.Struct, frozen=True):
    """A decision between choosing and recording. `guards` are the versions of what it rested on, `outside` what was
    read elsewhere about `read_for`, a person and an account."""

    record: DecisionRecord
    encoded: bytes
    salt: bytes
    guards: tuple[int, int]
    outside: Outside
    read_for: tuple[str, str | None]


class Decide(msgspec.Struct, frozen=True):
    """The ports and the live release's brain that this flow needs."""

    records: Records
    vault: Vault
    clock: Clock
    gate: Gate
    pulse: Pulse
    brain: Callable[[], Brain]
    brain_of: Callable[[str], Brain]
    outside: OutsideReads

    def submit(self, question: Question, done: Done) -> int:
        """Decides; `done` gets the answer when it is durable; returns the budget in ms. QuestionError (nothing
        written) and StoreFull are raised at once, or go to `done` where features are read from outside."""
        start_us = self.clock.tick_us()
        brain = self.brain()
        # 1. admit
        moment, channels = check_question(brain, question)
        admitted = self.gate.enter(moment.priority)
        try:
            if admitted and brain.views.outside:
                self.outside.hand_over(lambda: self._later(brain, moment, channels, question, start_us, done))
            else:
                self._submit(brain, moment, channels, question, start_us, admitted, done)
        except BaseException:
            if admitted:
                self.gate.leave()
            raise
        return question.budget_ms or moment.budget_ms

    def _later(
        self, brain: Brain, moment: Moment, channels: tuple[str, ...], question: Question, start_us: int, done: Done
    ) -> None:
        """A decision that waits for readers, in a thread where it may: what it raises goes to `done` too."""
        try:
            self._submit(brain, moment, channels, question, start_us, True, done)
        except BaseException as error:  # noqa: BLE001 - whoever asked hears of it
            self.gate.leave()
            done(error)

    def run(self, question: Question) -> Answer:
        """`submit` and wait: for the CLI and tests."""
        found: Future[Answer] = Future()

        def done(outcome: Answer | BaseException) -> None:
            if isinstance(outcome, BaseException):
                found.set_exception(outcome)
            else:
                found.set_result(outcome)

        self.submit(question, done)
        return found.result()

    def unrecorded(self, question: Question) -> Answer:
        """The safe default for a question whose record was not durable in time: it offers nothing, and says so.

        Should the record become durable after all, what it reserved runs out with its grant: nobody has it.
        """
        return unrecorded_answer(self.brain(), question.moment, question.customer.id or "")

    def preview(self, question: Question) -> Answer:
        """The answer that would be given now; writes nothing, reserves nothing, counts nowhere."""
        start_us = self.clock.tick_us()
        brain = self.brain()
        moment, channels = check_question(brain, question)
        named, person, account = self._who(question)
        asked = _asked(brain, question, moment, channels, named, person)
        probe = LiveProbe(self.clock, start_us, asked.budget_ms, admitted=True)
        outside = self._outside(brain, person, account, probe)
        made = self._make(brain, asked, person, account, self.clock.new_id(), probe, outside)
        return answer_of(brain, made.record, preview=True)

    def _submit(
        self,
        brain: Brain,
        moment: Moment,
        channels: tuple[str, ...],
        question: Question,
        start_us: int,
        admitted: bool,
        done: Done,
    ) -> None:
        named, person, account = self._who(question)
        asked = _asked(brain, question, moment, channels, named, person)
        probe = LiveProbe(self.clock, start_us, asked.budget_ms, admitted)
        decision_id = self.clock.new_id()
        outside = self._outside(brain, person, account, probe) if admitted else NOTHING_READ
        made = self._make(brain, asked, person, account, decision_id, probe, outside)
        answer = answer_of(brain, made.record, self.vault.sign)
        submitted_us = self.clock.tick_us()

        def work(tx: Transaction) -> Answer:
            return self._record(tx, brain, asked, named, made, answer, probe)

        def recorded(outcome: Answer | BaseException) -> None:
            if admitted:
                self.gate.leave()
            if isinstance(outcome, BaseException):
                done(outcome)
                return
            now_us = self.clock.tick_us()
            self.pulse.record(
                made.record.seen.at_ms, now_us - start_us, outcome.disposition, outcome.decision_id,
                now_us - submitted_us,
            )
            done(outcome)

        self.records.submit(work, recorded)

    def _who(self, question: Question) -> tuple[str, Person, Account | None]:
        """(the id that was meant, the customer it leads to through merges, the account)."""
        who, records = question.customer, self.records
        named = who.id
        person = None if named is None else records.person(named)
        if person is None or person.merged_into is not None:
            if who.id is not None:
                named = customer_named(records, self.vault, who.id)
            elif who.email is not None:
                named = customer_by_email(records, self.vault, who.email)
            person = None if named is None else lives_on(records.person, named)
        if named is None or person is None:
            raise _unknown_customer()
        account = None if person.account is None else records.account(person.account)
        return named, person, account

    def _outside(self, brain: Brain, person: Person, account: Account | None, probe: LiveProbe) -> Outside:
        """What is read from elsewhere about them, as far as it comes in time."""
        if not brain.views.outside:
            return NOTHING_READ
        now_us = self.clock.tick_us()
        left_us = min(probe.start_us + probe.budget_ms * 1000 * OUTSIDE_SHARE, probe.deadline_us) - now_us
        account_id = None if account is None else account.id
        return self.outside.read(brain.views.outside, person.id, account_id, self.clock.now_ms(), left_us / 1e6)

    def _make(
        self, brain: Brain, asked: Asked, person: Person, account: Account | None, id_: str, probe: LiveProbe,
        outside: Outside = NOTHING_READ, tally_of: TallyOf | None = None,
    ) -> Made:  # fmt: skip
        # 2. snapshot
        probe.begin("snapshot")
        now_ms = self.clock.now_ms()
        room = room_now(brain, tally_of or self.records.tally, now_ms)
        seen = see(brain, person, account, asked.channels, now_ms, asked.refused, outside, room)
        # 3. to 6.
        result = self._run(brain, asked, seen, id_, probe)
        probe.begin("record")
        record = DecisionRecord(
            RECORD_VERSION, id_, brain.release, brain.app.region, asked, seen,
            tuple(probe.faults), tuple(probe.timings_us), result,
        )
        guards = (person.guard, 0 if account is None else account.guard)
        read_for = (person.id, None if account is None else account.id)
        return Made(record, encode_record(record), self.clock.salt(), guards, outside, read_for)

    def _run(self, brain: Brain, asked: Asked, seen: Seen, id_: str, probe: LiveProbe) -> Result:
        """Steps 3 to 6. INVARIANT: a failing model gives the owner's priors, any other failure the safe default."""
        watch: LiveProbe | RecordedProbe = probe
        while True:
            try:
                return run(brain, asked, seen, id_, watch)
            except ScoreFailed as error:
                fault = "score:failed"
                _log.error("decision %s: the model failed with %s", id_, type(error.__cause__ or error).__name__)
            except Exception as error:
                fault = "shortlist:failed"
                if fault in probe.faults:
                    raise
                # The type alone: the text of an error may hold a personal value.
                _log.error("decision %s: a step failed with %s", id_, type(error).__name__)
            probe.faults.append(fault)
            watch = RecordedProbe(tuple(probe.faults))

    def _record(
        self, tx: Transaction, brain: Brain, asked: Asked, named: str, made: Made, answer: Answer, probe: LiveProbe
    ) -> Answer:
        # 7. record
        if asked.key is not None and (known := tx.decision_by_key(asked.key)) is not None:
            return self._again(asked, known)
        person = tx.person(named)
        if person is not None and person.merged_into is not None:
            person = lives_on(tx.person, named)
        if person is None:
            # Erased since the snapshot: nothing is decided about them, and nothing written.
            raise _unknown_customer()
        account = None if person.account is None else tx.account(person.account)
        guards = (person.guard, 0 if account is None else account.guard)
        if guards != made.guards or person.id != asked.customer or not has_room(tx, brain, made.record):
            # INVARIANT: consent and limits hold at the commit, not only at the snapshot; also for whoever was merged
            # meanwhile, or is two again, and for what all others took of a volume or a budget.
            asked = msgspec.structs.replace(asked, customer=person.id)
            again = LiveProbe(self.clock, probe.start_us, asked.budget_ms, admitted=not _was_shed(made))
            # The writer waits for no reader: what was read counts, if it is about the same two.
            same = made.read_for == (person.id, None if account is None else account.id)
            outside = made.outside if same else lost(brain.views.outside)
            made = self._make(brain, asked, person, account, made.record.id, again, outside, tx.tally)
            answer = answer_of(brain, made.record, self.vault.sign)
        self._reserve(tx, brain, made.record, person, account)
        self._write(tx, made)
        return answer

    def _again(self, asked: Asked, known: StoredDecision) -> Answer:
        record = decode_record(known.record)
        # The key names the customer as the caller does: they may have been merged since.
        if msgspec.structs.replace(record.asked, customer=asked.customer) != asked:
            message = "this `idempotency_key` was used for another question: use a new one"
            raise QuestionError("idempotency_conflict", "idempotency_key", message)
        return answer_of(self.brain_of(record.release), record, self.vault.sign)

    def _reserve(
        self, tx: Transaction, brain: Brain, record: DecisionRecord, person: Person, account: Account | None
    ) -> None:
        reserve(tx, brain, record, person, account)

    def _write(self, tx: Transaction, made: Made) -> None:
        record, result = made.record, made.record.result
        leaf = tx.append_leaf(
            entry(
                entry_id=record.id,
                ts_ms=record.seen.at_ms,
                kind="decision",
                region=record.region,
                actor="decide",
                release=record.release,
                commit=commitment(made.salt, made.encoded),
                codes={"disposition": result.disposition, "reason": result.reason},
            )
        )
        tx.put_decision(
            StoredDecision(
                id=record.id, at_ms=record.seen.at_ms, customer=record.asked.customer,
                account=record.seen.account, unit=record.seen.unit, moment=record.asked.moment,
                release=record.release, disposition=result.disposition, offer=result.offer,
                channel=result.channel, holdout=result.holdout,
                total_us=sum(micros for _, micros in record.timings_us),
                record=made.encoded, salt=made.salt, leaf=leaf, key=record.asked.key,
            )
        )
        if result.disposition == "escalated":
            tx.put_review(
                Review(record.id, record.id, record.asked.customer, record.seen.at_ms, result.reason)
            )


def _asked(
    brain: Brain, question: Question, moment: Moment, channels: tuple[str, ...], named: str, person: Person
) -> Asked:
    key = question.idempotency_key
    return Asked(
        customer=person.id,
        moment=question.moment,
        channels=channels,
        context=question.context,
        budget_ms=question.budget_ms or moment.budget_ms,
        key=None if key is None else f"{named}/{key}",
        refused=brain.app.privacy.gpc_purposes if question.gpc else (),
        limit=question.limit,
    )


def _unknown_customer() -> QuestionError:
    message = "no signal has named this customer yet: send one first, or check the id"
    return QuestionError("unknown_customer", "customer", message)


def _was_shed(made: Made) -> bool:
    return made.record.result.disposition == "shed"
