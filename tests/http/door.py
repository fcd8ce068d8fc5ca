"""The HTTP door as it is served: uvicorn on a free port over a region in a folder, and a client for anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec

from opportune.adapters.playbook import load
from opportune.core.playbook import Exploration, Holdout
from opportune.doors.cli.server import Server, listen
from opportune.flows.region import Region
from opportune.wiring import keyring, open_region

SAMPLE = Path(__file__).parents[2] / "samples/saas"
MOMENT = "usage.limit_reached"


class Reply:
    """An answer: status, content type and body."""

    def __init__(self, status: int, type_: str, body: bytes) -> None:
        self.status = status
        self.type = type_
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self, status: int) -> tuple[str, list[str], str]:
        """(code, fields named, everything said) of a refusal of this status, which is a problem document."""
        assert self.status == status, self
        assert self.type == "application/problem+json", self
        document = self.json()
        assert document["status"] == status
        assert document["title"]
        assert document["detail"]
        errors = document.get("errors", [])
        said = " · ".join([document["detail"], *(one["message"] for one in errors)])
        assert "Traceback" not in said
        return document["type"].rsplit("/", 1)[1], [one["field"] for one in errors], said

    def __repr__(self) -> str:
        return f"{self.status} {self.type} {self.body[:600]!r}"


class Door:
    """A region being served, with its keys."""

    def __init__(self, region: Region, server: Server, folder: Path, keys: Mapping[str, str]) -> None:
        self.region = region
        self.folder = folder
        self.keys = keys
        self._where = (str(server.host), int(server.port))
        self._made = 0

    def send(
        self, method: str, path: str, body: object = None, *, key: str | None = "api_key",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:  # fmt: skip
        """One request; bytes go out as they are, anything else as JSON. `key` is the name of one, or None."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", **(headers or {})}
        if key is not None:
            sent.setdefault("authorization", f"Bearer {self.keys.get(key, key)}")
        with closing(HTTPConnection(*self._where, timeout=30)) as connection:
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers.get("content-type", ""), answer.read())

    def get(self, path: str) -> Reply:
        return self.send("GET", path)

    def post(self, path: str, body: object, **more: Any) -> Reply:
        return self.send("POST", path, body, **more)

    def decide(self, customer: str, **more: Any) -> Reply:
        return self.post("/v1/decisions", question(customer, **more))

    def accepted(self, *events: Mapping[str, Any]) -> None:
        reply = self.post("/v1/signals", list(events))
        assert reply.status == 200, reply
        assert reply.json()["accepted"] == len(events), reply

    def customer(self, consent: bool = True) -> str:
        """A new paying customer, alone in an account, who may be asked unless `consent` is false."""
        self._made += 1
        who, account = f"person-{self._made}", f"company-{self._made}"
        long_ago = {"subject": who, "account": account, "time": "2026-01-02T10:00:00Z"}
        signed = {"subscription": f"S{self._made}", "plan": "team", "seats": 10, "mrr": 300, "billing": "monthly"}
        events = [
            event("account.updated", {"new": True, "plan": "team", "seats": 10}, **long_ago),
            event("subscription.started", signed, **long_ago),
            event("seats.counted", {"used": 10, "seats": 10}, subject=who, account=account),
            event("person.updated", {"role": "owner", "email": f"{who}@example.com"}, subject=who, account=account),
        ]
        if consent:
            said = {"purpose": "marketing", "channels": ["*"]}
            events.append(event("consent.given", said, subject=who, account=account))
        self.accepted(*events)
        return who

    def offered(self) -> tuple[str, dict[str, Any]]:
        """A customer and the decision that offers something."""
        who = self.customer()
        answer: dict[str, Any] = self.decide(who).json()
        assert answer["disposition"] == "offered", answer
        return who, answer


_NUMBER = iter(range(1_000_000))


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def event(type_: str, data: object, id_: str | None = None, **more: Any) -> dict[str, Any]:
    """A structured CloudEvent with an id of its own."""
    made = {"specversion": "1.0", "source": "tests", "id": id_ or f"e{next(_NUMBER)}", "type": type_, "time": now()}
    return {**made, "data": data, **more}


def question(customer: str, **more: Any) -> dict[str, Any]:
    return {
        "customer": {"id": customer}, "moment": MOMENT, "channels": ["in_app"],
        "context": {"limit": "seats", "used": 10}, "budget_ms": 10_000, **more,
    }  # fmt: skip


@contextmanager
def served(folder: Path) -> Iterator[Door]:
    """The sample playbook without chance: nobody is held out, the best is chosen."""
    book = load(SAMPLE).playbook
    sure = msgspec.structs.replace(
        book.app, holdout=Holdout(share=0.0, salt="tests"), exploration=Exploration(method="off")
    )
    region = open_region(folder, "larkfield", "eu")
    region.promote(region.release(msgspec.structs.replace(book, app=sure)).hash, "tests", "first")
    ring, names = keyring(folder)
    try:
        with Server(region, ring, listen("127.0.0.1", 0)) as server:
            yield Door(region, server, folder, names)
    finally:
        region.close()
