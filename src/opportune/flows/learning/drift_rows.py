"""What drift is looked for in: decisions as they were seen, and what became of those whose label window is over."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

import msgspec

from opportune.core.decisions.brain import Brain
from opportune.core.decisions.records import decode_record
from opportune.core.drift import AnsweredRows, SeenRows
from opportune.core.durations import parse_duration_ms
from opportune.core.models import EVERY_OFFER, Scorecard
from opportune.core.playbook import ModelSpec
from opportune.flows.learning.decided import Assignment, assignments_among
from opportune.flows.learning.training_rows import Event, Key, first_event, labels_of, whom_of
from opportune.ports import Records, StoredDecision

AT_ONCE = 500
SETTLED_MS = 5_000
"""Decisions are taken up when so old: ids are by time, and one that is being written may be older than the newest."""
MARK_LEEWAY_MS = 3_600_000

Carries = Callable[[str], bool]
"""Whether the release of this hash has the card."""


class Place(msgspec.Struct, frozen=True):
    """How far a card was watched: `decision` is the last one taken up by its inputs, `answered` that by its answers;
    `signal` is a place in the log before which nothing is a label of a decision to come."""

    decision: str = ""
    answered: str = ""
    signal: int = 0
    inputs: int = 0
    answers: int = 0


def encode_place(place: Place) -> str:
    return msgspec.json.encode(place).decode()


def decode_place(text: str | None) -> Place:
    """Where to go on; the beginning where nothing was kept."""
    return Place() if text is None else msgspec.json.decode(text, type=Place)


def decided_after(records: Records, id_: str, until_ms: int, carries: Carries) -> Iterator[StoredDecision]:
    """Decisions by releases that carry the card, made until then, in order."""
    while some := records.decisions_after(id_, AT_ONCE):
        for one in some:
            if one.at_ms > until_ms:
                return
            if carries(one.release):
                yield one
        id_ = some[-1].id


def seen_rows(decisions: Sequence[StoredDecision], names: Sequence[str]) -> SeenRows:
    """Inputs of decisions; those that ended before anything was seen hold none."""
    units, values = [], []
    for one in decisions:
        record = decode_record(one.record)
        units.append(one.unit)
        values.append(tuple(record.seen.features.get(name) for name in names))
    return SeenRows(tuple(units), tuple(values), decisions[0].at_ms, decisions[-1].at_ms)


def sees(decision: StoredDecision) -> bool:
    """Whether a decision came as far as to see its customer."""
    return decision.disposition != "shed"


class Answers(msgspec.Struct, frozen=True):
    """Rows of a window of answers, the last decision they come from, and how far the log's labels are used up."""

    rows: AnsweredRows
    last: str
    signal: int


def answers_after(
    records: Records, spec: ModelSpec, card: Scorecard, place: Place, now_ms: int, count: int,
    carries: Carries, brain_of: Callable[[str], Brain], holdout_share: float,
) -> Answers | None:  # fmt: skip
    """The next `count` answers, or fewer when there are no more; None without any.

    One row for each account and offer within a label window: a purchase that follows several decisions is one answer,
    not several.
    """
    window_ms = parse_duration_ms(spec.label_window)
    names = tuple(table.name for table in card.features)
    wanted = msgspec.structs.replace(spec, features=names, segments=(), protected=())
    known = {heads.offer for heads in card.offers}
    rows: list[Assignment] = []
    taken: dict[tuple[str, str], int] = {}
    last = ""
    for stored in decided_after(records, place.answered, now_ms - window_ms, carries):
        last = stored.id
        for one in assignments_among([stored], records, wanted, holdout_share, brain_of).assignments:
            own = _row_of(spec, one, known)
            unit = own and (own.account or own.customer or "", own.offer)
            if own and unit and own.at_ms - taken.get(unit, -window_ms) >= window_ms:
                taken[unit] = own.at_ms
                rows.append(own)
        if len(rows) >= count:
            break
    if not rows:
        return None
    happened, signal = _labels(records, spec, place.signal, rows[0].at_ms, rows[-1].at_ms)
    got = tuple(first_event(spec, one, happened, window_ms) is not None for one in rows)
    seen = SeenRows(
        tuple(one.account or one.customer or "" for one in rows), tuple(one.values for one in rows),
        rows[0].at_ms, rows[-1].at_ms,
    )  # fmt: skip
    answered = AnsweredRows(seen, tuple(one.offer for one in rows), tuple(one.treated for one in rows), got)
    return Answers(answered, last, signal)


def _row_of(spec: ModelSpec, one: Assignment, known: set[str]) -> Assignment | None:
    """The row as the model answers it: of offers it knows, and for all targets but uplift only of what was offered."""
    if spec.target != "uplift" and not (one.treated and one.reached):
        return None
    if one.offer in known:
        return one
    return msgspec.structs.replace(one, offer=EVERY_OFFER) if EVERY_OFFER in known else None


def _labels(
    records: Records, spec: ModelSpec, after: int, from_ms: int, next_ms: int
) -> tuple[dict[tuple[Key, str], list[Event]], int]:
    """What happened, by who and of which offer, since `from_ms`; and the place in the log that all labels of
    decisions after `next_ms` come behind."""
    happened: dict[tuple[Key, str], list[Event]] = {}
    mark, open_ = after, True
    for stored in records.signals(after=after, types=labels_of(spec)):
        signal = stored.signal
        open_ = open_ and signal.at_ms < next_ms - MARK_LEEWAY_MS
        mark = stored.seq if open_ else mark
        if signal.at_ms < from_ms:
            continue
        person = None if signal.customer is None else records.person(signal.customer)
        account = signal.account or (None if person is None else person.account)
        offer, amount = signal.data.get("offer"), signal.data.get("amount")
        money = float(amount) if isinstance(amount, float | int) else 0.0
        for who in whom_of(signal.customer, account):
            named = offer if isinstance(offer, str) and spec.target != "churn_risk" else ""
            times = happened.setdefault((who, named), [])
            times.insert(bisect_right(times, (signal.at_ms, float("inf"))), (signal.at_ms, money))
    return happened, mark


