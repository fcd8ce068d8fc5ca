"""The console's pages on models: the list, one of them whole, and the forms by which people decide."""

from __future__ import annotations

from typing import Any

from anyio.to_thread import run_sync
from litestar import Request, Response, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from opportune.core.registry import RegistryError
from opportune.doors.console import model_figures
from opportune.doors.console.desk import AnyPage, Desk, as_json, redirect
from opportune.doors.console.people import known_person, person_of
from opportune.doors.console.security import AnyRequest
from opportune.flows.region import NotReady, Region
from opportune.ports import ShelfError
from opportune.views.disagreement import DisagreementLine, disagreement_lines
from opportune.views.models import ModelView, by_hash, model_view, models_view

DAYS_APART_MAX = 14
STAGE_TITLES = {
    "unknown": "not proposed", "proposed": "proposed", "validated": "waits for people", "approved": "approved",
    "live": "live", "retired": "retired", "refused": "refused", "voided": "voided: its bytes were changed",
}  # fmt: skip
STAGE_ICONS = {
    "live": "check", "approved": "check", "refused": "warn", "voided": "warn", "validated": "escalated"
}  # fmt: skip
EVENT_WORDS = {
    "proposed": "proposed", "validated": "passed its gates", "approved": "approved", "refused": "refused",
    "retired": "retired", "voided": "found altered: approvals are void",
}  # fmt: skip


class ModelsRoom:
    """The registry of one region. Who decides is whoever's key was given in this session."""

    def __init__(self, desk: Desk, region: Region) -> None:
        self._desk = desk
        self._region = region

    def listed(self, request: AnyRequest) -> AnyPage:
        return self._desk.page(
            request, "models.html", lines=models_view(self._region.registry), titles=STAGE_TITLES, icons=STAGE_ICONS
        )

    def listed_json(self) -> Response[bytes]:
        return as_json(models_view(self._region.registry))

    def shown(self, request: AnyRequest, name: str) -> AnyPage:
        return self._page(request, self._view(name))

    def shown_json(self, name: str) -> Response[bytes]:
        return as_json(self._view(name))

    def decide(self, request: AnyRequest, name: str, what: str, form: dict[str, str]) -> AnyPage:
        """Approve, refuse or retire, as the person whose key this session knows, or whose key comes with the form."""
        view = self._view(name)
        registry = self._region.registry
        step = {"approve": registry.approve, "refuse": registry.refuse, "retire": registry.retire}.get(what)
        if step is None:
            raise NotFoundException(f"there is no page `/console/models/{name}/{what}`")
        reason = form.get("reason", "")
        by, trouble = person_of(self._desk, request, form.get("key", ""))
        if by is None:
            return self._page(request, view, trouble=trouble, typed=reason, status=403)
        try:
            people = self._region.releases.live().playbook.app.people
            step(view.line.card, by, people, reason)
        except (RegistryError, ShelfError, NotReady) as error:
            said = str(error)
            return self._page(request, self._view(name), f"{said[:1].upper()}{said[1:]}.", reason, 422)
        return redirect(f"/console/models/{view.line.card}")

    def _page(
        self, request: AnyRequest, view: ModelView, trouble: str = "", typed: str = "", status: int = 200
    ) -> AnyPage:
        training = None if view.card is None else view.card.training
        return self._desk.page(
            request, "model.html", status, view=view, line=view.line, training=training,
            report=None if training is None else training.report, person=known_person(self._desk, request),
            trouble=trouble, typed=typed, titles=STAGE_TITLES, icons=STAGE_ICONS, event_words=EVENT_WORDS,
            plots=model_figures, path=f"/console/models/{view.line.card}", apart=self._apart(view),
        )  # fmt: skip

    def _apart(self, view: ModelView) -> list[DisagreementLine]:
        """What heavier models said of this artefact's decisions, the newest days."""
        mine = f"@{view.line.card[:12]}"
        found = self._region.validate.found(view.line.model or None)
        return disagreement_lines([one for one in found if mine in one.fast][:DAYS_APART_MAX])

    def _view(self, name: str) -> ModelView:
        try:
            return model_view(self._region.registry, by_hash(self._region.registry, name))
        except RegistryError:
            raise NotFoundException(f"there is no model `{name[:64]}`") from None


def models_routes(room: ModelsRoom) -> list[Any]:
    """The list, one model, their twins, and a post for each decision."""

    @get("/models", sync_to_thread=True)
    def listed(request: Request[Any, Any, Any]) -> Response[str]:
        return room.listed(request)

    @get("/models.json", sync_to_thread=True)
    def listed_json() -> Response[bytes]:
        return room.listed_json()

    @get("/models/{name:str}", sync_to_thread=True)
    def shown(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
        if name.endswith(".json"):
            return room.shown_json(name.removesuffix(".json"))
        return room.shown(request, name)

    @post("/models/{name:str}/{what:str}", status_code=200)
    async def decided(request: Request[Any, Any, Any], name: FromPath[str], what: FromPath[str]) -> Response[str]:
        form = await request.form()
        given = {key: str(value) for key, value in form.items()}
        return await run_sync(room.decide, request, name, what, given)

    return [listed, listed_json, shown, decided]
