"""A region with a `personalizer:` behind the whole application, with a clock that stands, asked without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from opportune.adapters.memory.pulse import MemoryPulse
from opportune.adapters.memory.records import MemoryRecords
from opportune.adapters.memory.shelf import MemoryShelf
from opportune.adapters.sqlite import SqliteRecords
from opportune.adapters.system.vault import FileVault
from opportune.core.catalog import Channel, Moment, Offer, Price, Prior, Treatment
from opportune.core.playbook import App, Holdout, Personalizer, Playbook, Privacy
from opportune.doors.http.app import build_app
from opportune.doors.http.keys import ALL_SCOPES, Keyring
from opportune.flows.region import Region
from opportune.ports import Ledger, Records
from opportune.testing.clock import FrozenClock

KEY = "0123456789abcdef0123456789abcdef"
RANK = "/personalizer/v1.0/rank"
NEWS = {
    "contextFeatures": [{"timeOfDay": "morning"}, {"device": {"mobile": True, "width": 390}}],
    "actions": [
        {"id": "sports", "features": [{"kind": "sports", "length": 12}]},
        {"id": "politics", "features": [{"kind": "politics", "length": 40}]},
        {"id": "weather", "features": [{"kind": "weather", "length": 3}]},
    ],
}


class Reply(msgspec.Struct, frozen=True):
    """An answer as it left."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Room:
    """`post` and `get` ask the application; with `folder / "store"` it keeps a file, and `again` opens that anew."""

    def __init__(self, folder: Path, personalizer: Personalizer | None, *, on_disk: bool = False) -> None:
        self.folder = folder
        self.clock = FrozenClock()
        self.on_disk = on_disk
        self.loop = asyncio.new_event_loop()
        self.open()
        self.release(personalizer)

    def open(self) -> None:
        vault = FileVault(self.folder / "keys", self.folder / "secrets")
        records: Records = SqliteRecords(self.folder / "records.db", vault) if self.on_disk else MemoryRecords()
        self.records = records
        self.region = Region(
            name="eu", records=records, ledger=cast(Ledger, None), vault=vault, clock=self.clock,
            pulse=MemoryPulse(), shelf=MemoryShelf(),
        )  # fmt: skip
        keys = {KEY: ALL_SCOPES, "reader": frozenset({"read"})}
        self.app = build_app(lambda: self.region, Keyring(keys))

    def again(self) -> None:
        """The process ends and begins anew over the same file."""
        self.records.close()
        self.open()

    def release(self, personalizer: Personalizer | None, privacy: Privacy | None = None) -> None:
        made = self.region.release(playbook(personalizer, privacy or Privacy()))
        self.region.promote(made.hash, "test", "test")

    def close(self) -> None:
        self.loop.close()
        self.records.close()

    def post(self, path: str, body: object = b"", headers: Mapping[str, str] | None = None) -> Reply:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, sent, headers)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return self.ask("GET", path, b"", headers)

    def rank(self, event: str, **changed: object) -> Any:
        reply = self.post(RANK, {**NEWS, "eventId": event, **changed})
        assert reply.status == 201, reply.body
        return reply.json()

    def reward(self, event: str, value: float) -> int:
        return self.post(f"/personalizer/v1.0/events/{event}/reward", {"value": value}).status

    def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None) -> Reply:
        named = {"host": "opportune.test", "content-type": "application/json"}
        named |= {"ocp-apim-subscription-key": KEY} if headers is None else dict(headers)
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "scheme": "https",
            "query_string": b"", "http_version": "1.1", "root_path": "", "client": ("127.0.0.1", 1),
            "server": ("opportune.test", 443),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in named.items()],
        }  # fmt: skip
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        self.loop.run_until_complete(self.app(scope, receive, send))
        start = sent[0]
        answered = {name.decode(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], answered, b"".join(one.get("body", b"") for one in sent[1:]))


def playbook(personalizer: Personalizer | None, privacy: Privacy) -> Playbook:
    return Playbook(
        app=App(
            project="news", holdout=Holdout(share=0.0, salt="news"),
            moments=(Moment(moment="visit", title="a visit", channels=("web",)),), personalizer=personalizer,
            privacy=privacy,
        ),
        offers=(
            Offer(
                offer="more", title="More", owner="tests", kind="addon", price=Price(amount=1.0), margin=1.0,
                prior=Prior(p_accept=0.1, uplift=0.05), treatments={"web": Treatment(headline="More")},
            ),
        ),
        channels=(Channel(channel="web", title="Web", kind="pull"),), views=(), policies=(), contracts=(),
    )  # fmt: skip
