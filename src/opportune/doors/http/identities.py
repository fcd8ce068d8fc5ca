"""Who is who over HTTP: proposals, merges and their undoing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, delete, get, post
from litestar.params import JSONBody

from opportune.doors.http.api import Here, Last, Text, Word
from opportune.doors.http.instants import all_written, written
from opportune.doors.http.problems import HttpProblem
from opportune.flows.merges import IdentityError

Actor = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9_.-]+$")]
Why = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=320)]


class ProposalDecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person says about a proposal; kept with who and why."""

    decision: Literal["accept", "refuse"]
    actor: Actor
    why: Why


class MergePost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two names of one customer: ids, e-mail addresses or phone numbers in E.164."""

    one: Name
    other: Name
    actor: Actor
    why: Why


class Undoing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who undoes a merge, and why."""

    actor: Actor
    why: Why


class Identities(Controller):
    """GET and POST /v1/identities/proposals, POST and DELETE /v1/identities/merges."""

    path = "/v1/identities"
    tags = ("identities",)

    @get("/proposals", sync_to_thread=True, summary="Pairs that may be one customer, the most probable first")
    def proposals(self, region: Here, status: Word = "open", last: Last = 50) -> list[Any]:
        """Pairs that may be one customer, the most probable first."""
        return all_written(region.records.proposals(status, last))

    @post(
        "/proposals/{proposal_id:str}", sync_to_thread=True, status_code=200,
        summary="Accepts a proposal, which merges the two, or refuses it",
    )
    def decide(self, region: Here, proposal_id: Text, data: JSONBody[ProposalDecision]) -> dict[str, Any]:
        """Accepts a proposal, which merges the two, or refuses it."""
        try:
            if data.decision == "accept":
                return {"merge": written(region.merging.accept(proposal_id, data.actor, data.why))}
            return {"proposal": written(region.merging.refuse(proposal_id, data.actor, data.why))}
        except IdentityError as error:
            raise _problem(error) from None

    @post("/merges", sync_to_thread=True, summary="Makes one customer of two")
    def merge(self, region: Here, data: JSONBody[MergePost]) -> dict[str, Any]:
        """Makes one customer of two: whoever was known first lives on."""
        try:
            return {"merge": written(region.merging.merge(data.one, data.other, data.actor, data.why))}
        except IdentityError as error:
            raise _problem(error) from None

    @delete("/merges/{merge_id:str}", sync_to_thread=True, status_code=200, summary="Makes two customers of one again")
    def unmerge(self, region: Here, merge_id: Text, data: JSONBody[Undoing]) -> dict[str, Any]:
        """Makes two customers of one again; what was refused meanwhile and every contact stay with both."""
        try:
            return {"merge": written(region.merging.unmerge(merge_id, data.actor, data.why))}
        except IdentityError as error:
            raise _problem(error) from None


def _problem(error: IdentityError) -> HttpProblem:
    return HttpProblem(404 if error.code.startswith("unknown") else 409, error.code, str(error))
