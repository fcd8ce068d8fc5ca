"""GET /v1/apprentice: what a learner, or another release, would have done beside the one that decides."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get
from litestar.params import QueryParameter

from opportune.core.bandits.ranking import RankError
from opportune.doors.http.api import Here, Text
from opportune.doors.http.problems import HttpProblem
from opportune.flows.learning.apprentice import LearnerReport, ReleaseReport, learner_report, release_report

Calls = Annotated[int, QueryParameter(ge=1, le=100_000)]
Decisions = Annotated[int, QueryParameter(ge=1, le=10_000)]


class Apprentices(Controller):
    """GET /v1/apprentice and /v1/apprentice/{release}."""

    path = "/v1/apprentice"
    tags = ("personalizer",)

    @get(sync_to_thread=True, summary="Personalizer's learner beside the application's own choice")
    def learner(self, region: Here, last: Calls = 10_000) -> LearnerReport:
        """Personalizer's learner beside the application's own choice."""
        try:
            return learner_report(region, last)
        except RankError as error:
            raise HttpProblem(404, "no_personalizer", str(error)) from None

    @get("/{release:str}", sync_to_thread=True, summary="A release beside those that decided, on the same snapshots")
    def release(self, region: Here, release: Text, last: Decisions = 1000) -> ReleaseReport:
        """A release beside those that decided, on the same snapshots; writes nothing."""
        try:
            return release_report(region, release, last)
        except LookupError as error:
            raise HttpProblem(404, "unknown_release", str(error)) from None
