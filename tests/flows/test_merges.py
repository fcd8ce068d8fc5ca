"""Two records that are one customer: linked by exact identifiers, merged, found under every name, made two again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from linked import linked_playbook, sent, tell, used, who
from small import ask, busy_writer, question, region_of

from opportune.core.customers import consent_status
from opportune.core.identity import LINKED_MAX
from opportune.core.outcomes import OutcomePost
from opportune.core.playbook import Identity
from opportune.core.signals import Draft
from opportune.flows import identify
from opportune.flows.merges import IdentityError
from opportune.flows.region import Region
from opportune.testing.clock import FrozenClock


@pytest.fixture(params=["memory", "sqlite"])
def region(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Region]:
    with region_of(tmp_path, linked_playbook(), kind=request.param) as found:
        yield found


def later(region: Region, ms: int = 1000) -> None:
    assert isinstance(region.clock, FrozenClock)
    region.clock.at_ms += ms


def consent(region: Region, customer: str) -> str:
    return consent_status(who(region, customer).consents, "marketing", "in_app", region.clock.now_ms())


def test_one_address_in_two_spellings_makes_one_customer_of_two(region: Region) -> None:
    tell(region, "usage.recorded", "app-1", count=3)
    tell(region, "person.updated", "app-1", email="Ada@Example.com", city="Rome")
    later(region)
    tell(region, "usage.recorded", "crm-7", count=4)
    tell(region, "person.updated", "crm-7", email=" ada@example.COM")
    later(region)
    tell(region, "usage.recorded", "crm-7", count=5)

    assert who(region, "crm-7").id == who(region, "ada@example.com").id == "app-1"
    assert used(region, "app-1") == 12
    assert who(region, "crm-7").traits["city"] == "Rome"
    assert [one.id for one in region.records.people()] == ["app-1"]
    (merge,) = region.records.merges_of("crm-7")
    assert (merge.kept, merge.merged, merge.rule, merge.actor) == ("app-1", "crm-7", "email", "ingest")
    leaves = [msgspec.json.decode(leaf) for leaf in region.records.leaves(0, region.records.leaf_count())]
    (said,) = [leaf for leaf in leaves if leaf["type"] == "merge"]
    assert (said["rule"], said["merge"], said["actor"]) == ("email", merge.id, "ingest")
    assert not any(name in str(said) for name in ("app-1", "crm-7", "ada@"))


def test_senders_without_ids(region: Region) -> None:
    tell(region, "person.updated", None, email="bo@example.com", city="Oslo")
    tell(region, "person.updated", None, email="BO@example.com", phone="0171 1234567")
    tell(region, "person.updated", None, phone="+49 171 1234567", email="bo@example.com")
    (only,) = region.records.people()
    assert only.id.startswith("c-")
    assert only.traits["city"] == "Oslo"
    assert {one.kind for one in only.identifiers} == {"email", "phone"}
    tell(region, "person.updated", "user-9", email="bo@example.com")
    assert who(region, "user-9").id == only.id


def test_an_address_as_subject_is_kept_as_a_pseudonym(region: Region) -> None:
    tell(region, "usage.recorded", "Cy@Example.com", count=1)
    tell(region, "usage.recorded", "cy@example.com", count=2)
    tell(region, "usage.recorded", "+49 171 7654321", count=9)
    assert used(region, "cy@example.com") == 3
    assert used(region, "+491717654321") == 9
    for stored in region.records.signals():
        assert stored.signal.customer is not None
        assert stored.signal.customer.startswith("c-")
    assert sent(region, "no.such.type", "cy@example.com").status == "quarantined"
    assert region.records.quarantined(1)[0].customer == who(region, "cy@example.com").id


def test_an_address_as_subject_leads_to_whoever_has_it(region: Region) -> None:
    tell(region, "person.updated", "user-1", email="di@example.com")
    tell(region, "usage.recorded", "di@example.com", count=5)
    assert used(region, "user-1") == 5
    assert region.records.merges_of("user-1") == []


@pytest.mark.parametrize("known_first", [True, False])
def test_an_alias_links_whether_it_comes_before_or_after(region: Region, known_first: bool) -> None:
    if known_first:
        tell(region, "usage.recorded", "anon-1", count=2)
    tell(region, "person.aliased", "user-1", previous="anon-1")
    tell(region, "usage.recorded", "anon-1", count=3)
    assert who(region, "anon-1").id == who(region, "user-1").id
    assert used(region, "user-1") == (5 if known_first else 3)
    assert region.decide.preview(question("anon-1")).disposition == "no_offer"


def test_what_cannot_be_read_is_flagged_and_identifies_nobody(region: Region) -> None:
    receipt = tell(region, "person.updated", "user-1", email="n/a", city="Bonn")
    assert receipt.flags == ("identifier:email",)
    assert who(region, "user-1").identifiers == ()
    assert "n/a" not in str(next(iter(region.records.signals())).signal.data)
    refused = sent(region, "person.updated", None, email="n/a")
    assert refused.status == "quarantined"
    assert [problem.field for problem in refused.problems] == ["data.email"]
    nameless = sent(region, "person.updated", None, city="Bonn")
    assert [problem.field for problem in nameless.problems] == ["subject"]
    assert "data.email" in nameless.problems[0].message


def test_only_what_the_playbook_links_on_links(tmp_path: Path) -> None:
    with region_of(tmp_path, linked_playbook(identity=Identity(link_on=("external",)))) as region:
        tell(region, "person.updated", "a", email="x@example.com", crm="7")
        tell(region, "person.updated", "b", email="x@example.com")
        assert who(region, "a").id != who(region, "b").id
        tell(region, "person.updated", "c", crm=" 7 ")
        assert who(region, "c").id == "a"


def test_a_shared_inbox_stops_linking(region: Region) -> None:
    for number in range(LINKED_MAX + 2):
        later(region)
        tell(region, "person.updated", f"user-{number}", email="office@example.com")
    linked = {who(region, f"user-{number}").id for number in range(LINKED_MAX)}
    assert linked == {"user-0"}
    assert who(region, f"user-{LINKED_MAX}").id == f"user-{LINKED_MAX}"
    assert who(region, f"user-{LINKED_MAX + 1}").id == f"user-{LINKED_MAX + 1}"
    tell(region, "person.updated", None, email="office@example.com")
    assert who(region, "office@example.com").id.startswith("c-")
    tell(region, "person.updated", "user-2", email="office@example.com")
    assert who(region, "office@example.com").id.startswith("c-")


def test_a_refusal_of_either_holds_whoever_spoke_last(region: Region) -> None:
    tell(region, "consent.withdrawn", "a", channels=["*"])
    later(region)
    tell(region, "consent.given", "b", channels=["*"])
    region.merging.merge("a", "b", "ann", "the same person")
    assert consent(region, "a") == consent(region, "b") == "withdrawn"
    tell(region, "consent.given", "b", at_ms=region.clock.now_ms() - 500, channels=["in_app"])
    assert consent(region, "a") == "withdrawn", "said before the merge, heard after it"
    later(region)
    tell(region, "consent.given", "b", channels=["*"])
    assert consent(region, "a") == "given"


def test_a_merge_keeps_every_contact(region: Region) -> None:
    for name in ("a", "b"):
        tell(region, "consent.given", name, channels=["*"])
    first = region.decide.run(question("b"))
    region.merging.merge("a", "b", "ann", "the same person")
    assert region.decide.run(question("a")).reason == "CONTACT_LIMIT"
    region.act.run([OutcomePost("delivered", decision=first.decision_id, customer="a")])
    assert [(one.decision, one.state) for one in who(region, "a").contacts] == [(first.decision_id, "delivered")]
    region.act.run([OutcomePost("converted", customer="b", offer="seats", amount=5.0)])
    assert who(region, "a").signals == 3


def test_the_same_question_is_one_decision_across_a_merge(region: Region) -> None:
    tell(region, "consent.given", "a", channels=["*"])
    later(region)
    tell(region, "consent.given", "b", channels=["*"])
    first = region.decide.run(question("b", idempotency_key="k"))
    region.merging.merge("a", "b", "ann", "the same person")
    assert region.decide.run(question("b", idempotency_key="k")).decision_id == first.decision_id
    other = region.decide.run(question("a", idempotency_key="k"))
    assert other.decision_id != first.decision_id
    assert other.reason == "CONTACT_LIMIT"
    assert region.replay(first.decision_id).same
    assert region.replay(other.decision_id).same


def test_a_decision_under_way_is_made_again_for_whoever_lives_on(region: Region) -> None:
    tell(region, "consent.withdrawn", "a", channels=["*"])
    later(region)
    tell(region, "consent.given", "b", channels=["*"])
    with busy_writer(region):
        region.records.submit(lambda tx: region.merging._merge(
            tx, region.releases.live(), "a", "b", region.clock.now_ms(), "person", "ann", "the same"
        ), lambda _: None)  # fmt: skip
        under_way = ask(region, question("b"))
    answer = under_way.result(60)
    assert answer.reason == "NO_CONSENT"
    stored = region.records.decision(answer.decision_id)
    assert stored is not None
    assert stored.customer == "a"
    assert region.replay(stored.id).same


def test_two_again(region: Region) -> None:
    tell(region, "person.updated", "a", email="a@example.com", city="Rome")
    tell(region, "usage.recorded", "a", count=1)
    tell(region, "consent.given", "a", channels=["*"])
    later(region)
    tell(region, "person.updated", "b", email="b@example.com", city="Oslo")
    tell(region, "usage.recorded", "b", count=10)
    tell(region, "consent.refused", "b", channels=["*"])
    later(region)
    before = {name: who(region, name) for name in "ab"}
    merge = region.merging.merge("b", "a", "ann", "looked the same")
    assert consent(region, "a") == "refused"
    later(region)
    tell(region, "usage.recorded", "b@example.com", count=100)
    undone = region.merging.unmerge(merge.id, "bob", "they are father and son")

    assert (undone.undone_by, undone.undone_ms) == ("bob", region.clock.now_ms())
    assert (used(region, "a"), used(region, "b")) == (1, 110)
    assert who(region, "a@example.com").id == "a"
    assert who(region, "b@example.com").id == "b"
    for name in "ab":
        now = who(region, name)
        assert now.traits == before[name].traits
        assert now.consents == before[name].consents
        assert now.identifiers == before[name].identifiers
        assert now.guard > before[name].guard
        assert (now.merged_into, now.absorbed) == (None, ())
    assert region.records.merges_of("a")[0].undone_by == "bob"
    with pytest.raises(IdentityError, match="undone before"):
        region.merging.unmerge(merge.id, "bob", "again")


def test_two_again_keep_limits_and_what_was_refused_meanwhile(region: Region) -> None:
    tell(region, "consent.given", "a", channels=["*"])
    later(region)
    tell(region, "consent.given", "b", channels=["*"])
    merge = region.merging.merge("a", "b", "ann", "looked the same")
    offered = region.decide.run(question("b"))
    assert offered.disposition == "offered"
    region.merging.unmerge(merge.id, "bob", "two people")
    later(region, 20 * 60_000)  # the reservation is over for whom it was made, not for the other
    assert region.decide.preview(question("b")).reason == "CONTACT_LIMIT"
    assert consent(region, "b") == "given"

    again = region.merging.merge("a", "b", "ann", "the same after all")
    later(region)
    tell(region, "consent.withdrawn", "a", channels=["*"])
    region.merging.unmerge(again.id, "bob", "two people")
    assert (consent(region, "a"), consent(region, "b")) == ("withdrawn", "withdrawn")


def test_what_a_person_made_two_no_signal_makes_one(region: Region) -> None:
    tell(region, "person.updated", "a", email="x@example.com")
    later(region)
    tell(region, "person.updated", "b", email="x@example.com")
    (merge,) = region.records.merges_of("b")
    region.merging.unmerge(merge.id, "bob", "a shared mailbox")
    tell(region, "person.updated", "b", email="x@example.com")
    later(region)
    tell(region, "person.updated", "c", email="x@example.com")
    assert {who(region, name).id for name in "abc"} == {"a", "b", "c"}
    region.merging.merge("a", "b", "ann", "one after all")
    assert who(region, "b").id == "a"


def test_undoing_one_merge_of_several_leaves_the_others(region: Region) -> None:
    for number, name in enumerate("abcd"):
        later(region)
        tell(region, "usage.recorded", name, count=10**number)
    inner = region.merging.merge("c", "d", "ann", "one")
    outer = region.merging.merge("a", "c", "ann", "one")
    region.merging.merge("b", "d", "ann", "one")
    assert used(region, "d") == 1111
    assert who(region, "b").id == "a"
    region.merging.unmerge(outer.id, "ann", "no")
    assert (used(region, "a"), used(region, "b"), used(region, "c"), used(region, "d")) == (11, 11, 1100, 1100)
    region.merging.unmerge(inner.id, "ann", "no")
    assert (used(region, "c"), used(region, "d")) == (100, 1000)


def test_two_long_histories_are_left_to_a_person(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identify, "LINKED_SIGNALS_MAX", 2)
    for name in "ab":
        for _ in range(3):
            tell(region, "usage.recorded", name, count=1)
        tell(region, "person.updated", name, email="x@example.com")
    assert who(region, "b").id == "b"
    (proposal,) = region.records.proposals("open", 10)
    assert (proposal.one, proposal.other, proposal.probability) == ("a", "b", 1.0)
    region.merging.accept(proposal.id, "ann", "the same address")
    assert used(region, "b") == 6
    with pytest.raises(IdentityError, match="accepted before"):
        region.merging.refuse(proposal.id, "ann", "no")


def test_what_cannot_be_merged(region: Region) -> None:
    tell(region, "usage.recorded", "a", count=1)
    with pytest.raises(IdentityError) as unknown:
        region.merging.merge("a", "nobody", "ann", "?")
    assert unknown.value.code == "unknown_customer"
    with pytest.raises(IdentityError) as same:
        region.merging.merge("a", "a", "ann", "?")
    assert same.value.code == "already_one"
    with pytest.raises(IdentityError) as missing:
        region.merging.unmerge("m-1", "ann", "?")
    assert missing.value.code == "unknown_merge"


def test_a_withdrawal_waits_for_what_is_leaving_whatever_it_names_the_customer_by(region: Region) -> None:
    tell(region, "person.updated", "a", email="a@example.com")
    later(region)
    tell(region, "person.updated", "b", email="b@example.com")
    for subject in ("a@example.com", "b"):
        assert region.outgoing.begin("b", lambda: True)  # handed over under the name that is merged meanwhile
        if subject == "a@example.com":
            region.merging.merge("a", "b", "ann", "one")
        told: list[object] = []
        draft = Draft("tests", region.clock.new_id(), "consent.withdrawn", None, subject, data={"channels": ["*"]})
        region.ingest.submit([draft], told.append)
        region.records.run(lambda tx: None)
        assert told == []
        region.outgoing.end("b")
        region.records.run(lambda tx: None)
        assert len(told) == 1
