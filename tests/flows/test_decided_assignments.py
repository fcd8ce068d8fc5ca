"""The system's own decisions become examples: what chance decided, with the chance it had, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from small import card, consenting, playbook, question, region_of, say

from opportune.core.decisions.arms import Arms, arms_of
from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.outcomes import OutcomePost
from opportune.core.playbook import Arbitration, ModelSpec, Playbook
from opportune.core.policies import Policy
from opportune.flows.learning.decided import CHANCE_MIN, Assignment, Decided, decided_assignments
from opportune.flows.region import Region

SHARE = 0.25
SPEC = ModelSpec(model="m", owner="o", features=("used",))


def book(*policies: Policy, **app: Any) -> Playbook:
    """Exploring, with a quarter held out."""
    made = playbook(holdout=SHARE, limits=(), explore=True)
    exploration = msgspec.structs.replace(made.app.exploration, gamma=2.0, floor=0.2)
    settings = msgspec.structs.replace(
        made.app, exploration=exploration, arbitration=Arbitration(same_kind_max=2), **app
    )
    return msgspec.structs.replace(made, app=settings, policies=(*made.policies, *policies))


def rule(effect: str, when: str, **more: Any) -> Policy:
    return Policy(id=effect, effect=effect, class_="commercial", when=when, reason="r", owner="tests", **more)  # type: ignore[arg-type]  # effects by name


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    with region_of(tmp_path, book(), cards=(card(),)) as region:
        yield region


def decide(region: Region, count: int, **asked: Any) -> None:
    """So many customers, each used in another way, decided once each."""
    for number in range(count):
        who = f"c{number}"
        consenting(region, who)
        say(region, "usage.recorded", who, count=(number * 7) % 11)
        region.decide.run(question(who, **asked))


def found(region: Region, spec: ModelSpec = SPEC) -> Decided:
    return decided_assignments(region.records, spec, 10_000, SHARE, region.releases.brain_of)


def records(region: Region) -> list[DecisionRecord]:
    return [decode_record(one.record) for one in region.records.decisions(10_000)][::-1]


def arms(region: Region, record: DecisionRecord) -> Arms:
    made = arms_of(region.releases.brain(), record, SHARE)
    assert made is not None
    return made


def test_chances_are_those_of_the_draw_and_of_the_hold_out(region: Region) -> None:
    decide(region, 80)
    for record in records(region):
        made = arms(region, record)
        assert sum(made.offers.values()) + made.nothing == pytest.approx(1.0)
        if record.result.disposition == "offered":
            assert made.offers[record.result.offer or ""] == pytest.approx(
                record.result.action_probability * (1 - SHARE)
            )
        if record.result.disposition == "no_offer":
            assert made.nothing == pytest.approx(SHARE + record.result.action_probability * (1 - SHARE))


def test_offered_is_one_row_and_nothing_is_one_for_each_offer_that_had_a_chance(region: Region) -> None:
    decide(region, 80)
    by_time: dict[tuple[int, str | None], list[Assignment]] = {}
    for row in found(region).assignments:
        by_time.setdefault((row.at_ms, row.customer), []).append(row)
    kinds = set()
    for record in records(region):
        rows = by_time.get((record.seen.at_ms, record.asked.customer), [])
        made = arms(region, record)
        kinds.add(record.result.disposition)
        if record.result.disposition == "offered":
            (row,) = rows
            assert (row.treated, row.offer) == (True, record.result.offer)
            assert row.probability == made.offers[row.offer]
        else:
            likely = {offer for offer, chance in made.offers.items() if chance >= CHANCE_MIN}
            assert {row.offer for row in rows} == likely
            assert all(not row.treated and row.probability == made.nothing for row in rows)
        assert all(row.values == (record.seen.features["used"],) for row in rows)
    assert kinds == {"offered", "held_out", "no_offer"}


def test_what_was_offered_counts_whether_or_not_it_was_seen_and_for_acceptance_only_if_it_was(region: Region) -> None:
    decide(region, 30)
    offered = [one for one in region.records.decisions(100) if one.disposition == "offered"]
    region.act.run([OutcomePost(kind="seen", decision=offered[0].id)])
    assert sum(row.treated for row in found(region).assignments) == len(offered)
    acceptance = found(region, msgspec.structs.replace(SPEC, target="acceptance"))
    reached = [row for row in acceptance.assignments if row.treated and row.reached]
    assert [row.customer for row in reached] == [offered[0].customer]


def test_what_a_person_decides_is_no_arm(tmp_path: Path) -> None:
    with region_of(tmp_path, book(rule("require_review", "offer.id == 'seats'")), cards=(card(),)) as region:
        decide(region, 60)
        kinds = {record.result.disposition for record in records(region)}
        got = found(region)
        escalated = sum(one.disposition == "escalated" for one in region.records.decisions(1000))
    assert "escalated" in kinds
    assert {row.offer for row in got.assignments} == {"addon"}
    assert got.left_out["decision left to a person"] == escalated


def test_what_its_confidence_would_have_sent_to_a_person_is_no_arm_either(tmp_path: Path) -> None:
    unsure = book(confidence_min={"low": 1.0, "medium": 1.0, "high": 1.0})
    with region_of(tmp_path, unsure, cards=(card(),)) as region:
        decide(region, 40)
        got = found(region)
    assert got.assignments == ()
    assert got.left_out["decision without an offer that chance could have made"] > 0


def test_what_was_forced_says_nothing_of_what_would_be_chosen(tmp_path: Path) -> None:
    with region_of(tmp_path, book(rule("force", "offer.id == 'addon'")), cards=(card(),)) as region:
        decide(region, 20)
        got = found(region)
    assert got.assignments == ()
    assert got.left_out == {"decision forced by a policy": 20}


def test_of_a_slate_the_first_offer_counts_alone(region: Region) -> None:
    decide(region, 40, limit=2)
    slates = [record for record in records(region) if record.result.slate]
    rows = {row.customer: row for row in found(region).assignments if row.treated}
    assert slates
    for record in slates:
        row = rows[record.asked.customer]
        assert row.offer == record.result.offer
        assert row.probability == pytest.approx(record.result.action_probability * (1 - SHARE))


def test_what_a_feature_was_is_what_was_seen_also_beside_the_model(region: Region) -> None:
    decide(region, 5)
    spec = msgspec.structs.replace(SPEC, features=(), protected=("used",))
    assert {(row.values, row.beside) for row in found(region, spec).assignments} <= {
        ((), (record.seen.features["used"],)) for record in records(region)
    }


@pytest.mark.slow
def test_a_policy_that_follows_a_feature_gives_the_true_effect_by_its_chances_where_a_comparison_does_not(
    tmp_path: Path,
) -> None:
    """Customers who use more buy more by themselves, and are offered more: they look as if the offer did it."""
    plain = card()
    offered = msgspec.structs.replace(plain.offers[0].offered, parts=((-2.0, -2.0, 0.5, 0.5),))
    heads = tuple(msgspec.structs.replace(one, offered=offered) for one in plain.offers)
    with region_of(tmp_path, book(), cards=(msgspec.structs.replace(plain, offers=heads),)) as region:
        decide(region, 2500)
        rows = [row for row in found(region).assignments if row.offer == "seats"]
    true = 0.10
    used = np.array([row.values[0] for row in rows])
    treated = np.array([row.treated for row in rows])
    chance = np.array([row.probability for row in rows])
    organic = 0.05 + 0.6 * (used >= 5)
    bought = organic + true * treated  # as it is expected: only who was offered is left to chance
    naive = bought[treated].mean() - bought[~treated].mean()
    weighed = np.average(bought[treated], weights=1 / chance[treated]) - np.average(
        bought[~treated], weights=1 / chance[~treated]
    )
    assert len(rows) > 800
    assert treated[used >= 5].mean() > treated[used < 5].mean() + 0.1
    assert naive > true + 0.1
    assert abs(weighed - true) < 0.03
