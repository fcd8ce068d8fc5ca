"""The console's routes under `/console`: parse, call one view, render a page or its `.json` twin."""

from __future__ import annotations

import logging
from typing import Any

from litestar import Request, Response, Router, get, post
from litestar.exceptions import HTTPException, InternalServerException, NotFoundException
from litestar.params import FromPath
from litestar.response import ServerSentEvent

from opportune.doors.console.customers import CustomerRoom, customer_routes
from opportune.doors.console.deps import ConsoleDeps
from opportune.doors.console.desk import Desk
from opportune.doors.console.drift import DriftRoom, drift_routes
from opportune.doors.console.feedback import FeedbackRoom, feedback_routes
from opportune.doors.console.lineage import LineageRoom, lineage_routes
from opportune.doors.console.models import ModelsRoom, models_routes
from opportune.doors.console.quarantine import QuarantineRoom, quarantine_routes
from opportune.doors.console.room import Room
from opportune.doors.console.security import HEADERS, AnyRequest, entered, own_post
from opportune.doors.console.supposing import Asking, SupposingRoom, supposing_routes

_log = logging.getLogger(__name__)

OPEN_TO_ALL = ("/console/static/",)
AnyResponse = Response[Any]


def console_handlers(deps: ConsoleDeps) -> list[Router]:
    """Everything to mount: one router for `/console`."""
    desk = Desk(deps)
    room = Room(desk)
    asking = SupposingRoom(desk, room)

    async def before(request: AnyRequest) -> AnyResponse | None:
        return _turned_away(desk, room, request)

    def problem(request: AnyRequest, error: HTTPException) -> AnyResponse:
        return desk.problem(request, error)

    def fault(request: AnyRequest, error: Exception) -> AnyResponse:
        _log.exception("the console could not answer", exc_info=error)
        return desk.problem(request, InternalServerException("something went wrong: the log says more"))

    return [
        Router(
            "/console",
            route_handlers=[*_pages(room, asking), *_actions(room), *supposing_routes(asking), *_of_region(desk)],
            before_request=before,
            after_request=_with_headers,
            exception_handlers={HTTPException: problem, Exception: fault},
            include_in_schema=False,
        )
    ]


def _of_region(desk: Desk) -> list[Any]:
    """The pages that need a region: customers, accounts, quarantine and lineage."""
    region = desk.deps.region
    if region is None:
        return []
    return [
        *customer_routes(CustomerRoom(desk, region)),
        *quarantine_routes(QuarantineRoom(desk, region)),
        *lineage_routes(LineageRoom(desk, region)),
        *models_routes(ModelsRoom(desk, region)),
        *drift_routes(DriftRoom(desk, region)),
        *feedback_routes(FeedbackRoom(desk, region)),
    ]


def _turned_away(desk: Desk, room: Room, request: AnyRequest) -> AnyResponse | None:
    path = request.url.path
    if path.startswith(OPEN_TO_ALL):
        return None
    if request.method == "POST" and not own_post(request):
        return desk.refused(request, 403, "This form was not sent from the console. Open the page again.")
    token = request.query_params.get("t")
    if path.rstrip("/") == "/console" and token is not None:
        return room.enter(request, token)
    if not entered(request, desk.deps.sessions):
        return desk.refused(request, 401, "You are not signed in, or your session has ended.")
    return None


def _with_headers(response: AnyResponse) -> AnyResponse:
    for name, text in HEADERS.items():
        response.headers.setdefault(name, text)
    return response


def _pages(room: Room, asking: SupposingRoom) -> list[Any]:
    @get("/", sync_to_thread=True)
    def live(request: Request[Any, Any, Any]) -> Response[str]:
        return room.live(request)

    @get("/live.json", sync_to_thread=True)
    def live_json(request: Request[Any, Any, Any]) -> Response[bytes]:
        return room.live_json(request)

    @get("/stream")
    async def stream(request: Request[Any, Any, Any]) -> ServerSentEvent:
        return room.stream(request)

    @get("/search", sync_to_thread=True)
    def search(request: Request[Any, Any, Any]) -> Response[str]:
        return room.search(request)

    @get("/decisions/{name:str}", sync_to_thread=True)
    def decision(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
        if name.endswith(".json"):
            return room.decision_json(name.removesuffix(".json"))
        return room.decision(request, name, asking=Asking(asking.form(name)))

    @get("/decisions/{name:str}/proof", sync_to_thread=True)
    def proof(name: FromPath[str]) -> Response[bytes]:
        return room.proof(name)

    @get("/static/{tag:str}/{name:str}", sync_to_thread=False)
    def static(tag: FromPath[str], name: FromPath[str]) -> Response[bytes]:
        return room.static(tag, name)

    @get("/{rest:path}", sync_to_thread=False)
    def nowhere(rest: FromPath[str]) -> Response[str]:
        raise NotFoundException(f"there is no page `/console{rest}`")

    return [live, live_json, stream, search, decision, proof, static, nowhere]


def _actions(room: Room) -> list[Any]:
    @post("/theme", status_code=303)
    async def theme(request: Request[Any, Any, Any]) -> Response[str]:
        form = await request.form()
        return room.theme(str(form.get("theme", "")), str(form.get("back", "")))

    @post("/leave", sync_to_thread=False, status_code=303)
    def leave(request: Request[Any, Any, Any]) -> Response[str]:
        return room.leave(request)

    return [theme, leave]
