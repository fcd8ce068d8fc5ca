"""Everything about one policy on a card: in words, what it reads, what it can hit, what it overlaps with, its tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from opportune.core.expressions import EvaluationError, Missing, parse
from opportune.core.expressions.evaluate import value_of
from opportune.core.expressions.written import written
from opportune.core.features import CompiledViews
from opportune.core.playbook import Playbook
from opportune.core.policies import Policy, TestResult, Variable, compile_policies, run_policy_tests
from opportune.core.policies.analysis import Rule, atoms_of, condition_of, hits
from opportune.core.policies.checks import given_value
from opportune.core.policies.in_words import EFFECTS, parts_in_words, without_an_answer
from opportune.core.policies.proofs import Steps, TooHard, Within, possible
from opportune.core.policies.worlds import PLACE
from opportune.core.reach import Stage, stage_of
from opportune.core.releases import variables_of

STEPS_EACH_MAX = 5_000


class Overlap(msgspec.Struct, frozen=True):
    """Another rule that can hit the same candidate in the same decision."""

    policy: str
    effect: str
    policy_class: str


class RuleCard(msgspec.Struct, frozen=True):
    """`when_all` are the parts that must hold, in words (none: always). `candidates` are those it may hit; None when
    that is too hard to say, as for `overlaps`."""

    policy: Policy
    does: str
    when_all: tuple[str, ...]
    without_an_answer: str
    reads: tuple[Variable, ...]
    candidates: tuple[str, ...] | None
    overlaps: tuple[Overlap, ...] | None
    tests: tuple[TestResult, ...]


class Untested(msgspec.Struct, frozen=True):
    """A part of a condition that is never `never` in any test of its policy."""

    policy: str
    part: str
    never: str


def rule_card(playbook: Playbook, views: CompiledViews, id_: str) -> RuleCard:
    """The card of a policy that the playbook has; KeyError otherwise."""
    policy = {one.id: one for one in playbook.policies}[id_]
    variables = variables_of(playbook, views)
    types = {variable.name: variable.type for variable in variables}
    names = parse(policy.when, types).names
    if policy.adjust is not None:
        names |= parse(policy.adjust, types).names
    stage = stage_of(playbook, views)
    rule = None if stage is None else next(one for one in stage.scene.rules if one.policy.id == id_)
    return RuleCard(
        policy=policy,
        does=EFFECTS[policy.effect],
        when_all=parts_in_words(condition_of(policy.when, types)),
        without_an_answer=without_an_answer(policy),
        reads=tuple(variable for variable in variables if variable.name in names),
        candidates=() if stage is None or rule is None else _candidates(stage, rule),
        overlaps=() if stage is None or rule is None else _overlaps(stage, rule),
        tests=run_policy_tests([policy], variables),
    )


def source_of(playbook: Playbook, views: CompiledViews, id_: str) -> str:
    """The Python that judges this policy alone."""
    stage = stage_of(playbook, views)
    policy = next(one for one in playbook.policies if one.id == id_)
    if stage is None:
        return ""
    return compile_policies([policy], variables_of(playbook, views), stage.places.table).source


def _candidates(stage: Stage, rule: Rule) -> tuple[str, ...] | None:
    worlds, places = stage.scene.worlds, stage.places
    left, found = places.open, 0
    steps = Steps(STEPS_EACH_MAX)
    try:
        while left:
            goals = [Within(PLACE, left), hits(worlds, rule), *stage.scene.background]
            box = possible(worlds, goals, steps)
            if box is None:
                break
            found |= box[PLACE] & left
            left &= ~box[PLACE]
    except TooHard:
        return None
    hit = places.candidates(found)
    return tuple(id_ for place, id_ in enumerate(places.table.ids) if hit >> place & 1)


def _overlaps(stage: Stage, rule: Rule) -> tuple[Overlap, ...] | None:
    worlds, found = stage.scene.worlds, list[Overlap]()
    steps = Steps(STEPS_EACH_MAX)
    try:
        for other in stage.scene.rules:
            if other.policy.id == rule.policy.id:
                continue
            goals = [hits(worlds, rule), hits(worlds, other), *stage.scene.background]
            if possible(worlds, goals, steps) is not None:
                found.append(Overlap(other.policy.id, other.policy.effect, other.policy.class_))
    except TooHard:
        return None
    return tuple(found)


def untested_parts(policies: Sequence[Policy], variables: Sequence[Variable]) -> tuple[Untested, ...]:
    """The parts of conditions that no test of their policy makes true, or false."""
    types = {variable.name: variable.type for variable in variables}
    return tuple(one for policy in policies for one in _untested(policy, types))


def _untested(policy: Policy, types: Mapping[str, str]) -> Iterator[Untested]:
    atoms = {written(atom): atom for atom in atoms_of(condition_of(policy.when, types))}
    answers: dict[str, set[object]] = {text: set() for text in atoms}
    for test in policy.tests:
        try:
            given = {name: given_value(types[name], value) for name, value in test.given.items() if name in types}
        except (ValueError, EvaluationError):
            continue  # the test itself fails, and says so
        for text, atom in atoms.items():
            try:
                answers[text].add(value_of(atom, given, {}))
            except (Missing, EvaluationError):
                answers[text].add(None)
    for text, found in answers.items():
        if text == "true":
            continue
        for answer, word in ((True, "true"), (False, "false")):
            if answer not in found:
                yield Untested(policy.id, text, word)
