"""Nothing unapproved is released or promoted; an approval is of exactly these bytes, by others than their authors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from artefacts import PEOPLE, altered, approved, card, move, playbook, region_at, spec

from opportune.core.models import card_hash, encode_card
from opportune.core.registry import RegistryError
from opportune.flows.govern import GovernError
from opportune.flows.region import Region
from opportune.ports import StoredRelease


@pytest.fixture(params=["memory", "files"])
def region(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Region]:
    with region_at(tmp_path, request.param) as found:
        yield found


def refused(region: Region, code: str, *given: Any) -> str:
    """The words with which an approval is refused."""
    with pytest.raises(RegistryError) as told:
        region.registry.approve(*given)
    assert told.value.code == code, str(told.value)
    return str(told.value)


def test_a_model_that_nobody_approved_is_not_released(region: Region) -> None:
    for step in ("unknown", "proposed"):
        if step == "proposed":
            region.registry.propose(card(), "ada", spec())
        with pytest.raises(GovernError, match="is not approved and cannot be released") as told:
            region.release(playbook(), [card()])
        assert "opportune" in str(told.value), "it says what to run"
    assert region.records.releases() == []


def test_an_approved_model_is_released_and_goes_live(region: Region) -> None:
    name = approved(region, card())
    made = region.release(playbook(), region.registry.releasable(playbook()))
    assert [card_hash(one) for one in made.cards] == [name]
    region.promote(made.hash, "ann", "ready")
    found = region.registry.standing(name)
    assert (found.stage, found.live[0].release, found.live[0].why) == ("live", made.hash, "ready")


def test_a_high_risk_takes_two_people_and_the_release_says_who_is_missing(region: Region) -> None:
    name = region.registry.propose(card(), "ada", spec("high")).card
    region.registry.approve(name, "dana", PEOPLE, "good")
    with pytest.raises(GovernError, match="1 more, other than `dana`") as told:
        region.release(playbook("high"), [card()])
    assert name[:12] in str(told.value)
    refused(region, "stage", name, "dana", PEOPLE, "good again")
    region.registry.approve(name, "lee", PEOPLE, "and lawful")
    assert region.release(playbook("high"), [card()]).cards == (card(),)


def test_a_playbook_of_higher_risk_asks_for_a_second_person(region: Region) -> None:
    approved(region, card())
    with pytest.raises(GovernError, match="1 more, other than `dana`"):
        region.release(playbook("high"), [card()])
    assert region.registry.releasable(playbook("high")) == []


@pytest.mark.parametrize(
    ("by", "reason", "code", "says"),
    [
        ("ada", "good", "role", "takes compliance or model_approver"),
        ("rae", "good", "role", "roles of `rae`"),
        ("eve", "good", "person", "not under `people`"),
        ("dana", "", "reason", "--reason TEXT"),
        ("dana", " \n", "reason", "--reason TEXT"),
    ],
)
def test_who_may_not_approve_is_told_why(region: Region, by: str, reason: str, code: str, says: str) -> None:
    name = region.registry.propose(card(), "ada", spec()).card
    leaves = region.records.leaf_count()
    assert says in refused(region, code, name, by, PEOPLE, reason)
    assert region.registry.standing(name).stage == "validated"
    assert region.records.leaf_count() == leaves, "what was refused is not written"


def test_nobody_approves_what_they_made(region: Region) -> None:
    name = region.registry.propose(card(), "dana", spec()).card
    assert "somebody else" in refused(region, "own", name, "dana", PEOPLE, "mine, and good")
    assert region.registry.approve(name, "lee", PEOPLE, "good").approved


def test_a_model_that_failed_its_gates_waits_for_no_approval(region: Region) -> None:
    bad = card(2, ece=0.2, passed=False)
    name = region.registry.propose(bad, "ada", spec()).card
    assert region.registry.standing(name).stage == "proposed"
    assert "models show" in refused(region, "gates", name, "dana", PEOPLE, "looks fine to me")
    lying = msgspec.structs.replace(bad, approved=True)
    assert region.registry.propose(lying, "ada", spec()).stage == "proposed", "a flag is no figure"


def test_a_limit_that_was_tightened_since_holds(region: Region) -> None:
    approved(region, card())
    strict = playbook(gates={"ece_max": 0.01})
    assert region.registry.releasable(strict) == []
    with pytest.raises(GovernError, match=r"asks for 0\.01 now, and it was 0\.03"):
        region.release(strict, [card()])
    with pytest.raises(GovernError, match="gate auc_min was not measured"):
        region.release(playbook(gates={"auc_min": 0.5}), [card()])


def test_other_bytes_need_another_approval(region: Region) -> None:
    approved(region, card())
    other = msgspec.structs.replace(card(), calibration=msgspec.structs.replace(card().calibration, slope=1.01))
    with pytest.raises(GovernError, match="nobody has proposed it"):
        region.release(playbook(), [other])
    assert not region.registry.propose(other, "ada", spec()).approved


def test_a_stored_release_is_not_promoted_once_its_model_is_refused(region: Region) -> None:
    name = approved(region, card())
    made = region.release(playbook(), [card()]).hash
    region.registry.refuse(name, "lee", PEOPLE, "unfair to small accounts")
    with pytest.raises(GovernError, match=r"was refused by `lee` \(unfair to small accounts\)"):
        region.promote(made, "ann", "all the same")
    assert region.records.live() is None
    assert region.registry.releasable(playbook()) == []


def test_what_was_live_may_be_rolled_back_to_unless_it_was_refused_since(region: Region) -> None:
    first = approved(region, card(1))
    region.promote(one := region.release(playbook(), [card(1)]).hash, "ann", "first")
    move(region)
    second = approved(region, card(2))
    region.promote(two := region.release(playbook(), [card(2)]).hash, "ann", "second")
    move(region)
    assert region.registry.standing(first).stage == "retired"
    region.registry.retire(first, "ada", PEOPLE, "the second is better")
    assert region.rollback("ann", "the second is slow") == one
    move(region)
    assert [span.release for span in region.registry.standing(first).live] == [one, one]
    assert region.registry.standing(second).stage == "retired"
    region.registry.refuse(second, "lee", PEOPLE, "it was wrong")
    with pytest.raises(GovernError, match="was refused by `lee`"):
        region.promote(two, "ann", "again")
    assert region.records.live() == one


def test_the_newest_approved_is_released_and_an_older_one_when_that_is_refused(region: Region) -> None:
    old, new = approved(region, card(1)), approved(region, card(2))
    unapproved = region.registry.propose(card(3), "ada", spec()).card
    assert [card_hash(one) for one in region.registry.releasable(playbook())] == [new]
    [(left_out, why)] = region.registry.left_out(playbook(), region.registry.releasable(playbook()))
    assert (left_out.card, "opportune approve" in why) == (unapproved, True)
    region.registry.refuse(new, "dana", PEOPLE, "no")
    assert [card_hash(one) for one in region.registry.releasable(playbook())] == [old]


def test_a_file_that_was_altered_is_refused_and_loses_its_approval(tmp_path: Path) -> None:
    with region_at(tmp_path, "files") as region:
        name = approved(region, card())
        file = tmp_path / "shelf/models" / name
        whole = file.read_bytes()
        file.write_bytes(whole.replace(b'"slope":1.0', b'"slope":3.0', 1))
        with pytest.raises(RegistryError, match="was altered after it was stored") as told:
            region.registry.releasable(playbook())
        assert (told.value.code, "restore the file" in str(told.value)) == ("altered", True)
        region.registry.take_in()
        assert region.registry.standing(name).stage == "voided"
        # The right bytes come back; the approval does not.
        file.write_bytes(whole)
        assert region.registry.releasable(playbook()) == []
        with pytest.raises(GovernError, match="it is voided"):
            region.release(playbook(), [card()])
        move(region)
        assert region.registry.propose(card(), "ada", spec()).stage == "validated"
        assert region.registry.approve(name, "lee", PEOPLE, "looked at anew").approved


def test_an_altered_artefact_is_not_approved(tmp_path: Path) -> None:
    with region_at(tmp_path, "files") as region:
        name = region.registry.propose(card(), "ada", spec()).card
        file = tmp_path / "shelf/models" / name
        file.write_bytes(file.read_bytes() + b" ")
        with pytest.raises(RegistryError, match="altered") as told:
            region.registry.approve(name, "dana", PEOPLE, "good")
        assert told.value.code == "altered"
        assert region.registry.standing(name).stage == "voided"


def test_a_release_that_was_altered_in_the_store_is_not_used_and_holds_up_nobody(region: Region) -> None:
    approved(region, card())
    made = region.release(playbook(), [card()]).hash
    stored = region.records.release(made)
    assert stored is not None
    bad = StoredRelease("r" + "0" * 16, stored.created_ms, "", altered(stored.manifest))
    region.records.run(lambda tx: tx.put_release(bad))
    with pytest.raises(GovernError, match="was altered in the store") as told:
        region.promote(bad.hash, "ann", "looks the same")
    assert "opportune release" in str(told.value)
    with pytest.raises(GovernError, match="was altered in the store"):
        region.releases.get(bad.hash)
    # Even as the live one it is not served, and another takes its place.
    region.records.run(lambda tx: tx.set_live(bad.hash, 1, "mallory", "quietly"))
    with pytest.raises(GovernError, match="was altered in the store"):
        region.releases.live()
    region.promote(made, "ann", "the right one")
    assert region.releases.live().hash == made


def test_what_was_trained_beside_a_running_server_is_taken_in_later(region: Region) -> None:
    name = region.registry.offer(card(), "ada", spec())
    assert region.records.model_events() == []
    assert (region.registry.standing(name).stage, region.registry.passed(name)) == ("proposed", True)
    assert [one.model for one in region.registry.waiting_for_people(playbook())] == ["accept"]
    assert region.registry.take_in() == (name,)
    assert region.registry.take_in() == ()
    assert [one.kind for one in region.records.model_events(name)] == ["proposed", "validated"]


def test_a_proposal_found_late_does_not_bring_back_what_was_refused(region: Region) -> None:
    name = region.registry.propose(card(), "ada", spec()).card
    move(region)
    region.registry.offer(card(), "dana", spec())
    move(region)
    region.registry.refuse(name, "lee", PEOPLE, "no")
    region.registry.take_in()
    assert region.registry.standing(name).stage == "refused"


def test_every_step_is_in_the_ledger_and_reasons_only_as_commitments(region: Region) -> None:
    name = approved(region, card())
    found = [msgspec.json.decode(leaf) for leaf in region.records.leaves(0, region.records.leaf_count())]
    steps = [(one["step"], one["card"], one["actor"]) for one in found if one["type"] == "model"]
    assert steps == [("proposed", name, "ada"), ("validated", name, "gates"), ("approved", name, "dana")]
    assert b"it holds on later rows" not in b"".join(region.records.leaves(0, region.records.leaf_count()))


def test_two_approvals_at_once_by_one_person_count_once(region: Region) -> None:
    name = region.registry.propose(card(), "ada", spec("high")).card
    codes: list[str] = []
    ready = threading.Barrier(4)

    def work() -> None:
        ready.wait(30)
        try:
            region.registry.approve(name, "dana", PEOPLE, "good")
        except RegistryError as error:
            codes.append(error.code)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert codes == ["stage"] * 3
    assert [one.by for one in region.registry.standing(name).approvals] == ["dana"]


def test_models_are_named_by_hash_or_by_model(region: Region) -> None:
    first, second = (region.registry.propose(card(number), "ada", spec()).card for number in (1, 2))
    registry = region.registry
    assert registry.named(first) == registry.named(first[:10]) == registry.named(f"accept@{first[:10]}") == first
    region.registry.approve(first, "dana", PEOPLE, "good")
    assert registry.named("accept", open_=True) == second
    with pytest.raises(RegistryError, match="the registry has `accept`"):
        registry.named("accep")
    with pytest.raises(RegistryError, match="cannot be a name"):
        registry.offer(card(), "somebody@example.com", spec())
    assert encode_card(registry.card(first)) == encode_card(card(1))
