"""Clearings: what must change for one rule to let a candidate go, in sets of as few changes as possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations, product
from typing import Any, Literal, NamedTuple

import msgspec

from opportune.core.bitsets import indices
from opportune.core.catalog import Offer
from opportune.core.contacts import QuietRule, in_quiet_hours
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.changes import (
    At,
    Change,
    Consent,
    Fact,
    FewerContacts,
    NoFault,
    OpenChannel,
    Room,
    State,
    applied,
    at_instant,
    fact_of,
    place_of,
    step_of,
)
from opportune.core.decisions.customer_scores import CUSTOMER_TARGETS, score_name
from opportune.core.decisions.levels import LEVELS_MAX, answer, atoms, beside, instants, levels, nearest
from opportune.core.decisions.records import Seen
from opportune.core.decisions.shortlist import REQUIRES, request_values
from opportune.core.expressions import fold_constants, free_names, parse
from opportune.core.expressions.nodes import Const, Node, walk
from opportune.core.models import CompiledModel
from opportune.core.policies.compiled import validity
from opportune.core.policies.documents import HARD_CLASSES
from opportune.core.policies.requirements import requirement_id
from opportune.core.signals import parse_time_ms

FAULT = "fault"
OFFERS_MAX = 200
"""With more offers than this only the candidate's own requirement and validity are looked at, not those of others."""
EVALUATIONS_MAX = 4_000
INSTANTS_MAX = 100
LATER_MAX, EARLIER_MAX = 8, 8
"""Instants at which a rule is open that are gone on with: of those to come, and of those gone by."""
CONTACTS_FEWER_MAX = 6
OPENING_MAX = 1_000
STATUSES = ("given", "refused", "withdrawn", "expired", "unknown")
TIMES = frozenset(("now", "local_hour"))

Ways = list[tuple[Change, ...]]
Holds = Callable[[State], tuple[tuple[str, str], ...]]
"""The (stage, rule) pairs that hold the candidate back in a state."""
Goal = Literal["off", "on", "known"]


class Rule(NamedTuple):
    """A policy, or what an offer requires: its condition as a tree, and the instants between which it counts.

    goal: what its condition must come to for a candidate to be let go. strict: not knowing is not enough.
    """

    id: str
    owner: str
    effect: str
    root: Node
    names: frozenset[str]
    goal: Goal
    strict: bool
    from_ms: int | None
    to_ms: int | None


