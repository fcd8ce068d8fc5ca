"""Limits over HTTP: what is allowed, and how much of what everybody shares is used."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Controller, get

from opportune.doors.http.api import Here
from opportune.views.limits import limits_now


class Limits(Controller):
    """GET /v1/limits."""

    path = "/v1/limits"
    tags = ("govern",)

    @get("/", sync_to_thread=True, summary="Every limit of the live release, and how much of it is used")
    def listed(self, region: Here) -> dict[str, Any]:
        """Limits of persons and accounts as they are; volumes and budgets with what is delivered, reserved and left."""
        found = limits_now(region.records, region.releases.live().brain, region.clock.now_ms())
        return {"limits": msgspec.to_builtins(found)}
