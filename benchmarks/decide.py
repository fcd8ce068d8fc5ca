"""What a decision costs: 50 candidates x 20 policies x 40 features, recorded before the answer.

In process and over HTTP, beside a bare handler on the same HTTP stack in the same run; then at a share of what one core
can decide, with requests that leave at their times whether or not answers came.
Run: `python -m benchmarks.decide [--seconds 5] [--json]`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import load, open_loop, synthetic
from benchmarks.serving import serve_app
from opportune.core.decisions.questions import Question, Who
from opportune.doors.http.app import build_app
from opportune.doors.http.hot import AsgiApp, Receive, Scope, Send, read_body, respond
from opportune.doors.http.keys import ALL_SCOPES, Keyring
from opportune.flows.region import Region
from opportune.testing.approving import approve_all
from opportune.wiring import open_region

CUSTOMERS = 2_000
REGION = "eu"
PORT = 7491
BUDGET_MS = 5_000
"""Nobody's time runs out where costs are compared: what is compared are whole decisions."""
NO_ANSWERS = (b'"disposition":"shed"', b'"disposition":"fallback"', b'"recorded":false', b'"degraded":')
"""Answers that are no whole decisions count as errors."""
LOAD_SHARE = 0.6


def prepare(folder: Path) -> Region:
    """A region with the synthetic playbook, model and customers."""
    region = open_region(folder, "bench", REGION)
    book = synthetic.playbook()
    card = synthetic.scorecard(book)
    approve_all(region, [card])
    release = region.release(book, [card])
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


def serve(folder: str, port: int, ready: Event, core: int | None = None) -> None:
    """The server process: the same application as `opportune serve`, and the bare handler in front; on one core if
    told which."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    region = prepare(Path(folder))
    app = bare(build_app(lambda: region, Keyring({"bench": ALL_SCOPES})))
    serve_app(app, port, ready)


def in_process(region: Region, seconds: float) -> dict[str, float]:
    """One at a time, then 64 outstanding."""
    questions = [
        Question(Who(id=f"c{number % CUSTOMERS}"), synthetic.MOMENT, context={"used": 3}, budget_ms=BUDGET_MS)
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


def bodies(budget_ms: int | None) -> list[bytes]:
    """A question about every customer; with the moment's own budget if none is given."""
    more = {} if budget_ms is None else {"budget_ms": budget_ms}
    return [
        msgspec.json.encode(
            {"customer": {"id": f"c{n}"}, "moment": synthetic.MOMENT, "context": {"used": 3}, **more}
        )
        for n in range(CUSTOMERS)
    ]


@contextmanager
def served(core: int | None = None) -> Iterator[int]:
    """A server process; gives its id."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ready = context.Event()
        process = context.Process(target=serve, args=(folder, PORT, ready, core), daemon=True)
        process.start()
        assert ready.wait(60), "the server did not start"
        yield process.pid or 0
        process.terminate()
        process.join(10)


def over_http(seconds: float, connections: Sequence[int]) -> dict[str, Any]:
    """The bare handler and decisions on the same server process, alternating."""
    body = bodies(BUDGET_MS)
    decisions = [load.request("/v1/decisions", one) for one in body]
    hello = [load.request("/bare", body[0])]
    found: dict[str, Any] = {}
    with served() as pid:
        load.run(PORT, pid, decisions, 8, 1.0)
        for count in connections:
            base = load.run(PORT, pid, hello, count, seconds)
            ours = load.run(PORT, pid, decisions, count, seconds, NO_ANSWERS)
            found[f"{count} connections"] = {
                "bare": base.__dict__,
                "decide": ours.__dict__,
                "throughput_ratio": base.per_second / ours.per_second,
                "cpu_ratio": ours.server_cpu_us / base.server_cpu_us,
            }
    return found


def on_one_core(seconds: float) -> dict[str, float]:
    """Latency at LOAD_SHARE of what one core can decide, from the moment each request was due; the load comes from
    another core. Nothing has more than the moment's own budget."""
    cores = sorted(os.sched_getaffinity(0))
    assert len(cores) > 1, "the load needs a core of its own"
    patient = [load.request("/v1/decisions", one) for one in bodies(BUDGET_MS)]
    usual = [load.request("/v1/decisions", one) for one in bodies(None)]
    os.sched_setaffinity(0, set(cores[1:]))
    try:
        with served(cores[0]) as pid:
            load.run(PORT, pid, patient, 8, 1.0)
            most = load.run(PORT, pid, patient, 64, seconds, NO_ANSWERS)
            rate = most.per_second * LOAD_SHARE
            before = load.cpu_seconds(pid)
            arrivals = asyncio.run(open_loop.run(PORT, [open_loop.Kind("decide", 1.0, usual)], rate, seconds, seed=1))
            cpu = load.cpu_seconds(pid) - before
    finally:
        os.sched_setaffinity(0, set(cores))
    times = [one.ms for one in arrivals]
    return {
        "capacity_per_second": most.per_second,
        "per_second": rate,
        "busy": cpu / seconds,
        "undecided": sum(not one.real for one in arrivals),
        **{f"p{share:g}_ms": open_loop.percentile(times, share / 100) for share in (50, 99, 99.9)},
    }


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
    found["one_core"] = on_one_core(2 * options.seconds)
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
    core = found["one_core"]
    print(
        f"one core: {core['capacity_per_second']:.0f}/s at most; at {LOAD_SHARE:.0%} of that "
        f"({core['per_second']:.0f}/s, {core['busy']:.0%} busy): "
        f"p50 {core['p50_ms']:.2f} ms  p99 {core['p99_ms']:.2f} ms  p99.9 {core['p99.9_ms']:.2f} ms  "
        f"undecided {core['undecided']}"
    )


if __name__ == "__main__":
    main()