class Clearings:
    """The rules of one release taken apart; a rule is parsed when it is first looked at."""

    def __init__(self, brain: Brain) -> None:
        self._brain = brain
        self._kinds = {one.name: one.kind for one in brain.policies.variables}
        self._types = {one.name: one.type for one in brain.policies.variables}
        self._rules: dict[str, Rule] = {}
        self._few = len(brain.offers) <= OFFERS_MAX
        self._windows = _windows(brain, range(len(brain.candidates))) if self._few else frozenset()
        self._model = _levels_of_models(brain)
        self._derived = {
            score_name(target): one.model.feature_names
            for target, one in brain.further.items()
            if target in CUSTOMER_TARGETS
        }
        self._reading: dict[str, list[Node]] | None = None
        self._levels: dict[tuple[object, ...], list[object]] = {}
        self._opening: dict[tuple[object, ...], Ways] = {}

    def of(
        self, held: tuple[str, str], index: int, state: State, taken: frozenset[str], room: int, holds: Holds
    ) -> Ways:
        """Sets of at most `room` changes, none of a place in `taken`, after which the rule lets the candidate go."""
        stage, rule = held
        channel = self._brain.candidates[index].channel.channel
        found: Ways = []
        if stage == FAULT:
            found = [(NoFault(tuple(one for one in state.faults if not one.startswith("score:"))),)]
        elif stage == "channel":
            opens = channel in self._brain.moments[state.asked.moment].channels
            found = [(OpenChannel(channel),)] if opens else []
        elif stage == "no_permit":
            found = self._permitting(("permit", "force"), index, state, taken, room)
        elif (known := self.rule_of(rule, index)) is not None:
            found = self._of_rule(known, index, state, taken, room)
        else:
            found = self._of_time(held, index, state, holds) if "At" not in taken else []
            if stage in ("volume_limit", "budget"):
                found.append((Room(rule),))
            elif stage == "contact_limit":
                found += self._of_contacts(held, index, state, holds)
        return [way for way in found if not any(place_of(one) in taken for one in way)]

    def of_forces(
        self, forces: Iterable[tuple[str, int]], index: int, state: State, taken: frozenset[str], room: int
    ) -> Ways:
        """After which a policy that forces others does not, or forces this candidate too, or others are held back."""
        found = self._permitting(("force",), index, state, taken, room)
        if not taken:
            found += [(one,) for one in self._anything(state, index)]
        for id_, mask in forces:
            others = [place for place in indices(mask) if place != index]
            if others:
                found += self._clear(self._rule(id_), "off", others[0], state, taken, room)
        return found

    def lifting(self, state: State, index: int) -> list[Change]:
        """Single changes that may make the candidate worth more, or others less."""
        names = set(self._model)
        for rule in map(self._rule, self._brain.rules):
            if rule.effect == "adjust":
                names |= rule.names
        fewer = [FewerContacts((one,)) for one in _contacts(state)]
        return [*fewer, *self._facts(sorted(names), state, index)]

    def _anything(self, state: State, index: int) -> list[Change]:
        """Every single change that any rule might notice."""
        names = {name for rule in map(self._rule, self._brain.rules) for name in rule.names}
        if self._few:
            offers = {one.offer.offer: one.offer for one in self._brain.candidates}
            names |= {name for offer in offers.values() for name in self._requirement(offer).names}
        found: list[Change] = [At(at_ms) for at_ms in self._instants(state, index)]
        return [*found, *self._facts(sorted(names), state, index)]

    def strict(self, held: tuple[str, str], index: int) -> bool:
        """Whether what holds a candidate back is law or consent, which nothing overrides."""
        rule = self.rule_of(held[1], index)
        return rule is not None and rule.strict

    def rule_of(self, rule: str, index: int) -> Rule | None:
        """The rule of a name; what offers require has one name for all of them."""
        if rule == REQUIRES:
            return self._requirement(self._brain.candidates[index].offer)
        return self._rule(rule) if rule in self._brain.rules else None

    def why_none(
        self, held: tuple[tuple[str, str], ...], index: int, state: State, holds: Holds, *, over: bool
    ) -> str:
        """What stands against every change, for a person."""
        candidate = self._brain.candidates[index]
        named = ", ".join(f"`{rule}`" for _, rule in held)
        if held and held[0][0] == FAULT:
            whole = msgspec.structs.replace(state, faults=())
            beside = holds(whole)
            if not beside:
                return f"the decision ended early ({held[0][1]}), and without that another is forced"
            why = self.why_none(beside, index, whole, holds, over=over)
            return f"the decision ended early ({held[0][1]}), and without that {why}"
        if over:
            stands = f"it is held back by {named}" if held else "a policy forces other offers"
            return f"none was found in the number of tries allowed; {stands}"
        for one in [one for one in held if self.strict(one, index)] or held:
            if self.of(one, index, state, frozenset(), 3, holds):
                continue
            stage, rule = one
            if stage == "channel":
                return f"the moment `{state.asked.moment}` does not open the channel {candidate.channel.channel}"
            if stage == "no_permit":
                return "no policy can permit it here, whatever is known of the customer: only a change of policy would"
            known = self.rule_of(rule, index)
            who = f"`{rule}`" if known is None else f"`{known.id}` (owner {known.owner})"
            return f"{who} holds whatever is known of the customer: only a change of it would"
        if not held:
            return "a policy forces other offers, whatever is known of the customer: only a change of policy would"
        return f"more than three things would have to change at once for {named}"

    def _of_rule(self, rule: Rule, index: int, state: State, taken: frozenset[str], room: int) -> Ways:
        found = self._clear(rule, rule.goal, index, state, taken, room)
        if rule.effect == "requires" and self._forced(index, state):
            # Forcing overrides what an offer requires and is known not to hold; not what nobody knows.
            found += self._clear(rule, "known", index, state, taken, room)
        if not rule.strict:
            found += self._permitting(("force",), index, state, taken, room)
        return found

    def _forced(self, index: int, state: State) -> bool:
        forces = (id_ for id_, policy in self._brain.rules.items() if policy.effect == "force")
        return any(self._met(self._rule(id_), "on", index, state) for id_ in forces)

    def _permitting(
        self, effects: tuple[str, ...], index: int, state: State, taken: frozenset[str], room: int
    ) -> Ways:
        return [
            way
            for id_, policy in self._brain.rules.items()
            if policy.effect in effects
            for way in self._clear(self._rule(id_), "on", index, state, taken, room)
        ]

    def _clear(self, rule: Rule, goal: Goal, index: int, state: State, taken: frozenset[str], room: int) -> Ways:
        """The least sets of changes that bring the rule to the goal, by evaluating its condition alone."""
        if self._met(rule, goal, index, state):
            return []
        options = self._options(rule, index, state, taken)
        found: Ways = []
        places_found: list[set[str]] = []
        left = EVALUATIONS_MAX
        for size in range(1, min(room, len(options)) + 1):
            for places in combinations(sorted(options), size):
                if size > 1 and any(known <= set(places) for known in places_found):
                    continue
                hit = False
                for changes in product(*(options[place] for place in places)):
                    left -= 1
                    if left <= 0:
                        return found
                    changed = state
                    for change in changes:
                        changed = applied(changed, change)
                    if self._met(rule, goal, index, changed):
                        found.append(changes)
                        hit = True
                if hit:
                    places_found.append(set(places))
        return found

    def _met(self, rule: Rule, goal: Goal, index: int, state: State) -> bool:
        at_ms = state.seen.at_ms
        early = rule.from_ms is not None and at_ms < rule.from_ms
        late = rule.to_ms is not None and at_ms >= rule.to_ms
        if early or late:
            return goal != "on"
        said = answer(rule.root, self._row(state, index))
        if goal == "on":
            return said is True
        if goal == "known":
            return isinstance(said, bool)
        return said is False if rule.strict else said is not True

    def _options(self, rule: Rule, index: int, state: State, taken: frozenset[str]) -> dict[str, list[Change]]:
        """What may be changed of what a rule reads, by place; the nearest first."""
        found: list[Change] = []
        names = rule.names
        if names & TIMES or rule.from_ms is not None or rule.to_ms is not None:
            found += [At(at_ms) for at_ms in self._instants(state, index)]
        if "consent.status" in names:
            key = self._brain.policies.table.channels[index]
            status = state.seen.consents.get(key)
            found += [Consent(key, one) for one in self._statuses(index) if one != status]
        found += self._facts(sorted(names), state, index)
        by_place: dict[str, list[Change]] = {}
        for change in sorted(found, key=lambda one: step_of(state, one)):
            if place_of(change) not in taken:
                by_place.setdefault(place_of(change), []).append(change)
        return by_place

    def _facts(self, names: Iterable[str], state: State, index: int) -> list[Fact]:
        """Other values of those of the variables that a customer or a question can have others of."""
        # What a model says of the customer changes with what the model reads.
        every = dict.fromkeys(one for name in names for one in self._derived.get(name, (name,)))
        return [
            Fact(name, value)
            for name in every
            if self._kinds.get(name) == "request" and name not in TIMES and name != "moment.id"
            for old in (fact_of(state, name),)
            for value in self._levels_of(name, state, index)
            if value != old or type(value) is not type(old)
        ]

    def _statuses(self, index: int) -> tuple[str, ...]:
        """The statuses of consent that some rule tells apart, and `given`."""
        literals = {
            part.value
            for atom in self._atoms_reading("consent.status", index)
            for part in walk(atom)
            if isinstance(part, Const)
        }
        return tuple(one for one in STATUSES if one == "given" or one in literals)

    def _levels_of(self, name: str, state: State, index: int) -> list[object]:
        """Values at which some rule, or the model, answers otherwise."""
        type_ = self._types[name]
        row = self._row(state, index)
        reading = self._atoms_reading(name, index)
        others = sorted({one for atom in reading for one in free_names(atom)} - {name})
        key = (name, row.get(name) is None, *(repr(row.get(one)) for one in others))
        found = self._levels.get(key)
        if found is None:
            found = levels(name, type_, reading, row)
            found += self._levels_of_model(name, type_)
            if len(self._levels) > 5_000:
                self._levels.clear()
            self._levels[key] = found
        return nearest(found, row.get(name)) if type_ in ("int", "double") else found[:LEVELS_MAX]

    def _levels_of_model(self, name: str, type_: str) -> list[object]:
        known: tuple[Any, ...] = self._model.get(name, ())
        if type_ in ("int", "double"):
            return [value for edge in known for value in beside(float(edge), whole=type_ == "int")]
        return list(known)

    def _instants(self, state: State, index: int) -> list[int]:
        """Instants at which something that depends on time alone is otherwise, the nearest first."""
        brain, seen = self._brain, state.seen
        at_ms = seen.at_ms
        found = set(self._windows or _windows(brain, (index,)))
        for periods in {limit.per_ms for limit in brain.limits}:
            found |= {at_ms + periods - age_ms for _, _, _, age_ms in seen.contacts if age_ms < periods}
        # Before a contact there was one fewer.
        found |= {at_ms - age_ms - 1 for _, _, _, age_ms in seen.contacts}
        for rule in map(self._rule, brain.rules):
            for edge in (rule.from_ms, rule.to_ms):
                found |= set() if edge is None else {edge, edge - 1}
        if reading := self._atoms_reading("now", index):
            starts = [at_ms + days * 86_400_000 for days in (0, 1, 2, 3, 4, 5, 6, 7, 30, 365)]
            found |= set(instants("now", reading, self._row(state, index), starts))
        if reading := self._atoms_reading("local_hour", index):
            hours = levels("local_hour", "int", reading, {**self._row(state, index), "local_hour": None})
            turns = [hour for hour in hours if isinstance(hour, int) and 0 <= hour < 24]
            found |= {turn for one in (at_ms, *found) for hour in turns for turn in _hour_around(state, one, hour)}
        for quiet in brain.quiet:
            found |= {
                edge
                for one in (at_ms, *found)
                if _silent(quiet, at_instant(seen, one))
                for edge in _around_quiet(quiet, state, one)
            }
        close = sorted(found - {at_ms}, key=lambda one: step_of(state, At(one)))
        return [one for one in close if one > 0][:INSTANTS_MAX]

    def _of_time(self, held: tuple[str, str], index: int, state: State, holds: Holds) -> Ways:
        """Instants at which the rule is open; first those at which the fewest others hold, then the nearest."""
        seen = state.seen
        # Facts do not open a limit or a window: what opened it for one set of them does for the next.
        key = (held, index, seen.at_ms, seen.local_minute, seen.local_day, seen.contacts)
        known = self._opening.get(key)
        if known is not None:
            return list(known)
        found: list[tuple[int, int, At]] = []
        for number, at_ms in enumerate(self._instants(state, index)):
            still = holds(applied(state, At(at_ms)))
            if held not in still:
                found.append((len(still), number, At(at_ms)))
        found.sort(key=lambda one: one[:2])
        later = [one for _, _, one in found if one.at_ms > seen.at_ms][:LATER_MAX]
        earlier = [one for _, _, one in found if one.at_ms < seen.at_ms][:EARLIER_MAX]
        ways: Ways = [(one,) for one in (*later, *earlier)]
        if len(self._opening) >= OPENING_MAX:
            self._opening.clear()
        self._opening[key] = ways
        return list(ways)

    def _of_contacts(self, held: tuple[str, str], index: int, state: State, holds: Holds) -> Ways:
        """The fewest contacts without which the limit is open: one of those that count, or the newest of some kind."""
        known = _contacts(state)
        candidate = self._brain.candidates[index]
        kinds = (
            known,
            [one for one in known if one[1] == candidate.channel.channel],
            [one for one in known if one[0] == candidate.offer.offer],
        )
        for count in range(1, min(len(known), CONTACTS_FEWER_MAX) + 1):
            sets = [(one,) for one in known] if count == 1 else [tuple(kind[:count]) for kind in kinds]
            found: Ways = [
                (change,)
                for change in (FewerContacts(one) for one in dict.fromkeys(sets) if len(one) == count)
                if held not in holds(applied(state, change))
            ]
            if found:
                return found
        return [(FewerContacts(tuple(known)),)] if known else []

    def _row(self, state: State, index: int) -> dict[str, object]:
        table = self._brain.policies.table
        values: dict[str, object] = request_values(self._brain, state.asked, state.seen)
        for name, column in table.columns.items():
            values[name] = column[index]
        values["consent.status"] = state.seen.consents.get(table.channels[index])
        return values

    def _rule(self, id_: str) -> Rule:
        rule = self._rules.get(id_)
        if rule is None:
            policy = self._brain.rules[id_]
            root = fold_constants(parse(policy.when, self._types, expect="bool").root)
            names = free_names(root)
            if policy.adjust is not None:
                names |= parse(policy.adjust, self._types, expect="double").names
            goal: Goal = "off" if policy.effect == "forbid" else "known"
            hard = policy.class_ in HARD_CLASSES
            rule = Rule(id_, policy.owner, policy.effect, root, names, goal, hard, *validity(policy))
            self._rules[id_] = rule
        return rule

    def _requirement(self, offer: Offer) -> Rule:
        id_ = requirement_id(offer.offer)
        rule = self._rules.get(id_)
        if rule is None:
            root = fold_constants(parse(offer.requires, self._types, expect="bool").root)
            rule = self._rules[id_] = Rule(
                id_, offer.owner, "requires", root, free_names(root), "on", False, None, None
            )
        return rule

    def _atoms_reading(self, name: str, index: int) -> list[Node]:
        """What policies ask of a variable, and what offers require of it."""
        if self._reading is None:
            self._reading = {}
            rules = [self._rule(id_) for id_ in self._brain.rules]
            offers = {one.offer.offer: one.offer for one in self._brain.candidates} if self._few else {}
            for rule in (*rules, *map(self._requirement, offers.values())):
                for one, atom in _reading(rule):
                    self._reading.setdefault(one, []).append(atom)
        found = self._reading.get(name, [])
        if self._few:
            return found
        own = self._requirement(self._brain.candidates[index].offer)
        return [*found, *(atom for one, atom in _reading(own) if one == name)]


