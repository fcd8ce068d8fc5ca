"""What happens behind each route of the console."""

from __future__ import annotations

import re
from threading import Lock
from typing import Any

import msgspec
from litestar import Response
from litestar.datastructures import Cookie
from litestar.exceptions import HTTPException, NotFoundException
from litestar.response import ServerSentEvent

from opportune.core.decisions.brain import Brain
from opportune.core.ledger import LedgerError
from opportune.doors.console.deps import ConsoleDeps
from opportune.doors.console.pages import Pages, static_files
from opportune.doors.console.security import HEADERS, AnyRequest, no_session_cookie, session_cookie
from opportune.doors.console.sessions import COOKIE
from opportune.doors.console.stream import Streams, following
from opportune.doors.console.tables import Filters, candidate_table
from opportune.flows.region import NotReady
from opportune.flows.replay import Replayed, replay
from opportune.views import DecisionView, LiveView, Revenue, decision_view, live_view, revenue_view

REVENUE_DAYS = 30
REVENUE_KEPT_MS = 30_000
_LOCAL = re.compile(r"/console(/[A-Za-z0-9._~%-]+)*/?(\?[A-Za-z0-9._~%&=+:@-]*)?")
THEMES = ("auto", "light", "dark")
THEME_COOKIE = "opportune_theme"
_Page = Response[str]


