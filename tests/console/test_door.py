"""The console over HTTP: who may enter, what every answer carries, what an address means."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from scene import Scene

pytestmark = pytest.mark.slow

OWN = {"origin": "http://testserver.local"}


@pytest.fixture
def guest(scene: Scene) -> Iterator[TestClient[Litestar]]:
    with TestClient(scene.app()) as client:
        yield client


@pytest.fixture
def client(scene: Scene, guest: TestClient[Litestar]) -> TestClient[Litestar]:
    answer = guest.get("/console", params={"t": scene.sessions.invite()}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert "Path=/console" in cookie
    return guest


def test_whoever_is_not_signed_in_is_told_how(guest: TestClient[Litestar]) -> None:
    for path in ("/console", "/console/decisions/x", "/console/stream", "/console/nowhere"):
        answer = guest.get(path)
        assert answer.status_code == 401
        assert "opportune serve" in answer.text
    answer = guest.get("/console/live.json")
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_a_link_works_once_and_not_for_ever(scene: Scene, guest: TestClient[Litestar]) -> None:
    token, late = scene.sessions.invite(), scene.sessions.invite()

    assert guest.get("/console", params={"t": token}).status_code == 200
    guest.cookies.clear()
    again = guest.get("/console", params={"t": token})
    scene.clock.at_ms += 60 * 60_000
    too_late = guest.get("/console", params={"t": late})

    assert (again.status_code, too_late.status_code) == (401, 401)
    assert "used already" in again.text
    assert token not in again.text


def test_a_session_ends_by_itself_and_by_leaving(scene: Scene, client: TestClient[Litestar]) -> None:
    assert client.get("/console").status_code == 200
    scene.clock.at_ms += 12 * 60 * 60_000
    assert client.get("/console").status_code == 401

    client.get("/console", params={"t": scene.sessions.invite()})
    session = client.cookies["opportune_console"]
    client.post("/console/leave", headers=OWN)
    assert client.get("/console").status_code == 401
    assert not scene.sessions.known(session)


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
     {"origin": "http://testserver.local.evil.example"}],
)
def test_posts_from_elsewhere_are_refused(
    scene: Scene, client: TestClient[Litestar], headers: dict[str, str]
) -> None:
    id_ = scene.decide()

    assert client.post(f"/console/decisions/{id_}/replay", headers=headers).status_code == 403


def test_every_answer_carries_the_same_locks(scene: Scene, client: TestClient[Litestar]) -> None:
    id_ = scene.decide()
    paths = [f"/decisions/{id_}", "/live.json", "/decisions/none", "/none", ""]
    for path in paths:
        headers = client.get(f"/console{path}").headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src ")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "same-origin"
    client.cookies.clear()
    assert client.get("/console").headers["cache-control"] == "no-store"


def test_no_page_has_inline_script_or_style(scene: Scene, client: TestClient[Litestar]) -> None:
    for id_ in scene.populate(28):
        page = client.get(f"/console/decisions/{id_}").text
        assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", page)
    page = client.get("/console").text
    assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", page)
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)
    assert "<style" not in page


def test_what_customers_are_called_is_text_and_never_markup(scene: Scene, client: TestClient[Litestar]) -> None:
    bad = "<img src=x onerror=alert(1)>"
    id_ = scene.decide(bad, features={"plan": bad})

    for path in ("", f"/decisions/{id_}", f"?customer={bad}", f"/decisions/{id_}?find={bad}"):
        page = client.get(f"/console{path}")
        assert page.status_code == 200
        assert "<img src=x" not in page.text


def test_the_json_twin_says_what_the_page_says(scene: Scene, client: TestClient[Litestar]) -> None:
    scene.populate(14)
    id_ = scene.decide()

    live = client.get("/console/live.json", params={"disposition": "offered"}).json()
    case = client.get(f"/console/decisions/{id_}.json").json()

    assert {row["disposition"] for row in live["rows"]} == {"offered"}
    assert live["rows"][0]["id"] == id_
    assert case["id"] == id_
    assert len(case["candidates"]) == len(scene.brain.candidates)
    assert client.get("/console/decisions/none.json").status_code == 404


def test_filters_narrow_by_disposition_and_customer(scene: Scene, client: TestClient[Litestar]) -> None:
    scene.populate(14)
    scene.decide("zoe", consent={"in_app": "unknown", "email": "unknown"})

    page = client.get("/console", params={"customer": "zoe", "disposition": "no_offer"}).text

    assert page.count("data-id=") == 1
    assert "No consent" in page
    assert client.get("/console", params={"disposition": "nonsense"}).text.count("data-id=") == 16


def test_search_finds_a_decision_or_lists_a_customer(scene: Scene, client: TestClient[Litestar]) -> None:
    id_ = scene.decide("a b&c")

    def lands(words: str) -> str:
        return str(client.get("/console/search", params={"q": words}, follow_redirects=False).headers["location"])

    assert lands(f" {id_} ") == f"/console/decisions/{id_}"
    assert lands("a b&c") == "/console?customer=a%20b%26c"
    assert lands("//evil.example") == "/console?customer=%2F%2Fevil.example"
    assert lands("") == "/console"
    nobody = client.get("/console/search", params={"q": "nobody"})
    assert "No decision matches" in nobody.text


def test_empty_pages_say_the_next_command(client: TestClient[Litestar]) -> None:
    assert "opportune ingest" in client.get("/console").text


def test_candidates_can_be_sorted_and_found(scene: Scene, client: TestClient[Litestar]) -> None:
    id_ = scene.decide()

    def titles(**query: str) -> list[str]:
        page = client.get(f"/console/decisions/{id_}", params=query).text
        return re.findall(r'<th scope="row" class="what">([^<]+)', page[page.index("candidate-rows") :])

    by_value = titles(sort="value", dir="desc")
    assert by_value[0].strip() == "Upgrade from Team to Business"
    assert len(titles()) == len(scene.brain.candidates)
    assert {title.strip() for title in titles(find="ENTERPRISE eligib")} == {"Upgrade from Business to Enterprise"}
    assert titles(find="xyzzy") == []
    assert "No candidate matches" in client.get(f"/console/decisions/{id_}?find=xyzzy").text


def test_every_kind_of_decision_has_a_page(scene: Scene, client: TestClient[Litestar]) -> None:
    said = set()
    for id_ in scene.populate(28):
        page = client.get(f"/console/decisions/{id_}")
        assert page.status_code == 200
        said.add(re.sub(r"[“:].*", "", re.findall(r"<h1>([^<]+)", page.text)[0]).split("&#")[0].strip())
    assert {"Offered", "Nothing was offered", "Held out", "Safe default", "Refused"} <= said


def test_replay_gives_the_same_bytes_or_the_first_difference(scene: Scene, client: TestClient[Litestar]) -> None:
    id_ = scene.decide()
    path = f"/console/decisions/{id_}/replay"

    plain = client.post(path, headers=OWN)
    part = client.post(path, headers={**OWN, "hx-request": "true"})
    everybody = msgspec.structs.replace(scene.brain.app.holdout, share=1.0)
    scene.brain = msgspec.structs.replace(scene.brain, app=msgspec.structs.replace(scene.brain.app, holdout=everybody))
    changed = client.post(path, headers={**OWN, "hx-request": "true"})

    assert "Same bytes" in plain.text
    assert "<h1>" in plain.text
    assert "Same bytes" in part.text
    assert "<h1>" not in part.text
    assert "Not the same" in changed.text
    assert "result." in changed.text
    assert client.post("/console/decisions/none/replay", headers=OWN).status_code == 404


def test_replay_without_its_release_says_so(scene: Scene, client: TestClient[Litestar]) -> None:
    id_ = scene.decide(release="r0000000000000000")

    answer = client.post(f"/console/decisions/{id_}/replay", headers={**OWN, "hx-request": "true"})

    assert answer.status_code == 200
    assert "r0000000000000000" in answer.text


def test_the_proof_verifies_offline_once_it_is_published(scene: Scene, client: TestClient[Litestar]) -> None:
    from opportune.verifier import verify_proof

    id_ = scene.decide()
    early = client.get(f"/console/decisions/{id_}/proof")
    scene.ledger.publish()
    proof = client.get(f"/console/decisions/{id_}/proof")

    assert early.status_code == 404
    assert proof.headers["content-disposition"] == f'attachment; filename="{id_}.tlog-proof"'
    stored = scene.records.decision(id_)
    assert stored is not None
    assert verify_proof(proof.content, scene.records.leaves(stored.leaf, stored.leaf + 1)[0], scene.ledger.vkey).ok


def test_colours_are_remembered_and_lead_back_only_to_the_console(client: TestClient[Litestar]) -> None:
    def sent_back(back: str) -> str:
        answer = client.post(
            "/console/theme", data={"theme": "dark", "back": back}, headers=OWN, follow_redirects=False
        )
        return str(answer.headers["location"])

    assert sent_back("/console?disposition=shed") == "/console?disposition=shed"
    assert sent_back("https://evil.example") == "/console"
    assert sent_back("/console//evil.example") == "/console"
    assert sent_back("/consolex") == "/console"
    assert 'data-theme="dark"' in client.get("/console").text


def test_static_files_need_no_session_and_their_own_hash(guest: TestClient[Litestar]) -> None:
    page = guest.get("/console").text
    address = re.findall(r'href="(/console/static/[^"]+\.css)"', page)[0]

    answer = guest.get(address)

    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"]
    assert guest.get(re.sub(r"/[0-9a-f]{16}/", "/0123456789abcdef/", address)).status_code == 404
    assert guest.get("/console/static/x/..%2F__init__.py").status_code in (401, 404)


def test_a_fault_is_a_page_and_a_line_in_the_log(
    scene: Scene, client: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> object:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(scene.records, "counts", broken)
    answer = client.get("/console")

    assert answer.status_code == 500
    assert "the disk is gone" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
