"""What all offers require, compiled jointly: one look-up per value that is read, however many offers read it.

Every requirement is a tree of `&&`, `||` and `!` over terms. The trees of all offers are laid over each other: a
junction holds the terms that any offer has at that place. A term that compares a value of the request with a constant
is an entry in a sorted index of its value and operator, with the joined sets of offers along the order; a term over
the request alone is evaluated once for all offers that have it; all others are the plans policies have.
Truth has three values, as in CEL: true, false, and no answer (a missing value or a failing operation).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from opportune.core.bitsets import Ladder, mask_of_places
from opportune.core.expressions import EvaluationError, Expression, ExpressionError, Missing, parse
from opportune.core.expressions.evaluate import fold_constants, value_of
from opportune.core.expressions.nodes import Call, Const, ListOf, Name, Node, rebuild
from opportune.core.expressions.values import INT_MAX, INT_MIN, boolean

from .documents import CandidateTable, PolicyError, Variable
from .plan import INDEXED, SWAPPED, Cause, PerChannel, Plan, Planner, Request, masks_of, words

OPPOSITE = {"_<_": "_>=_", "_<=_": "_>_", "_>_": "_<=_", "_>=_": "_<_"}
"""What is true where the first is false, not-a-number aside."""


class Requirement(NamedTuple):
    """What one offer requires: the offer, the expression, and the places of its candidates."""

    offer: str
    text: str
    places: tuple[int, ...]


class Held(NamedTuple):
    """Who is held back by what is required: masks over the candidates.

    unmet: the requirement is false. unknown: it cannot be judged. causes: the names of missing values, or what
    failed, for those that are unknown.
    """

    unmet: int
    unknown: int
    causes: tuple[str, ...]


class Requirements:
    """The requirements of one release. `names`: the variables that an offer's reads; absent for `true`."""

    def __init__(
        self, requirements: Sequence[Requirement], variables: Sequence[Variable], table: CandidateTable
    ) -> None:
        self._types = {variable.name: variable.type for variable in variables}
        self._requirements = tuple(one for one in requirements if one.text != "true")
        self._kinds = {variable.name: variable.kind for variable in variables}
        self._every = (1 << len(table.ids)) - 1
        self._table = table
        parsed = {one.text: self._parsed(one) for one in self._requirements}
        self.names = {one.offer: tuple(sorted(parsed[one.text].names)) for one in self._requirements}
        self._roots = {text: expression.root for text, expression in parsed.items()}
        layout = Layout(Planner(table, self._kinds))
        by_text: dict[str, list[int]] = {}
        for one in self._requirements:
            by_text.setdefault(one.text, []).extend(one.places)
        for text, places in by_text.items():
            layout.add(fold_constants(self._roots[text]), places)
        self._all = layout.top.built(layout)
        self._slots = tuple(layout.slots.values())

    def judge(self, request: Request, channel: PerChannel) -> Held:
        """Return who is held back, given variable -> value and variable -> channel id -> value."""
        values = [slot.read(request) for slot in self._slots]
        unmet, unknown, causes = self._all.judge(values, request, channel, self._every)
        found = (word for cause in causes if cause.mask & unknown for word in cause.words)
        return Held(unmet, unknown, tuple(sorted(set(found))) if unknown else ())

    def judge_exactly(self, request: Request, channel: PerChannel) -> Held:
        """Return the same by evaluating each requirement for each candidate: slow, the reference of the tests."""
        unmet = unknown = 0
        causes: set[str] = set()
        for one in self._requirements:
            for place in one.places:
                values = self._row(place, request, channel)
                try:
                    unmet |= (not boolean(value_of(self._roots[one.text], values, {}))) << place
                except (Missing, EvaluationError) as error:
                    unknown |= 1 << place
                    causes.update(words(error))
        return Held(unmet, unknown, tuple(sorted(causes)))

    def _row(self, place: int, request: Request, channel: PerChannel) -> dict[str, object]:
        at = self._table.channels[place]
        return {
            **request,
            **{name: column[place] for name, column in self._table.columns.items()},
            **{name: per_channel.get(at) for name, per_channel in channel.items()},
        }

    def _parsed(self, one: Requirement) -> Expression:
        try:
            return parse(one.text, self._types, expect="bool")
        except ExpressionError as error:
            raise PolicyError(
                requirement_id(one.offer), "requires", error.message, error.line, error.column, error.nearest
            ) from None


def requirement_id(offer: str) -> str:
    """Return the rule id under which people see what an offer requires."""
    return f"offer.{offer}.requires"


# --- values of the request -------------------------------------------------------------------------------------------


class Lost(tuple[str, ...]):
    """Why a value is not there: the names of what is missing, or what failed."""

    __slots__ = ()


