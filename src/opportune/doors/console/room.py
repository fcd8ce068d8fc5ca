"""What happens behind each route of the console."""

from __future__ import annotations

import re
from threading import Lock

from litestar import Response
from litestar.datastructures import Cookie
from litestar.exceptions import NotFoundException
from litestar.response import ServerSentEvent

from opportune.core.decisions.brain import Brain
from opportune.core.ledger import LedgerError
from opportune.doors.console.desk import THEME_COOKIE, THEMES, AnyPage, Desk, as_json, redirect
from opportune.doors.console.security import AnyRequest, no_session_cookie, session_cookie
from opportune.doors.console.sessions import COOKIE
from opportune.doors.console.stream import Streams, following
from opportune.doors.console.tables import Filters, candidate_table, quoted
from opportune.flows.identify import customer_named
from opportune.flows.region import NotReady
from opportune.flows.replay import Replayed
from opportune.views import DecisionView, LiveView, Revenue, decision_view, live_view, revenue_view

REVENUE_DAYS = 30
REVENUE_KEPT_MS = 30_000
_LOCAL = re.compile(r"/console(/[A-Za-z0-9._~%-]+)*/?(\?[A-Za-z0-9._~%&=+:@-]*)?")


class Room:
    """Decisions, coming in and going out; keeps between requests only figures too dear for each of them."""

    def __init__(self, desk: Desk) -> None:
        deps = desk.deps
        self._desk = desk
        self._deps = deps
        self._streams = Streams(deps.streams_max)
        self._revenue: tuple[int, Revenue | None] | None = None
        self._lock = Lock()

    # Pages

    def live(self, request: AnyRequest) -> AnyPage:
        filters = Filters.of(request)
        view = self.live_data(filters)
        paused = request.query_params.get("pause") == "1"
        return self._desk.page(request, "live.html", view=view, filters=filters, paused=paused)

    def live_json(self, request: AnyRequest) -> Response[bytes]:
        return as_json(self.live_data(Filters.of(request)))

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
            return self._desk.pages.render("beat.html", view=view, filters=filters, fresh=fresh)

        deps = self._deps
        beats = following(self._streams, beat, draw, after, deps.stream_every_ms / 1000, deps.stopping)
        return ServerSentEvent(beats)

    def search(self, request: AnyRequest) -> AnyPage:
        """A decision or an account by its id, a customer by an id, an e-mail address or a phone number."""
        wanted = request.query_params.get("q", "").strip()
        region, records = self._deps.region, self._deps.records
        if not wanted:
            return redirect("/console")
        if records.decision(wanted) is not None:
            return redirect(f"/console/decisions/{quoted(wanted)}")
        if region is None:
            return redirect(f"/console?customer={quoted(wanted)}")
        found = customer_named(records, region.vault, wanted)
        if found is not None:
            return redirect(f"/console/customers/{quoted(found)}")
        if records.account(wanted) is not None:
            return redirect(f"/console/accounts/{quoted(wanted)}")
        return redirect("/console/customers?nobody=1")

    def decision(
        self, request: AnyRequest, id_: str, replayed: Replayed | None = None, asking: object = None,
        under: str | None = None,
    ) -> AnyPage:  # fmt: skip
        """A decision's page; `asking` is what was asked about it (see `supposing`)."""
        view = self._decision(id_)
        table = candidate_table(view, request.query_params)
        took = self._deps.clock.now_ms()
        return self._desk.page(
            request, "decision.html", view=view, table=table, replayed=replayed, now_ms=took, asking=asking,
            under=under,
        )  # fmt: skip

    def decision_json(self, id_: str) -> Response[bytes]:
        return as_json(self._decision(id_))

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

    def static(self, tag: str, name: str) -> Response[bytes]:
        file = self._desk.files.get(name)
        if file is None or file.tag != tag:
            raise NotFoundException(f"there is no file `{name}`")
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(file.body, media_type=file.media_type, headers=headers)

    # Coming in, going out

    def enter(self, request: AnyRequest, token: str) -> AnyPage:
        """A one-time token becomes a session; an open session stays even when the token was used before."""
        session = self._deps.sessions.enter(token)
        if session is not None:
            return redirect("/console", session_cookie(request, session))
        if self._deps.sessions.known(request.cookies.get(COOKIE, "")):
            return redirect("/console")
        return self._desk.refused(request, 401, "This sign-in link was used already, or it is too old.")

    def leave(self, request: AnyRequest) -> AnyPage:
        self._deps.sessions.leave(request.cookies.get(COOKIE, ""))
        return redirect("/console", no_session_cookie())

    def theme(self, theme: str, back: str) -> AnyPage:
        """Remembers light, dark or what the system says, and goes back to the page it was asked from."""
        chosen = theme if theme in THEMES else "auto"
        local = _LOCAL.fullmatch(back) is not None
        cookie = Cookie(key=THEME_COOKIE, value=chosen, path="/console", samesite="strict", max_age=31_536_000)
        return redirect(back if local else "/console", cookie)

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


def _file_name(id_: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in id_)[:80]
