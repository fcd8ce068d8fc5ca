"""What if, why not, replay on a release and reviews on the pages: plain forms and links, each with its twin."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest
from litestar.testing import TestClient
from scene import Scene

from opportune.core.decisions.records import decode_record
from opportune.doors.console.supposing import form_of, supposed_of
from opportune.ports import Review, StoredRelease, Transaction

ORIGIN = {"origin": "http://testserver.local"}


@pytest.fixture
def client(scene: Scene) -> Any:
    with TestClient(scene.app()) as found:
        found.get(f"/console?t={scene.sessions.invite()}")
        yield found


def refused(scene: Scene) -> str:
    return scene.decide("ada", consent={"in_app": "unknown", "email": "withdrawn"})


def test_the_page_has_a_form_with_the_facts_as_they_were(scene: Scene, client: Any) -> None:
    page = client.get(f"/console/decisions/{refused(scene)}").text

    assert 'name="features.seats_used_share" type="text" value="0.96"' in page
    assert 'name="consents.marketing/in_app"' in page
    assert '<option selected>unknown</option>' in page


def test_supposing_consent_shows_both_answers_and_writes_nothing(scene: Scene, client: Any) -> None:
    id_ = refused(scene)
    before = scene.records.counts()
    path = f"/console/decisions/{id_}/what-if"

    whole = client.post(path, data={"consents.marketing/in_app": "given"}, headers=ORIGIN).text
    part = client.post(
        path, data={"consents.marketing/in_app": "given"}, headers={**ORIGIN, "hx-request": "true"}
    ).text

    for text in (whole, part):
        assert "It would be otherwise:" in text
        assert "with consent to marketing by in_app given (it is unknown)" in text
        assert "<code>consent.marketing</code>" in text
    assert "<h1>" in whole
    assert "<h1>" not in part
    assert scene.records.counts() == before


def test_nothing_changed_is_the_same_and_a_wrong_value_is_named(scene: Scene, client: Any) -> None:
    id_ = refused(scene)
    path = f"/console/decisions/{id_}/what-if"

    assert "The answer would be the same." in client.post(path, data={}, headers=ORIGIN).text
    wrong = client.post(path, data={"features.open_tickets": "many"}, headers=ORIGIN).text
    assert "features.open_tickets: `features.open_tickets`: `many` is no int" in wrong
    assert client.post(path, data={}, headers={"origin": "http://elsewhere.example"}).status_code == 403


def test_only_what_differs_from_the_record_is_supposed(scene: Scene) -> None:
    stored = scene.records.decision(refused(scene))
    assert stored is not None
    record = decode_record(stored.record)
    form = form_of(scene.brain, record, ("r1",))
    unchanged = {field.name: [field.text] for field in (*form.features, *form.context, *form.consents)}

    same = supposed_of(scene.brain, record, form, {**unchanged, "at": [form.at], "limit": ["1"]})
    other = supposed_of(scene.brain, record, form, {**unchanged, "features.plan": [""], "features.tenure_days": ["3"]})

    assert msgspec.to_builtins(same) == msgspec.to_builtins(type(same)())
    assert other.features == {"plan": None, "tenure_days": 3}


def test_losers_say_what_would_have_made_them_win(scene: Scene, client: Any) -> None:
    id_ = refused(scene)

    page = client.get(f"/console/decisions/{id_}/why-not").text
    found = client.get(f"/console/decisions/{id_}/why-not.json").json()

    assert "What would have made it win</h3>" in page
    assert "It would have won with consent to marketing by in_app given (it is unknown)" in page
    assert {one["candidate"] for one in found} == {one.id for one in scene.brain.candidates}
    assert client.get("/console/decisions/nothing/why-not").status_code == 404


def test_a_replay_on_another_release_says_which(scene: Scene, client: Any) -> None:
    id_ = refused(scene)
    scene.records.run(lambda tx: tx.put_release(StoredRelease("rother", 0, "", b"{}")))

    assert '<option value="rother">rother</option>' in client.get(f"/console/decisions/{id_}").text
    own = client.post(f"/console/decisions/{id_}/replay", data={"release": scene.brain.release}, headers=ORIGIN)
    gone = client.post(f"/console/decisions/{id_}/replay", data={"release": "rother"}, headers=ORIGIN)
    assert "Same bytes." in own.text
    assert "release rother is not on the shelf any more" in gone.text


def test_reviews_are_listed_and_shown_with_what_a_person_needs(scene: Scene, client: Any) -> None:
    assert "Nothing waits." in client.get("/console/reviews").text
    id_ = escalated(scene)

    page = client.get("/console/reviews").text
    case = client.get(f"/console/reviews/{id_}").text
    twin = client.get(f"/console/reviews/{id_}.json").json()

    assert "a contract of its own: an account manager looks first" in page
    assert f'href="/console/decisions/{id_}"' in page
    assert "“Upgrade from Business to Enterprise” waits for a person" in case
    assert "review.high_risk" in case
    assert twin["next_flip"]["candidate"] == twin["next_best"]["candidate"]
    assert client.get("/console/reviews.json").json()[0]["id"] == id_
    assert client.get("/console/reviews/nothing").status_code == 404


def _opened(review: Review, tx: Transaction) -> None:
    tx.put_review(review)


def escalated(scene: Scene) -> str:
    """Enterprise for an account on Business: a policy of sales wants a person to look."""
    for number in range(200):
        id_ = scene.decide(f"ada_{number}", moment="support.chat_opened", features={"plan": "business"})
        stored = scene.records.decision(id_)
        assert stored is not None
        if stored.disposition == "escalated":
            review = Review(id_, id_, stored.customer, stored.at_ms, decode_record(stored.record).result.reason)
            scene.records.run(partial(_opened, review))
            return id_
    raise AssertionError("nothing was escalated")
