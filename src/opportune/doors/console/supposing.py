"""The console's pages that ask about a decision: what if, what would have flipped it, replay on a release, reviews."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from anyio.to_thread import run_sync
from litestar import Request, Response, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from opportune.core.decisions.brain import Brain
from opportune.core.decisions.changes import State, fact_of
from opportune.core.decisions.flips import Flip, Flips
from opportune.core.decisions.questions import QuestionError
from opportune.core.decisions.records import DecisionRecord
from opportune.core.decisions.whatif import STATUSES, Supposed, WhatIf, read_value
from opportune.core.masking import IN_CLEAR
from opportune.core.signals import format_time
from opportune.doors.console.desk import AnyPage, Desk, as_json
from opportune.doors.console.room import Room
from opportune.doors.console.security import AnyRequest
from opportune.flows.replay import Replayed, UnknownDecision, replay
from opportune.flows.whatif import beside, flips_in, record_of
from opportune.views.reviews import review_case, review_lines

REVIEWS_MAX = 200


class Field(msgspec.Struct, frozen=True):
    """One thing the form can change: its name in the form, a label, the value now, and its type."""

    name: str
    label: str
    text: str
    type: str


class Form(msgspec.Struct, frozen=True):
    """What can be supposed of a decision. `contacts` are `offer@channel` that count; `given` what was typed."""

    features: tuple[Field, ...]
    context: tuple[Field, ...]
    consents: tuple[Field, ...]
    contacts: tuple[str, ...]
    channels: tuple[str, ...]
    asked: tuple[str, ...]
    at: str
    limit: int
    account_known: bool
    faults: tuple[str, ...]
    releases: tuple[str, ...]
    release: str
    statuses: tuple[str, ...] = STATUSES


class Asking(msgspec.Struct, frozen=True):
    """What a decision's page shows besides the decision: the form, and whatever was asked of it."""

    form: Form | None
    found: WhatIf | None = None
    trouble: str | None = None
    flips: tuple[Flip, ...] | None = None
    open: bool = False


class SupposingRoom:
    """Questions about one decision; nothing is written."""

    def __init__(self, desk: Desk, room: Room) -> None:
        self._desk = desk
        self._deps = desk.deps
        self._room = room

    def what_if(self, request: AnyRequest, id_: str, form: Mapping[str, list[str]]) -> AnyPage:
        record, brain = self._record(id_), self._brain(id_)
        shown = form_of(brain, record, self.releases())
        found, trouble = None, None
        try:
            found = beside(self._deps.brain_of, record, supposed_of(brain, record, shown, form))
        except QuestionError as error:
            trouble = f"{error.field}: {error.message}"
        except LookupError:
            trouble = "this release is not on the shelf any more"
        asking = Asking(shown, found, trouble, open=True)
        if request.headers.get("hx-request") == "true":
            return Response(self._desk.pages.render("supposed.html", asking=asking), media_type="text/html")
        return self._room.decision(request, id_, asking=asking)

    def why_not(self, request: AnyRequest, id_: str) -> AnyPage:
        """The smallest change for every loser: as a part for htmx, else in the whole page."""
        flips = self._flips(id_, request.query_params.get("candidate"))
        asking = Asking(self.form(id_), flips=flips)
        if request.headers.get("hx-request") == "true":
            return Response(self._desk.pages.render("flips.html", asking=asking), media_type="text/html")
        return self._room.decision(request, id_, asking=asking)

    def why_not_json(self, request: AnyRequest, id_: str) -> Response[bytes]:
        return as_json(self._flips(id_, request.query_params.get("candidate")))

    def replay(self, request: AnyRequest, id_: str, release: str | None) -> AnyPage:
        """Decides again from the record, under its release or another, and compares the bytes."""
        record = self._record(id_)
        other = None if release in (None, "", record.release) else release
        try:
            found = replay(self._deps.records, self._deps.brain_of, id_, other)
        except LookupError as error:
            found = Replayed(id_, False, f"release {release or error.args[0]} is not on the shelf any more")
        if request.headers.get("hx-request") == "true":
            text = self._desk.pages.render("replayed.html", replayed=found, under=other)
            return Response(text, media_type="text/html")
        return self._room.decision(request, id_, found, Asking(self.form(id_)), other)

    def form(self, id_: str) -> Form | None:
        """What can be supposed; None when the decision's release is gone."""
        record = self._record(id_)
        try:
            brain = self._deps.brain_of(record.release)
        except LookupError:
            return None
        return form_of(brain, record, self.releases())

    def releases(self) -> tuple[str, ...]:
        return tuple(one.hash for one in self._deps.records.releases())

    # Reviews

    def reviews(self, request: AnyRequest) -> AnyPage:
        return self._desk.page(request, "reviews.html", lines=self._lines(), cut=REVIEWS_MAX)

    def reviews_json(self) -> Response[bytes]:
        return as_json(self._lines())

    def review(self, request: AnyRequest, id_: str) -> AnyPage:
        return self._desk.page(request, "review.html", case=self._case(id_))

    def review_json(self, id_: str) -> Response[bytes]:
        return as_json(self._case(id_))

    def _lines(self) -> Any:  # noqa: ANN401 - lines, drawn or encoded
        deps = self._deps
        return review_lines(deps.records, deps.brain_of, deps.clock.now_ms(), "open", REVIEWS_MAX)

    def _case(self, id_: str) -> Any:  # noqa: ANN401 - a case, drawn or encoded
        deps = self._deps
        found = review_case(deps.records, deps.brain_of, deps.clock.now_ms(), id_, IN_CLEAR)
        if found is None:
            raise NotFoundException(f"there is no review `{id_}`")
        return found

    def _flips(self, id_: str, candidate: str | None) -> tuple[Flip, ...]:
        record, brain = self._record(id_), self._brain(id_)
        try:
            return flips_in(Flips(brain), record, candidate or None)
        except QuestionError as error:
            raise NotFoundException(error.message) from None

    def _record(self, id_: str) -> DecisionRecord:
        try:
            return record_of(self._deps.records, id_)
        except UnknownDecision:
            raise NotFoundException(f"there is no decision `{id_}`") from None

    def _brain(self, id_: str) -> Brain:
        release = self._record(id_).release
        try:
            return self._deps.brain_of(release)
        except LookupError:
            raise NotFoundException(f"release `{release}` is not on the shelf any more") from None


