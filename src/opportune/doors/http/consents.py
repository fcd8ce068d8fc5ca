"""Consent over HTTP: what a customer says, what holds, the receipt for it, and links to pages that need no login."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, Request, Response, get, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, SkipValidation

from opportune.core.consents import expiry_ms
from opportune.core.customers import ANY_CHANNEL, Person
from opportune.core.masking import clear_for
from opportune.core.playbook import controller_of
from opportune.core.signals import format_time
from opportune.doors.http.keys import caller_of
from opportune.doors.http.preferences.links import Link, links_to
from opportune.doors.http.problems import FieldProblem, HttpProblem
from opportune.flows.access import Gone, seen_by
from opportune.flows.consent import ConsentError, Word, check_word, draft_of, unknown
from opportune.flows.identify import lives_on
from opportune.flows.region import Region
from opportune.views.consents import consents_now, receipt

Here = NamedDependency[SkipValidation[Region]]
Id = Annotated[str, PathParameter(max_length=256)]
Short = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
AnyRequest = Request[Any, Any, Any]


class ConsentPut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a customer says about a purpose, in some channels or in all; `controller` is the playbook's own if none.

    `purpose` may be `*` for a refusal or withdrawal: an objection to everything.
    """

    status: Literal["given", "refused", "withdrawn"]
    purpose: Short = "marketing"
    channels: tuple[str, ...] = (ANY_CHANNEL,)
    source: Short = "api"
    controller: Short | None = None
    basis: str | None = None
    evidence: Annotated[str, msgspec.Meta(max_length=1000)] | None = None
    notice: Short | None = None
    expires_at: str | None = None


class LinkPost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the links lead: `channel` is the one an unsubscribe ends (all without it), `base` the public address of
    this server, such as https://preferences.example.com (the address asked without it)."""

    channel: str | None = None
    expires_at: str | None = None
    base: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/?#<>]+(/[^\s?#<>]*)?$", max_length=200)] | None = None


class Consents(Controller):
    """Below /v1/customers/{id}: consents, their receipt, and a preference link."""

    path = "/v1/customers"
    tags = ("customers",)

    @put("/{customer_id:str}/consents", sync_to_thread=True, summary="Records what the customer says")
    def say(self, request: AnyRequest, region: Here, customer_id: Id, data: JSONBody[ConsentPut]) -> dict[str, Any]:
        """Records what the customer says; it holds for every decision from now on."""
        person = person_of(region, customer_id)
        release = region.releases.live()
        own = data.controller is None or data.controller == own_controller(region)
        word = Word(
            data.status, data.purpose, data.channels, "" if own else data.controller or "", data.basis,
            data.evidence, data.notice, data.expires_at,
        )  # fmt: skip
        try:
            check_word(release, word)
        except ConsentError as error:
            raise _unsaid(error) from None
        recorded(region, person.id, word, data.source)
        return _shown(region, person_of(region, customer_id), request)

    @get("/{customer_id:str}/consents", sync_to_thread=True, summary="What holds now")
    def now(self, request: AnyRequest, region: Here, customer_id: Id) -> dict[str, Any]:
        """What holds now per purpose, channel and controller, since when, and who said so."""
        person = person_of(region, customer_id)
        _noted(region, request, "consents", person)
        return _shown(region, person, request)

    @get(
        "/{customer_id:str}/consents/receipt", sync_to_thread=True,
        summary="The consent receipt (ISO/IEC TS 27560:2023, W3C DPV, JSON-LD)",
    )
    def receipted(self, request: AnyRequest, region: Here, customer_id: Id) -> Response[bytes]:
        """Every consent event of this customer with its ledger proof; needs a key that sees personal fields."""
        if "personal" not in caller_of(request).scopes:
            raise HttpProblem(403, "forbidden", "a receipt is personal whole: this key may not see `personal` fields")
        person = person_of(region, customer_id)
        _noted(region, request, "consent_receipt", person)
        link = links_to(region.vault, Link(person.id), base_of(request))
        document = receipt(
            region.records, region.ledger, region.vault, region.releases.live(), region.name, person,
            region.clock.now_ms(), region.clock.new_id(), link["url"],
        )  # fmt: skip
        return Response(msgspec.json.encode(document), media_type="application/ld+json")

    @post(
        "/{customer_id:str}/preference-link", sync_to_thread=True, status_code=200,
        summary="Links to the preference page and to unsubscribe, without login",
    )
    def link(self, request: AnyRequest, region: Here, customer_id: Id, data: JSONBody[LinkPost]) -> dict[str, str]:
        """`url` for the body of a message, `list_unsubscribe` and `list_unsubscribe_post` for its headers."""
        person = person_of(region, customer_id)
        channels = region.releases.live().brain.channels
        if data.channel is not None and data.channel not in channels:
            raise _unsaid(unknown("channel", "channel", data.channel, channels))
        try:
            expires_ms = None if data.expires_at is None else expiry_ms(data.expires_at)
        except ValueError as error:
            raise _unsaid(ConsentError("expires_at", f"`expires_at`: {error}")) from None
        base = data.base.rstrip("/") if data.base is not None else base_of(request)
        return links_to(region.vault, Link(person.id, data.channel, expires_ms), base)


def person_of(region: Region, id_: str) -> Person:
    """The customer, through any merge; HttpProblem 404."""
    person = lives_on(region.records.person, id_)
    if person is None:
        message = "no signal has named this customer yet: send one first, or check the id"
        raise HttpProblem(404, "unknown_customer", message)
    return person


def own_controller(region: Region) -> str:
    return controller_of(region.releases.live().playbook.app)


def recorded(region: Region, customer: str, word: Word, source: str) -> None:
    """Records one word; HttpProblem 422 when the playbook's own contract or quality rules refuse it."""
    receipt_ = region.ingest.run([draft_of(word, customer, source, region.clock.new_id())])[0]
    if receipt_.status not in ("accepted", "duplicate"):
        errors = [FieldProblem(one.field, one.message) for one in receipt_.problems]
        raise HttpProblem(422, "consent_refused", receipt_.problems[0].message, errors)


def base_of(request: AnyRequest) -> str:
    """The address this server was asked at, as the outside world writes it."""
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme).partition(",")[0].strip()
    return f"{scheme}://{request.headers.get('host', 'localhost')}"


def _shown(region: Region, person: Person, request: AnyRequest) -> dict[str, Any]:
    now_ms, release = region.clock.now_ms(), region.releases.live()
    return {
        "customer": person.id,
        "controller": own_controller(region),
        "at": format_time(now_ms),
        "consents": consents_now(release, person, now_ms, clear_for(caller_of(request).scopes)),
    }


def _noted(region: Region, request: AnyRequest, what: str, person: Person) -> None:
    caller = caller_of(request)
    try:
        seen_by(
            region.records, region.vault, region.clock, region.name, caller.name, what, person.id,
            clear_for(caller.scopes), request.headers.get("x-purpose", "")[:200],
        )  # fmt: skip
    except Gone as error:
        raise HttpProblem(404, "unknown_customer", str(error)) from None


def _unsaid(error: ConsentError) -> HttpProblem:
    return HttpProblem(422, "invalid_consent", error.message, [FieldProblem(error.field, error.message)])
