"""Signed webhooks at the door: billing and CRM become signals, replays count once, and no forgery gets in."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import random
from base64 import b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest

from opportune.core.playbook import Hook, PayloadMapping, Source

from .vendor_room import FIXTURES, Reply, Room, sample

pytestmark = pytest.mark.slow

SECRET = "whsec_test_secret"
RESOURCES: dict[str, Any] = (
    json.loads((FIXTURES / "stripe/openapi_fixtures3.json").read_text())["resources"] if FIXTURES.exists() else {}
)
needs_fixtures = pytest.mark.skipif(not RESOURCES, reason="the shared fixtures are not on this machine")


def stripe(
    room: Room, event: dict[str, Any] | bytes, *, age_s: int = 0, secret: str = SECRET, header: str | None = None
) -> Reply:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    at_s = room.clock.at_ms // 1000 - age_s
    mac = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    signature = f"t={at_s},v1={mac}" if header is None else header
    return room.post("/v1/hooks/stripe", body, {"Stripe-Signature": signature})


def subscription(**fields: Any) -> dict[str, Any]:
    """Stripe's own sample subscription, about the sample's plan and account."""
    found = copy.deepcopy(RESOURCES["subscription"])
    found |= {"status": "active", "metadata": {"account": "acme"}, **fields}
    found["items"]["data"][0]["price"]["lookup_key"] = "business"
    found["items"]["data"][0]["quantity"] = 12
    return found  # type: ignore[no-any-return]


def event(type_: str, thing: dict[str, Any], id_: str = "evt_1") -> dict[str, Any]:
    return {
        "id": id_, "object": "event", "type": type_, "created": 1_795_514_390, "livemode": False,
        "data": {"object": thing},
    }  # fmt: skip


@pytest.fixture
def billing(room: Room) -> Room:
    room.secret("stripe", SECRET)
    return room


@needs_fixtures
@pytest.mark.parametrize(
    ("type_", "thing", "before", "signals"),
    [
        ("customer.subscription.created", {}, None, ["subscription.started"]),
        ("customer.subscription.created", {"status": "incomplete"}, None, []),
        ("customer.subscription.updated", {}, {"quantity": 3}, ["subscription.changed"]),
        ("customer.subscription.updated", {}, {"status": "incomplete"},
         ["subscription.started", "subscription.changed"]),
        ("customer.subscription.deleted", {"status": "canceled"}, None, ["subscription.ended"]),
    ],
)  # fmt: skip
def test_subscriptions(
    billing: Room, type_: str, thing: dict[str, Any], before: dict[str, Any] | None, signals: list[str]
) -> None:
    said = event(type_, subscription(**thing))
    if before is not None:
        said["data"]["previous_attributes"] = before
    answer = stripe(billing, said)
    assert (answer.status, answer.json()["accepted"]) == (200, len(signals))
    assert [one.type for one in billing.signals] == signals
    assert all(one.account == "acme" and one.at_ms == 1_795_514_390_000 for one in billing.signals)
    if signals and signals[0] != "subscription.ended":
        assert billing.signals[0].data == {
            "subscription": "sub_1Pgc6rB7WZ01zgkWNy0Cn5nw", "plan": "business", "seats": 12, "mrr": 240.0,
            "billing": "monthly", "trial": False,
        }  # fmt: skip


@needs_fixtures
def test_invoices_and_customers(billing: Room) -> None:
    invoice = {**RESOURCES["invoice"], "amount_paid": 1950}
    stripe(billing, event("invoice.payment_succeeded", invoice, "evt_1"))
    stripe(billing, event("invoice.payment_failed", invoice, "evt_2"))
    stripe(billing, event("customer.updated", {**RESOURCES["customer"], "name": "Acme"}, "evt_3"))
    assert stripe(billing, event("invoice.created", invoice, "evt_4")).json()["receipts"] == []
    assert [(one.type, one.account, one.data) for one in billing.signals] == [
        ("payment.succeeded", "cus_QXg1o8vcGmoR32", {"status": "succeeded", "amount": 19.5, "currency": "usd"}),
        ("payment.failed", "cus_QXg1o8vcGmoR32", {"status": "failed", "amount": 10.0, "currency": "usd"}),
        ("account.updated", "cus_QXg1o8vcGmoR32", {"name": "Acme"}),
    ]


@needs_fixtures
def test_every_event_stripe_can_say_is_kept(billing: Room) -> None:
    """176 resources of Stripe's API, and 62 recorded by dj-stripe, each as an event: kept, or left out by name."""
    recorded = [json.loads(path.read_text()) for path in sorted(FIXTURES.glob("stripe/dj_stripe_fixtures/*.json"))]
    things = [*RESOURCES.items(), *((one.get("object", "thing"), one) for one in recorded)]
    left_out = 0
    for number, (name, thing) in enumerate(things):
        name = {"subscription": "customer.subscription"}.get(name, name)
        whole = thing if name == "event" else event(f"{name}.updated", thing, f"evt_{number}")
        answer = stripe(billing, {**whole, "id": f"evt_{number}"})
        assert answer.status == 200, (name, answer.body)
        left_out += answer.json()["receipts"] == []
    told = {problem.code for entry in billing.quarantined for problem in entry.problems}
    assert (len(things), len(billing.signals), len(billing.quarantined), left_out) == (238, 5, 230, 3)
    assert told == {"unmapped", "depth", "schema"}


