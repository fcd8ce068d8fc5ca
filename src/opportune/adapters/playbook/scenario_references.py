"""Checks of scenarios: that what they say about a customer, a question and an answer can be."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import get_args

from opportune.adapters.playbook.findings import Found, no_duration, no_zone, unknown
from opportune.core.catalog import NO_OFFER, candidates_of
from opportune.core.contacts import compile_volumes, limit_problems
from opportune.core.customers import ConsentStatus
from opportune.core.decisions.records import Disposition, Reason
from opportune.core.playbook import Expectation, Playbook, Scenario
from opportune.core.signals import parse_time_ms
from opportune.core.wording import closest, listed, quoted


def scenario_problems(playbook: Playbook, scenario: Scenario) -> Iterator[Found]:
    """Everything in a scenario that names something that is not there, or is not what it must be."""
    channels = [channel.channel for channel in playbook.channels]
    yield from _question(playbook, scenario, channels)
    yield from _customer(playbook, scenario, channels)
    yield from _answer(playbook, scenario.expect, channels)


def feature_names(playbook: Playbook) -> set[str]:
    """Every feature by its own name, and as `view.feature`."""
    names = {feature.id for view in playbook.views for feature in view.features}
    return names | {f"{view.view}.{feature.id}" for view in playbook.views for feature in view.features}


def _question(playbook: Playbook, scenario: Scenario, channels: Collection[str]) -> Iterator[Found]:
    moments = {moment.moment: moment for moment in playbook.app.moments}
    yield from unknown(("moment",), "moment", scenario.moment, moments)
    for index, channel in enumerate(scenario.channels):
        yield from unknown(("channels", index), "channel", channel, channels)
    if scenario.moment in moments:
        for name in scenario.context:
            known = moments[scenario.moment].context
            yield from unknown(("context", name), "context value", name, known, on_key=True)
    try:
        parse_time_ms(scenario.at)
    except (ValueError, OverflowError) as error:
        yield Found(("at",), str(error))


def _customer(playbook: Playbook, scenario: Scenario, channels: Collection[str]) -> Iterator[Found]:
    yield from _like(playbook, scenario)
    if scenario.timezone is not None:
        yield from no_zone(("timezone",), scenario.timezone)
    features = feature_names(playbook)
    for name in scenario.features:
        yield from unknown(("features", name), "feature", name, features, on_key=True)
    purposes = sorted({offer.purpose for offer in playbook.offers})
    keys = [f"{purpose}/{channel}" for purpose in purposes for channel in channels]
    for key, status in scenario.consents.items():
        yield from unknown(("consents", key), "consent", key, keys, on_key=True)
        yield from _one_of(("consents", key), status, get_args(ConsentStatus))
    offers = [offer.offer for offer in playbook.offers]
    for index, contact in enumerate(scenario.contacts):
        yield from unknown(("contacts", index, "channel"), "channel", contact.channel, channels)
        yield from unknown(("contacts", index, "offer"), "offer", contact.offer, offers)
        yield from no_duration(("contacts", index, "age"), contact.age)
    for name in scenario.room:
        yield from unknown(("room", name), "limit over everybody", name, _rooms(playbook), on_key=True)
    outside = [view.view for view in playbook.views if view.reader is not None]
    for name in scenario.unread:
        yield from unknown(("unread", name), "view read from outside", name, outside, on_key=True)


def _rooms(playbook: Playbook) -> tuple[str, ...]:
    """The names under which limits over everybody say what is left."""
    offers, channels = playbook.offers, playbook.channels
    sound = [limit for limit in playbook.app.limits if not [*limit_problems([limit], offers, channels)]]
    rules = compile_volumes(sound, candidates_of(offers, channels))
    return tuple(name for rule in rules for _, name, _ in rule.parts)


def _like(playbook: Playbook, scenario: Scenario) -> Iterator[Found]:
    if scenario.like is None:
        return
    known: Mapping[str, Scenario] = {one.scenario: one for one in playbook.scenarios}
    yield from unknown(("like",), "scenario", scenario.like, known)
    passed = {scenario.scenario}
    name: str | None = scenario.like
    while name is not None and name in known:
        if name in passed:
            yield Found(("like",), f"{quoted(scenario.like)} is like this one in turn: break the circle")
            return
        passed.add(name)
        name = known[name].like


def _answer(playbook: Playbook, expect: Expectation, channels: Collection[str]) -> Iterator[Found]:
    offers = {offer.offer: offer for offer in playbook.offers}
    candidates = {f"{name}@{channel}" for name, offer in offers.items() for channel in offer.treatments}
    policies = [policy.id for policy in playbook.policies]
    if expect.disposition is not None:
        yield from _one_of(("expect", "disposition"), expect.disposition, get_args(Disposition))
    if expect.reason is not None:
        yield from _one_of(("expect", "reason"), expect.reason, get_args(Reason))
    if expect.offer is not None and expect.offer != NO_OFFER:
        yield from unknown(("expect", "offer"), "offer", expect.offer, offers)
    if expect.channel is not None:
        yield from unknown(("expect", "channel"), "channel", expect.channel, channels)
    if expect.would is not None:
        yield from unknown(("expect", "would"), "candidate", expect.would, candidates)
    for name in expect.rejected:
        known = candidates | offers.keys()
        yield from unknown(("expect", "rejected", name), "candidate", name, known, on_key=True)
    for index, name in enumerate(expect.slate or ()):
        yield from unknown(("expect", "slate", index), "offer", name, offers)
    for index, name in enumerate(expect.forced or ()):
        yield from unknown(("expect", "forced", index), "policy", name, policies)
    for field in ("value", "probability", "confidence"):
        bounds = getattr(expect, field)
        if isinstance(bounds, tuple) and (len(bounds) != 2 or bounds[0] > bounds[1]):
            yield Found(("expect", field), f"`{field}` is a number, or two: [least, most]")


def _one_of(field: tuple[str, ...], value: str, known: tuple[str, ...]) -> Iterator[Found]:
    if value not in known:
        yield Found(field, f"{quoted(value)} is not one of {listed(known, len(known))}", closest(value, known))
