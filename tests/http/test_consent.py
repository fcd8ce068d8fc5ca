"""Consent over HTTP: a withdrawal counts at once on every way in, pages need no login, receipts prove themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
import pytest
from door import Door, Reply, event, question, served

from opportune.core.playbook import Privacy
from opportune.doors.http.preferences.links import Link, links_to
from opportune.verifier import verify_commit, verify_proof

FORM = {"content-type": "application/x-www-form-urlencoded"}
GPC = {"sec-gpc": "1"}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with served(tmp_path_factory.mktemp("consent")) as found:
        yield found


def put(door: Door, who: str, **said: Any) -> Reply:
    return door.send("PUT", f"/v1/customers/{who}/consents", said)


def held(door: Door, who: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = door.get(f"/v1/customers/{who}/consents").json()["consents"]
    return found


def links(door: Door, who: str, **more: Any) -> dict[str, str]:
    reply = door.post(f"/v1/customers/{who}/preference-link", more)
    assert reply.status == 200, reply
    found: dict[str, str] = reply.json()
    return found


def path_of(link: str) -> str:
    return urlsplit(link.strip("<>")).path


def posted(door: Door, path: str, *fields: tuple[str, str], **headers: str) -> Reply:
    return door.send("POST", path, urlencode(fields).encode(), key=None, headers={**FORM, **headers})


def unsubscribe(door: Door, who: str, **more: Any) -> None:
    path = path_of(links(door, who, **more)["list_unsubscribe"])
    assert posted(door, path, ("List-Unsubscribe", "One-Click")).status == 200


def page_says_stop(door: Door, who: str) -> None:
    assert posted(door, path_of(links(door, who)["url"]), ("stop", "everything")).status == 303


def page_unticks(door: Door, who: str) -> None:
    path = path_of(links(door, who)["url"])
    shown = re.findall(r'name="was" value="([^"]+)"', door.send("GET", path, key=None).body.decode())
    assert "marketing/in_app" in shown
    kept = [("on", value) for value in shown if value != "marketing/in_app"]
    assert posted(door, path, *kept, *(("was", value) for value in shown)).status == 303


def segment_says(door: Door, who: str) -> None:
    call = {"type": "track", "userId": who, "messageId": f"seg-{who}", "event": "Consent Withdrawn",
            "properties": {"purpose": "marketing", "channels": ["*"]}}  # fmt: skip
    assert door.post("/v1/batch", {"batch": [call]}, key="write_key").json()["accepted"] == 1


def cloud_event_says(type_: str, purpose: str = "marketing") -> Callable[[Door, str], None]:
    def say(door: Door, who: str) -> None:
        door.accepted(event(type_, {"purpose": purpose, "channels": ["*"]}, subject=who))

    return say


WAYS: dict[str, Callable[[Door, str], None]] = {
    "PUT withdrawn": lambda door, who: put(door, who, status="withdrawn").json(),
    "PUT refused for everything": lambda door, who: put(door, who, status="refused", purpose="*").json(),
    "one-click unsubscribe": unsubscribe,
    "unsubscribe from one channel": lambda door, who: unsubscribe(door, who, channel="in_app"),
    "stop everything on the page": page_says_stop,
    "a box unticked on the page": page_unticks,
    "Segment": segment_says,
    "consent.withdrawn": cloud_event_says("consent.withdrawn"),
    "consent.refused": cloud_event_says("consent.refused"),
    "consent.expired": cloud_event_says("consent.expired"),
    "an objection": cloud_event_says("consent.withdrawn", "*"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_withdrawal_counts_from_the_next_decision_on(door: Door, way: str) -> None:
    who = door.customer()
    assert door.post("/v1/decisions/preview", question(who)).json()["disposition"] == "offered"
    WAYS[way](door, who)
    answer = door.decide(who).json()
    assert (answer["disposition"], answer["reason"]) == ("no_offer", "NO_CONSENT")


def test_a_withdrawal_in_one_channel_leaves_the_others(door: Door) -> None:
    who = door.customer()
    unsubscribe(door, who, channel="email")
    assert held(door, who)["marketing/email"]["status"] == "withdrawn"
    assert held(door, who)["marketing/in_app"]["status"] == "given"
    assert door.decide(who).json()["disposition"] == "offered"


# What is said, and what holds.


def test_everything_that_was_said_is_shown_with_where_it_came_from(door: Door) -> None:
    who = door.customer(consent=False)
    assert held(door, who)["marketing/email"] == {
        "purpose": "marketing", "channel": "email", "controller": "larkfield", "status": "unknown"
    }  # fmt: skip
    said = {"channels": ["email"], "basis": "consent", "evidence": "sign-up form, box ticked", "notice": "privacy-3",
            "expires_at": "2099-01-01T00:00:00Z", "source": "crm"}  # fmt: skip
    assert put(door, who, status="given", **said).status == 200
    row = held(door, who)["marketing/email"]
    assert (row["status"], row["said_of"], row["basis"]) == ("given", "marketing/email", "consent")
    assert (row["evidence"], row["notice"]) == ("sign-up form, box ticked", "privacy-3")
    assert row["expires_at"] == "2099-01-01T00:00:00.000Z"
    assert row["source"].startswith("crm#")


def test_what_was_said_to_another_controller_is_kept_apart(door: Door) -> None:
    who = door.customer(consent=False)
    assert put(door, who, status="given", controller="partner-gmbh", channels=["in_app"]).status == 200
    rows = held(door, who)
    assert rows["marketing/in_app@partner-gmbh"]["status"] == "given"
    assert rows["marketing/in_app"]["status"] == "unknown"
    assert door.decide(who).json()["reason"] == "NO_CONSENT"
    assert put(door, who, status="given", controller="larkfield", channels=["in_app"]).status == 200
    assert held(door, who)["marketing/in_app"]["status"] == "given"
    said = {"purpose": "marketing", "channels": ["in_app"], "controller": "larkfield"}
    door.accepted(event("consent.withdrawn", said, subject=who))
    assert held(door, who)["marketing/in_app"]["status"] == "withdrawn"
    assert door.decide(who).json()["reason"] == "NO_CONSENT"


@pytest.mark.parametrize(
    ("said", "field", "words"),
    [
        ({"purpose": "marketting"}, "purpose", "did you mean `marketing`?"),
        ({"purpose": "*"}, "purpose", "name one purpose"),
        ({"channels": ["e-mail"]}, "channels", "did you mean `email`?"),
        ({"channels": ["pigeon_post"]}, "channels", "the playbook has"),
        ({"channels": []}, "channels", "name at least one"),
        ({"basis": "because"}, "basis", "legitimate_interest"),
        ({"expires_at": "soon"}, "expires_at", "RFC 3339"),
        ({"expires_at": "0001-01-01T00:00:00+23:59"}, "expires_at", "expires_at"),
    ],
)
def test_a_word_that_means_nothing_is_refused_by_field(
    door: Door, said: dict[str, Any], field: str, words: str
) -> None:
    who = door.customer(consent=False)
    code, fields, told = put(door, who, status="given", **said).problem(422)
    assert (code, fields) == ("invalid-consent", [field])
    assert words in told
    assert {row["status"] for row in held(door, who).values()} == {"unknown"}


def test_a_system_outside_may_know_more_purposes_but_nobody_permits_everything(door: Door) -> None:
    who = door.customer(consent=False)
    door.accepted(event("consent.given", {"purpose": "newsletter", "channels": ["post"]}, subject=who))
    assert held(door, who)["newsletter/post"]["status"] == "given"
    refused = door.post("/v1/signals", event("consent.given", {"purpose": "*", "channels": ["*"]}, subject=who))
    _, fields, told = refused.problem(422)
    assert fields == ["data.purpose"]
    assert "name one purpose" in told


def test_a_permission_whose_end_cannot_be_read_is_none(door: Door) -> None:
    who = door.customer()
    said = {"purpose": "marketing", "channels": ["in_app"], "expires_at": "next summer"}
    door.accepted(event("consent.given", said, subject=who))
    assert held(door, who)["marketing/in_app"]["status"] == "refused"
    assert door.decide(who).json()["reason"] == "NO_CONSENT"


def test_evidence_is_personal(door: Door) -> None:
    who = door.customer(consent=False)
    put(door, who, status="refused", evidence="call with ann@example.com")
    row = held(door, who)["marketing/*"]
    assert row["evidence"] == "call with ann@example.com"


# The receipt.


def test_a_receipt_proves_every_word_to_somebody_who_trusts_only_the_key(door: Door) -> None:
    who = door.customer()
    put(door, who, status="withdrawn", channels=["email"], evidence="a call", notice="privacy-3")
    put(door, who, status="refused", controller="partner-gmbh", basis="legitimate_interest")
    reply = door.get(f"/v1/customers/{who}/consents/receipt")
    assert (reply.status, reply.type) == (200, "application/ld+json")
    receipt = reply.json()
    assert receipt["@type"] == "dpv:ConsentReceipt"
    assert receipt["@context"]["dpv"] == "https://w3id.org/dpv#"
    records = {
        (one["dpv:hasDataController"]["dpv:hasName"], one["dpv:hasProcess"]["dpv:hasPurpose"]["dct:title"]): one
        for one in receipt["dpv:hasRecordOfActivity"]
    }
    assert set(records) == {("larkfield", "marketing"), ("partner-gmbh", "marketing")}
    own = records["larkfield", "marketing"]
    assert own["dpv:hasLegalBasis"] == ["eu-gdpr:A6-1-a"]
    assert records["partner-gmbh", "marketing"]["dpv:hasLegalBasis"] == ["eu-gdpr:A6-1-f"]
    assert own["dpv:hasJurisdiction"]["dct:title"] == "eu"
    assert own["dpv:hasProcess"]["dpv:hasPurpose"]["@type"] == "dpv:Marketing"
    assert [one["@type"] for one in own["dpv:hasConsentStatus"]] == ["dpv:ConsentGiven", "dpv:ConsentWithdrawn"]
    assert own["dpv:hasConsentStatus"][1]["dpv:hasIndicationMethod"] == "a call"
    assert own["dpv:hasConsentStatus"][1]["dpv:hasNotice"]["schema:version"] == "privacy-3"
    assert any("person.updated" in one["dct:title"] for one in own["dpv:hasProcess"]["dpv:hasPersonalData"])
    now = {one["opp:channel"]: one["dpv:hasConsentStatus"] for one in own["opp:holdsNow"]}
    assert (now["email"], now["in_app"]) == ("dpv:ConsentWithdrawn", "dpv:ConsentGiven")
    withdraw = own["dpv:hasProcess"]["dpv:hasConsentControl"]["dpv:isExercisedAt"]
    assert door.send("GET", path_of(withdraw), key=None).status == 200
    vkey = door.get("/v1/ledger/vkey").body.decode().strip()
    for one in (*own["dpv:hasConsentStatus"], *records["partner-gmbh", "marketing"]["dpv:hasConsentStatus"]):
        proof = one["opp:ledger"]
        entry = proof["entry"].encode()
        assert verify_proof(proof["proof"].encode(), entry, vkey).ok
        assert verify_commit(entry, bytes.fromhex(proof["salt"]), bytes.fromhex(proof["content"]))


# Pages.


def test_the_page_shows_what_may_be_decided_and_saves_only_what_changed(door: Door) -> None:
    who = door.customer(consent=False)
    put(door, who, status="given", channels=["email"])
    path = path_of(links(door, who)["url"])
    page = door.send("GET", path, key=None)
    assert (page.status, page.type) == (200, "text/html; charset=utf-8")
    text = page.body.decode()
    assert who not in text
    channels = set(door.region.releases.brain().channels)
    assert set(re.findall(r'name="on" value="marketing/([^"]+)"', text)) == channels
    assert re.findall(r'value="([^"]+)" checked', text) == ["marketing/email"]
    assert "You were never asked, so the answer is no." in text
    assert "Stop everything" in text
    before = door.region.records.counts()["signals"]
    saved = posted(door, path, ("was", "marketing/email"), ("on", "marketing/email"), ("on", "marketing/in_app"))
    assert saved.status == 303
    assert door.region.records.counts()["signals"] == before + 1
    row = held(door, who)["marketing/in_app"]
    assert (row["status"], row["source"].split("#")[0]) == ("given", "preferences")
    assert row["evidence"].startswith("preference page, preferences-")
    assert row["notice"].startswith("preferences-")
    assert "Your choices are saved" in door.send("GET", f"{path}?saved=1", key=None).body.decode()


def test_an_old_page_sent_again_does_not_undo_a_withdrawal(door: Door) -> None:
    who = door.customer()
    path = path_of(links(door, who)["url"])
    shown = re.findall(r'name="was" value="([^"]+)"', door.send("GET", path, key=None).body.decode())
    put(door, who, status="withdrawn")
    posted(door, path, *(("was", value) for value in shown), *(("on", value) for value in shown))
    assert door.decide(who).json()["reason"] == "NO_CONSENT"


def test_a_page_takes_no_purpose_or_channel_it_did_not_show(door: Door) -> None:
    who = door.customer(consent=False)
    path = path_of(links(door, who)["url"])
    odd = ["*/*", "marketing/*", "marketing/pigeon", "marketing/email@partner", "x", "", "/"]
    before = door.region.records.counts()["signals"]
    assert posted(door, path, *(("on", value) for value in odd)).status == 303
    assert door.region.records.counts()["signals"] == before


def test_looking_at_an_unsubscribe_link_changes_nothing(door: Door) -> None:
    who = door.customer()
    made = links(door, who, base="https://prefs.example.com/")
    assert made["list_unsubscribe"].startswith("<https://prefs.example.com/unsubscribe/")
    assert made["list_unsubscribe_post"] == "List-Unsubscribe=One-Click"
    path = path_of(made["list_unsubscribe"])
    before = door.region.records.counts()["signals"]
    for method in ("GET", "HEAD"):
        reply = door.send(method, path, key=None)
        assert reply.status in (200, 405)
    assert door.region.records.counts()["signals"] == before
    assert door.decide(who).json()["disposition"] == "offered"


@pytest.mark.parametrize("body", ["form", "multipart"])
def test_one_click_needs_no_cookie_login_or_redirect(door: Door, body: str) -> None:
    who = door.customer()
    path = path_of(links(door, who)["list_unsubscribe"])
    sent, type_ = b"List-Unsubscribe=One-Click", FORM["content-type"]
    if body == "multipart":
        sent = b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n'
        type_ = "multipart/form-data; boundary=b"
    signals = []
    for _ in range(2):
        reply = door.send("POST", path, sent, key=None, headers={"content-type": type_, "origin": "null"})
        assert (reply.status, "You are unsubscribed" in reply.body.decode()) == (200, True)
        signals.append(door.region.records.counts()["signals"])
    assert signals[0] == signals[1]
    row = held(door, who)["marketing/in_app"]
    assert (row["status"], row["source"].split("#")[0]) == ("withdrawn", "unsubscribe")


def test_a_link_that_is_not_ours_reveals_nothing(door: Door) -> None:
    who = door.customer()
    made = links(door, who)
    preferences, unsubscribing = path_of(made["url"]), path_of(made["list_unsubscribe"])
    token = preferences.rsplit("/", 1)[1]
    gone = links_to(door.region.vault, Link("nobody-at-all"), "")["url"]
    past = links_to(door.region.vault, Link(who, None, 1), "")["url"]
    bad = [
        gone, past, f"{preferences[:-2]}xx", f"/preferences/{token[:-1]}", "/preferences/%00", "/preferences/x",
        f"/preferences/{unsubscribing.rsplit('/', 1)[1]}", f"/unsubscribe/{token}", f"/preferences/{'A' * 9000}",
        "/unsubscribe/é".encode().decode("latin-1"),
    ]  # fmt: skip
    before, bodies = door.region.records.counts()["signals"], set()
    for path in bad:
        path = re.sub(r"[^\x21-\x7e]", "%C3", path)
        for reply in (door.send("GET", path, key=None), posted(door, path, ("stop", "everything"))):
            assert reply.status == 404, (path, reply)
            bodies.add(reply.body)
    assert len(bodies) == 1
    assert door.region.records.counts()["signals"] == before
    assert door.decide(who).json()["disposition"] == "offered"


def test_a_link_may_end(door: Door) -> None:
    who = door.customer()
    path = path_of(links(door, who, expires_at="2099-01-01T00:00:00Z")["url"])
    assert door.send("GET", path, key=None).status == 200
    ended = door.post(f"/v1/customers/{who}/preference-link", {"expires_at": "2001-01-01T00:00:00Z"}).json()
    assert door.send("GET", path_of(ended["url"]), key=None).status == 404
    assert door.post(f"/v1/customers/{who}/preference-link", {"expires_at": "x"}).problem(422)[1] == ["expires_at"]
    assert door.post(f"/v1/customers/{who}/preference-link", {"channel": "emial"}).problem(422)[1] == ["channel"]
    assert door.post(f"/v1/customers/{who}/preference-link", {"base": "javascript:x"}).status == 400


# Global Privacy Control.


def with_gpc(door: Door, who: str, id_: str) -> None:
    sent = event("page.viewed", {"name": "pricing"}, id_, subject=who)
    assert door.post("/v1/signals", sent, headers=GPC).status == 200


def test_gpc_on_a_signal_refuses_once_and_a_later_permission_stands(door: Door) -> None:
    who = door.customer()
    put(door, who, status="given", purpose="advertising", channels=["email"])
    with_gpc(door, who, f"g1-{who}")
    row = held(door, who)["advertising/email"]
    assert (row["status"], row["source"].split("#")[0], row["evidence"]) == ("refused", "gpc", "Sec-GPC: 1")
    assert held(door, who)["marketing/in_app"]["status"] == "given"
    before = door.region.records.counts()["signals"]
    with_gpc(door, who, f"g2-{who}")
    with_gpc(door, who, f"g3-{who}")
    assert door.region.records.counts()["signals"] == before + 2
    put(door, who, status="given", purpose="advertising")
    before = door.region.records.counts()["signals"]
    with_gpc(door, who, f"g4-{who}")
    assert door.region.records.counts()["signals"] == before + 1
    assert held(door, who)["advertising/email"]["status"] == "given"


def test_gpc_comes_through_segments_door_too(door: Door) -> None:
    who = door.customer()
    call = {"userId": who, "messageId": f"gpc-{who}", "name": "Pricing"}
    assert door.post("/v1/page", call, key="write_key", headers=GPC).status == 200
    assert held(door, who)["advertising/*"]["status"] == "refused"


def test_a_signal_that_was_kept_out_refuses_for_nobody(door: Door) -> None:
    assert door.post("/v1/signals", event("nobody.knows", {}, subject="ghost"), headers=GPC).status == 422
    assert door.region.records.person("ghost") is None


def test_the_page_honours_gpc_and_says_so(door: Door) -> None:
    who = door.customer()
    path = path_of(links(door, who)["url"])
    text = unescape(door.send("GET", path, key=None, headers=GPC).body.decode())
    assert "Global Privacy Control" in text
    assert "Advertising" in text
    assert "Your browser said no on" in text
    assert held(door, who)["advertising/*"]["status"] == "refused"
    assert "Global Privacy Control" not in door.send("GET", path, key=None).body.decode()
    chosen = posted(door, path, ("on", "advertising/email"), **GPC)
    assert chosen.status == 303
    assert held(door, who)["advertising/email"]["status"] == "given"


def test_the_well_known_resource_says_that_gpc_is_honoured(door: Door) -> None:
    reply = door.send("GET", "/.well-known/gpc.json", key=None)
    assert reply.type.startswith("application/json")
    assert reply.json()["gpc"] is True
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", reply.json()["lastUpdate"])


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Door]:
    """The same playbook, which reads GPC as a refusal of marketing."""
    with served(tmp_path) as door:
        book = door.region.releases.live().playbook
        app = msgspec.structs.replace(book.app, privacy=Privacy(gpc_purposes=("marketing",)))
        changed = msgspec.structs.replace(book, app=app)
        door.region.promote(door.region.release(changed).hash, "tests", "strict")
        yield door


def test_a_decision_with_gpc_drops_what_it_refuses_for_that_decision_only(strict: Door) -> None:
    who = strict.customer()
    ways: tuple[tuple[dict[str, str], dict[str, Any]], ...] = ((GPC, {}), ({}, {"gpc": True}))
    for headers, more in ways:
        answer = strict.post("/v1/decisions", question(who, **more), headers=headers).json()
        assert (answer["disposition"], answer["reason"]) == ("no_offer", "NO_CONSENT")
        shown = strict.get(f"/v1/decisions/{answer['decision_id']}").json()
        assert shown["record"]["seen"]["consents"]["marketing/in_app"] == "refused"
        assert shown["record"]["asked"]["refused"] == ["marketing"]
        assert strict.post(f"/v1/decisions/{answer['decision_id']}/replay", None).json()["same"] is True
    assert strict.post("/v1/decisions/preview", question(who), headers=GPC).json()["reason"] == "NO_CONSENT"
    assert strict.decide(who).json()["disposition"] == "offered"
    with_gpc(strict, who, f"strict-{who}")
    assert strict.decide(who).json()["reason"] == "NO_CONSENT"


def test_the_records_stay_json(door: Door) -> None:
    _, answer = door.offered()
    assert "refused" not in json.dumps(door.get(f"/v1/decisions/{answer['decision_id']}").json()["record"]["asked"])
