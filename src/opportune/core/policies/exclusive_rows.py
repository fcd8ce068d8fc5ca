"""Which rows of a decision table can apply together, with an example; and rows made so that only one does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from opportune.core.expressions import EvaluationError, Missing
from opportune.core.expressions.evaluate import value_of
from opportune.core.expressions.nodes import Node, walk
from opportune.core.expressions.parse import NODES_MAX, TEXT_CHARS_MAX
from opportune.core.expressions.written import literal

from .analysis import condition_of
from .compiled import validity
from .documents import Policy, PolicyError, Variable
from .explain import plainly
from .proofs import Goal, Steps, TooHard, Within, goal, impossible, possible
from .table_documents import CompiledRow, DecisionTable, TableProblem
from .worlds import ELSE, Worlds

STEPS_MAX = 200_000
OVERLAPS_TOLD_MAX = 20
PARTS_OF_VALIDITY = 10
SAYS = ("effect", "class_", "adjust", "obligations", "explore")
"""What two rows of hit policy `any` must agree on."""


def exclusive(
    table: DecisionTable, types: Mapping[str, str], rows: list[CompiledRow]
) -> tuple[list[CompiledRow], list[TableProblem]]:
    """The rows such that one applies at most: checked for `unique`, made so for `first` and `any`."""
    overlaps = _Overlaps(types, rows)
    problems: list[TableProblem] = []
    found: list[CompiledRow] = []
    for place, row in enumerate(rows):
        together = [other for other in rows[:place] if not overlaps.apart(other, row)]
        if table.hit_policy == "unique":
            problems += (one for other in together if (one := overlaps.problem(other, row)) is not None)
            found.append(row)
            continue
        if table.hit_policy == "any":
            problems += (one for other in together if (one := overlaps.disagreement(other, row)) is not None)
        longer = _excluding(row, together)
        if overlaps.too_long(longer, together):
            message = f"this row excludes {len(together)} rows above it, which is too much: split the table"
            problems.append(TableProblem(("rows", row.number), message))
        found.append(longer)
    return found, problems[:OVERLAPS_TOLD_MAX]


def _excluding(row: CompiledRow, others: Sequence[CompiledRow]) -> CompiledRow:
    """The row where none of the others applies. A row above without an answer leaves this one without an answer."""
    policy = row.policy
    when = policy.when
    for other in others:
        when += f" && !({_while_valid(other, policy)})"
    if when != policy.when and when.startswith("true && "):
        when = when.removeprefix("true && ")
    return row._replace(policy=msgspec.structs.replace(policy, when=when))


def _while_valid(other: CompiledRow, policy: Policy) -> str:
    """When another row applies; its validity is part of that where it differs from the policy's."""
    if (other.policy.valid_from, other.policy.valid_to) == (policy.valid_from, policy.valid_to):
        return other.own
    first, last = validity(other.policy)
    bounds = [] if first is None else [f"now >= {literal(first, 'timestamp')}"]
    bounds += [] if last is None else [f"now < {literal(last, 'timestamp')}"]
    return " && ".join([*bounds, other.own])


