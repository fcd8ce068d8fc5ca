"""Reading customers and accounts over HTTP: the whole picture, masked by the scopes of the key, each read noted."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, get
from litestar.params import QueryParameter

from opportune.core.customers import Person, consent_parts, consent_status
from opportune.core.masking import IN_CLEAR, clear_for
from opportune.core.signals import FieldClass, format_time, parse_time_ms
from opportune.doors.http.api import Here, Maybe, Text
from opportune.doors.http.instants import all_written
from opportune.doors.http.keys import caller_of
from opportune.doors.http.problems import HttpProblem
from opportune.flows.access import Gone, seen_by, seen_together
from opportune.flows.identify import customer_named, lives_on
from opportune.flows.region import Region
from opportune.views import AccountView, CustomerView, account_view, customer_view
from opportune.views.customer import Attention, Bought, Fact, FeatureNow
from opportune.views.live import DecisionRow
from opportune.views.timeline import KINDS, cursor_of, times_said

_CURSOR = re.compile(r"\d{14}(\.|$)")
AnyRequest = Request[Any, Any, Any]
Last = Annotated[int, QueryParameter(ge=1, le=500)]


class CustomersRead(Controller):
    """GET /v1/customers/{id} and its timeline."""

    path = "/v1/customers"
    tags = ("customers",)

    @get("/{customer_id:str}", sync_to_thread=True, summary="One customer, whole")
    def shown(self, request: AnyRequest, region: Here, customer_id: Text) -> dict[str, Any]:
        """One customer: who it is, facts with their sources, features with ages, consent, purchases, what happened."""
        clear, person = _read(request, region, customer_id)
        return customer_document(region, person, clear)

    @get("/{customer_id:str}/timeline", sync_to_thread=True, summary="What happened to one customer, the newest first")
    def timeline(
        self, request: AnyRequest, region: Here, customer_id: Text, before: Maybe = None, last: Last = 50,
        kind: Maybe = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Signals, decisions, outcomes, consent, merges and reads, merged by time; `before` pages back."""
        kinds = () if kind is None else tuple(kind.split(","))
        if unknown := [one for one in kinds if one not in KINDS]:
            raise HttpProblem(422, "invalid_kind", f"`kind` cannot be `{unknown[0]}`: it is one of {', '.join(KINDS)}")
        clear, person = _read(request, region, customer_id)
        view = _view(region, person, clear, last=last, before=_cursor(before), kinds=kinds)
        page = view.timeline
        return {"customer": person.id, "entries": times_said(page.rows), "before": page.before, "cut_off": page.cut_off}


class AccountsRead(Controller):
    """GET /v1/accounts/{id}."""

    path = "/v1/accounts"
    tags = ("customers",)

    @get("/{account_id:str}", sync_to_thread=True, summary="One account, whole")
    def shown(self, request: AnyRequest, region: Here, account_id: Text) -> dict[str, Any]:
        """One account: facts with their sources, features, contacts of all its people, and who they are."""
        account = region.records.account(account_id)
        if account is None:
            message = "no signal has named this account yet: send one first, or check the id"
            raise HttpProblem(404, "unknown_account", message)
        caller = caller_of(request)
        clear = clear_for(caller.scopes)
        view = account_view(
            region.records, region.releases.live(), region.name, account, region.clock.now_ms(), clear
        )
        people: list[str | None] = [one.id for one in view.members] or [None]
        seen_together(
            region.records, region.vault, region.clock, region.name, caller.name, "account", people, opened(clear)
        )
        return account_document(view)


def person_named(region: Region, text: str) -> Person:
    """The customer meant by an id, an earlier id, an e-mail address or a phone number; HttpProblem 404."""
    found = customer_named(region.records, region.vault, text)
    person = None if found is None else lives_on(region.records.person, found)
    if person is None:
        message = "no signal has named this customer yet: send one first, or check the id"
        raise HttpProblem(404, "unknown_customer", message)
    return person


def opened(clear: Collection[FieldClass]) -> tuple[FieldClass, ...]:
    """The classes beyond what every reader sees, as the access log notes them."""
    return tuple(sorted(set(clear) - IN_CLEAR))


def customer_document(region: Region, person: Person, clear: Collection[FieldClass]) -> dict[str, Any]:
    """One customer as JSON, for a reader who sees `clear`."""
    view = _view(region, person, clear)
    return {
        "id": view.id,
        "region": view.region,
        "account": view.account,
        "identity": {
            "ids": view.ids,
            "identifiers": [
                {"kind": one.kind, "value": one.value.value, "source": one.source, "since": format_time(one.since_ms)}
                for one in view.known_by
            ],
            "merges": all_written(view.merges),
            "first_seen": _time(view.first_ms),
            "last_seen": _time(view.last_ms),
        },
        "traits": {one.name: one.value.value for one in view.facts},
        "profile": _facts(view.facts),
        "account_profile": _facts(view.account_facts),
        "features": {one.name: {"value": one.value, "age_ms": one.age_ms} for one in view.features},
        "usage": _usage(view.features),
        "missing": view.missing,
        "stale": view.stale,
        "consents": _consents(person, view.now_ms),
        "consent_table": all_written(view.consents),
        "contacts": all_written(view.contacts),
        "limits": _limits(view.limits),
        "decisions": [_decision(one) for one in view.decisions],
        "transactions": _bought(view.transactions, view.currency),
        "flags": all_written(view.flags),
        "timeline": times_said(view.timeline.rows),
        "shown_in_clear": view.clear,
        "hidden": view.hidden,
    }


