"""Scopes and masking, export, the access log, erasure, and logs that say nobody's name, over HTTP."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from door import Door, event, question, served

from opportune.doors.cli.logs import Reticent
from opportune.doors.http.keys import KeysError, named_keys, scopes_of
from opportune.wiring import add_key, keyring, keys_of, revoke_key

NAME, NOTE = "canary-name", "canary-note"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("privacy")


@pytest.fixture(scope="module")
def door(folder: Path) -> Iterator[Door]:
    reader = add_key(folder, "reader", scopes_of("reader", ["read"]))
    helper = add_key(folder, "helpdesk", scopes_of("helpdesk", ["read", "personal"]))
    with served(folder) as door:
        door.keys = {**door.keys, "reader": reader, "helpdesk": helper}
        yield door


def known(door: Door) -> tuple[str, str]:
    """A customer with something personal in every place, and a decision about them."""
    who = door.customer()
    door.accepted(event("person.updated", {"nickname": NAME, "role": "owner"}, subject=who))
    reply = door.post("/v1/decisions", {**question(who), "context": {"limit": NOTE, "used": 10}})
    decision = reply.json()["decision_id"]
    return who, decision


def test_a_key_sees_the_classes_of_its_scopes_in_clear(door: Door) -> None:
    who, decision = known(door)
    for key, opened in (("api_key", True), ("helpdesk", True), ("reader", False)):
        for path in (f"customers/{who}", f"customers/{who}/export", f"decisions/{decision}"):
            reply = door.send("GET", f"/v1/{path}", key=key)
            assert reply.status == 200, reply
            text = NOTE if path.startswith("decisions") else NAME
            assert (text.encode() in reply.body) is opened, (key, path)
            assert (f"{who}@example.com".encode() in reply.body) is (opened and not path.startswith("decisions"))
    export = door.send("GET", f"/v1/customers/{who}/export", key="reader").json()
    assert export["customer"]["identifiers"][0]["value"] == "p…@e….com"
    assert {one["name"]: one["value"] for one in export["traits"]}["nickname"] == "•••"


def test_the_export_is_the_whole_history(door: Door) -> None:
    who, decision = known(door)
    shown = {"id": f"{who}-seen", "decision": decision, "kind": "converted", "amount": 3, "reason": NOTE}
    assert door.post("/v1/outcomes", shown).status == 200
    found = door.get(f"/v1/customers/{who}/export?purpose=article+15").json()
    assert found["format"] == "opportune/export/v1"
    assert [one["type"] for one in found["signals"]].count("person.updated") == 2
    assert [one["id"] for one in found["decisions"]] == [decision]
    assert found["decisions"][0]["explanation"]["customer"]
    assert [one["detail"] for one in found["decisions"][0]["outcomes"]] == [NOTE]
    assert found["consents"][0]["for"] == "marketing/*"
    assert found["accesses"][0]["what"] == "export"
    assert found["accesses"][0]["purpose"] == "article 15"
    assert door.get("/v1/customers/nobody/export").status == 404


def test_every_read_is_in_the_access_log_before_it_is_answered(door: Door) -> None:
    who, decision = known(door)
    door.send("GET", f"/v1/customers/{who}", key="reader")
    door.send("GET", f"/v1/decisions/{decision}", key="helpdesk")
    door.send("GET", f"/v1/customers/{who}/export", key="api_key")
    door.send("POST", f"/v1/decisions/{decision}/replay", key="api_key")
    found = door.get(f"/v1/accesses?customer={who}").json()
    assert [(one["actor"], one["what"], one["classes_in_clear"]) for one in found] == [
        ("api_key", "replay", ["personal", "sensitive"]),
        ("api_key", "export", ["personal", "sensitive"]), ("helpdesk", "decision", ["personal"]),
        ("reader", "customer", []),
    ]  # fmt: skip
    leaves = door.region.records.leaves(0, door.region.records.leaf_count())
    entries = {one["id"]: one for one in map(json.loads, leaves) if one["type"] == "access"}
    assert all(entries[one["id"]]["actor"] == one["actor"] for one in found)
    assert who not in json.dumps([entries[one["id"]] for one in found])
    assert door.send("GET", "/v1/accesses", key="reader").status == 403


def test_erasing_needs_its_scope_and_is_final(door: Door) -> None:
    who, decision = known(door)
    for key in ("reader", "helpdesk", "write_key"):
        door.send("DELETE", f"/v1/customers/{who}", key=key).problem(403)
    report = door.send("DELETE", f"/v1/customers/{who}?why=asked").json()
    assert report["clean"], report
    assert report["removed"]["decisions"] == 1
    assert door.get(f"/v1/customers/{who}").status == 404
    assert door.get(f"/v1/decisions/{decision}").status == 404
    code, fields, _ = door.post("/v1/signals", event("person.updated", {"role": "owner"}, subject=who)).problem(422)
    assert (code, fields) == ("signal-rejected", ["subject"])
    door.send("DELETE", "/v1/customers/nobody").problem(404)
    assert door.send("DELETE", f"/v1/customers/{who}").json()["status"] == "completed"


def test_keys_are_added_and_revoked_without_a_trace_of_the_key(tmp_path: Path) -> None:
    ring, _ = keyring(tmp_path)
    key = add_key(tmp_path, "desk", frozenset({"read"}))
    assert ring.caller(key) is None
    ring.become(keyring(tmp_path)[0])
    caller = ring.caller(key)
    assert caller is not None
    assert (caller.name, sorted(caller.scopes)) == ("desk", ["read"])
    assert (tmp_path / "api_keys.json").stat().st_mode & 0o077 == 0
    with pytest.raises(KeysError, match="already"):
        add_key(tmp_path, "desk", frozenset({"read"}))
    revoke_key(tmp_path, "desk")
    ring.become(keyring(tmp_path)[0])
    assert ring.caller(key) is None
    assert {one.name for one in keys_of(tmp_path)} == {"api_key", "write_key"}


@pytest.mark.parametrize(
    "document", [[], {"x": "key"}, {"x": {"key": "", "scopes": ["read"]}}, {"x": {"key": "k", "scopes": ["all"]}},
                 {"x": {"key": "k", "scopes": []}}, {"api_key": 7}],
)  # fmt: skip
def test_a_file_of_keys_that_says_too_little_is_refused(document: Any) -> None:
    with pytest.raises(KeysError):
        named_keys(document)


def test_no_door_says_a_personal_value_in_its_log(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(Reticent("%(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    who, decision = known(door)
    secret = f"canary-secret {who}"

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError(secret) from ValueError(secret)

    try:
        records = door.region.records
        with monkeypatch.context() as patch:
            for name in ("person", "decision", "signals_of", "decisions", "accesses", "quarantined", "run", "submit"):
                patch.setattr(records, name, broken)
            faults = [
                door.get(f"/v1/customers/{who}"), door.get(f"/v1/customers/{who}/export"),
                door.get(f"/v1/decisions/{decision}"), door.get("/v1/accesses"), door.get("/v1/quarantine"),
                door.send("DELETE", f"/v1/customers/{who}"),
                door.post("/v1/signals", event("person.updated", {"nickname": NAME}, subject=who)),
                door.post("/v1/outcomes", {"customer": who, "kind": "converted", "reason": NOTE}),
            ]  # fmt: skip
            answered = door.decide(who)
        assert {one.status for one in faults} == {500}
        assert (answered.status, answered.json()["degraded"]) == (200, ["decision.failed"])
        wrong = [
            door.post("/v1/signals", event("person.updated", {"email": [NAME]}, subject=who)),
            door.post("/v1/signals", b'{"canary-name": '),
            door.post("/v1/outcomes", {"customer": who, "kind": NAME}),
            door.post("/v1/decisions", {**question(who), "moment": "x", "context": {"limit": [NOTE]}}),
            door.post("/v1/track", {"userId": who, "event": 7, "properties": {"n": NAME}}, key="write_key"),
        ]
        assert all(400 <= one.status < 500 or one.status == 200 for one in wrong), wrong
        assert not any(secret.encode() in one.body for one in (*faults, answered))
    finally:
        logging.getLogger().removeHandler(handler)
    text = said.getvalue()
    assert "RuntimeError" in text
    assert "canary" not in text, text
    assert who not in text


