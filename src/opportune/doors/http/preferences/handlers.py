"""The routes of the pages. No login, no cookie, no script, and no check where a post comes from: nothing that a browser
adds by itself lets anybody in, so a foreign site has nothing to ride on; whoever knows the token may decide."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, SkipValidation

from opportune.core.consents import Held, held
from opportune.core.customers import ANY_CHANNEL, EVERYTHING, Person, consent_status
from opportune.core.playbook import controller_of
from opportune.core.releases import Release
from opportune.doors.http.gpc import gpc_sent
from opportune.doors.http.preferences.links import PREFERENCES, UNSUBSCRIBE, Link, opened
from opportune.doors.http.preferences.pages import HEADERS, STYLE, STYLE_TAG, notice_version, page
from opportune.doors.http.preferences.words import purpose_words, state_words
from opportune.doors.http.problems import HttpProblem
from opportune.flows.consent import Word, draft_of, gpc_refusals
from opportune.flows.identify import lives_on
from opportune.flows.region import Region

MARKETING = "marketing"
PAGE_SOURCE, UNSUBSCRIBE_SOURCE = "preferences", "unsubscribe"

Here = NamedDependency[SkipValidation[Region]]
Token = Annotated[str, PathParameter()]
Html = Response[str]
AnyRequest = Request[Any, Any, Any]


class Choice(msgspec.Struct, frozen=True):
    """One row: the value its box sends, the channel's name, whether it is ticked, and what holds now."""

    value: str
    title: str
    on: bool
    state: str


class Group(msgspec.Struct, frozen=True):
    """The rows of one purpose; `by_browser` when the browser's signal keeps it off."""

    name: str
    means: str
    choices: tuple[Choice, ...]
    by_browser: bool


class Preferences(Controller):
    """What the customer of a token may decide."""

    path = "/preferences"
    include_in_schema = False

    @get("/{token:str}", sync_to_thread=True)
    def preferences(self, request: AnyRequest, region: Here, token: Token, saved: str = "") -> Html:
        """What the customer may decide, and what holds now. Writes nothing but what the browser itself says (GPC)."""
        link, person = _whose(region, PREFERENCES, token)
        if link is None or person is None:
            return _nothing()
        if gpc_sent(request.headers):
            drafts = gpc_refusals(region.releases.live(), region.records.person, [person.id])
            if drafts:
                region.ingest.run(drafts)
                person = lives_on(region.records.person, person.id) or person
        return _page(request, region, person, bool(saved))

    @post("/{token:str}")
    async def save(self, request: AnyRequest, region: Here, token: Token) -> Html:
        """Each change against what the page showed is a consent signal; `stop` objects to everything."""
        form = await request.form()
        ticked, shown = form.getall("on", []), form.getall("was", [])
        return await asyncio.to_thread(_saved, region, token, "stop" in form, set(ticked), set(shown))

    @get("/static/{tag:str}/preferences.css", sync_to_thread=False)
    def style(self, tag: Token) -> Response[bytes]:
        """The style sheet; its address changes with its content."""
        kept = "public, max-age=31536000, immutable" if tag == STYLE_TAG else "no-cache"
        headers = {"Cache-Control": kept, "X-Content-Type-Options": "nosniff"}
        return Response(STYLE, media_type="text/css", headers=headers)


class Unsubscribe(Controller):
    """One click (RFC 8058): the post acts, looking does not."""

    path = "/unsubscribe"
    include_in_schema = False

    @get("/{token:str}", sync_to_thread=True)
    def unsubscribing(self, region: Here, token: Token) -> Html:
        """Asks, and changes nothing: mail programs and scanners open links by themselves."""
        link, person = _whose(region, UNSUBSCRIBE, token)
        if link is None or person is None:
            return _nothing()
        release = region.releases.live()
        return page("unsubscribe.html", controller=controller_of(release.playbook.app), channel=_title(release, link))

    @post("/{token:str}", sync_to_thread=True, status_code=200)
    def unsubscribe(self, region: Here, token: Token) -> Html:
        """Withdraws marketing in the channel of the link, or in all: at once, twice is once (RFC 8058).

        The body says `List-Unsubscribe=One-Click`; no withdrawal is turned away for how it is worded: any post does.
        """
        link, person = _whose(region, UNSUBSCRIBE, token)
        if link is None or person is None:
            return _nothing()
        release = region.releases.live()
        # Offers may rest on other purposes too; who wants no more messages ends all of them in this channel.
        purposes = tuple(dict.fromkeys((MARKETING, *release.brain.purposes)))
        channel, now_ms = link.channel or ANY_CHANNEL, region.clock.now_ms()
        where = (ANY_CHANNEL, *release.brain.channels) if channel == ANY_CHANNEL else (channel,)
        words = [
            Word("withdrawn", purpose, (channel,), evidence="one-click unsubscribe (RFC 8058)")
            for purpose in purposes
            if any(consent_status(person.consents, purpose, one, now_ms) != "withdrawn" for one in where)
        ]
        _record(region, person.id, words, UNSUBSCRIBE_SOURCE)
        return page("unsubscribed.html", controller=controller_of(release.playbook.app), channel=_title(release, link))


