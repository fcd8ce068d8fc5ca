"""The smallest change that would have made a losing candidate win: searched smallest first, and each one tried.

A change counts only when the kernel, run again on the changed question and snapshot without hold-out and exploration,
picks the candidate. Sets of at most CHANGES_MAX changes are looked at. Whatever holds a candidate back must go, so
sets grow by what clears the first rule that still does (Reiter 1987, hitting sets); what is free and worth too little
is lifted by money. For what can be changed see `core/decisions/changes`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from math import ceil

import msgspec

from opportune.core.bitsets import indices
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.changes import PLAINNESS, Change, Lever, State, applied, place_of, step_of, words_of
from opportune.core.decisions.clearings import FAULT, Clearings
from opportune.core.decisions.kernel import choose, score
from opportune.core.decisions.masks import mask_of
from opportune.core.decisions.records import DecisionRecord, Result
from opportune.core.decisions.shortlist import Shortlist, shortlist
from opportune.core.playbook import Exploration

CHANGES_MAX = 3
TRIES_MAX = 3_000
"""Runs of the kernel, or of its shortlist, that one candidate may take."""
OTHERS_MAX = 2
LIFTING_MAX = 120
CENT = 0.01

Changes = tuple[Change, ...]


class Alternative(msgspec.Struct, frozen=True):
    """Another change of the same size that would do as well."""

    changes: Changes
    words: str


class Flip(msgspec.Struct, frozen=True):
    """What would have made a candidate win; `words` is a sentence.

    No `changes` and no `none_because`: nothing needed to change. With `none_because` no set of at most CHANGES_MAX
    changes does: says what stands against it. `verified` says that the kernel was run with the changes and picked the
    candidate. `review` says that a person would still have looked first. `tries` is how often the kernel was run.
    """

    candidate: str
    changes: Changes
    words: str
    verified: bool
    none_because: str | None = None
    or_else: tuple[Alternative, ...] = ()
    review: bool = False
    tries: int = 0


class Look(msgspec.Struct, frozen=True):
    """What became of the candidate in one state: what holds it back, or what was chosen."""

    held: tuple[tuple[str, str], ...]
    listed: Shortlist | None = None
    result: Result | None = None
    won: bool = False


class Flips:
    """Searches under one release; keeps its rules taken apart between candidates."""

    def __init__(self, brain: Brain) -> None:
        nobody = msgspec.structs.replace(brain.app.holdout, share=0.0)
        app = msgspec.structs.replace(brain.app, holdout=nobody, exploration=Exploration(method="off"))
        self.brain = msgspec.structs.replace(brain, app=app)
        self.clearings = Clearings(self.brain)

    def of(self, record: DecisionRecord, candidate: str) -> Flip:
        """The smallest change for one candidate of the release, by its id; KeyError when there is none of this id."""
        return _Search(self, record, self.brain.by_id[candidate].index).found()


class _Search:
    """One candidate of one record."""

    def __init__(self, flips: Flips, record: DecisionRecord, index: int) -> None:
        self.brain = flips.brain
        self.clearings = flips.clearings
        self.record = record
        self.index = index
        self.id = self.brain.candidates[index].id
        self.root = State(record.asked, record.seen, record.faults)
        self.tries = 0
        self._scored: tuple[object, object] | None = None

    def found(self) -> Flip:
        first = self.look(self.root)
        if first.won:
            return self._told((), first)
        solutions: list[tuple[Changes, Look]] = []
        heap: list[tuple[int, tuple[int, ...], float, int, Changes]] = []
        seen: set[frozenset[str]] = set()
        self._grow(heap, seen, (), self.root, first)
        over = False
        while heap and len(solutions) <= OTHERS_MAX:
            size, _, _, _, changes = heapq.heappop(heap)
            if solutions and size > len(solutions[0][0]):
                break
            if self.tries >= TRIES_MAX:
                over = True
                break
            state = self.after(changes)
            look = self.look(state)
            if look.won:
                if all(_places(changes) != _places(known) for known, _ in solutions):
                    solutions.append((changes, look))
            elif not solutions:
                self._grow(heap, seen, changes, state, look)
        if not solutions:
            return self._none(first, over=over)
        if not first.held and len(solutions) <= OTHERS_MAX:
            solutions += self._lifted(first, solutions)
        changes, look = solutions[0]
        return self._told(changes, look, [one for one, _ in solutions[1 : OTHERS_MAX + 1]])

    def after(self, changes: Iterable[Change]) -> State:
        state = self.root
        for change in changes:
            state = applied(state, change)
        return state

    def look(self, state: State) -> Look:
        """One try: the shortlist, and the rest of the kernel when it leaves the candidate."""
        self.tries += 1
        ended = tuple(one for one in state.faults if not one.startswith("score:"))
        if ended:
            return Look(((FAULT, ", ".join(ended)),))
        listed = shortlist(self.brain, state.asked, state.seen)
        bit = 1 << self.index
        held = tuple((stage, rule) for stage, rule, mask in listed.stages if mask & bit)
        if held:
            return Look(held, listed)
        if state.lever:
            levers = {**listed.levers, self.index: listed.levers.get(self.index, 0.0) + state.lever}
            listed = msgspec.structs.replace(listed, levers=levers)
        usable = not any(one.startswith("score:") for one in state.faults)
        result = self._chosen(state, listed, usable=usable)
        return Look((), listed, result, f"{result.offer}@{result.channel}" == self.id)

    def _chosen(self, state: State, listed: Shortlist, *, usable: bool) -> Result:
        try:
            estimate = score(self.brain, state.seen, usable=usable)
        except Exception:  # noqa: BLE001 - a model that fails on other facts is replaced by priors, as live
            estimate = score(self.brain, state.seen, usable=False)
        return choose(self.brain, state.asked, state.seen, listed, estimate, self.record.id, False)

    def _grow(
        self, heap: list[tuple[int, tuple[int, ...], float, int, Changes]], seen: set[frozenset[str]],
        changes: Changes, state: State, look: Look,
    ) -> None:  # fmt: skip
        """Puts on the heap what clears the first rule that holds the candidate back, or lifts its value."""
        room = CHANGES_MAX - len(changes)
        if room <= 0:
            return
        taken = frozenset(place_of(one) for one in changes)
        for more in self._steps(state, look, taken, room):
            together = (*changes, *more)
            known = frozenset(repr(one) for one in together)
            if known in seen:
                continue
            seen.add(known)
            ordered = tuple(sorted(together, key=lambda one: PLAINNESS.index(type(one))))
            plain = tuple(sorted((PLAINNESS.index(type(one)) for one in ordered), reverse=True))
            far = sum(step_of(self.root, one) for one in ordered)
            heapq.heappush(heap, (len(ordered), plain, far, len(seen), ordered))

    def _steps(self, state: State, look: Look, taken: frozenset[str], room: int) -> list[Changes]:
        if look.held:
            # The rule with the fewest ways out first: a dead end shows at once. What nothing overrides comes before
            # the rest: while it holds, no policy forces, and forcing may be what clears the others.
            strict = [rule for rule in look.held if self.clearings.strict(rule, self.index)] or look.held
            ways = [self.clearings.of(rule, self.index, state, taken, room, self._holds) for rule in strict]
            return min(ways, key=len)
        assert look.listed is not None
        forced = look.listed.forced
        if forced and not forced >> self.index & 1:
            return self.clearings.of_forces(look.listed.forces, self.index, state, taken, room)
        return [] if "Lever" in taken else [(Lever(self._gap(look)),)]

    def _holds(self, state: State) -> tuple[tuple[str, str], ...]:
        return self.look(state).held

    def _gap(self, look: Look) -> float:
        """Money from the candidate's value to just above the best it is weighed against, and above nothing."""
        assert look.listed is not None
        assert look.result is not None
        values = _values(look.result)
        pool = look.listed.forced or look.listed.left
        others = [value for place, value in values.items() if place != self.index and pool >> place & 1]
        if not look.listed.forced:
            others.append(0.0)
        gap = max(others, default=0.0) - values[self.index]
        return round(ceil(round(gap / CENT, 6)) * CENT + CENT, 2)

    def _lifted(self, first: Look, solutions: list[tuple[Changes, Look]]) -> list[tuple[Changes, Look]]:
        """Facts that raise what it is worth, or lower the others, enough: one of them alone."""
        if len(solutions[0][0]) > 1 or first.listed is None or first.listed.forced:
            return []
        singles = sorted(self.clearings.lifting(self.root, self.index), key=lambda one: step_of(self.root, one))
        found: list[tuple[Changes, Look]] = []
        for change in singles[:LIFTING_MAX]:
            if any(place_of(change) in _places(known) for known, _ in [*solutions, *found]):
                continue
            look = self.look(applied(self.root, change))
            if look.won:
                found.append(((change,), look))
                if len(solutions) + len(found) > OTHERS_MAX:
                    break
        return found

    def _none(self, first: Look, *, over: bool) -> Flip:
        because = self.clearings.why_none(first.held, self.index, self.root, self._holds, over=over)
        words = f"No change would have made it win: {because}."
        return Flip(self.id, (), words, False, because, tries=self.tries)

    def _told(self, changes: Changes, look: Look, others: Iterable[Changes] = ()) -> Flip:
        review = look.result is not None and look.result.disposition == "escalated"
        if not changes:
            words = "Nothing needed to change: it was the best of what is allowed."
        else:
            words = f"It would have won {self._words(changes)}{'; a person would look first' if review else ''}."
        told = tuple(Alternative(one, f"Or {self._words(one)}.") for one in others)
        return Flip(self.id, changes, words, True, or_else=told, review=review, tries=self.tries)

    def _words(self, changes: Changes) -> str:
        return ", and ".join(words_of(self.brain, self.root, one) for one in changes)


def _values(result: Result) -> Mapping[int, float]:
    return dict(zip(indices(mask_of(result.scored.left)), result.scored.values, strict=True))


def _places(changes: Changes) -> frozenset[str]:
    return frozenset(place_of(one) for one in changes)

