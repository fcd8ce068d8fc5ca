"""What-if and why-not over HTTP: a decision with something changed, and what would have made a loser win."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Controller, Request, get, post
from litestar.params import JSONBody

from opportune.core.decisions.flips import Flip
from opportune.core.decisions.questions import Question
from opportune.core.decisions.whatif import Supposed, WhatIf
from opportune.doors.http.api import Here, Maybe, Text, decision_named
from opportune.doors.http.privacy import note_read
from opportune.doors.http.problems import HttpProblem
from opportune.flows.region import Region
from opportune.flows.whatif import flips_of, what_if_decided, what_if_now

AnyRequest = Request[Any, Any, Any]


class Supposing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question about a customer as they are now, and what is supposed to be otherwise."""

    question: Question
    suppose: Supposed = msgspec.field(default_factory=Supposed)


class WhatIfs(Controller):
    """POST /v1/decisions/{id}/what-if, POST /v1/what-if, GET /v1/decisions/{id}/why-not; they write nothing."""

    path = "/v1"
    tags = ("decisions",)

    @post(
        "/decisions/{decision_id:str}/what-if", sync_to_thread=True, status_code=200,
        summary="A recorded decision with something changed, beside what it was",
    )
    def decided(self, request: AnyRequest, region: Here, decision_id: Text, data: JSONBody[Supposed]) -> WhatIf:
        """A recorded decision with something changed, beside what it was; writes nothing."""
        one = decision_named(region, decision_id)
        note_read(request, region, "what-if", one.customer)
        _known_release(region, data)
        return what_if_decided(region, one.id, data)

    @post(
        "/what-if", sync_to_thread=True, status_code=200,
        summary="What a customer would be answered now, with and without something changed",
    )
    def now(self, request: AnyRequest, region: Here, data: JSONBody[Supposing]) -> WhatIf:
        """What a customer would be answered now, with and without something changed; writes nothing."""
        _known_release(region, data.suppose)
        person = region.decide.who(data.question)[1]
        note_read(request, region, "what-if", person.id)
        return what_if_now(region, data.question, data.suppose)

    @get(
        "/decisions/{decision_id:str}/why-not", sync_to_thread=True,
        summary="The smallest change that would have made each losing candidate win",
    )
    def why_not(
        self, request: AnyRequest, region: Here, decision_id: Text, candidate: Maybe = None
    ) -> list[Flip]:
        """The smallest change that would have made each losing candidate win, or the one named (offer@channel)."""
        one = decision_named(region, decision_id)
        note_read(request, region, "why-not", one.customer)
        return list(flips_of(region, one.id, candidate))


def _known_release(region: Region, supposed: Supposed) -> None:
    if supposed.release is None:
        return
    known = [one.hash for one in region.records.releases()]
    if supposed.release not in known:
        message = f"no release is called `{supposed.release[:64]}`: GET /v1/releases lists them"
        raise HttpProblem(404, "unknown_release", message)
