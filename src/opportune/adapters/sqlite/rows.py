"""How stored values become rows and rows become values; columns are in the order of `queries`.

Whatever a row holds about a person or an account beyond ids, times and codes is sealed whole under their key,
bound to the table and the row.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from opportune.adapters.sqlite import queries
from opportune.adapters.sqlite.queries import Write
from opportune.adapters.sqlite.sealing import opened, shut
from opportune.core.beliefs import Cell
from opportune.core.contacts import Tally
from opportune.core.customers import Account, Person, account_subject, person_subject, subject_of
from opportune.core.registry import ModelEvent
from opportune.core.signals import Problem, Repair, Signal
from opportune.ports import (
    Access,
    Action,
    Merge,
    Proposal,
    Quarantined,
    Review,
    Seal,
    StoredDecision,
    StoredDrift,
    StoredOutcome,
    StoredRelease,
    StoredSignal,
)
from opportune.unit_of_work import Changes

Row = Sequence[Any]

_encode = msgspec.msgpack.Encoder().encode
_encode_json = msgspec.json.Encoder().encode
_decode_person = msgspec.msgpack.Decoder(Person).decode
_decode_tally = msgspec.msgpack.Decoder(Tally).decode
_decode_belief = msgspec.msgpack.Decoder(Cell).decode
_decode_account = msgspec.msgpack.Decoder(Account).decode
_decode_record = msgspec.msgpack.Decoder(tuple[bytes, bytes]).decode
_decode_data = msgspec.json.Decoder(dict[str, Any]).decode
_decode_signal = msgspec.json.Decoder(tuple[dict[str, Any], tuple[str, ...], tuple[Repair, ...]]).decode
_decode_problems = msgspec.json.Decoder(tuple[Problem, ...]).decode
_decode_quarantined = msgspec.msgpack.Decoder(tuple[bytes, tuple[Problem, ...], str]).decode
_decode_proposal = msgspec.json.Decoder(tuple[dict[str, Any], str]).decode

_decode_details = msgspec.json.Decoder(dict[str, str]).decode

_NO_SALT: Final = bytes(32)


class Rows:
    """Rows under the seal of one region. Everything that opens a row raises Erased when the key is gone."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self.flush = seal.flush

    def batches(self, changes: Changes, leaf_count: int) -> list[tuple[Write, list[Row]]]:
        """Everything a group changed, as rows per table, sealed."""
        written = changes.identifiers.written()
        return [
            (queries.WRITE_SIGNALS, [self._signal_row(stored, content) for stored, content in changes.signals]),
            (queries.WRITE_QUARANTINE, [self._quarantined_row(kept) for kept in changes.quarantined]),
            (queries.PUT_QUARANTINE, [self._quarantined_row(kept) for _, kept in changes.requarantined.written()]),
            (queries.WRITE_PEOPLE, [self._person_row(person) for _, person in changes.people.written()]),
            (queries.WRITE_ACCOUNTS, [self._account_row(account) for _, account in changes.accounts.written()]),
            (queries.WRITE_TALLIES, [(id_, _encode(tally)) for id_, tally in changes.tallies.written()]),
            (queries.WRITE_BELIEFS, [(id_, _encode(cell)) for id_, cell in changes.beliefs.written()]),
            (queries.WRITE_IDENTIFIERS, [(hash_, kind, whom) for hash_, (kind, whom) in written]),
            (queries.WRITE_CLAIMS, [(*claim, holder) for claim, holder in changes.claims.written()]),
            (queries.WRITE_SUPPRESSED, list(changes.suppressed.written())),
            (queries.WRITE_MERGES, [self._merge_row(merge) for _, merge in changes.merges.written()]),
            (queries.WRITE_PROPOSALS, [self._proposal_row(one) for _, one in changes.proposals.written()]),
            (queries.WRITE_ACCESSES, [self._access_row(access) for access in changes.accesses]),
            (queries.WRITE_ACTIONS, [self._action_row(action) for _, action in changes.actions.written()]),
            (queries.WRITE_DECISIONS, [self._decision_row(one) for _, one in changes.decisions.written()]),
            (queries.WRITE_OUTCOMES, [self._outcome_row(outcome) for _, outcome in changes.outcomes.written()]),
            (queries.WRITE_REVIEWS, [_review_row(review) for _, review in changes.reviews.written()]),
            (queries.WRITE_RELEASES, [_release_row(release) for _, release in changes.releases.written()]),
            (queries.WRITE_LIVE, list(changes.live)),
            (queries.WRITE_MODEL_EVENTS, [_model_event_row(event) for event in changes.model_events]),
            (queries.WRITE_DRIFT, [msgspec.structs.astuple(one) for _, one in changes.drift.written()]),
            (queries.WRITE_POSITIONS, list(changes.positions.written())),
            (queries.WRITE_LEAVES, list(enumerate(changes.leaves, start=leaf_count))),
        ]

    def signal_data(self, stored: StoredSignal) -> bytes:
        """The sealed data of a signal at its place, with its flags and repairs."""
        s = stored.signal
        plain = _encode_json((s.data, s.flags, s.repairs))
        return shut(self._seal, subject_of(s.customer, s.account), f"signals/{stored.seq}", plain)

    def signal(self, row: Row) -> StoredSignal:
        seq, source, id_, _, type_, version, at_ms, received_ms, customer, account, leaf, data = row
        plain = opened(self._seal, subject_of(customer, account), f"signals/{seq}", data)
        if plain is None:
            found = Signal(source, id_, type_, version, at_ms, received_ms, customer, account, _decode_data(data))
            return StoredSignal(seq, found, leaf)
        body, flags, repairs = _decode_signal(plain)
        return StoredSignal(
            seq, Signal(source, id_, type_, version, at_ms, received_ms, customer, account, body, flags, repairs), leaf
        )

    def person(self, row: Row) -> Person:
        id_, state = row
        plain = opened(self._seal, person_subject(id_), f"people/{id_}", state)
        return _decode_person(state if plain is None else plain)

    def account(self, row: Row) -> Account:
        id_, state = row
        plain = opened(self._seal, account_subject(id_), f"accounts/{id_}", state)
        return _decode_account(state if plain is None else plain)

    def quarantined(self, row: Row) -> Quarantined:
        seq, received_ms, source, id_, type_, customer, status, problems, body = row
        plain = opened(self._seal, subject_of(customer, None), f"quarantine/{seq}", body)
        if plain is None:
            return Quarantined(received_ms, source, id_, type_, _decode_problems(problems), body, seq, customer, status)
        draft, found, note = _decode_quarantined(plain)
        return Quarantined(received_ms, source, id_, type_, found, draft, seq, customer, status, note)

    def decision(self, row: Row) -> StoredDecision:
        id_, at_ms, customer, account, unit, moment, release_, disposition, offer, channel, *others = row
        holdout, total_us, leaf, key, salt, record = others
        plain = opened(self._seal, person_subject(customer), f"decisions/{id_}", record)
        if plain is not None:
            salt, record = _decode_record(plain)
        elif not salt:
            # Somebody put it in the place of a sealed one, whose salt they cannot know: no entry commits to it.
            salt = _NO_SALT
        return StoredDecision(
            id_, at_ms, customer, account, unit, moment, release_, disposition, offer, channel,
            bool(holdout), total_us, record, salt, leaf, key,
        )  # fmt: skip

    def outcome(self, row: Row) -> StoredOutcome:
        id_, at_ms, kind, customer, unit, decision, offer, amount, detail, leaf, sealed = row
        if sealed is not None:
            detail = self._text(customer, f"outcomes/{id_}", sealed)
        return StoredOutcome(id_, at_ms, kind, customer, unit, decision, offer, amount, detail, leaf)

    def merge(self, row: Row) -> Merge:
        id_, at_ms, kept, merged, rule, actor, undone_ms, undone_by, sealed = row
        reason = self._text(kept, f"merges/{id_}", sealed)
        return Merge(id_, at_ms, kept, merged, rule, actor, reason, undone_ms, undone_by)

    def proposal(self, row: Row) -> Proposal:
        id_, at_ms, one, other, probability, status, decided_ms, decided_by, sealed = row
        plain = opened(self._seal, person_subject(one), f"proposals/{id_}", sealed)
        evidence, why = _decode_proposal(sealed if plain is None else plain)
        return Proposal(id_, at_ms, one, other, probability, evidence, status, decided_ms, decided_by, why)

    def access(self, row: Row) -> Access:
        id_, at_ms, actor, what, customer, classes, sealed = row
        purpose = self._text(customer, f"accesses/{id_}", sealed)
        return Access(id_, at_ms, actor, what, customer, tuple(classes.split()), purpose)

    def action(self, row: Row) -> Action:
        *plain, sealed = row
        return Action(*(*plain, self._text(plain[2], f"actions/{plain[0]}", sealed)))

    def _text(self, customer: str, place: str, sealed: bytes | None) -> str:
        plain = None if sealed is None else opened(self._seal, subject_of(customer or None, None), place, sealed)
        return "" if plain is None else plain.decode()

    def _shut_text(self, customer: str, place: str, text: str | None) -> bytes | None:
        """None says that there is none, and costs nothing."""
        return shut(self._seal, subject_of(customer or None, None), place, text.encode()) if text else None

    def _signal_row(self, stored: StoredSignal, content: bytes) -> Row:
        s = stored.signal
        return (
            stored.seq, s.source, s.id, content, s.type, s.version, s.at_ms, s.received_ms, s.customer, s.account,
            stored.leaf, self.signal_data(stored),
        )  # fmt: skip

    def _quarantined_row(self, q: Quarantined) -> Row:
        plain = _encode((q.body, q.problems, q.note))
        body = shut(self._seal, subject_of(q.customer, None), f"quarantine/{q.seq}", plain)
        return q.seq, q.received_ms, q.source, q.id, q.type, q.customer, q.status, b"", body

    def _person_row(self, person: Person) -> Row:
        return person.id, shut(self._seal, person_subject(person.id), f"people/{person.id}", _encode(person))

    def _account_row(self, account: Account) -> Row:
        return account.id, shut(self._seal, account_subject(account.id), f"accounts/{account.id}", _encode(account))

    def _decision_row(self, d: StoredDecision) -> Row:
        record = shut(self._seal, person_subject(d.customer), f"decisions/{d.id}", _encode((d.salt, d.record)))
        return (
            d.id, d.at_ms, d.customer, d.account, d.unit, d.moment, d.release, d.disposition, d.offer, d.channel,
            d.holdout, d.total_us, d.leaf, d.key, b"", record,
        )  # fmt: skip

    def _outcome_row(self, o: StoredOutcome) -> Row:
        # An empty detail is not none at all: it stays where it was, in clear.
        sealed = self._shut_text(o.customer, f"outcomes/{o.id}", o.detail)
        detail = o.detail if sealed is None else None
        return o.id, o.at_ms, o.kind, o.customer, o.unit, o.decision, o.offer, o.amount, detail, o.leaf, sealed

    def _merge_row(self, m: Merge) -> Row:
        reason = self._shut_text(m.kept, f"merges/{m.id}", m.reason)
        return m.id, m.at_ms, m.kept, m.merged, m.rule, m.actor, m.undone_ms, m.undone_by, reason

    def _proposal_row(self, p: Proposal) -> Row:
        sealed = shut(self._seal, person_subject(p.one), f"proposals/{p.id}", _encode_json((p.evidence, p.why)))
        return p.id, p.at_ms, p.one, p.other, p.probability, p.status, p.decided_ms, p.decided_by, sealed

    def _access_row(self, a: Access) -> Row:
        purpose = self._shut_text(a.customer, f"accesses/{a.id}", a.purpose)
        return a.id, a.at_ms, a.actor, a.what, a.customer, " ".join(a.classes), purpose

    def _action_row(self, a: Action) -> Row:
        return (
            a.id, a.at_ms, a.customer, a.account, a.channel, a.offer, a.purpose, a.due_ms, a.expires_ms, a.status,
            a.attempts, self._shut_text(a.customer, f"actions/{a.id}", a.detail),
        )  # fmt: skip


def tally(row: Row) -> Tally:
    return _decode_tally(row[0])


def belief(row: Row) -> Cell:
    return _decode_belief(row[0])


def _review_row(r: Review) -> Row:
    return r.id, r.decision, r.customer, r.opened_ms, r.reason, r.status


def review(row: Row) -> Review:
    return Review(*row)


def _model_event_row(e: ModelEvent) -> Row:
    details = msgspec.json.encode(e.details, order="deterministic").decode()
    return e.id, e.at_ms, e.card, e.model, e.kind, e.actor, e.reason, e.risk, details


def drift(row: Row) -> StoredDrift:
    return StoredDrift(*row)


def model_event(row: Row) -> ModelEvent:
    id_, at_ms, card, model, kind, actor, reason, risk, details = row
    return ModelEvent(id_, at_ms, card, model, kind, actor, reason, risk, _decode_details(details))


def _release_row(r: StoredRelease) -> Row:
    return r.hash, r.created_ms, r.note, r.manifest


def release(row: Row) -> StoredRelease:
    return StoredRelease(*row)
