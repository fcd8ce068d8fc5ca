"""Many customers at once: steps 3 to 6 of a decision over tables, with the answers `kernel.run` gives one at a time.

Nothing is approximated: the same look-ups, the same order of every sum, the same draws. What has no form for whole
columns is worked out row by row by the kernel's own functions. `tests/core/decisions/test_batch.py` holds both equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.beliefs import Believed
from opportune.core.contacts import SeenContact
from opportune.core.decisions.batch_choose import Chosen, choose_rows
from opportune.core.decisions.brain import Bools, Brain, Floats, Ints
from opportune.core.decisions.customer_scores import CUSTOMER_TARGETS, score_name
from opportune.core.decisions.draws import in_holdout
from opportune.core.decisions.further import tired
from opportune.core.decisions.kernel import score
from opportune.core.decisions.records import Disposition, Reason, Seen
from opportune.core.decisions.shortlist import REASON_OF_STAGE, STAGE_OF_CLASS, limited
from opportune.core.expressions.columns import Column, coded, repeated
from opportune.core.models import CompiledModel
from opportune.core.models.rows import RowModel, RowScores
from opportune.core.policies.plan import Plan
from opportune.core.policies.rows import RowMasks, RowPolicies, RowStanding, Table, Words, any_of, words_of

ROWS_AT_ONCE = 8_192
"""Of the shortlist, at most: masks are small, and each step costs a call."""
WORDS_AT_ONCE = 1 << 17
"""How many words a mask of all rows may have: with a large catalog fewer rows are worked on at once."""
CHOSEN_AT_ONCE = 1_024
"""Of scoring and arbitration, at most."""
CELLS_AT_ONCE = 1 << 20
"""How many rows x candidates a matrix may have: small enough to stay near the processor, and to bound the memory."""

DISPOSITIONS: tuple[Disposition, ...] = get_args(Disposition)
REASONS: tuple[Reason, ...] = get_args(Reason)
WEEK_MS = 7 * 24 * 3_600_000


class Rows(msgspec.Struct, frozen=True):
    """What is seen of many customers at one instant, asked about one moment; see `records.Seen`.

    ids: the decisions', which seed the draws. units: what the hold-out goes by. features: name -> column. context,
    consents: likewise, consents by `purpose/channel`. accounts: who has one. minutes, days: of the local day and week.
    """

    moment: str
    channels: tuple[str, ...]
    at_ms: int
    ids: Sequence[str]
    units: Sequence[str]
    features: Mapping[str, Column]
    context: Mapping[str, Column]
    consents: Mapping[str, Column]
    accounts: Bools
    minutes: Ints
    days: Ints
    contacts: Sequence[tuple[SeenContact, ...]] | None = None
    room: Mapping[str, float] = {}
    beliefs: Sequence[Believed | None] | None = None

    def some(self, where: slice) -> Rows:
        """Some of the rows."""
        return msgspec.structs.replace(
            self,
            ids=self.ids[where],
            units=self.units[where],
            features={name: column.rows(where) for name, column in self.features.items()},
            context={name: column.rows(where) for name, column in self.context.items()},
            consents={name: column.rows(where) for name, column in self.consents.items()},
            accounts=self.accounts[where],
            minutes=self.minutes[where],
            days=self.days[where],
            contacts=None if self.contacts is None else self.contacts[where],
            beliefs=None if self.beliefs is None else self.beliefs[where],
        )


class Answers(msgspec.Struct, frozen=True):
    """One row per customer. disposition, reason: places in DISPOSITIONS and REASONS. candidate: what was drawn, -1 for
    nothing; also of the held out and the escalated, who are not shown it. value, p_accept, uplift, confidence: of it;
    not a number without one. probability: the chance of what was drawn."""

    disposition: NDArray[np.int8]
    reason: NDArray[np.int8]
    candidate: Ints
    value: Floats
    p_accept: Floats
    uplift: Floats
    probability: Floats
    confidence: Floats


Stage = tuple[int | NDArray[np.int8], Words]
"""(the reason it gives, the same for every row or one each, who is held back)."""


class Listed(msgspec.Struct, frozen=True):
    """The shortlist of every row: who is left, why the rest is not (stage, masks), and what the policies say."""

    left: Words
    stages: tuple[Stage, ...]
    standing: RowStanding


class RowBrain:
    """A release compiled for tables; made once, used for every batch of it."""

    def __init__(self, brain: Brain) -> None:
        self.brain = brain
        self.count = len(brain.candidates)
        self.policies = RowPolicies(brain.policies.policies, brain.policies.variables, brain.policies.table)
        self.model = RowModel(brain.model, brain.views.names) if isinstance(brain.model, CompiledModel) else None
        self.further = {
            target: RowModel(one.model, brain.views.names) for target, one in brain.further.items()
        }
        self._required = self._requirements()
        prior = score(brain, Seen(0, None, "", {}, {}, {}), usable=False)
        self._priors = tuple(np.array(part, np.float64) for part in (prior.p_accept, prior.uplift, prior.uplift_se))
        self._least = np.array(
            [brain.app.confidence_min.get(one.offer.risk, 0.0) for one in brain.candidates], np.float64
        )

    def decide(self, rows: Rows) -> Answers:
        """The answers, in the order of the rows."""
        count = len(rows.ids)
        at_once = max(1, min(ROWS_AT_ONCE, WORDS_AT_ONCE // self.policies.width))
        parts = [
            self._decide(rows.some(slice(start, min(start + at_once, count)))) for start in range(0, count, at_once)
        ]
        if not parts:
            nothing = np.zeros(0)
            codes = nothing.astype(np.int8)
            return Answers(codes, codes, nothing.astype(np.int64), nothing, nothing, nothing, nothing, nothing)
        return Answers(*(np.concatenate(arrays) for arrays in zip(*map(msgspec.structs.astuple, parts), strict=True)))

    def _decide(self, rows: Rows) -> Answers:
        brain = self.brain
        # 3. assign
        holdout = brain.app.holdout
        held = np.zeros(len(rows.ids), np.bool_)
        if holdout.share > 0.0:
            held[:] = [in_holdout(holdout.salt, unit, holdout.share) for unit in rows.units]
        # 4. shortlist
        listed = self.shortlist(rows)
        open_ = any_of(listed.left)
        # 5. score, 6. choose
        tired = _recent(rows)
        at_once = max(1, min(CHOSEN_AT_ONCE, CELLS_AT_ONCE // self.count))
        parts = [
            self._chosen(rows, listed, tired, slice(start, start + at_once))
            for start in range(0, len(rows.ids), at_once)
        ]
        chosen = Chosen(*(np.concatenate(arrays) for arrays in zip(*map(msgspec.structs.astuple, parts), strict=True)))
        return self._answers(listed, open_, chosen, held, rows)

    def _chosen(self, rows: Rows, listed: Listed, tired: Mapping[str, Ints], where: slice) -> Chosen:
        some = rows.some(where)
        recent = {channel: counts[where] for channel, counts in tired.items()}
        scores = self.score(some)
        return choose_rows(
            self.brain, rows.moment, some.ids, listed.left[where], listed.standing.rows(where), scores, recent,
            some.beliefs,
        )

    # --- 4. shortlist --------------------------------------------------------------------------------------------

    def shortlist(self, rows: Rows) -> Listed:
        """Channels, validity, policies, limits and quiet hours, in the order of `shortlist.shortlist`."""
        brain, width = self.brain, self.policies.width
        within = brain.mask_of(rows.channels)
        asked = words_of(within, width)
        table = self.table(rows)
        outside = words_of(brain.windows.outside(rows.at_ms) & within, width)
        standing = self.policies.judge(table, rows.at_ms, within)
        stages: list[Stage] = [(_reason("validity"), outside)]
        stages += [(_reason(STAGE_OF_CLASS[policy.class_]), mask) for policy, mask in standing.forbids]
        unmet, unknown = self._held(table)
        stages.append((_reason("eligibility"), ((unmet & ~standing.forced) | unknown) & asked))
        stages.append((_reason("no_permit"), asked & ~standing.permitted))
        stages += self._limited(rows)
        left = np.broadcast_to(asked, (len(rows.ids), width)).copy()
        for _, mask in stages:
            left &= ~mask
        return Listed(left, tuple(stages), standing)

    def table(self, rows: Rows) -> Table:
        """Every variable a policy may read, as `shortlist.request_values` has them."""
        count = len(rows.ids)
        request = dict(rows.features)
        request.update({f"context.{name}": column for name, column in rows.context.items()})
        request["moment.id"] = repeated("string", rows.moment, count)
        request["local_hour"] = Column("int", rows.minutes // 60)
        request["account_known"] = Column("bool", rows.accounts)
        request["now"] = repeated("timestamp", rows.at_ms, count)
        for target in CUSTOMER_TARGETS:
            if target in self.further and self.further[target].covered[0]:
                chances = self.further[target].score(rows.features, count).p_accept[:, 0]
                request[score_name(target)] = Column("double", chances)
        return Table(count, request, {"consent.status": rows.consents})

    def _requirements(self) -> tuple[tuple[Plan, Words], ...]:
        """What offers require, each text once, with the candidates it is required of."""
        masks: dict[str, int] = {}
        for candidate in self.brain.candidates:
            if (text := candidate.offer.requires) != "true":
                masks[text] = masks.get(text, 0) | 1 << candidate.index
        return tuple((self.policies.plan(text), words_of(mask, self.policies.width)) for text, mask in masks.items())

    def _held(self, table: Table) -> tuple[Words, Words]:
        """(who does not meet what is required, of whom it is not known)."""
        unmet = unknown = np.zeros(self.policies.width, np.uint64)
        for plan, mask in self._required:
            found: RowMasks = self.policies.masks(plan, table)
            if found.failed is None:
                unmet = unmet | (mask & ~found.true)
            else:
                unmet = unmet | (mask & ~(found.true | found.failed))
                unknown = unknown | (mask & found.failed)
        return unmet, unknown

    def _limited(self, rows: Rows) -> list[Stage]:
        """What depends on how often and when: worked out once per minute of the day and, for customers with contacts
        that count, once per history."""
        clock = rows.minutes * 7 + rows.days if self.brain.quiet else np.zeros(len(rows.ids), np.int64)
        instants, codes = np.unique(clock, return_inverse=True)
        states = [(instant, ()) for instant in instants.tolist()]
        places: dict[tuple[int, tuple[SeenContact, ...]], int] = {}
        for row, contacts in enumerate(rows.contacts or ()):
            if contacts:
                state = (int(instants[codes[row]]), contacts)
                codes[row] = places.setdefault(state, len(instants) + len(places))
        entries = [self._held_back(rows, *state) for state in (*states, *places)]
        found: list[Stage] = []
        for place in range(max(map(len, entries), default=0)):
            here = [entry[place] if place < len(entry) else (0, 0) for entry in entries]
            reasons = np.array([reason for reason, _ in here], np.int8)
            masks = np.stack([words_of(mask, self.policies.width) for _, mask in here])
            found.append((reasons[codes], masks[codes]))
        return found

    def _held_back(self, rows: Rows, instant: int, contacts: tuple[SeenContact, ...]) -> list[tuple[int, int]]:
        """(reason, mask) of every limit in force."""
        seen = Seen(
            rows.at_ms, None, "", {}, {}, {}, contacts=contacts, local_minute=instant // 7, local_day=instant % 7,
            room=rows.room,
        )  # fmt: skip
        within = self.brain.mask_of(rows.channels)
        return [(_reason(stage), mask & within) for stage, _, mask in limited(self.brain, seen)]

    # --- 5. score ------------------------------------------------------------------------------------------------

    def score(self, rows: Rows) -> RowScores:
        """The models' numbers for every offer; the owner's priors where they have none."""
        found = self._effects(rows)
        return self._with_further(rows, found) if self.further else found

    def _with_further(self, rows: Rows, found: RowScores) -> RowScores:
        """`further.with_further` of every row; where the first model failed, nobody else is asked."""
        count = len(rows.ids)
        lost = (np.zeros(count, np.bool_) if found.failed is None else found.failed)[:, None]
        changed: dict[str, Floats] = {}
        for target, model in self.further.items():
            if target in CUSTOMER_TARGETS:
                continue
            numbers = model.score(rows.features, count).p_accept
            here = model.covered & ~lost
            if target == "acceptance":
                changed["p_accept"] = np.where(here, numbers, found.p_accept)
            elif target == "value":
                changed["money"] = np.where(here, numbers, np.nan)
            else:
                usual = np.array(self.brain.further[target].usual)
                changed["tiring"] = np.where(here, tired(numbers, usual), 1.0)
        return msgspec.structs.replace(found, **changed)

    def _effects(self, rows: Rows) -> RowScores:
        brain, count = self.brain, len(rows.ids)
        if brain.model is None:
            one, two, three = (np.broadcast_to(part, (count, len(part))) for part in self._priors)
            return RowScores(one, two, three)
        if self.model is None:
            return self._score_alone(rows)
        found = self.model.score(rows.features, count)
        if self.model.covered.all():
            return found
        parts = zip((found.p_accept, found.uplift, found.uplift_se), self._priors, strict=True)
        one, two, three = (np.where(self.model.covered, part, prior) for part, prior in parts)
        return RowScores(one, two, three)

    def _score_alone(self, rows: Rows) -> RowScores:
        """A model of another make: asked customer by customer; where it fails, the owner's priors."""
        brain = self.brain
        names = [name for name in brain.views.names if name in rows.features]
        columns = [plain_values(rows.features[name]) for name in names]
        parts: list[list[Sequence[float]]] = [[], [], []]
        failed = np.zeros(len(rows.ids), np.bool_)
        for row in range(len(rows.ids)):
            features = {name: column[row] for name, column in zip(names, columns, strict=True)}
            seen = Seen(rows.at_ms, None, "", features, {}, {})
            try:
                one = score(brain, seen, usable=True)
                if not np.isfinite(sum(one.p_accept) + sum(one.uplift) + sum(one.uplift_se)):
                    raise ValueError
            except Exception:  # noqa: BLE001 - a model may raise anything
                one = score(brain, seen, usable=False)
                failed[row] = True
            for part, numbers in zip(parts, (one.p_accept, one.uplift, one.uplift_se), strict=True):
                part.append(numbers)
        first, second, third = (np.array(part, np.float64) for part in parts)
        return RowScores(first, second, third, failed)

    # --- 6. choose -----------------------------------------------------------------------------------------------

    def _answers(
        self, listed: Listed, open_: Bools, chosen: Chosen, held: Bools, rows: Rows
    ) -> Answers:
        """Dispositions and reasons, in the order in which `kernel.choose` looks at them."""
        count = len(rows.ids)
        every, drawn = np.arange(count), open_ & (chosen.candidate >= 0)
        index = np.where(drawn, chosen.candidate, 0)
        word, bit = index // 64, (index % 64).astype(np.uint64)
        review = (np.broadcast_to(listed.standing.review, listed.left.shape)[every, word] >> bit & np.uint64(1)) != 0
        unsure = (chosen.confidence < self._least[index]) | (self._least[index] >= 1.0)
        explored = np.where(chosen.explored, REASONS.index("EXPLORED"), -1)
        offered = np.where(chosen.forced, REASONS.index("FORCED"), explored)
        disposition = np.full(count, DISPOSITIONS.index("no_offer"), np.int8)
        reason = np.where(explored >= 0, explored, REASONS.index("NO_VALUE")).astype(np.int8)
        reason[~open_] = self._dominant(listed, ~open_, rows)
        undecided = drawn.copy()
        for where, disposed, because in (
            (held, "held_out", REASONS.index("HELD_OUT")),
            (review, "escalated", REASONS.index("REVIEW_REQUIRED")),
            (unsure, "escalated", REASONS.index("LOW_CONFIDENCE")),
            (np.ones(count, np.bool_), "offered", np.where(offered >= 0, offered, REASONS.index("OFFERED"))),
        ):
            hit = undecided & where
            disposition[hit] = DISPOSITIONS.index(disposed)
            reason[hit] = np.broadcast_to(because, (count,))[hit]
            undecided &= ~where
        missing = ~drawn
        return Answers(
            disposition,
            reason,
            np.where(drawn, chosen.candidate, -1),
            np.where(missing, 0.0, chosen.value),
            np.where(missing, np.nan, chosen.p_accept),
            np.where(missing, np.nan, chosen.uplift),
            np.where(open_, chosen.probability, 1.0),
            np.where(missing, np.nan, chosen.confidence),
        )

    def _dominant(self, listed: Listed, where: Bools, rows: Rows) -> NDArray[np.int8]:
        """Why nothing is left, for some of the rows; see `shortlist.dominant_reason`."""
        places = np.flatnonzero(where)
        asked = words_of(self.brain.mask_of(rows.channels), self.policies.width)
        open_ = np.broadcast_to(asked, (len(places), self.policies.width)).copy()
        best = np.full(len(places), REASONS.index("NO_CANDIDATE"), np.int8)
        most = np.zeros(len(places), np.int64)
        for reason, words in listed.stages if len(places) else ():
            mask = words[places] if words.ndim == 2 else words
            taken = np.bitwise_count(mask & open_).sum(axis=-1, dtype=np.int64)
            open_ &= ~mask
            best = np.where(taken > most, reason if isinstance(reason, int) else reason[places], best)
            most = np.maximum(most, taken)
        return best.astype(np.int8)


def _reason(stage: str) -> int:
    return REASONS.index(REASON_OF_STAGE[stage])


def _recent(rows: Rows) -> dict[str, Ints]:
    """Contacts of the last week per channel and row: each makes the next one cost more."""
    found: dict[str, Ints] = {}
    for row, contacts in enumerate(rows.contacts or ()):
        for scope, _, channel, age_ms in contacts:
            if scope == "person" and age_ms < WEEK_MS:
                found.setdefault(channel, np.zeros(len(rows.ids), np.int64))[row] += 1
    return found


def plain_values(column: Column) -> list[Any]:
    """A column as values one by one, None where one is missing."""
    codes, table = coded(column)
    known = column.known()
    return [
        table[code] if known is None or known[row] else None for row, code in enumerate(codes.tolist())
    ]
