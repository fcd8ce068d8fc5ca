"""Signals and outcomes over HTTP: what is taken, what is kept out, and that every refusal names the field."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from door import Door, event, served

UNKNOWN_ID = "01940000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with served(tmp_path_factory.mktemp("signals")) as found:
        yield found


def used(count: object = 1, **more: Any) -> dict[str, Any]:
    return event("usage.recorded", {"feature": "boards", "count": count}, **{"account": "acme", **more})


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"in": value}
    return value


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in used().items() if key != name}


def soon(minutes: int) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


def test_a_signal_gets_a_receipt_and_once_more_is_a_duplicate(door: Door) -> None:
    one = used()
    first, again = door.post("/v1/signals", one), door.post("/v1/signals", one)
    receipt = first.json()["receipts"][0]
    assert (receipt["source"], receipt["id"], receipt["status"]) == ("tests", one["id"], "accepted")
    assert again.json()["receipts"] == [{**receipt, "status": "duplicate"}]
    log = [stored for stored in door.region.records.signals() if stored.signal.id == one["id"]]
    assert [stored.seq for stored in log] == [receipt["seq"]]


def test_the_same_id_with_other_content_is_a_conflict(door: Door) -> None:
    one = used(1)
    assert door.post("/v1/signals", one).status == 200
    code, fields, said = door.post("/v1/signals", {**one, "data": {"feature": "boards", "count": 2}}).problem(409)
    assert (code, fields) == ("signal-quarantined", ["id"])
    assert "with other content" in said
    stored = next(one_ for one_ in door.region.records.signals() if one_.signal.id == one["id"])
    assert stored.signal.data["count"] == 1
    elsewhere = {**one, "source": "elsewhere", "data": {"feature": "boards", "count": 2}}
    assert door.post("/v1/signals", elsewhere).json()["accepted"] == 1


def test_a_batch_has_a_fate_for_each(door: Door) -> None:
    known = used()
    door.accepted(known)
    odd: list[Any] = [
        used(), known, {**known, "data": {"feature": "boards", "count": 9}}, used("many"), without("type"), 7,
        used(),
    ]  # fmt: skip
    before = door.region.records.counts()["quarantined"]
    answer = door.post("/v1/signals", odd).json()
    assert [one["status"] for one in answer["receipts"]] == [
        "accepted", "duplicate", "quarantined", "quarantined", "quarantined", "quarantined", "accepted",
    ]  # fmt: skip
    assert (answer["accepted"], answer["duplicate"], answer["quarantined"]) == (2, 1, 4)
    named = [[problem["field"] for problem in one.get("problems", ())] for one in answer["receipts"]]
    assert named[2:5] == [["id"], ["data.count"], ["type"]]
    assert {"source", "id", "type"} <= set(named[5])
    assert door.region.records.counts()["quarantined"] == before + 4
    assert len(door.get("/v1/quarantine?last=4").json()) == 4
    nothing = {"accepted": 0, "duplicate": 0, "quarantined": 0, "rejected": 0, "receipts": []}
    assert door.post("/v1/signals", []).json() == nothing


@pytest.mark.parametrize(
    ("signal", "field", "words"),
    [
        (without("id"), "id", "missing"),
        (without("source"), "source", "missing"),
        (without("type"), "type", "missing"),
        ({**used(), "account": None}, "account", "must name its `account`"),
        (used(id_="x" * 257), "id", "longer than 256"),
        (used(id_="a\nb"), "id", "cannot be printed"),
        ({**used(), "id": 7}, "id", "must be a string, not a number"),
        ({**used(), "type": "usage.recordet"}, "type", "no schema for signal type `usage.recordet`"),
        ({**used(), "time": "yesterday"}, "time", "RFC 3339"),
        ({**used(), "time": "2026-01-02T10:00:00"}, "time", "no time zone"),
        ({**used(), "time": 1767348000}, "time", "must be an RFC 3339 string"),
        ({**used(), "time": "1969-12-31T00:00:00Z"}, "time", "before 1970"),
        ({**used(), "schemaversion": 9}, "schemaversion", "version `9`"),
        ({**used(), "data": [1]}, "data", "must be an object"),
        ({**used(), "data": "text"}, "data", "must be an object"),
        ({**used(), "data": {"feature": "boards"}}, "data", "count"),
        (used(-1), "data.count", "0"),
        (used(1.5), "data.count", "whole number"),
        (used(True), "data.count", "whole number"),
        (used(2**63), "data.count", "64 bits"),
        ({**used(), "data": {"feature": "b", "count": 1, "more": nested(9)}}, "data.more", "deeper than 8"),
        ({**used(), "data": {"feature": "b" * 70_000, "count": 1}}, "data", "larger than 65536"),
    ],
)
def test_what_is_wrong_with_a_signal_is_named(door: Door, signal: dict[str, Any], field: str, words: str) -> None:
    before = door.region.records.counts()
    code, fields, said = door.post("/v1/signals", signal).problem(422)
    assert code == "signal-quarantined"
    assert any(one.startswith(field) for one in fields), fields
    assert words in said
    after = door.region.records.counts()
    assert after["signals"] == before["signals"]
    assert after["quarantined"] == before["quarantined"] + 1


def test_a_little_ahead_is_a_clock_and_far_ahead_is_refused(door: Door) -> None:
    assert door.post("/v1/signals", used(time=soon(3))).json()["accepted"] == 1
    assert door.post("/v1/signals", used(time=soon(10))).problem(422)[1] == ["time"]


def test_a_refusal_repeats_no_personal_field(door: Door) -> None:
    reply = door.post("/v1/signals", event("person.updated", {"email": 7, "role": "secret-role"}, subject="ada"))
    reply.problem(422)
    kept = door.get("/v1/quarantine?last=1")
    assert kept.status == 200
    assert b"ada" not in kept.body


def test_binary_mode_is_understood(door: Door) -> None:
    headers = {
        "ce-specversion": "1.0", "ce-id": "binary%201", "ce-source": "tests", "ce-type": "usage.recorded",
        "ce-account": "acme", "ce-time": "2026-11-01T10:00:00Z",
    }  # fmt: skip
    reply = door.post("/v1/signals", {"feature": "boards", "count": 1}, headers=headers)
    assert reply.json()["receipts"][0]["id"] == "binary 1"


def test_consents_can_be_put_only_for_the_known_and_in_known_words(door: Door) -> None:
    who = door.customer(consent=False)
    path = f"/v1/customers/{who}/consents"
    unknown = door.send("PUT", "/v1/customers/nobody/consents", {"status": "given"})
    assert unknown.problem(404)[0] == "unknown-customer"
    given = {"status": "given"}
    bodies: list[object] = [{"status": "perhaps"}, {}, [], {**given, "more": 1}, {**given, "channels": "email"}]
    for body in bodies:
        assert 400 <= door.send("PUT", path, body).status < 500, body
    assert door.get(f"/v1/customers/{who}").json()["consents"] == {}
    shown = door.send("PUT", path, {"status": "given", "channels": ["email"], "expires_at": "2026-01-01T00:00:00Z"})
    assert shown.json()["consents"]["marketing/email"]["status"] == "expired"
    assert door.decide(who).json()["reason"] == "NO_CONSENT"


def segment(door: Door, kind: str, call: Mapping[str, Any]) -> dict[str, Any]:
    reply = door.post(f"/v1/{kind}", call, key="write_key")
    assert reply.status == 200, reply
    answer: dict[str, Any] = reply.json()
    return answer


def test_segment_calls_become_signals(door: Door) -> None:
    at = "2026-11-01T10:00:00Z"
    who = {"userId": "seg-1", "timestamp": at}
    traits = {"role": "owner", "email": "seg@example.com"}
    calls = [
        ("identify", {"messageId": "m1", "traits": traits, **who}, "person.updated"),
        ("group", {"messageId": "m2", "groupId": "seg-co", "traits": {"plan": "team"}, **who}, "account.updated"),
        ("track", {"messageId": "m3", "event": "Usage Recorded", "context": {"groupId": "seg-co"},
                   "properties": {"feature": "boards", "count": 4}, **who}, "usage.recorded"),
        ("page", {"messageId": "m4", "name": "pricing", "context": {"groupId": "seg-co"}, **who}, "page.viewed"),
    ]  # fmt: skip
    for kind, call, type_ in calls:
        assert segment(door, kind, call)["accepted"] == 1
        assert segment(door, kind, call)["duplicate"] == 1
        log = [one.signal for one in door.region.records.signals() if one.signal.id == call["messageId"]]
        assert [(one.type, one.customer) for one in log] == [(type_, "seg-1")]
    features = door.get("/v1/customers/seg-1").json()["features"]
    assert (features["role"]["value"], features["plan"]["value"]) == ("owner", "team")
    asked = {"customer": {"email": "seg@example.com"}, "moment": "page.pricing_viewed"}
    assert door.post("/v1/decisions/preview", asked).json()["customer"] == "seg-1"


def test_a_segment_batch_keeps_what_it_cannot_take(door: Door) -> None:
    who = {"userId": "seg-2", "timestamp": "2026-11-01T10:00:00Z"}
    batch: list[Any] = [
        {"type": "identify", "messageId": "b1", "traits": {"role": "admin"}, **who},
        {"type": "track", "messageId": "b2", "event": "Never Heard Of", **who},
        {"type": "identify", "messageId": "b3", "traits": {"role": 7}, **who},
        "no call",
    ]
    answer = segment(door, "batch", {"batch": batch})
    assert (answer["accepted"], answer["quarantined"]) == (1, 3)
    assert door.get("/v1/customers/seg-2").json()["features"]["role"]["value"] == "admin"
    for body in (b"[]", b"{", b"{}"):
        assert door.post("/v1/batch", body, key="write_key").status == 400


def test_segment_sends_its_key_as_a_user(door: Door) -> None:
    call = {"messageId": "basic", "userId": "seg-3", "traits": {"role": "owner"}}
    basic = b64encode(f"{door.keys['write_key']}:".encode()).decode()
    reply = door.post("/v1/identify", call, key=None, headers={"authorization": f"Basic {basic}"})
    assert reply.json()["accepted"] == 1
    wrong = b64encode(b"wk_wrong:").decode()
    assert door.post("/v1/identify", call, key=None, headers={"authorization": f"Basic {wrong}"}).status == 401


def test_what_became_of_an_offer_is_joined_to_it(door: Door) -> None:
    who, answer = door.offered()
    id_, offer = answer["decision_id"], answer["offer"]["id"]
    for kind in ("delivered", "seen", "accepted"):
        posted = {"decision": id_, "kind": kind}
        assert door.post("/v1/outcomes", posted).json()["outcomes"] == [
            {"id": f"{id_}.{kind}", "kind": kind, "status": "accepted", "decision": id_}
        ]
        assert door.post("/v1/outcomes", posted).json()["outcomes"][0]["status"] == "duplicate"
    sale = {"decision": id_, "kind": "converted", "amount": 1080, "id": "invoice-1"}
    before = door.region.records.leaf_count()
    assert door.post("/v1/outcomes", sale).json()["outcomes"][0]["status"] == "accepted"
    assert door.region.records.leaf_count() > before
    shown = door.get(f"/v1/decisions/{id_}").json()["outcomes"]
    assert {one["kind"] for one in shown} == {"delivered", "seen", "accepted", "converted"}
    assert {(one["offer"], one["customer"]) for one in shown} == {(offer, who)}
    assert [one["state"] for one in door.get(f"/v1/customers/{who}").json()["contacts"]] == ["seen"]
    assert door.post(f"/v1/decisions/{id_}/replay", None).json()["same"] is True



def test_an_offer_declined_twice_is_not_made_again(door: Door) -> None:
    who, answer = door.offered()
    declined = {"decision": answer["decision_id"], "kind": "declined", "reason": "price"}
    door.post("/v1/outcomes", declined)
    second = door.decide(who).json()
    if second["disposition"] == "offered":
        door.post("/v1/outcomes", {"decision": second["decision_id"], "kind": "declined"})
    features = door.get(f"/v1/customers/{who}").json()["features"]
    assert features["offers_declined_30d"]["value"] == 2
    third = door.decide(who).json()
    assert (third["disposition"], third["policies"][0]["id"]) == ("no_offer", "contact.said_no_twice")


def test_revenue_that_no_decision_claims_names_the_customer(door: Door) -> None:
    who = door.customer()
    sale = {"customer": who, "kind": "converted", "offer": "seats_10", "amount": 1080.5, "id": f"sale-{who}"}
    assert door.post("/v1/outcomes", [sale]).json()["outcomes"][0]["status"] == "accepted"
    assert door.post("/v1/outcomes", [sale]).json()["outcomes"][0]["status"] == "duplicate"
    other = {**sale, "kind": "churned"}
    assert door.post("/v1/outcomes", other).problem(409)[:2] == ("outcome-conflict", ["id"])


REFUSALS = [
    ({"decision": UNKNOWN_ID}, 404, "unknown-decision", "decision"),
    ({"decision": None, "customer": "nobody"}, 404, "unknown-customer", "customer"),
    ({"customer": "somebody-else"}, 422, "wrong-customer", "customer"),
    ({"offer": "another_offer"}, 422, "wrong-offer", "offer"),
    ({"kind": "enchanted"}, 422, "invalid-outcome", "kind"),
    ({"kind": None}, 422, "invalid-outcome", "kind"),
    ({"decision": None}, 422, "invalid-outcome", "decision"),
    ({"decision": 7}, 422, "invalid-outcome", "decision"),
    ({"amount": "much"}, 422, "invalid-outcome", "amount"),
    ({"amount": 1e10}, 422, "invalid-outcome", "amount"),
    ({"at": "2999-01-01T00:00:00Z"}, 422, "invalid-time", "at"),
    ({"at": "noon"}, 422, "invalid-time", "at"),
    ({"more": 1}, 422, "invalid-outcome", "[1]"),
]


@pytest.mark.parametrize(("change", "status", "code", "field"), REFUSALS)
def test_an_outcome_that_cannot_be_is_refused_whole(
    door: Door, change: dict[str, Any], status: int, code: str, field: str
) -> None:
    _, answer = door.offered()
    good = {"decision": answer["decision_id"], "kind": "delivered"}
    before = door.region.records.counts()
    found, fields, _ = door.post("/v1/outcomes", [good, {**good, "kind": "seen", **change}]).problem(status)
    assert found == code
    assert [one.rpartition("].")[2] for one in fields] == [field]
    assert door.region.records.counts() == before
    assert door.get(f"/v1/decisions/{answer['decision_id']}").json()["outcomes"] == []


def test_what_was_never_offered_cannot_be_accepted(door: Door) -> None:
    who = door.customer(consent=False)
    nothing = door.decide(who).json()
    assert nothing["disposition"] == "no_offer"
    for kind in ("delivered", "seen", "accepted", "declined"):
        reply = door.post("/v1/outcomes", {"decision": nothing["decision_id"], "kind": kind})
        assert reply.problem(422)[:2] == ("nothing-offered", ["decision"])
    assert door.post("/v1/outcomes", b"{").problem(400)[0] == "invalid-json"


def test_a_rejected_signal_is_a_422_and_kept_nowhere(door: Door) -> None:
    counts, leaves = door.region.records.counts(), door.region.records.leaf_count()
    wild = used(10_000_001)
    code, fields, said = door.post("/v1/signals", wild).problem(422)
    assert (code, fields) == ("signal-rejected", ["data.count"])
    assert "rule `count_sane`" in said
    assert "at most 10000000" in said
    assert (door.region.records.counts(), door.region.records.leaf_count()) == (counts, leaves)
    answer = door.post("/v1/signals", [wild, used(), used("many")]).json()
    assert [answer[fate] for fate in ("accepted", "duplicate", "quarantined", "rejected")] == [1, 0, 1, 1]
    # It was kept nowhere: the same id, put right, is a new fact.
    assert door.post("/v1/signals", {**wild, "data": {"feature": "boards", "count": 1}}).status == 200


def test_quality_says_what_it_put_right_and_what_it_let_pass(door: Door) -> None:
    door.accepted(event("person.updated", {"role": "owner"}, subject="q-1", account="acme"))
    role = door.post("/v1/signals", event("person.updated", {"role": " Admin"}, subject="q-1")).json()["receipts"][0]
    assert (role["status"], role["repaired"]) == ("accepted", ["data.role"])
    assert door.get("/v1/customers/q-1").json()["features"]["role"]["value"] == "admin"
    unknown = event("offer.declined", {"offer": "no_such_offer", "channel": "in_app"}, subject="q-1")
    flagged = door.post("/v1/signals", unknown).json()["receipts"][0]
    assert (flagged["status"], flagged["flags"]) == ("accepted", ["offer_known"])
    seats = event("seats.counted", {"used": 100_001, "seats": 10}, account="acme")
    code, fields, _ = door.post("/v1/signals", seats).problem(422)
    assert (code, fields) == ("signal-quarantined", ["data.used"])


def test_an_sdk_hears_200_for_what_is_rejected(door: Door) -> None:
    call = {
        "type": "track", "messageId": "wild-1", "userId": "seg-9", "event": "Feature Used",
        "properties": {"feature": "boards", "count": 99_999_999}, "context": {"groupId": "acme"},
    }  # fmt: skip
    answer = segment(door, "track", call)
    assert (answer["success"], answer["accepted"], answer["rejected"]) == (True, 0, 1)
