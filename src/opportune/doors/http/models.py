"""Models over HTTP: every artefact, one whole, its history, and what people decide about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.params import JSONBody

from opportune.core.registry import REASON_MAX, RegistryError, Standing
from opportune.doors.http.api import Here, Text
from opportune.doors.http.keys import caller_of
from opportune.doors.http.problems import FieldProblem, HttpProblem
from opportune.flows.region import Region
from opportune.ports import ShelfError
from opportune.views.models import (
    EventLine,
    LiveLine,
    ModelLine,
    ModelView,
    by_hash,
    history_of,
    live_of,
    model_view,
    models_view,
)

AnyRequest = Request[Any, Any, Any]
T = TypeVar("T")
STATUS_OF = {
    "unknown": 404, "person": 403, "role": 403, "own": 403, "reason": 422, "unreadable": 422, "stage": 409,
    "gates": 409, "altered": 409, "unapproved": 409,
}  # fmt: skip


class Decided(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is decided about a model, and why; who decides is whose key it is."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=REASON_MAX)]


class ModelHistory(msgspec.Struct, frozen=True):
    """What happened to an artefact and when it was live, both the oldest first."""

    card: str
    history: tuple[EventLine, ...]
    live: tuple[LiveLine, ...]


class ModelsDoor(Controller):
    """GET on /v1/models, and POST on what people decide."""

    path = "/v1/models"
    tags = ("govern",)

    @get("/", sync_to_thread=True, summary="Every model in the registry, the newest first, and where it stands")
    def listed(self, region: Here) -> list[ModelLine]:
        """Stage, approvals, gates not passed, and the most important figures."""
        return list(models_view(region.registry))

    @get("/{hash_:str}", sync_to_thread=True, summary="One model whole: its card, its history, its model card")
    def shown(self, region: Here, hash_: Text) -> ModelView:
        """By its hash, or the first six characters of it at least."""
        return _found(lambda: model_view(region.registry, by_hash(region.registry, hash_)))

    @get("/{hash_:str}/history", sync_to_thread=True, summary="Who did what with a model, and when it was live")
    def history(self, region: Here, hash_: Text) -> ModelHistory:
        """Who did what with a model, and when it was live."""
        name = _found(lambda: by_hash(region.registry, hash_))
        return ModelHistory(name, history_of(region.registry, name), live_of(region.registry, name))

    @get(
        "/{hash_:str}/document", sync_to_thread=True, summary="The model card in Markdown", media_type="text/markdown"
    )
    def document(self, region: Here, hash_: Text) -> Response[str]:
        """The model card in Markdown."""
        found = _found(lambda: model_view(region.registry, by_hash(region.registry, hash_)))
        if found.card is None:
            raise HttpProblem(409, "altered", found.line.trouble)
        return Response(found.document, media_type="text/markdown; charset=utf-8")

    @post("/{hash_:str}/approvals", sync_to_thread=True, status_code=200, summary="Approves exactly these bytes")
    def approved(self, request: AnyRequest, region: Here, hash_: Text, data: JSONBody[Decided]) -> ModelLine:
        """The key's name is the person: one under `people`, who has not made this model. Needs the scope `approve`."""
        return _decide(request, region, hash_, data, region.registry.approve)

    @post("/{hash_:str}/refusals", sync_to_thread=True, status_code=200, summary="No release may hold it from now on")
    def refused(self, request: AnyRequest, region: Here, hash_: Text, data: JSONBody[Decided]) -> ModelLine:
        """No release may hold it from now on; what is live stays live until another takes its place."""
        return _decide(request, region, hash_, data, region.registry.refuse)

    @post("/{hash_:str}/retirements", sync_to_thread=True, status_code=200, summary="New releases leave it out")
    def retired(self, request: AnyRequest, region: Here, hash_: Text, data: JSONBody[Decided]) -> ModelLine:
        """New releases leave it out; not possible while it is live."""
        return _decide(request, region, hash_, data, region.registry.retire)


def _decide(
    request: AnyRequest, region: Region, hash_: str, data: Decided, step: Callable[..., Standing]
) -> ModelLine:
    by = caller_of(request).name
    people = region.releases.live().playbook.app.people
    name = _found(lambda: by_hash(region.registry, hash_))
    _found(lambda: step(name, by, people, data.reason))
    return next(one for one in models_view(region.registry) if one.card == name)


def _found(work: Callable[[], T]) -> T:
    """The registry's refusals as problem documents."""
    try:
        return work()
    except RegistryError as error:
        detail = str(error)
        if error.code in ("person", "role"):
            detail += "; a person acts here with a key of their name: `opportune keys add NAME --scopes approve,read`"
        fields = [FieldProblem(error.field, detail)] if error.field else []
        raise HttpProblem(STATUS_OF[error.code], f"model_{error.code}", detail, fields) from None
    except ShelfError as error:
        raise HttpProblem(409, "model_altered", str(error)) from None
