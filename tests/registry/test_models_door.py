"""Models over HTTP: people decide with keys of their own, and every refusal says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from artefacts import approved, card, move, playbook, region_at, spec

from opportune.doors.cli.server import Server, listen
from opportune.doors.http.keys import ALL_SCOPES, USUAL, Keyring, Scopes
from opportune.flows.region import Region

KEYS: dict[str, Scopes] = {
    **dict.fromkeys(("ada", "dana", "lee", "eve"), frozenset({"read", "approve"})),
    "machine": USUAL["api_key"],
    "reader": frozenset({"read"}),
}


class Door:
    """A served region; calls go out with somebody's key."""

    def __init__(self, region: Region, url: str) -> None:
        self.region = region
        self._client = httpx2.Client(base_url=url, timeout=60)

    def get(self, path: str, key: str = "reader") -> Any:
        return self._client.get(path, headers={"authorization": f"Bearer key-{key}"})

    def post(self, path: str, body: object, key: str) -> Any:
        return self._client.post(path, json=body, headers={"authorization": f"Bearer key-{key}"})

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    ring = Keyring({f"key-{name}": scopes for name, scopes in KEYS.items()}, {f"key-{name}": name for name in KEYS})
    with region_at(tmp_path) as region:
        approved(region, card(1))
        region.promote(region.release(playbook(), [card(1)]).hash, "ann", "first")
        move(region)
        with Server(region, ring, listen("127.0.0.1", 0)) as server:
            found = Door(region, server.url)
            yield found
            found.close()


def test_a_model_is_approved_by_two_people_with_their_own_keys(door: Door) -> None:
    name = door.region.registry.offer(card(2), "ada", spec("high"))
    listed = door.get("/v1/models").json()
    assert (listed[0]["card"], listed[0]["stage"], listed[0]["needed"]) == (name, "proposed", 2)
    one = door.post(f"/v1/models/{name}/approvals", {"reason": "ranks later rows"}, "dana")
    assert (one.status_code, one.json()["stage"], one.json()["approved"]) == (200, "validated", False)
    two = door.post(f"/v1/models/{name[:8]}/approvals", {"reason": "and lawful"}, "lee").json()
    assert (two["stage"], [by["by"] for by in two["approvals"]]) == ("approved", ["dana", "lee"])
    found = door.get(f"/v1/models/{name}/history").json()
    assert [event["kind"] for event in found["history"]] == ["proposed", "validated", "approved", "approved"]
    whole = door.get(f"/v1/models/{name}").json()
    assert whole["card"]["training"]["report"]["segments"][0]["group"] == "team"
    assert door.get(f"/v1/models/{name}/document").text.startswith("# Model card: accept")


@pytest.mark.parametrize(
    ("key", "status", "says"),
    [
        ("ada", 403, "opportune keys add NAME --scopes approve,read"),
        ("eve", 403, "not under `people`"),
        ("machine", 403, "may not use `approve`"),
        ("reader", 403, "may not use `approve`"),
        ("nobody", 401, "API key"),
    ],
)
def test_whoever_may_not_approve_gets_a_problem_document(door: Door, key: str, status: int, says: str) -> None:
    name = door.region.registry.offer(card(2), "lee", spec())
    answer = door.post(f"/v1/models/{name}/approvals", {"reason": "good"}, key)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]
    assert door.region.registry.standing(name).approvals == ()


def test_the_author_is_told_that_somebody_else_has_to(door: Door) -> None:
    name = door.region.registry.offer(card(2), "lee", spec())
    answer = door.post(f"/v1/models/{name}/approvals", {"reason": "mine"}, "lee")
    assert (answer.status_code, "somebody else has to approve it" in answer.json()["detail"]) == (403, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [({"reason": ""}, 400), ({}, 400), ({"reason": "x" * 1001}, 400), ({"reason": "   "}, 422), ({"reason": 1}, 400),
     ({"reason": "good", "by": "lee"}, 400)],
)  # fmt: skip
def test_a_reason_is_needed_and_nobody_speaks_for_another(door: Door, body: object, status: int) -> None:
    name = door.region.registry.offer(card(2), "ada", spec())
    answer = door.post(f"/v1/models/{name}/approvals", body, "dana")
    assert answer.status_code == status, answer.text
    assert door.region.registry.standing(name).approvals == ()


def test_refusing_and_retiring(door: Door) -> None:
    live = door.get("/v1/models").json()[0]["card"]
    still = door.post(f"/v1/models/{live}/retirements", {"reason": "old"}, "dana")
    assert (still.status_code, "is live: put another release" in still.json()["detail"]) == (409, True)
    name = door.region.registry.offer(card(2), "ada", spec())
    refused = door.post(f"/v1/models/{name}/refusals", {"reason": "unfair"}, "dana").json()
    assert (refused["stage"], refused["ended"]) == ("refused", "refused by dana: unfair")
    again = door.post(f"/v1/models/{name}/approvals", {"reason": "all the same"}, "lee")
    assert again.status_code == 409
    assert door.post("/v1/models/0000000000/approvals", {"reason": "x"}, "dana").status_code == 404
    assert door.get("/v1/models/accept").status_code == 404


def test_promoting_what_was_refused_is_a_conflict_that_says_why(door: Door) -> None:
    name = approved(door.region, card(2))
    made = door.region.release(playbook(), [card(2)]).hash
    door.region.registry.refuse(name, "lee", playbook().app.people, "unfair")
    answer = door.post(f"/v1/releases/{made}/promote", {"actor": "ann", "why": "now"}, "machine")
    assert (answer.status_code, "was refused by `lee`" in answer.json()["detail"]) == (409, True)


def test_the_usual_key_is_no_person() -> None:
    assert {"approve"} == ALL_SCOPES - USUAL["api_key"]
