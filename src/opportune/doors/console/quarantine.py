"""The console's pages on signals that were kept out: the list, one of them, and the ways to close it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, cast
from urllib.parse import urlencode

import msgspec
from anyio.to_thread import run_sync
from litestar import Request, Response, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from opportune.core.masking import EVERYTHING, IN_CLEAR
from opportune.core.signals import Draft, FieldClass
from opportune.doors.console.customers import ACTOR, WHY_CHARS
from opportune.doors.console.desk import AnyPage, Desk, as_json, redirect
from opportune.doors.console.security import AnyRequest
from opportune.flows.access import Gone, seen_by
from opportune.flows.quarantine import QuarantineError, discard, draft_from, draft_of, resubmit, with_fields
from opportune.flows.region import Region
from opportune.ports import Quarantined
from opportune.views.quarantine import (
    STATUSES,
    Asked,
    QuarantineEntry,
    QuarantineView,
    Status,
    entry_view,
    quarantine_view,
)

ROWS = 50
_FILTERS = ("status", "source", "type", "reason")


class Narrowed(msgspec.Struct, frozen=True):
    """The list's filters as an address says them, and the links that change one."""

    asked: Asked
    before: int | None

    @staticmethod
    def of(request: AnyRequest) -> Narrowed:
        query = request.query_params
        status = query.get("status", "open")
        before = query.get("before", "")
        source, type_, reason = (query.get(name, "").strip()[:256] or None for name in _FILTERS[1:])
        asked = Asked(cast(Status, status) if status in STATUSES else None, source, type_, reason)
        return Narrowed(asked, int(before) if before.isdecimal() and len(before) < 16 else None)

    def link(self, path: str = "/console/quarantine", **changes: object) -> str:
        asked = self.asked
        wanted = {
            "status": asked.status or "all", "source": asked.source, "type": asked.type, "reason": asked.reason,
            **changes,
        }  # fmt: skip
        given = {name: value for name, value in wanted.items() if value and (name, value) != ("status", "open")}
        return f"{path}?{urlencode(given)}" if given else path


