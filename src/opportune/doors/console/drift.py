"""The console's page on drift: the heat map of features by day, what was found, and the cases that people decide."""

from __future__ import annotations

from typing import Any

from anyio.to_thread import run_sync
from litestar import Request, Response, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from opportune.core.drift.cases import CaseError
from opportune.doors.console.desk import AnyPage, Desk, as_json, redirect
from opportune.doors.console.people import known_person, person_of
from opportune.doors.console.security import AnyRequest
from opportune.flows.learning.drift_cases import decide, waiting_cases
from opportune.flows.region import NotReady, Region
from opportune.views.drift import case_line, heat_map, report_line, segments_of

REPORTS_MAX = 400
WINDOWS_SHOWN = 30
STATUS_TITLES = {
    "proposed": "waits for people", "approved": "approved, to be trained", "refused": "refused", "trained": "trained",
    "failed": "not trained: its gates failed", "done": "done", "falling_back": "falling back",
    "fallen_back": "fell back", "stuck": "could not fall back",
}  # fmt: skip


class DriftRoom:
    """Drift of one region's models."""

    def __init__(self, desk: Desk, region: Region) -> None:
        self._desk = desk
        self._region = region

    def shown(
        self, request: AnyRequest, segment: str, trouble: str = "", typed: str = "", status: int = 200
    ) -> AnyPage:
        reports = self._region.drift.reports(REPORTS_MAX)
        models = sorted({one.model for one in reports})
        return self._desk.page(
            request, "drift.html", status, heat=[heat_map(reports, model, segment) for model in models],
            segment=segment, segments=segments_of(reports), trouble=trouble, typed=typed, titles=STATUS_TITLES,
            windows=[report_line(one, segment or None) for one in reports[:WINDOWS_SHOWN]],
            cases=[case_line(case) for case in self._region.drift.cases(50)],
            for_people=len(waiting_cases(self._region.drift)), person=known_person(self._desk, request),
        )  # fmt: skip

    def shown_json(self, segment: str) -> Response[bytes]:
        reports = self._region.drift.reports(REPORTS_MAX)
        models = sorted({one.model for one in reports})
        return as_json(
            {
                "heat": [heat_map(reports, model, segment) for model in models],
                "windows": [report_line(one, segment or None) for one in reports],
                "cases": [case_line(case) for case in self._region.drift.cases(1_000)],
            }
        )

    def decide(self, request: AnyRequest, id_: str, what: str, form: dict[str, str]) -> AnyPage:
        """Approve or refuse, as the person whose key this session knows, or whose key comes with the form."""
        if what not in ("approve", "refuse"):
            raise NotFoundException(f"there is no page `/console/drift/{id_[:64]}/{what[:64]}`")
        reason = form.get("reason", "")
        by, trouble = person_of(self._desk, request, form.get("key", ""))
        if by is None:
            return self.shown(request, "", trouble, reason, 403)
        try:
            decide(self._region, id_, approve=what == "approve", by=by, why=reason)
        except (CaseError, NotReady) as error:
            said = str(error)
            return self.shown(request, "", f"{said[:1].upper()}{said[1:]}.", reason, 422)
        return redirect("/console/drift#cases")


def drift_routes(room: DriftRoom) -> list[Any]:
    """The page, its twin, and a post for each decision."""

    @get("/drift", sync_to_thread=True)
    def shown(request: Request[Any, Any, Any]) -> Response[str]:
        return room.shown(request, str(request.query_params.get("segment", ""))[:256])

    @get("/drift.json", sync_to_thread=True)
    def shown_json(request: Request[Any, Any, Any]) -> Response[bytes]:
        return room.shown_json(str(request.query_params.get("segment", ""))[:256])

    @post("/drift/{id_:str}/{what:str}", status_code=200)
    async def decided(request: Request[Any, Any, Any], id_: FromPath[str], what: FromPath[str]) -> Response[str]:
        form = await request.form()
        given = {key: str(value) for key, value in form.items()}
        return await run_sync(room.decide, request, id_, what, given)

    return [shown, shown_json, decided]
