"""A small HTTP/1.1 client over asyncio streams: kept connections, JSON posts, nothing else."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import msgspec

CONNECTIONS_MAX = 32
ANSWER_WAIT_MAX_S = 15.0
IDLE_MAX_S = 2.0
"""A connection that rested longer may be closed by the server just as it is used: it is let go."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class WireError(Exception):
    """The server did not answer as HTTP."""


class Wire:
    """Posts to one server with one key; connections are opened as needed and used again."""

    def __init__(self, host: str, port: int, key: str) -> None:
        self._host, self._port = host, port
        self._head = (
            f" HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        ).encode()
        self._idle: list[tuple[float, Connection]] = []
        self._places = asyncio.Semaphore(CONNECTIONS_MAX)

    async def post(self, path: str, body: object) -> tuple[int, Any]:
        """(status, decoded JSON); WireError or OSError when there is no answer."""
        data = msgspec.json.encode(body)
        request = b"POST " + path.encode() + self._head + f"content-length: {len(data)}\r\n\r\n".encode() + data
        async with self._places:
            reader, writer = self._rested() or await asyncio.open_connection(self._host, self._port)
            try:
                writer.write(request)
                status, answer = await asyncio.wait_for(_answer(reader), ANSWER_WAIT_MAX_S)
            except BaseException:
                writer.close()
                raise
            self._idle.append((monotonic(), (reader, writer)))
        return status, msgspec.json.decode(answer) if answer else None

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[1][1].close()

    def _rested(self) -> Connection | None:
        """The connection used last, unless it rested too long; then so did all the others."""
        if self._idle and monotonic() - self._idle[-1][0] > IDLE_MAX_S:
            self.close()
        return self._idle.pop()[1] if self._idle else None


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise WireError("the server closed the connection") from None
    first, *lines = head.decode("latin-1").split("\r\n")
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(first.split(" ", 2)[1]), await reader.readexactly(int(value))
    raise WireError("the answer has no length")
