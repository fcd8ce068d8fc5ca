"""Runs scenarios: a question with its expected answer, asked of the kernel with chance taken out."""

from __future__ import annotations

import msgspec

from opportune.core.customers import Account, Person
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.explain import WhyNot, why_not
from opportune.core.decisions.kernel import run
from opportune.core.decisions.records import RECORD_VERSION, Asked, DecisionRecord, Result
from opportune.core.decisions.snapshot import see
from opportune.core.playbook import Exploration, Scenario
from opportune.core.signals import parse_time_ms

SCENARIO_ID = "00000000-0000-7000-8000-000000000000"


class Calm:
    """A probe under which no step is late and nothing fails."""

    def before(self, step: str) -> str | None:
        return None


def quiet(brain: Brain) -> Brain:
    """The brain without hold-out and exploration: the same question always gets the best allowed answer."""
    nobody = msgspec.structs.replace(brain.app.holdout, share=0.0)
    app = msgspec.structs.replace(brain.app, holdout=nobody, exploration=Exploration(method="off"))
    return msgspec.structs.replace(brain, app=app)


def run_scenario(brain: Brain, scenario: Scenario) -> list[str]:
    """What came out other than expected, one sentence each; none when the promise holds."""
    record = decided(brain, scenario)
    found = _differences(scenario, record.result)
    fates = {fate.candidate: fate for fate in why_not(brain, record)}
    for candidate, rule in scenario.expect.rejected.items():
        if (wrong := _fate_differs(fates.get(candidate), candidate, rule)) is not None:
            found.append(wrong)
    return found


def decided(brain: Brain, scenario: Scenario) -> DecisionRecord:
    """The scenario as a decision: what it does not say about a customer is as if nothing was ever heard."""
    at_ms = parse_time_ms(scenario.at)
    moment = brain.moments[scenario.moment]
    wanted = scenario.channels or moment.channels
    asked = Asked(
        "scenario", scenario.moment, tuple(one for one in moment.channels if one in wanted), scenario.context,
        moment.budget_ms,
    )
    empty = see(brain, Person("scenario", "scenario"), Account("scenario"), asked.channels, at_ms)
    features = {**empty.features, **scenario.features}
    seen = msgspec.structs.replace(
        empty,
        features=features,
        ages_ms={},
        consents={**empty.consents, **scenario.consents},
        missing=tuple(name for name, value in features.items() if value is None),
    )
    result = run(brain, asked, seen, SCENARIO_ID, Calm())
    return DecisionRecord(RECORD_VERSION, SCENARIO_ID, brain.release, brain.app.region, asked, seen, (), (), result)


def _differences(scenario: Scenario, result: Result) -> list[str]:
    found = []
    for field in ("disposition", "reason", "offer", "channel"):
        expected, got = getattr(scenario.expect, field), getattr(result, field)
        if expected is not None and expected != got:
            found.append(f"expected {field} `{expected}`, got `{got or 'none'}` ({result.reason})")
    return found


def _fate_differs(fate: WhyNot | None, candidate: str, rule: str) -> str | None:
    if fate is None:
        return f"`rejected` names `{candidate}`, which no offer has a treatment for"
    if rule in (fate.rule, *fate.also):
        return None
    return f"expected `{candidate}` to be held back by `{rule}`, got `{fate.rule}`: {fate.reason}"