def _levels_of_models(brain: Brain) -> dict[str, tuple[object, ...]]:
    """Where some model's numbers may change, by feature."""
    found: dict[str, tuple[object, ...]] = {}
    own = [brain.model] if isinstance(brain.model, CompiledModel) else []
    for model in (*own, *(one.model for one in brain.further.values())):
        for name, known in model.levels().items():
            found[name] = tuple(dict.fromkeys((*found.get(name, ()), *known)))
    return found


def _reading(rule: Rule) -> list[tuple[str, Node]]:
    return [(name, atom) for atom in atoms(rule.root) for name in free_names(atom)]


def _windows(brain: Brain, places: Iterable[int]) -> frozenset[int]:
    """The instants at which the validity of these candidates begins or ends, and those just beside."""
    found: set[int] = set()
    for place in places:
        offer = brain.candidates[place].offer
        if offer.valid_from is not None:
            first_ms = parse_time_ms(offer.valid_from)
            found |= {first_ms - 1, first_ms}
        if offer.valid_to is not None:
            last_ms = parse_time_ms(offer.valid_to)
            found |= {last_ms, last_ms + 1}
    return frozenset(found)


def _contacts(state: State) -> list[tuple[str, str, int]]:
    """The contacts seen, each once whoever it counts for; the newest first."""
    found = dict.fromkeys(contact[1:] for contact in state.seen.contacts)
    return sorted(found, key=lambda one: one[2])


def _hour_around(state: State, at_ms: int, hour: int) -> tuple[int, int]:
    """When a local hour begins the last time up to an instant, and the next time."""
    then = at_instant(state.seen, at_ms)
    since_ms = ((then.local_minute - hour * 60) % 1440) * 60_000 + at_ms % 60_000
    return at_ms - since_ms, at_ms - since_ms + 86_400_000


def _silent(quiet: QuietRule, seen: Seen) -> bool:
    return in_quiet_hours(quiet, seen.local_minute, seen.local_day)


def _around_quiet(quiet: QuietRule, state: State, at_ms: int) -> list[int]:
    """Just before and at every local time of day at which silence may begin or end, in the days around an instant."""
    minute = at_instant(state.seen, at_ms).local_minute
    midnight = at_ms - at_ms % 60_000 - minute * 60_000
    days = range(-1, 8) if quiet.days else range(-1, 2)
    edges = [
        midnight + day * 86_400_000 + edge * 60_000
        for day in days
        for edge in {0, quiet.start_minute, quiet.end_minute}
    ]
    return [one for edge in edges for one in (edge - 1, edge)]
