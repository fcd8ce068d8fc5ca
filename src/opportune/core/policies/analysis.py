"""What is certainly wrong between policies: rules that are never true, contradict each other or never matter.

Everything said here is proved over all decisions there can be (see `worlds` and `proofs`); what cannot be proved is
not mentioned. A missing value counts: a legal or consent policy without an answer forbids, other forbids do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from opportune.core.expressions import parse
from opportune.core.expressions.evaluate import fold_constants
from opportune.core.expressions.nodes import Call, Node, free_names, walk
from opportune.core.expressions.written import written
from opportune.core.wording import closest, listed, quoted

from .compiled import validity
from .documents import HARD_CLASSES, Policy
from .proofs import ALWAYS, All, Either, Goal, Steps, TooHard, Within, core, goal, impossible, possible
from .worlds import PLACE, Worlds, compared

STEPS_OF_ALL_MAX = 400_000
"""For everything about one playbook together; when they are used up, nothing more is claimed."""

Level = Literal["warning", "note"]


class Remark(msgspec.Struct, frozen=True):
    """Something that is certain about a document: where (`line` and `column` count inside the field), what, the fix."""

    collection: str
    document: str
    path: tuple[str | int, ...]
    message: str
    level: Level = "warning"
    line: int = 1
    column: int = 1
    nearest: str | None = None


class Rule(NamedTuple):
    """A policy with its condition, and when it is valid."""

    policy: Policy
    node: Node
    valid: Goal

    @property
    def hard(self) -> bool:
        return self.policy.class_ in HARD_CLASSES


class Scene(NamedTuple):
    """The policies in the worlds they are asked in. `background` holds in every decision. `known`: variable -> what it
    can be called. `own`: rows of a decision table of which only one counts -> their own condition, in order."""

    worlds: Worlds
    rules: tuple[Rule, ...]
    background: tuple[Goal, ...] = ()
    known: Mapping[str, Sequence[str]] = {}
    own: Mapping[str, Node] = {}


def condition_of(text: str, types: Mapping[str, str]) -> Node:
    """The condition with its constant parts worked out; ExpressionError when it does not compile."""
    return fold_constants(parse(text, types, expect="bool").root)


def rules_of(policies: Sequence[Policy], nodes: Sequence[Node], worlds: Worlds) -> tuple[Rule, ...]:
    """The policies ready to be asked about; `now` must have been cut at their validity."""
    return tuple(Rule(one, node, valid_goal(one, worlds)) for one, node in zip(policies, nodes, strict=True))


def valid_goal(policy: Policy, worlds: Worlds) -> Goal:
    first, last = validity(policy)
    if first is None and last is None:
        return ALWAYS
    fate = worlds.within("now", first, last)
    return Within(fate.axis, fate.true)


def hits(worlds: Worlds, rule: Rule) -> Goal:
    """The rule is valid and its condition true."""
    return All((rule.valid, goal(worlds, rule.node, "true")))


def holds(worlds: Worlds, rule: Rule) -> Goal:
    """A forbid holds back: its condition is true, or has no answer where law or consent is at stake."""
    return All((rule.valid, goal(worlds, rule.node, "not false" if rule.hard else "true")))


def passes(worlds: Worlds, rule: Rule) -> Goal:
    """A forbid does not hold back."""
    outside = ALWAYS if rule.valid is ALWAYS else _outside(worlds, rule.valid)
    inside = goal(worlds, rule.node, "false" if rule.hard else "not true")
    return inside if rule.valid is ALWAYS else Either((outside, inside))


def _outside(worlds: Worlds, valid: Goal) -> Goal:
    assert isinstance(valid, Within)
    return Within(valid.axis, worlds.every(valid.axis) & ~valid.classes)


def remarks(scene: Scene, steps: Steps | None = None) -> tuple[Remark, ...]:
    """Everything certain about the policies, in their order."""
    steps = steps or Steps(STEPS_OF_ALL_MAX)
    found: list[Remark] = []
    walls = total_forbids(scene)
    for rule in scene.rules:
        strange = list(strangers(scene, "policies", rule.policy.id, "when", rule.policy.when, rule.node))
        found += strange
        never = None if strange else never_true(scene, rule)
        if never is not None:
            found.append(never)
        elif rule in walls:
            message = "this forbids every offer to everybody, so nothing can ever be offered. Narrow the condition"
            found.append(Remark("policies", rule.policy.id, ("when",), message))
        elif not strange and not walls:  # beside a total forbid nothing else matters
            try:
                found += (one for one in (_useless(scene, rule, steps),) if one is not None)
            except TooHard:
                continue
    return tuple(found)


def total_forbids(scene: Scene) -> tuple[Rule, ...]:
    """The forbids that always hold back everything, and that nothing overrides."""
    forced = any(one.policy.effect == "force" for one in scene.rules)
    forbids = (one for one in scene.rules if one.policy.effect == "forbid" and (one.hard or not forced))
    return tuple(one for one in forbids if impossible(scene.worlds, [passes(scene.worlds, one), *scene.background]))


def strangers(scene: Scene, collection: str, document: str, field: str, text: str, node: Node) -> Iterator[Remark]:
    """Comparisons with a name that does not exist, such as a moment of another playbook."""
    for part in walk(node):
        for name, value in compared(part):
            known = scene.known.get(name)
            if known is None or not isinstance(value, str) or value in known:
                continue
            line, column = place_of(text, part, value)
            near = closest(value, known)
            message = f"`{name}` is never {quoted(value)}"
            if near is None:
                message += f": it is {'one of ' if len(known) > 1 else ''}{listed(known)}" if known else ""
            yield Remark(collection, document, (field,), message, "warning", line, column, near)


def never_true(scene: Scene, rule: Rule) -> Remark | None:
    """A condition that no decision can make true, with the parts that exclude each other."""
    worlds, parts = scene.worlds, conjuncts(rule.node)
    goals = [goal(worlds, part, "true") for part in parts]
    everything = [*goals, rule.valid, *scene.background]
    if not impossible(worlds, everything):
        return None
    policy = rule.policy
    if policy.id in scene.own:
        own = scene.own[policy.id]
        if not impossible(worlds, [goal(worlds, own, "true"), rule.valid, *scene.background]):
            return Remark("policies", policy.id, ("when",), _row_never_reached(scene, rule, own))
    if impossible(worlds, [rule.valid]):
        field = "valid_to" if policy.valid_to else "valid_from"
        message = "this is never valid at the time that is looked at. Move the date, or remove the rule"
        return Remark("policies", policy.id, (field,), message)
    needed = core(worlds, everything)
    guilty = [parts[place] for place in needed if place < len(parts)]
    line, column = place_of(policy.when, guilty[0]) if guilty else (1, 1)
    message = _why_never(
        worlds, guilty, any(place == len(parts) for place in needed), any(place > len(parts) for place in needed)
    )
    if rule.hard and policy.effect == "forbid":
        message += "; it can only hold back where a value is missing"
    return Remark("policies", policy.id, ("when",), message, "warning", line, column)


def _why_never(worlds: Worlds, guilty: Sequence[Node], valid: bool, around: bool) -> str:
    texts = [f"`{written(part)}`" for part in guilty]
    names = sorted(frozenset[str]().union(*(free_names(part) for part in guilty)))
    declared = [f"`{name}` {why}" for name in names if (why := declared_as(worlds, name, len(texts)))]
    if not texts:
        return "this is never valid while any of its candidates is"
    if len(texts) == 1:
        message = f"{texts[0]} is never true"
    else:
        message = f"{', '.join(texts[:-1])} and {texts[-1]} are never true together"
    if valid:
        message += " while this is valid"
    axes = {worlds.fate(atom).axis for part in guilty for atom in atoms_of(part)}
    if PLACE in axes:
        message += ": no offer of the playbook, in a channel its moments use, is so"
    elif declared:
        message += f": {'; '.join(declared)}"
    elif around:
        message += " at any moment of the playbook"
    return message + ". Change the condition, or remove the rule"


def declared_as(worlds: Worlds, name: str, parts: int) -> str:
    """What a variable can be, in words, where that is why these parts are never true."""
    domain = worlds.domains.get(name)
    return "" if domain is None or (parts > 1 and domain.values is None) else domain.why


def _row_never_reached(scene: Scene, rule: Rule, own: Node) -> str:
    worlds = scene.worlds
    for id_, earlier in scene.own.items():
        if id_ == rule.policy.id:
            break
        if id_.rpartition(".")[0] != rule.policy.id.rpartition(".")[0]:
            continue
        goals = [goal(worlds, own, "true"), goal(worlds, earlier, "not true"), rule.valid, *scene.background]
        if impossible(worlds, goals):
            return (
                f"this row is never reached: row `{id_.rpartition('.')[2]}` above covers it. Move it up, or remove it"
            )
    return "this row is never reached: the rows above cover it together. Move it up, or remove it"


def _useless(scene: Scene, rule: Rule, steps: Steps) -> Remark | None:
    """A rule that can be true but never changes an answer, because others always hold back what it hits."""
    effect, id_ = rule.policy.effect, rule.policy.id
    forbids = [one for one in scene.rules if one.policy.effect == "forbid" and one.policy.id != id_]
    if effect == "forbid":
        return _shadowed(scene, rule, forbids, steps)
    # A force lifts the forbids of the soft classes: where there is one, only law and consent are certain.
    if effect == "force" or (effect != "permit" and any(one.policy.effect == "force" for one in scene.rules)):
        forbids = [one for one in forbids if one.hard]
    covering = covered_by(scene, hits(scene.worlds, rule), forbids, steps)
    if not covering:
        return None
    named = listed([one.policy.id for one in covering])
    always = f"what it hits is always forbidden by {named}"
    same = len(covering) == 1 and written(covering[0].node) == written(rule.node)
    message = {
        "permit": f"this permit never lets anything through: {always}",
        "force": f"this override never wins: {always}, which nothing overrides",
        "require_review": f"nobody will ever be asked: {always}",
        "adjust": f"this lever never counts: {always}",
    }[effect]
    if same:
        message += " under the very same condition"
    fix = "Narrow the forbid, or remove this rule" if len(covering) == 1 else "Remove this rule, or narrow them"
    return Remark("policies", id_, ("when",), f"{message}. {fix}")


def _shadowed(scene: Scene, rule: Rule, forbids: Sequence[Rule], steps: Steps) -> Remark | None:
    """A forbid that never holds anything back which another does not; of two equal ones, the later."""
    places = {one.policy.id: place for place, one in enumerate(scene.rules)}
    for other in forbids:
        if rule.hard and not other.hard:
            continue  # a force lifts the other, not this one
        if not _covers(scene, rule, other, steps):
            continue
        equal = (rule.hard or not other.hard) and _covers(scene, other, rule, steps)
        if equal and places[other.policy.id] > places[rule.policy.id]:
            continue
        message = f"`{other.policy.id}` already forbids everything this forbids: keep it for its reason, or remove it"
        return Remark("policies", rule.policy.id, ("when",), message, "note")
    return None


def _covers(scene: Scene, rule: Rule, other: Rule, steps: Steps) -> bool:
    goals = [holds(scene.worlds, rule), passes(scene.worlds, other), *scene.background]
    return possible(scene.worlds, goals, steps) is None


def covered_by(scene: Scene, what: Goal, forbids: Sequence[Rule], steps: Steps) -> tuple[Rule, ...]:
    """So few forbids that together always hold back `what`; none when they do not, or `what` is never so."""
    worlds = scene.worlds
    gates = [passes(worlds, one) for one in forbids]
    if possible(worlds, [what, *gates, *scene.background], steps) is not None:
        return ()
    for rule, gate in zip(forbids, gates, strict=True):
        if possible(worlds, [what, gate, *scene.background], steps) is None:
            return (rule,)
    kept = list(range(len(gates)))
    for place in range(len(gates)):
        rest = [one for one in kept if one != place]
        if possible(worlds, [what, *(gates[one] for one in rest), *scene.background], steps) is None:
            kept = rest
    return tuple(forbids[one] for one in kept)


def conjuncts(node: Node) -> tuple[Node, ...]:
    """The parts that must all be true."""
    return node.args if isinstance(node, Call) and node.function == "_&&_" else (node,)


def atoms_of(node: Node) -> Iterator[Node]:
    """The parts of a condition that are no `&&`, `||`, `!` or choice."""
    if isinstance(node, Call) and node.type == "bool" and node.function in ("_&&_", "_||_", "!_", "_?_:_"):
        for arg in node.args:
            yield from atoms_of(arg)
    else:
        yield node


def place_of(text: str, part: Node, value: str | None = None) -> tuple[int, int]:
    """Line and column (from 1) of where a part of the text begins, or of a quoted value in it."""
    at = min(node.offset for node in walk(part))
    if value is not None:
        quoted_at = [text.find(f"{sign}{value}{sign}", at) for sign in "'\""]
        at = min((one for one in quoted_at if one >= 0), default=at)
    before = text[:at].split("\n")
    return len(before), len(before[-1]) + 1
