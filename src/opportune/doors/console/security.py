"""The console's door locks: response headers, who may enter, and which posts are our own."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.datastructures import Cookie

from opportune.doors.console.sessions import COOKIE, Sessions

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    # Not `no-referrer`: browsers would then post forms with `Origin: null`, and the origin is our CSRF check.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

AnyRequest = Request[Any, Any, Any]


def entered(request: AnyRequest, sessions: Sessions) -> bool:
    """Whether the request carries a session that still holds."""
    session = request.cookies.get(COOKIE)
    return session is not None and sessions.known(session)


def own_post(request: AnyRequest) -> bool:
    """Whether a post comes from our own pages: by its Origin, or by Sec-Fetch-Site where there is none."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site") == "same-origin"
    return bool(origin) and urlsplit(origin).netloc == request.headers.get("host", "")


def session_cookie(request: AnyRequest, session: str) -> Cookie:
    return Cookie(
        key=COOKIE, value=session, path="/console", httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )


def no_session_cookie() -> Cookie:
    return Cookie(key=COOKIE, value="", path="/console", httponly=True, samesite="strict", max_age=0)
