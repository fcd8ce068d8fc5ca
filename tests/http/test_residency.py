"""Whoever names another region is refused at the border: before the body is read, in words, and in the ledger."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from door import SAMPLE, Door, question

from opportune.adapters.playbook import load
from opportune.core.playbook import PayloadMapping, Source
from opportune.doors.cli.server import Server, listen
from opportune.wiring import keyring, open_region

CANARY = "canary-Ada-Lovelace"
OTHER_KEY = "opp_us_" + "x" * 32
OTHER_WRITE_KEY = "wk_us_" + "x" * 24


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The region `eu` of a playbook that has `us`, too; Segment's calls say where their customer lives."""
    folder = tmp_path_factory.mktemp("border")
    book = load(SAMPLE).playbook
    mapping = PayloadMapping(event="$identify", type="person.updated", vendor="segment", region="traits.home")
    source = Source(source="homes", title="Homes", owner="tests", payloads=(mapping,))
    app = msgspec.structs.replace(book.app, regions=("eu", "us"))
    region = open_region(folder, "larkfield", "eu")
    made = region.release(msgspec.structs.replace(book, app=app, sources=(*book.sources, source)))
    region.promote(made.hash, "tests", "first")
    ring, names = keyring(folder, region="eu")
    try:
        with Server(region, ring, listen("127.0.0.1", 0)) as server:
            yield Door(region, server, folder, names)
    finally:
        region.close()


def refusals(door: Door) -> list[dict[str, Any]]:
    records = door.region.records
    entries = [json.loads(leaf) for leaf in records.leaves(0, records.leaf_count())]
    return [one for one in entries if one["type"] == "refusal"]


def told(door: Door, entry_door: str, asked: str, actor: str) -> int:
    """How many attempts of this kind the ledger and the counter know, together."""
    door.region.refusals.flush(final=True)
    wanted = {"door": entry_door, "asked": asked, "actor": actor}
    return sum(one["count"] for one in refusals(door) if wanted.items() <= one.items())


def fact(id_: str, **more: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": id_, "source": "crm", "type": "person.updated", "subject": CANARY,
            "data": {"role": CANARY}, **more}  # fmt: skip


REQUESTS: list[tuple[str, str, object, str]] = [
    ("POST", "/v1/signals", fact("h1"), "signals"),
    ("POST", "/v1/decisions", question(CANARY), "decisions"),
    ("POST", "/v1/decisions/preview", question(CANARY), "decisions"),
    ("POST", "/v1/outcomes", {"customer": CANARY, "kind": "converted", "amount": 1}, "outcomes"),
    ("GET", f"/v1/customers/{CANARY}", None, "customers"),
    ("PUT", f"/v1/customers/{CANARY}/consents", {"status": "given"}, "customers"),
    ("POST", "/v1/identify", {"userId": CANARY, "traits": {}}, "http"),
    ("POST", "/batch", {"batch": []}, "http"),
    ("POST", "/v1/hooks/stripe", {"object": "event"}, "hooks"),
    ("GET", "/v1/releases", None, "http"),
    ("GET", "/healthz", None, "http"),
]


@pytest.mark.parametrize(("method", "path", "body", "named"), REQUESTS)
def test_a_header_or_query_that_names_another_region(
    door: Door, method: str, path: str, body: object, named: str
) -> None:
    before, actor = told(door, named, "us", "key-api_key"), door.region.records.counts()
    by_header = send(door, method, path, body, {"opportune-region": "us"})
    by_query = send(door, method, f"{path}?a=1&region=us", body)

    for reply, field in ((by_header, "Opportune-Region"), (by_query, "region")):
        assert reply[0] == 403
        assert reply[1]["type"].endswith("/wrong-region")
        assert "belongs to `us`, and `eu` answered" in reply[1]["detail"]
        assert "`opportune serve --region us`" in reply[1]["detail"]
        assert reply[1]["errors"][0]["field"] == field
    assert told(door, named, "us", "key-api_key") == before + 2
    assert door.region.records.counts()["signals"] == actor["signals"]


def test_the_own_region_may_be_named(door: Door) -> None:
    assert send(door, "GET", "/readyz?region=eu", None, {"opportune-region": "eu"})[0] == 200
    assert send(door, "POST", "/v1/signals?region=eu", fact("own", region="eu", subject="own"))[0] == 200


def test_a_name_that_is_no_region_is_neither_repeated_nor_recorded(door: Door) -> None:
    status, problem = send(door, "GET", "/healthz", None, {"opportune-region": "ada@example.org"})

    assert status == 403
    assert "ada@example.org" not in json.dumps(problem)
    assert told(door, "http", "unlisted", "key-api_key") == 1
    assert "ada@example.org" not in json.dumps(refusals(door))


