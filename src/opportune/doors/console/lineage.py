"""The console's page on where a feature's value in a decision came from."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from opportune.core.masking import IN_CLEAR
from opportune.doors.console.desk import AnyPage, Desk, as_json
from opportune.doors.console.graph import lineage_graph
from opportune.doors.console.security import AnyRequest
from opportune.doors.console.tables import quoted
from opportune.flows.access import Gone, seen_by
from opportune.flows.govern import GovernError
from opportune.flows.region import Region
from opportune.flows.then import AccountsThen
from opportune.views.lineage import LineageView, UnknownFeature, lineage_view

ACTOR = "console"


class LineageRoom:
    """Lineage over one region; personal values are masked, and each reading is noted."""

    def __init__(self, desk: Desk, region: Region) -> None:
        self._desk = desk
        self._region = region

    def page(self, request: AnyRequest, decision: str, feature: str) -> AnyPage:
        view = self._view(decision, feature)
        path = f"/console/decisions/{quoted(decision)}/lineage/{quoted(feature)}"
        return self._desk.page(request, "lineage.html", view=view, graph=lineage_graph(view), path=path)

    def json(self, decision: str, feature: str) -> Response[bytes]:
        return as_json(self._view(decision, feature))

    def _view(self, decision: str, feature: str) -> LineageView:
        region = self._region
        stored = region.records.decision(decision)
        if stored is None:
            raise NotFoundException(f"there is no decision `{decision}`")
        try:
            release, then = region.releases.get(stored.release), AccountsThen(region.records)
            view = lineage_view(region.records, release, stored, feature, IN_CLEAR, then.account)
            seen_by(region.records, region.vault, region.clock, region.name, ACTOR, "lineage", stored.customer)
        except (UnknownFeature, Gone) as error:
            raise NotFoundException(str(error)) from None
        except (LookupError, GovernError):
            raise NotFoundException(f"release `{stored.release}` is not on the shelf any more") from None
        return view


def lineage_routes(room: LineageRoom) -> list[Any]:
    @get("/decisions/{name:str}/lineage/{feature:str}", sync_to_thread=True)
    def lineage(request: Request[Any, Any, Any], name: FromPath[str], feature: FromPath[str]) -> Response[Any]:
        if feature.endswith(".json"):
            return room.json(name, feature.removesuffix(".json"))
        return room.page(request, name, feature)

    return [lineage]
