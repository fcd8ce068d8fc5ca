"""The HTTP door under bad weather: bodies that are none, keys that are none, and garbage on every route."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from door import Door, event, question, served

from opportune.doors.http.hot import BODY_BYTES_MAX

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

DOCS = Path(__file__).parents[2] / "docs/http.md"
HOT = ("/v1/signals", "/v1/decisions", "/v1/decisions/preview", "/v1/outcomes")
GARBAGE = (
    b"", b"\x00\xff\xfe garbage \x80", b"null", b"[]", b"{}", b"7", b'"text"', b"[[[[", b'{"a":', b"[null]",
    b'{"customer": null}', b"\xef\xbb\xbf{}",
)  # fmt: skip


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with served(tmp_path_factory.mktemp("hostile")) as found:
        yield found


@pytest.mark.parametrize("path", HOT)
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{]", b"'id'", b"\xff\xfe\x00", b"nul", b"NaN", b"Infinity", b"-"],
)
def test_what_is_no_json_is_a_400(door: Door, path: str, body: bytes) -> None:
    assert door.post(path, body).problem(400)[0] == "invalid-json"


VALID = {
    "/v1/signals": event("usage.recorded", {"feature": "boards", "count": "HERE"}, account="acme"),
    "/v1/decisions": question("ada", context={"used": "HERE"}),
    "/v1/decisions/preview": question("ada", context={"used": "HERE"}),
    "/v1/outcomes": {"kind": "converted", "customer": "ada", "amount": "HERE"},
}


@pytest.mark.parametrize("path", HOT)
@pytest.mark.parametrize(
    "value", [b"NaN", b"Infinity", b"1e400", b'"\xc3\x28"', b'"\\ud800"', b'"\x00"', b"0x1", b"1."]
)
def test_a_value_that_is_none_is_refused_where_it_stands(door: Door, path: str, value: bytes) -> None:
    before = door.region.records.counts()
    body = json.dumps(VALID[path]).encode()
    assert body.count(b'"HERE"') == 1
    reply = door.post(path, body.replace(b'"HERE"', value))
    assert reply.status in (400, 422)  # 422: the field was seen to have the wrong type first
    reply.problem(reply.status)
    assert door.region.records.counts() == before


@pytest.mark.parametrize("path", HOT)
@pytest.mark.parametrize("depth", [2_000, 200_000])
@pytest.mark.parametrize("brackets", [b"[]", b"{}"])
def test_nesting_without_end_is_a_400(door: Door, path: str, depth: int, brackets: bytes) -> None:
    opening = b"[" if brackets == b"[]" else b'{"a":'
    deep = opening * depth + b"1" + brackets[1:] * depth
    bodies = [deep]
    if path.startswith("/v1/decisions"):
        bodies.append(json.dumps(question("ada")).encode().replace(b'"used": 10', b'"used": ' + deep))
    if path == "/v1/signals":
        bodies.append(json.dumps(event("usage.recorded", "HERE", account="a")).encode().replace(b'"HERE"', deep))
    for body in bodies:
        reply = door.post(path, body)
        assert reply.status in (400, 413, 422), reply
        assert reply.type == "application/problem+json"


@pytest.mark.parametrize("path", HOT)
def test_too_large_a_body_is_a_413(door: Door, path: str) -> None:
    assert door.post(path, b" " * (BODY_BYTES_MAX + 1)).problem(413)[0] == "body-too-large"
    assert door.post(path, b" " * BODY_BYTES_MAX).problem(400)[0] == "invalid-json"


@pytest.mark.parametrize("path", HOT)
@pytest.mark.parametrize("headers", [{}, {"content-encoding": "gzip"}])
def test_a_gzip_bomb_is_a_413(door: Door, path: str, headers: dict[str, str]) -> None:
    bomb = gzip.compress(b" " * (64 * 1024 * 1024), 9)
    assert len(bomb) < 100_000
    assert door.post(path, bomb, headers=headers).problem(413)[0] == "body-too-large"


def test_gzip_is_taken_and_broken_gzip_refused(door: Door) -> None:
    packed = gzip.compress(json.dumps(event("usage.recorded", {"feature": "b", "count": 1}, account="a")).encode())
    gzipped = {"content-encoding": "gzip"}
    assert door.post("/v1/signals", packed, headers=gzipped).json()["accepted"] == 1
    assert door.post("/v1/signals", packed, headers=gzipped).json()["duplicate"] == 1
    assert door.post("/v1/signals", b"plain", headers=gzipped).problem(400)[0] == "invalid-gzip"
    assert door.post("/v1/signals", b"\x1f\x8b\x08broken", headers=gzipped).problem(400)
    assert door.post("/v1/signals", packed[:-9], headers=gzipped).status in (200, 400)
    assert door.post("/v1/signals", zlib.compress(b"{}"), headers=gzipped).problem(400)[0] == "invalid-gzip"


def test_too_many_signals_at_once_are_refused_together(door: Door) -> None:
    before = door.region.records.counts()
    many = [event("usage.recorded", {"feature": "b", "count": 1}, account="a") for _ in range(1001)]
    assert door.post("/v1/signals", many).problem(413)[0] == "batch-too-large"
    assert door.region.records.counts() == before
    assert door.post("/v1/signals", many[:1000]).json()["accepted"] == 1000


@pytest.mark.parametrize(
    "value", ["\ud800", "a\u0000b", "🦆" * 60, "ada'; DROP TABLE people; --", "../../etc/passwd"]
)
def test_strange_names_are_only_strange(door: Door, value: str) -> None:
    for reply in (
        door.decide(value),
        door.post("/v1/signals", event("usage.recorded", {"feature": value, "count": 1}, account=value)),
        door.post("/v1/outcomes", {"kind": "converted", "customer": value}),
        door.decide("ada", idempotency_key=value),
    ):
        assert reply.status < 500, reply
        assert reply.status == 200 or reply.type == "application/problem+json"


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_numbers_beyond_their_type_are_refused(door: Door, number: int) -> None:
    who = door.customer()
    for reply in (
        door.decide(who, context={"limit": "seats", "used": number}),
        door.post("/v1/decisions/preview", question(who, context={"limit": "seats", "used": number})),
        door.post("/v1/signals", event("usage.recorded", {"feature": "b", "count": number}, account="a")),
    ):
        assert reply.problem(422)[1] in (["context.used"], ["data.count"])


ROUTES = [("POST", path) for path in HOT] + [
    ("POST", "/v1/identify"), ("POST", "/v1/batch"), ("GET", "/v1/decisions"), ("GET", "/v1/customers/ada"),
    ("PUT", "/v1/customers/ada/consents"), ("GET", "/v1/releases"), ("POST", "/v1/releases/rollback"),
    ("GET", "/v1/models"), ("GET", "/v1/reviews"), ("GET", "/v1/quarantine"), ("GET", "/v1/ledger/checkpoint"),
    ("GET", "/metrics"),
]  # fmt: skip

SIGNALS_ONLY = ("/v1/signals", "/v1/identify", "/v1/batch")


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer ", "Basic !!!", "Digest x", "Bearer é"])
def test_without_a_known_key_nothing_is_answered(
    door: Door, method: str, path: str, authorization: str | None
) -> None:
    before = door.region.records.counts()
    headers = {} if authorization is None else {"authorization": authorization}
    body = {"batch": [], "customer": {"id": "ada"}, "kind": "seen", "actor": "a", "why": "b", "status": "given"}
    reply = door.send(method, path, None if method == "GET" else body, key=None, headers=headers)
    assert reply.problem(401)[0] == "unknown-key"
    assert door.region.records.counts() == before


@pytest.mark.parametrize(("method", "path"), [one for one in ROUTES if one[1] not in SIGNALS_ONLY])
def test_a_write_key_may_send_signals_and_nothing_else(door: Door, method: str, path: str) -> None:
    body = None if method == "GET" else question("ada")
    assert door.send(method, path, body, key="write_key").problem(403)[0] == "forbidden"


def test_a_key_that_a_browser_shows_may_send_signals(door: Door) -> None:
    one = event("usage.recorded", {"feature": "b", "count": 1}, account="a")
    assert door.post("/v1/signals", one, key="write_key").json()["accepted"] == 1


def documented(door: Door) -> list[tuple[str, str]]:
    """(method, path) of everything in the API's own description and in the table of docs/http.md."""
    paths = door.send("GET", "/openapi.json", key=None).json()["paths"]
    found = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    for row in re.findall(r"^\| (`.*?`) \|", DOCS.read_text(), re.MULTILINE):
        method = ""
        for said, path in re.findall(r"`(?:(GET|POST|PUT) )?(/[^` ]*)`", row):
            method = said or method
            found.add((method, path))
    return sorted(found)


