"""The console's pages on customers and accounts: look one up, see it whole, reveal what is masked and say why."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from itertools import islice
from threading import Lock
from typing import Any
from urllib.parse import urlencode

import msgspec
from anyio.to_thread import run_sync
from litestar import Request, Response, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from opportune.core.customers import Person
from opportune.core.masking import EVERYTHING, IN_CLEAR
from opportune.core.signals import FieldClass
from opportune.doors.console.desk import AnyPage, Desk, as_json
from opportune.doors.console.security import AnyRequest
from opportune.doors.console.tables import quoted
from opportune.flows.access import Gone, seen_by, seen_together
from opportune.flows.identify import customer_named, lives_on
from opportune.flows.region import Region
from opportune.views import AccountView, CustomerView, account_view, customer_view
from opportune.views.customer import masked_id
from opportune.views.timeline import KINDS

ACTOR = "console"
ENTRIES = 40
NEWEST = 40
SIGNALS_LOOKED_AT = 400
WHY_CHARS = (3, 200)
NOTED_EVERY_MS = 10 * 60_000
NOTED_MAX = 2_000


class Active(msgspec.Struct, frozen=True):
    """One customer who was active lately: when, and by what."""

    id: str
    label: str
    account: str | None
    at_ms: int
    what: str


class Paging(msgspec.Struct, frozen=True):
    """How the timeline is narrowed, and the links that change it."""

    path: str
    kinds: tuple[str, ...]
    before: str | None

    @staticmethod
    def of(request: AnyRequest, path: str) -> Paging:
        kinds = tuple(one for one in request.query_params.get("kind", "").split(",") if one in KINDS)
        return Paging(path, kinds, request.query_params.get("before", "").strip()[:120] or None)

    def link(self, kind: str | None = None, before: str | None = None) -> str:
        query = {"kind": ",".join((kind,) if kind else ()), "before": before or ""}
        given = {name: value for name, value in query.items() if value}
        return self.path + (f"?{urlencode(given)}" if given else "") + "#timeline"

    def older(self, before: str) -> str:
        return self.link(self.kinds[0] if self.kinds else None, before)


class CustomerRoom:
    """Customers and accounts of one region; remembers whose page was noted as read in the last minutes."""

    def __init__(self, desk: Desk, region: Region) -> None:
        self._desk = desk
        self._region = region
        self._noted: OrderedDict[str, int] = OrderedDict()
        self._lock = Lock()

    def listed(self, request: AnyRequest) -> AnyPage:
        nobody = request.query_params.get("nobody") == "1"
        return self._desk.page(request, "customers.html", rows=self._active(), nobody=nobody)

    def listed_json(self) -> Response[bytes]:
        return as_json(self._active())

    def customer(self, request: AnyRequest, id_: str) -> AnyPage:
        person = self._person(id_)
        self._note(person.id)
        return self._page(request, person, IN_CLEAR)

    def customer_json(self, id_: str) -> Response[bytes]:
        person = self._person(id_)
        self._note(person.id)
        return as_json(self._view(person, IN_CLEAR))

    def reveal(self, request: AnyRequest, id_: str, why: str) -> AnyPage:
        """The page with everything in clear, once, after the reader has said why."""
        person = self._person(id_)
        reason = why.strip()
        if not WHY_CHARS[0] <= len(reason) <= WHY_CHARS[1]:
            trouble = f"Say why you need to see them, in {WHY_CHARS[0]} to {WHY_CHARS[1]} characters."
            return self._page(request, person, IN_CLEAR, trouble=trouble, status=422)
        region = self._region
        try:
            seen_by(
                region.records, region.vault, region.clock, region.name, ACTOR, "customer", person.id,
                EVERYTHING - IN_CLEAR, reason,
            )  # fmt: skip
        except Gone as error:
            raise NotFoundException(str(error)) from None
        return self._page(request, person, EVERYTHING, reason=reason)

    def account(self, request: AnyRequest, id_: str) -> AnyPage:
        view = self._account(id_)
        path = f"/console/accounts/{quoted(id_)}"
        return self._desk.page(request, "account.html", view=view, path=path)

    def account_json(self, id_: str) -> Response[bytes]:
        return as_json(self._account(id_))

    def _page(
        self, request: AnyRequest, person: Person, clear: Collection[FieldClass], *, reason: str = "",
        trouble: str = "", status: int = 200,
    ) -> AnyPage:  # fmt: skip
        path = f"/console/customers/{quoted(person.id)}"
        paging = Paging.of(request, path)
        view = self._view(person, clear, last=ENTRIES, before=paging.before, kinds=paging.kinds)
        return self._desk.page(
            request, "customer.html", status, view=view, paging=paging, reason=reason, trouble=trouble, kinds=KINDS,
            here=path, reveal_path=f"/console/reveal/{quoted(person.id)}",
        )  # fmt: skip

    def _view(self, person: Person, clear: Collection[FieldClass], **page: Any) -> CustomerView:  # noqa: ANN401
        region = self._region
        return customer_view(
            region.records, region.pulse, region.releases.live(), region.name, person, region.clock.now_ms(), clear,
            **page,
        )  # fmt: skip

    def _person(self, id_: str) -> Person:
        region = self._region
        found = customer_named(region.records, region.vault, id_)
        person = None if found is None else lives_on(region.records.person, found)
        if person is None:
            raise NotFoundException("nobody is known by this id: no signal has named them yet, or they were erased")
        return person

    def _account(self, id_: str) -> AccountView:
        region = self._region
        account = region.records.account(id_)
        if account is None:
            raise NotFoundException("no account is known by this id: no signal has named it yet")
        view = account_view(
            region.records, region.releases.live(), region.name, account, region.clock.now_ms(), IN_CLEAR
        )
        people = [one.id for one in view.members if self._due(one.id)]
        if people:
            seen_together(region.records, region.vault, region.clock, region.name, ACTOR, "account", people)
        return view

    def _active(self) -> tuple[Active, ...]:
        """Whoever the newest signals and decisions name, the newest first."""
        records = self._region.records
        found: dict[str, Active] = {}
        for one in records.decisions(NEWEST * 2):
            _keep(found, one.customer, one.account, one.at_ms, f"decision: {one.disposition.replace('_', ' ')}")
        after = max(0, records.counts().get("signals", 0) - SIGNALS_LOOKED_AT)
        for stored in islice(records.signals(after), SIGNALS_LOOKED_AT * 2):
            signal = stored.signal
            if signal.customer is not None:
                _keep(found, signal.customer, signal.account, signal.at_ms, signal.type)
        newest: dict[str, Active] = {}
        for active in sorted(found.values(), key=lambda one: -one.at_ms):
            person = lives_on(records.person, active.id)
            if person is not None and person.id not in newest:
                newest[person.id] = msgspec.structs.replace(
                    active, id=person.id, label=masked_id(person.id, IN_CLEAR), account=person.account
                )
            if len(newest) == NEWEST:
                break
        return tuple(newest.values())

    def _note(self, customer: str) -> None:
        """A masked page is noted too, but not for every look at the same one: once in ten minutes."""
        if not self._due(customer):
            return
        region = self._region
        try:
            seen_by(region.records, region.vault, region.clock, region.name, ACTOR, "customer", customer)
        except Gone as error:
            raise NotFoundException(str(error)) from None

    def _due(self, customer: str) -> bool:
        now_ms = self._region.clock.now_ms()
        with self._lock:
            if now_ms - self._noted.get(customer, -NOTED_EVERY_MS) < NOTED_EVERY_MS:
                return False
            self._noted[customer] = now_ms
            self._noted.move_to_end(customer)
            while len(self._noted) > NOTED_MAX:
                self._noted.popitem(last=False)
        return True


def customer_routes(room: CustomerRoom) -> list[Any]:
    """An id may hold slashes, hence whole paths; what ends in `.json` is the twin.

    What was revealed has an address of its own: from there every link to the page leads away from it.
    """

    @get("/customers", sync_to_thread=True)
    def listed(request: Request[Any, Any, Any]) -> Response[str]:
        return room.listed(request)

    @get("/customers.json", sync_to_thread=True)
    def listed_json() -> Response[bytes]:
        return room.listed_json()

    @get("/customers/{name:path}", sync_to_thread=True)
    def customer(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
        id_ = name.removeprefix("/")
        if id_.endswith(".json"):
            return room.customer_json(id_.removesuffix(".json"))
        return room.customer(request, id_)

    @post("/reveal/{name:path}", status_code=200)
    async def reveal(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[str]:
        form = await request.form()
        why = str(form.get("why", ""))
        return await run_sync(room.reveal, request, name.removeprefix("/"), why)

    @get("/accounts/{name:path}", sync_to_thread=True)
    def account(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
        id_ = name.removeprefix("/")
        if id_.endswith(".json"):
            return room.account_json(id_.removesuffix(".json"))
        return room.account(request, id_)

    return [listed, listed_json, customer, reveal, account]


def _keep(found: dict[str, Active], id_: str, account: str | None, at_ms: int, what: str) -> None:
    known = found.get(id_)
    if known is None or known.at_ms < at_ms:
        found[id_] = Active(id_, id_, account, at_ms, what)