class QuarantineRoom:
    """What was kept out in one region, and what is done about it."""

    def __init__(self, desk: Desk, region: Region) -> None:
        self._desk = desk
        self._region = region

    def listed(self, request: AnyRequest) -> AnyPage:
        narrowed = Narrowed.of(request)
        view = self._list(narrowed)
        return self._desk.page(request, "quarantine.html", view=view, narrowed=narrowed, statuses=STATUSES)

    def listed_json(self, request: AnyRequest) -> Response[bytes]:
        return as_json(self._list(Narrowed.of(request)))

    def shown(self, request: AnyRequest, seq: int) -> AnyPage:
        return self._page(request, self._entry(seq), IN_CLEAR)

    def shown_json(self, seq: int) -> Response[bytes]:
        return as_json(entry_view(self._entry(seq), self._region.releases.live(), IN_CLEAR))

    def reveal(self, request: AnyRequest, seq: int, form: dict[str, str]) -> AnyPage:
        kept, reason = self._entry(seq), form.get("why", "").strip()
        if not WHY_CHARS[0] <= len(reason) <= WHY_CHARS[1]:
            said = f"Say why you need to see them, in {WHY_CHARS[0]} to {WHY_CHARS[1]} characters."
            return self._page(request, kept, IN_CLEAR, trouble=said, status=422)
        region = self._region
        try:
            seen_by(
                region.records, region.vault, region.clock, region.name, ACTOR, "quarantine", kept.customer,
                EVERYTHING - IN_CLEAR, reason,
            )  # fmt: skip
        except Gone as error:
            raise NotFoundException(str(error)) from None
        return self._page(request, kept, EVERYTHING, reason=reason)

    def resubmit(self, request: AnyRequest, seq: int, form: dict[str, str]) -> AnyPage:
        return self._send(request, seq, lambda kept: draft_of(kept))

    def set_field(self, request: AnyRequest, seq: int, form: dict[str, str]) -> AnyPage:
        """One field of the draft is changed, without a look at the others, and it is sent again."""
        name, text = form.get("field", "").strip(), form.get("value", "")
        return self._send(request, seq, lambda kept: with_fields(draft_of(kept), {name: _value(text)}))

    def edit(self, request: AnyRequest, seq: int, form: dict[str, str]) -> AnyPage:
        """The draft as it was typed is sent again."""
        text = form.get("draft", "")

        def typed(_: Quarantined) -> Draft:
            try:
                return draft_from(msgspec.json.decode(text))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise QuarantineError("invalid", f"this is not JSON: {error}", "draft") from None

        return self._send(request, seq, typed, text)

    def discard(self, request: AnyRequest, seq: int, form: dict[str, str]) -> AnyPage:
        kept = self._entry(seq)
        try:
            discard(self._region, seq, form.get("why", ""), ACTOR)
        except QuarantineError as error:
            return self._page(request, kept, IN_CLEAR, trouble=_sentence(error), status=422)
        return redirect(f"/console/quarantine/{seq}")

    def _send(
        self, request: AnyRequest, seq: int, make: Callable[[Quarantined], Draft], typed: str = ""
    ) -> AnyPage:
        kept = self._entry(seq)
        try:
            receipt = resubmit(self._region, seq, make(kept), ACTOR)
        except QuarantineError as error:
            return self._page(request, kept, IN_CLEAR, trouble=_sentence(error), typed=typed, status=422)
        if receipt.status in ("accepted", "duplicate"):
            return redirect(f"/console/quarantine/{seq}")
        said = f"Still wrong, so it stays here: {len(receipt.problems)} to put right."
        return self._page(request, self._entry(seq), IN_CLEAR, trouble=said, typed=typed, status=422)

    def _page(
        self, request: AnyRequest, kept: Quarantined, clear: Collection[FieldClass], *, reason: str = "",
        trouble: str = "", typed: str = "", status: int = 200,
    ) -> AnyPage:  # fmt: skip
        entry = entry_view(kept, self._region.releases.live(), clear)
        known = kept.customer is not None and self._region.records.person(kept.customer) is not None
        return self._desk.page(
            request, "kept_out.html", status, entry=entry, path=f"/console/quarantine/{kept.seq}", reason=reason,
            trouble=trouble, text=typed or _text(entry), editable=bool(typed) or not entry.hidden,
            known=known,
        )  # fmt: skip

    def _list(self, narrowed: Narrowed) -> QuarantineView:
        region = self._region
        return quarantine_view(
            region.records, region.releases.live(), narrowed.asked, IN_CLEAR, last=ROWS, before=narrowed.before
        )

    def _entry(self, seq: int) -> Quarantined:
        found = self._region.records.quarantine_entry(seq)
        if found is None:
            raise NotFoundException(f"nothing in quarantine has the number `{seq}`")
        return found


def quarantine_routes(room: QuarantineRoom) -> list[Any]:
    """The list, an entry, their twins, and a post for each way to close one."""

    @get("/quarantine", sync_to_thread=True)
    def listed(request: Request[Any, Any, Any]) -> Response[str]:
        return room.listed(request)

    @get("/quarantine.json", sync_to_thread=True)
    def listed_json(request: Request[Any, Any, Any]) -> Response[bytes]:
        return room.listed_json(request)

    @get("/quarantine/{name:str}", sync_to_thread=True)
    def shown(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
        if name.endswith(".json"):
            return room.shown_json(_number(name.removesuffix(".json")))
        return room.shown(request, _number(name))

    @post("/quarantine/{name:str}/{what:str}", status_code=200)
    async def acted(request: Request[Any, Any, Any], name: FromPath[str], what: FromPath[str]) -> Response[str]:
        acts = {
            "reveal": room.reveal, "resubmit": room.resubmit, "set": room.set_field, "edit": room.edit,
            "discard": room.discard,
        }  # fmt: skip
        act = acts.get(what)
        if act is None:
            raise NotFoundException(f"there is no page `/console/quarantine/{name}/{what}`")
        form = await request.form()
        given = {key: str(value) for key, value in form.items()}
        return await run_sync(act, request, _number(name), given)

    return [listed, listed_json, shown, acted]


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 15:
        raise NotFoundException(f"nothing in quarantine has the number `{text[:40]}`")
    return int(text)


def _value(text: str) -> object:
    """JSON where it can be read so, else the text itself."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text


def _text(entry: QuarantineEntry) -> str:
    if entry.draft is None:
        return ""
    return msgspec.json.format(msgspec.json.encode(entry.draft), indent=2).decode()


def _sentence(error: QuarantineError) -> str:
    said = str(error)
    return f"{said[:1].upper()}{said[1:]}."
