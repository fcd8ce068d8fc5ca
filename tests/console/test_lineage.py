"""The page on where a value came from: a graph, the signals behind it, and what rests on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from people import People, people_in

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


def test_a_decision_leads_to_the_lineage_of_each_feature(people: People, client: TestClient[Litestar]) -> None:
    decision = people.story()
    people.kept_out()  # signals of the same millisecond, but after the decision
    page = client.get(f"/console/decisions/{decision}").text
    assert f'href="/console/decisions/{decision}/lineage/seat_ratio"' in page
    answer = client.get(f"/console/decisions/{decision}/lineage/seat_ratio")
    assert answer.status_code == 200
    text = answer.text
    assert "<svg" in text
    assert 'class="box n-decision"' in text
    assert "seats.counted" in text
    assert "derived: double(seats_used) / double(seats)" in text
    assert "Folded again from the log" in text
    assert "style=" not in text
    twin = client.get(f"/console/decisions/{decision}/lineage/seat_ratio.json").json()
    assert twin["reproduced"] is True
    noted = [one for one in people.region.records.accesses(9) if one.what == "lineage"]
    assert [(one.actor, one.customer) for one in noted] == [("console", "ada")] * 2


def test_every_feature_of_a_decision_has_a_page(people: People, client: TestClient[Litestar]) -> None:
    decision = people.story()
    for name in people.region.releases.live().views.names:
        answer = client.get(f"/console/decisions/{decision}/lineage/{name}")
        assert answer.status_code == 200, name
        assert "Folded again from the log" in answer.text, name


def test_what_is_not_there(people: People, client: TestClient[Litestar]) -> None:
    decision = people.story()
    assert client.get(f"/console/decisions/{decision}/lineage/nothing").status_code == 404
    assert client.get("/console/decisions/none/lineage/role").status_code == 404
    assert people.region.records.accesses(9) == []
