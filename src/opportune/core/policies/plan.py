"""A policy's condition taken apart by what it reads, and its exact evaluation to masks.

Every part answers with two masks over the candidates: where it is true, and where it has no answer (a missing
value or a failing operation). The rest is false. Absorption is CEL's, bit by bit: false and no answer is false,
true or no answer is true.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from opportune.core.bitsets import Ladder, indices, mask_of_places
from opportune.core.expressions import EvaluationError, Missing
from opportune.core.expressions.evaluate import value_of
from opportune.core.expressions.nodes import Call, Node, free_names
from opportune.core.expressions.values import boolean

from .documents import CandidateTable

SWAPPED = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_", "_==_": "_==_", "_!=_": "_!=_"}
INDEXED = frozenset(("int", "double", "string", "timestamp", "duration"))
Request: TypeAlias = Mapping[str, object]
PerChannel: TypeAlias = Mapping[str, Mapping[str, object]]


class Cause(NamedTuple):
    """Why candidates got no answer: the names of missing values, or what failed."""

    mask: int
    words: tuple[str, ...]


class Masks(NamedTuple):
    """Where a part is true, where it has no answer, and why."""

    true: int
    failed: int = 0
    causes: tuple[Cause, ...] = ()


class Group(msgspec.Struct, frozen=True):
    """Candidates that look the same to a part: one channel (None when it does not matter) and one set of values."""

    channel: str | None
    values: dict[str, object]
    mask: int


class Fixed(msgspec.Struct, frozen=True):
    """A part that is known when the release is made."""

    masks: Masks


class Guard(msgspec.Struct, frozen=True):
    """A part that reads only the request: all candidates or none."""

    node: Node


class Groups(msgspec.Struct, frozen=True):
    """A part evaluated once per distinct look of the candidates."""

    node: Node
    groups: tuple[Group, ...]


class Index(msgspec.Struct, frozen=True):
    """A comparison of a candidate's value with a request's: `operator` reads candidate first.

    keys: the distinct candidate values, sorted; prefixes.first(i): the candidates with one of the first i keys;
    known: all candidates that have a value; unknown: why the others have none.
    """

    operator: str
    request: Node
    keys: list[object]
    prefixes: Ladder
    table: dict[object, int]
    known: int
    unknown: Masks


class Both(msgspec.Struct, frozen=True):
    """`&&` (decisive False) or `||` (decisive True) of parts."""

    decisive: bool
    parts: tuple["Plan", ...]


class Not(msgspec.Struct, frozen=True):
    """`!`."""

    part: "Plan"


class Choice(msgspec.Struct, frozen=True):
    """`?:` between two conditions."""

    condition: "Plan"
    then: "Plan"
    otherwise: "Plan"


Plan: TypeAlias = Fixed | Guard | Groups | Index | Both | Not | Choice


class Planner:
    """Takes conditions apart for one candidate table; kinds: variable -> request, candidate or channel."""

    def __init__(self, table: CandidateTable, kinds: Mapping[str, str]) -> None:
        self.table = table
        self.kinds = kinds
        self.all = (1 << len(table.ids)) - 1

    def reads(self, node: Node) -> frozenset[str]:
        """Return the kinds of the variables a node reads."""
        return frozenset(self.kinds[name] for name in free_names(node))

    def plan(self, node: Node) -> Plan:
        """Return the node's plan; it must be a condition."""
        reads = self.reads(node)
        if not reads or reads == {"candidate"}:
            return Fixed(self.fixed(node))
        if reads == {"request"}:
            return Guard(node)
        if isinstance(node, Call):
            if node.function in ("_&&_", "_||_"):
                return self.both(node)
            if node.function == "!_":
                return Not(self.plan(node.args[0]))
            if node.function == "_?_:_" and node.type == "bool":
                return Choice(*(self.plan(arg) for arg in node.args))
            index = self.index(node)
            if index is not None:
                return index
        return Groups(node, self.groups(node))

    def both(self, node: Call) -> Both:
        """Join what is of one kind, so that each kind is evaluated at one go; guards come first."""
        by_kind: dict[object, list[Node]] = {"request": [], "candidate": [], "channel": []}
        for place, arg in enumerate(node.args):
            reads = self.reads(arg)
            kind: object = next(iter(reads)) if len(reads) == 1 else place if reads else "candidate"
            by_kind.setdefault(kind, []).append(arg)
        parts = [
            args[0] if len(args) == 1 else msgspec.structs.replace(node, args=tuple(args))
            for args in by_kind.values()
            if args
        ]
        if len(parts) == 1:  # all of one kind that is no kind of its own: channel
            return Both(node.function == "_||_", (Groups(parts[0], self.groups(parts[0])),))
        return Both(node.function == "_||_", tuple(self.plan(part) for part in parts))

    def groups(self, node: Node) -> tuple[Group, ...]:
        """Return the candidates grouped by what the node can see of them."""
        names = sorted(name for name in free_names(node) if self.kinds[name] == "candidate")
        by_channel = "channel" in self.reads(node)
        columns = [self.table.columns[name] for name in names]
        found: dict[object, list[int]] = {}
        for row in range(len(self.table.ids)):
            channel = self.table.channels[row] if by_channel else None
            key = (channel, *((type(column[row]), repr(column[row])) for column in columns))
            found.setdefault(key, []).append(row)
        return tuple(
            Group(
                self.table.channels[rows[0]] if by_channel else None,
                {name: column[rows[0]] for name, column in zip(names, columns, strict=True)},
                mask_of_places(rows),
            )
            for rows in found.values()
        )

    def fixed(self, node: Node) -> Masks:
        return of_groups(node, self.groups(node), {}, {})

    def index(self, node: Call) -> Index | None:
        """Return the node as a look-up, None when it is no comparison of a candidate's value with a request's."""
        if node.function in SWAPPED:
            left, right = node.args
            operator = node.function
            if self.reads(left) == {"request"}:
                left, right, operator = right, left, SWAPPED[operator]
            comparable = left.type == right.type and (
                left.type in INDEXED or (left.type == "bool" and operator in ("_==_", "_!=_"))
            )
        elif node.function == "@in":
            (left, right), operator = node.args, "in"
            comparable = left.type == "string" and right.type == "list(string)"
        else:
            return None
        if not comparable or self.reads(left) != {"candidate"} or self.reads(right) != {"request"}:
            return None
        return self.indexed(operator, left, right)

    def indexed(self, operator: str, left: Node, right: Node) -> Index | None:
        table: dict[object, int] = {}
        known, failed, causes = 0, 0, []
        for group in self.groups(left):
            try:
                key = value_of(left, group.values, {})
            except (Missing, EvaluationError) as error:
                failed |= group.mask
                causes.append(Cause(group.mask, words(error)))
                continue
            if key != key:  # not a number: no order, leave it to the exact evaluation
                return None
            known |= group.mask
            table[key] = table.get(key, 0) | group.mask
        keys = sorted(table)  # type: ignore[type-var]
        prefixes = Ladder([indices(table[key]) for key in keys])
        return Index(operator, right, keys, prefixes, table, known, Masks(0, failed, tuple(causes)))


