"""Customers, accounts and quarantine over HTTP: whole, masked by the key's scopes, noted; fixed and sent again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from door import Door, event, served

from opportune.wiring import add_key


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("customers")
    reader = add_key(folder, "reader", frozenset({"read"}))
    with served(folder) as found:
        found.keys = {**found.keys, "reader": reader}
        yield found


def kept_out(door: Door, data: Any, type_: str = "person.updated", **more: Any) -> int:
    reply = door.post("/v1/signals", [event(type_, data, subject="bob", account="acme", **more)])
    assert reply.status == 422, reply
    return int(door.get("/v1/quarantine?last=1").json()[0]["seq"])


def test_a_customer_is_whole_and_says_where_each_fact_came_from(door: Door) -> None:
    who, answer = door.offered()
    bought = {"decision": answer["decision_id"], "kind": "converted", "amount": 1080.0}
    assert door.post("/v1/outcomes", bought).status == 200

    found = door.get(f"/v1/customers/{who}").json()

    old = {"id", "account", "traits", "features", "missing", "stale", "consents", "contacts", "decisions"}
    assert old | {"region", "identity", "profile", "timeline", "usage", "transactions", "flags"} <= set(found)
    assert found["traits"]["role"] == "owner"
    role = next(one for one in found["profile"] if one["name"] == "role")
    assert (role["source"], role["value"]) == ("tests", "owner")
    assert role["signal"]
    assert role["since"]
    assert found["features"]["seats_used"]["value"] == 10
    assert {one["view"] for one in found["usage"]} >= {"seats", "usage"}
    assert found["consents"]["marketing/*"]["status"] == "given"
    assert {one["channel"]: one["status"] for one in found["consent_table"]}["email"] == "given"
    assert found["transactions"][0]["amount"] == 1080.0
    assert found["decisions"][0]["id"] == answer["decision_id"]
    assert [one["used"] for one in found["limits"] if one["limit"] == "in_app.daily"] == [1]
    assert {one["kind"] for one in found["timeline"]} >= {"signal", "decision", "outcome", "consent"}
    assert found["identity"]["identifiers"][0]["value"] == f"{who}@example.com"


def test_names_that_lead_to_a_customer(door: Door) -> None:
    who = door.customer()

    assert door.get(f"/v1/customers/{quote(who.upper() + '@example.com')}").json()["id"] == who
    code, _, said = door.get("/v1/customers/nobody%40example.com").problem(404)
    assert code == "unknown-customer"
    assert "nobody@" not in said


def test_a_key_without_the_scope_sees_masked_values_and_every_read_is_noted(door: Door) -> None:
    who = door.customer()
    door.accepted(event("person.updated", {"nickname": "the countess"}, subject=who))
    narrow = door.send("GET", f"/v1/customers/{who}", key="reader")
    whole = door.get(f"/v1/customers/{who}")

    assert b"the countess" not in narrow.body
    assert f"{who}@example.com".encode() not in narrow.body
    assert narrow.json()["traits"]["nickname"] == "•••"
    assert narrow.json()["hidden"] > 0
    assert narrow.json()["shown_in_clear"] == ["public", "internal"]
    assert whole.json()["traits"]["nickname"] == "the countess"
    assert whole.json()["hidden"] == 0
    notes = door.get(f"/v1/customers/{who}/timeline?kind=access").json()["entries"]
    assert any(one["title"].startswith("reader ") and one["data"]["in clear"] == [] for one in notes)
    assert any(one["data"]["in clear"] == ["personal", "sensitive"] for one in notes)


def test_the_timeline_pages_to_its_end_without_repeating_or_losing(door: Door) -> None:
    who = door.customer()
    door.accepted(*[event("seats.counted", {"used": n, "seats": 10}, subject=who, account="a") for n in range(30)])

    seen, before = [], ""
    while True:
        page = door.get(f"/v1/customers/{who}/timeline?last=7&kind=signal,consent{before}").json()
        seen += [one["id"] for one in page["entries"]]
        if page["before"] is None:
            break
        before = f"&before={quote(page['before'])}"

    assert len(seen) == len(set(seen)) == 35
    early = door.get(f"/v1/customers/{who}/timeline?before=2026-02-01T00:00:00Z").json()["entries"]
    assert {one["title"] for one in early} == {"account.updated", "subscription.started"}
    assert door.get(f"/v1/customers/{who}/timeline?kind=nonsense").problem(422)[0] == "invalid-kind"
    assert door.get(f"/v1/customers/{who}/timeline?before=yesterday").problem(422)[0] == "invalid-before"


def test_an_account_has_its_facts_and_people(door: Door) -> None:
    who = door.customer()
    account = door.get(f"/v1/customers/{who}").json()["account"]

    found = door.get(f"/v1/accounts/{account}").json()

    assert {one["name"]: one["value"] for one in found["profile"]}["plan"] == "team"
    assert [one["id"] for one in found["people"]] == [who]
    assert "subscription.started" in {one["what"] for one in found["transactions"]}
    assert door.get("/v1/accounts/nothing").problem(404)[0] == "unknown-account"


def test_a_signal_kept_out_is_looked_at_fixed_and_sent_again(door: Door) -> None:
    seq = kept_out(door, {"timezone": 7, "email": "bob@example.com"})
    shown = door.get(f"/v1/quarantine/{seq}").json()
    assert (shown["status"], shown["problems"][0]["field"]) == ("open", "data.timezone")
    assert shown["draft"]["data"]["timezone"] == 7

    code, fields, _ = door.post(f"/v1/quarantine/{seq}/resubmit", b"").problem(422)
    assert (code, fields) == ("still-wrong", ["data.timezone"])
    fixed = {**shown["draft"], "data": {"timezone": "Europe/Oslo"}}
    done = door.post(f"/v1/quarantine/{seq}/resubmit", fixed)

    assert done.status == 200, done
    assert done.json()["receipt"]["status"] == "accepted"
    assert door.get("/v1/customers/bob").json()["traits"]["timezone"] == "Europe/Oslo"
    closed = door.get(f"/v1/quarantine/{seq}").json()
    assert (closed["status"], closed["note"]) == ("resubmitted", f"api_key: signal {done.json()['receipt']['seq']}")
    assert door.post(f"/v1/quarantine/{seq}/resubmit", b"").problem(409)[0] == "closed"


def test_quarantine_is_narrowed_and_discarded(door: Door) -> None:
    seq = kept_out(door, {"cups": 3}, "coffee.drunk")

    only = door.get("/v1/quarantine?status=open&reason=unknown_type&type=coffee.drunk").json()
    assert [one["seq"] for one in only] == [seq]
    assert door.send("DELETE", f"/v1/quarantine/{seq}").status == 400
    assert door.send("DELETE", f"/v1/quarantine/{seq}?why=not%20ours").status == 200

    assert door.get("/v1/quarantine?status=discarded").json()[0]["note"] == "api_key: not ours"
    assert door.get("/v1/quarantine/9999").problem(404)[0] == "unknown"
    assert door.get("/v1/quarantine?status=lost").problem(422)[0] == "invalid-status"


@pytest.mark.parametrize("body", [b"{", b"[1]", b'{"nonsense": 1}', b'"x"', b"\xff\xfe", b"[" * 5_000])
def test_a_fixed_draft_that_is_none_is_refused_and_changes_nothing(door: Door, body: bytes) -> None:
    seq = kept_out(door, {"timezone": 7})

    assert door.post(f"/v1/quarantine/{seq}/resubmit", body).status in (400, 422)

    assert door.get(f"/v1/quarantine/{seq}").json()["status"] == "open"


def test_only_a_key_that_governs_may_send_again(door: Door) -> None:
    seq = kept_out(door, {"timezone": 7})

    assert door.send("POST", f"/v1/quarantine/{seq}/resubmit", b"", key="write_key").status == 403
    assert door.send("GET", f"/v1/quarantine/{seq}", key="write_key").status == 403
    assert door.send("GET", f"/v1/quarantine/{seq}", key=None).status == 401
