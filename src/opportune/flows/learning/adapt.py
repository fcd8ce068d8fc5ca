"""Adaptive beliefs: what becomes of offers is counted as it happens, and read by the decisions after it.

1. begin: a decision withholds an offer (hold-out, nothing tried): a control trial, in the decision's own unit
2. follow: an outcome says that an offer arrived, was bought or was taken back: its trials are counted anew
3. recount: cells of a new form are filled from the log page by page, while 1 and 2 go on for what was read already
4. forget: what an erased customer taught is taken out, before their rows are
5. tell: the table that decisions read, made again at most once a second
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from opportune.core.beliefs import (
    BeliefTable,
    Cell,
    Event,
    Form,
    Trial,
    cell_id,
    empty_cell,
    form_of,
    segment_of,
    settled,
    standing,
    with_trial,
)
from opportune.core.beliefs.cells import REACHED
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.masks import mask_of
from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.releases import Release, beliefs_of
from opportune.ports import Clock, Merge, Records, StoredDecision, StoredOutcome, Transaction

PAGE: Final = 200
READY: Final = "ready"
REST_MS: Final = 1_000
SHARE_OF_TIME: Final = 200
"""A table is made again at most once a second, and for at most 1/200 of the time."""
COHORT_US: Final = 4
"""What a cohort takes, about."""
INLINE_US: Final = 1_000
"""A decision makes a table that takes no longer than this."""
TAKEN_BACK: Final = frozenset({"churned", "converted"})
TABLES_MAX: Final = 8
COUNTED: Final = "adaptive"
"""The position that says which form is counted."""


class Counting(msgspec.Struct, frozen=True):
    """What a release counts: its settings, the form of its cells."""

    release: Release
    form: Form

    def trials(self, record: DecisionRecord) -> list[Trial]:
        """The trials that a decision may be: what it offered, or would have. None where a policy forced the choice, or
        a person was asked: what follows says nothing of the offer alone."""
        result = record.result
        if result.forced:
            return []
        adaptive = self.release.playbook.app.adaptive
        segment, at_ms = segment_of(adaptive, record.seen.features), record.seen.at_ms
        if result.disposition == "offered" and result.offer is not None and result.channel is not None:
            offers = (result.offer, *(pick.offer for pick in result.slate))
            return [Trial(offer, result.channel, segment, at_ms, True) for offer in offers]
        withheld = _withheld(self.release.brain, record)
        return [] if withheld is None else [Trial(*withheld, segment, at_ms, False)]


class Made(msgspec.Struct, frozen=True):
    """A table, when it was made, when it may be made again, and when a decision makes it again itself."""

    table: BeliefTable
    at_ms: int
    due_ms: int
    late_ms: int


class Beliefs:
    """What is believed in one region: counts in its records, and the tables made of them. Threads may share it."""

    def __init__(
        self, records: Records, clock: Clock, live: Callable[[], Release], release_of: Callable[[str], Release]
    ) -> None:
        self._records = records
        self._clock = clock
        self._live = live
        self._release_of = release_of
        self._counting: dict[str, Counting | None] = {}
        self._tables: dict[str, Made] = {}
        self._ready: set[str] = set()

    def counting(self, hash_: str) -> Counting | None:
        """What a release counts; None where it is told not to."""
        if hash_ not in self._counting:
            release = self._release_of(hash_)
            adaptive = release.playbook.app.adaptive
            self._counting[hash_] = Counting(release, form_of(adaptive)) if adaptive.enabled else None
        return self._counting[hash_]

    # --- 1. begin, 2. follow --------------------------------------------------------------------------------------

    def decided(self, tx: Transaction, record: DecisionRecord) -> None:
        """Step 1, for a decision that is being recorded."""
        if record.result.disposition not in ("held_out", "no_offer"):
            return
        counting = self.counting(self._live().hash)
        if counting is not None and self._counts(tx, counting.form, record.id):
            _count(tx, counting.form, [(None, one) for one in counting.trials(record)], self._clock.now_ms())

    def became(self, tx: Transaction, outcome: StoredOutcome) -> None:
        """Step 2, for an outcome that this unit has just stored.

        INVARIANT: what is counted is what the live release counts as the unit runs, whenever it was handed in.
        """
        counting = self.counting(self._live().hash)
        if counting is None or not _matters(counting.form, outcome.kind):
            return
        form = counting.form
        changes: list[tuple[Trial | None, Trial | None]] = []
        merges = _merges(tx, outcome.customer)
        family = same_at(merges, outcome.customer, outcome.at_ms)
        every = tx.outcomes_of(family)
        before = [one for one in every if one.id != outcome.id]
        for decision in self._touched(tx, form, outcome, family):
            if not self._counts(tx, form, decision.id):
                continue
            for trial in counting.trials(decode_record(decision.record)):
                stood = _stands(form, trial, decision, before, merges)
                stands = _stands(form, trial, decision, every, merges)
                if stood != stands:
                    changes.append((stood, stands))
        _count(tx, form, changes, self._clock.now_ms())

    def _touched(
        self, tx: Transaction, form: Form, outcome: StoredOutcome, family: Sequence[str]
    ) -> Iterator[StoredDecision]:
        """The decisions whose trials an outcome may change."""
        if outcome.kind not in form.success | TAKEN_BACK:
            decision = None if outcome.decision is None else tx.decision(outcome.decision)
            if decision is not None:
                yield decision
            return
        named = outcome.decision
        taken_back = outcome.kind == "churned" or outcome.amount < 0.0
        since_ms = 0 if taken_back else outcome.at_ms - form.window_ms
        for decision in tx.decisions_of(family, since_ms):
            named = None if decision.id == named else named
            yield decision
        if named is not None and (late := tx.decision(named)) is not None:
            yield late

    def _counts(self, tx: Transaction, form: Form, decision: str) -> bool:
        """Whether a decision's trials are counted by now, or will be when the recount comes to it."""
        if form.key in self._ready:
            return True
        position = tx.position(_position(form))
        return position == READY or (position is not None and decision <= position)

    # --- 3. recount -----------------------------------------------------------------------------------------------

    def prepare(self, rest: Callable[[], None] = lambda: None) -> int:
        """Step 3 for what the live release counts, unless it is done; goes on where it was interrupted. How many
        decisions were read. `rest` is called between pages."""
        counting = self.counting(self._live().hash)
        if counting is not None and counting.form.key in self._ready:
            return 0
        self._ready.clear()
        if self._records.run(lambda tx: tx.position(COUNTED)) != ("" if counting is None else counting.form.key):
            self._records.run(lambda tx: self._switch(tx, counting))
        read = 0
        if counting is None:
            return read
        while (page := self._records.run(lambda tx: self._recount(tx, counting))) is not None:
            read += page
            rest()
        self._ready.add(counting.form.key)
        return read

    def _switch(self, tx: Transaction, counting: Counting | None) -> None:
        """From here on this is counted, and what was counted otherwise is no more: nobody would keep it up to date."""
        tx.set_position(COUNTED, "" if counting is None else counting.form.key)
        for cell in self._records.beliefs():
            tx.put_belief(Cell(cell.id, cell.form, cell.offer, cell.channel, cell.segment))
        if counting is not None:
            tx.set_position(_position(counting.form), "")

    def _recount(self, tx: Transaction, counting: Counting) -> int | None:
        """One page in one unit; None when there is nothing to do.

        INVARIANT: whatever a decision's trials become is counted by its outcome's unit once the decision was read
        here, and by this unit before, so that nothing is counted twice or missed.
        """
        form = counting.form
        position = tx.position(_position(form)) or ""
        if position == READY:
            return None
        page = tx.decisions_after(position, PAGE)
        _count(tx, form, [(None, stands) for stands in _standing(tx, counting, page)], self._clock.now_ms())
        tx.set_position(_position(form), page[-1].id if len(page) == PAGE else READY)
        return len(page)

    def recounted(self, hash_: str) -> dict[str, Cell]:
        """The cells as the log gives them now, worked out anew; changes nothing."""
        counting = self.counting(hash_)
        cells: dict[str, Cell] = {}
        if counting is None:
            return cells
        after: str | None = ""
        while after is not None:
            after, trials = self._records.run(lambda tx, after=after: _read(tx, counting, after))  # type: ignore[misc]  # the lambda's default binds the page
            for trial in trials:
                cell = cells.get(cell_id(counting.form, trial)) or empty_cell(counting.form, trial)
                cells[cell.id] = with_trial(counting.form, cell, trial, self._clock.now_ms())
        return cells

    def kept(self, hash_: str) -> dict[str, Cell]:
        """The cells that this release reads, as of now; those that count nothing left out."""
        counting = self.counting(hash_)
        if counting is None:
            return {}
        now_ms = self._clock.now_ms()
        mine = (settled(counting.form, one, now_ms) for one in self._records.beliefs() if one.form == counting.form.key)
        return {one.id: one for one in mine if any(part.shown or part.control for part in one.every)}

    # --- 4. forget ------------------------------------------------------------------------------------------------

    def forget(self, hash_: str, customers: Sequence[str], erasure: str) -> None:
        """Step 4, once for each erasure. Other forms than this release's are dropped from use by their own recount."""
        counting = self.counting(hash_)
        if counting is None:
            return
        form = counting.form

        def work(tx: Transaction) -> None:
            done = f"{_position(form)}:without:{erasure}"
            if tx.position(done) is not None:
                return
            tx.set_position(done, "yes")
            mine = [one for one in tx.decisions_of(customers, 0) if self._counts(tx, form, one.id)]
            _count(tx, form, [(stands, None) for stands in _standing(tx, counting, mine)], self._clock.now_ms())

        self._records.run(work)

    # --- 5. tell --------------------------------------------------------------------------------------------------

    def table(self, brain: Brain) -> BeliefTable | None:
        """What decisions of this release read now; None where it is told not to."""
        if not brain.app.adaptive.enabled:
            return None
        now_ms = self._clock.now_ms()
        made = self._tables.get(brain.release)
        if made is not None and made.at_ms <= now_ms < made.late_ms:
            return made.table
        return self._make(brain.release, now_ms)

    def refresh(self) -> None:
        """Makes the live release's table again if it is due; for whoever runs beside the decisions."""
        hash_, now_ms = self._live().hash, self._clock.now_ms()
        made = self._tables.get(hash_)
        if made is None or not made.at_ms <= now_ms < made.due_ms:
            self._make(hash_, now_ms)

    def _make(self, hash_: str, now_ms: int) -> BeliefTable | None:
        counting = self.counting(hash_)
        if counting is None:
            return None
        cells = self._records.beliefs()
        table = beliefs_of(counting.release, cells, now_ms)
        cost_us = COHORT_US * sum(len(cell.cohorts) for cell in cells)
        rest_ms = max(REST_MS, SHARE_OF_TIME * cost_us // 1_000)
        # What takes longer is left to `refresh`; should nobody call it, to a decision in ten times the time.
        late_ms = rest_ms if cost_us <= INLINE_US else 10 * rest_ms
        if len(self._tables) >= TABLES_MAX:
            self._tables.clear()
        self._tables[hash_] = Made(table, now_ms, now_ms + rest_ms, now_ms + late_ms)
        return table


def same_at(merges: Sequence[Merge], customer: str, at_ms: int) -> tuple[str, ...]:
    """Everybody who was this customer at a time, through merges that held then, in either direction."""
    found = [customer]
    for one in found:
        for merge in merges:
            if one in (merge.kept, merge.merged) and merge.at_ms <= at_ms < (merge.undone_ms or at_ms + 1):
                found += [other for other in (merge.kept, merge.merged) if other not in found]
    return tuple(found)


def _merges(tx: Transaction, customer: str) -> list[Merge]:
    """All merges around a customer, whenever they held."""
    found: dict[str, Merge] = {}
    names = [customer]
    for one in names:
        for merge in tx.merges_of(one):
            found[merge.id] = merge
            names += [other for other in (merge.kept, merge.merged) if other not in names]
    return list(found.values())


def _matters(form: Form, kind: str) -> bool:
    return kind in REACHED or kind in form.success or kind in TAKEN_BACK


def _withheld(brain: Brain, record: DecisionRecord) -> tuple[str, str] | None:
    """(offer, channel) that somebody did not get and would have: in the hold-out; or where offering nothing was tried,
    the best of what was left. Where nothing was worth it, those who get nothing are others than those who do."""
    result = record.result
    if result.disposition == "held_out" and result.would is not None:
        offer, _, channel = result.would.partition("@")
        return offer, channel
    if result.disposition != "no_offer" or result.reason != "EXPLORED" or not result.scored.values:
        return None
    values, chances = result.scored.values, result.scored.probabilities
    best = max(range(len(values)), key=lambda place: (values[place], chances[place]))
    place = brain.pools.of(mask_of(result.scored.left)).left[best]
    candidate = brain.candidates[place]
    return candidate.offer.offer, candidate.channel.channel


def _standing(tx: Transaction, counting: Counting, decisions: Iterable[StoredDecision]) -> Iterator[Trial]:
    """The trials of these decisions as they stand."""
    for decision in decisions:
        if decision.disposition not in ("offered", "held_out", "no_offer"):
            continue
        trials = counting.trials(decode_record(decision.record))
        if not trials:
            continue
        merges = _merges(tx, decision.customer)
        names = {decision.customer, *(name for merge in merges for name in (merge.kept, merge.merged))}
        outcomes = tx.outcomes_of(names)
        for trial in trials:
            stands = _stands(counting.form, trial, decision, outcomes, merges)
            if stands is not None:
                yield stands


def _stands(
    form: Form, trial: Trial, decision: StoredDecision, outcomes: Iterable[StoredOutcome], merges: Sequence[Merge]
) -> Trial | None:
    """The trial as these outcomes leave it: those of its decision, and what the same person did with the same offer
    after it, whichever decision that named, or none."""
    events = []
    for one in outcomes:
        if not _matters(form, one.kind):
            continue
        own = one.decision == decision.id
        if own and one.offer in (None, trial.offer):
            events.append(Event(one.at_ms, one.kind, one.amount))
        elif (
            not own and one.offer == trial.offer and one.at_ms >= trial.at_ms
            and one.kind in form.success | TAKEN_BACK
            and one.customer in same_at(merges, decision.customer, one.at_ms)
        ):  # fmt: skip
            events.append(Event(one.at_ms, one.kind, one.amount, False))
    return standing(form, trial, events)


def _count(
    tx: Transaction, form: Form, changes: Iterable[tuple[Trial | None, Trial | None]], now_ms: int
) -> None:
    """Takes what trials were out of their cells, and puts in what they are."""
    for stood, stands in changes:
        for trial, sign in ((stood, -1), (stands, 1)):
            if trial is not None:
                cell = tx.belief(cell_id(form, trial)) or empty_cell(form, trial)
                tx.put_belief(with_trial(form, cell, trial, now_ms, sign))


def _read(tx: Transaction, counting: Counting, after: str) -> tuple[str | None, list[Trial]]:
    page = tx.decisions_after(after, PAGE)
    return (page[-1].id if len(page) == PAGE else None), list(_standing(tx, counting, page))


def _position(form: Form) -> str:
    return f"adaptive:{form.key}"
