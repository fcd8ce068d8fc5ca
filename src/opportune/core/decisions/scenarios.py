"""Scenarios: a question with its expected answer, asked of the kernel with chance taken out or told where to fall."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

from opportune.core.catalog import NO_OFFER
from opportune.core.customers import Account, Contact, Person
from opportune.core.decisions.answers import answer_of
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.draws import uniform
from opportune.core.decisions.explain import WhyNot, why_not
from opportune.core.decisions.kernel import ScoreFailed, run
from opportune.core.decisions.records import RECORD_VERSION, Asked, DecisionRecord, Seen
from opportune.core.decisions.snapshot import see
from opportune.core.durations import parse_duration_ms
from opportune.core.features import Outside
from opportune.core.playbook import Exploration, PastContact, Scenario, Within
from opportune.core.signals import parse_time_ms

SCENARIO_ID = "00000000-0000-7000-8000-000000000000"
WHO = "scenario"
DRAWN_IDS = 8192
"""So many ids are tried for one whose draw falls where a scenario says: it is met to about a thousandth."""

MONEY_TOLERANCE = 0.005
CHANCE_TOLERANCE = 0.00005


class Mishaps:
    """A probe under which exactly these steps go wrong, each as `step:fault`."""

    def __init__(self, faults: Sequence[str]) -> None:
        self._faults = dict(fault.split(":", 1) for fault in faults)

    def before(self, step: str) -> str | None:
        return self._faults.get(step)


def run_scenario(brain: Brain, scenario: Scenario, known: Mapping[str, Scenario] = {}) -> list[str]:
    """What came out other than expected, one sentence each; none when the promise holds. `known` are the scenarios
    that this one may be like, by name."""
    record = decided(brain, scenario, known)
    fates = why_not(brain, record)
    found = [*_differences(brain, scenario, record), *_fates_differ(scenario, record, fates)]
    if found:
        found.extend(_hints(scenario, record, fates))
    return found


def decided(brain: Brain, scenario: Scenario, known: Mapping[str, Scenario] = {}) -> DecisionRecord:
    """The scenario as a decision."""
    scenario = whole(scenario, known)
    brain = arranged(brain, scenario)
    asked = asked_of(brain, scenario)
    seen = seen_of(brain, scenario, asked)
    id_ = SCENARIO_ID if scenario.draw is None else id_drawing(scenario.draw)
    faults: tuple[str, ...] = scenario.faults
    try:
        result = run(brain, asked, seen, id_, Mishaps(faults))
    except ScoreFailed:
        faults = (*faults, "score:failed")
        result = run(brain, asked, seen, id_, Mishaps(faults))
    return DecisionRecord(RECORD_VERSION, id_, brain.release, brain.app.region, asked, seen, faults, (), result)


def whole(scenario: Scenario, known: Mapping[str, Scenario]) -> Scenario:
    """The scenario with the customer of the one it is like filled in. ValueError for one that is like itself."""
    return _whole(scenario, known, ())


def _whole(scenario: Scenario, known: Mapping[str, Scenario], above: tuple[str, ...]) -> Scenario:
    if scenario.like is None:
        return scenario
    if scenario.scenario in above:
        raise ValueError(f"scenario `{scenario.scenario}` is like itself, through `like`: break the circle")
    base = _whole(known[scenario.like], known, (*above, scenario.scenario))
    return msgspec.structs.replace(
        scenario,
        like=None,
        timezone=scenario.timezone or base.timezone,
        account=scenario.account and base.account,
        features={**base.features, **scenario.features},
        consents={**base.consents, **scenario.consents},
        contacts=(*base.contacts, *scenario.contacts),
    )


def arranged(brain: Brain, scenario: Scenario) -> Brain:
    """The brain with its chances as the scenario says: who is in the control group, what is explored, who scores."""
    holdout = msgspec.structs.replace(brain.app.holdout, share=1.0 if scenario.holdout else 0.0)
    exploration = Exploration(method="off") if scenario.draw is None else brain.app.exploration
    app = msgspec.structs.replace(brain.app, holdout=holdout, exploration=exploration)
    brain = msgspec.structs.replace(brain, app=app)
    return brain if scenario.model else msgspec.structs.replace(brain, model=None, model_name=None, further={})


def asked_of(brain: Brain, scenario: Scenario) -> Asked:
    """The question as a door would hand it on."""
    moment = brain.moments[scenario.moment]
    wanted = scenario.channels or moment.channels
    return Asked(
        WHO,
        scenario.moment,
        tuple(one for one in moment.channels if one in wanted),
        scenario.context,
        moment.budget_ms,
        refused=brain.app.privacy.gpc_purposes if scenario.gpc else (),
        limit=scenario.limit,
    )


def seen_of(brain: Brain, scenario: Scenario, asked: Asked) -> Seen:
    """What the decision sees: what the scenario says, over a customer of whom nothing was ever heard."""
    at_ms = parse_time_ms(scenario.at)
    own = tuple(_contact(one, at_ms) for one in scenario.contacts if one.of == "person")
    colleagues = tuple(_contact(one, at_ms) for one in scenario.contacts if one.of == "account")
    traits = {} if scenario.timezone is None else {"timezone": scenario.timezone}
    account = Account(WHO, contacts=(*own, *colleagues)) if scenario.account else None
    person = Person(WHO, WHO if scenario.account else None, traits, contacts=own)
    # A view that did answer has no row of this customer: what it gives then is its default.
    answered = [view for view in brain.views.outside if view.view not in scenario.unread]
    values = {name: (None, None) for view in answered for name, _, _ in view.features}
    outside = Outside(values, tuple(scenario.unread.items()))
    bare = see(brain, person, account, asked.channels, at_ms, outside=outside, room=scenario.room)
    features = {**bare.features, **scenario.features}
    refused = {key: "refused" for key in bare.consents if key.partition("/")[0] in asked.refused}
    return msgspec.structs.replace(
        bare,
        features=features,
        ages_ms={},
        consents={**bare.consents, **scenario.consents, **refused},
        missing=tuple(name for name, value in features.items() if value is None),
    )


def id_drawing(draw: float) -> str:
    """A decision id whose draw falls nearest to `draw`."""
    draws, ids = _drawn()
    place = bisect_left(draws, draw)
    near = [one for one in (place - 1, place) if 0 <= one < len(draws)]
    return ids[min(near, key=lambda one: abs(draws[one] - draw))]


@lru_cache(maxsize=1)
def _drawn() -> tuple[tuple[float, ...], tuple[str, ...]]:
    ids = [f"{SCENARIO_ID[:-4]}{number:04x}" for number in range(DRAWN_IDS)]
    pairs = sorted((uniform(id_, "choose"), id_) for id_ in ids)
    return tuple(draw for draw, _ in pairs), tuple(id_ for _, id_ in pairs)


def _contact(one: PastContact, at_ms: int) -> Contact:
    made_ms = at_ms - parse_duration_ms(one.age)
    return Contact(WHO, one.offer, one.channel, made_ms, made_ms, "delivered")


def _differences(brain: Brain, scenario: Scenario, record: DecisionRecord) -> Iterator[str]:
    expect, result = scenario.expect, record.result
    for field in ("disposition", "reason", "offer", "channel", "would"):
        expected, got = getattr(expect, field), getattr(result, field) or NO_OFFER
        if expected is not None and expected != got:
            yield f"expected {field} `{expected}`, got `{'none' if got == NO_OFFER else got}` ({result.reason})"
    numbers = (
        ("value", result.value, MONEY_TOLERANCE),
        ("probability", result.action_probability, CHANCE_TOLERANCE),
        ("confidence", result.confidence, CHANCE_TOLERANCE),
    )
    for field, number, tolerance in numbers:
        yield from _outside(field, getattr(expect, field), number, tolerance)
    sets = (
        ("slate", tuple(pick.offer for pick in result.slate)),
        ("forced", result.forced),
        ("obligations", result.obligations),
        ("skipped", tuple(policy for policy, _, _ in result.skipped)),
        ("degraded", result.degraded),
        ("missing", record.seen.missing),
    )
    for field, names in sets:
        expected = getattr(expect, field)
        in_order = field == "slate"
        if expected is not None and (expected != names if in_order else sorted(expected) != sorted(names)):
            yield f"expected {field} {_names(expected)}, got {_names(names)}"
    if expect.headline is not None or expect.says:
        yield from _unsaid(brain, scenario, record)


def _outside(field: str, expected: Within | None, number: float | None, tolerance: float) -> Iterator[str]:
    if expected is None:
        return
    least, most = expected if isinstance(expected, tuple) else (expected, expected)
    if number is None or not least - tolerance <= number <= most + tolerance:
        said = f"{least:g}" if least == most else f"{least:g} to {most:g}"
        yield f"expected {field} {said}, got {'none' if number is None else f'{number:.6g}'}"


def _unsaid(brain: Brain, scenario: Scenario, record: DecisionRecord) -> Iterator[str]:
    expect, answer = scenario.expect, answer_of(brain, record, preview=True)
    shown = answer.offer or answer.safe_default
    headline = None if shown is None else shown.headline
    if expect.headline is not None and expect.headline != headline:
        yield f"expected the headline `{expect.headline}`, got {'nothing' if headline is None else f'`{headline}`'}"
    for audience, texts in expect.says.items():
        for text in texts:
            if text not in answer.explanation[audience]:
                yield f"expected the {audience}'s explanation to say `{text}`, got: {answer.explanation[audience]}"


def _fates_differ(scenario: Scenario, record: DecisionRecord, fates: Sequence[WhyNot]) -> Iterator[str]:
    asked = record.asked.channels
    for name, rule in scenario.expect.rejected.items():
        meant = [one for one in fates if name == one.candidate or (name == one.offer and one.channel in asked)]
        if not meant:
            yield f"`rejected` names `{name}`, which no offer has a treatment for"
        for fate in meant:
            if rule not in (fate.rule, *fate.also):
                yield f"expected `{fate.candidate}` to be held back by `{rule}`, got `{fate.rule}`: {fate.reason}"


def _hints(scenario: Scenario, record: DecisionRecord, fates: Sequence[WhyNot]) -> Iterator[str]:
    """What became of the offer that was expected."""
    expect, result = scenario.expect, record.result
    if expect.offer in (None, NO_OFFER, result.offer):
        return
    for fate in fates:
        if fate.offer == expect.offer and fate.channel in record.asked.channels:
            yield f"  `{fate.candidate}`: {fate.stage}, `{fate.rule}`: {fate.reason}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
