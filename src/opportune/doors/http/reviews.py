"""Reviews over HTTP: the decisions that wait for a person, each with what that person needs."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, get
from litestar.params import QueryParameter

from opportune.core.masking import clear_for
from opportune.doors.http.api import Here, Last, Text
from opportune.doors.http.keys import caller_of
from opportune.doors.http.privacy import note_read
from opportune.doors.http.problems import HttpProblem
from opportune.views.reviews import ReviewCase, ReviewLine, review_case, review_lines

AnyRequest = Request[Any, Any, Any]
Status = Annotated[str, QueryParameter(max_length=32)]


class Reviews(Controller):
    """GET /v1/reviews and /v1/reviews/{id}; answers are in `feedback`."""

    path = "/v1/reviews"
    tags = ("govern",)

    @get(sync_to_thread=True, summary="Decisions that wait for a person, the newest first")
    def listed(self, region: Here, status: Status = "open", last: Last = 50) -> list[ReviewLine]:
        """Decisions that wait for a person, the newest first."""
        return list(review_lines(region.records, region.releases.brain_of, region.clock.now_ms(), status, last))

    @get("/{review_id:str}", sync_to_thread=True, summary="One review with everything that person needs")
    def shown(self, request: AnyRequest, region: Here, review_id: Text) -> ReviewCase:
        """Why a person looks, who it is about, the offer, facts, what is not known, and what else might be offered."""
        clear = clear_for(caller_of(request).scopes)
        found = review_case(
            region.records, region.releases.brain_of, region.clock.now_ms(), review_id, clear
        )
        if found is None:
            raise HttpProblem(404, "unknown_review", "no review has this id: GET /v1/reviews lists them")
        note_read(request, region, "review", found.customer)
        return found
