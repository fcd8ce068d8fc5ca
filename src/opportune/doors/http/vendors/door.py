"""The vendors' doors as plain ASGI behind the hot routes: calls become signals, answers are what SDKs expect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from opportune.core.payloads import Call, drafts_of_call
from opportune.core.signals import Draft, Receipt
from opportune.doors.http.bridge import LoopBridge
from opportune.doors.http.gpc import gpc_sent, still_to_refuse
from opportune.doors.http.hot import (
    STORE_WAIT_MAX_S,
    AsgiApp,
    Receipts,
    Receive,
    Scope,
    Send,
    counted,
    read_body,
    read_sent,
    respond,
    unpacked,
)
from opportune.doors.http.keys import Keyring, keys_sent
from opportune.doors.http.problems import HttpProblem, ProblemDocument
from opportune.doors.http.residency import WrongRegion, actor_of, check_keys, check_region, door_of, refuse_alone, tell
from opportune.doors.http.vendors.hooks import HOOKS, Window, delivery_name, hook_calls, hook_source, verified
from opportune.doors.http.vendors.parts import decoded
from opportune.doors.http.vendors.posthog import CAPTURES, FLAGS, posthog_calls, posthog_value
from opportune.doors.http.vendors.segment import BATCHES, KINDS, segment_calls
from opportune.doors.http.vendors.settings import FLAGS as NO_FLAGS
from opportune.doors.http.vendors.settings import posthog_config, posthog_script, segment_settings
from opportune.flows.refuse import Sender
from opportune.flows.region import NotReady, Region
from opportune.ports import StoreBroken, StoreFull

JSON, PROBLEM, SCRIPT = b"application/json", b"application/problem+json", b"application/javascript"
SETTINGS, ARRAY, METRICS = "/v1/projects/", "/array/", "/v1/m"
TEMPLATES = ("/v1/hooks/{source}", "/v1/projects/{key}/settings", "/array/{key}/config", "/array/{key}/config.js")
_ENCODER = msgspec.json.Encoder()
_FROM_ANYWHERE = [
    # Browsers of any site send here; a write key is no secret, and cookies are never looked at.
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (b"access-control-allow-headers", b"authorization, content-type, content-encoding, x-retry-count"),
    (b"access-control-max-age", b"86400"),
]

Answer = tuple[bytes, bytes]
"""(content type, body) of an answer with status 200."""


class VendorProblem(ProblemDocument, frozen=True, kw_only=True):
    """A problem document with the two members that SDKs read: RudderStack's fails without them."""

    code: str
    message: str


class Asked(msgspec.Struct, frozen=True):
    """A request without its body."""

    path: str
    query: str
    protocol: str
    headers: Mapping[str, str]

    @property
    def host(self) -> str:
        return self.headers.get("host", "localhost")


