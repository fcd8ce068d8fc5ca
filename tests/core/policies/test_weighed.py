"""What adjust policies add is worked out for those whose value is asked for, and for those that a policy forces."""

from __future__ import annotations

from typing import Any

import pytest

from opportune.core.policies import CandidateTable, Policy, Variable, compile_policies

COUNT = 40
VARIABLES = (
    Variable("ratio", "double", "request"),
    Variable("offer.price", "double", "candidate"),
    Variable("offer.kind", "string", "candidate"),
)
TABLE = CandidateTable(
    tuple(f"c{n}" for n in range(COUNT)),
    {"offer.price": tuple(float(n) for n in range(COUNT)), "offer.kind": tuple("ab"[n % 2] for n in range(COUNT))},
    ("in_app",) * COUNT,
)
KINDS = "(offer.kind == 'a' ? 1.0 : 2.0) * ratio"
PRICES = "offer.price * ratio"


def policy(id_: str, effect: Any, **fields: Any) -> Policy:
    return Policy(**{"id": id_, "effect": effect, "class_": "commercial", "reason": "r", "owner": "o", **fields})


@pytest.mark.parametrize("adjust", [KINDS, PRICES], ids=["few looks", "a look for each"])
def test_levers_are_those_of_the_candidates_that_are_weighed(adjust: str) -> None:
    compiled = compile_policies([policy("lever", "adjust", adjust=adjust)], VARIABLES, TABLE)
    every = compiled.resolve(compiled.judge({"ratio": 2.0}, {}, 0)).levers
    some = compiled.judge({"ratio": 2.0}, {}, 0, weighed=0b1010_0001)
    assert len(every) == COUNT
    assert compiled.resolve(some).levers == {place: every[place] for place in (0, 5, 7)}
    assert some.hits == ((1 << COUNT) - 1,)
    exact = compiled.judge_exactly({"ratio": 2.0}, {}, 0, weighed=0b1010_0001)
    assert (exact.hits, exact.failed, sorted(exact.levers)) == (some.hits, some.failed, sorted(some.levers))


@pytest.mark.parametrize("adjust", [KINDS, PRICES], ids=["few looks", "a look for each"])
def test_what_a_policy_forces_is_weighed_too(adjust: str) -> None:
    policies = [
        policy("lever", "adjust", adjust=adjust),
        policy("must", "force", when="offer.price == 9.0"),
    ]
    compiled = compile_policies(policies, VARIABLES, TABLE)
    for judge in (compiled.judge, compiled.judge_exactly):
        assert set(compiled.resolve(judge({"ratio": 2.0}, {}, 0, weighed=0b1)).levers) == {0, 9}


@pytest.mark.parametrize("adjust", [KINDS, PRICES], ids=["few looks", "a look for each"])
def test_a_lever_of_law_without_an_answer_forbids_whoever_is_weighed(adjust: str) -> None:
    policies = [policy("open", "permit"), policy("law", "adjust", class_="legal", adjust=adjust)]
    compiled = compile_policies(policies, VARIABLES, TABLE)
    for judge in (compiled.judge, compiled.judge_exactly):
        assert compiled.resolve(judge({}, {}, 0, weighed=0)).allowed == 0
        assert compiled.resolve(judge({"ratio": 1.0}, {}, 0, weighed=0)).allowed == (1 << COUNT) - 1


def test_a_commercial_lever_without_an_answer_is_reported_for_those_weighed() -> None:
    compiled = compile_policies(
        [policy("open", "permit"), policy("lever", "adjust", adjust=PRICES)], VARIABLES, TABLE
    )
    found = compiled.resolve(compiled.judge({}, {}, 0, weighed=0b110))
    assert found.skipped == (("lever", 0b110, ("ratio",)),)
    assert found.allowed == (1 << COUNT) - 1
