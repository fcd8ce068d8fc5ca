"""Customers full of canaries are erased: none is left in any file, nothing comes back, nobody else notices.

`pytest -m torture tests/e2e/test_erasure.py` is the long form, with 200 customers.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from served import Client, Served, opportune

from opportune.verifier import verify_log

SURVIVORS = 3
CANARY = re.compile(rb"canary(value|id)([0-9]{4})")
WIDE = re.compile(rb"c\x00a\x00n\x00a\x00r\x00y\x00")


def who(number: int) -> str:
    """An id; only ids may stand in clear in the store, and only until the erasure."""
    return f"canaryid{number:04d}"


def value(number: int, what: str) -> str:
    return f"canaryvalue{number:04d}{what}"


def mail(number: int) -> str:
    return f"{value(number, 'mail')}@example.com"


def event(number: int, type_: str, data: object, name: str, **more: Any) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    made = {"specversion": "1.0", "source": "tests", "id": f"{who(number)}-{name}", "type": type_, "time": at}
    return {**made, "data": data, "subject": who(number), "account": f"company-{number}", **more}


def described(number: int) -> dict[str, Any]:
    """Something personal in every shape: identifier, text, number as text, object, list."""
    return {
        "email": mail(number), "phone": f"+49170{number:07d}", "name": value(number, "Jäne Döe"), "role": "owner",
        "home": {"street": value(number, "street"), "rooms": [value(number, "room"), 7]},
    }  # fmt: skip


def lives(client: Client, served: Served, number: int) -> str:
    """One customer with a canary wherever one can be put; the id of a decision."""
    said = {"purpose": "marketing", "channels": ["*"], "evidence": value(number, "form")}
    events = [
        event(number, "account.updated", {"new": True, "plan": "team", "seats": 10}, "account"),
        event(number, "person.updated", described(number), "person"),
        event(number, "consent.given", said, "consent"),
        event(number, "seats.counted", {"used": "all", "note": value(number, "wrong")}, "wrong"),
        event(number, "no.such.type", {"deep": [mail(number)]}, "nobody", subject=None),
    ]
    reply = client.post("/v1/signals", events)
    assert reply.json()["accepted"] == 3, reply
    assert reply.json()["quarantined"] == 2, reply
    segment(served, "/v1/identify", number, traits={"email": mail(number), "title": value(number, "title")})
    asked = {
        "customer": {"id": who(number)}, "moment": "usage.limit_reached", "channels": ["in_app"],
        "context": {"limit": value(number, "context"), "used": 10}, "budget_ms": 10_000,
        "idempotency_key": f"{who(number)}-key",
    }  # fmt: skip
    reply = client.post("/v1/decisions", asked)
    assert reply.status == 200, reply
    decision = str(reply.json()["decision_id"])
    sale = {
        "customer": who(number), "kind": "converted", "amount": 5, "id": f"{who(number)}-sale",
        "reason": value(number, "reason"),
    }  # fmt: skip
    assert client.post("/v1/outcomes", sale).status == 200
    for path in (f"customers/{who(number)}", f"decisions/{decision}", f"customers/{mail(number)}"):
        assert client.get(f"/v1/{path}").status == 200, path
    return decision


def segment(served: Served, path: str, number: int, **fields: Any) -> dict[str, Any]:
    where = urlsplit(served.url)
    assert where.hostname is not None
    connection = HTTPConnection(where.hostname, where.port, timeout=30)
    sent = {"userId": who(number), "messageId": f"{who(number)}{path}", "writeKey": served.keys["write_key"], **fields}
    key = b64encode(f"{served.keys['write_key']}:".encode()).decode()
    connection.request("POST", path, json.dumps(sent), {"authorization": f"Basic {key}"})
    answer = connection.getresponse()
    said: dict[str, Any] = json.loads(answer.read())
    connection.close()
    assert answer.status == 200, said
    return said


def canaries(folder: Path, kinds: tuple[bytes, ...]) -> Iterator[tuple[str, bytes, int]]:
    """(file, kind, number) of each canary of these kinds that stands in clear in a file."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            assert not WIDE.search(content), path
            for kind, number in set(CANARY.findall(content)):
                if kind in kinds:
                    yield path.name, kind, int(number)


def browse(served: Served, decisions: list[str]) -> None:
    """What somebody at the console looks at: customers and decisions."""
    where = urlsplit(served.said["console"])
    assert where.hostname is not None
    connection = HTTPConnection(where.hostname, where.port, timeout=30)
    connection.request("GET", f"{where.path}?{where.query}")
    answer = connection.getresponse()
    answer.read()
    cookie = (answer.headers.get("set-cookie") or "").partition(";")[0]
    pages = [f"/console/decisions/{one}" for one in decisions] + [
        f"/console/customers/{who(number)}" for number in range(len(decisions))
    ]
    for page in pages:
        connection.request("GET", page, headers={"cookie": cookie})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, page
    connection.close()


