"""What-if: a decision with something changed beside what it was; nothing is written, and what cannot be is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from small import consenting, playbook, question, region_of, say

from opportune.core.decisions.questions import QuestionError
from opportune.core.decisions.whatif import AddedContact, Supposed
from opportune.flows.region import Region
from opportune.flows.replay import UnknownDecision
from opportune.flows.whatif import flips_of, what_if_decided, what_if_now


def refused(region: Region) -> str:
    """A decision about somebody who never consented."""
    say(region, "usage.recorded", "ada", "acme", count=3)
    answer = region.decide.run(question())
    assert answer.reason == "NO_CONSENT"
    return answer.decision_id


def kept(region: Region) -> tuple[Any, ...]:
    """Everything a what-if must not touch: what is counted, the ledger, who was reserved, the last decision."""
    records = region.records
    newest = [one.id for one in records.decisions(5)]
    return dict(records.counts()), records.leaf_count(), records.person("ada"), records.account("acme"), newest


def test_consent_that_is_supposed_lets_an_offer_through_and_writes_nothing(tmp_path: Path) -> None:
    with region_of(tmp_path, kind="sqlite") as region:
        id_ = refused(region)
        before = kept(region)

        found = what_if_decided(region, id_, Supposed(consents={"marketing/in_app": "given"}))

        assert (found.before.answer, found.after.answer) == ("nothing", "seats@in_app")
        assert (found.before.reason, found.after.reason) == ("NO_CONSENT", "OFFERED")
        assert found.supposed == ("with consent to marketing by in_app given (it is unknown)",)
        assert found.different == ("disposition", "reason", "answer", "value", "confidence")
        assert [(one.rule, one.frees) for one in found.rules] == [("consent", ("seats@in_app", "addon@in_app"))]
        fates = {one.candidate: (one.before, one.after) for one in found.candidates}
        assert fates["seats@in_app"] == (("consent", "consent"), ("chosen", "chosen"))
        assert found.recorded is False
        assert kept(region) == before


def test_what_is_supposed_of_nothing_is_what_was(tmp_path: Path) -> None:
    with region_of(tmp_path, playbook(holdout=0.3, explore=True)) as region:
        consenting(region, *(f"c{n}" for n in range(12)))
        for number in range(12):
            id_ = region.decide.run(question(f"c{number}")).decision_id

            found = what_if_decided(region, id_, Supposed())

            assert (found.before, found.different, found.candidates) == (found.after, (), ())


def test_contacts_time_account_and_channels_can_be_supposed(tmp_path: Path) -> None:
    with region_of(tmp_path) as region:
        consenting(region, "ada")
        region.decide.run(question())
        id_ = region.decide.run(question()).decision_id

        def after(**supposed: Any) -> tuple[str, str]:
            side = what_if_decided(region, id_, Supposed(**supposed)).after
            return side.disposition, side.reason

        assert after() == ("no_offer", "CONTACT_LIMIT")
        assert after(without=("seats@in_app",)) == after(without=("all",)) == ("offered", "OFFERED")
        assert after(at="2030-01-01T00:00:00Z") == ("offered", "OFFERED")
        assert after(without=("all",), contacts=(AddedContact("addon", "in_app", "3h"),))[1] == "CONTACT_LIMIT"
        assert after(without=("all",), contacts=(AddedContact("addon", "in_app", "3d"),))[0] == "offered"
        assert after(without=("all",), channels=())[1] == "NO_CANDIDATE"


def test_another_release_can_be_supposed(tmp_path: Path) -> None:
    with region_of(tmp_path) as region:
        id_ = refused(region)
        book = playbook()
        other = region.release(msgspec.structs.replace(book, policies=book.policies[:1])).hash

        found = what_if_decided(region, id_, Supposed(release=other))

        assert (found.before.release, found.after.release) == (region.records.live(), other)
        assert (found.after.disposition, found.supposed) == ("offered", (f"release {other}",))


def test_a_customer_as_they_are_now(tmp_path: Path) -> None:
    with region_of(tmp_path) as region:
        refused(region)
        before = kept(region)

        found = what_if_now(region, question(), Supposed(consents={"marketing/in_app": "given"}))

        assert (found.before.disposition, found.after.disposition) == ("no_offer", "offered")
        assert kept(region) == before


@pytest.mark.parametrize(
    ("supposed", "field", "sentence"),
    [
        (Supposed(features={"usd": 1}), "features.usd", "did you mean `used`"),
        (Supposed(features={"used": "many"}), "features.used", "must be of type int"),
        (Supposed(features={"used": True}), "features.used", "must be of type int"),
        (Supposed(features={"used": 2**63}), "features.used", "64 bits"),
        (Supposed(context={"plan": "a"}), "context.plan", "no context of moment `limit`"),
        (Supposed(consents={"marketing/inapp": "given"}), "consents.marketing/inapp", "mean `marketing/in_app`"),
        (Supposed(consents={"marketing/in_app": "gven"}), "consents.marketing/in_app", "did you mean `given`"),
        (Supposed(channels=("in-app",)), "channels", "did you mean `in_app`"),
        (Supposed(without=("seats@in_app",)), "without", "no contact that counts"),
        (Supposed(contacts=(AddedContact("seat", "in_app"),)), "contacts[0].offer", "did you mean `seats`"),
        (Supposed(contacts=(AddedContact("seats", "in_app", "soon"),)), "contacts[0].ago", "soon"),
        (Supposed(at="tomorrow"), "at", "tomorrow"),
    ],
)  # fmt: skip
def test_what_cannot_be_supposed_is_named(tmp_path: Path, supposed: Supposed, field: str, sentence: str) -> None:
    with region_of(tmp_path) as region:
        id_ = refused(region)
        with pytest.raises(QuestionError) as told:
            what_if_decided(region, id_, supposed)

    assert (told.value.field, sentence in told.value.message) == (field, True), told.value.message


def test_flips_are_for_one_candidate_or_all_losers(tmp_path: Path) -> None:
    with region_of(tmp_path) as region:
        id_ = refused(region)

        both = flips_of(region, id_)
        one = flips_of(region, id_, "seats@in_app")

        assert [flip.candidate for flip in both] == ["seats@in_app", "addon@in_app"]
        assert one == both[:1]
        assert one[0].words == (
            "It would have won with consent to marketing by in_app given (it is unknown)."
        )
        assert "and with a value 20.01 EUR higher" in both[1].words
        with pytest.raises(QuestionError, match="no candidate is called `nothing`"):
            flips_of(region, id_, "nothing")
        with pytest.raises(UnknownDecision):
            flips_of(region, "nothing")
