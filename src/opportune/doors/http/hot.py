"""The two hot routes as plain ASGI: signals in, decisions out; everything else goes to the application behind."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

from opportune.core.decisions.answers import Answer
from opportune.core.decisions.questions import Question, QuestionError, parse_question
from opportune.core.outcomes import OutcomeError, parse_outcomes
from opportune.core.signals import Draft, Problem, Receipt
from opportune.doors.http.bridge import LoopBridge
from opportune.doors.http.cloudevents import drafts_of
from opportune.doors.http.gpc import gpc_sent, still_to_refuse
from opportune.doors.http.keys import Keyring, Scopes, key_of
from opportune.doors.http.problems import PROBLEM_TYPE, FieldProblem, HttpProblem, fault_of, of_field
from opportune.doors.http.residency import actor_of, check_region, refuse_alone, tell
from opportune.doors.http.turns import Turns
from opportune.flows.admission import RANKS
from opportune.flows.refuse import Sender
from opportune.flows.region import NotReady, Region
from opportune.ports import StoreBroken, StoreFull

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_BYTES_MAX = 4 * 1024 * 1024
STORE_WAIT_MAX_S = 10.0
LATE_MS = 10
"""How long after its deadline an answer may wait for the record; then the safe default leaves in its place."""

JSON_TYPE = b"application/json"
_ENCODER = msgspec.json.Encoder()


class Receipts(msgspec.Struct, frozen=True):
    """The answer to signals: how many of which fate, and a receipt for each in order."""

    accepted: int
    duplicate: int
    quarantined: int
    rejected: int
    receipts: list[Receipt]


class HotDoor:
    """ASGI in front of the application: answers the hot routes itself, passes the rest on."""

    def __init__(self, region: Callable[[], Region], keyring: Keyring, behind: AsgiApp) -> None:
        self._region = region
        self._keyring = keyring
        self.behind = behind
        self._bridge: LoopBridge | None = None
        self._turns: Turns | None = None
        self.routes: dict[str, tuple[str, Callable[[Mapping[str, str], bytes, str], Awaitable[bytes]]]] = {
            "/v1/decisions": ("decisions", self._decide),
            "/v1/decisions/preview": ("decisions", self._preview),
            "/v1/signals": ("signals", self._signals),
            "/v1/outcomes": ("outcomes", self._outcomes),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.routes.get(scope["path"]) if scope["type"] == "http" else None
        if route is None or scope["method"] != "POST":
            await self.behind(scope, receive, send)
            return
        needed, handler = route
        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            check_region(scope, self._region(), self._keyring)
            body = await read_body(receive, headers)
            self._authorise(headers, body, needed)
            answer = await handler(headers, body, scope["path"])
        except HttpProblem as problem:
            await tell(problem, self._region(), self._loop_bridge())
            await respond(send, problem.status, problem.body(), PROBLEM_TYPE.encode())
        except (QuestionError, OutcomeError) as error:
            refusal = of_field(error.code, error.field, error.message)
            await respond(send, refusal.status, refusal.body(), PROBLEM_TYPE.encode())
        except (StoreFull, StoreBroken, NotReady, TimeoutError) as error:
            later = HttpProblem(503, _code_of(error), str(error) or "the record could not be written in time")
            await respond(send, 503, later.body(), PROBLEM_TYPE.encode(), retry_after=1)
        except Exception as error:
            await respond(send, 500, fault_of(error).body(), PROBLEM_TYPE.encode())
            raise  # for the server's log
        else:
            await respond(send, 200, answer, JSON_TYPE)

    def _authorise(self, headers: Mapping[str, str], body: bytes, needed: str) -> Scopes:
        scopes = self._keyring.scopes(key_of(headers.get("authorization")))
        if scopes is None:
            detail = "send an API key: `Authorization: Bearer <key>`; `opportune serve` prints where keys are kept"
            raise HttpProblem(401, "unknown_key", detail)
        if needed not in scopes:
            raise HttpProblem(403, "forbidden", f"this key may not use `{needed}`: it may {sorted(scopes)}")
        return scopes

    async def _decide(self, headers: Mapping[str, str], body: bytes, path: str) -> bytes:
        region = self._region()
        decide, clock = region.decide, region.clock
        asking = decide.check(_asked(headers, body))
        future, done = self._bridged()
        told = decide.same.first(asking.question, done)
        if told is not None:
            self._turns_at(region).ask(decide, asking, told)
        left_s = (asking.budget_ms + LATE_MS) / 1000 - (clock.tick_us() - asking.start_us) / 1e6
        timer = asyncio.get_running_loop().call_later(left_s, _too_late, future)
        try:
            return _ENCODER.encode(await future)
        except TimeoutError:
            return _ENCODER.encode(decide.too_late(asking))
        finally:
            timer.cancel()

    async def _preview(self, headers: Mapping[str, str], body: bytes, path: str) -> bytes:
        question, decide = _asked(headers, body), self._region().decide
        if not decide.apart(decide.brain()):
            return _ENCODER.encode(decide.preview(question))
        future, done = self._bridged()

        def previewed() -> None:
            try:
                done(decide.preview(question))
            except Exception as error:  # noqa: BLE001 - told below
                done(error)

        if not decide.outside.hand_over(previewed, len(RANKS)):
            raise HttpProblem(503, "overloaded", "too many decisions are under way for a preview: try again later")
        return _ENCODER.encode(await asyncio.wait_for(future, STORE_WAIT_MAX_S))

    async def _signals(self, headers: Mapping[str, str], body: bytes, path: str) -> bytes:
        drafts, _ = drafts_of(headers.get("content-type", ""), headers, body)
        sender = Sender("signals", actor_of(self._keyring, key_of(headers.get("authorization"))))
        receipts = await self._take(drafts, sender)
        refuse_alone(receipts)
        if gpc_sent(headers):
            await self._take(still_to_refuse(self._region(), drafts, receipts), sender)
        if len(receipts) == 1 and receipts[0].status == "quarantined":
            raise _quarantined(receipts[0].problems)
        if len(receipts) == 1 and receipts[0].status == "rejected":
            raise _rejected(receipts[0].problems)
        return _ENCODER.encode(counted(receipts))

    async def _take(self, drafts: list[Draft], sender: Sender) -> list[Receipt]:
        if not drafts:
            return []
        future, done = self._bridged()
        self._region().ingest.submit(drafts, done, sender)
        receipts: list[Receipt] = await asyncio.wait_for(future, STORE_WAIT_MAX_S)
        return receipts

    async def _outcomes(self, headers: Mapping[str, str], body: bytes, path: str) -> bytes:
        posts = parse_outcomes(body)
        future, done = self._bridged()
        self._region().act.submit(posts, done)
        return _ENCODER.encode({"outcomes": await asyncio.wait_for(future, STORE_WAIT_MAX_S)})

    def _bridged(self) -> tuple[asyncio.Future[Any], Callable[[Any], None]]:
        return self._loop_bridge().future()

    def _loop_bridge(self) -> LoopBridge:
        if self._bridge is None:
            loop = asyncio.get_running_loop()
            self._region().records.share(lambda work: loop.call_soon_threadsafe(work))
            self._bridge = LoopBridge(loop, self._woken, self._granted)
        return self._bridge

    def _turns_at(self, region: Region) -> Turns:
        if self._turns is None:
            self._turns = Turns(asyncio.get_running_loop(), region.gate, region.clock.tick_us)
        return self._turns

    def _granted(self, outcomes: list[Any]) -> list[Any]:
        """The answers among results with their grants signed."""
        answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
        if not answers:
            return outcomes
        ready = iter(self._region().decide.granted(answers))
        return [next(ready) if isinstance(outcome, Answer) else outcome for outcome in outcomes]

    def _woken(self) -> None:
        if self._turns is not None:
            self._turns.woken()


async def read_body(receive: Receive, headers: Mapping[str, str]) -> bytes:
    """The whole body, gunzipped when it is gzip by header or by its first bytes; 413 over the limit."""
    return unpacked(await read_sent(receive), headers)


async def read_sent(receive: Receive) -> bytes:
    """The whole body as it was sent; 413 over the limit."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            break
    if len(body) > BODY_BYTES_MAX:
        raise HttpProblem(413, "body_too_large", f"a body holds at most {BODY_BYTES_MAX} bytes: send less at once")
    return body


