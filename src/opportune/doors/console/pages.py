"""Rendering: the templates, what they may call, and the static files with their hashes."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from opportune.doors.console import figures, phrases

HERE = Path(__file__).parent
MEDIA_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".htmx": "text/plain",
    ".json": "application/json",
}


class StaticFile(msgspec.Struct, frozen=True):
    """One file as served; `tag` is in its address, so that it may be kept for ever."""

    body: bytes
    media_type: str
    tag: str


def static_files() -> Mapping[str, StaticFile]:
    """Every file of `static/`, read once."""
    found = {}
    for path in sorted((HERE / "static").iterdir()):
        body = path.read_bytes()
        found[path.name] = StaticFile(body, MEDIA_TYPES[path.suffix], sha256(body).hexdigest()[:16])
    return found


class Pages:
    """The compiled templates. Escapes everything; a name nobody gave is an error."""

    def __init__(self, files: Mapping[str, StaticFile], rooms: bool) -> None:
        """`rooms`: there are pages on customers and quarantine to link to."""
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            micros=phrases.micros,
            duration=phrases.duration,
            whole=phrases.whole,
            money=phrases.money,
            signed=phrases.signed,
            percent=phrases.percent,
            iso=phrases.iso,
            clock=phrases.clock,
            seconds=phrases.seconds,
            thousandths=phrases.thousandths,
            stamp=phrases.stamp,
            minute=phrases.minute,
            value=phrases.value,
            short=phrases.short,
            when=phrases.when,
            ago=phrases.ago,
            pretty=phrases.pretty,
        )
        self._environment.globals.update(
            fig=figures,
            rooms=rooms,
            words_of=phrases.DISPOSITION_WORDS,
            means=phrases.DISPOSITION_MEANS,
            reason_words=phrases.REASON_WORDS,
            stage_words=phrases.STAGE_WORDS,
            kind_words=phrases.KIND_WORDS,
            problem_words=phrases.PROBLEM_WORDS,
            own_words=phrases.RULES_SAID_BY_THEIR_STAGE,
            asset=lambda name: f"/console/static/{files[name].tag}/{name}",
        )

    def render(self, template: str, **values: object) -> str:
        return self._environment.get_template(template).render(**values)