class Room:
    """The ports, the templates and the little that is kept between requests: figures too dear for each of them."""

    def __init__(self, deps: ConsoleDeps) -> None:
        self._deps = deps
        self._files = static_files()
        self._pages = Pages(self._files)
        self._streams = Streams(deps.streams_max)
        self._revenue: tuple[int, Revenue | None] | None = None
        self._lock = Lock()

    # Pages

    def live(self, request: AnyRequest) -> _Page:
        filters = Filters.of(request)
        view = self.live_data(filters)
        paused = request.query_params.get("pause") == "1"
        return self._page(request, "live.html", view=view, filters=filters, paused=paused)

    def live_json(self, request: AnyRequest) -> Response[bytes]:
        return _json(self.live_data(Filters.of(request)))

    def live_data(self, filters: Filters) -> LiveView:
        deps = self._deps
        return live_view(
            deps.records, deps.ledger, deps.pulse, deps.clock, self.brain(),
            disposition=filters.disposition, customer=filters.customer,
            revenue=self._known_revenue(), degraded=deps.degraded(),
        )

    def stream(self, request: AnyRequest) -> ServerSentEvent:
        filters = Filters.of(request)
        after = request.headers.get("last-event-id") or request.query_params.get("after") or ""

        def beat() -> LiveView:
            return self.live_data(filters)

        def draw(view: LiveView, fresh: int) -> str:
            return self._pages.render("beat.html", view=view, filters=filters, fresh=fresh)

        deps = self._deps
        beats = following(self._streams, beat, draw, after, deps.stream_every_ms / 1000, deps.stopping)
        return ServerSentEvent(beats)

    def search(self, request: AnyRequest) -> _Page:
        """A decision by its id, else the decisions of the customer of this id."""
        wanted = request.query_params.get("q", "").strip()
        if not wanted:
            return _redirect("/console")
        if self._deps.records.decision(wanted) is not None:
            return _redirect(f"/console/decisions/{Filters.quoted(wanted)}")
        return _redirect(f"/console?customer={Filters.quoted(wanted)}")

    def decision(self, request: AnyRequest, id_: str, replayed: Replayed | None = None) -> _Page:
        view = self._decision(id_)
        table = candidate_table(view, request.query_params)
        took = self._deps.clock.now_ms()
        return self._page(request, "decision.html", view=view, table=table, replayed=replayed, now_ms=took)

    def decision_json(self, id_: str) -> Response[bytes]:
        return _json(self._decision(id_))

    def proof(self, id_: str) -> Response[bytes]:
        stored = self._deps.records.decision(id_)
        if stored is None:
            raise NotFoundException(f"there is no decision `{id_}`")
        try:
            body = self._deps.ledger.proof(stored.leaf)
        except (LedgerError, LookupError):
            raise NotFoundException(f"`{id_}` is not under a checkpoint yet: try again in a moment") from None
        headers = {"Content-Disposition": f'attachment; filename="{_file_name(id_)}.tlog-proof"'}
        return Response(body, media_type="text/plain", headers=headers)

    def replay(self, request: AnyRequest, id_: str) -> _Page:
        """Decides again from the record and compares the bytes; changes nothing."""
        if self._deps.records.decision(id_) is None:
            raise NotFoundException(f"there is no decision `{id_}`")
        try:
            found = replay(self._deps.records, self._deps.brain_of, id_)
        except LookupError as error:
            found = Replayed(id_, False, f"release {error.args[0]} is not on the shelf any more")
        if request.headers.get("hx-request") == "true":
            return Response(self._pages.render("replayed.html", replayed=found), media_type="text/html")
        return self.decision(request, id_, found)

    def static(self, tag: str, name: str) -> Response[bytes]:
        file = self._files.get(name)
        if file is None or file.tag != tag:
            raise NotFoundException(f"there is no file `{name}`")
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(file.body, media_type=file.media_type, headers=headers)

    # Coming in, going out

    def enter(self, request: AnyRequest, token: str) -> _Page:
        """A one-time token becomes a session; an open session stays even when the token was used before."""
        session = self._deps.sessions.enter(token)
        if session is not None:
            return _redirect("/console", session_cookie(request, session))
        if self._deps.sessions.known(request.cookies.get(COOKIE, "")):
            return _redirect("/console")
        return self.refused(request, 401, "This sign-in link was used already, or it is too old.")

    def leave(self, request: AnyRequest) -> _Page:
        self._deps.sessions.leave(request.cookies.get(COOKIE, ""))
        return _redirect("/console", no_session_cookie())

    def theme(self, theme: str, back: str) -> _Page:
        """Remembers light, dark or what the system says, and goes back to the page it was asked from."""
        chosen = theme if theme in THEMES else "auto"
        local = _LOCAL.fullmatch(back) is not None
        cookie = Cookie(key=THEME_COOKIE, value=chosen, path="/console", samesite="strict", max_age=31_536_000)
        return _redirect(back if local else "/console", cookie)

    def refused(self, request: AnyRequest, status: int, why: str) -> Response[Any]:
        if request.url.path.endswith(".json"):
            return _problem_json(status, why)
        page = "signin.html" if status == 401 else "problem.html"
        return self._page(request, page, status, title="Not signed in", status=status, why=why)

    def problem(self, request: AnyRequest, error: HTTPException) -> Response[Any]:
        """An error page with the same headers as every other page."""
        status = error.status_code
        why = error.detail[:1].upper() + error.detail[1:]
        title = {404: "Not found", 405: "Not possible", 429: "Too many"}.get(status, "Did not work")
        if request.url.path.endswith(".json"):
            response: Response[Any] = _problem_json(status, why)
        else:
            response = self._page(request, "problem.html", status, title=title, status=status, why=why)
        response.headers.update(HEADERS)
        return response

    # What is kept

    def brain(self) -> Brain | None:
        """The live release's brain; None before the first release."""
        try:
            return self._deps.brain()
        except (LookupError, NotReady):
            return None

    def _decision(self, id_: str) -> DecisionView:
        deps = self._deps
        view = decision_view(deps.records, deps.ledger, deps.pulse, deps.brain_of, id_)
        if view is None:
            raise NotFoundException(f"there is no decision `{id_}`")
        return view

    def _known_revenue(self) -> Revenue | None:
        now_ms = self._deps.clock.now_ms()
        with self._lock:
            if self._revenue is None or now_ms - self._revenue[0] >= REVENUE_KEPT_MS:
                since_ms = now_ms - REVENUE_DAYS * 86_400_000
                self._revenue = (now_ms, revenue_view(self._deps.records, since_ms))
            return self._revenue[1]

    def _page(self, request: AnyRequest, template: str, status_code: int = 200, **values: object) -> _Page:
        theme = request.cookies.get(THEME_COOKIE, "auto")
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        text = self._pages.render(
            template, theme=theme if theme in THEMES else "auto", themes=THEMES,
            here="/console" if "?t=" in here or "&t=" in here else here, **values,
        )
        return Response(text, media_type="text/html", status_code=status_code)


def _json(view: object) -> Response[bytes]:
    return Response(msgspec.json.encode(view, enc_hook=_plain), media_type="application/json")


def _plain(value: object) -> object:
    if hasattr(value, "items"):
        return dict(value.items())
    raise NotImplementedError


def _problem_json(status: int, why: str) -> Response[bytes]:
    body = {"type": "about:blank", "status": status, "detail": why}
    return Response(msgspec.json.encode(body), media_type="application/problem+json", status_code=status)


def _redirect(path: str, *cookies: Cookie) -> _Page:
    return Response(
        "", status_code=303, headers={"Location": path}, cookies=list(cookies), media_type="text/plain"
    )


def _file_name(id_: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in id_)[:80]
