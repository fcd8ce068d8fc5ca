"""How stored values become rows and rows become values; columns are in the order of `queries`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from opportune.adapters.sqlite import queries
from opportune.adapters.sqlite.queries import Write
from opportune.core.customers import Account, Person
from opportune.core.signals import Problem, Signal
from opportune.ports import Quarantined, Review, StoredDecision, StoredOutcome, StoredRelease, StoredSignal
from opportune.unit_of_work import Changes

Row = Sequence[Any]

encode = msgspec.msgpack.Encoder().encode
encode_json = msgspec.json.Encoder().encode
decode_person = msgspec.msgpack.Decoder(Person).decode
decode_account = msgspec.msgpack.Decoder(Account).decode
_decode_json = msgspec.json.Decoder(dict[str, Any]).decode
_decode_problems = msgspec.json.Decoder(tuple[Problem, ...]).decode


def batches(changes: Changes, leaf_count: int) -> list[tuple[Write, list[Row]]]:
    """Everything a group changed, as rows per table."""
    return [
        (queries.WRITE_SIGNALS, [_signal_row(stored, content) for stored, content in changes.signals]),
        (queries.WRITE_QUARANTINE, [_quarantined_row(kept) for kept in changes.quarantined]),
        (queries.WRITE_PEOPLE, [(id_, encode(person)) for id_, person in changes.people.written()]),
        (queries.WRITE_ACCOUNTS, [(id_, encode(account)) for id_, account in changes.accounts.written()]),
        (queries.WRITE_IDENTIFIERS, [(h, kind, whom) for h, (kind, whom) in changes.identifiers.written()]),
        (queries.WRITE_DECISIONS, [_decision_row(decision) for _, decision in changes.decisions.written()]),
        (queries.WRITE_OUTCOMES, [_outcome_row(outcome) for _, outcome in changes.outcomes.written()]),
        (queries.WRITE_REVIEWS, [_review_row(review) for _, review in changes.reviews.written()]),
        (queries.WRITE_RELEASES, [_release_row(release) for _, release in changes.releases.written()]),
        (queries.WRITE_LIVE, list(changes.live)),
        (queries.WRITE_POSITIONS, list(changes.positions.written())),
        (queries.WRITE_LEAVES, list(enumerate(changes.leaves, start=leaf_count))),
    ]


def _signal_row(stored: StoredSignal, content: bytes) -> Row:
    s = stored.signal
    return (
        stored.seq, s.source, s.id, content, s.type, s.version, s.at_ms, s.received_ms, s.customer, s.account,
        encode_json(s.data),
    )  # fmt: skip


def signal(row: Row) -> StoredSignal:
    seq, source, id_, _, type_, version, at_ms, received_ms, customer, account, data = row
    body = _decode_json(data)
    return StoredSignal(
        seq, Signal(source, id_, type_, version, at_ms, received_ms, customer, account, body)
    )


def _quarantined_row(q: Quarantined) -> Row:
    return q.seq, q.received_ms, q.source, q.id, q.type, encode_json(q.problems), q.body


def quarantined(row: Row) -> Quarantined:
    seq, received_ms, source, id_, type_, problems, body = row
    return Quarantined(received_ms, source, id_, type_, _decode_problems(problems), body, seq)


def _decision_row(d: StoredDecision) -> Row:
    return (
        d.id, d.at_ms, d.customer, d.account, d.unit, d.moment, d.release, d.disposition, d.offer, d.channel,
        d.holdout, d.total_us, d.leaf, d.key, d.salt, d.record,
    )  # fmt: skip


def decision(row: Row) -> StoredDecision:
    id_, at_ms, customer, account, unit, moment, release_, disposition, offer, channel, *others = row
    holdout, total_us, leaf, key, salt, record = others
    return StoredDecision(
        id_, at_ms, customer, account, unit, moment, release_, disposition, offer, channel,
        bool(holdout), total_us, record, salt, leaf, key,
    )  # fmt: skip


def _outcome_row(o: StoredOutcome) -> Row:
    return (
        o.id, o.at_ms, o.kind, o.customer, o.unit, o.decision, o.offer, o.amount, o.detail, o.leaf
    )  # fmt: skip


def outcome(row: Row) -> StoredOutcome:
    return StoredOutcome(*row)


def _review_row(r: Review) -> Row:
    return r.id, r.decision, r.customer, r.opened_ms, r.reason, r.status


def review(row: Row) -> Review:
    return Review(*row)


def _release_row(r: StoredRelease) -> Row:
    return r.hash, r.created_ms, r.note, r.manifest


def release(row: Row) -> StoredRelease:
    return StoredRelease(*row)