def account_document(view: AccountView) -> dict[str, Any]:
    """One account as JSON."""
    return {
        "id": view.id,
        "region": view.region,
        "first_seen": _time(view.first_ms),
        "last_seen": _time(view.last_ms),
        "profile": _facts(view.facts),
        "features": {one.name: {"value": one.value, "age_ms": one.age_ms} for one in view.features},
        "usage": _usage(view.features),
        "missing": view.missing,
        "stale": view.stale,
        "people": [
            {"id": one.id, "last_seen": _time(one.last_ms), "signals": one.signals} for one in view.members
        ],
        "more_people": view.more,
        "contacts": all_written(view.contacts),
        "limits": _limits(view.limits),
        "transactions": _bought(view.transactions, view.currency),
        "flags": all_written(view.flags),
        "shown_in_clear": view.clear,
        "hidden": view.hidden,
    }


def _read(request: AnyRequest, region: Region, text: str) -> tuple[frozenset[FieldClass], Person]:
    """What this caller sees, and whom; the read is in the access log before anything is answered."""
    person = person_named(region, text)
    caller = caller_of(request)
    clear = clear_for(caller.scopes)
    try:
        seen_by(
            region.records, region.vault, region.clock, region.name, caller.name, "customer", person.id, opened(clear)
        )
    except Gone as error:
        raise HttpProblem(404, "unknown_customer", str(error)) from None
    return clear, person


def _view(region: Region, person: Person, clear: Collection[FieldClass], **page: Any) -> CustomerView:  # noqa: ANN401
    return customer_view(
        region.records, region.pulse, region.releases.live(), region.name, person, region.clock.now_ms(), clear, **page
    )


def _cursor(before: str | None) -> str | None:
    """A cursor as an answer gave it, or of a time."""
    if before is None or (before[:1].isdecimal() and "T" not in before and "-" not in before[:11]):
        return before
    try:
        return cursor_of(parse_time_ms(before))
    except (ValueError, OverflowError) as error:
        raise HttpProblem(422, "invalid_before", f"`before` is neither a cursor nor a time: {error}") from None


def _facts(facts: Sequence[Fact]) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "value": one.value.value,
            "class": one.value.class_,
            "hidden": one.value.hidden,
            "source": one.source,
            "signal": one.signal,
            "since": _time(one.since_ms),
        }
        for one in facts
    ]


def _usage(features: Sequence[FeatureNow]) -> list[dict[str, Any]]:
    """The features by view, in the order of the documents."""
    views: dict[str, dict[str, Any]] = {}
    for one in features:
        view = views.setdefault(
            one.view,
            {"view": one.view, "version": one.version, "entity": one.entity, "freshness_ms": one.freshness_ms,
             "purposes": one.purposes, "features": []},
        )  # fmt: skip
        state = "outside" if one.outside else "missing" if one.missing else "stale" if one.stale else "ok"
        view["features"].append({"name": one.name, "value": one.value, "age_ms": one.age_ms, "state": state})
    return list(views.values())


def _consents(person: Person, now_ms: int) -> dict[str, Any]:
    found = {}
    for key, said in person.consents.items():
        purpose, channel, controller = consent_parts(key)
        found[key] = {
            "status": consent_status(person.consents, purpose, channel, now_ms, controller),
            "said": said.status,
            "at": format_time(said.at_ms),
            "source": said.source,
            "basis": said.basis,
            "expires": _time(said.expires_ms),
            "evidence": said.evidence or None,
            "notice": said.notice or None,
        }
    return found


def _limits(limits: Sequence[Attention]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.to_builtins(limits)
    return found


def _bought(rows: Sequence[Bought], currency: str) -> list[dict[str, Any]]:
    return [
        {
            "at": format_time(one.at_ms),
            "what": one.what,
            "amount": one.amount,
            "currency": None if one.amount is None else currency,
            "offer": one.offer,
            "decision": one.decision,
            "source": one.source,
            "data": one.detail,
        }
        for one in rows
    ]


def _decision(row: DecisionRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "at": format_time(row.at_ms),
        "customer": row.customer,
        "account": row.account,
        "moment": row.moment,
        "disposition": row.disposition,
        "reason": row.reason,
        "offer": row.offer,
        "channel": row.channel,
        "total_us": row.total_us,
    }


def _time(at_ms: int | None) -> str | None:
    return None if not at_ms else format_time(at_ms)
