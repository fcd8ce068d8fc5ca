"""Adaptive beliefs over HTTP: what is believed of offers that no model covers."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Controller, get

from opportune.doors.http.api import Here, Maybe
from opportune.doors.http.problems import FieldProblem, HttpProblem
from opportune.views.adaptive import adaptation


class AdaptiveDoor(Controller):
    """GET /v1/adaptive."""

    path = "/v1/adaptive"
    tags = ("govern",)

    @get("/", sync_to_thread=True, summary="What is believed of offers without a model, and how late purchases come")
    def told(self, region: Here, offer: Maybe = None) -> dict[str, Any]:
        """Counts, acceptance and uplift with intervals by offer, channel and segment; delays by kind of offer."""
        try:
            found = adaptation(region.records, region.releases.live(), region.clock.now_ms(), offer)
        except LookupError:
            raise unknown_offer() from None
        told: dict[str, Any] = msgspec.to_builtins(found)
        return told


def unknown_offer() -> HttpProblem:
    """404 for an offer that the live release does not have."""
    message = "the live release has no such offer: `GET /v1/adaptive` lists those that are believed in"
    return HttpProblem(404, "unknown_offer", message, (FieldProblem("offer", message),))
