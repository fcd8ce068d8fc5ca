"""A slate reserves one contact per offer; each is confirmed, answered or given back for itself."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from small import consenting, kept, playbook, question, region_of

from opportune.core.catalog import ContactLimit
from opportune.core.outcomes import OutcomeError, OutcomePost
from opportune.core.playbook import Arbitration, Playbook
from opportune.flows.region import Region

TWICE = ContactLimit(limit="daily", at_most=2, per="1d")


def slating(*limits: ContactLimit) -> Playbook:
    book = playbook(limits=limits)
    return msgspec.structs.replace(
        book, app=msgspec.structs.replace(book.app, arbitration=Arbitration(same_kind_max=2))
    )


def states(region: Region) -> dict[str, str]:
    person = region.records.person("ada")
    assert person is not None
    return {one.offer: one.state for one in person.contacts}


def test_each_offer_has_a_grant_and_a_contact_of_its_own(tmp_path: Path) -> None:
    with region_of(tmp_path, slating(TWICE)) as region:
        consenting(region, "ada")
        answer = region.decide.run(question(limit=2))
        assert answer.offer is not None
        assert (answer.offer.id, [one.offer.id for one in answer.slate]) == ("seats", ["addon"])
        assert answer.slate[0].grant not in (None, answer.grant)
        assert states(region) == {"seats": "reserved", "addon": "reserved"}
        assert region.decide.run(question()).reason == "CONTACT_LIMIT"
        kept(region, answer.decision_id)


def test_a_limit_of_one_leaves_one(tmp_path: Path) -> None:
    with region_of(tmp_path, slating(ContactLimit(limit="daily", at_most=1, per="1d"))) as region:
        consenting(region, "ada")
        answer = region.decide.run(question(limit=2))
        assert answer.disposition == "offered"
        assert answer.slate == ()
        assert states(region) == {"seats": "reserved"}


def test_an_outcome_moves_the_contact_of_its_own_offer(tmp_path: Path) -> None:
    with region_of(tmp_path, slating(TWICE)) as region:
        consenting(region, "ada")
        id_ = region.decide.run(question(limit=2)).decision_id
        region.act.run([OutcomePost("delivered", decision=id_, offer="addon")])
        assert states(region) == {"seats": "reserved", "addon": "delivered"}
        region.act.run([OutcomePost("undeliverable", decision=id_)])  # the first, where none is named
        assert states(region) == {"seats": "released", "addon": "delivered"}
        again = region.decide.run(question())
        assert again.offer is not None
        assert again.offer.id == "seats"
        assert region.decide.run(question()).reason == "CONTACT_LIMIT"  # the addon still counts


def test_the_same_kind_of_outcome_for_two_offers_is_two(tmp_path: Path) -> None:
    with region_of(tmp_path, slating(TWICE)) as region:
        consenting(region, "ada")
        id_ = region.decide.run(question(limit=2)).decision_id
        posts = [OutcomePost("declined", decision=id_), OutcomePost("declined", decision=id_, offer="addon")]
        assert [one.status for one in region.act.run(posts)] == ["accepted", "accepted"]
        assert [one.status for one in region.act.run(posts)] == ["duplicate", "duplicate"]
        assert {one.offer for one in region.records.outcomes(id_)} == {"seats", "addon"}


def test_an_offer_that_was_in_no_slate_has_no_outcome(tmp_path: Path) -> None:
    with region_of(tmp_path, slating(TWICE)) as region:
        consenting(region, "ada")
        id_ = region.decide.run(question()).decision_id
        with pytest.raises(OutcomeError, match="did not offer `addon`"):
            region.act.run([OutcomePost("seen", decision=id_, offer="addon")])