@pytest.mark.parametrize(
    "erased", [pytest.param(20, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.torture)]
)
def test_no_canary_is_left_in_any_file(tmp_path: Path, erased: int) -> None:
    playbook = tmp_path / "playbook"
    opportune("init", playbook)
    data = playbook / ".opportune"
    data.mkdir(exist_ok=True)
    log = data / "serve.log"
    served = Served(playbook, log=log)
    client = served.client()
    everybody = range(erased + SURVIVORS)
    decisions = [lives(client, served, number) for number in everybody]
    browse(served, decisions[:5])
    exports = data / "eu" / "exports"
    exports.mkdir(mode=0o700)
    for number in everybody:
        exported = client.get(f"/v1/customers/{who(number)}/export")
        for one in (mail(number), value(number, "context"), value(number, "reason"), "street"):
            assert one.encode() in exported.body, (number, one)
        (exports / f"{number}.json").write_bytes(exported.body)

    # Before: values stand in clear only where somebody exported them, ids only in the store.
    before = set(canaries(data, (b"value", b"id")))
    stores = {"records.db", "records.db-wal", "records.db-shm"}
    assert {file for file, kind, _ in before if kind == b"value"} == {f"{number}.json" for number in everybody}
    assert {file for file, kind, _ in before if kind == b"id"} <= stores | {f"{number}.json" for number in everybody}

    by_command = erased - 1
    for number in range(by_command):
        reply = client.send("DELETE", f"/v1/customers/{who(number)}?why=asked")
        assert reply.status == 200, reply
        report = reply.json()
        assert report["clean"], report
        assert report["removed"]["exports"] == 1
        assert report["removed"]["quarantined"] == 2, report
        assert report["keys_destroyed"] == 1
    refused_everywhere(client, served, range(by_command))
    for number in range(erased, erased + SURVIVORS):
        assert client.get(f"/v1/decisions/{decisions[number]}").status == 200
        assert client.get(f"/v1/customers/{who(number)}").json()["traits"]["name"] == value(number, "Jäne Döe")
        assert client.post("/v1/decisions", again(number)).status == 200
    vkey = client.get("/v1/ledger/vkey").body.decode().strip()
    client.close()
    assert served.stop() == 0

    report = opportune("erase", who(by_command), "--yes", "--playbook", playbook)
    assert report["clean"], report
    file = tmp_path / "again.ndjson"
    lines = [event(number, "person.updated", described(number), "later") for number in range(erased)]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    tally = opportune("ingest", file, "--playbook", playbook, codes=(0, 1))
    assert (tally["accepted"], tally["quarantined"], tally["rejected"]) == (0, 0, erased), tally

    left = [found for found in canaries(data, (b"value", b"id")) if found[2] < erased]
    assert left == []
    assert {number for _, _, number in canaries(data, (b"id",))} == set(range(erased, erased + SURVIVORS))
    opportune("audit", "verify", "--playbook", playbook)
    verdict = verify_log(data / "eu" / "ledger", vkey)
    assert verdict.ok, verdict


def again(number: int) -> dict[str, Any]:
    return {
        "customer": {"id": who(number)}, "moment": "usage.limit_reached", "channels": ["in_app"],
        "context": {"limit": "seats", "used": 10}, "budget_ms": 10_000,
    }  # fmt: skip


def refused_everywhere(client: Client, served: Served, numbers: range) -> None:
    """By the API alone and in a batch, by the Segment door, under another id, and as something that is wrong."""
    for number in numbers:
        reply = client.post("/v1/signals", event(number, "person.updated", described(number), "back"))
        assert reply.status == 422, reply
        assert reply.json()["errors"][0]["field"] == "subject", reply
        other = event(number, "person.updated", {"email": mail(number).upper()}, "other", subject=f"new-{number}")
        wrong = event(number, "seats.counted", {"used": "all"}, "wrong-again")
        nobody = event(number, "no.such.type", {"deep": [mail(number)]}, "nobody-again", subject=None)
        reply = client.post("/v1/signals", [other, wrong, nobody])
        assert reply.json()["rejected"] == 3, reply
        said = segment(served, "/v1/identify", number, messageId="m", traits={"email": mail(number)})
        assert said["accepted"] == said["quarantined"] == 0, said
        assert client.post("/v1/decisions", again(number)).status == 404
        assert client.get(f"/v1/customers/{who(number)}").status == 404


KILLED = """
import os, sys
from pathlib import Path
from opportune.flows.erase import erase
from opportune.wiring import open_region

data, owner, name, who = sys.argv[1:]
region = open_region(Path(data), "larkfield", "eu")
target = getattr(region, owner)
real = getattr(target, name)

def killed(*given, **named):
    real(*given, **named)
    os._exit(9)

setattr(target, name, killed)
erase(region, who, "tests", "")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "name"), [("records", "erase"), ("vault", "destroy"), ("records", "scrub")])
def test_an_erasure_whose_process_was_killed_is_finished(tmp_path: Path, owner: str, name: str) -> None:
    playbook = tmp_path / "playbook"
    opportune("init", playbook)
    data = playbook / ".opportune"
    file = tmp_path / "signals.ndjson"
    lines = [event(7, "person.updated", described(7), "one"), event(7, "no.such.type", {"x": [mail(7)]}, "two")]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    opportune("ingest", file, "--playbook", playbook, codes=(0, 1))
    file.unlink()
    done = subprocess.run([sys.executable, "-c", KILLED, data, owner, name, who(7)], check=False)
    assert done.returncode == 9
    report = opportune("erase", who(7), "--yes", "--playbook", playbook)
    assert report["clean"], report
    assert report["status"] == "completed"
    assert list(canaries(data, (b"value", b"id"))) == []
    assert opportune("erase", who(7), "--yes", "--playbook", playbook)["erasure"] == ""
    opportune("audit", "verify", "--playbook", playbook)