def unpacked(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Gunzipped when it is gzip by header or by its first bytes; 413 over the limit, 400 when it cannot be."""
    if body[:2] == b"\x1f\x8b" or headers.get("content-encoding") == "gzip":
        return _gunzip(body)
    return body


async def respond(
    send: Send, status: int, body: bytes, content_type: bytes, *, retry_after: int | None = None
) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _gunzip(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        found = unpacker.decompress(body, BODY_BYTES_MAX + 1)
    except zlib.error:
        raise HttpProblem(400, "invalid_gzip", "the body says it is gzip but cannot be unpacked") from None
    if len(found) > BODY_BYTES_MAX:
        raise HttpProblem(413, "body_too_large", f"unpacked, a body holds at most {BODY_BYTES_MAX} bytes")
    return found


def _asked(headers: Mapping[str, str], body: bytes) -> Question:
    question = parse_question(body)
    return msgspec.structs.replace(question, gpc=True) if gpc_sent(headers) else question


def _too_late(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(TimeoutError("the record was not durable in time"))


def counted(receipts: list[Receipt]) -> Receipts:
    fates = [receipt.status for receipt in receipts]
    return Receipts(
        accepted=fates.count("accepted"), duplicate=fates.count("duplicate"),
        quarantined=fates.count("quarantined"), rejected=fates.count("rejected"), receipts=receipts,
    )  # fmt: skip


def _quarantined(problems: tuple[Problem, ...]) -> HttpProblem:
    errors = [FieldProblem(problem.field, problem.message) for problem in problems]
    status = 409 if problems and problems[0].code == "conflict" else 422
    detail = "the signal was kept in quarantine, not accepted: fix what `errors` names and send it again"
    return HttpProblem(status, "signal_quarantined", detail, errors)


def _rejected(problems: tuple[Problem, ...]) -> HttpProblem:
    errors = [FieldProblem(problem.field, problem.message) for problem in problems]
    detail = "the signal was rejected and nothing of it was kept: fix what `errors` names and send it again"
    return HttpProblem(422, "signal_rejected", detail, errors)


def _code_of(error: Exception) -> str:
    return {"StoreFull": "overloaded", "StoreBroken": "store_broken", "NotReady": "not_ready"}.get(
        type(error).__name__, "too_late"
    )
