"""Features over HTTP: what they are, who uses them, how they look; and where a value in a decision came from."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, get
from litestar.params import QueryParameter

from opportune.core.masking import clear_for
from opportune.doors.http.api import Here, Text
from opportune.doors.http.instants import written
from opportune.doors.http.keys import caller_of
from opportune.doors.http.privacy import note_read
from opportune.doors.http.problems import HttpProblem
from opportune.flows.region import Region
from opportune.flows.then import AccountsThen
from opportune.ports import StoredDecision
from opportune.views.features import SAMPLE_MAX, feature_lines
from opportune.views.lineage import UnknownFeature, lineage_view
from opportune.views.uses import UnknownName, touched

AnyRequest = Request[Any, Any, Any]
Sample = Annotated[int, QueryParameter(ge=0, le=50_000)]
Name = Annotated[str, QueryParameter(max_length=256)]


class Features(Controller):
    """GET /v1/features, /v1/features/{name} and what a change would touch."""

    path = "/v1/features"
    tags = ("features",)

    @get("/", sync_to_thread=True, summary="The features of the live release")
    def listed(self, region: Here, sample: Sample = SAMPLE_MAX) -> list[dict[str, Any]]:
        """Every feature: definition, owner, purposes, users; values counted over `sample` customers and accounts."""
        found = feature_lines(region.records, region.releases.live(), region.clock.now_ms(), sample=sample)
        return [msgspec.to_builtins(one) for one in found]

    @get("/used-by", sync_to_thread=True, summary="What changing a feature, a signal or a field of it touches")
    def used_by(self, region: Here, name: Name) -> dict[str, Any]:
        """Features, policies, offers and models that rest on `name`, such as `usage.recorded.count`."""
        try:
            found: dict[str, Any] = msgspec.to_builtins(touched(region.releases.live(), name))
        except UnknownName as error:
            raise HttpProblem(404, "unknown_name", str(error)) from None
        return found

    @get("/{name:str}", sync_to_thread=True, summary="One feature of the live release")
    def shown(self, region: Here, name: Text, sample: Sample = SAMPLE_MAX) -> dict[str, Any]:
        """One feature, with the signals and features it rests on."""
        release = region.releases.live()
        if name not in release.views.features:
            raise HttpProblem(404, "unknown_feature", f"the live release has no feature `{name}`")
        (found,) = feature_lines(region.records, release, region.clock.now_ms(), only=name, sample=sample)
        return {**msgspec.to_builtins(found), "rests_on": msgspec.to_builtins(release.views.lineage(name))}


class Lineages(Controller):
    """GET /v1/decisions/{id}/lineage."""

    path = "/v1/decisions"
    tags = ("features",)

    @get("/{decision_id:str}/lineage", sync_to_thread=True, summary="Where a feature's value in a decision came from")
    def lineage(self, request: AnyRequest, region: Here, decision_id: Text, feature: Name) -> dict[str, Any]:
        """The signals behind the value, what was made of them, and what it led to; masked by the scopes of the key."""
        one = decided(region, decision_id)
        if one is None:
            raise HttpProblem(404, "unknown_decision", f"no decision has the id `{decision_id}`")
        clear = clear_for(caller_of(request).scopes)
        try:
            release = region.releases.get(one.release)
            then = AccountsThen(region.records)
            found = lineage_view(region.records, release, one, feature, clear, then.account)
        except UnknownFeature as error:
            raise HttpProblem(404, "unknown_feature", str(error)) from None
        note_read(request, region, "lineage", one.customer)
        return written(found)


def decided(region: Region, id_: str) -> StoredDecision | None:
    """The decision of this id; None for one whose release is not on the shelf any more."""
    stored = region.records.decision(id_)
    return stored if stored is not None and region.records.release(stored.release) is not None else None
