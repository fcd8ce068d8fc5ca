"""The console's page on what people said: proposed rules, how right each person was, and the reasons given."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from opportune.doors.console.desk import AnyPage, Desk, as_json
from opportune.doors.console.security import AnyRequest
from opportune.flows.learning.feedback import people_of, proposals_of, reason_counts
from opportune.flows.region import Region

VERDICTS = ("reject", "change", "decline")
STATUS_TITLES = {"open": "waits for people", "accepted": "accepted", "refused": "refused"}
EFFECT_WORDS = {"forbid": "do not offer", "require_review": "ask a person first"}


class FeedbackRoom:
    """What people said in one region; read here, accepted or refused by `opportune feedback`."""

    def __init__(self, desk: Desk, region: Region) -> None:
        self._desk = desk
        self._region = region

    def shown(self, request: AnyRequest) -> AnyPage:
        return self._desk.page(
            request, "feedback.html", proposals=proposals_of(self._region), people=people_of(self._region),
            reasons=reason_counts(self._region), verdicts=VERDICTS, titles=STATUS_TITLES, effects=EFFECT_WORDS,
        )  # fmt: skip

    def shown_json(self) -> Response[bytes]:
        return as_json(
            {
                "proposals": proposals_of(self._region),
                "people": people_of(self._region),
                "reasons": reason_counts(self._region),
            }
        )


def feedback_routes(room: FeedbackRoom) -> list[Any]:
    """The page and its twin."""

    @get("/feedback", sync_to_thread=True)
    def shown(request: Request[Any, Any, Any]) -> Response[str]:
        return room.shown(request)

    @get("/feedback.json", sync_to_thread=True)
    def shown_json(request: Request[Any, Any, Any]) -> Response[bytes]:
        return room.shown_json()

    return [shown, shown_json]
