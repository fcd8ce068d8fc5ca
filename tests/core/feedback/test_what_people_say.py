"""A pattern that is planted is found and one that is not is not proposed; rates are honest about few answers."""

from __future__ import annotations

from random import Random

import pytest

from opportune.core.feedback import (
    DEFAULT_REASONS,
    Feedback,
    FeedbackError,
    Said,
    check_feedback,
    people,
    policy_of,
    rule_proposals,
    yaml_of,
)
from opportune.core.feedback.people import shrunk
from opportune.core.feedback.proposals import fisher

TYPES = {"plan": "string", "seats": "int", "trial": "bool", "spend": "double"}
REASONS = [one.reason for one in DEFAULT_REASONS]


def crowd(seed: int, *, planted: bool, rows: int = 240) -> list[Said]:
    """Answers of three people who override one in ten; with `planted` most of `seats` for small customers too."""
    chance = Random(seed)
    found = []
    for number in range(rows):
        segment = {"plan": chance.choice(("team", "business")), "seats": chance.randrange(1, 100),
                   "trial": chance.random() < 0.2, "spend": chance.uniform(0, 1000)}  # fmt: skip
        offer = chance.choice(("seats", "addon"))
        small = offer == "seats" and segment["plan"] == "team"
        overrides = chance.random() < (0.85 if planted and small else 0.1)
        reason = "wrong_need" if planted and small else chance.choice(REASONS[:-1])
        found.append(
            Said(f"d{number}", number, f"p{number % 3}", "reject" if overrides else "approve",
                 (reason,) if overrides else (), offer, segment)
        )  # fmt: skip
    return found


def test_a_planted_pattern_is_found_with_its_condition_and_reason() -> None:
    for seed in range(10):
        (found,) = rule_proposals(crowd(seed, planted=True), DEFAULT_REASONS, TYPES)

        assert (found.offer, found.reason, found.effect) == ("seats", "wrong_need", "forbid")
        assert found.when == "offer.id == 'seats' && plan == 'team'"
        assert found.hits > 0.7 * found.rows > 5.0 * found.others_hits
        assert found.people == 3


def test_nothing_is_proposed_where_there_is_no_pattern() -> None:
    assert [rule_proposals(crowd(seed, planted=False), DEFAULT_REASONS, TYPES) for seed in range(60)] == [()] * 60


def test_a_team_that_overrides_most_of_everything_has_no_pattern_either() -> None:
    """Here the rate alone would propose, and so would any single test: dozens of segments are tried."""
    found = []
    for seed in range(40):
        chance = Random(seed)
        said = [
            Said(one.decision, one.at_ms, one.by, "reject" if chance.random() < 0.65 else "approve", ("price",),
                 one.offer, one.segment)
            for one in crowd(seed, planted=False)
        ]  # fmt: skip
        found.append(rule_proposals(said, DEFAULT_REASONS, TYPES))

    assert sum(map(bool, found)) <= 1


def test_what_one_person_alone_says_is_no_rule() -> None:
    said = crowd(1, planted=True)
    alone = [
        Said(one.decision, one.at_ms, "p0" if one.verdict != "approve" else one.by, one.verdict, one.reasons, one.offer,
             one.segment)
        for one in said
    ]  # fmt: skip

    assert rule_proposals(alone, DEFAULT_REASONS, TYPES) == ()


def test_a_proposal_is_the_same_tomorrow_and_is_a_policy() -> None:
    (one,) = rule_proposals(crowd(1, planted=True), DEFAULT_REASONS, TYPES)
    (again,) = rule_proposals(crowd(2, planted=True), DEFAULT_REASONS, TYPES)

    assert one.id == again.id
    assert policy_of(one).effect == "forbid"
    assert f"id: {policy_of(one).id}" in yaml_of(one)


def test_fishers_test_is_that_of_the_books() -> None:
    """The lady tasting tea, 4 of 4 and 3 of 4."""
    assert fisher(4, 4, 0, 4) == pytest.approx(1 / 70)
    assert fisher(3, 4, 1, 4) == pytest.approx(17 / 70)
    assert fisher(0, 4, 4, 4) == pytest.approx(1.0)


def test_of_a_person_with_few_answers_the_teams_rate_is_said_with_a_wide_interval() -> None:
    few, many = shrunk(2, 2, 0.1), shrunk(200, 1_000, 0.1)

    assert 0.1 < few.rate < 0.4
    assert few.high - few.low > 4.0 * (many.high - many.low)
    assert many.low < 0.2 < many.high


def test_people_are_held_against_what_happened() -> None:
    """One lets through what customers take, one what they do not; both are sure."""
    said = [
        Said(f"{by}{number}", number, by, "approve", (), "seats", {}, 0.5, 0.9, accepted)
        for by, accepted in (("ada", True), ("bob", False))
        for number in range(40)
    ]
    ada, bob = people(said)

    assert (ada.by, bob.by) == ("ada", "bob")
    assert ada.lift is not None
    assert bob.lift is not None
    assert ada.lift > 1.5 > 0.6 > bob.lift
    assert ada.brier == pytest.approx(0.01)
    assert bob.brier == pytest.approx(0.81)
    assert bob.overconfident == pytest.approx(0.9)
    assert ada.accepted.low > bob.accepted.high


@pytest.mark.parametrize(
    ("said", "field", "says"),
    [
        (Feedback("reject", "ada"), "reasons", "say why"),
        (Feedback("reject", "ada", ("wrong_ned",)), "reasons", "did you mean `wrong_need`"),
        (Feedback("reject", "ada", ("other",)), "note", "needs a note"),
        (Feedback("approve", "ada", changed_to="seats@in_app"), "changed_to", "goes with the verdict"),
        (Feedback("change", "ada", ("price",)), "changed_to", "goes with the verdict"),
        (Feedback("change", "ada", ("price",), changed_to="seat@in_app"), "changed_to", "did you mean `seats@in_app`"),
    ],
)
def test_what_cannot_be_taken_names_the_field_and_the_fix(said: Feedback, field: str, says: str) -> None:
    with pytest.raises(FeedbackError, match=says) as caught:
        check_feedback(said, DEFAULT_REASONS, ["seats@in_app", "addon@in_app"])
    assert caught.value.field == field