class VendorDoor:
    """ASGI between the hot routes and the application: answers what vendors' SDKs and webhooks ask."""

    def __init__(self, region: Callable[[], Region], keyring: Keyring, behind: AsgiApp) -> None:
        self._region = region
        self._keyring = keyring
        self.behind = behind
        self._bridge: LoopBridge | None = None
        self._window = Window()
        segment, posthog, flags = (*KINDS, *BATCHES), _slashed(CAPTURES), _slashed(FLAGS)
        self._posts: dict[str, Callable[[Asked, Receive], Any]] = {
            **dict.fromkeys(segment, self._segment),
            **dict.fromkeys(posthog, self._posthog),
            **dict.fromkeys(flags, self._flags),
            METRICS: self._metrics,
        }
        self.routes = frozenset((*segment, *CAPTURES, *FLAGS, METRICS, *TEMPLATES))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handler(scope) if scope["type"] == "http" else None
        if handler is None:
            await self._pass_on(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        protocol = headers.get("x-forwarded-proto", str(scope.get("scheme", "http"))).partition(",")[0].strip()
        asked = Asked(scope["path"], scope.get("query_string", b"").decode("latin-1"), protocol, headers)
        try:
            check_region(scope, self._region(), self._keyring)
            content_type, body = await handler(asked, receive)
        except HttpProblem as problem:
            await tell(problem, self._region(), self._loop_bridge())
            # SDKs of Segment's try again after every status but 400, and a body too large stays so.
            await _refuse(send, HttpProblem(400, problem.code, str(problem)) if problem.status == 413 else problem)
        except (StoreFull, StoreBroken, NotReady, TimeoutError) as error:
            later = str(error) or "the record could not be written in time"
            await _refuse(send, HttpProblem(503, "not_now", later))
        else:
            await _send(send, 200, content_type, body)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                check_region(scope, self._region(), self._keyring)
            except WrongRegion as problem:
                await tell(problem, self._region(), self._loop_bridge())
                await respond(send, problem.status, problem.body(), PROBLEM)
                return
        await self.behind(scope, receive, send)

    def _handler(self, scope: Scope) -> Callable[[Asked, Receive], Any] | None:
        path, method = scope["path"], scope["method"]
        if method == "POST":
            return self._hook if path.startswith(HOOKS) else self._posts.get(path)
        if method in ("GET", "HEAD"):
            if path.startswith(SETTINGS) and path.endswith("/settings"):
                return self._settings
            return self._config if path.startswith(ARRAY) and path.endswith(("/config", "/config.js")) else None
        asked_before = path in self._posts or path.startswith((SETTINGS, ARRAY))
        return self._allowed if method == "OPTIONS" and asked_before else None

    async def _segment(self, asked: Asked, receive: Receive) -> Answer:
        value = decoded(await read_body(receive, asked.headers))
        sender = Sender("segment", self._authorise(asked, value))
        calls = segment_calls(asked.path, value, self._region().clock.now_ms())
        receipts = await self._take(calls, asked, sender)
        return _counted(receipts, {"success": True})

    async def _posthog(self, asked: Asked, receive: Receive) -> Answer:
        value = posthog_value(await read_body(receive, asked.headers))
        sender = Sender("posthog", self._authorise(asked, value))
        calls = posthog_calls(value, asked.query, self._region().clock.now_ms())
        receipts = await self._take(calls, asked, sender)
        return _counted(receipts, {"status": "Ok"})

    async def _flags(self, asked: Asked, receive: Receive) -> Answer:
        self._authorise(asked, posthog_value(await read_body(receive, asked.headers)))
        return JSON, _ENCODER.encode(NO_FLAGS)

    async def _metrics(self, asked: Asked, receive: Receive) -> Answer:
        await read_sent(receive)
        return JSON, _ENCODER.encode({"success": True})

    async def _settings(self, asked: Asked, receive: Receive) -> Answer:
        key = asked.path.removeprefix(SETTINGS).removesuffix("/settings")
        self._authorise(asked, None, key)
        return JSON, _ENCODER.encode(segment_settings(key, asked.protocol, asked.host))

    async def _config(self, asked: Asked, receive: Receive) -> Answer:
        key, _, file = asked.path.removeprefix(ARRAY).rpartition("/")
        self._authorise(asked, None, key)
        if file == "config.js":
            return SCRIPT, posthog_script(key)
        return JSON, _ENCODER.encode(posthog_config(key))

    async def _allowed(self, asked: Asked, receive: Receive) -> Answer:
        return JSON, b"{}"

    async def _hook(self, asked: Asked, receive: Receive) -> Answer:
        sent = await read_sent(receive)
        region = self._region()
        release = region.releases.live()
        source, hook = hook_source(asked.path, release.playbook.sources)
        now_ms = region.clock.now_ms()
        query = f"?{asked.query}" if asked.query else ""
        uri = f"{asked.protocol}://{asked.host}{asked.path}{query}"
        try:
            secrets = region.vault.hook_secrets(source.source)
        except OSError:
            detail = f"the file `secrets/{source.source}` cannot be used: one secret a line, ASCII, mode 0600"
            raise HttpProblem(503, "no_secret", detail) from None
        delivery = verified(source, hook, asked.headers, sent, secrets, now_ms, uri)
        name = delivery_name(source, delivery, sent)
        if self._window.replayed(name, now_ms):
            return JSON, _ENCODER.encode(Receipts(0, 1, 0, 0, []))
        calls = hook_calls(source, hook, delivery, unpacked(sent, asked.headers), release.payloads, now_ms)
        receipts = await self._take(calls, asked, Sender("hooks", f"source-{source.source}"))
        self._window.took(name, now_ms)
        return _counted(receipts, {})

    def _authorise(self, asked: Asked, body: object, path_key: str | None = None) -> str:
        """Who calls, as the ledger takes it; HttpProblem 401, or 403 for a key of another region."""
        keys = keys_sent(asked.headers.get("authorization"), body, path_key)
        for key in keys:
            scopes = self._keyring.scopes(key)
            if scopes is not None and "signals" in scopes:
                return actor_of(self._keyring, key)
        check_keys(keys, "key", door_of(asked.path), self._region(), self._keyring)
        detail = "no known write key: `opportune serve` prints where keys are kept"
        raise HttpProblem(401, "unknown_key", detail)

    async def _take(self, calls: list[Call], asked: Asked, sender: Sender) -> list[Receipt]:
        payloads = self._region().releases.live().payloads
        drafts: list[Draft] = [draft for call in calls for draft in drafts_of_call(call, payloads)]
        receipts = await self._ingest(drafts, sender)
        refuse_alone(receipts)
        if gpc_sent(asked.headers):
            await self._ingest(still_to_refuse(self._region(), drafts, receipts), sender)
        return receipts

    async def _ingest(self, drafts: list[Draft], sender: Sender) -> list[Receipt]:
        if not drafts:
            return []
        future, done = self._loop_bridge().future()
        self._region().ingest.submit(drafts, done, sender)
        receipts: list[Receipt] = await asyncio.wait_for(future, STORE_WAIT_MAX_S)
        return receipts

    def _loop_bridge(self) -> LoopBridge:
        if self._bridge is None:
            self._bridge = LoopBridge(asyncio.get_running_loop())
        return self._bridge


def _slashed(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Each path with and without a slash at its end: SDKs send both."""
    return tuple(f"{path}{end}" for path in paths for end in ("", "/"))


def _counted(receipts: list[Receipt], words: dict[str, Any]) -> Answer:
    return JSON, _ENCODER.encode({**words, **msgspec.structs.asdict(counted(receipts))})


async def _refuse(send: Send, problem: HttpProblem) -> None:
    document = msgspec.json.decode(problem.body(), type=ProblemDocument)
    fields = msgspec.structs.asdict(document)
    body = msgspec.json.encode(VendorProblem(**fields, code=problem.code, message=str(problem)))
    await _send(send, problem.status, PROBLEM, body, [(b"retry-after", b"1")] if problem.status == 503 else [])


async def _send(
    send: Send, status: int, content_type: bytes, body: bytes, more: list[tuple[bytes, bytes]] | None = None
) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *_FROM_ANYWHERE]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *(more or [])]})
    await send({"type": "http.response.body", "body": body})
