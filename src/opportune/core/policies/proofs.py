"""Proofs about conditions: whether any decision at all makes some of them true and others not.

A condition is asked in four ways: is it TRUE, is it FALSE, is it not true, is it not false. The last two differ from
the first two where a value is missing. `possible` looks for classes of every variable that answer all goals; it finds
one, or there is none, or it gives up after STEPS_MAX steps, in which case nothing may be said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

from opportune.core.expressions.nodes import Call, Const, Node

from .worlds import Fate, Worlds

STEPS_MAX = 20_000
Mode: TypeAlias = Literal["true", "false", "not true", "not false"]
Box: TypeAlias = dict[str, int]
"""Axis -> the classes that are left of it; an axis that is not in it may be anything."""

OPPOSITE: dict[Mode, Mode] = {"true": "false", "false": "true", "not true": "not false", "not false": "not true"}


class TooHard(Exception):
    """The search took too many steps: nothing is claimed."""


class Within(msgspec.Struct, frozen=True):
    """One of these classes of an axis."""

    axis: str
    classes: int


class All(msgspec.Struct, frozen=True):
    """Every one of these."""

    of: tuple[Goal, ...]


class Either(msgspec.Struct, frozen=True):
    """At least one of these."""

    of: tuple[Goal, ...]


Goal: TypeAlias = Within | All | Either
NEVER = Either(())
ALWAYS = All(())


class Steps:
    """How many steps are left; `take` raises TooHard when there are none."""

    def __init__(self, most: int = STEPS_MAX) -> None:
        self.left = most

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise TooHard


def goal(worlds: Worlds, node: Node, mode: Mode) -> Goal:
    """What must hold for a condition to be true, false, not true or not false (`&&` and `||` absorb as CEL's do)."""
    if isinstance(node, Const):
        return ALWAYS if (node.value is True) == (mode in ("true", "not false")) else NEVER
    if isinstance(node, Call) and node.function in ("_&&_", "_||_"):
        parts = tuple(goal(worlds, arg, mode) for arg in node.args)
        return All(parts) if (node.function == "_&&_") == (mode in ("true", "not false")) else Either(parts)
    if isinstance(node, Call) and node.function == "!_":
        return goal(worlds, node.args[0], OPPOSITE[mode])
    if isinstance(node, Call) and node.function == "_?_:_" and node.type == "bool":
        return choice(worlds, node, mode)
    return classes(worlds, worlds.fate(node), mode)


def choice(worlds: Worlds, node: Call, mode: Mode) -> Goal:
    """`c ? a : b` is true where c and a are, or c is false and b is true; not true where neither is so."""
    condition, then, otherwise = node.args
    joined, around = (All, Either) if mode in ("true", "false") else (Either, All)
    taken: tuple[Mode, Mode] = ("true", "false") if joined is All else ("not true", "not false")
    return around(
        (
            joined((goal(worlds, condition, taken[0]), goal(worlds, then, mode))),
            joined((goal(worlds, condition, taken[1]), goal(worlds, otherwise, mode))),
        )
    )


def classes(worlds: Worlds, fate: Fate, mode: Mode) -> Goal:
    """The classes in which an atom answers so."""
    mask = {
        "true": fate.true,
        "false": fate.false,
        "not true": worlds.every(fate.axis) & ~fate.true,
        "not false": worlds.every(fate.axis) & ~fate.false,
    }[mode]
    return Within(fate.axis, mask)


def possible(worlds: Worlds, goals: Iterable[Goal], steps: Steps | None = None) -> Box | None:
    """Classes in which all goals hold, None when there are none; raises TooHard."""
    return _search(worlds, list(goals), {}, steps or Steps())


def impossible(worlds: Worlds, goals: Iterable[Goal], steps: Steps | None = None) -> bool:
    """Whether it is certain that the goals never hold together; False also when that was too hard to find out."""
    try:
        return possible(worlds, goals, steps) is None
    except TooHard:
        return False


def core(worlds: Worlds, goals: Sequence[Goal]) -> tuple[int, ...]:
    """The places of goals that are impossible by themselves, so few that each is needed; all when too hard."""
    kept = list(range(len(goals)))
    for place in range(len(goals)):
        rest = [one for one in kept if one != place]
        if impossible(worlds, [goals[one] for one in rest]):
            kept = rest
    return tuple(kept)


def _search(worlds: Worlds, goals: list[Goal], box: Box, steps: Steps) -> Box | None:
    """Narrow by what must hold, then try the alternatives of the goal that has the fewest."""
    choices = _narrowed(worlds, goals, box, steps)
    while choices:
        left: list[tuple[Goal, ...]] = []
        forced: list[Goal] = []
        for alternatives in choices:
            open_ = tuple(one for one in alternatives if _fits(worlds, one, box))
            if not open_:
                return None
            if any(_holds(worlds, one, box) for one in open_):
                continue
            if len(open_) == 1:
                forced.append(open_[0])
            else:
                left.append(open_)
        if not forced:
            choices = left
            break
        more = _narrowed(worlds, forced, box, steps)
        if more is None:
            return None
        choices = [*left, *more]
    if choices is None:
        return None
    if not choices:
        return box
    fewest = min(choices, key=len)
    rest: list[Goal] = [Either(one) for one in choices if one is not fewest]
    for alternative in fewest:
        steps.take()
        found = _search(worlds, [alternative, *rest], dict(box), steps)
        if found is not None:
            return found
    return None


def _narrowed(worlds: Worlds, goals: Iterable[Goal], box: Box, steps: Steps) -> list[tuple[Goal, ...]] | None:
    """Take what must hold out of the box; the alternatives that are left to choose from, None when nothing is left."""
    choices: list[tuple[Goal, ...]] = []
    todo = list(goals)
    while todo:
        one = todo.pop()
        steps.take()
        if isinstance(one, Within):
            left = box.get(one.axis, worlds.every(one.axis)) & one.classes
            if not left:
                return None
            box[one.axis] = left
        elif isinstance(one, All):
            todo.extend(one.of)
        else:
            choices.append(one.of)
    return choices


def _fits(worlds: Worlds, one: Goal, box: Box) -> bool:
    """Whether a goal can still hold, as far as can be seen at once."""
    if isinstance(one, Within):
        return bool(box.get(one.axis, worlds.every(one.axis)) & one.classes)
    if isinstance(one, All):
        return all(_fits(worlds, part, box) for part in one.of)
    return any(_fits(worlds, part, box) for part in one.of)


def _holds(worlds: Worlds, one: Goal, box: Box) -> bool:
    """Whether a goal holds in all of the box, as far as can be seen at once."""
    if isinstance(one, Within):
        return not box.get(one.axis, worlds.every(one.axis)) & ~one.classes
    if isinstance(one, All):
        return all(_holds(worlds, part, box) for part in one.of)
    return any(_holds(worlds, part, box) for part in one.of)
