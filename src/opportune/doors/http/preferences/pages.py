"""Rendering: the templates, the one style sheet, and the version of the text a customer was shown."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response

HERE: Final = Path(__file__).parent
STYLE: Final = (HERE / "static/preferences.css").read_bytes()
STYLE_TAG: Final = sha256(STYLE).hexdigest()[:16]

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    # The token is in the address: it must not travel on in a Referer, nor into a search engine.
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

_environment = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip
_environment.globals["style"] = f"/preferences/static/{STYLE_TAG}/preferences.css"


def page(template: str, status: int = 200, **values: object) -> Response[str]:
    """One page with the headers that keep it to itself."""
    text = _environment.get_template(template).render(**values)
    return Response(text, status_code=status, media_type="text/html", headers=dict(HEADERS))


def notice_version(words: object) -> str:
    """The version of what is shown: it changes with the page's text, and with what it is about."""
    digest = sha256((HERE / "templates/preferences.html").read_bytes())
    digest.update(repr(words).encode())
    return f"preferences-{digest.hexdigest()[:12]}"
