"""Whatever is said about policies is true: every claim is checked over all values there can be."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from opportune.core.expressions import EvaluationError, Missing, parse
from opportune.core.policies import CandidateTable, Policy, Variable, compile_policies, worlds
from opportune.core.policies.analysis import Remark, Scene, condition_of, remarks, rules_of
from opportune.core.policies.compiled import validity
from opportune.core.policies.proofs import Either, Within, goal, impossible, possible
from opportune.core.policies.worlds import Domain, Places, Worlds

pytestmark = pytest.mark.slow

VARIABLES = (
    Variable("seats", "int", "request"), Variable("plan", "string", "request"), Variable("trial", "bool", "request"),
    Variable("ratio", "double", "request"), Variable("moment.id", "string", "request"),
    Variable("now", "timestamp", "request"), Variable("offer.kind", "string", "candidate"),
    Variable("offer.size", "int", "candidate"), Variable("consent.status", "string", "channel"),
)  # fmt: skip
TYPES = {one.name: one.type for one in VARIABLES}
TABLE = CandidateTable(
    ("a@x", "a@y", "b@x", "c@y"),
    {"offer.kind": ("seats", "seats", "plan", "addon"), "offer.size": (10, 10, 0, None)},
    ("x", "y", "x", "y"),
)
MOMENTS = ("pricing", "chat")
DOMAINS = {
    "plan": Domain(("team", "pro"), why="is one of `team`, `pro`"),
    "consent.status": Domain(("given", "refused"), always=True),
    "seats": Domain(least=0, why="is 0 or more"),
    "now": Domain(always=True),
}
DAY = 86_400_000
SPAN = ("1970-01-03", "1970-01-05")
"""Two validities that are used: from the third, and to the end of the fifth, of January 1970."""

VALUES: dict[str, tuple[Any, ...]] = {
    "seats": (None, 0, 1, 2, 3, 4, 9), "plan": (None, "team", "pro"), "trial": (None, True, False),
    "ratio": (None, -1.0, 0.0, 0.5, 1.0, 2.0, float("nan")), "now": (0, 2 * DAY, 4 * DAY, 5 * DAY),
    "consent.status": ("given", "refused"), "moment.id": MOMENTS,
}  # fmt: skip
ATOMS = [
    "seats > 2", "seats < 1", "seats == 3", "seats in [1, 2]", "3 >= seats", "seats < 0", "plan == 'team'",
    "plan != 'team'", "plan == 'gold'", "plan in ['team', 'pro']", "plan.startsWith('t')", "trial", "has(seats)",
    "has(plan)", "ratio > 0.5", "ratio <= 0.5", "ratio != 1.0", "moment.id == 'chat'", "moment.id == 'chet'",
    "offer.kind == 'seats'", "offer.kind != 'plan'", "offer.size > 5", "has(offer.size)", "offer.size > seats",
    "offer.size <= seats", "seats < offer.size", "consent.status == 'given'", "consent.status != 'given'", "true",
    "seats * 2 > 5", "plan == 'team' && trial", "now < timestamp('1970-01-03T00:00:00Z')", "false",
]  # fmt: skip


def places() -> Places:
    """The moment `chat` has channel y alone, `pricing` both."""
    return Places(TABLE, MOMENTS, 0b1010_1111)


def condition(chance: random.Random, atoms: list[str], depth: int = 2) -> str:
    form = chance.randrange(6) if depth else 0
    if form <= 1:
        return chance.choice(atoms)
    parts = [condition(chance, atoms, depth - 1) for _ in range(3)]
    joined = {2: " && ", 3: " || "}.get(form)
    if joined:
        return "(" + joined.join(parts[: chance.randint(2, 3)]) + ")"
    return f"!({parts[0]})" if form == 4 else f"({parts[0]} ? {parts[1]} : {parts[2]})"


def policies(chance: random.Random) -> list[Policy]:
    found = []
    # Few atoms in half of the cases, so that rules have to do with each other.
    atoms = chance.sample(ATOMS, 3) if chance.random() < 0.5 else ATOMS
    for number in range(chance.randint(1, 4)):
        effect: Any = chance.choice(["forbid", "forbid", "forbid", "permit", "require_review", "force", "adjust"])
        found.append(
            Policy(
                id=f"p{number}", effect=effect, class_=chance.choice(["legal", "suitability", "commercial"]),
                when=condition(chance, atoms), reason="r", owner="o", adjust="1.0" if effect == "adjust" else None,
                valid_from=SPAN[0] if chance.random() < 0.2 else None,
                valid_to=SPAN[1] if chance.random() < 0.2 else None,
            )
        )  # fmt: skip
    return found


def scene_of(rules: list[Policy]) -> Scene:
    nodes = [condition_of(one.when, TYPES) for one in rules]
    found = Worlds(nodes, VARIABLES, DOMAINS, places())
    found.also("now", [ms for one in rules for ms in validity(one) if ms is not None])
    return Scene(found, rules_of(rules, nodes, found))


class World:
    """What every policy says for one request and candidate."""

    def __init__(self, rules: list[Policy], compiled: Any, values: dict[str, Any]) -> None:
        self.hit: dict[str, int] = {}
        self.failed: dict[str, int] = {}
        channel = {"consent.status": dict.fromkeys("xy", values["consent.status"])}
        verdicts = compiled.judge_exactly(values, channel, values["now"])
        lost = {number: mask for number, mask, _ in verdicts.failed}
        for number, one in enumerate(compiled.policies):
            self.hit[one.id], self.failed[one.id] = verdicts.hits[number], lost.get(number, 0)


def worlds_of(rules: list[Policy]) -> tuple[list[World], list[int]]:
    """Every request there can be, as judged by the policies themselves, and the candidates open to it."""
    compiled = compile_policies(rules, VARIABLES, TABLE)
    read = {name for one in rules for name in parse(one.when, TYPES).names}
    axes = {name: VALUES[name] if name in read or name == "now" else VALUES[name][-1:] for name in VALUES}
    found, open_ = [], []
    for combination in itertools.product(*axes.values()):
        values = dict(zip(axes, combination, strict=True))
        found.append(World(rules, compiled, values))
        open_.append(0b1111 if values["moment.id"] == "pricing" else 0b1010)
    if "moment.id" not in read:
        open_ = [0b1111] * len(found)
    return found, open_


def held(one: Policy, world: World) -> int:
    return world.hit[one.id] | (world.failed[one.id] if one.class_ == "legal" else 0)


def truths(rules: list[Policy], seen: list[World], open_: list[int]) -> dict[str, set[str]]:
    """Per policy, what is true of it by looking at everything."""
    facts: dict[str, set[str]] = {}
    forced = any(one.effect == "force" for one in rules)
    for one in rules:
        facts[one.id] = found = set()
        if not any(world.hit[one.id] & mask for world, mask in zip(seen, open_, strict=True)):
            found.add("never true")
        others = [other for other in rules if other.effect == "forbid" and other.id != one.id]
        if one.effect == "forbid":
            if (one.class_ == "legal" or not forced) and all(
                not mask & ~held(one, world) for world, mask in zip(seen, open_, strict=True)
            ):
                found.add("total")
            for other in others:
                if all(not held(one, w) & ~held(other, w) & m for w, m in zip(seen, open_, strict=True)):
                    found.add(f"covered by {other.id}")
            continue
        if one.effect == "force" or (forced and one.effect != "permit"):
            others = [other for other in others if other.class_ == "legal"]
        if all(
            not world.hit[one.id] & mask & ~_union(held(other, world) for other in others)
            for world, mask in zip(seen, open_, strict=True)
        ):
            found.add("useless")
    return facts


def _union(masks: Any) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union


def claims(found: Remark) -> str:
    if found.level == "note":
        return f"covered by {found.message.split('`')[1]}"
    if "this forbids every offer" in found.message:
        return "total"
    if "always forbidden by" in found.message:
        return "useless"
    return "never true"


@pytest.mark.parametrize(
    ("seed", "rounds"), [*((seed, 90) for seed in range(4)), pytest.param(99, 5000, marks=pytest.mark.torture)]
)
def test_no_claim_is_false(seed: int, rounds: int) -> None:
    """Over all combinations of values: what is claimed is so. How much of what is so was found is printed."""
    chance = random.Random(seed)
    claimed = true = found_of_true = 0
    for _ in range(rounds):
        rules = policies(chance)
        if len({name for one in rules for name in parse(one.when, TYPES).names}) > 5:
            continue
        seen, open_ = worlds_of(rules)
        facts = truths(rules, seen, open_)
        told: dict[str, set[str]] = {}
        for one in remarks(scene_of(rules)):
            claim = claims(one)
            claimed += 1
            told.setdefault(one.document, set()).add(claim)

            assert claim in facts[one.document], (one.message, [(p.effect, p.class_, p.when) for p in rules])
        for id_, is_so in facts.items():
            true += bool(is_so)
            found_of_true += bool(is_so and told.get(id_))
    print(f"\nseed {seed}: {claimed} claims, all true; of {true} policies with a fault {found_of_true} were told")
    assert claimed


CONTRARY = [
    "seats > 3 && seats < 3", "seats > 3 && seats < 4", "plan == 'team' && plan == 'pro'", "plan == 'gold'",
    "!(plan in ['team', 'pro'])", "trial && !trial", "seats < 0", "has(seats) && !has(seats)",
    "moment.id == 'chet'", "moment.id == 'chat' && offer.kind == 'plan'", "offer.kind == 'plan' && offer.size > 5",
    "ratio > 0.5 && ratio < 0.5", "seats > offer.size && seats <= offer.size", "!has(plan) && plan == 'team'",
    "seats * 2 > 5 && !(seats * 2 > 5)", "consent.status == 'granted'", "(trial ? seats : 0) < 1 && false",
    "now < timestamp('1970-01-03T00:00:00Z') && now > timestamp('1970-01-04T00:00:00Z')",
    "seats > 5 ? seats < 3 : seats > 9", "seats in [1, 2] && seats > 2", "ratio != ratio && ratio == ratio",
    "plan.startsWith('x')",
]  # fmt: skip
POSSIBLE = [
    "seats > 3 && seats < 5", "ratio > 0.5 && ratio < 0.5000001", "!(ratio > 0.5) && !(ratio <= 0.5)",
    "plan.startsWith('t') && plan != 'pro'", "seats * 2 > 5 && seats < 1", "offer.size > seats && seats > 3",
    "!(plan == 'team')", "moment.id == 'chat' && offer.kind == 'addon'", "ratio != ratio",
]  # fmt: skip


@pytest.mark.parametrize("text", CONTRARY)
def test_what_can_never_be_true_is_found(text: str) -> None:
    (rule,) = (Policy(id="p", effect="permit", class_="commercial", when=text, reason="r", owner="o"),)
    (found,) = remarks(scene_of([rule]))
    assert found.document == "p"
    assert found.level == "warning"


@pytest.mark.parametrize("text", POSSIBLE)
def test_what_can_be_true_or_cannot_be_known_is_not_mentioned(text: str) -> None:
    rule = Policy(id="p", effect="permit", class_="commercial", when=text, reason="r", owner="o")
    assert remarks(scene_of([rule])) == ()


def test_a_search_that_is_too_hard_claims_nothing() -> None:
    """Twelve pigeons in eleven holes: impossible, but not to be shown within the steps."""
    names = [f"v{number}" for number in range(12)]
    variables = [Variable(name, "int", "request") for name in names]
    domains = {name: Domain(tuple(range(11)), always=True) for name in names}
    types = dict.fromkeys(names, "int")
    nodes = [
        condition_of(f"!({one} == {hole} && {other} == {hole})", types)
        for one, other in itertools.combinations(names, 2)
        for hole in range(11)
    ]
    worlds = Worlds(nodes, variables, domains)
    goals = [goal(worlds, node, "true") for node in nodes]
    goals += [goal(worlds, condition_of(f"{name} > -1", types), "true") for name in names]
    some = [Either(tuple(Within(name, 1 << hole) for hole in range(11))) for name in names]
    assert not impossible(worlds, [*goals, *some])


def test_a_found_example_makes_the_condition_true() -> None:
    """For conditions over single variables, the classes found hold a value that makes the condition true."""
    chance, tried = random.Random(7), 0
    simple = [one for one in ATOMS if "offer." not in one and "moment" not in one and "*" not in one]
    while tried < 150:
        text = " && ".join(f"{chance.choice(['', '!'])}({chance.choice(simple)})" for _ in range(3))
        node = condition_of(text, TYPES)
        worlds = Worlds([node], VARIABLES, DOMAINS)
        box = possible(worlds, [goal(worlds, node, "true")])
        tried += 1
        if box is None or any(axis.startswith("?") for axis in box):
            continue
        values = {axis: worlds.value(axis, mask) for axis, mask in box.items() if axis in TYPES}
        try:
            assert parse(text, TYPES).evaluate(values) is True, (text, values)
        except (Missing, EvaluationError):
            pytest.fail(f"{text} has no answer for {values}")


def test_comparisons_told_by_order_are_those_that_evaluating_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(3)
    types = {"seats": "int", "ratio": "double"}
    variables = [Variable(name, type_, "request") for name, type_ in types.items()]
    for _ in range(20):
        texts = []
        for _ in range(25):
            name = chance.choice(list(types))
            constant = f"{chance.randint(-9, 9)}{'.5' if name == 'ratio' else ''}"
            sides = [name, constant] if chance.random() < 0.5 else [constant, name]
            texts.append(f" {chance.choice(['<', '<=', '>', '>=', '==', '!='])} ".join(sides))
        nodes = [condition_of(text, types) for text in texts]
        found = []
        for most in (0, 10**9):
            monkeypatch.setattr(worlds, "CLASSES_EVALUATED_MAX", most)
            one = Worlds(nodes, variables, {"seats": Domain(least=-5)})
            found.append([one.fate(node) for node in nodes])

        assert found[0] == found[1], texts


@pytest.mark.parametrize(("of_class", "covered"), [("legal", False), ("suitability", True)])
def test_a_legal_forbid_that_also_holds_where_a_value_is_missing_is_not_covered(of_class: Any, covered: bool) -> None:
    """`has(seats)` is false where seats are missing; there the legal rule without an answer holds back, alone."""
    rules = [
        Policy(id="narrow", effect="forbid", class_=of_class, when="seats > 2", reason="r", owner="o"),
        Policy(id="wide", effect="forbid", class_="legal", when="has(seats)", reason="r", owner="o"),
    ]
    assert [one.document for one in remarks(scene_of(rules))] == (["narrow"] if covered else [])
