"""Several offers over HTTP: each with its grant, and an outcome of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from door import Door, served


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with served(tmp_path_factory.mktemp("slates")) as found:
        yield found


def sent(door: Door, post: dict[str, str]) -> Any:
    """The receipt of one outcome."""
    reply = door.post("/v1/outcomes", post)
    assert reply.status == 200, reply
    return reply.json()["outcomes"][0]


def test_the_second_offer_is_answered_for_itself(door: Door) -> None:
    answer = door.decide(door.customer(), limit=3).json()
    assert answer["disposition"] == "offered", answer
    further = answer["slate"]
    assert len(further) == 2
    offers = [answer["offer"]["id"], *(one["offer"]["id"] for one in further)]
    assert len(set(offers)) == 3
    assert len({answer["grant"], *(one["grant"] for one in further)}) == 3
    post = {"kind": "declined", "decision": answer["decision_id"], "offer": offers[1], "reason": "price"}
    receipt = sent(door, post)
    assert receipt["status"] == "accepted"
    again = sent(door, post)
    assert again["status"] == "duplicate"
    first = sent(door, {"kind": "declined", "decision": answer["decision_id"]})
    assert first["status"] == "accepted"
    assert first["id"] != receipt["id"]


def test_an_offer_that_was_not_shown_has_no_outcome(door: Door) -> None:
    _, answer = door.offered()
    post = {"kind": "declined", "decision": answer["decision_id"], "offer": "addon_support"}
    code, fields, said = door.post("/v1/outcomes", post).problem(422)
    assert (code, fields) == ("wrong-offer", ["offer"])
    assert "did not offer `addon_support`" in said


def test_while_nothing_is_offered_the_safe_default_is_given(door: Door) -> None:
    answer = door.decide(door.customer(consent=False), limit=3).json()
    assert (answer["disposition"], answer["reason"], answer["offer"]) == ("no_offer", "NO_CONSENT", None)
    assert answer["safe_default"]["headline"] == "You have reached a limit of your plan"
    assert "slate" not in answer
