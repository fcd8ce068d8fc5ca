"""A load generator over plain sockets: keep-alive connections that each send the next request on the answer."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """What a run of requests showed; times in ms, server CPU in µs per request."""

    requests: int
    seconds: float
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    server_cpu_us: float


def request(path: str, body: bytes, method: str = "POST", key: str = "bench") -> bytes:
    """The bytes of one HTTP/1.1 request."""
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def run(
    port: int, pid: int, requests: Sequence[bytes], connections: int, seconds: float, refused: Sequence[bytes] = ()
) -> Load:
    """Sends `requests` round robin over `connections` for `seconds`; an answer with any of `refused` in it is an
    error, as is one that is not 200."""
    return asyncio.run(_run(port, pid, requests, connections, seconds, refused))


async def _run(
    port: int, pid: int, requests: Sequence[bytes], connections: int, seconds: float, refused: Sequence[bytes]
) -> Load:
    latencies: list[float] = []
    errors = 0
    position = 0
    end = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal errors, position
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            message = requests[position % len(requests)]
            position += 1
            began = time.perf_counter()
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
            body = await reader.readexactly(length)
            latencies.append(time.perf_counter() - began)
            errors += head[9:12] != b"200" or any(one in body for one in refused)
        writer.close()

    cpu_before, began = cpu_seconds(pid), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    took, cpu = time.perf_counter() - began, cpu_seconds(pid) - cpu_before
    latencies.sort()
    count = len(latencies)
    return Load(
        count, took, count / took, latencies[count // 2] * 1e3, latencies[int(count * 0.99)] * 1e3, errors,
        cpu / count * 1e6,
    )  # fmt: skip


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
