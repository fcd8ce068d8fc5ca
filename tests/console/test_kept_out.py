"""The quarantine's pages over HTTP: what is wrong beside what was sent, fixed and sent again, or discarded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from people import People, people_in

pytestmark = pytest.mark.slow

OWN = {"origin": "http://testserver.local"}


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with people_in(tmp_path) as found:
        found.story()
        found.kept_out()
        yield found


@pytest.fixture
def client(people: People) -> Iterator[TestClient[Litestar]]:
    with TestClient(people.app()) as guest:
        guest.get("/console", params={"t": people.sessions.invite()})
        yield guest


def act(client: TestClient[Litestar], seq: int, what: str, **form: str) -> tuple[int, str]:
    answer = client.post(f"/console/quarantine/{seq}/{what}", data=form, headers=OWN, follow_redirects=False)
    return answer.status_code, answer.text


def status(people: People, seq: int) -> str:
    entry = people.region.records.quarantine_entry(seq)
    assert entry is not None
    return entry.status


def test_the_list_narrows_and_counts(people: People, client: TestClient[Litestar]) -> None:
    page = client.get("/console/quarantine").text
    assert page.count("<tr><td") == 4
    assert re.search(r'class="waits">4<', page)
    assert "unknown signal type" in page

    def listed(**query: str) -> list[int]:
        return [row["seq"] for row in client.get("/console/quarantine.json", params=query).json()["rows"]]

    assert listed(reason="conflict") == [3]
    assert listed(type="seats.counted") == [4, 3]
    assert listed(source="kitchen") == [2]
    assert listed(status="discarded") == []
    assert "Nothing matches" in client.get("/console/quarantine?source=none").text


def test_one_shows_what_is_wrong_and_masks_what_is_personal(people: People, client: TestClient[Litestar]) -> None:
    page = client.get("/console/quarantine/1").text
    assert "data.timezone" in page
    assert "bob@example.com" not in page
    assert "+44 20" not in page
    assert "<textarea" not in page
    assert "Grace Hopper" not in client.get("/console/quarantine/2").text
    assert "Grace Hopper" not in client.get("/console/quarantine/2.json").text

    code, shown = act(client, 1, "reveal", why="ticket 7")

    assert code == 200
    assert "bob@example.com" in shown
    assert "<textarea" in shown
    newest = people.region.records.accesses(1)[0]
    assert (newest.what, newest.customer, newest.purpose) == ("quarantine", "bob", "ticket 7")
    assert act(client, 1, "reveal", why="")[0] == 422


def test_one_field_is_changed_without_seeing_the_others(people: People, client: TestClient[Litestar]) -> None:
    code, page = act(client, 1, "set", field="data.timezone", value="8")
    assert code == 422
    assert "Still wrong" in page
    assert status(people, 1) == "open"

    assert act(client, 1, "set", field="data.timezone", value="Europe/Oslo")[0] == 303

    assert status(people, 1) == "resubmitted"
    bob = people.region.records.person("bob")
    assert bob is not None
    assert bob.traits["timezone"] == "Europe/Oslo"
    assert act(client, 1, "resubmit")[0] == 422
    assert "signal" in client.get("/console/quarantine/1").text


def test_a_conflict_goes_in_under_another_id_and_the_draft_can_be_edited_whole(
    people: People, client: TestClient[Litestar]
) -> None:
    assert act(client, 3, "set", field="id", value="twice-again")[0] == 303
    assert status(people, 3) == "resubmitted"

    assert "not JSON" in act(client, 4, "edit", draft="{")[1]
    assert "no field `nonsense`" in act(client, 4, "edit", draft='{"nonsense": 1}')[1]
    whole = {"source": "product", "id": "fine", "type": "seats.counted", "account": "acme",
             "data": {"used": 3, "seats": 10}}  # fmt: skip
    assert act(client, 4, "edit", draft=json.dumps(whole))[0] == 303

    assert status(people, 4) == "resubmitted"


def test_discarding_needs_a_reason_and_is_kept(people: People, client: TestClient[Litestar]) -> None:
    assert act(client, 2, "discard", why=" ")[0] == 422
    assert act(client, 2, "discard", why="the kitchen is no source of ours")[0] == 303

    assert status(people, 2) == "discarded"
    assert "the kitchen is no source of ours" in client.get("/console/quarantine?status=discarded").text
    assert client.post("/console/quarantine/1/discard", data={"why": "x"}).status_code == 403
    assert client.get("/console/quarantine/99").status_code == 404
    assert client.get("/console/quarantine/x").status_code == 404
