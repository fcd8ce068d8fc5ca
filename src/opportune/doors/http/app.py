"""The whole HTTP application: the hot routes in front, the rest of the API and the console behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, post
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import JSONBody

import opportune
from opportune.core.decisions.answers import Answer
from opportune.core.decisions.questions import Question, QuestionError
from opportune.core.outcomes import OutcomeError, OutcomePost
from opportune.doors.http.adaptive import AdaptiveDoor
from opportune.doors.http.api import Decisions, Govern, Ledger, healthz, metrics, readyz
from opportune.doors.http.apprentice import Apprentices
from opportune.doors.http.consents import Consents
from opportune.doors.http.customers import AccountsRead
from opportune.doors.http.drift import DriftDoor
from opportune.doors.http.evaluations import Evaluations
from opportune.doors.http.features import Features, Lineages
from opportune.doors.http.feedback import Answers, FeedbackRead, feedback_scope
from opportune.doors.http.gpc import gpc_support
from opportune.doors.http.grants import Grants
from opportune.doors.http.hot import HotDoor, Receipts
from opportune.doors.http.identities import Identities
from opportune.doors.http.keys import Keyring, key_of
from opportune.doors.http.limits import Limits
from opportune.doors.http.models import ModelsDoor
from opportune.doors.http.personalizer import PATH_START, PersonalizerDoor, key_sent, scope_needed
from opportune.doors.http.preferences.handlers import Preferences, Unsubscribe
from opportune.doors.http.privacy import CustomersReadAndErased, DecisionShown, Privacy
from opportune.doors.http.problems import PROBLEM_TYPE, FieldProblem, HttpProblem, fault_of, of_field
from opportune.doors.http.quarantine import QuarantineDoor
from opportune.doors.http.reviews import Reviews
from opportune.doors.http.vendors.door import VendorDoor
from opportune.doors.http.whatif import WhatIfs
from opportune.flows.govern import GovernError
from opportune.flows.region import NotReady, Region
from opportune.ports import StoreBroken, StoreFull

OPEN_PATHS = (
    "/healthz", "/readyz", "/openapi.json", "/console", "/preferences/", "/unsubscribe/", "/.well-known/gpc.json",
)  # fmt: skip
"""Answered without an API key: health, the API's own description, the console, which has sessions, and the customers'
pages, where the token in the address is the key."""


HANDLERS: tuple[Any, ...] = (
    Decisions, DecisionShown, WhatIfs, Reviews, Answers, FeedbackRead, Evaluations, Privacy,
    CustomersReadAndErased, AccountsRead, QuarantineDoor, Consents, Features, Lineages, DriftDoor, Limits,
    AdaptiveDoor, Identities, gpc_support, Preferences, Unsubscribe, Govern, ModelsDoor, PersonalizerDoor,
    Apprentices, Ledger, Grants, healthz, readyz, metrics,
)
"""What answers beside the hot routes and the console."""


def build_app(region: Callable[[], Region], keyring: Keyring, console: Sequence[Any] = ()) -> HotDoor:
    """The ASGI application of one region; `console` are the console's handlers."""
    behind = Litestar(
        route_handlers=[
            *HANDLERS,
            *described_handlers(),
            *console,
        ],
        dependencies={"region": Provide(region, sync_to_thread=False)},
        guards=[key_guard(keyring)],
        exception_handlers={
            HttpProblem: _problem,
            QuestionError: _field_problem,
            OutcomeError: _field_problem,
            GovernError: _refused,
            NotReady: _not_now,
            StoreFull: _not_now,
            StoreBroken: _not_now,
            HTTPException: _http,
            Exception: _failed,
        },
        openapi_config=OpenAPIConfig(
            title="Opportune",
            version=opportune.__version__,
            description="Signals in; governed, explained and recorded decisions out.",
            path="/",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        request_max_body_size=4 * 1024 * 1024,
        logging_config=None,
    )
    vendors = VendorDoor(region, keyring, behind)  # type: ignore[arg-type]
    return HotDoor(region, keyring, vendors)


def described_handlers() -> list[Any]:
    """The hot routes as the API's description knows them; the door in front answers them."""

    @post("/v1/decisions", tags=("decisions",), status_code=200)
    async def decide(data: JSONBody[Question]) -> Answer:
        """Is this the moment to offer this customer something, what, and in which channel? Recorded first."""
        raise HttpProblem(500, "not_in_front", "the hot routes are answered by the door in front")

    @post("/v1/decisions/preview", tags=("decisions",), status_code=200)
    async def preview(data: JSONBody[Question]) -> Answer:
        """The answer that would be given now; writes nothing."""
        raise HttpProblem(500, "not_in_front", "the hot routes are answered by the door in front")

    @post("/v1/signals", tags=("signals",), status_code=200)
    async def signals(data: JSONBody[dict[str, Any]]) -> Receipts:
        """CloudEvents 1.0: structured, binary or a batch (a JSON array of events)."""
        raise HttpProblem(500, "not_in_front", "the hot routes are answered by the door in front")

    @post("/v1/outcomes", tags=("outcomes",), status_code=200)
    async def outcomes(data: JSONBody[OutcomePost]) -> dict[str, Any]:
        """What became of a decision: one outcome, or an array of them."""
        raise HttpProblem(500, "not_in_front", "the hot routes are answered by the door in front")

    return [decide, preview, signals, outcomes]


def key_guard(keyring: Keyring) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]:
    """Every path but the open ones needs a key with the scope of what it touches."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        path = connection.url.path
        if path.startswith(OPEN_PATHS):
            return
        personalizer = path.startswith(PATH_START)
        headers = connection.headers
        caller = keyring.caller(key_sent(headers) if personalizer else key_of(headers.get("authorization")))
        if caller is None:
            detail = "send an API key: `Authorization: Bearer <key>`; `opportune serve` prints where keys are kept"
            raise HttpProblem(401, "unknown_key", detail)
        method = connection.scope.get("method")
        # A what-if is a question with a body: it writes nothing.
        writes = method not in ("GET", "HEAD") and not path.endswith("/what-if")
        needed = "read" if not writes else "customers" if "/customers/" in path else "govern"
        if writes and path.startswith(("/v1/models/", "/v1/drift/cases/")):
            needed = "approve"
        if writes and (said := feedback_scope(path, caller.scopes)) is not None:
            needed = said
        if method == "DELETE" and "/customers/" in path:
            needed = "erase"
        if personalizer:
            needed = scope_needed(path)
        if needed not in caller.scopes:
            raise HttpProblem(403, "forbidden", f"this key may not use `{needed}`: it may {sorted(caller.scopes)}")
        connection.scope["state"]["caller"] = caller

    return guard


def _answer(problem: HttpProblem) -> Response[bytes]:
    headers = {"retry-after": "1"} if problem.status == 503 else {}
    return Response(problem.body(), status_code=problem.status, media_type=PROBLEM_TYPE, headers=headers)


def _problem(_: Request[Any, Any, Any], error: HttpProblem) -> Response[bytes]:
    return _answer(error)


def _field_problem(_: Request[Any, Any, Any], error: QuestionError | OutcomeError) -> Response[bytes]:
    return _answer(of_field(error.code, error.field, error.message))


def _refused(_: Request[Any, Any, Any], error: GovernError) -> Response[bytes]:
    return _answer(HttpProblem(409, "refused", str(error)))


def _not_now(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return _answer(HttpProblem(503, "not_now", str(error)))


def _http(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    errors: list[FieldProblem] = []
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        errors = [
            FieldProblem(str(item.get("key", "body")), str(item.get("message", "")))
            for item in error.extra
            if isinstance(item, dict)
        ]
    detail = errors[0].message if errors else error.detail
    return _answer(HttpProblem(error.status_code, f"http_{error.status_code}", detail, errors))


def _failed(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    if isinstance(error, msgspec.ValidationError):
        return _answer(HttpProblem(400, "invalid_body", str(error)))
    return _answer(fault_of(error))
