"""Deciding about everybody in a file at once.

1. check: the moment, and the file's columns against the live release
2. read: rows by the thousand, as columns
3. see: what the file says of each customer; or, where it only names them, what is stored about them
4. decide: `core.decisions.batch`, the kernel's answers
5. tell: the answers, as columns again

Nothing is written, reserved or counted; `record` decides one after another through `flows.decide` instead, which
does all that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Semaphore
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.catalog import Moment
from opportune.core.customers import Account, Person
from opportune.core.decisions.answers import Answer
from opportune.core.decisions.arbitration import scored_rows
from opportune.core.decisions.batch import DISPOSITIONS, REASONS, Answers, RowBrain, Rows, plain_values
from opportune.core.decisions.batch_rows import rows_of_seen
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.questions import Question, QuestionError, Who, check_question
from opportune.core.decisions.records import Seen, decode_record
from opportune.core.decisions.snapshot import NOTHING_READ, see
from opportune.core.features import Outside
from opportune.flows.admission import RANKS
from opportune.flows.batch_columns import BatchError, Layout, contexts_of, customers_of, layout_of, rows_of
from opportune.flows.decide import Decide
from opportune.flows.reserve import room_now
from opportune.ports import ColumnFiles, Columns

FILE_ROWS_AT_ONCE: Final = 65_536
STORED_ROWS_AT_ONCE: Final = 4_096
UNDER_WAY_MAX: Final = 32
"""Recorded decisions under way at once: enough to share the disk's syncs, few enough never to be turned away."""
BUDGET_MS: Final = 10_000
"""Nobody waits for one answer of a batch."""
OUTSIDE_S: Final = 5.0
UNKNOWN: Final = "unknown_customer"


class Batch(msgspec.Struct, frozen=True):
    """A file that was checked against a release; `name` seeds the draws of the exploration."""

    brain: Brain
    moment: Moment
    channels: tuple[str, ...]
    layout: Layout
    context: Mapping[str, Any]
    name: str

    @property
    def stored(self) -> bool:
        """Whether the customers are looked up: the file says nothing about them."""
        return not self.layout.says


class Told(msgspec.Struct, frozen=True):
    """Some answers: columns for a file, and how many customers nobody knows."""

    columns: dict[str, NDArray[Any]]
    unknown: int = 0


def check(
    decide: Decide, files: ColumnFiles, path: str, moment: str, channels: Sequence[str], context: Mapping[str, Any],
    name: str,
) -> Batch:  # fmt: skip
    """Step 1; `context` is what is happening to everybody, as far as no column says it. Raises BatchError naming the
    column, or QuestionError naming the moment, channel or context."""
    brain = decide.brain()
    asked, open_ = check_question(brain, Question(Who(id="-"), moment, tuple(channels), context))
    layout = layout_of(brain, asked, path, files.kinds(path))
    return Batch(brain, asked, open_, layout, context, name)


def run(
    decide: Decide, files: ColumnFiles, batch: Batch, compiled: RowBrain | None = None
) -> Iterator[Told]:
    """Steps 2 to 5 for as many rows as fit at a time; writes nothing. `compiled` is the release compiled for tables."""
    rows_at_once = STORED_ROWS_AT_ONCE if batch.stored else FILE_ROWS_AT_ONCE
    now_ms = decide.clock.now_ms()
    compiled = compiled or RowBrain(batch.brain)
    # 2. read
    for first, columns in _read(files, batch, rows_at_once):
        customers = customers_of(batch.layout, columns, first)
        ids = [f"{batch.name}/{customer}" for customer in customers]
        if batch.stored:
            yield _stored(decide, batch, compiled, customers, ids, columns, now_ms, first)
            continue
        # 3. see
        rows = rows_of(
            batch.brain, batch.layout, batch.moment.moment, batch.channels, batch.context, columns, customers, ids,
            now_ms, first,
        )  # fmt: skip
        rows = _believing(decide, batch, rows)
        # 4. decide, 5. tell
        yield Told(_columns(batch.brain, customers, compiled.decide(rows)))


