"""What-if, why-not and reviews over HTTP: who may ask, what is said, what is refused, and that nothing is written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from door import Door, event, question, served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with served(tmp_path_factory.mktemp("what-if")) as one:
        yield one


def refused(door: Door) -> str:
    answer = door.decide(door.customer(consent=False)).json()
    assert answer["reason"] == "NO_CONSENT"
    return str(answer["decision_id"])


def test_a_recorded_decision_with_something_changed(door: Door) -> None:
    id_ = refused(door)
    before = door.region.records.counts()["decisions"]

    reply = door.post(f"/v1/decisions/{id_}/what-if", {"consents": {"marketing/in_app": "given"}})

    assert reply.status == 200, reply
    found = reply.json()
    assert (found["before"]["disposition"], found["after"]["disposition"]) == ("no_offer", "offered")
    assert found["recorded"] is False
    assert door.region.records.counts()["decisions"] == before


def test_a_customer_as_they_are_now(door: Door) -> None:
    who = door.customer(consent=False)

    body = {"question": question(who), "suppose": {"consents": {"marketing/in_app": "given"}}}
    found = door.post("/v1/what-if", body).json()

    assert (found["before"]["disposition"], found["after"]["disposition"]) == ("no_offer", "offered")
    assert door.post("/v1/what-if", {"question": question("nobody")}).problem(404)[0] == "unknown-customer"


def test_each_loser_has_its_smallest_change(door: Door) -> None:
    id_ = refused(door)

    found = door.get(f"/v1/decisions/{id_}/why-not").json()
    (one,) = door.get(f"/v1/decisions/{id_}/why-not?candidate=seats_10@in_app").json()

    assert len(found) == 22
    assert one in found
    assert {"type": "consent", "key": "marketing/in_app", "status": "given"} in one["changes"]
    assert one["verified"] is True
    code, fields, _ = door.get(f"/v1/decisions/{id_}/why-not?candidate=x").problem(422)
    assert (code, fields) == ("unknown-candidate", ["candidate"])


def test_what_cannot_be_supposed_is_refused_by_field(door: Door) -> None:
    path = f"/v1/decisions/{refused(door)}/what-if"

    code, fields, said = door.post(path, {"features": {"seat_ration": 1.0}}).problem(422)
    assert (code, fields) == ("unknown-feature", ["features.seat_ration"])
    assert "did you mean `seat_ratio`" in said
    assert door.post(path, {"feature": {}}).status == 400
    assert door.post(path, {"release": "r0"}).problem(404)[0] == "unknown-release"
    assert door.post("/v1/decisions/nothing/what-if", {}).problem(404)[0] == "unknown-decision"
    assert door.post(path, {}, key=None).status == 401


def test_a_review_has_what_a_person_needs(door: Door) -> None:
    """Enterprise for an account of forty: a policy of sales demands that somebody looks."""
    who = door.customer()
    account = who.replace("person", "company")
    door.accepted(
        event("account.updated", {"plan": "business", "seats": 40}, subject=who, account=account),
        event("seats.counted", {"used": 8, "seats": 40}, subject=who, account=account),
    )
    asked = {**question(who), "moment": "support.chat_opened", "channels": [], "context": {"intent": "more seats"}}
    answer = door.post("/v1/decisions", asked).json()
    assert answer["disposition"] == "escalated", answer
    id_ = answer["decision_id"]

    lines = door.get("/v1/reviews").json()
    case = door.get(f"/v1/reviews/{id_}").json()

    (line,) = [one for one in lines if one["decision"] == id_]
    assert (line["customer"], line["reason"]) == (who, "REVIEW_REQUIRED")
    assert (line["candidate"], line["because"]) == ("plan_enterprise@agent_desk", case["demands"][0]["reason"])
    assert (case["demands"][0]["policy"], case["demands"][0]["owner"]) == ("review.high_risk", "sales")
    assert case["explanation"].startswith("Ask for a review before offering Upgrade from Business to Enterprise")
    assert {one["name"] for one in case["facts"]} >= {"seats", "seat_ratio", "plan"}
    assert case["unknown"]
    assert case["next_flip"]["candidate"] == case["next_best"]["candidate"] != "plan_enterprise@agent_desk"
    assert case["context"] == {"intent": "more seats"}
    assert door.get("/v1/reviews/nothing").problem(404)[0] == "unknown-review"
    assert [one["what"] for one in door.get(f"/v1/accesses?customer={who}").json()] == ["review"]
