"""The live stream: one beat per interval with new rows and figures, as server-sent events for htmx."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from litestar.exceptions import TooManyRequestsException
from litestar.response.sse import ServerSentEventMessage

from opportune.views import LiveView

BEATS_MAX = 900
"""A stream ends after so many beats; the page connects again, and its session is looked at again."""


class Streams:
    """How many streams are open; each costs one look at the store per beat."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = 0

    def enter(self) -> None:
        if self._open >= self._most:
            raise TooManyRequestsException(f"{self._most} live pages are open already: close one")
        self._open += 1

    def leave(self) -> None:
        self._open -= 1


def following(
    streams: Streams,
    look: Callable[[], LiveView],
    draw: Callable[[LiveView, int], str],
    after: str,
    every_s: float,
    stopping: Callable[[], bool],
) -> AsyncIterator[ServerSentEventMessage]:
    """Beats from the decision `after` on. `draw` is told how many of the view's rows are new, -1 for all.

    Raises TooManyRequestsException at once, before the response begins.
    """
    streams.enter()
    return _beats(streams, look, draw, after, every_s, stopping)


async def _beats(
    streams: Streams,
    look: Callable[[], LiveView],
    draw: Callable[[LiveView, int], str],
    after: str,
    every_s: float,
    stopping: Callable[[], bool],
) -> AsyncIterator[ServerSentEventMessage]:
    def beat(newest: str) -> tuple[str, str]:
        view = look()
        return draw(view, fresh_rows([row.id for row in view.rows], newest)), view.rows[0].id if view.rows else ""

    try:
        for _ in range(BEATS_MAX):
            if stopping():
                return
            text, after = await asyncio.to_thread(beat, after)
            yield ServerSentEventMessage(data=text, id=after or None)
            await asyncio.sleep(every_s)
    finally:
        streams.leave()


def fresh_rows(ids: list[str], newest: str) -> int:
    """How many ids, the newest first, come before the one known as newest; -1 when none of them is known."""
    return ids.index(newest) if newest in ids else -1 if ids else 0
