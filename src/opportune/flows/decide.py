"""The life of a decision: one question, one recorded answer, inside a latency budget.

1. admit: priority class, concurrency limit; over it the answer is a recorded `shed`, which nothing is looked up for
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
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

import msgspec

from opportune.core.contacts import TallyOf
from opportune.core.customers import Account, Person
from opportune.core.decisions.answers import Answer, answer_of, unrecorded_answer, with_grants
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
from opportune.flows.admission import RANKS, Gate, lowered
from opportune.flows.asking import Asking as Asking
from opportune.flows.asking import Made as Made
from opportune.flows.asking import asked_of, resting_on_nothing, unknown_customer, unseen
from opportune.flows.breakers import Breaker, Breakers
from opportune.flows.guarded import Guarded, NotScored, Scoring, with_model
from opportune.flows.identify import customer_by_email, customer_named, lives_on
from opportune.flows.learning.adapt import Beliefs
from opportune.flows.outside import OutsideReads, lost
from opportune.flows.probes import LiveProbe as LiveProbe
from opportune.flows.probes import RecordedProbe as RecordedProbe
from opportune.flows.reserve import has_room, reserve, room_now
from opportune.flows.same import Done, SameKeys, other_question
from opportune.ports import (
    Clock,
    Pulse,
    Records,
    Review,
    StoreBroken,
    StoredDecision,
    StoreFull,
    Transaction,
    Vault,
)

OUTSIDE_SHARE: Final = 0.5
"""Up to this part of its budget a decision waits for features that are read from outside."""

_log = logging.getLogger(__name__)

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
    scoring: Scoring
    breakers: Breakers
    same: SameKeys
    store: Breaker
    beliefs: Beliefs | None = None

    def check(self, question: Question, start_us: int | None = None) -> Asking:
        """The question against the live release; QuestionError for what cannot be asked. Nothing is looked up."""
        start_us = self.clock.tick_us() if start_us is None else start_us
        brain = self.brain()
        moment, channels = check_question(brain, question)
        budget_ms = question.budget_ms or moment.budget_ms
        priority = lowered(moment.priority, question.priority)
        return Asking(question, brain, moment, channels, start_us, budget_ms, priority, start_us)

    def submit(self, question: Question, done: Done) -> int:
        """Decides, or sheds when there is no place now; `done` gets the answer when it is durable, with a grant that
        `granted` signs, or the error of a question that cannot be answered. Returns the budget in ms. Raises
        QuestionError like `check`."""
        # 1. admit
        asking = self.check(question)
        told = self.same.first(question, done)
        if told is not None:
            if self.gate.enter(asking.priority):
                self.begin(asking, told)
            else:
                self.shed(asking, told)
        return asking.budget_ms

    def begin(self, asking: Asking, done: Done) -> None:
        """Decides for whoever has taken a place at the gate; whatever comes of it goes to `done`."""
        if not self.apart(asking.brain):
            self._begin(asking, done)
        elif not self.outside.hand_over(lambda: self._begin(asking, done), RANKS[asking.priority]):
            self.gate.leave()
            self.shed(asking, done)

    def apart(self, brain: Brain) -> bool:
        """Do decisions of this release wait for others, and so need a thread where they may?"""
        return bool(brain.views.outside) or self.scoring.apart(brain)

    def shed(self, asking: Asking, done: Done) -> None:
        """The recorded answer for whom there is no place; whatever comes of it goes to `done`."""
        self.gate.shed[asking.priority] += 1
        try:
            if not self.store.allows():
                done(self.unrecorded(asking, "record.open"))
                return
            self._shed(asking, done)
        except Exception as error:  # noqa: BLE001 - whoever asked gets an answer
            done(self._failed(asking, error))

    def _begin(self, asking: Asking, done: Done) -> None:
        try:
            if not self.store.allows():
                self.gate.leave()
                done(self.unrecorded(asking, "record.open"))
                return
            self._submit(asking, done)
        except Exception as error:  # noqa: BLE001 - whoever asked gets an answer
            self.gate.leave()
            done(self._failed(asking, error))

    def _failed(self, asking: Asking, error: object) -> Answer | QuestionError:
        """For whoever asked, after an error before or in the record: the safe default, unless the question is wrong."""
        if isinstance(error, QuestionError):
            return error
        _log.error("a decision could not be recorded: %s", type(error).__name__)
        if asking.handed_us == 0 and not isinstance(error, StoreFull | StoreBroken):
            return self.unrecorded(asking, "decision.failed")
        self.store.failed()
        return self.unrecorded(asking, "record.failed")

    def run(self, question: Question) -> Answer:
        """`submit` and wait: for the CLI and tests."""
        found: Future[Answer] = Future()

        def done(outcome: Answer | BaseException) -> None:
            if isinstance(outcome, BaseException):
                found.set_exception(outcome)
            else:
                found.set_result(outcome)

        self.submit(question, done)
        return self.granted([found.result()])[0]

    def granted(self, answers: Sequence[Answer]) -> list[Answer]:
        """What `submit` gave to `done`, with all grants signed: those of one commit in one go."""
        return with_grants(answers, self.vault.sign)

    def too_late(self, asking: Asking) -> Answer:
        """The safe default for a question whose record was not durable in time.

        Should the record become durable after all, what it reserved runs out with its grant: nobody has it.
        """
        asking.given_up = True
        now_us = self.clock.tick_us()
        if asking.handed_us == 0:
            return self.unrecorded(asking, "decision.late")
        if now_us - asking.handed_us >= asking.handed_us - asking.start_us:
            self.store.failed()
        return self.unrecorded(asking, "record.late")

    def unrecorded(self, asking: Asking, missing: str) -> Answer:
        """The safe default that no record stands for: it offers nothing, and says what was missing."""
        all_missing = (*asking.missing, missing)
        self.breakers.missed(all_missing)
        return unrecorded_answer(asking.brain, asking.question.moment, asking.question.customer.id or "", all_missing)

    def preview(self, question: Question) -> Answer:
        """The answer that would be given now; writes nothing, reserves nothing, counts nowhere."""
        asking = self.check(question)
        return answer_of(asking.brain, self._decided(asking)[3].record, preview=True)

    def previewed(self, question: Question) -> DecisionRecord:
        """The record that a preview rests on, kept nowhere."""
        return self._decided(self.check(question))[3].record

    def _submit(self, asking: Asking, done: Done) -> None:
        brain = asking.brain
        named, asked, probe, made = self._decided(asking)
        answer = answer_of(brain, made.record, self.vault.sign)
        asking.missing = made.record.result.degraded
        asking.handed_us = self.clock.tick_us()

        def work(tx: Transaction) -> Answer:
            return self._record(tx, brain, asked, named, made, answer, probe)

        def recorded(outcome: Answer | BaseException) -> None:
            self._leave(asking, made.record)
            self._recorded(asking, made.record.seen.at_ms, outcome, done)

        self.records.submit_short(work, recorded)

    def _decided(self, asking: Asking) -> tuple[str, Asked, LiveProbe, Made]:
        """Steps 2 to 6, with the id that was meant."""
        brain, rank = asking.brain, RANKS[asking.priority]
        named, person, account = self.who(asking.question)
        asked = asked_of(asking, named, person)
        probe = LiveProbe(self.clock, asking.start_us, asking.budget_ms, self.scoring.breaker(brain))
        decision_id = self.clock.new_id()
        outside = self._outside(brain, person, account, probe, rank)
        model = self.scoring.guarded(brain, rank, probe.score_by_us) if self.scoring.apart(brain) else None
        return named, asked, probe, self._make(brain, asked, person, account, decision_id, probe, outside, model)

    def _leave(self, asking: Asking, record: DecisionRecord) -> None:
        """Gives the place back. What waited for a source that was late or broken says nothing about the company."""
        faults = (*record.faults, *(f"{view}:{fault}" for view, fault in record.seen.unread))
        if any(fault.endswith(":full") for fault in faults):
            self.gate.leave_after(asking.began_us, self.clock.tick_us(), 0)
        elif faults:
            self.gate.leave()
        else:
            self.gate.leave_after(asking.began_us, self.clock.tick_us(), asking.budget_ms * 1000)

    def _recorded(self, asking: Asking, at_ms: int, outcome: object, done: Done) -> None:
        if not isinstance(outcome, Answer):
            done(self._failed(asking, outcome))
            return
        if not asking.given_up:
            self.store.succeeded()
        if outcome.degraded:
            self.breakers.missed(outcome.degraded)
        now_us = self.clock.tick_us()
        self.pulse.record(
            at_ms, now_us - asking.start_us, outcome.disposition, outcome.decision_id, now_us - asking.handed_us
        )
        done(outcome)

    def _shed(self, asking: Asking, done: Done) -> None:
        """No snapshot, no scores: who asked what, and that there was no place."""
        brain = asking.brain
        named, person, _ = self.who(asking.question)
        asked = asked_of(asking, named, person)
        waited_us = self.clock.tick_us() - asking.start_us
        record = DecisionRecord(
            RECORD_VERSION, self.clock.new_id(), brain.release, brain.app.region, asked,
            unseen(person, self.clock.now_ms()), ("assign:open",), (("admit", waited_us),), Result("shed", "OVERLOAD"),
        )  # fmt: skip
        made = resting_on_nothing(record, self.clock.salt())
        answer = answer_of(brain, record)
        asking.handed_us = self.clock.tick_us()
        self.records.submit_short(
            lambda tx: self._record_shed(tx, brain, named, made, answer),
            lambda outcome: self._recorded(asking, record.seen.at_ms, outcome, done),
        )

    def who(self, question: Question) -> tuple[str, Person, Account | None]:
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
            raise unknown_customer()
        account = None if person.account is None else records.account(person.account)
        return named, person, account

    def _outside(
        self, brain: Brain, person: Person, account: Account | None, probe: LiveProbe, rank: int
    ) -> Outside:
        """What is read from elsewhere about them, as far as it comes in time."""
        if not brain.views.outside:
            return NOTHING_READ
        now_us = self.clock.tick_us()
        left_us = min(probe.start_us + probe.budget_ms * 1000 * OUTSIDE_SHARE, probe.deadline_us) - now_us
        account_id = None if account is None else account.id
        return self.outside.read(brain.views.outside, person.id, account_id, self.clock.now_ms(), left_us / 1e6, rank)

    def _make(
        self, brain: Brain, asked: Asked, person: Person, account: Account | None, id_: str, probe: LiveProbe,
        outside: Outside = NOTHING_READ, model: Guarded | None = None, tally_of: TallyOf | None = None,
    ) -> Made:  # fmt: skip
        # 2. snapshot
        probe.begin("snapshot")
        now_ms = self.clock.now_ms()
        try:
            room = room_now(brain, tally_of or self.records.tally, now_ms)
            believed = None if self.beliefs is None else self.beliefs.table(brain)
            seen = see(brain, person, account, asked.channels, now_ms, asked.refused, outside, room, believed)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with what is kept, it is answered and recorded
            _log.error("decision %s: the snapshot failed with %s", id_, type(error).__name__)
            probe.faults.append("shortlist:failed")
            seen = unseen(person, now_ms)
        # 3. to 6.
        result = self._run(brain if model is None else with_model(brain, model), asked, seen, id_, probe)
        if probe.faults and model is None:
            self._blame(brain, probe)
        probe.begin("record")
        record = DecisionRecord(
            RECORD_VERSION, id_, brain.release, brain.app.region, asked, seen,
            tuple(probe.faults), tuple(probe.timings_us), result,
        )
        guards = (person.guard, 0 if account is None else account.guard)
        read_for = (person.id, None if account is None else account.id)
        return Made(record, encode_record(record), self.clock.salt(), guards, outside, read_for, model)

    def _run(self, brain: Brain, asked: Asked, seen: Seen, id_: str, probe: LiveProbe) -> Result:
        """Steps 3 to 6. INVARIANT: a failing model gives the owner's priors, any other failure the safe default."""
        watch: LiveProbe | RecordedProbe = RecordedProbe(tuple(probe.faults)) if probe.faults else probe
        while True:
            try:
                return run(brain, asked, seen, id_, watch)
            except (ScoreFailed, NotScored) as error:
                cause = error.__cause__ if isinstance(error, ScoreFailed) else error
                if isinstance(cause, NotScored):  # its breaker tells of it, once
                    fault = f"score:{cause.fault}"
                else:
                    fault = "score:failed"
                    _log.error("decision %s: the model failed with %s", id_, type(cause or error).__name__)
            except Exception as error:
                fault = "shortlist:failed"
                if fault in probe.faults:
                    raise
                # The type alone: the text of an error may hold a personal value.
                _log.error("decision %s: a step failed with %s", id_, type(error).__name__)
            probe.faults.append(fault)
            watch = RecordedProbe(tuple(probe.faults))

    def _blame(self, brain: Brain, probe: LiveProbe) -> None:
        """A model that failed, or took most of the budget although nothing can interrupt it, runs apart from now on."""
        if "score:failed" in probe.faults or probe.took_us("score") * 2 > probe.budget_ms * 1000:
            self.scoring.breaker(brain).failed()

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
            raise unknown_customer()
        account = None if person.account is None else tx.account(person.account)
        guards = (person.guard, 0 if account is None else account.guard)
        if guards != made.guards or person.id != asked.customer or not has_room(tx, brain, made.record):
            # INVARIANT: consent and limits hold at the commit, not only at the snapshot; also for whoever was merged
            # meanwhile, or is two again, and for what all others took of a volume or a budget.
            asked = msgspec.structs.replace(asked, customer=person.id)
            again = LiveProbe(self.clock, probe.start_us, asked.budget_ms)
            # The writer waits for no reader and no model: what was read and said counts, if it is about the same two.
            same = made.read_for == (person.id, None if account is None else account.id)
            outside = made.outside if same else lost(brain.views.outside)
            model = None if made.model is None else made.model.no_more()
            made = self._make(brain, asked, person, account, made.record.id, again, outside, model, tx.tally)
            answer = answer_of(brain, made.record, self.vault.sign)
        self._reserve(tx, brain, made.record, person, account)
        self._write(tx, made)
        if self.beliefs is not None:
            self.beliefs.decided(tx, made.record)
        return answer

    def _record_shed(self, tx: Transaction, brain: Brain, named: str, made: Made, answer: Answer) -> Answer:
        asked = made.record.asked
        if asked.key is not None and (known := tx.decision_by_key(asked.key)) is not None:
            return self._again(asked, known)
        person = lives_on(tx.person, named)
        if person is None:
            raise unknown_customer()
        if person.id != asked.customer:
            seen = unseen(person, made.record.seen.at_ms)
            asked = msgspec.structs.replace(asked, customer=person.id)
            made = resting_on_nothing(msgspec.structs.replace(made.record, asked=asked, seen=seen), made.salt)
            answer = answer_of(brain, made.record, self.vault.sign)
        self._write(tx, made)
        return answer

    def _again(self, asked: Asked, known: StoredDecision) -> Answer:
        record = decode_record(known.record)
        # The key names the customer as the caller does: they may have been merged since.
        if msgspec.structs.replace(record.asked, customer=asked.customer) != asked:
            raise other_question()
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
                record=made.encoded, salt=made.salt, leaf=leaf,
                # Nothing was decided for who was shed: the same question may be asked again under the same key.
                key=None if result.disposition == "shed" else record.asked.key,
            )
        )
        if result.disposition == "escalated":
            tx.put_review(
                Review(record.id, record.id, record.asked.customer, record.seen.at_ms, result.reason)
            )