class Slot:
    """One value that terms read: a variable or an expression over the request; evaluated once per decision."""

    __slots__ = ("_class", "_evaluate", "_name", "_truth", "number")

    def __init__(self, node: Node, number: int, *, truth: bool) -> None:
        self.number = number
        self._truth = truth and node.type != "bool"
        self._name = node.name if isinstance(node, Name) else ""
        self._class = PLAIN.get(node.type) if isinstance(node, Name) else None
        expression = Expression("", node, node.type)
        names = sorted(expression.names)
        function = expression.function(names)
        self._evaluate: Callable[[Request], object] = lambda request: function(*map(request.get, names))

    def read(self, request: Request) -> object:
        """Return the value, or why there is none as Lost."""
        value = request.get(self._name)
        if value.__class__ is self._class and (value.__class__ is not int or INT_MIN <= value <= INT_MAX):
            return value
        try:
            value = self._evaluate(request)
            return boolean(value) if self._truth else value
        except (Missing, EvaluationError) as error:
            return Lost(words(error))


PLAIN: Mapping[str, type] = {"string": str, "bool": bool, "double": float, "int": int}
"""Types that the engine takes as they come."""

# --- terms -----------------------------------------------------------------------------------------------------------

class Ordered(msgspec.Struct, frozen=True):
    """All terms `value < constant` (or another order) of one value: who is decided is a stretch of the sorted keys."""

    slot: int
    members: int
    keys: tuple[Any, ...]
    ladder: Ladder
    upwards: bool
    inclusive: bool
    not_a_number: int

    def decided(self, value: Any) -> int:  # noqa: ANN401 - whatever its keys are
        if value != value:  # not a number: no order holds
            return self.not_a_number
        if self.upwards:  # decided where the constant is below the value
            return self.ladder.first((bisect_right if self.inclusive else bisect_left)(self.keys, value))
        side = bisect_left if self.inclusive else bisect_right
        return self.ladder.first(len(self.keys) - side(self.keys, value))


class Named(msgspec.Struct, frozen=True):
    """All terms `value == constant` or `value in [constants]` of one value; `others`: decided where it is not so."""

    slot: int
    members: int
    table: dict[object, int]
    others: bool

    def decided(self, value: object) -> int:
        found = self.table.get(value, 0)
        return self.members ^ found if self.others else found


class Tested(msgspec.Struct, frozen=True):
    """A term over the request alone; `when`: the truth that decides."""

    slot: int
    members: int
    when: bool

    def decided(self, value: object) -> int:
        return self.members if value is self.when else 0


class Planned(msgspec.Struct, frozen=True):
    """A term that also reads the candidate or its channel."""

    plan: Plan
    members: int
    when: bool


class Junction(msgspec.Struct, frozen=True):
    """Terms joined: decided where any has the truth that decides, false in a conjunction, true in a disjunction.

    A part is a junction of the other kind: it decides where all its own terms are against what decides it.
    """

    members: int
    terms: tuple[Ordered | Named | Tested, ...]
    planned: tuple[Planned, ...]
    parts: tuple[Junction, ...]

    def judge(
        self, values: Sequence[object], request: Request, channel: PerChannel, every: int
    ) -> tuple[int, int, list[Cause]]:
        """Return (who is decided, who has no answer, why)."""
        decided = unknown = 0
        causes: list[Cause] = []
        for term in self.terms:
            value = values[term.slot]
            if isinstance(value, Lost):
                unknown |= term.members
                causes.append(Cause(term.members, value))
            else:
                decided |= term.decided(value)
        for planned in self.planned:
            true, failed, why = masks_of(planned.plan, request, channel, every)
            decided |= planned.members & (true if planned.when else ~(true | failed))
            unknown |= planned.members & failed
            causes += [Cause(cause.mask & planned.members, cause.words) for cause in why]
        for part in self.parts:
            against, open_, reasons = part.judge(values, request, channel, every)
            decided |= part.members & ~(against | open_)
            unknown |= open_
            causes += [Cause(cause.mask & open_, cause.words) for cause in reasons]
        return decided, unknown & ~decided, causes


# --- building --------------------------------------------------------------------------------------------------------


class Key(NamedTuple):
    """Which index of a junction a term belongs to. node: as text, so that 0.0 and -0.0 differ. when: the truth that
    decides. layer: a second term of the same kind on one offer needs an index of its own."""

    kind: str
    node: str
    when: bool
    operator: str = ""
    layer: int = 0


class Draft:
    """A junction being laid out; `rows`: index -> constant -> places; `holders`: index -> who has a term there."""

    def __init__(self, decisive: bool) -> None:
        self.decisive = decisive
        self.members: set[int] = set()
        self.rows: dict[Key, dict[object, list[int]]] = {}
        self.holders: dict[Key, set[int]] = {}
        self.parts: list[Draft] = []

    def put(self, key: Key, constants: Sequence[object], places: Sequence[int]) -> None:
        """Add the term of some candidates."""
        table = self.rows.setdefault(key, {})
        for constant in constants:
            table.setdefault(constant, []).extend(places)
        self.holders.setdefault(key, set()).update(places)

    def built(self, layout: Layout) -> Junction:
        """Return it with its sets joined along every order."""
        terms: list[Ordered | Named | Tested] = []
        planned: list[Planned] = []
        for key, table in self.rows.items():
            members = mask_of_places(self.holders[key])
            if key.kind == "planned":
                planned.append(Planned(layout.planner.plan(layout.nodes[key.node]), members, key.when))
            elif key.kind == "tested":
                terms.append(Tested(layout.slot(key.node, truth=True), members, key.when))
            elif key.kind == "named":
                masks = {constant: mask_of_places(places) for constant, places in table.items()}
                terms.append(Named(layout.slot(key.node), members, masks, not key.when))
            else:
                terms.append(ordered(layout.slot(key.node), members, key, table))
        parts = tuple(part.built(layout) for part in self.parts)
        return Junction(mask_of_places(self.members), tuple(terms), tuple(planned), parts)


