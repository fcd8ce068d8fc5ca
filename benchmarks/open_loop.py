"""An open-loop load generator: requests leave at their times whether or not answers came, and latency counts from then.

Whoever waits for an answer before the next request measures a server that is never overloaded.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

IDLE_MAX_S = 2.0
"""After so long without use a connection is not used again: servers close idle ones (uvicorn after 5 s)."""
CONNECTIONS_MAX = 4_000
TICK_S = 0.001


class Said(msgspec.Struct):
    """What is read of an answer."""

    disposition: str
    reason: str
    recorded: bool = True
    degraded: tuple[str, ...] = ()
    offer: Any = None
    grant: str | None = None


_DECODE = msgspec.json.Decoder(Said).decode


@dataclass(frozen=True)
class Arrival:
    """One request and its answer: times in seconds since the run began; `said` is None when it was none."""

    kind: str
    sent_s: float
    answered_s: float
    status: int
    said: Said | None

    @property
    def ms(self) -> float:
        return (self.answered_s - self.sent_s) * 1e3

    @property
    def decided(self) -> bool:
        """A recorded answer that came from the decision itself, not from a safe default."""
        return self.said is not None and self.said.recorded and self.said.disposition not in ("shed", "fallback")

    @property
    def real(self) -> bool:
        """Decided, and nothing was missing."""
        return self.decided and self.said is not None and not self.said.degraded


@dataclass(frozen=True)
class Kind:
    """Requests of one kind: their share, and the messages sent in turn."""

    name: str
    share: float
    messages: Sequence[bytes]


async def run(port: int, kinds: Sequence[Kind], per_second: float, seconds: float, seed: int) -> list[Arrival]:
    """Arrivals as a Poisson process of this rate; returns when every answer has come."""
    rng = random.Random(seed)
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = []
    found: list[Arrival] = []
    under_way: set[asyncio.Task[None]] = set()
    failed: list[BaseException] = []
    began = time.perf_counter()

    def reused() -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection that the server has not closed for having been idle, as a pool of connections gives it."""
        while idle:
            reader, writer, since_s = idle.pop()
            if time.perf_counter() - began - since_s < IDLE_MAX_S:
                return reader, writer
            writer.close()
        return None

    async def ask(kind: str, message: bytes, due_s: float) -> None:
        reader, writer = reused() or await asyncio.open_connection("127.0.0.1", port)
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        body = await reader.readexactly(length)
        answered_s = time.perf_counter() - began
        idle.append((reader, writer, answered_s))
        status = int(head[9:12])
        found.append(Arrival(kind, due_s, answered_s, status, _DECODE(body) if status == 200 else None))

    def ended(task: asyncio.Task[None]) -> None:
        under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            failed.append(error)

    names, shares = [kind.name for kind in kinds], [kind.share for kind in kinds]
    messages = {kind.name: kind.messages for kind in kinds}
    due_s = rng.expovariate(per_second)
    while due_s < seconds:
        if (wait_s := due_s - (time.perf_counter() - began)) > 0:
            await asyncio.sleep(max(wait_s, TICK_S))
        if failed:
            raise failed[0]
        now_s = time.perf_counter() - began
        while due_s <= now_s and due_s < seconds:
            kind = rng.choices(names, shares)[0]
            assert len(under_way) < CONNECTIONS_MAX, "the server does not answer"
            task = asyncio.create_task(ask(kind, rng.choice(messages[kind]), due_s))
            under_way.add(task)
            task.add_done_callback(ended)
            due_s += rng.expovariate(per_second)
    await asyncio.gather(*under_way)
    for _, writer, _ in idle:
        writer.close()
    return sorted(found, key=lambda one: one.sent_s)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
