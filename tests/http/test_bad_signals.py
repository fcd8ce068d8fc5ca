"""Every way a signal can be wrong: a 4xx or a quarantine entry naming the field, never a 5xx, nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from door import Door, event, served

GOOD = event("usage.recorded", {"feature": "boards", "count": 1}, subject="bad-ada", account="bad-acme")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with served(tmp_path_factory.mktemp("bad")) as found:
        yield found


def but(**more: Any) -> dict[str, Any]:
    return {**GOOD, **more}


def data(**more: Any) -> dict[str, Any]:
    return but(data={"feature": "boards", "count": 1, **more})


def lacking(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"in": value}
    return value


def at(**shift: float) -> str:
    return (datetime.now(UTC) + timedelta(**shift)).isoformat()


def typed(type_: str, content: object, **more: Any) -> dict[str, Any]:
    return event(type_, content, **{"subject": "bad-ada", "account": "bad-acme", **more})


BAD: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("no id", lacking("id"), "id"),
    ("no source", lacking("source"), "source"),
    ("no type", lacking("type"), "type"),
    ("empty id", but(id=""), "id"),
    ("empty source", but(source=""), "source"),
    ("our own source", but(source="opportune"), "source"),
    ("a source of ours", but(source="opportune.personalizer"), "source"),
    ("empty type", but(type=""), "type"),
    ("id is a number", but(id=7), "id"),
    ("id is null", but(id=None), "id"),
    ("id is a list", but(id=["a"]), "id"),
    ("source is an object", but(source={"a": 1}), "source"),
    ("type is a boolean", but(type=True), "type"),
    ("subject is a number", but(subject=12), "subject"),
    ("subject is a list", but(subject=["ada"]), "subject"),
    ("subject is empty", but(subject=""), "subject"),
    ("account is an object", but(account={"id": "acme"}), "account"),
    ("id too long", but(id="x" * 257), "id"),
    ("source too long", but(source="x" * 257), "source"),
    ("type too long", but(type="x" * 257), "type"),
    ("subject too long", but(subject="x" * 257), "subject"),
    ("id with a line break", but(id="a\nb"), "id"),
    ("subject with a zero byte", but(subject="a\u0000b"), "subject"),
    ("account with a direction mark", but(account="a\u202eb"), "account"),
    ("time is a number", but(time=1764000000), "time"),
    ("time is an object", but(time={"at": 1}), "time"),
    ("time is a word", but(time="yesterday"), "time"),
    ("time without zone", but(time="2026-11-01T10:00:00"), "time"),
    ("time on no calendar", but(time="2026-02-30T10:00:00Z"), "time"),
    ("hour 25", but(time="2026-02-03T25:00:00Z"), "time"),
    ("before 1970", but(time="1969-12-31T23:59:59Z"), "time"),
    ("half an hour ahead", but(time=at(minutes=30)), "time"),
    ("a year ahead", but(time=at(days=365)), "time"),
    ("year 9999", but(time="9999-12-31T23:59:59Z"), "time"),
    ("time is empty", but(time=""), "time"),
    ("unknown type", but(type="usage.recoded"), "type"),
    ("a type in other letters", but(type="Usage.Recorded"), "type"),
    ("unknown version", but(schemaversion=99), "schemaversion"),
    ("version is a word", but(schemaversion="newest"), "schemaversion"),
    ("version is negative", but(schemaversion=-1), "schemaversion"),
    ("version is a fraction", but(schemaversion=1.5), "schemaversion"),
    ("data is a list", but(data=[1]), "data"),
    ("data is text", but(data="count=1"), "data"),
    ("data is a number", but(data=1), "data"),
    ("data missing", lacking("data"), "data"),
    ("data empty", but(data={}), "data"),
    ("required field missing", but(data={"feature": "boards"}), "data"),
    ("count is text", data(count="1"), "data.count"),
    ("count is a fraction", data(count=1.5), "data.count"),
    ("count is negative", data(count=-1), "data.count"),
    ("count is null", data(count=None), "data.count"),
    ("count is true", data(count=True), "data.count"),
    ("count is a list", data(count=[1]), "data.count"),
    ("count beyond 64 bits", data(count=2**63), "data.count"),
    ("feature is a number", data(feature=7), "data.feature"),
    ("another field wrong", data(beta="yes"), "data.beta"),
    ("too deep", data(more=deep(20)), "data.more.in.in.in.in.in.in.in"),
    ("too large", data(more="x" * 70_000), "data"),
    ("a huge number far in", data(more={"list": [1, 10**30]}), "data.more.list[1]"),
    ("no account where one is needed", {k: v for k, v in GOOD.items() if k != "account"} | {"subject": "x"}, "account"),
    ("no person where one is needed", event("person.updated", {"role": "owner"}, account="bad-acme"), "subject"),
    ("not one of the set", typed("ticket.opened", {"ticket": "t", "priority": "asap"}), "data.priority"),
    ("above the maximum", typed("ticket.closed", {"ticket": "t", "priority": "low", "hours": -1}), "data.hours"),
    ("a name that is a number", typed("person.updated", {"locale": 7}), "data.locale"),
    ("consent without purpose", typed("consent.given", {"channels": ["*"]}), "data"),
    ("consent for no channel", typed("consent.given", {"purpose": "marketing", "channels": []}), "data.channels"),
    ("channels are text", typed("consent.given", {"purpose": "marketing", "channels": "email"}), "data.channels"),
)

BROKEN: tuple[tuple[str, bytes], ...] = (
    ("bad UTF-8", json.dumps(GOOD).encode().replace(b"boards", b"bo\xffrds")),
    ("bad UTF-8 in a name", json.dumps(GOOD).encode().replace(b"feature", b"f\xc3\x28ature")),
    ("NaN", json.dumps(data(count=float("nan"))).encode()),
    ("Infinity", json.dumps(data(count=float("inf"))).encode()),
    ("a lone surrogate", json.dumps(GOOD).encode().replace(b"boards", b"\\ud800")),
    ("a raw control character", json.dumps(GOOD).encode().replace(b"boards", b"bo\x01ards")),
    ("cut off", json.dumps(GOOD).encode()[:-10]),
    ("two documents", json.dumps(GOOD).encode() * 2),
    ("XML", b"<event><id>1</id></event>"),
    ("form data", b"id=1&type=usage.recorded"),
    ("nothing", b""),
    ("a byte order mark", b"\xef\xbb\xbf" + json.dumps(GOOD).encode()),
    ("5 MB", b" " * 5_000_000),
    ("100,000 brackets", b"[" * 100_000),
)


def test_there_are_more_than_fifty_ways() -> None:
    assert len(BAD) + len(BROKEN) > 75
    assert len({name for name, *_ in BAD}) == len(BAD)


@pytest.mark.parametrize(("bad", "field"), [pytest.param(bad, field, id=name) for name, bad, field in BAD])
def test_alone_it_is_refused_and_kept_out_with_its_field(door: Door, bad: dict[str, Any], field: str) -> None:
    records = door.region.records
    before, log = records.counts(), [one.seq for one in records.signals()]
    states = [(p.id, p) for p in records.people()]
    reply = door.post("/v1/signals", bad)
    _, fields, said = reply.problem(422)
    assert fields
    assert any(one.startswith(field) for one in fields), (fields, said)
    kept = records.quarantined(1)[0]
    assert any(problem.field.startswith(field) for problem in kept.problems)
    assert [one.seq for one in records.signals()] == log
    assert [(p.id, p) for p in records.people()] == states
    assert {k: v - before[k] for k, v in records.counts().items() if v != before[k]} == {"quarantined": 1}


@pytest.mark.parametrize(("bad", "field"), [pytest.param(bad, field, id=name) for name, bad, field in BAD])
def test_between_two_good_ones_only_it_is_kept_out(door: Door, bad: dict[str, Any], field: str) -> None:
    first, last = (event("usage.recorded", {"feature": "b", "count": 1}, account="bad-acme") for _ in range(2))
    answer = door.post("/v1/signals", [first, bad, last]).json()
    assert [one["status"] for one in answer["receipts"]] == ["accepted", "quarantined", "accepted"]
    assert any(problem["field"].startswith(field) for problem in answer["receipts"][1]["problems"])


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in BROKEN])
def test_what_cannot_be_read_is_refused_whole(door: Door, body: bytes) -> None:
    before = door.region.records.counts()
    reply = door.post("/v1/signals", body)
    assert reply.status in (400, 413, 422), reply
    reply.problem(reply.status)
    now = door.region.records.counts()
    assert {k: v for k, v in now.items() if k not in ("quarantined",)} == {
        k: v for k, v in before.items() if k not in ("quarantined",)
    }


def test_the_same_id_for_another_fact_names_the_id(door: Door) -> None:
    one = event("usage.recorded", {"feature": "b", "count": 1}, account="bad-acme")
    assert door.post("/v1/signals", one).status == 200
    _, fields, _ = door.post("/v1/signals", {**one, "data": {"feature": "b", "count": 2}}).problem(409)
    assert fields == ["id"]


@pytest.mark.parametrize("key", [None, "wrong", ""])
def test_a_wrong_key_is_a_401_that_writes_nothing(door: Door, key: str | None) -> None:
    before = door.region.records.counts()
    assert door.post("/v1/signals", GOOD, key=key).problem(401)[0] == "unknown-key"
    assert door.region.records.counts() == before