def ordered(slot: int, members: int, key: Key, table: dict[object, list[int]]) -> Ordered:
    """Return the index of `value <operator> constant`, decided where that is `key.when`."""
    sign = key.operator if key.when else OPPOSITE[key.operator]
    keys = sorted(table)  # type: ignore[type-var]
    upwards = sign in ("_>_", "_>=_")
    rows = [table[one] for one in (keys if upwards else reversed(keys))]
    return Ordered(
        slot, members, tuple(keys), Ladder(rows), upwards, sign in ("_>=_", "_<=_"), 0 if key.when else members
    )


class Layout:
    """Lays requirements over each other; see the module."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.top = Draft(decisive=False)
        self.nodes: dict[str, Node] = {}
        self.slots: dict[tuple[str, bool], Slot] = {}

    def slot(self, text: str, *, truth: bool = False) -> int:
        """Return the number of a value that terms read."""
        found = self.slots.get((text, truth))
        if found is None:
            found = self.slots[text, truth] = Slot(self.nodes[text], len(self.slots), truth=truth)
        return found.number

    def named(self, node: Node) -> str:
        """Return a node as the text it is known by."""
        text = repr(node)
        self.nodes.setdefault(text, node)
        return text

    def add(self, node: Node, places: Sequence[int]) -> None:
        """Lay one requirement over the others."""
        self.top.members.update(places)
        self.lay(self.top, placeless(node), places, negated=False, used={})

    def lay(
        self, draft: Draft, node: Node, places: Sequence[int], *, negated: bool, used: dict[int, int]
    ) -> None:
        """Put a node's terms where they belong. used: junction -> the last of its parts that this offer has."""
        if isinstance(node, Call) and node.function == "!_" and node.args[0].type == "bool":
            self.lay(draft, node.args[0], places, negated=not negated, used=used)
        elif isinstance(node, Call) and node.function in ("_&&_", "_||_"):
            decisive = (node.function == "_||_") != negated
            inside = draft
            if decisive != draft.decisive:
                number = used[id(draft)] = used.get(id(draft), -1) + 1
                if number == len(draft.parts):
                    draft.parts.append(Draft(decisive))
                inside = draft.parts[number]
                inside.members.update(places)
            for arg in node.args:
                self.lay(inside, arg, places, negated=negated, used=used)
        else:
            self.term(draft, node, places, when=draft.decisive != negated)

    def term(self, draft: Draft, node: Node, places: Sequence[int], *, when: bool) -> None:
        """Put one term into the index it belongs to."""
        if not self.planner.reads(node) <= {"request"}:
            draft.put(Key("planned", self.named(node), when), (None,), places)
        elif (compared := comparison(node)) is None:
            draft.put(Key("tested", self.named(node), when), (None,), places)
        elif compared[0] in OPPOSITE:
            operator, value, constants = compared
            draft.put(Key("ordered", self.named(value), when, operator), constants, places)
        else:
            operator, value, constants = compared
            key = Key("named", self.named(value), when != (operator == "_!=_"))
            while places[0] in draft.holders.get(key, ()):
                key = key._replace(layer=key.layer + 1)
            draft.put(key, constants, places)


def comparison(node: Node) -> tuple[str, Node, tuple[object, ...]] | None:
    """Return (operator, what is compared, with which constants), None when a node is no such comparison."""
    if not isinstance(node, Call):
        return None
    if node.function == "@in":
        left, right = node.args
        if left.type == "string" and isinstance(right, ListOf) and right.items:
            items = [item.value for item in right.items if isinstance(item, Const) and item.type == "string"]
            return ("in", left, tuple(dict.fromkeys(items))) if len(items) == len(right.items) else None
        return None
    if node.function not in SWAPPED:
        return None
    left, right, operator = *node.args, node.function
    if isinstance(left, Const):
        left, right, operator = right, left, SWAPPED[operator]
    if not isinstance(right, Const) or isinstance(left, Const) or left.type != right.type:
        return None
    if left.type not in INDEXED or right.value != right.value:
        return None
    return operator, left, (right.value,)


def placeless(node: Node) -> Node:
    """Return the node without where it stands in its text, so that equal terms of different offers are equal."""
    return msgspec.structs.replace(rebuild(node, placeless), offset=0)