def _believing(decide: Decide, batch: Batch, rows: Rows) -> Rows:
    """With what is believed in each row's segment."""
    table = None if decide.beliefs is None else decide.beliefs.table(batch.brain)
    if table is None or not table.rows:
        return rows
    told = {name: plain_values(rows.features[name]) for name in table.adaptive.segments if name in rows.features}
    return msgspec.structs.replace(
        rows,
        beliefs=[
            table.seen({name: values[row] for name, values in told.items()}, batch.channels)
            for row in range(len(rows.ids))
        ],
    )


def record(decide: Decide, files: ColumnFiles, batch: Batch) -> Iterator[Told]:
    """The same, decided one after another and recorded, each under the batch's name: doing it again under the same
    name gives the decisions that were made then. Raises BatchError where the file says what is to be seen."""
    if batch.layout.says:
        said = ", ".join(f"`{name}`" for name in batch.layout.says[:3])
        raise BatchError(
            f"`{batch.layout.path}` says what is to be seen ({said}), and what is recorded rests on what is stored: "
            "leave `--record` out, or the columns"
        )
    for first, columns in _read(files, batch, STORED_ROWS_AT_ONCE):
        customers = customers_of(batch.layout, columns, first)
        contexts = contexts_of(batch.layout, batch.context, columns, len(customers), first)
        questions = [
            Question(
                Who(id=customer), batch.moment.moment, batch.channels, context, budget_ms=BUDGET_MS,
                idempotency_key=f"{batch.name}/{batch.moment.moment}", priority="batch",
            )
            for customer, context in zip(customers, contexts, strict=True)
        ]  # fmt: skip
        outcomes = _recorded(decide, questions)
        yield _told_of_records(decide, batch, customers, outcomes)


def _read(files: ColumnFiles, batch: Batch, rows_at_once: int) -> Iterator[tuple[int, Columns]]:
    """(number of the first row, columns)."""
    layout, first = batch.layout, 1
    for columns in files.rows(layout.path, layout.names, layout.texts, rows_at_once):
        yield first, columns
        first += len(columns[layout.names[0]])


# --- what is stored ------------------------------------------------------------------------------------------------


def _stored(
    decide: Decide, batch: Batch, compiled: RowBrain, customers: Sequence[str], ids: Sequence[str],
    columns: Columns, now_ms: int, first: int,
) -> Told:  # fmt: skip
    brain, contexts = batch.brain, contexts_of(batch.layout, batch.context, columns, len(customers), first)
    room = room_now(brain, decide.records.tally, now_ms)
    believed = None if decide.beliefs is None else decide.beliefs.table(brain)
    seen: list[Seen] = []
    known: list[int] = []
    for row, customer in enumerate(customers):
        try:
            _, person, account = decide.who(Question(Who(id=customer), batch.moment.moment))
        except QuestionError as error:
            if error.code != UNKNOWN:
                raise
            continue
        outside = _outside(decide, brain, person, account, now_ms)
        seen.append(see(brain, person, account, batch.channels, now_ms, outside=outside, room=room, believed=believed))
        known.append(row)
    rows = rows_of_seen(
        brain, batch.moment.moment, batch.channels, [ids[row] for row in known], seen, [contexts[row] for row in known]
    )
    answers = compiled.decide(rows)
    unknown = len(customers) - len(known)
    if unknown:
        answers = _spread(answers, known, len(customers))
    return Told(_columns(brain, customers, answers), unknown)


def _outside(decide: Decide, brain: Brain, person: Person, account: Account | None, now_ms: int) -> Outside:
    """What is read from elsewhere about a customer: nobody waits for one answer of a batch."""
    if not brain.views.outside:
        return NOTHING_READ
    account_id = None if account is None else account.id
    return decide.outside.read(brain.views.outside, person.id, account_id, now_ms, OUTSIDE_S, RANKS["batch"])


def _spread(answers: Answers, known: Sequence[int], count: int) -> Answers:
    """The answers at the rows of customers that are known; the others have none (disposition -1)."""
    parts: dict[str, NDArray[Any]] = {}
    for name in Answers.__struct_fields__:
        values = getattr(answers, name)
        parts[name] = np.full(count, np.nan if values.dtype == np.float64 else -1, values.dtype)
        parts[name][known] = values
    return Answers(**parts)


# --- records -------------------------------------------------------------------------------------------------------