class _Overlaps:
    """Which rows can apply together, and an example where two certainly do."""

    def __init__(self, types: Mapping[str, str], rows: Sequence[CompiledRow]) -> None:
        self.types = types
        texts = {text for row in rows for text in (row.own, *(row.own[part.start : part.end] for part in row.parts))}
        self.nodes = {text: condition_of(text, types) for text in sorted(texts)}
        self.worlds = Worlds(self.nodes.values(), variables_of(types), {})
        self.valid = {row.policy.id: _validity(row.policy) for row in rows}
        self.worlds.also("now", [ms for bounds in self.valid.values() for ms in bounds if ms is not None])
        self.cells = {
            row.policy.id: {part.path[2]: row.own[part.start : part.end] for part in row.parts} for row in rows
        }
        self.known: dict[tuple[str, str], bool] = {}
        self.steps = Steps(STEPS_MAX)

    def apart(self, one: CompiledRow, other: CompiledRow) -> bool:
        """Whether one column alone keeps the rows apart: where either is true, the other is false."""
        theirs = self.cells[other.policy.id]
        return any(
            heading in theirs and self._contrary(text, theirs[heading])
            for heading, text in self.cells[one.policy.id].items()
        )

    def too_long(self, row: CompiledRow, others: Sequence[CompiledRow]) -> bool:
        """Whether the row's condition, with those of the others excluded, is more than an expression may be."""
        sizes = (sum(1 for _ in walk(self.nodes[one.own])) + PARTS_OF_VALIDITY for one in (row, *others))
        return len(row.policy.when) > TEXT_CHARS_MAX or (bool(others) and sum(sizes) > NODES_MAX)

    def _contrary(self, one: str, other: str) -> bool:
        key = (one, other)
        if key not in self.known:
            self.known[key] = self._settles(one, other) and self._settles(other, one)
        return self.known[key]

    def _settles(self, one: str, other: str) -> bool:
        """Whether `other` is false, and not without an answer, wherever `one` is true."""
        goals = [goal(self.worlds, self.nodes[one], "true"), goal(self.worlds, self.nodes[other], "not false")]
        return impossible(self.worlds, goals, Steps(2_000))

    def example(self, one: CompiledRow, other: CompiledRow) -> dict[str, object] | None:
        """Values for which both certainly apply; None when there are none, or none was found."""
        conditions = [self.nodes[row.own] for row in (one, other)]
        goals: list[Goal] = [goal(self.worlds, node, "true") for node in conditions]
        for row in (one, other):
            first, last = self.valid[row.policy.id]
            if first is not None or last is not None:
                fate = self.worlds.within("now", first, last)
                goals.append(Within(fate.axis, fate.true))
        try:
            box = possible(self.worlds, goals, self.steps)
        except TooHard:
            return None
        if box is None:
            return None
        values = {axis: self.worlds.value(axis, mask) for axis, mask in box.items() if axis in self.types}
        given = {name: value for name, value in values.items() if value is not None}
        return given if all(_true(node, given) for node in conditions) else None

    def problem(self, one: CompiledRow, other: CompiledRow) -> TableProblem | None:
        given = self.example(one, other)
        if given is None:
            return None
        message = f"rows {_row(one)} and {_row(other)} both apply{_when(given)}: make them exclude each other, or "
        return TableProblem(("rows", other.number), f"{message}choose hit policy `first`")

    def disagreement(self, one: CompiledRow, other: CompiledRow) -> TableProblem | None:
        if all(getattr(one.policy, name) == getattr(other.policy, name) for name in SAYS):
            return None
        given = self.example(one, other)
        if given is None:
            return None
        message = f"rows {_row(one)} and {_row(other)} both apply{_when(given)}, but do not say the same: with hit "
        return TableProblem(("rows", other.number), f"{message}policy `any` they must")


def variables_of(types: Mapping[str, str]) -> tuple[Variable, ...]:
    """The names as variables of a request."""
    return tuple(Variable(name, type_, "request") for name, type_ in types.items())


def _validity(policy: Policy) -> tuple[int | None, int | None]:
    try:
        return validity(policy)
    except PolicyError:  # told where policies are checked
        return None, None


def _true(node: Node, values: Mapping[str, object]) -> bool:
    try:
        return value_of(node, values, {}) is True
    except (Missing, EvaluationError):
        return False


def _row(row: CompiledRow) -> str:
    return f"`{row.policy.id.rpartition('.')[2]}`"


def _when(given: Mapping[str, object]) -> str:
    words = [f"`{name}` is {'anything else' if value == ELSE else plainly(value)}" for name, value in given.items()]
    return f" when {' and '.join(words[:6])}" if words else " always"
