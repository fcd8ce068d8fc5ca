"""The simulated world repeats itself, speaks valid signals, and its measured effects are the true ones."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from ruamel.yaml import YAML

from opportune.core.builtin_contracts import BUILTIN_CONTRACTS
from opportune.core.signals import parse_time_ms
from opportune.testing.world import OFFERS, Situation, World, effect
from opportune.testing.world.truth import DAY_MS, WINDOW_MS

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).parents[2] / "samples/saas"
END_MS = 1_795_478_400_000  # 2026-11-24


@pytest.fixture(scope="module")
def world() -> World:
    return World(11, end_ms=END_MS)


@pytest.fixture(scope="module")
def history(world: World) -> list[dict[str, Any]]:
    return list(world.history())


def documents(folder: str) -> list[dict[str, Any]]:
    yaml = YAML(typ="safe", pure=True)
    return [
        found
        for path in sorted((SAMPLE / folder).glob("*.yaml"))
        for found in yaml.load(path)[folder]
    ]


def test_the_same_seed_gives_the_same_world() -> None:
    one, other = (list(World(3, 30, 30, end_ms=END_MS).history()) for _ in range(2))
    assert one == other
    assert one != list(World(4, 30, 30, end_ms=END_MS).history())
    again = World(3, 30, 30, end_ms=END_MS)
    assert list(again.history()) == list(again.history())


def test_the_history_is_long_enough_to_learn_from(world: World, history: list[dict[str, Any]]) -> None:
    assert len(history) >= 25_000
    assert len(world.assignments) >= 6_000
    assert len({event["id"] for event in history}) == len(history)


def test_the_history_is_in_time_order_and_ends_in_time(history: list[dict[str, Any]]) -> None:
    times = [parse_time_ms(event["time"]) for event in history]
    assert times == sorted(times)
    assert times[-1] <= END_MS


def test_every_signal_fits_the_schemas_of_the_sample(world: World, history: list[dict[str, Any]]) -> None:
    contracts = {one.signal: msgspec.to_builtins(one) for one in BUILTIN_CONTRACTS}
    contracts |= {document["signal"]: document for document in documents("schemas")}
    validators = {name: jsonschema_rs.validator_for(document["schema"]) for name, document in contracts.items()}
    live = [step["event"] for step in steps(World(5, 60, 30, end_ms=END_MS), 2_000) if step["kind"] == "signal"]
    for event in (*history, *live):
        contract = contracts[event["type"]]
        validators[event["type"]].validate(event["data"])
        if contract.get("about", "either") in ("person", "both"):
            assert "subject" in event
        assert set(event["data"]) <= set(contract["schema"]["properties"])
    assert world.customers


def test_the_sample_and_the_truth_know_the_same_offers_and_moments() -> None:
    assert {document["offer"] for document in documents("offers")} == set(OFFERS)
    moments = YAML(typ="safe", pure=True).load(SAMPLE / "opportune.yaml")["moments"]
    declared = {moment["moment"]: moment for moment in moments}
    seen = [step for step in steps(World(5, 60, 30, end_ms=END_MS), 2_000) if step["kind"] == "moment"]
    assert {step["moment"] for step in seen} == set(declared)
    for step in seen:
        assert set(step["channels"]) <= set(declared[step["moment"]]["channels"])
        assert set(step["context"]) == set(declared[step["moment"]]["context"])


def test_chance_alone_decides_who_was_shown_an_offer(world: World, history: list[dict[str, Any]]) -> None:
    made = world.assignments
    treated = sum(one.treated for one in made)
    assert abs(treated - len(made) / 2) < 4 * math.sqrt(len(made) / 4)
    for offer in OFFERS:
        own = [one for one in made if one.offer == offer]
        gap = mean([one.p_if_not for one in own if one.treated]) - mean([o.p_if_not for o in own if not o.treated])
        assert abs(gap) < 0.02, offer
    said = [event["data"] for event in history if event["type"] == "offer.assigned"]
    assert len(said) == len(made)
    assert {data["action_probability"] for data in said} == {0.5}


def test_nobody_was_assigned_without_consent(history: list[dict[str, Any]]) -> None:
    given: set[tuple[str, str]] = set()
    for event in history:
        if event["type"] == "consent.given":
            given |= {(event["subject"], channel) for channel in event["data"]["channels"]}
        elif event["type"] == "consent.withdrawn":
            given -= {(event["subject"], channel) for channel in event["data"]["channels"]}
        elif event["type"] == "offer.assigned":
            assert (event["subject"], event["data"]["channel"]) in given


def test_the_measured_effect_is_the_true_one(world: World, history: list[dict[str, Any]]) -> None:
    assert history
    done = [one for one in world.assignments if one.at_ms < END_MS - WINDOW_MS]
    shown, held = [one for one in done if one.treated], [one for one in done if not one.treated]
    measured = mean([one.bought for one in shown]) - mean([one.bought for one in held])
    true = mean([one.p_if_offered - one.p_if_not for one in done])
    assert true > 0.03
    assert abs(measured - true) < 3.5 * deviation(shown, held)
    dogs = [one for one in done if one.p_if_offered < one.p_if_not]
    assert 0.04 < len(dogs) / len(done) < 0.2
    full = [one for one in done if one.offer == "seats_10" and one.p_if_offered - one.p_if_not > 0.2]
    gap = mean([one.bought for one in full if one.treated]) - mean([one.bought for one in full if not one.treated])
    assert gap > 0.1


def test_what_is_written_down_as_bought_was_said(world: World, history: list[dict[str, Any]]) -> None:
    bought = {(one.account, one.offer): 0 for one in world.assignments}
    for event in history:
        if event["type"] == "offer.converted":
            key = (event["account"], event["data"]["offer"])
            bought[key] = bought.get(key, 0) + 1
    for one in world.assignments:
        if one.bought:
            assert bought[one.account, one.offer] > 0


SITUATION = Situation(
    plan="team", billing="monthly", seats=20, seat_ratio=0.95, tenure_days=400, usage_trend=1.3, api_calls_7d=0,
    features_used_28d=7, open_tickets=0, tickets_90d=0, last_csat=4.0, pricing_views_7d=0, payment_failures_30d=0,
    addons=frozenset(),
)  # fmt: skip


def changed(**fields: object) -> Situation:
    return msgspec.structs.replace(SITUATION, **fields)


def test_the_truth_differs_between_customers_as_described() -> None:
    def lift(offer: str, situation: Situation = SITUATION) -> float:
        offered, not_offered = effect(situation, offer)
        return offered - not_offered

    assert lift("seats_10") > 0.2 > 0.01 > lift("seats_10", changed(seat_ratio=0.7))
    assert lift("annual_switch") > 0.15 > 0.03 > lift("annual_switch", changed(tenure_days=100))
    assert lift("plan_business") > 0.15 > 0.02 > lift("plan_business", changed(usage_trend=0.8))
    assert lift("seats_10", changed(open_tickets=1)) < 0.5 * lift("seats_10")
    assert lift("seats_10", changed(last_csat=1.0)) < 0
    assert effect(changed(billing="annual"), "annual_switch") == (0.0, 0.0)
    for offer in OFFERS:
        for situation in (SITUATION, changed(pricing_views_7d=2, seats=80), changed(last_csat=1.0)):
            assert all(0 <= probability < 0.6 for probability in effect(situation, offer))


def test_the_present_goes_on_from_the_past_at_the_rate_asked_for() -> None:
    world = World(5, 60, 30, end_ms=END_MS)
    found = steps(world, 1_000)
    assert Counter(step["kind"] for step in found).keys() == {"signal", "moment"}
    times = [step["at_ms"] for step in found]
    assert times == sorted(times)
    assert 100_000 < times[-1] - END_MS < 300_000  # a thousand steps at five a second
    past = {event["id"] for event in World(5, 60, 30, end_ms=END_MS).history()}
    assert not past & {step["event"]["id"] for step in found if step["kind"] == "signal"}
    assert found == steps(World(5, 60, 30, end_ms=END_MS), 1_000)


def test_who_buys_really_has_it_afterwards() -> None:
    world = World(5, 200, 30, end_ms=END_MS, delay_scale=0.0001)
    live = world.live(END_MS, 5)
    bought: set[str] = set()
    changes: set[str] = set()
    seats = {account.id: account.seats for account in world.accounts}
    for step in itertools.islice(live, 2_000):
        if step["kind"] == "signal" and step["event"]["type"] == "subscription.changed":
            changes.add(step["event"]["account"])
        if step["kind"] == "moment":
            answer = {"disposition": "offered", "offer": "seats_10", "channel": step["channels"][0]}
            for outcome in world.respond(step["customer"], answer, step["at_ms"]):
                if outcome["kind"] == "converted" and outcome["offer"] == "seats_10" and not outcome["organic"]:
                    bought.add(step["account"])
    grown = {account.id for account in world.accounts if account.seats >= seats[account.id] + 10}
    assert bought
    assert len(bought & grown & changes) >= 0.7 * len(bought)  # the last ones are still on their way


def test_answers_follow_the_true_probabilities() -> None:
    """Each account is asked once: the share that buys is the mean of what is true for them."""
    answers: dict[bool, tuple[list[float], list[bool]]] = {True: ([], []), False: ([], [])}
    for seed in range(6):
        world = World(seed, 150, 20, end_ms=END_MS)
        for _ in world.history():
            pass
        for account in world.accounts:
            customer, shown = account.people[0].id, seed % 2 == 0
            account.windows.clear()
            pair = world.true_effect(customer, "annual_switch")
            if not account.alive or pair == (0.0, 0.0):
                continue
            disposition = "offered" if shown else "held_out"
            answer = {"disposition": disposition, "offer": "annual_switch", "channel": "in_app"}
            outcomes = world.respond(customer, answer, END_MS + DAY_MS // 24)
            kinds = {outcome["kind"] for outcome in outcomes if outcome["offer"] == "annual_switch"}
            expected, found = answers[shown]
            expected.append(pair[0] if shown else pair[1])
            found.append("converted" in kinds)
            assert shown or kinds <= {"converted"}
    for expected, found in answers.values():
        error = math.sqrt(sum(p * (1 - p) for p in expected)) / len(expected)
        assert abs(mean(found) - mean(expected)) < 3.5 * error


def test_without_an_answer_only_organic_purchases_happen_once_in_a_window() -> None:
    world = World(5, 100, 20, end_ms=END_MS)
    for _ in world.history():
        pass
    first = [o for person in world.customers for o in world.respond(person.id, None, END_MS)]
    assert all(outcome["organic"] and outcome["kind"] == "converted" for outcome in first)
    assert not [o for person in world.customers for o in world.respond(person.id, None, END_MS + DAY_MS)]


def steps(world: World, count: int) -> list[dict[str, Any]]:
    return list(itertools.islice(world.live(END_MS, 5), count))


def mean(values: list[Any]) -> float:
    return float(sum(values)) / max(1, len(values))


def deviation(shown: list[Any], held: list[Any]) -> float:
    total = 0.0
    for group in (shown, held):
        rate = mean([one.bought for one in group])
        total += rate * (1 - rate) / len(group)
    return math.sqrt(total)