def form_of(brain: Brain, record: DecisionRecord, releases: tuple[str, ...]) -> Form:
    """The decision as a form, its values as they were."""
    asked, seen = record.asked, record.seen
    moment = brain.moments.get(asked.moment)
    declared: Mapping[str, str] = {} if moment is None else moment.context
    types = brain.views.types
    return Form(
        features=tuple(
            Field(f"features.{name}", name, text_of(value), types[name])
            for name, value in sorted(seen.features.items())
            if name in types
        ),
        context=tuple(
            Field(f"context.{name}", name, text_of(asked.context.get(name)), type_) for name, type_ in declared.items()
        ),
        consents=tuple(
            Field(f"consents.{key}", key, status, "status") for key, status in sorted(seen.consents.items())
        ),
        contacts=tuple(dict.fromkeys(f"{offer}@{channel}" for _, offer, channel, _ in seen.contacts)),
        channels=asked.channels if moment is None else moment.channels,
        asked=asked.channels,
        at=format_time(seen.at_ms),
        limit=asked.limit,
        account_known=bool(fact_of(State(asked, seen), "account_known")),
        faults=record.faults,
        releases=releases,
        release=record.release,
    )


def text_of(value: object) -> str:
    """A value as the form shows it, and reads it back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return repr(value) if isinstance(value, float) else str(value)


def supposed_of(brain: Brain, record: DecisionRecord, form: Form, given: Mapping[str, list[str]]) -> Supposed:
    """What was changed in the form; QuestionError for a value that is not of its type."""

    def changed(fields: tuple[Field, ...]) -> dict[str, Any]:
        found = {}
        for field in fields:
            texts = given.get(field.name)
            text = field.text if not texts else texts[-1].strip() or "null"
            if text != field.text:
                found[field.label] = text if field.type == "status" else read_value(field.name, text, field.type)
        return found

    channels = tuple(one for one in form.channels if one in given.get("channels", form.asked))
    at, limit = _last(given, "at", form.at), _last(given, "limit", str(form.limit))
    known = _last(given, "account_known", "yes" if form.account_known else "no") == "yes"
    release = _last(given, "release", form.release)
    if not limit.isdecimal() or not 1 <= int(limit) <= 10:
        raise QuestionError("invalid_limit", "limit", "write a number from 1 to 10")
    return Supposed(
        features=changed(form.features),
        context=changed(form.context),
        consents=changed(form.consents),
        channels=None if channels == form.asked else channels,
        without=tuple(one for one in given.get("without", ()) if one in form.contacts),
        at=None if at == form.at else at,
        account_known=None if known == form.account_known else known,
        limit=None if int(limit) == form.limit else int(limit),
        release=None if release == form.release else release,
        faults="no_faults" not in given,
    )


def _last(given: Mapping[str, list[str]], name: str, otherwise: str) -> str:
    texts = given.get(name)
    return texts[-1].strip() if texts and texts[-1].strip() else otherwise


def supposing_routes(room: SupposingRoom) -> list[Any]:
    """Everything here works as a plain form or link; htmx puts the answer beside what it is about."""

    @get("/decisions/{name:str}/why-not", sync_to_thread=True)
    def why_not(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[str]:
        return room.why_not(request, name)

    @get("/decisions/{name:str}/why-not.json", sync_to_thread=True)
    def why_not_json(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
        return room.why_not_json(request, name)

    @post("/decisions/{name:str}/what-if", status_code=200)
    async def what_if(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[str]:
        form = await request.form()
        given: dict[str, list[str]] = {}
        for key, text in form.multi_items():
            given.setdefault(key, []).append(str(text)[:4000])
        return await run_sync(room.what_if, request, name, given)

    @post("/decisions/{name:str}/replay", status_code=200)
    async def replayed(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[str]:
        form = await request.form()
        release = str(form.get("release", "")).strip()[:64]
        return await run_sync(room.replay, request, name, release or None)

    @get("/reviews", sync_to_thread=True)
    def reviews(request: Request[Any, Any, Any]) -> Response[str]:
        return room.reviews(request)

    @get("/reviews.json", sync_to_thread=True)
    def reviews_json() -> Response[bytes]:
        return room.reviews_json()

    @get("/reviews/{name:str}", sync_to_thread=True)
    def review(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
        if name.endswith(".json"):
            return room.review_json(name.removesuffix(".json"))
        return room.review(request, name)

    return [why_not, why_not_json, what_if, replayed, reviews, reviews_json, review]


