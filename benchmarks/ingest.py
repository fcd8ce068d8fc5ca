"""Signals per second over HTTP, durable at the answer, beside a raw SQLite group commit of the same bytes.

Batches of 100 and singly, against the server as `opportune serve` runs it, on the saas sample (23 schemas, 36
features, sealing, ledger). The raw side appends the same events to one table, as many a transaction as callers wait
at once, write-ahead log and synchronous=FULL. Then the server's memory while it takes a million signals.
Run: `python -m benchmarks.ingest [--seconds 10] [--million 1000000] [--json]`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

from benchmarks.load import cpu_seconds

CUSTOMERS = 20_000
ACCOUNTS = 4_000
BATCH = 100
BATCH_CONNECTIONS = 8
SINGLE_CONNECTIONS = 64
OPPORTUNE = str(Path(sys.executable).with_name("opportune"))
START = time.time() - 86_400


def events(mark: str) -> Iterator[bytes]:
    """CloudEvents of a day, three kinds, ids never twice."""
    for number in count():
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START + number % 86_400))
        customer, account = number % CUSTOMERS, number % ACCOUNTS
        head = (
            f'{{"specversion":"1.0","id":"{mark}-{number}","source":"bench/product","time":"{stamp}",'
            f'"subject":"user-{customer}","account":"acme-{account}",'
        )
        kind = number % 10
        if kind == 0:
            rest = f'"type":"seats.counted","data":{{"used":{number % 40},"seats":40}}}}'
        elif kind < 3:
            rest = '"type":"page.viewed","data":{"name":"pricing"}}'
        else:
            rest = f'"type":"usage.recorded","data":{{"feature":"boards","count":{1 + number % 9}}}}}'
        yield (head + rest).encode()


def batches(mark: str, size: int) -> Iterator[bytes]:
    found = events(mark)
    while True:
        yield b"[" + b",".join(islice(found, size)) + b"]"


class Served:
    """`opportune serve` on a fresh copy of the sample."""

    def __init__(self, folder: Path) -> None:
        book = folder / "book"
        subprocess.run([OPPORTUNE, "init", str(book), "--sample", "saas"], check=True, capture_output=True)
        command = [OPPORTUNE, "serve", "--port", "0", "--json", "--playbook", str(book)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = self.process.stdout.readline()
            assert line, "the server did not start"
            text += line
        told = json.loads(text)
        self.port = int(told["url"].rpartition(":")[2])
        self.key = str(json.loads(Path(told["keys"]).read_text())["api_key"])
        self.store = book / ".opportune"

    def memory_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * 4096 / 1e6

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


async def post(served: Served, bodies: Iterator[bytes], kind: bytes, size: int, connections: int, until: float,
               most: int | None = None) -> dict[str, float]:  # fmt: skip
    """Posts until the time is over or `most` signals are in; each body holds `size` signals."""
    head = (
        f"POST /v1/signals HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {served.key}\r\n"
        f"content-type: {kind.decode()}\r\ncontent-length: "
    ).encode()
    latencies: list[float] = []
    refused = 0
    cpu, began = cpu_seconds(served.process.pid), time.perf_counter()

    async def client() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        while time.perf_counter() - began < until and (most is None or len(latencies) * size < most):
            body = next(bodies)
            sent = time.perf_counter()
            writer.write(head + str(len(body)).encode() + b"\r\n\r\n" + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
            told = await reader.readexactly(length)
            latencies.append(time.perf_counter() - sent)
            refused += b'"accepted":%d,' % size not in told
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    took, signals = time.perf_counter() - began, len(latencies) * size
    latencies.sort()
    return {
        "signals": signals, "seconds": took, "per_second": signals / took, "not_accepted": refused,
        "p50_ms": latencies[len(latencies) // 2] * 1e3, "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
        "server_cpu_us": (cpu_seconds(served.process.pid) - cpu) / signals * 1e6,
    }  # fmt: skip


def raw(folder: Path, size: int, seconds: float) -> float:
    """Events per second of a plain table, `size` of them a transaction, every transaction synced."""
    connection = sqlite3.connect(folder / f"raw-{size}.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    found, written, began = events("raw"), 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        rows = [(body,) for body in islice(found, size)]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO events (body) VALUES (?)", rows)
        connection.execute("COMMIT")
        written += size
    took = time.perf_counter() - began
    connection.close()
    return written / took


def measure(seconds: float, million: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served = Served(folder)
        warm = asyncio.run(post(served, batches("warm", BATCH), b"application/cloudevents-batch+json", BATCH,
                                BATCH_CONNECTIONS, 60, CUSTOMERS))  # fmt: skip
        assert not warm["not_accepted"], "the server kept signals out"
        batch = asyncio.run(post(served, batches("batch", BATCH), b"application/cloudevents-batch+json", BATCH,
                                 BATCH_CONNECTIONS, seconds))  # fmt: skip
        single = asyncio.run(post(served, events("single"), b"application/cloudevents+json", 1, SINGLE_CONNECTIONS,
                                  seconds))  # fmt: skip
        found["batches of 100"] = {**batch, "raw_per_second": raw(folder, BATCH * BATCH_CONNECTIONS, seconds / 2)}
        found["singly"] = {**single, "raw_per_second": raw(folder, SINGLE_CONNECTIONS, seconds / 2)}
        for one in (found["batches of 100"], found["singly"]):
            one["ratio"] = one["per_second"] / one["raw_per_second"]
        found["memory"] = memory(served, million)
        served.stop()
    return found


def memory(served: Served, million: int) -> list[tuple[int, float, float]]:
    """(signals so far, resident MB, signals per second) for each tenth."""
    told, bodies, done = [], batches("million", BATCH), 0
    while done < million:
        part = asyncio.run(post(served, bodies, b"application/cloudevents-batch+json", BATCH, BATCH_CONNECTIONS,
                                3600, max(BATCH, million // 10)))  # fmt: skip
        assert not part["not_accepted"], "the server kept signals out"
        done += int(part["signals"])
        told.append((done, served.memory_mb(), part["per_second"]))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--million", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.seconds, options.million)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for name in ("batches of 100", "singly"):
        one = found[name]
        print(
            f"{name:>15}  {one['per_second']:8.0f} signals/s  {one['server_cpu_us']:5.0f} µs CPU  p50 "
            f"{one['p50_ms']:.1f} ms  p99 {one['p99_ms']:.1f} ms   raw SQLite {one['raw_per_second']:8.0f}/s, "
            f"ratio {one['ratio']:.3f}   not accepted {one['not_accepted']}"
        )
    for done, resident, per_second in found["memory"]:
        print(f"{done:>12,} signals  {resident:7.0f} MB resident  {per_second:8.0f}/s")


if __name__ == "__main__":
    main()
