"""Drift over HTTP: what was measured, a check on demand, and the cases that people decide."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, get, post
from litestar.params import JSONBody, QueryParameter

from opportune.core.drift.cases import REASON_MAX, CaseError, DriftCase
from opportune.doors.http.api import Here, Text
from opportune.doors.http.keys import caller_of
from opportune.doors.http.problems import HttpProblem
from opportune.flows.learning.drift_cases import case_named, decide, follow
from opportune.flows.region import Region
from opportune.views.drift import CaseLine, HeatMap, ReportLine, case_line, heat_map, report_line

AnyRequest = Request[Any, Any, Any]
LAST_MAX = 10_000


class CaseDecided(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is decided about a case, and why; who decides is whose key it is."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=REASON_MAX)]


class CheckAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A check on demand: of one live model, or of all; `early` also closes windows that are not full yet."""

    model: str | None = None
    early: bool = True


class Checked(msgspec.Struct, frozen=True):
    """What a check did; `not_watched` are models with why not, `waiting` how many decisions wait for a window."""

    reports: tuple[ReportLine, ...]
    cases: tuple[CaseLine, ...]
    not_watched: dict[str, str]
    waiting: dict[str, int]


class DriftFound(msgspec.Struct, frozen=True):
    """The newest windows, the heat map of each model for everybody or one segment, and the cases."""

    reports: tuple[ReportLine, ...]
    heat: tuple[HeatMap, ...]
    cases: tuple[CaseLine, ...]


class DriftDoor(Controller):
    """GET on /v1/drift, POST on checks and on what people decide."""

    path = "/v1/drift"
    tags = ("govern",)

    @get("/", sync_to_thread=True, summary="What was measured of drift, and what followed")
    def found(
        self, region: Here, model: Annotated[str | None, QueryParameter()] = None,
        segment: Annotated[str | None, QueryParameter()] = None,
        last: Annotated[int, QueryParameter(ge=1, le=LAST_MAX)] = 100,
    ) -> DriftFound:  # fmt: skip
        """The newest windows of all models or one; `segment` is a feature (`plan`) or one value (`plan = pro`)."""
        reports = region.drift.reports(last, model=model)
        models = sorted({one.model for one in reports})
        heat = tuple(heat_map(reports, one, segment if segment and " = " in segment else "") for one in models)
        cases = tuple(case_line(case) for case in region.drift.cases(last, model=model))
        return DriftFound(tuple(report_line(one, segment) for one in reports), heat, cases)

    @post("/checks", sync_to_thread=True, status_code=200, summary="Looks now, instead of waiting for a full window")
    def checked(self, region: Here, data: JSONBody[CheckAsked]) -> Checked:
        """Looks at every decision since the last check; each look spends of the chance of a false alarm."""
        try:
            looked = region.drift.check(data.model, early=data.early)
        except LookupError as error:
            raise HttpProblem(404, "unknown_model", str(error.args[0])) from None
        moved = {case.id: case for case in (*looked.cases, *follow(region, region.drift))}
        return Checked(
            tuple(report_line(one) for one in looked.reports), tuple(case_line(case) for case in moved.values()),
            dict(looked.not_watched), dict(looked.waiting),
        )  # fmt: skip

    @get("/cases/{id_:str}", sync_to_thread=True, summary="One case, with all its steps")
    def case(self, region: Here, id_: Text) -> CaseLine:
        """By its id, or how it begins."""
        return case_line(_named(region, id_))

    @post("/cases/{id_:str}/approve", sync_to_thread=True, status_code=200, summary="The model is trained again")
    def approved(self, request: AnyRequest, region: Here, id_: Text, data: JSONBody[CaseDecided]) -> CaseLine:
        """The key's name is the person: one under `people`. Needs the scope `approve`."""
        return _decided(request, region, id_, data, approve=True)

    @post("/cases/{id_:str}/refuse", sync_to_thread=True, status_code=200, summary="Nothing is done")
    def refused(self, request: AnyRequest, region: Here, id_: Text, data: JSONBody[CaseDecided]) -> CaseLine:
        """Nothing is done, and the same findings open no other case for this artefact."""
        return _decided(request, region, id_, data, approve=False)


def _decided(request: AnyRequest, region: Region, id_: str, data: CaseDecided, *, approve: bool) -> CaseLine:
    case = _named(region, id_)
    try:
        return case_line(decide(region, case.id, approve=approve, by=caller_of(request).name, why=data.reason))
    except CaseError as error:
        status = 403 if error.code == "person" else 409
        raise HttpProblem(status, f"case_{error.code}", str(error)) from None


def _named(region: Region, id_: str) -> DriftCase:
    try:
        return case_named(region, id_)
    except CaseError as error:
        raise HttpProblem(404, "unknown_case", str(error)) from None
