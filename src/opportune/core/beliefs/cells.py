"""Cells: what became of an offer in a channel and a segment, counted by when it began; whole numbers, nobody's data.

A trial is one offer that reached somebody (`shown`), or one that was chosen for somebody who got none, such as in the
hold-out (`control`). It begins with its decision and has a label window to end in a purchase. Counts are added and
taken back one by one, so that the same trials give the same cell in any order, however late their outcomes came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

COHORTS: Final = 64
"""A label window is as long as so many cohorts."""
STEPS: Final = 16
"""Delays are told apart in so many steps: the first are short, when most purchases happen."""
NEVER: Final = -1

SUCCESSES: Final[Mapping[str, frozenset[str]]] = {
    "converted": frozenset({"converted"}), "accepted": frozenset({"accepted", "converted"})
}  # fmt: skip
REACHED: Final = frozenset({"delivered", "seen", "clicked", "accepted", "declined", "dismissed"})
"""Outcomes that say that an offer reached its customer."""


class Form(msgspec.Struct, frozen=True):
    """What cells count: cells of another form are others. `window_ms` is how long a purchase counts, `success` the
    outcomes that are one, `key` tells forms apart."""

    key: str
    window_ms: int
    success: frozenset[str]

    @property
    def cohort_ms(self) -> int:
        return -(-self.window_ms // COHORTS)


class Event(msgspec.Struct, frozen=True, order=True):
    """Something that became of a trial, by time; `own` where it names the decision that the trial is of, and not only
    the same customer and offer."""

    at_ms: int
    kind: str
    amount: float = 0.0
    own: bool = True


class Trial(msgspec.Struct, frozen=True):
    """One offer, shown or withheld, and how it stands: the delay of its purchase in ms, None without one; whether one
    was taken back."""

    offer: str
    channel: str
    segment: str
    at_ms: int
    shown: bool
    delay_ms: int | None = None
    revoked: bool = False


class Cohort(msgspec.Struct, frozen=True, array_like=True):
    """Trials that began within one span of time. `bought` and `organic` are purchases of the shown and of the control
    by step of their delay, with no zeros at the end; `revoked` are trials whose purchase was taken back."""

    span: int
    shown: int = 0
    control: int = 0
    bought: tuple[int, ...] = ()
    organic: tuple[int, ...] = ()
    revoked: int = 0


class Cell(msgspec.Struct, frozen=True):
    """All trials of one offer in one channel and segment. `old` are those whose window was over when it was written
    last, up to the span `old_to`; `cohorts` are the others, by span."""

    id: str
    form: str
    offer: str
    channel: str
    segment: str
    old_to: int = NEVER
    old: Cohort = Cohort(NEVER)
    cohorts: tuple[Cohort, ...] = ()

    @property
    def every(self) -> tuple[Cohort, ...]:
        """All cohorts, the old ones as one."""
        return (self.old, *self.cohorts)


def cell_id(form: Form, trial: Trial) -> str:
    """The name of the cell that a trial is counted in."""
    return f"{form.key}|{trial.offer}@{trial.channel}|{trial.segment}"


def empty_cell(form: Form, trial: Trial) -> Cell:
    """The cell of a trial, with nothing in it."""
    return Cell(cell_id(form, trial), form.key, trial.offer, trial.channel, trial.segment)


def standing(form: Form, trial: Trial, events: Iterable[Event]) -> Trial | None:
    """The trial as these outcomes leave it, in any order; None for an offer that never reached anybody.

    The first purchase within the window counts, until it is taken back by a `churned` or by a purchase of a negative
    amount, however late; another one after that counts again.
    """
    reached = not trial.shown
    delay: int | None = None
    revoked = False
    for event in sorted(events):
        took = event.kind in form.success
        reached = reached or (event.own and (took or event.kind in REACHED))
        if event.kind == "churned" or (event.kind == "converted" and event.amount < 0.0):
            revoked = revoked or delay is not None
            delay = None
        elif took and delay is None and (after := max(event.at_ms - trial.at_ms, 0)) <= form.window_ms:
            delay = after
    if not reached:
        return None
    return msgspec.structs.replace(trial, delay_ms=delay, revoked=revoked)


def step_of(form: Form, delay_ms: int) -> int:
    """The step of a delay: step i begins at (i / STEPS)^2 of the window."""
    return min(int(STEPS * (delay_ms / form.window_ms) ** 0.5), STEPS - 1)


def settled(form: Form, cell: Cell, now_ms: int) -> Cell:
    """The cell with all trials together whose window is over."""
    old_to = max((now_ms - form.window_ms) // form.cohort_ms - 1, cell.old_to)
    due = [one for one in cell.cohorts if one.span <= old_to]
    if not due:
        return msgspec.structs.replace(cell, old_to=old_to)
    old = cell.old
    for one in due:
        old = _summed(old, one, 1)
    return msgspec.structs.replace(cell, old_to=old_to, old=old, cohorts=cell.cohorts[len(due) :])


def with_trial(form: Form, cell: Cell, trial: Trial, now_ms: int, sign: int = 1) -> Cell:
    """The cell with a trial more, or less (`sign` -1): exactly what it was before it was counted."""
    cell = settled(form, cell, now_ms)
    delays = () if trial.delay_ms is None else (*(0,) * step_of(form, trial.delay_ms), 1)
    one = Cohort(
        trial.at_ms // form.cohort_ms, int(trial.shown), int(not trial.shown), delays if trial.shown else (),
        () if trial.shown else delays, int(trial.revoked),
    )  # fmt: skip
    if one.span <= cell.old_to:
        return msgspec.structs.replace(cell, old=_summed(cell.old, one, sign))
    by_span = {cohort.span: cohort for cohort in cell.cohorts}
    by_span[one.span] = _summed(by_span.get(one.span, Cohort(one.span)), one, sign)
    cohorts = tuple(cohort for _, cohort in sorted(by_span.items()) if cohort != Cohort(cohort.span))
    return msgspec.structs.replace(cell, cohorts=cohorts)


def _summed(one: Cohort, other: Cohort, sign: int) -> Cohort:
    return Cohort(
        one.span, one.shown + sign * other.shown, one.control + sign * other.control,
        _added(one.bought, other.bought, sign), _added(one.organic, other.organic, sign),
        one.revoked + sign * other.revoked,
    )  # fmt: skip


def _added(one: Sequence[int], other: Sequence[int], sign: int) -> tuple[int, ...]:
    if not other:
        return tuple(one)
    total = [*one, *(0,) * (len(other) - len(one))]
    for place, count in enumerate(other):
        total[place] += sign * count
    while total and total[-1] == 0:
        total.pop()
    return tuple(total)