def _whose(region: Region, kind: str, token: str) -> tuple[Link | None, Person | None]:
    link = opened(region.vault, kind, token, region.clock.now_ms())
    return link, None if link is None else lives_on(region.records.person, link.customer)


def _nothing() -> Html:
    return page("nothing.html", 404)


def _page(request: AnyRequest, region: Region, person: Person, saved: bool) -> Html:
    release = region.releases.live()
    groups = _groups(release, person, region.clock.now_ms(), gpc_sent(request.headers))
    return page(
        "preferences.html", controller=controller_of(release.playbook.app), groups=groups, saved=saved,
        gpc=gpc_sent(request.headers), some=any(one.on for group in groups for one in group.choices),
    )  # fmt: skip


def _groups(release: Release, person: Person, now_ms: int, gpc: bool) -> tuple[Group, ...]:
    refused: Collection[str] = release.playbook.app.privacy.gpc_purposes if gpc else ()
    purposes = tuple(dict.fromkeys((*release.brain.purposes, *refused)))
    rows: dict[str, list[Held]] = {purpose: [] for purpose in purposes}
    for row in held(person.consents, purposes, tuple(release.brain.channels), now_ms):
        if row.purpose in rows and row.channel in release.brain.channels and not row.controller:
            rows[row.purpose].append(row)
    return tuple(
        Group(*purpose_words(purpose), tuple(_choice(release, row) for row in found), purpose in refused)
        for purpose, found in rows.items()
    )


def _choice(release: Release, row: Held) -> Choice:
    title = release.brain.channels[row.channel].title
    return Choice(f"{row.purpose}/{row.channel}", title, row.status == "given", state_words(row))


def _saved(region: Region, token: str, stop: bool, ticked: Collection[object], shown: Collection[object]) -> Html:
    link, person = _whose(region, PREFERENCES, token)
    if link is None or person is None:
        return _nothing()
    release, now_ms = region.releases.live(), region.clock.now_ms()
    notice = notice_version([purpose_words(purpose) for purpose in release.brain.purposes])
    if stop:
        evidence = f"preference page, {notice}: stop everything"
        words = [Word("withdrawn", EVERYTHING, evidence=evidence, notice=notice)]
    else:
        words = _changes(release, person, now_ms, ticked, shown, notice)
    _record(region, person.id, words, PAGE_SOURCE)
    headers = {**HEADERS, "Location": f"/preferences/{token}?saved=1"}
    return Response("", status_code=303, media_type="text/html", headers=headers)


def _changes(
    release: Release, person: Person, now_ms: int, ticked: Collection[object], shown: Collection[object], notice: str
) -> list[Word]:
    """What the customer changed against what the page showed, where that is not so already.

    A box left as it was decides nothing: an old page that is sent again must not undo what was withdrawn since.
    """
    offered: Mapping[str, Held] = {
        f"{row.purpose}/{row.channel}": row
        for row in held(
            person.consents,
            tuple(dict.fromkeys((*release.brain.purposes, *release.playbook.app.privacy.gpc_purposes))),
            tuple(release.brain.channels), now_ms,
        )
        if not row.controller and row.channel in release.brain.channels and row.purpose != EVERYTHING
    }  # fmt: skip
    words = []
    for value, row in offered.items():
        now, before, is_given = value in ticked, value in shown, row.status == "given"
        if now != before and now != is_given:
            status, said = ("given", "ticked") if now else ("withdrawn", "no longer ticked")
            evidence = f"preference page, {notice}: {said}"
            words.append(
                Word(status, row.purpose, (row.channel,), evidence=evidence, notice=notice)  # type: ignore[arg-type]
            )
    return words


def _record(region: Region, customer: str, words: list[Word], source: str) -> None:
    if not words:
        return
    receipts = region.ingest.run([draft_of(word, customer, source, region.clock.new_id()) for word in words])
    if any(one.status not in ("accepted", "duplicate") for one in receipts):
        # The built-in contracts take every word of these pages; only a playbook's quality rules can refuse one.
        raise HttpProblem(503, "not_recorded", "this could not be recorded: the rules of the playbook refused it")


def _title(release: Release, link: Link) -> str | None:
    channel = None if link.channel is None else release.brain.channels.get(link.channel)
    return link.channel if channel is None else channel.title
