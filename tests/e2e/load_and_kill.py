"""The load of the kill test: many senders at once, each remembering what it was promised, until the server dies."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPException
from random import Random
from threading import Condition, Thread
from typing import Any

from served import Client, Reply, Served

CUSTOMERS = 40
ASKED_OFTEN = 4  # these meet their contact limits
INGESTERS = 3
DECIDERS = 4
Event = dict[str, Any]
Work = Callable[["Client", "Promised", str, Random], None]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def first_signals() -> list[Event]:
    """What makes each customer somebody who may be asked."""
    found: list[Event] = []
    for n in range(CUSTOMERS):
        said: list[tuple[str, dict[str, Any]]] = [
            ("account.updated", {"new": True, "plan": "team", "seats": 10}),
            ("subscription.started", {"subscription": f"S{n}", "plan": "team", "seats": 10, "mrr": 300,
                                      "billing": "monthly"}),
            ("person.updated", {"role": "owner"}),
            ("consent.given", {"purpose": "marketing", "channels": ["*"]}),
            ("seats.counted", {"used": 10, "seats": 10}),
        ]  # fmt: skip
        for type_, data in said:
            at = "2026-01-02T10:00:00Z" if data.get("new") or "subscription" in data else now()
            found.append(event(f"first-{n}-{type_}", type_, n, data, at))
    return found


def event(id_: str, type_: str, customer: int, data: dict[str, Any], at: str) -> Event:
    return {
        "specversion": "1.0", "source": "kill", "id": id_, "type": type_, "time": at, "subject": f"c{customer}",
        "account": f"a{customer}", "data": data,
    }  # fmt: skip


class Promised:
    """Everything sent, and everything the server acknowledged, over all rounds."""

    def __init__(self) -> None:
        self.sent: dict[str, Event] = {}
        self.receipts: set[tuple[str, str]] = set()
        self.questions: dict[str, Event] = {}
        self.answers: dict[str, bytes] = {}
        self.outcomes: dict[str, Event] = {}
        self.taken: set[str] = set()
        self.trouble: list[str] = []
        self.count = 0
        self.cut_off = 0  # under way when the server died
        self._change = Condition()

    def acknowledged(self, keep: Callable[[], None]) -> None:
        with self._change:
            keep()
            self.count += 1
            self._change.notify_all()

    def wait_for(self, count: int) -> None:
        with self._change:
            assert self._change.wait_for(lambda: self.count >= count or self.trouble, timeout=60), self.count


def run_until_killed(served: Served, promised: Promised, number: int, seed: int) -> None:
    """Loads the server with everything at once; kills it after a number of acknowledgements drawn from the seed."""
    aim = promised.count + Random(seed).randrange(1, 120)
    threads = [
        Thread(target=_until_gone, args=(work, served, promised, f"{number}-{place}", Random(f"{seed}/{place}")))
        for place, work in enumerate([_ingest] * INGESTERS + [_decide] * DECIDERS + [_prove])
    ]
    for thread in threads:
        thread.start()
    try:
        promised.wait_for(aim)
    finally:
        served.kill()
        for thread in threads:
            thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert promised.trouble == []
    promised.cut_off += len(promised.questions.keys() - promised.answers.keys())
    promised.cut_off += len(promised.sent) - len(promised.receipts)


def _until_gone(work: Work, served: Served, promised: Promised, name: str, rng: Random) -> None:
    client = served.client()
    step = 0
    try:
        while True:
            step += 1
            work(client, promised, f"{name}-{step}", rng)
    except (OSError, HTTPException):
        return  # the server was killed: what was under way is not promised
    except Exception as error:
        promised.trouble.append(repr(error))
        raise
    finally:
        client.close()


def _ingest(client: Client, promised: Promised, name: str, rng: Random) -> None:
    batch = []
    for place in range(rng.choice((1, 1, 5, 20))):
        who, id_ = rng.randrange(CUSTOMERS), f"{name}-{place}"
        if rng.random() < 0.5:
            batch.append(event(id_, "usage.recorded", who, {"feature": "boards", "count": rng.randrange(9)}, now()))
        else:
            batch.append(event(id_, "ticket.opened", who, {"ticket": id_, "priority": "low"}, now()))
    promised.sent.update((one["id"], one) for one in batch)
    reply = client.post("/v1/signals", batch)
    expect(reply, 200)
    receipts = reply.json()["receipts"]
    assert {one["status"] for one in receipts} == {"accepted"}, reply
    promised.acknowledged(lambda: promised.receipts.update((one["source"], one["id"]) for one in receipts))


def _decide(client: Client, promised: Promised, name: str, rng: Random) -> None:
    who = rng.randrange(rng.choice((ASKED_OFTEN, CUSTOMERS)))
    question = {
        "customer": {"id": f"c{who}"}, "moment": "usage.limit_reached", "channels": ["in_app"],
        "context": {"limit": "seats", "used": 10}, "budget_ms": 10_000, "idempotency_key": name,
    }  # fmt: skip
    promised.questions[name] = question
    reply = client.post("/v1/decisions", question)
    expect(reply, 200)
    answer = reply.json()
    assert answer.get("recorded", True), reply
    promised.acknowledged(lambda: promised.answers.update({name: reply.body}))
    if answer["disposition"] == "offered":
        outcome = {"kind": rng.choice(("delivered", "seen", "dismissed")), "decision": answer["decision_id"]}
        promised.outcomes[name] = outcome
        expect(client.post("/v1/outcomes", outcome), 200)
        promised.acknowledged(lambda: promised.taken.add(name))


def _prove(client: Client, promised: Promised, name: str, rng: Random) -> None:
    """Asking for a proof publishes: the kill also falls into that."""
    answered = list(promised.answers.values())
    if not answered:
        expect(client.get("/v1/ledger/vkey"), 200)
        return
    newest = json.loads(answered[-1])["decision_id"]
    expect(client.get(f"/v1/decisions/{newest}/proof"), 200)


def expect(reply: Reply, status: int) -> None:
    assert reply.status == status, reply
