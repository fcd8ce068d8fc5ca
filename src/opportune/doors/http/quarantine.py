"""Signals kept out, over HTTP: list them, look at one, send it again as it was or fixed, or discard it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, delete, get, post
from litestar.params import FromPath, QueryParameter

from opportune.core.masking import clear_for
from opportune.core.signals import Problem, Receipt, format_time
from opportune.doors.http.api import Here, Last, Maybe
from opportune.doors.http.customers import opened
from opportune.doors.http.keys import caller_of
from opportune.doors.http.problems import FieldProblem, HttpProblem
from opportune.flows.access import Gone, seen_by
from opportune.flows.quarantine import QuarantineError, discard, draft_from, resubmit
from opportune.views.quarantine import STATUSES, Asked, QuarantineEntry, QuarantineLine, entry_view, quarantine_view

AnyRequest = Request[Any, Any, Any]
Before = Annotated[int | None, QueryParameter(ge=1)]
STATUS_OF = {"unknown": 404, "closed": 409, "unreadable": 422, "invalid": 422}


class QuarantineDoor(Controller):
    """GET, POST …/resubmit and DELETE on /v1/quarantine."""

    path = "/v1/quarantine"
    tags = ("govern",)

    @get("/", sync_to_thread=True, summary="Signals kept out, with the fields that are wrong")
    def listed(
        self, request: AnyRequest, region: Here, last: Last = 50, status: Maybe = None, source: Maybe = None,
        type: Maybe = None, reason: Maybe = None, before: Before = None,  # noqa: A002 - the name of the parameter
    ) -> list[dict[str, Any]]:  # fmt: skip
        """The newest first; `before` a number for older ones. Without `status`, of every status."""
        wanted = next((one for one in STATUSES if one == status), None)
        if status is not None and wanted is None:
            detail = f"`status` cannot be `{status}`: it is one of {', '.join(STATUSES)}"
            raise HttpProblem(422, "invalid_status", detail)
        clear = clear_for(caller_of(request).scopes)
        asked = Asked(wanted, source, type, reason)
        view = quarantine_view(region.records, region.releases.live(), asked, clear, last=last, before=before)
        return [line_document(one) for one in view.rows]

    @get("/{seq:int}", sync_to_thread=True, summary="One signal that was kept out, beside what is wrong with it")
    def shown(self, request: AnyRequest, region: Here, seq: FromPath[int]) -> dict[str, Any]:
        """What was sent, as this key may see it, and the problems of each field."""
        kept = region.records.quarantine_entry(seq)
        if kept is None:
            raise HttpProblem(404, "unknown", f"nothing in quarantine has the number `{seq}`")
        caller = caller_of(request)
        clear = clear_for(caller.scopes)
        try:
            seen_by(
                region.records, region.vault, region.clock, region.name, caller.name, "quarantine", kept.customer,
                opened(clear),
            )  # fmt: skip
        except Gone as error:
            raise HttpProblem(404, "unknown", str(error)) from None
        return entry_document(entry_view(kept, region.releases.live(), clear))

    @post("/{seq:int}/resubmit", status_code=200, summary="Sends it again, as it was or fixed")
    async def again(self, request: AnyRequest, region: Here, seq: FromPath[int]) -> dict[str, Any]:
        """The body, if there is one, is the fixed draft. Still wrong is a 422 that names every field."""
        body = await request.body()
        actor = caller_of(request).name
        return await asyncio.to_thread(_again, region, seq, body, actor)

    @delete("/{seq:int}", sync_to_thread=True, status_code=200, summary="Discards it, with the reason")
    def discarded(
        self, request: AnyRequest, region: Here, seq: FromPath[int], why: Annotated[str, QueryParameter(max_length=500)]
    ) -> dict[str, Any]:
        """It stays in the list as discarded; the step is in the ledger."""
        try:
            discard(region, seq, why, caller_of(request).name)
        except QuarantineError as error:
            raise _refused(error) from None
        return {"seq": seq, "status": "discarded"}


def line_document(line: QuarantineLine) -> dict[str, Any]:
    """One line of the list as JSON."""
    return {
        "seq": line.seq,
        "received_at": format_time(line.received_ms),
        "source": line.source,
        "id": line.id,
        "type": line.type,
        "status": line.status,
        "note": line.note,
        "problems": line.problems,
    }


def entry_document(entry: QuarantineEntry) -> dict[str, Any]:
    """One entry as JSON; `draft` is null when it was not kept whole."""
    return {
        **line_document(entry.line),
        "customer": entry.customer,
        "draft": entry.draft,
        "hidden": entry.hidden,
        "bytes": entry.bytes,
    }


def _again(region: Any, seq: int, body: bytes, actor: str) -> dict[str, Any]:  # noqa: ANN401 - a Region
    try:
        draft = draft_from(msgspec.json.decode(body)) if body.strip() else None
        receipt = resubmit(region, seq, draft, actor)
    except QuarantineError as error:
        raise _refused(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HttpProblem(400, "invalid_json", f"the body is not JSON: {error}") from None
    if receipt.status not in ("accepted", "duplicate"):
        raise _still_wrong(receipt)
    return {"seq": seq, "status": "resubmitted", "receipt": receipt}


def _still_wrong(receipt: Receipt) -> HttpProblem:
    fields = [FieldProblem(one.field, one.message) for one in receipt.problems]
    first = receipt.problems[0] if receipt.problems else Problem("", "", "it was not accepted")
    return HttpProblem(422, "still_wrong", f"it stays in quarantine: {first.message}", fields)


def _refused(error: QuarantineError) -> HttpProblem:
    return HttpProblem(STATUS_OF[error.code], error.code, str(error), [FieldProblem(error.field, str(error))])
