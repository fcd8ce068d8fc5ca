"""PostHog's capture shapes: batches, single events and forms, as its SDKs were seen to send them."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import pytest

from opportune.core.signals import parse_time_ms

from .vendor_room import KEY, Room

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""


def event(name: str, properties: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "event": name, "distinct_id": "u1", "uuid": "0949", "timestamp": "2026-11-24T09:59:57Z",
        "properties": {"$lib": "posthog-python", **(properties or {})}, **fields,
    }  # fmt: skip


def sent(room: Room, *events: dict[str, Any], **fields: Any) -> Any:
    answer = room.post("/batch/", {"api_key": KEY, "batch": list(events), "historical_migration": False, **fields})
    assert (answer.status, answer.json()["status"]) == (200, "Ok")
    return answer.json()


def test_a_batch_with_a_group(room: Room) -> None:
    groups = {"$groups": {"project": "p", "company": "acme"}}
    assert sent(room, event("Seat Limit Reached", {"seats": 10, **groups}))["accepted"] == 1
    (signal,) = room.signals
    assert (signal.source, signal.id, signal.type, signal.customer) == ("posthog", "0949", "seats.counted", "u1")
    assert (signal.account, signal.data) == ("acme", {"used": 10, "seats": 10})


def test_group_identify_describes_an_account_and_makes_no_person(room: Room) -> None:
    group = {"$group_type": "company", "$group_key": "acct_1", "$group_set": {"name": "Acme"}}
    sent(room, event("$groupidentify", group, distinct_id="thrown-away"))
    (signal,) = room.signals
    assert (signal.type, signal.customer, signal.account, signal.data) == (
        "account.updated", None, "acct_1", {"name": "Acme"},
    )  # fmt: skip
    assert room.records.person("thrown-away") is None
    assert room.records.account("acct_1") is not None


@pytest.mark.parametrize(
    "call",
    [
        event("$set", **{"$set": {"locale": "de"}}),
        event("$set", {"$set": {"locale": "de"}}),
        event("$identify", {"$set": {"locale": "de"}, "$anon_distinct_id": "a"}),
        event("$identify", {"$set_once": {"locale": "de"}}),
    ],
    ids=["beside the properties", "inside them", "identify", "set once"],
)
def test_person_properties_wherever_they_are(room: Room, call: dict[str, Any]) -> None:
    sent(room, call)
    (signal,) = room.signals
    assert (signal.type, signal.customer, signal.data) == ("person.updated", "u1", {"locale": "de"})


def test_person_properties_inside_another_event_are_a_fact_of_their_own(room: Room) -> None:
    used = event("Feature Used", {"feature": "x", "$set": {"role": "admin"}, "$groups": {"company": "a"}})
    both, again = sent(room, used), sent(room, used)
    assert (both["accepted"], again["duplicate"]) == (2, 2)
    assert [(one.id, one.type) for one in room.signals] == [
        ("0949", "usage.recorded"), ("0949:person.updated", "person.updated"),
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/capture/", "/e/", "/i/v0/e/", "/e", "/batch", "/track/"])
@pytest.mark.parametrize("shape", ["api_key", "token", "properties", "array", "gzip", "form", "base64", "batch"])
def test_every_path_shape_and_place_of_the_key(room: Room, path: str, shape: str) -> None:
    one = event("$pageview", {"$pathname": "/pricing", "$ip": "1.2.3.4"})
    keyed = {"token": KEY, **one}
    body = json.dumps(keyed).encode()
    if shape == "api_key":
        body = json.dumps({"api_key": KEY, **one}).encode()
    elif shape == "properties":
        body = json.dumps({**one, "properties": {**one["properties"], "token": KEY}}).encode()
    elif shape == "array":
        body = json.dumps([keyed]).encode()
    elif shape == "gzip":
        body = gzip.compress(body)
    elif shape == "form":
        body = f"data={quote(body.decode())}&compression=".encode()
    elif shape == "base64":
        body = f"data={quote(b64encode(body).decode())}".encode()
    elif shape == "batch":
        body = json.dumps({"batch": [keyed]}).encode()
    answer = room.post(path + "?compression=gzip-js&ver=1.449.2&_=1", body, {"content-type": "text/plain"})
    assert (answer.status, answer.json().get("accepted")) == (200, 1)
    (signal,) = room.signals
    assert (signal.type, signal.data) == ("page.viewed", {"name": "/pricing"})


def test_times_are_corrected_by_the_clock_and_told_by_an_offset(room: Room) -> None:
    off = event("$pageview", {"title": "x"}, timestamp="2026-11-24T11:29:30Z")
    sent(room, off, sent_at="2026-11-24T11:30:00Z")
    old = event("$pageview", {"title": "x"}, uuid="2", timestamp="2020-01-01T00:00:00Z")
    sent(room, old, sent_at="2026-11-24T11:30:00Z", historical_migration=True)
    ago = event("$pageview", {"title": "x"}, uuid="3", offset=1500)
    del ago["timestamp"]
    for _ in range(2):
        last = room.post("/e/", {"token": KEY, **ago}).json()
        room.clock.at_ms += 5000
        ago["offset"] += 5000
    assert last["duplicate"] == 1
    assert [one.at_ms for one in room.signals] == [
        parse_time_ms(time) for time in ("2026-11-24T09:59:30Z", "2020-01-01T00:00:00Z", "2026-11-24T09:59:58.500Z")
    ]


def test_configuration_and_flags_are_answered(room: Room) -> None:
    for path in ("/flags/?v=2", "/flags?v=2", "/decide/?v=3"):
        flags = room.post(path, {"token": KEY, "distinct_id": "u1", "groups": {"company": "acct_1"}})
        assert (flags.json()["featureFlags"], flags.json()["errorsWhileComputingFlags"]) == ({}, False)
    config = room.get(f"/array/{KEY}/config")
    assert (config.json()["token"], config.json()["autocapture_opt_out"]) == (KEY, True)
    script = room.get(f"/array/{KEY}/config.js")
    assert script.headers["content-type"] == "application/javascript"
    assert KEY.encode() in script.body
    assert room.get("/array/other/config").status == 401
    assert room.post("/flags/", {"token": "other"}).status == 401
    assert room.post("/batch/", {"api_key": "other", "batch": [event("x")]}).status == 401


@pytest.mark.parametrize("body", [b"", b"data=", b"data=%%%", b"data=e30", b"7", b"data=bm90IGpzb24=", b"{"])
def test_what_cannot_be_read_is_400_or_401(room: Room, body: bytes) -> None:
    assert room.post("/e/", body, {"authorization": f"Bearer {KEY}"}).status in (200, 400)
    assert room.post("/e/", body).status in (400, 401)
    assert room.signals == []


def test_odd_events_are_kept_with_their_reason(room: Room) -> None:
    odd: list[Any] = [
        7, {}, event("Never Heard Of"), event("$autocapture"), {**event("$pageview"), "properties": 5},
        event("$pageview", distinct_id=None), event("$groupidentify", {"$group_key": None}),
        event("$pageview", uuid={"a": 1}), {**event("x"), "event": ["x"]},
    ]  # fmt: skip
    answer = sent(room, *odd)
    assert answer["quarantined"] == len(odd)
    assert all(one["problems"] for one in answer["receipts"])
