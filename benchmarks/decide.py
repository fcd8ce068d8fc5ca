"""What a decision costs: 50 candidates x 20 policies x 40 features, recorded before the answer.

In process and over HTTP, beside a bare handler on the same HTTP stack in the same run.
Run: `python -m benchmarks.decide [--seconds 5] [--json]`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
import uvloop

from benchmarks import load, synthetic
from opportune.core.decisions.questions import Question, Who
from opportune.doors.http.app import build_app
from opportune.doors.http.hot import AsgiApp, Receive, Scope, Send, read_body, respond
from opportune.doors.http.keys import ALL_SCOPES, Keyring
from opportune.flows.region import Region
from opportune.wiring import open_region

CUSTOMERS = 2_000
REGION = "eu"


def prepare(folder: Path) -> Region:
    """A region with the synthetic playbook, model and customers."""
    region = open_region(folder, "bench", REGION)
    book = synthetic.playbook()
    release = region.release(book, [synthetic.scorecard(book)])
    region.promote(release.hash, "bench", "bench")
    drafts = synthetic.history(CUSTOMERS, now_ms=region.clock.now_ms())
    for start in range(0, len(drafts), 500):
        region.ingest.run(drafts[start : start + 500])
    region.start()
    return region


def bare(behind: AsgiApp) -> AsgiApp:
    """`/bare` reads a JSON body and answers 1 kB of JSON, as a hello-world handler would; the rest passes on."""
    answer = msgspec.json.encode({"hello": "world", "padding": "x" * 1000})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/bare":
            msgspec.json.decode(await read_body(receive, {}))
            await respond(send, 200, answer, b"application/json")
            return
        await behind(scope, receive, send)

    return app


def serve(folder: str, port: int, ready: Any) -> None:  # noqa: ANN401
    """The server process: the same application as `opportune serve`, and the bare handler in front."""
    region = prepare(Path(folder))
    app = bare(build_app(lambda: region, Keyring({"bench": ALL_SCOPES})))
    config = uvicorn.Config(app, port=port, log_level="error", access_log=False, lifespan="off", loop="none")
    server = uvicorn.Server(config)

    async def run() -> None:
        asyncio.get_running_loop().call_later(0.3, ready.set)
        await server.serve()

    uvloop.run(run())


def in_process(region: Region, seconds: float) -> dict[str, float]:
    """One at a time, then 64 outstanding."""
    questions = [
        Question(Who(id=f"c{number % CUSTOMERS}"), synthetic.MOMENT, context={"used": 3}, budget_ms=5000)
        for number in range(CUSTOMERS)
    ]
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < end:
        began = time.perf_counter()
        region.decide.run(questions[number % CUSTOMERS])
        latencies.append(time.perf_counter() - began)
        number += 1
    latencies.sort()
    count, cpu, took = outstanding(region, questions, seconds)
    return {
        "one_at_a_time_p50_ms": latencies[len(latencies) // 2] * 1e3,
        "one_at_a_time_p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
        "per_second": count / took,
        "cpu_us": cpu / count * 1e6,
    }


def outstanding(region: Region, questions: Sequence[Question], seconds: float) -> tuple[int, float, float]:
    """Decisions made with 64 under way; (how many, CPU seconds, seconds)."""
    places = threading.Semaphore(64)
    failed: list[BaseException] = []

    def done(outcome: object) -> None:
        places.release()
        if isinstance(outcome, BaseException):
            failed.append(outcome)

    count = 0
    cpu, began = time.process_time(), time.perf_counter()
    while time.perf_counter() - began < seconds:
        places.acquire()
        region.decide.submit(questions[count % len(questions)], done)
        count += 1
    for _ in range(64):
        places.acquire()
    if failed:
        raise failed[0]
    return count, time.process_time() - cpu, time.perf_counter() - began


def over_http(seconds: float, connections: Sequence[int]) -> dict[str, Any]:
    """The bare handler and decisions on the same server process, alternating."""
    body = [
        msgspec.json.encode({"customer": {"id": f"c{n}"}, "moment": synthetic.MOMENT, "context": {"used": 3}})
        for n in range(CUSTOMERS)
    ]
    context = multiprocessing.get_context("spawn")
    port = 7491
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        ready = context.Event()
        process = context.Process(target=serve, args=(folder, port, ready), daemon=True)
        process.start()
        assert ready.wait(60), "the server did not start"
        pid = process.pid or 0
        decisions = [load.request("/v1/decisions", one) for one in body]
        hello = [load.request("/bare", body[0])]
        load.run(port, pid, decisions, 8, 1.0)
        for count in connections:
            base = load.run(port, pid, hello, count, seconds)
            ours = load.run(port, pid, decisions, count, seconds)
            found[f"{count} connections"] = {
                "bare": base.__dict__,
                "decide": ours.__dict__,
                "throughput_ratio": base.per_second / ours.per_second,
                "cpu_ratio": ours.server_cpu_us / base.server_cpu_us,
            }
        process.terminate()
        process.join(10)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        region = prepare(Path(folder))
        found: dict[str, Any] = {"in_process": in_process(region, options.seconds)}
        region.close()
    found["http"] = over_http(options.seconds, (1, 16, 64))
    if options.json:
        print(json.dumps(found, indent=1))
        return
    inside = found["in_process"]
    print("50 candidates x 20 policies x 40 features, recorded and in the ledger before the answer")
    print(
        f"in process     {inside['per_second']:8.0f}/s   {inside['cpu_us']:6.0f} µs CPU   one at a time: "
        f"p50 {inside['one_at_a_time_p50_ms']:.2f} ms  p99 {inside['one_at_a_time_p99_ms']:.2f} ms"
    )
    for name, pair in found["http"].items():
        for kind in ("bare", "decide"):
            one = pair[kind]
            print(
                f"{name:>15} {kind:>7} {one['per_second']:8.0f}/s   {one['server_cpu_us']:6.0f} µs CPU   "
                f"p50 {one['p50_ms']:.2f} ms  p99 {one['p99_ms']:.2f} ms  errors {one['errors']}"
            )
        print(
            f"{'':>15}  a decision costs {pair['cpu_ratio']:.2f} bare requests of CPU, "
            f"{pair['throughput_ratio']:.2f} of throughput"
        )


if __name__ == "__main__":
    main()
