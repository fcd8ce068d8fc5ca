"""What people say over HTTP: answers to reviews, offers that agents did not make, and what follows from them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from litestar import Controller, Request, get, post
from litestar.params import JSONBody

from opportune.core.feedback import Feedback, FeedbackError, Person
from opportune.doors.http.api import Here, Text
from opportune.doors.http.keys import caller_of
from opportune.doors.http.problems import FieldProblem, HttpProblem, of_field
from opportune.flows.answer import FeedbackReceipt, reviewers_of
from opportune.flows.learning.feedback import Proposed, people_of, proposals_of, reason_counts

AnyRequest = Request[Any, Any, Any]
STATUS: dict[str, int] = {"unknown_review": 404, "answered": 409, "not_a_reviewer": 403}


class Answers(Controller):
    """POST /v1/reviews/{id}/answer and POST /v1/decisions/{id}/decline."""

    path = "/v1"
    tags = ("feedback",)

    @post(
        "/reviews/{review_id:str}/answer", sync_to_thread=True, status_code=200,
        summary="Answers a review: approve, change or reject, with reasons",
    )
    def answered(
        self, request: AnyRequest, region: Here, review_id: Text, data: JSONBody[Feedback]
    ) -> FeedbackReceipt:
        """Answers a review: approve, change or reject, with reasons of the catalog; once. Where the playbook names
        reviewers, with a key called like the person."""
        if reviewers_of(region.releases.live()) and caller_of(request).name != data.by:
            detail = "a person answers with a key of their name: `opportune keys add NAME --scopes approve,read`"
            raise HttpProblem(403, "not_your_name", detail, (FieldProblem("by", detail),))
        try:
            return region.answer.review(review_id, data)
        except FeedbackError as error:
            raise _problem(error) from None

    @post(
        "/decisions/{decision_id:str}/decline", sync_to_thread=True, status_code=200,
        summary="An agent did not make the offer of a decision, with reasons",
    )
    def declined(self, region: Here, decision_id: Text, data: JSONBody[Feedback]) -> FeedbackReceipt:
        """An agent did not make the offer of a decision: what it reserved is released, and the reasons are kept."""
        try:
            return region.answer.decline(decision_id, data)
        except FeedbackError as error:
            raise _problem(error) from None


class FeedbackRead(Controller):
    """GET /v1/feedback/reasons, /v1/feedback/people and /v1/feedback/proposals."""

    path = "/v1/feedback"
    tags = ("feedback",)

    @get("/reasons", sync_to_thread=True, summary="The reasons people may give, and how often each was given")
    def reasons(self, region: Here) -> list[dict[str, Any]]:
        """The reasons people may give, and how often each was given."""
        return [
            {"reason": one.reason, "title": one.title, "suggests": one.suggests, "given": dict(one.given)}
            for one in reason_counts(region)
        ]

    @get("/people", sync_to_thread=True, summary="How each person's answers compare with what happened")
    def people(self, region: Here) -> list[Person]:
        """How each person's answers compare with what happened, drawn towards the team's, with intervals."""
        return list(people_of(region))

    @get("/proposals", sync_to_thread=True, summary="The rules that people's answers speak for")
    def proposals(self, region: Here) -> list[Proposed]:
        """The rules that people's answers speak for; a person accepts or refuses them with `opportune feedback`."""
        return list(proposals_of(region))


def feedback_scope(path: str, scopes: Collection[str]) -> str | None:
    """What it takes to say something of a decision; None for other paths. Agents report as outcomes are reported."""
    if path.startswith("/v1/decisions/") and path.endswith("/decline"):
        return "outcomes"
    if path.startswith("/v1/reviews/") and path.endswith("/answer"):
        return "approve" if "approve" in scopes else "govern"
    return None


def _problem(error: FeedbackError) -> HttpProblem:
    found = of_field(error.code, error.field, error.message)
    return HttpProblem(STATUS.get(error.code, found.status), error.code, error.message, found.errors)
