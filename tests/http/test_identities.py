"""Who is who over HTTP: proposals decided, merges made and undone, every name leading to the same customer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest
from door import Door, served

from opportune.flows.identify import proposal_of

SAID = {"actor": "ann", "why": "she said so on the phone"}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with served(tmp_path_factory.mktemp("identities")) as found:
        yield found


def proposed(door: Door, one: str, other: str) -> str:
    region = door.region
    proposal = proposal_of(region.vault, one, other, region.clock.now_ms(), 0.97, {"last_name": "same"})
    region.records.run(lambda tx: tx.put_proposal(proposal))
    return proposal.id


def test_a_merge_and_its_undoing(door: Door) -> None:
    one, other = door.customer(), door.customer(consent=False)
    reply = door.post("/v1/identities/merges", {"one": f"{one}@example.com", "other": other, **SAID})
    assert reply.status == 201, reply
    merge = reply.json()["merge"]
    assert {merge["kept"], merge["merged"]} == {one, other}
    assert (merge["rule"], merge["actor"], merge["reason"]) == ("person", "ann", SAID["why"])
    shown = door.get(f"/v1/customers/{merge['merged']}").json()
    assert merge["kept"] in str(shown)
    assert door.decide(merge["merged"]).json()["customer"] == merge["kept"]
    assert datetime.fromisoformat(merge["at"]).tzinfo is not None
    assert (merge["undone_at"], "at_ms" in merge) == (None, False)
    undone = door.send("DELETE", f"/v1/identities/merges/{merge['id']}", SAID)
    assert undone.status == 200, undone
    assert undone.json()["merge"]["undone_by"] == "ann"
    assert door.decide(merge["merged"]).json()["customer"] == merge["merged"]
    again = door.send("DELETE", f"/v1/identities/merges/{merge['id']}", SAID)
    assert again.problem(409)[0] == "already-undone"


def test_proposals_are_decided_once(door: Door) -> None:
    one, other, third = door.customer(), door.customer(), door.customer()
    accepted, refused = proposed(door, one, other), proposed(door, one, third)
    listed = door.get("/v1/identities/proposals").json()
    assert {accepted, refused} <= {each["id"] for each in listed}
    assert listed[0]["evidence"] == {"last_name": "same"}
    path = "/v1/identities/proposals"
    assert door.post(f"{path}/{accepted}", {"decision": "accept", **SAID}).json()["merge"]["rule"] == "proposal"
    assert door.post(f"{path}/{refused}", {"decision": "refuse", **SAID}).json()["proposal"]["status"] == "refused"
    assert door.post(f"{path}/{refused}", {"decision": "accept", **SAID}).problem(409)[0] == "already-decided"
    assert door.post(f"{path}/p-none", {"decision": "accept", **SAID}).problem(404)[0] == "unknown-proposal"
    assert door.post(f"{path}/{refused}", {"decision": "perhaps", **SAID}).status == 400


def test_what_cannot_be(door: Door) -> None:
    one = door.customer()
    path = "/v1/identities/merges"
    assert door.post(path, {"one": one, "other": "nobody", **SAID}).problem(404)[0] == "unknown-customer"
    assert door.post(path, {"one": one, "other": one, **SAID}).problem(409)[0] == "already-one"
    assert door.post(path, {"one": one, "other": one}).status == 400
    assert door.send("DELETE", f"{path}/m-none", SAID).problem(404)[0] == "unknown-merge"
    assert door.post(path, {"one": one, "other": one, **SAID}, key="write_key").status in (401, 403)
