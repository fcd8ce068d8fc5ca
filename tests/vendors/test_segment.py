"""Segment's HTTP API: every trap seen in real SDKs, and all 75 examples of its public specification."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from opportune.core.signals import SignalContract, parse_time_ms

from .vendor_room import FIXTURES, KEY, Room, sample

pytestmark = pytest.mark.slow

BASIC = {"authorization": "Basic " + b64encode(f"{KEY}:".encode()).decode()}
LINES = (FIXTURES / "segment/spec_examples.jsonl").read_text().splitlines() if FIXTURES.exists() else []
EXAMPLES: list[dict[str, Any]] = [json.loads(line)["payload"] for line in LINES]
for place, example in enumerate(EXAMPLES):
    if "messageId" in example:  # the pages of the specification share one id for different calls
        example["messageId"] += f"-{place}"
needs_examples = pytest.mark.skipif(not EXAMPLES, reason="the shared fixtures are not on this machine")


def track(**fields: Any) -> dict[str, Any]:
    """A call as analytics-python 2.4.0 sends it."""
    return {
        "type": "track", "event": "Seat Limit Reached", "userId": "u1", "anonymousId": None,
        "properties": {"seats": 10}, "context": {"groupId": "acme", "library": {"name": "analytics-python"}},
        "integrations": {}, "timestamp": "2026-11-24T09:59:57.065+00:00", "messageId": "m1", **fields,
    }  # fmt: skip


def only(room: Room) -> Any:
    assert room.quarantined == []
    (signal,) = room.signals
    return signal


def test_a_batch_of_the_python_sdk(room: Room) -> None:
    answer = room.post(
        "/v1/batch", {"batch": [track()], "sentAt": "2026-11-24T10:00:00+00:00", "writeKey": KEY}, BASIC
    )
    assert (answer.status, answer.json()["success"], answer.json()["accepted"]) == (200, True, 1)
    signal = only(room)
    assert (signal.source, signal.id, signal.type) == ("segment", "m1", "seats.counted")
    assert (signal.customer, signal.account, signal.data) == ("u1", "acme", {"used": 10, "seats": 10})
    assert signal.at_ms == parse_time_ms("2026-11-24T09:59:57.065Z")


@pytest.mark.parametrize(
    ("path", "call", "type_", "customer", "account", "data"),
    [
        ("identify", {"userId": "u", "traits": {"role": "admin"}}, "person.updated", "u", None, {"role": "admin"}),
        ("i", {"userId": "u", "traits": {"locale": "de"}}, "person.updated", "u", None, {"locale": "de"}),
        ("group", {"groupId": "g", "userId": "u", "traits": {"seats": 3}}, "account.updated", "u", "g",
         {"seats": 3}),
        ("g", {"groupId": "g", "traits": {"seats": 3}}, "account.updated", None, "g", {"seats": 3}),
        ("page", {"userId": "u", "name": "pricing"}, "page.viewed", "u", None, {"name": "pricing"}),
        ("p", {"anonymousId": "a", "userId": None, "properties": {"path": "/x"}}, "page.viewed", "a", None,
         {"name": "/x", "path": "/x"}),
        ("screen", {"userId": 7, "name": "Home"}, "page.viewed", "7", None, {"name": "Home"}),
        ("s", {"userId": "u", "name": "Home"}, "page.viewed", "u", None, {"name": "Home"}),
        ("track", {"userId": "u", "event": "Ticket Opened", "context": {"groupId": "g"},
         "properties": {"ticket": "T", "priority": "low"}}, "ticket.opened", "u", "g",
         {"ticket": "T", "priority": "low"}),
        ("t", {"userId": "u", "event": "Feature Used", "context": {"groupId": "g"}, "properties": {"feature": "x"}},
         "usage.recorded", "u", "g", {"feature": "x", "count": 1}),
    ],
)  # fmt: skip
def test_every_kind_of_single_call(
    room: Room,
    path: str,
    call: dict[str, Any],
    type_: str,
    customer: str,
    account: str | None,
    data: dict[str, Any],
) -> None:
    assert room.post(f"/v1/{path}", {**call, "messageId": "m", "writeKey": KEY}).status == 200
    signal = only(room)
    assert (signal.type, signal.customer, signal.account, signal.data) == (type_, customer, account, data)


@pytest.mark.parametrize("path", ["alias", "a"])
def test_an_alias_keeps_no_name_in_clear(room: Room, path: str) -> None:
    assert room.post(f"/v1/{path}", {"userId": "u", "previousId": "jen@x.org", "writeKey": KEY}).status == 200
    assert only(room).type == "person.aliased"
    assert "jen" not in repr(only(room))


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "nonsense/€"])
@pytest.mark.parametrize("packed", [None, "header", "magic"])
def test_content_type_is_ignored_and_gzip_is_seen(room: Room, content_type: str, packed: str | None) -> None:
    body = json.dumps({"batch": [track()], "writeKey": KEY}).encode()
    headers = {"content-type": content_type.encode("utf-8").decode("latin-1")}
    if packed:
        body = gzip.compress(body)
    if packed == "header":
        headers["content-encoding"] = "gzip"
    assert room.post("/v1/batch", body, headers).status == 200
    assert only(room).id == "m1"


def test_no_key_or_a_wrong_one_is_401_with_what_sdks_read(room: Room) -> None:
    for headers, key in (({}, None), ({}, "wk_other"), ({"authorization": "Basic ???"}, None), ({}, "reader")):
        answer = room.post("/v1/batch", {"batch": [track()], **({"writeKey": key} if key else {})}, headers)
        assert answer.status == 401
        assert {"code", "message", "detail", "type"} <= answer.json().keys()
        assert answer.headers["access-control-allow-origin"] == "*"
    assert room.signals == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"7", b'"x"', b"\xff\xfe", b'{"batch":7,"writeKey":"wk_test"}',
        b'{"writeKey":"wk_test","batch":[' + b"[" * 5000, b'{"writeKey":"wk_test","batch":[NaN]}',
        b"\x1f\x8bnot gzip", gzip.compress(b"{}" + b" " * 5_000_000, mtime=0), b" " * 4_300_000,
        json.dumps({"writeKey": KEY, "batch": [{}] * 1001}).encode(),
    ],
    ids=lambda body: f"{body[:24]!r}",
)  # fmt: skip
def test_only_what_cannot_be_read_or_is_too_large_is_400(room: Room, body: bytes) -> None:
    answer = room.post("/v1/batch", body, BASIC)
    assert answer.status == 400
    assert answer.json()["detail"]
    assert (room.signals, room.quarantined) == ([], [])


def test_whatever_is_odd_in_a_call_is_kept_with_its_reason(room: Room) -> None:
    odd: list[Any] = [
        7, None, [], {}, {"type": "nonsense"}, track(messageId="a", event=None), track(messageId="b", event=7),
        track(messageId="c", properties="x"), track(messageId="d", timestamp="yesterday"), track(messageId=["e"]),
        track(messageId="f", userId=None), track(messageId="g", userId={"x": 1}),
        track(messageId="h", timestamp="2031-01-01T00:00:00Z"), track(messageId="i", properties={"seats": "ten"}),
        track(messageId="j", event="Never Heard Of"), track(messageId="k", type=["track"]),
        track(messageId="l", context=[], groupId=None), track(messageId="m", properties={"seats": 2**70}),
        track(messageId="n", event="Ticket Opened", properties={"ticket": "x" * 70_000, "priority": "low"}),
    ]  # fmt: skip
    answer = room.post("/v1/batch", {"batch": odd, "writeKey": KEY})
    assert answer.status == 200
    receipts = answer.json()["receipts"]
    assert [receipt["status"] for receipt in receipts if receipt["id"] != "f"] == ["quarantined"] * (len(odd) - 1)
    assert all(problem["field"] and problem["message"] for one in receipts for problem in one.get("problems", []))
    assert len(room.quarantined) == len(odd) - 1


def test_a_retry_is_a_duplicate_also_from_a_clock_that_is_off(room: Room) -> None:
    """The clock of the sender is an hour behind; the second delivery is a minute later, sent anew."""
    call = track(timestamp="2026-11-24T08:59:00Z")
    first = room.post("/v1/batch", {"batch": [call], "sentAt": "2026-11-24T09:00:00Z", "writeKey": KEY})
    assert only(room).at_ms == parse_time_ms("2026-11-24T09:59:00Z")
    room.clock.at_ms += 61_234
    second = room.post("/v1/batch", {"batch": [call], "sentAt": "2026-11-24T09:01:00Z", "writeKey": KEY})
    assert (first.json()["accepted"], second.json()["duplicate"]) == (1, 1)
    other = room.post("/v1/batch", {"batch": [{**call, "userId": "u2"}], "writeKey": KEY})
    assert other.json()["quarantined"] == 1
    assert "other content" in room.quarantined[0].problems[0].message


def test_a_clock_ahead_is_corrected_and_the_past_of_an_import_is_not(room: Room) -> None:
    ahead = track(timestamp="2026-11-25T09:59:59Z")
    room.post("/v1/batch", {"batch": [ahead], "sentAt": "2026-11-25T10:00:00Z", "writeKey": KEY})
    past = track(timestamp="2025-01-01T00:00:00Z", messageId="m2")
    room.post("/v1/import", {"batch": [past], "sentAt": "2026-11-24T08:00:00Z", "writeKey": KEY})
    assert [signal.at_ms for signal in room.signals] == [
        parse_time_ms("2026-11-24T09:59:59Z"), parse_time_ms("2025-01-01T00:00:00Z"),
    ]  # fmt: skip


def test_a_call_without_an_id_gets_one_from_its_content(room: Room) -> None:
    timed = track()
    del timed["messageId"]
    for _ in range(2):
        room.post("/v1/batch", {"batch": [timed, {**timed, "userId": "u2"}], "writeKey": KEY})
    assert [signal.customer for signal in room.signals] == ["u1", "u2"]
    del timed["timestamp"]
    room.post("/v1/batch", {"batch": [timed, timed], "sentAt": "2026-11-24T08:00:00Z", "writeKey": KEY})
    assert [signal.at_ms for signal in room.signals[2:]] == [room.clock.at_ms] * 2


def test_browsers_get_their_settings_and_may_send_from_anywhere(room: Room) -> None:
    settings = room.get(f"/v1/projects/{KEY}/settings")
    assert settings.json()["integrations"]["Segment.io"] == {
        "apiKey": KEY, "apiHost": "opportune.test/v1", "protocol": "https", "addBundledMetadata": True,
        "unbundledIntegrations": [], "bundledConfigIds": [],
    }  # fmt: skip
    assert room.get("/v1/projects/other/settings").status == 401
    assert room.post("/v1/m", b"anything").json() == {"success": True}
    before = room.ask("OPTIONS", "/v1/t", headers={"origin": "https://shop.example"})
    assert (before.status, before.headers["access-control-allow-origin"]) == (200, "*")


@needs_examples
def test_every_example_of_the_specification_is_taken(room: Room) -> None:
    """All 75 get a 200; what is kept out is kept out for its schema, or because it names nobody."""
    fates: Counter[str] = Counter()
    for example in EXAMPLES:
        answer = room.post("/v1/batch", {"batch": [example], "writeKey": KEY})
        assert answer.status == 200
        (receipt,) = answer.json()["receipts"]
        problems = receipt.get("problems", [])
        fates[receipt["status"] if not problems else problems[0]["code"]] += 1
        for problem in problems:
            names_schema = problem["code"] == "unknown_type" and "add schemas/" in problem["message"]
            assert names_schema or "must name" in problem["message"], (example, problem)
    assert sum(fates.values()) == 75
    assert fates == {"accepted": 14, "unknown_type": 59, "missing": 2}


@needs_examples
def test_with_schemas_for_all_of_them_every_example_about_somebody_is_accepted(tmp_path: Path) -> None:
    """Only a page, a screen and a registration without any id stay out: there is nobody they are about."""
    playbook = sample()
    known = {contract.signal for contract in playbook.contracts}
    first = Room(tmp_path / "first", playbook)
    for example in EXAMPLES:
        first.post("/v1/batch", {"batch": [example], "writeKey": KEY})
    types = {entry.type for entry in first.quarantined} - known
    first.close()
    more = tuple(SignalContract(signal=type_, owner="t", schema={"type": "object"}) for type_ in sorted(types))
    room = Room(tmp_path / "second", msgspec.structs.replace(playbook, contracts=(*playbook.contracts, *more)))
    answers = [room.post("/v1/batch", {"batch": [example], "writeKey": KEY}).json() for example in EXAMPLES]
    room.close()
    assert sum(answer["accepted"] for answer in answers) == 72
    assert [entry.type for entry in room.quarantined] == ["page.viewed", "page.viewed", "user.registered"]