def test_a_replay_and_an_event_sent_again_count_once(billing: Room) -> None:
    paid = event("invoice.payment_failed", {"customer": "acme", "amount_due": 100, "metadata": {}})
    fates = [stripe(billing, paid).json() for _ in range(3)]
    billing.clock.at_ms += 60_000
    fates.append(stripe(billing, paid).json())  # signed anew, as Stripe does when it tries again
    assert [(one["accepted"], one["duplicate"]) for one in fates] == [(1, 0), (0, 1), (0, 1), (0, 1)]
    assert len(billing.signals) == 1
    # What nobody mapped is not told apart by its id: it may be sent again once it is mapped.
    lost = event("charge.refunded", {}, "evt_9")
    stripe(billing, lost)
    assert stripe(billing, lost).json()["duplicate"] == 1
    billing.clock.at_ms += 1000
    assert stripe(billing, lost).json()["quarantined"] == 1
    assert "nothing maps the event `charge.refunded`" in billing.quarantined[0].problems[0].message


def test_a_thousand_forged_stale_and_mangled_deliveries_leave_nothing_behind(billing: Room) -> None:
    chance = random.Random(3)
    statuses: dict[int, int] = {}
    for number in range(1000):
        invoice = {"customer": "acme", "amount_due": number, "metadata": {}}
        paid = event("invoice.payment_failed", invoice, f"e{number}")
        at_s = billing.clock.at_ms // 1000
        kind = chance.randrange(5)
        if kind == 0:
            answer = stripe(billing, paid, secret=f"whsec_{number}")
        elif kind == 1:
            answer = stripe(billing, paid, age_s=chance.choice([-1, 1]) * chance.randrange(301, 10**6))
        elif kind == 2:
            answer = stripe(billing, paid, header=f"t={at_s},v1={chance.randbytes(32).hex()}")
        elif kind == 3:
            answer = stripe(billing, paid, header=chance.choice(["t=1", "", f"t=x,v1={'0' * 64}", "v1=", "?"]))
        else:
            answer = billing.post("/v1/hooks/stripe", paid)
        assert answer.json()["type"].startswith("https://opportune.invalid/problems/signature-")
        assert answer.json()["detail"]
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
    assert statuses.keys() == {400, 401}
    assert (billing.signals, billing.quarantined) == ([], [])


def test_what_is_signed_but_cannot_be_read_is_400(billing: Room) -> None:
    for body in (b"", b"{", b"\xff", b"[" * 3000, json.dumps([{}] * 1001).encode()):
        assert stripe(billing, body).status == 400
    assert stripe(billing, b'"text"').json()["quarantined"] == 1
    assert stripe(billing, {"type": 7, "id": None}).json()["quarantined"] == 1


