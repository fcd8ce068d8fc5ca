"""A region in memory behind the whole application, with a clock that stands, asked over ASGI without a network."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec

from opportune.adapters.memory.pulse import MemoryPulse
from opportune.adapters.memory.records import MemoryRecords
from opportune.adapters.playbook import load
from opportune.adapters.system.vault import FileVault
from opportune.core.playbook import Playbook
from opportune.core.signals import Signal
from opportune.doors.http.app import build_app
from opportune.doors.http.keys import WRITE_KEY_SCOPES, Keyring
from opportune.flows.region import Region
from opportune.ports import Ledger, Quarantined
from opportune.testing.clock import FrozenClock

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples/saas"
FIXTURES = Path(os.environ.get("OPPORTUNE_SHARED", Path(__file__).parents[3] / "shared")) / "data/webhook_fixtures"
if not FIXTURES.exists() and os.environ.get("CI") == "true":
    raise FileNotFoundError(f"{FIXTURES} must be there in CI: set OPPORTUNE_SHARED")
KEY = "wk_test"


@cache
def sample() -> Playbook:
    return load(SAMPLE).playbook


class Reply(msgspec.Struct, frozen=True):
    """An answer as it left."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Room:
    """`post` and `get` ask the application; `signals` and `quarantined` are what it kept."""

    def __init__(self, folder: Path, playbook: Playbook) -> None:
        self.clock = FrozenClock()
        self.records = MemoryRecords()
        self.secrets = folder / "secrets"
        vault = FileVault(folder / "keys", self.secrets)
        self.region = Region(
            name="eu", records=self.records, ledger=cast(Ledger, None), vault=vault, clock=self.clock,
            pulse=MemoryPulse(),
        )  # fmt: skip
        release = self.region.release(playbook)
        self.region.promote(release.hash, "test", "test")
        keys = {KEY: WRITE_KEY_SCOPES, "reader": frozenset({"read"})}
        self.app = build_app(lambda: self.region, Keyring(keys))
        self.loop = asyncio.new_event_loop()

    def close(self) -> None:
        self.loop.close()
        self.records.close()

    def secret(self, source: str, *lines: str, mode: int = 0o600) -> None:
        self.secrets.mkdir(exist_ok=True)
        path = self.secrets / source
        path.write_text("\n".join(lines))
        os.chmod(path, mode)

    def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Reply:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, sent, headers)

    def get(self, path: str) -> Reply:
        return self.ask("GET", path)

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        named = {"host": "opportune.test", **{name.lower(): value for name, value in (headers or {}).items()}}
        path, _, query = path.partition("?")
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "scheme": "https",
            "query_string": query.encode(), "http_version": "1.1", "root_path": "", "client": ("127.0.0.1", 1),
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

    @property
    def signals(self) -> list[Signal]:
        return [stored.signal for stored in self.records.signals()]

    @property
    def quarantined(self) -> list[Quarantined]:
        return self.records.quarantined(10_000)[::-1]
