"""Answers to reviews, declines, what follows from them, and evaluations over HTTP: what is said and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from door import Door, event, question, served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with served(tmp_path_factory.mktemp("feedback")) as one:
        yield one


def escalated(door: Door) -> str:
    who = door.customer()
    account = who.replace("person", "company")
    door.accepted(
        event("account.updated", {"plan": "business", "seats": 40}, subject=who, account=account),
        event("seats.counted", {"used": 8, "seats": 40}, subject=who, account=account),
    )
    asked = {**question(who), "moment": "support.chat_opened", "channels": [], "context": {"intent": "more seats"}}
    answer: dict[str, Any] = door.post("/v1/decisions", asked).json()
    assert answer["disposition"] == "escalated", answer
    return str(answer["decision_id"])


def test_a_review_is_answered_once(door: Door) -> None:
    path = f"/v1/reviews/{(id_ := escalated(door))}/answer"
    said = {"verdict": "reject", "by": "grace", "reasons": ["bad_timing"], "note": "in a dispute"}

    assert door.post(path, said).json() == {
        "decision": id_, "review": id_, "verdict": "reject", "status": "accepted"
    }  # fmt: skip
    assert door.post(path, said).json()["status"] == "duplicate"
    assert door.post(path, {**said, "reasons": ["price"]}).problem(409)[0] == "answered"
    assert [one["id"] for one in door.get("/v1/reviews?status=rejected").json()] == [id_]
    (found,) = [one for one in door.get("/v1/feedback/reasons").json() if one["reason"] == "bad_timing"]
    assert found["given"]["reject"] == 1
    assert door.get("/v1/feedback/people").json()[0]["by"] == "grace"
    assert door.get("/v1/feedback/proposals").json() == []


@pytest.mark.parametrize(
    ("said", "status", "code", "field"),
    [
        ({"verdict": "reject", "by": "grace"}, 422, "no-reason", "reasons"),
        ({"verdict": "reject", "by": "grace", "reasons": ["bad_timin"]}, 422, "unknown-reason", "reasons"),
        ({"verdict": "reject", "by": "grace", "reasons": ["other"]}, 422, "no-note", "note"),
        ({"verdict": "change", "by": "grace", "reasons": ["price"]}, 422, "wrong-change", "changed_to"),
    ],
)
def test_what_cannot_be_taken_names_the_field(
    door: Door, said: dict[str, Any], status: int, code: str, field: str
) -> None:
    found = door.post(f"/v1/reviews/{escalated(door)}/answer", said).problem(status)

    assert (found[0], found[1]) == (code, [field])


def test_answers_need_a_review_a_key_and_a_body(door: Door) -> None:
    said = {"verdict": "approve", "by": "grace"}

    assert door.post("/v1/reviews/nothing/answer", said).problem(404)[0] == "unknown-review"
    assert door.post("/v1/reviews/nothing/answer", said, key=None).status == 401
    assert door.post("/v1/reviews/nothing/answer", said, key="write_key").problem(403)[0] == "forbidden"
    assert door.post("/v1/reviews/nothing/answer", {"verdict": "maybe", "by": "grace"}).status == 400
    assert door.post("/v1/reviews/nothing/answer", {**said, "by": "grace@example.com"}).status == 400


def test_an_offer_that_was_not_made_is_declined(door: Door) -> None:
    _, answer = door.offered()
    path = f"/v1/decisions/{answer['decision_id']}/decline"
    said = {"verdict": "decline", "by": "sam", "reasons": ["relationship_risk"]}

    assert door.post(path, said).json()["status"] == "accepted"
    shown = door.get(f"/v1/decisions/{answer['decision_id']}").json()
    assert [(one["kind"], one["detail"]) for one in shown["outcomes"]] == [("undeliverable", "relationship_risk")]
    assert door.post("/v1/decisions/nothing/decline", said).problem(404)[0] == "unknown-decision"


def test_an_evaluation_says_what_it_needs(door: Door) -> None:
    live = door.get("/v1/releases").json()["live"]

    code, fields, said = door.get(f"/v1/releases/{live}/evaluation").problem(422)
    assert (code, fields) == ("too-few", ["last"])
    assert "200 are needed" in said
    assert door.get("/v1/releases/nothing/evaluation").problem(404)[0] == "unknown-release"
    assert door.get(f"/v1/releases/{live}/evaluation?window=soon").problem(422)[1] == ["window"]
    assert door.get(f"/v1/releases/{live}/evaluation?reward=luck").status == 400