def _recorded(decide: Decide, questions: Sequence[Question]) -> list[Answer | QuestionError]:
    """Decides with several under way, so that they share the disk's syncs; in the order of the questions."""
    places = Semaphore(UNDER_WAY_MAX)
    outcomes: dict[int, Answer | BaseException] = {}

    def done_at(number: int) -> Callable[[Answer | BaseException], None]:
        def done(outcome: Answer | BaseException) -> None:
            outcomes[number] = outcome
            places.release()

        return done

    for number, question in enumerate(questions):
        places.acquire()
        decide.submit(question, done_at(number))
    for _ in range(UNDER_WAY_MAX):
        places.acquire()
    found: list[Answer | QuestionError] = []
    for number in range(len(questions)):
        outcome = outcomes[number]
        if isinstance(outcome, BaseException) and not (isinstance(outcome, QuestionError) and outcome.code == UNKNOWN):
            raise outcome
        found.append(outcome)
    return found


def _told_of_records(
    decide: Decide, batch: Batch, customers: Sequence[str], outcomes: Sequence[Answer | QuestionError]
) -> Told:
    """What was recorded, read back: an answer does not tell what the model said."""
    rows: list[dict[str, Any]] = []
    unknown = 0
    for customer, outcome in zip(customers, outcomes, strict=True):
        row: dict[str, Any] = {"customer": customer}
        rows.append(row)
        if isinstance(outcome, QuestionError):
            unknown += 1
            continue
        row |= {
            "decision": outcome.decision_id or None, "disposition": outcome.disposition, "reason": outcome.reason,
            "action_probability": outcome.action_probability,
        }  # fmt: skip
        stored = decide.records.decision(outcome.decision_id) if outcome.decision_id else None
        if stored is None:
            continue
        made = decode_record(stored.record)
        result = made.result
        row |= {"offer": result.offer, "channel": result.channel}
        row |= {"value": result.value, "confidence": result.confidence}
        drawn = result.would or (None if result.offer is None else f"{result.offer}@{result.channel}")
        brain = decide.brain_of(made.release)
        for one in scored_rows(brain, result.scored, made.seen, result.model) if drawn else ():
            if one.candidate == drawn:
                row |= {"p_accept": one.p_accept, "uplift": one.uplift}
    columns = {
        name: _texts([row.get(name) for row in rows])
        for name in ("customer", "decision", "disposition", "reason", "offer", "channel")
    }
    for name in NUMBERS:
        values = [np.nan if row.get(name) is None else float(row[name]) for row in rows]
        columns[name] = np.ma.masked_invalid(np.array(values, np.float64))
    return Told(columns, unknown)


# --- 5. tell -------------------------------------------------------------------------------------------------------

NUMBERS: Final = ("value", "p_accept", "uplift", "action_probability", "confidence")


def _columns(brain: Brain, customers: Sequence[str], answers: Answers) -> dict[str, NDArray[Any]]:
    """The answers as columns of a file; of who is held out only that, as everywhere."""
    held = answers.disposition == DISPOSITIONS.index("held_out")
    candidate = np.where(held, -1, answers.candidate)
    offers = [one.offer.offer for one in brain.candidates]
    channels = [one.channel.channel for one in brain.candidates]
    found = {
        "customer": _texts(customers),
        "disposition": _named(DISPOSITIONS, answers.disposition),
        "reason": _named(REASONS, answers.reason),
        "offer": _named(offers, candidate),
        "channel": _named(channels, candidate),
    }
    numbers = (answers.value, answers.p_accept, answers.uplift, answers.probability, answers.confidence)
    return found | {
        name: np.ma.masked_invalid(values) for name, values in zip(NUMBERS, numbers, strict=True)
    }


def _texts(values: Sequence[str | None]) -> NDArray[Any]:
    found = np.empty(len(values), object)
    found[:] = values
    return np.ma.array(found, mask=np.array([value is None for value in values], np.bool_))


def _named(names: Sequence[str], places: NDArray[Any]) -> NDArray[Any]:
    return np.ma.array(np.array([*names, None], object)[places], mask=places < 0)


def mix_of(columns: Mapping[str, NDArray[Any]]) -> dict[tuple[str, str, str], int]:
    """(disposition, reason, offer or "") -> how many."""
    keys = [np.ma.filled(columns[name], "").tolist() for name in ("disposition", "reason", "offer")]
    found: dict[tuple[str, str, str], int] = {}
    for key in zip(*keys, strict=True):
        found[key] = found.get(key, 0) + 1
    return found