def words(error: Missing | EvaluationError) -> tuple[str, ...]:
    """Return the causes a failure reports: the names of missing values, or the sentence of the error."""
    return error.names if isinstance(error, Missing) else (str(error),)


def because(causes: Sequence[Cause], lost: int) -> tuple[str, ...]:
    """Return the words of the causes that touch the lost candidates, each once."""
    return tuple(dict.fromkeys(word for cause in causes if cause.mask & lost for word in cause.words))


def masks_of(plan: Plan, request: Request, channel: PerChannel, every: int) -> Masks:
    """Return where a plan is true and where it has no answer. every: the mask of all candidates."""
    match plan:
        case Fixed():
            return plan.masks
        case Guard():
            return of_groups(plan.node, (Group(None, {}, every),), request, channel)
        case Groups():
            return of_groups(plan.node, plan.groups, request, channel)
        case Index():
            return of_index(plan, request)
        case Not():
            part = masks_of(plan.part, request, channel, every)
            return part._replace(true=every & ~(part.true | part.failed))
        case Both():
            return of_both(plan, [masks_of(part, request, channel, every) for part in plan.parts], every)
    condition, then, otherwise = (
        masks_of(part, request, channel, every) for part in (plan.condition, plan.then, plan.otherwise)
    )
    no = every & ~(condition.true | condition.failed)
    return Masks(
        (condition.true & then.true) | (no & otherwise.true),
        condition.failed | (condition.true & then.failed) | (no & otherwise.failed),
        condition.causes + then.causes + otherwise.causes,
    )


def of_both(plan: Both, parts: Sequence[Masks], every: int) -> Masks:
    """Absorb as CEL does: where one part decides, the failures of the others do not count."""
    true, false = (0, every) if plan.decisive else (every, 0)
    for part in parts:
        no = every & ~(part.true | part.failed)
        if plan.decisive:
            true, false = true | part.true, false & no
        else:
            true, false = true & part.true, false | no
    return Masks(true, every & ~(true | false), tuple(cause for part in parts for cause in part.causes))


def of_groups(node: Node, groups: Sequence[Group], request: Request, channel: PerChannel) -> Masks:
    true = failed = 0
    causes: list[Cause] = []
    for group in groups:
        try:
            if boolean(value_of(node, row(group, request, channel), {})):
                true |= group.mask
        except (Missing, EvaluationError) as error:
            failed |= group.mask
            causes.append(Cause(group.mask, words(error)))
    return Masks(true, failed, tuple(causes))


def row(group: Group, request: Request, channel: PerChannel) -> dict[str, object]:
    """Return all values the candidates of a group see."""
    values = {**request, **group.values}
    if group.channel is not None:
        for name, per_channel in channel.items():
            values[name] = per_channel.get(group.channel)
    return values


def of_index(index: Index, request: Request) -> Masks:
    try:
        value = value_of(index.request, request, {})
    except (Missing, EvaluationError) as error:
        every = index.known | index.unknown.failed
        return Masks(0, every, (Cause(every, words(error)), *index.unknown.causes))
    return index.unknown._replace(true=pick(index, value))


def pick(index: Index, value: object) -> int:
    """Return the candidates whose value stands in the index' relation to the request's value."""
    if index.operator == "in":
        true = 0
        for item in value:  # type: ignore[attr-defined]
            true |= index.table.get(item, 0)
        return true
    if index.operator == "_==_":
        return index.table.get(value, 0)
    if index.operator == "_!=_":
        return index.known ^ index.table.get(value, 0)
    if value != value:
        return 0
    side = bisect_left if index.operator in ("_<_", "_>=_") else bisect_right
    below = index.prefixes.first(side(index.keys, value))  # type: ignore[call-overload]
    return below if index.operator in ("_<_", "_<=_") else index.known ^ below
