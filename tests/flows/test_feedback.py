"""An answer is recorded once, sealed and in the ledger, becomes a signal, and may become a rule."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from small import consenting, playbook, question, region_of

from opportune.core.features import FeatureSpec, FeatureView
from opportune.core.feedback import Feedback, FeedbackError
from opportune.core.outcomes import OutcomePost
from opportune.core.playbook import Playbook
from opportune.core.policies import Policy
from opportune.core.signals import Draft, format_time
from opportune.flows.learning.feedback import answers, people_of, proposals_of, reason_counts, settle, tried
from opportune.flows.region import Region


def reviewed(**app: object) -> Playbook:
    """Every offer goes to a person first; features count what people said."""
    book = playbook()
    look = Policy(id="look", effect="require_review", class_="commercial", reason="look first", owner="tests")
    counted = FeatureView(
        view="said", version=1, entity="person", owner="tests", purposes=("marketing",),
        features=(
            FeatureSpec(id="overrides", sources="feedback.given", where="data.verdict != 'approve'",
                        aggregate="count", type="int", default=0),
        ),
    )  # fmt: skip
    return msgspec.structs.replace(
        book, policies=(*book.policies, look), views=(*book.views, counted),
        app=msgspec.structs.replace(book.app, **app),
    )  # fmt: skip


@pytest.fixture(params=["memory", "sqlite"])
def region(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Region]:
    with region_of(tmp_path, reviewed(), kind=request.param) as region:
        yield region


def escalated(region: Region, customer: str = "ada") -> str:
    consenting(region, customer)
    answer = region.decide.run(question(customer))
    assert answer.disposition == "escalated"
    return answer.decision_id


def test_an_answer_closes_the_review_and_is_a_signal(region: Region) -> None:
    id_ = escalated(region)
    before = region.records.leaf_count()
    said = Feedback("reject", "grace", ("wrong_need", "price"), note="she told me on the phone")

    receipt = region.answer.review(id_, said)

    assert (receipt.verdict, receipt.status) == ("reject", "accepted")
    review = region.records.review(id_)
    assert review is not None
    assert review.status == "rejected"
    assert region.records.leaf_count() == before + 2
    (one,) = answers(region)
    assert (one.by, one.reasons, one.offer) == ("grace", ("wrong_need", "price"), "seats")
    leaves = [msgspec.json.decode(leaf) for leaf in region.records.leaves(before, before + 2)]
    assert {leaf["type"] for leaf in leaves} == {"signal", "feedback"}
    assert not any("phone" in str(leaf) for leaf in leaves)
    person = region.records.person("ada")
    assert person is not None
    seen = region.releases.live().views.read(person.features, None, region.clock.now_ms())
    names = region.releases.live().views.names
    assert dict(zip(names, seen.values, strict=True))["overrides"] == 1


def test_the_same_answer_twice_is_one_and_another_is_a_conflict(region: Region) -> None:
    id_ = escalated(region)
    said = Feedback("approve", "grace", confidence=0.8)

    assert region.answer.review(id_, said).status == "accepted"
    leaves = region.records.leaf_count()
    assert region.answer.review(id_, said).status == "duplicate"
    with pytest.raises(FeedbackError, match="something else"):
        region.answer.review(id_, Feedback("reject", "grace", ("price",)))
    assert region.records.leaf_count() == leaves
    assert len(answers(region)) == 1


def test_a_refused_answer_leaves_nothing(region: Region) -> None:
    id_ = escalated(region)
    leaves = region.records.leaf_count()

    for said, match in (
        (Feedback("reject", "grace", ("nonsense",)), "no reason is called"),
        (Feedback("decline", "grace", ("price",)), "approve, change or reject"),
        (Feedback("change", "grace", ("price",), changed_to="nothing@nowhere"), "no candidate is called"),
    ):
        with pytest.raises(FeedbackError, match=match):
            region.answer.review(id_, said)
    with pytest.raises(FeedbackError, match="no review has the id"):
        region.answer.review("nobody", Feedback("approve", "grace"))

    review = region.records.review(id_)
    assert review is not None
    assert review.status == "open"
    assert region.records.leaf_count() == leaves


def test_only_reviewers_answer_where_the_playbook_names_people(tmp_path: Path) -> None:
    with region_of(tmp_path, reviewed(people={"grace": ("reviewer",), "bob": ("compliance",)})) as region:
        id_ = escalated(region)
        with pytest.raises(FeedbackError, match="`bob` is no reviewer"):
            region.answer.review(id_, Feedback("approve", "bob"))
        assert region.answer.review(id_, Feedback("approve", "grace")).status == "accepted"


def test_an_offer_that_an_agent_did_not_make_frees_what_it_reserved(tmp_path: Path) -> None:
    with region_of(tmp_path, playbook()) as region:
        consenting(region, "ada")
        first = region.decide.run(question("ada"))
        assert region.decide.run(question("ada")).reason == "CONTACT_LIMIT"

        receipt = region.answer.decline(first.decision_id, Feedback("decline", "sam", ("bad_timing",)))

        assert receipt.status == "accepted"
        assert [one.detail for one in region.records.outcomes(first.decision_id)] == ["bad_timing"]
        assert region.decide.run(question("ada")).disposition == "offered"
        again = region.answer.decline(first.decision_id, Feedback("decline", "sam", ("bad_timing",)))
        assert again.status == "duplicate"


def test_an_erased_customer_takes_what_was_said_with_them(region: Region) -> None:
    id_ = escalated(region)
    region.answer.review(id_, Feedback("reject", "grace", ("other",), note="a very private note"))

    region.records.erase(["ada"])

    assert answers(region) == []
    assert region.records.review(id_) is None


def test_people_are_held_against_what_customers_then_did(region: Region) -> None:
    for number in range(6):
        id_ = escalated(region, f"c{number}")
        region.answer.review(id_, Feedback("approve", "grace", confidence=0.5))
        kind = "accepted" if number < 3 else "declined"
        region.act.run([OutcomePost(kind=kind, decision=id_)])  # type: ignore[arg-type]  # one of the kinds

    (grace,) = people_of(region)

    assert (grace.answers, grace.accepted.hits, grace.accepted.rows) == (6, 3, 6)
    assert grace.brier == pytest.approx(0.25)
    assert grace.lift is not None
    assert grace.lift > 1.0


def test_a_planted_pattern_becomes_a_rule_that_a_person_accepts(tmp_path: Path) -> None:
    with region_of(tmp_path, reviewed()) as region:
        for number in range(40):
            name, heavy = f"c{number}", number % 2 == 0
            at = format_time(region.clock.now_ms())
            region.ingest.run(
                [Draft("tests", f"u{number}", "usage.recorded", at, name, None, data={"count": 90 if heavy else 2})]
            )
            id_ = escalated(region, name)
            verdict = Feedback("reject", "grace" if number % 4 else "sam", ("wrong_need",))
            region.answer.review(id_, verdict if heavy else Feedback("approve", "grace"))

        (found,) = proposals_of(region)
        counted = tried(region, reviewed(), found.proposal, 100)
        accepted = settle(region, found.proposal.id, "accepted", "boss", "they are right")

        assert found.proposal.when == "offer.id == 'seats' && used >= 90"
        assert found.standing.status == "open"
        assert (counted.decisions, counted.changed) == (40, 20)
        assert accepted.standing.by == "boss"
        assert proposals_of(region)[0].standing.status == "accepted"
        last = msgspec.json.decode(region.records.leaves(region.records.leaf_count() - 1, 10**9)[0])
        assert (last["type"], last["status"], last["actor"]) == ("feedback_proposal", "accepted", "boss")
        assert {one.reason: dict(one.given) for one in reason_counts(region)}["wrong_need"] == {"reject": 20}