@pytest.mark.parametrize(
    ("path", "headers", "body", "named"),
    [
        ("/v1/signals", {"authorization": f"Bearer {OTHER_KEY}"}, fact("k1"), "signals"),
        ("/v1/decisions", {"authorization": f"Bearer {OTHER_KEY}"}, question(CANARY), "decisions"),
        ("/v1/releases", {"authorization": f"Bearer {OTHER_KEY}"}, None, "http"),
        ("/v1/track", {"authorization": "Basic " + b64encode(f"{OTHER_WRITE_KEY}:".encode()).decode()},
         {"userId": CANARY, "event": "Seen"}, "http"),
        ("/v1/track", {"authorization": ""}, {"userId": CANARY, "event": "Seen", "writeKey": OTHER_WRITE_KEY}, "http"),
        ("/batch", {"authorization": ""}, {"api_key": OTHER_WRITE_KEY, "batch": [{"event": CANARY}]}, "http"),
        (f"/v1/projects/{OTHER_WRITE_KEY}/settings", {"authorization": ""}, None, "http"),
    ],
)  # fmt: skip
def test_a_key_of_another_region(door: Door, path: str, headers: Mapping[str, str], body: object, named: str) -> None:
    before = told(door, named, "us", "unknown_key")
    status, problem = send(door, "GET" if body is None else "POST", path, body, headers)

    assert (status, problem["type"].rsplit("/", 1)[-1]) == (403, "wrong-region")
    assert told(door, named, "us", "unknown_key") == before + 1


def test_a_key_of_no_region_of_the_playbook_is_a_strangers(door: Door) -> None:
    status, problem = send(door, "GET", "/v1/releases", None, {"authorization": "Bearer opp_mars_" + "x" * 32})

    assert (status, problem["type"].rsplit("/", 1)[-1]) == (401, "unknown-key")


def test_a_key_made_here_says_so(door: Door) -> None:
    assert door.keys["api_key"].startswith("opp_eu_")
    assert door.keys["write_key"].startswith("wk_eu_")


def test_an_event_that_belongs_elsewhere_alone_and_in_a_batch(door: Door) -> None:
    before = told(door, "signals", "us", "key-api_key")
    status, problem = send(door, "POST", "/v1/signals", fact("alone", region="us"))
    assert (status, problem["type"].rsplit("/", 1)[-1]) == (403, "wrong-region")
    assert problem["errors"][0]["field"] == "region"
    binary = {"ce-specversion": "1.0", "ce-id": "bin", "ce-source": "crm", "ce-type": "person.updated",
              "ce-subject": CANARY, "ce-region": "us"}  # fmt: skip
    assert send(door, "POST", "/v1/signals", {"role": CANARY}, binary)[0] == 403

    batch = [fact("b1", region="us", type="no.such"), fact("b2", region="eu", subject="here"), fact("b3", region="us")]
    status, answer = send(door, "POST", "/v1/signals", batch)
    assert status == 200
    assert [one["status"] for one in answer["receipts"]] == ["rejected", "accepted", "rejected"]
    assert (answer["accepted"], answer["rejected"], answer["quarantined"]) == (1, 2, 0)
    assert answer["receipts"][0]["problems"][0]["code"] == "wrong_region"
    assert told(door, "signals", "us", "key-api_key") == before + 4


def test_a_vendors_call_whose_mapping_says_that_it_belongs_elsewhere(door: Door) -> None:
    def identify(id_: str, **traits: object) -> dict[str, Any]:
        return {"messageId": id_, "type": "identify", "userId": CANARY if traits.get("home") != "eu" else "here",
                "traits": {"role": CANARY, **traits}}  # fmt: skip

    status, problem = send(door, "POST", "/v1/identify", identify("m1", home="us"))
    assert (status, problem["code"]) == (403, "wrong_region")
    status, answer = send(door, "POST", "/v1/batch", {"batch": [identify("m2", home="us"), identify("m3", home="eu"),
                                                                identify("m4", home=7)]})  # fmt: skip
    assert status == 200
    assert [one["status"] for one in answer["receipts"]] == ["rejected", "accepted", "rejected"]
    assert told(door, "segment", "us", "key-api_key") == 2
    assert told(door, "segment", "unlisted", "key-api_key") == 1


def test_nothing_of_what_was_refused_is_anywhere(door: Door) -> None:
    """Runs after the others: no customer, no signal, no quarantine, and no entry holds the canary."""
    records = door.region.records
    assert records.person(CANARY) is None
    assert all(stored.signal.customer != CANARY for stored in records.signals())
    assert all(CANARY.encode() not in one.body for one in records.quarantined(1_000))
    assert CANARY not in json.dumps(refusals(door))


def send(
    door: Door, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    sent = {"authorization": f"Bearer {door.keys['api_key']}", **(headers or {})}
    named = {name: value for name, value in sent.items() if value}
    reply = door.send(method, path, body, key=None, headers=named)
    return reply.status, reply.json()
