"""Access requests, erasure and the access log over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, delete, get, post
from litestar.params import QueryParameter
from litestar.response import Stream

from opportune.core.decisions.answers import answer_of
from opportune.core.decisions.explain import fates_known
from opportune.core.decisions.records import decode_record
from opportune.core.masking import clear_for, masked
from opportune.doors.http.api import Here, Last, Maybe, Text, decision_named
from opportune.doors.http.customers import CustomersRead, opened, person_named
from opportune.doors.http.keys import caller_of
from opportune.doors.http.problems import HttpProblem
from opportune.flows.access import Gone, seen_by
from opportune.flows.erase import ErasureReport, Unknown, erase, everybody
from opportune.flows.region import Region
from opportune.views.export import access_line, export_document, masked_record

AnyRequest = Request[Any, Any, Any]
Why = Annotated[str, QueryParameter(max_length=500)]


class DecisionShown(Controller):
    """GET /v1/decisions/{id} and its replay: masked by the scopes of the key, and noted in the access log."""

    path = "/v1/decisions"
    tags = ("decisions",)

    @get("/{decision_id:str}", sync_to_thread=True, summary="One decision")
    def shown(self, request: AnyRequest, region: Here, decision_id: Text) -> dict[str, Any]:
        """One decision: the answer as given, the record it rests on, outcomes, and why not each candidate."""
        one = decision_named(region, decision_id)
        note_read(request, region, "decision", one.customer)
        clear = clear_for(caller_of(request).scopes)
        record = decode_record(one.record)
        brain = region.releases.brain_of(record.release)
        return {
            "answer": answer_of(brain, record),
            "record": masked_record(record, clear),
            "outcomes": [
                {**msgspec.to_builtins(outcome), "detail": masked(outcome.detail, "personal", clear)}
                for outcome in region.records.outcomes(one.id)
            ],
            "candidates": fates_known(brain, record),
            "ledger": {"index": one.leaf},
        }

    @post(
        "/{decision_id:str}/replay", sync_to_thread=True, status_code=200,
        summary="Rebuilds the decision from what it saw and compares it with the record to the byte",
    )
    def replay(
        self, request: AnyRequest, region: Here, decision_id: Text, release: Maybe = None
    ) -> dict[str, Any]:
        """Rebuilds the decision from what it saw and compares it with the record to the byte."""
        one = decision_named(region, decision_id)
        # A difference quotes what was seen of the customer.
        note_read(request, region, "replay", one.customer)
        try:
            found: dict[str, Any] = msgspec.to_builtins(region.replay(one.id, release))
        except LookupError as error:
            raise HttpProblem(404, "unknown_release", str(error)) from None
        return found


class CustomersReadAndErased(CustomersRead):
    """GET /v1/customers/{id} and DELETE: one path is one controller's."""

    @delete("/{customer_id:str}", sync_to_thread=True, status_code=200, summary="Erases one customer")
    def erase(self, request: AnyRequest, region: Here, customer_id: Text, why: Why = "") -> dict[str, Any]:
        """Everything about the customer is removed, their keys are destroyed, and every file is scanned."""
        try:
            report = erase(region, customer_id, caller_of(request).name, why)
        except Unknown:
            raise HttpProblem(404, "unknown_customer", "nobody is called this: check the id") from None
        return report_document(report)


class Privacy(Controller):
    """GET /v1/customers/{id}/export and /v1/accesses."""

    path = "/v1"
    tags = ("privacy",)

    @get("/customers/{customer_id:str}/export", sync_to_thread=True, summary="Everything known about one customer")
    def export(self, request: AnyRequest, region: Here, customer_id: Text, purpose: Why = "") -> Stream:
        """One JSON document for access and portability requests; masked by the scopes of the key."""
        person = person_named(region, customer_id)
        clear = clear_for(caller_of(request).scopes)
        note_read(request, region, "export", person.id, purpose)
        document = export_document(
            region.records, region.releases.live(), region.releases.brain_of, region.name, person,
            everybody(region.records, person.id), region.clock.now_ms(), clear,
        )  # fmt: skip
        headers = {"content-disposition": 'attachment; filename="export.json"'}
        return Stream(document, media_type="application/json", headers=headers)

    @get("/accesses", sync_to_thread=True, summary="Who read what about whom, the newest first")
    def accesses(
        self, request: AnyRequest, region: Here, customer: Maybe = None, last: Last = 50, before: Maybe = None
    ) -> list[dict[str, Any]]:
        """The access log; it needs the scope `govern`."""
        caller = caller_of(request)
        if "govern" not in caller.scopes:
            message = f"this key may not use `govern`: it may {sorted(caller.scopes)}"
            raise HttpProblem(403, "forbidden", message)
        found = region.records.accesses(last, customer=customer, before=before)
        return [access_line(one) for one in found]


def report_document(report: ErasureReport) -> dict[str, Any]:
    """What an erasure did, as JSON; `clean` says that nothing was found in any file."""
    plain: dict[str, Any] = msgspec.to_builtins(report)
    return {**plain, "clean": report.clean}


def note_read(request: AnyRequest, region: Region, what: str, customer: str, purpose: str = "") -> None:
    """Writes down who reads what, before the answer leaves; 404 when the customer was erased meanwhile."""
    caller = caller_of(request)
    classes = opened(clear_for(caller.scopes))
    try:
        seen_by(region.records, region.vault, region.clock, region.name, caller.name, what, customer, classes, purpose)
    except Gone as error:
        raise HttpProblem(404, "unknown_customer", str(error)) from None