def test_every_documented_route_stays_up_under_garbage(door: Door) -> None:
    routes = documented(door)
    expected = {*HOT, "/v1/releases/rollback", "/v1/customers/{customer_id}/consents", "/v1/hooks/{source}"}
    assert {path for _, path in routes} >= expected
    who = door.customer()
    for method, path in routes:
        for name in ("nothing", who, "%00", "%F0%9F%A6%86", "..%2F..%2Fx", "a" * 300):
            filled = re.sub(r"\{[^}]+\}", name, path)
            bodies = GARBAGE if name == "nothing" or path == filled else GARBAGE[:2]
            for body in bodies:
                reply = door.send(method, filled, body)
                assert reply.status < 500, f"{method} {filled} {body!r}: {reply}"
            if path == filled:
                break
    for query in ("last=x", "last=-1", "last=99999999999999999999", "disposition=%00", "customer=" + "a" * 300):
        assert door.get(f"/v1/decisions?{query}").status < 500, query
    assert door.get("/healthz").json() == {"status": "ok"}
    assert door.get("/readyz").json()["status"] == "ready"
    assert door.decide(door.customer()).json()["disposition"] == "offered"  # `who` was erased on the way


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(door: Door, method: str) -> None:
    for path in ("/v1/signals", "/v1/outcomes", "/v1/decisions/preview"):
        assert door.send(method, path, b"").status in (404, 405)


def test_nothing_is_served_that_has_no_route(door: Door) -> None:
    for path in ("/v1", "/v1/none", "/v1/decisions/x/y/z", "/.opportune/api_keys.json", "/api_keys.json"):
        assert door.get(path).problem(404)
