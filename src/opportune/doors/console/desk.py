"""What every page of the console has in common: its frame, its twin, its refusals, and the count in its navigation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Response
from litestar.datastructures import Cookie
from litestar.exceptions import HTTPException

from opportune.doors.console.deps import ConsoleDeps
from opportune.doors.console.pages import Pages, StaticFile, static_files
from opportune.doors.console.security import HEADERS, AnyRequest
from opportune.views.quarantine import OPEN_COUNTED_MAX, open_count

THEMES = ("auto", "light", "dark")
THEME_COOKIE = "opportune_theme"
AnyPage = Response[str]


class Desk:
    """The templates and how a page is answered; the rooms of the console work at one."""

    def __init__(self, deps: ConsoleDeps) -> None:
        self.deps = deps
        self.files: Mapping[str, StaticFile] = static_files()
        self.pages = Pages(self.files, deps.region is not None)

    def page(self, request: AnyRequest, template: str, status_code: int = 200, **values: object) -> AnyPage:
        """A page in its frame. `here` is where it can be asked for again."""
        theme = request.cookies.get(THEME_COOKIE, "auto")
        values.setdefault("here", here_of(request))
        text = self.pages.render(
            template, theme=theme if theme in THEMES else "auto", themes=THEMES, waiting=self.waiting(template),
            region_name="" if self.deps.region is None else self.deps.region.name, **values,
        )  # fmt: skip
        return Response(text, media_type="text/html", status_code=status_code)

    def waiting(self, template: str) -> str:
        """How many signals wait in quarantine, for the navigation; whoever is not signed in is told nothing."""
        if self.deps.region is None or template == "signin.html":
            return ""
        count = open_count(self.deps.records)
        return f"{OPEN_COUNTED_MAX - 1}+" if count >= OPEN_COUNTED_MAX else str(count or "")

    def refused(self, request: AnyRequest, status: int, why: str) -> Response[Any]:
        if request.url.path.endswith(".json"):
            return problem_json(status, why)
        page = "signin.html" if status == 401 else "problem.html"
        return self.page(request, page, status, title="Not signed in", status=status, why=why)

    def problem(self, request: AnyRequest, error: HTTPException) -> Response[Any]:
        """An error page with the same headers as every other page."""
        status = error.status_code
        why = error.detail[:1].upper() + error.detail[1:]
        title = {404: "Not found", 405: "Not possible", 429: "Too many"}.get(status, "Did not work")
        if request.url.path.endswith(".json"):
            response: Response[Any] = problem_json(status, why)
        else:
            response = self.page(request, "problem.html", status, title=title, status=status, why=why)
        response.headers.update(HEADERS)
        return response


def here_of(request: AnyRequest) -> str:
    """The address of the page, as a link; never one that would sign in again, nor one that only takes forms."""
    here = request.url.path
    if request.method == "POST":
        return here.rsplit("/", 1)[0]
    here += f"?{request.url.query}" if request.url.query else ""
    return "/console" if "?t=" in here or "&t=" in here else here


def as_json(view: object) -> Response[bytes]:
    return Response(msgspec.json.encode(view, enc_hook=_plain), media_type="application/json")


def problem_json(status: int, why: str) -> Response[bytes]:
    body = {"type": "about:blank", "status": status, "detail": why}
    return Response(msgspec.json.encode(body), media_type="application/problem+json", status_code=status)


def redirect(path: str, *cookies: Cookie) -> AnyPage:
    return Response(
        "", status_code=303, headers={"Location": path}, cookies=list(cookies), media_type="text/plain"
    )


def _plain(value: object) -> object:
    if hasattr(value, "items"):
        return dict(value.items())
    raise NotImplementedError
