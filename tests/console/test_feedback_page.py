"""The page on what people said: rules, people and reasons in words, without a form, and its twin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from people import People, people_in

from opportune.core.feedback import Feedback

pytestmark = pytest.mark.slow


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with people_in(tmp_path) as found:
        yield found


@pytest.fixture
def client(people: People) -> Iterator[TestClient[Litestar]]:
    with TestClient(people.app(), base_url="http://testserver.local") as found:
        found.get("/console", params={"t": people.sessions.invite()})
        yield found


def test_the_page_says_what_nobody_said_yet(client: TestClient[Litestar]) -> None:
    text = client.get("/console/feedback").text

    assert "No rule stands out" in text
    assert "Nobody has answered yet" in text
    assert "the customer does not need this" in text
    assert "style=" not in text
    assert 'href="/console/feedback"' in client.get("/console/reviews").text


def test_the_page_says_who_said_what(people: People, client: TestClient[Litestar]) -> None:
    decision = people.story()
    people.region.answer.decline(decision, Feedback("decline", "sam", ("bad_timing",), note="<b>on holiday</b>"))

    text = client.get("/console/feedback").text
    twin = client.get("/console/feedback.json").json()

    assert 'scope="row" class="what">sam</th>' in text
    assert "holiday" not in text
    assert twin["people"][0]["by"] == "sam"
    assert {one["reason"]: one["given"] for one in twin["reasons"]}["bad_timing"] == {"decline": 1}


def test_the_page_needs_a_session(people: People) -> None:
    with TestClient(people.app(), base_url="http://testserver.local") as stranger:
        assert stranger.get("/console/feedback").status_code == 401
        assert stranger.get("/console/feedback.json").status_code == 401
