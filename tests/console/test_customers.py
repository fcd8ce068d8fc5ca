"""The pages on customers and accounts over HTTP: whole, masked, revealed with a reason, and every look noted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from people import HOUR_MS, People, people_in

pytestmark = pytest.mark.slow

OWN = {"origin": "http://testserver.local"}
ADA = "/console/customers/ada"
REVEAL = "/console/reveal/ada"


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with people_in(tmp_path) as found:
        yield found


@pytest.fixture
def client(people: People) -> Iterator[TestClient[Litestar]]:
    with TestClient(people.app()) as guest:
        guest.get("/console", params={"t": people.sessions.invite()})
        yield guest


def looked(people: People) -> list[tuple[str, tuple[str, ...], str]]:
    found = people.region.records.accesses(100)
    return [(one.customer, one.classes, one.purpose) for one in reversed(found)]


def test_a_customer_is_shown_whole_with_where_each_fact_came_from(
    people: People, client: TestClient[Litestar]
) -> None:
    decision = people.story()

    page = client.get(ADA).text

    words = (
        "Acme", "hubspot", "Europe/London", "shop-7", "refused", "never asked", "Upgrade from", "1\u202f080.00",
        "seat_ratio", "payment.succeeded", "Consent given: marketing, in_app", f"/console/decisions/{decision}",
        "/console/accounts/acme",
    )  # fmt: skip
    for said in words:
        assert said in page, said


def test_personal_values_are_masked_until_somebody_says_why(people: People, client: TestClient[Litestar]) -> None:
    people.story()

    masked = client.get(ADA)
    twin = client.get(f"{ADA}.json")
    for answer in (masked, twin):
        assert "the countess" not in answer.text
        assert "ada@example.com" not in answer.text
        assert "a…@e….com" in answer.text
    nothing_said = client.post(REVEAL, data={"why": " "}, headers=OWN)
    assert nothing_said.status_code == 422
    assert "the countess" not in nothing_said.text

    shown = client.post(REVEAL, data={"why": "ticket 4711"}, headers=OWN)

    assert shown.status_code == 200
    assert "the countess" in shown.text
    assert "ada@example.com" in shown.text
    assert "the countess" not in client.get(ADA).text
    assert looked(people) == [("ada", (), ""), ("ada", ("personal", "sensitive"), "ticket 4711")]
    assert client.post(REVEAL, data={"why": "ticket 4711"}).status_code == 403


def test_looking_again_is_noted_again_only_after_a_while(people: People, client: TestClient[Litestar]) -> None:
    people.story()
    for _ in range(3):
        client.get(ADA)
    assert len(looked(people)) == 1

    people.clock.at_ms += HOUR_MS
    client.get(ADA)

    assert len(looked(people)) == 2


def test_whatever_they_are_called_by_leads_to_them(people: People, client: TestClient[Litestar]) -> None:
    decision = people.story()

    def lands(words: str) -> str:
        answer = client.get("/console/search", params={"q": words}, follow_redirects=False)
        return str(answer.headers["location"])

    assert lands("ada") == ADA
    assert lands("ADA@example.com ") == ADA
    assert lands("shop-7").startswith("/console/customers/")
    assert "<h1>ada</h1>" in client.get("/console/customers/shop-7").text
    assert lands("acme") == "/console/accounts/acme"
    assert lands(decision) == f"/console/decisions/{decision}"
    assert lands("nobody@example.com") == "/console/customers?nobody=1"
    assert "Nobody is known by that" in client.get("/console/customers?nobody=1").text
    assert client.get("/console/customers/nobody").status_code == 404


def test_the_timeline_narrows_and_pages_without_losing_anything(people: People, client: TestClient[Litestar]) -> None:
    people.story()
    for number in range(60):
        people.say("seats.counted", {"used": number, "seats": 99}, source="product", ago_ms=(number + 2) * HOUR_MS)

    consents = client.get(ADA, params={"kind": "consent"}).text
    assert "Consent given" in consents
    assert "seats.counted" not in consents[consents.index('id="timeline"') :]
    first = client.get(ADA).text
    older = first[first.index("before=") :].split('"')[0].split("#")[0].removeprefix("before=")
    second = client.get(ADA, params={"before": older}).text

    assert first.count('<tr id="e-') == 40
    assert second.count('<tr id="e-') > 20
    assert "Consent refused" in second


def test_an_account_names_its_people(people: People, client: TestClient[Litestar]) -> None:
    people.story()
    people.say("person.updated", {"role": "billing"}, subject="grace")

    page = client.get("/console/accounts/acme").text
    data = client.get("/console/accounts/acme.json").json()

    assert 'href="/console/customers/grace"' in page
    assert [one["id"] for one in data["members"]] == ["ada", "grace"]
    assert client.get("/console/accounts/nothing").status_code == 404


def test_the_newest_active_customers_are_listed_once_and_by_id(people: People, client: TestClient[Litestar]) -> None:
    assert "opportune ingest" in client.get("/console/customers").text
    people.story()
    people.say("person.updated", {"role": "billing"}, subject="grace", ago_ms=HOUR_MS)

    rows = client.get("/console/customers.json").json()

    assert [row["id"] for row in rows] == ["ada", "grace"]
    assert "ada@example.com" not in client.get("/console/customers").text


def test_ids_are_text_and_never_markup_nor_paths(people: People, client: TestClient[Litestar]) -> None:
    for bad in ("<img src=x onerror=alert(1)>", "a/b?c#d", "ünï"):
        people.say("person.updated", {"role": "owner", "<b>": "<script>alert(1)</script>"}, subject=bad, account=bad)
    for bad in ("<img src=x onerror=alert(1)>", "a/b?c#d", "ünï"):
        for kind in ("customers", "accounts"):
            page = client.get(f"/console/{kind}/{quote(bad, safe='')}")
            assert page.status_code == 200, bad
            assert "<img src=x" not in page.text
            assert "<script>alert" not in page.text
    revealed = client.post(f"/console/reveal/{quote('ünï')}", data={"why": "to see"}, headers=OWN)
    assert "&lt;script&gt;" in revealed.text