def test_a_source_without_a_hook_a_secret_or_a_safe_file_takes_nothing(room: Room) -> None:
    assert stripe(room, {}).status == 503
    room.secret("stripe", SECRET, mode=0o644)
    assert (stripe(room, {}).status, stripe(room, {}).headers["retry-after"]) == (503, "1")
    for name in ("ravenstack", "nobody", "../stripe", "", "stripe/x"):
        assert room.post(f"/v1/hooks/{name}", b"{}").status == 404
    room.secret("stripe", "whsec_new", SECRET)
    assert stripe(room, event("x", {})).status == 200


def test_hubspot_delivers_an_array(room: Room) -> None:
    path = FIXTURES / "hubspot/contact_creation.json"
    if not path.exists():
        pytest.skip("the shared fixtures are not on this machine")
    room.secret("hubspot", "client-secret")
    contact = json.loads(path.read_text())["body"][0]
    company = {**contact, "subscriptionType": "company.creation", "objectId": 5}
    company["eventId"] = 2
    email = {**contact, "subscriptionType": "contact.propertyChange", "propertyName": "email", "eventId": 3}
    email["propertyValue"] = "ada@example.org"
    deal = {**contact, "subscriptionType": "deal.creation", "eventId": 4}
    body = json.dumps([contact, company, email, deal]).encode()

    def deliver(attempt: int, address: str = "https://opportune.test/v1/hooks/hubspot") -> Reply:
        sent = body.replace(b'"attemptNumber": 0', f'"attemptNumber": {attempt}'.encode())
        stamp = str(room.clock.at_ms - attempt)
        mac = hmac.new(b"client-secret", f"POST{address}".encode() + sent + stamp.encode(), hashlib.sha256)
        headers = {"X-HubSpot-Request-Timestamp": stamp, "X-HubSpot-Signature-v3": b64encode(mac.digest()).decode()}
        return room.post("/v1/hooks/hubspot", sent, headers)

    first = deliver(0).json()
    assert (first["accepted"], first["quarantined"]) == (3, 1)
    assert [(one.type, one.customer, one.account, one.at_ms) for one in room.signals] == [
        ("person.updated", "65059681032", None, 1708986598741), ("account.updated", None, "5", 1708986598741),
        ("person.updated", "65059681032", None, 1708986598741),
    ]  # fmt: skip
    assert "ada@example.org" not in repr(room.signals)
    again = deliver(1).json()
    assert (again["accepted"], again["duplicate"]) == (0, 3)
    assert deliver(2, "https://elsewhere.test/").status == 401


def test_anything_else_by_standard_webhooks(tmp_path: Path) -> None:
    mapping = PayloadMapping(
        event="seat.counted", type="seats.counted", account="event.data.team",
        data={"used": "event.data.used", "seats": "event.data.seats"},
    )  # fmt: skip
    source = Source(
        source="billing-app", title="t", owner="t", hook=Hook(signed_by="standard"), payloads=(mapping,)
    )
    own = Source(source="cdp", title="t", owner="t", hook=Hook(signed_by="segment"))
    playbook = msgspec.structs.replace(sample(), sources=(*sample().sources, source, own))
    room = Room(tmp_path, playbook)
    room.secret("billing-app", "whsec_" + b64encode(b"k" * 24).decode())
    room.secret("cdp", "shared")
    body = json.dumps({
        "type": "seat.counted", "timestamp": "2026-11-24T09:00:00Z", "data": {"team": "t1", "used": 3, "seats": 5},
    }).encode()  # fmt: skip
    stamp = str(room.clock.at_ms // 1000)
    signed = b"msg_1." + stamp.encode() + b"." + body
    signature = "v1," + b64encode(hmac.new(b"k" * 24, signed, hashlib.sha256).digest()).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": signature}
    assert room.post("/v1/hooks/billing-app", body, headers).json()["accepted"] == 1
    call = json.dumps({"type": "group", "groupId": "g", "messageId": "m", "traits": {"seats": 3}}).encode()
    signed_call = {"X-Signature": hmac.new(b"shared", call, "sha1").hexdigest()}
    assert room.post("/v1/hooks/cdp", call, signed_call).json()["accepted"] == 1
    found = [(one.source, one.id, one.type, one.account) for one in room.signals]
    room.close()
    assert found == [("billing-app", "msg_1", "seats.counted", "t1"), ("segment", "m", "account.updated", "g")]
