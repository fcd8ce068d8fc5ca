"""Opportune beside the "glue it yourself" stack: FastAPI + Feast + Cedar + an MLflow pyfunc + SQLite, in one run.

The same customers, features, policies, offers and model (benchmarks/synthetic.py); the allowed offers and their values
are compared for a sample before anything is timed. Both servers have the same single core, in turns; whoever sends the
requests, and Redis, have the others.
Run: `python -m benchmarks.glue --peers FOLDER [--online sqlite|redis] [--seconds 5] [--json]`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import decide, load, synthetic
from benchmarks.feature_reads import redis_server
from benchmarks.peers.environment import GLUE_REQUIREMENTS, NoPeers, python_of
from opportune.core.bitsets import indices
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.masks import mask_of
from opportune.core.decisions.questions import Question, Who
from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.models import AdditiveHead

PEER = Path(__file__).parent / "peers" / "glue_peer.py"
CONNECTIONS = (1, 16, 64)
COMPARED = 200
START_SECONDS = 120
SERVER_CORE = 0
BUDGET_MS = 10_000
"""Nobody's time runs out: what is compared are whole decisions."""
HOW = {"async": "in the event loop", "threads": "in FastAPI's threads"}
NO_ANSWERS = (b'"disposition":"shed"', b'"disposition":"fallback"', b'"recorded":false', b'"degraded":')
"""Answers of Opportune that are no whole decisions count as errors."""


def problem(folder: Path) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """(what the peer needs, per customer what Opportune's record allows and what that is worth).

    The features are those that the decisions saw, so that both sides decide on the same numbers.
    """
    region = decide.prepare(folder)
    answers = [region.decide.run(_question(number)) for number in range(decide.CUSTOMERS)]
    found = [region.records.decision(one.decision_id) for one in answers]
    records = [decode_record(one.record) for one in found if one is not None]
    brain = region.releases.live().brain
    types = {name: brain.views.types[name] for name in brain.views.names}
    consents = {f"consent_{channel}": "string" for channel in synthetic.CHANNELS}
    rows = [
        [f"c{number}", *(one.seen.features[name] for name in types),
         *(one.seen.consents[f"marketing/{channel}"] for channel in synthetic.CHANNELS)]
        for number, one in enumerate(records)
    ]  # fmt: skip
    given = {
        "types": {**types, **consents},
        "rows": rows,
        "candidates": _candidates(brain),
        "card": _card(),
    }
    allowed = [_allowed(brain, one) for one in records]
    region.close()
    return given, allowed


def _question(number: int) -> Question:
    return Question(Who(id=f"c{number}"), synthetic.MOMENT, context={"used": 3}, budget_ms=5000)


def _allowed(brain: Brain, record: DecisionRecord) -> dict[str, float]:
    scored = record.result.scored
    ids = (brain.candidates[place].id for place in indices(mask_of(scored.left)))
    return dict(zip(ids, scored.values, strict=True))


def _candidates(brain: Brain) -> list[dict[str, Any]]:
    return [
        {
            "id": one.id,
            "offer_number": brain.offer_of[one.index],
            "price": int(one.offer.price.amount),
            "tier": one.offer.attributes["tier"],
            "family": one.offer.attributes["family"],
            "kind": one.offer.kind,
            "channel": one.channel.channel,
            "margin": one.offer.margin,
            "cost": one.offer.contact_cost + one.channel.contact_cost,
        }
        for one in brain.candidates
    ]


def _card() -> dict[str, Any]:
    card = synthetic.scorecard(synthetic.playbook())

    def heads(take: Any) -> list[list[Any]]:  # noqa: ANN401
        return [[take(one) for one in (heads.offered, heads.baseline, heads.log_variance)] for heads in card.offers]

    def parts(head: AdditiveHead) -> list[list[float]]:
        return [list(part) for part in head.parts]

    return {
        "features": [table.name for table in card.features],
        "edges": list(card.features[0].edges),
        "bases": heads(lambda head: head.base),
        "parts": heads(parts),
    }


# --- servers ---------------------------------------------------------------------------------------------------------


@contextmanager
def opportune(folder: Path, port: int) -> Iterator[int]:
    """Opportune's server on its core; gives its process id."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=decide.serve, args=(str(folder / "ours"), port, ready, SERVER_CORE), daemon=True)
    process.start()
    try:
        if not ready.wait(START_SECONDS):
            raise SystemExit("Opportune's server did not start")
        yield process.pid or 0
    finally:
        process.terminate()
        process.join(10)


@contextmanager
def glue(python: Path, given: Path, folder: Path, online: dict[str, str], port: int, mode: str) -> Iterator[int]:
    """The peer's server on the same core; gives its process id."""
    command = [str(python), str(PEER), str(given), str(folder), json.dumps(online), str(port), mode]
    log = given.with_suffix(".log")
    with log.open("w") as told:
        process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), *command], stdout=told, stderr=subprocess.STDOUT
        )
    try:
        _await(process, port, log)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise NoPeers(f"the glue stack ended with {process.returncode}: {_last(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise NoPeers(f"the glue stack did not answer within {START_SECONDS} s: {_last(log)}")


def _last(log: Path) -> str:
    return " | ".join(log.read_text().splitlines()[-3:])


def compare(port: int, allowed: Sequence[dict[str, float]]) -> int:
    """How many customers were compared; SystemExit when a set or a value differs."""
    for number, ours in enumerate(allowed[:COMPARED]):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/check/c{number}", timeout=30) as answer:
            theirs = json.load(answer)
        if set(theirs) != set(ours):
            raise SystemExit(f"customer c{number}: the peer allows {sorted(set(theirs) ^ set(ours))} otherwise")
        for candidate, value in ours.items():
            if abs(theirs[candidate] - value) > 1e-3:
                raise SystemExit(f"customer c{number}: `{candidate}` is worth {value}, to the peer {theirs[candidate]}")
    return min(COMPARED, len(allowed))


def run(python: Path, online: str, mode: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Both servers in turns, each alone on its core while it is asked."""
    bodies = [
        msgspec.json.encode(
            {"customer": {"id": f"c{n}"}, "moment": synthetic.MOMENT, "context": {"used": 3}, "budget_ms": BUDGET_MS}
        )
        for n in range(decide.CUSTOMERS)
    ]
    requests = [load.request("/v1/decisions", one) for one in bodies]
    others = set(range(os.cpu_count() or 1)) - {SERVER_CORE}
    found: dict[str, Any] = {"online": online, "mode": mode, "cores": os.cpu_count(), "connections": {}}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        given, allowed = problem(folder / "problem")
        found["allowed_mean"] = statistics.fmean(map(len, allowed))
        (folder / "problem.json").write_text(json.dumps(given))
        if others:
            os.sched_setaffinity(0, others)  # Redis and the load generator: not on the server's core
        kind = {"type": "sqlite", "path": str(folder / "online.db")}
        if online == "redis":
            kind = {"type": "redis", "connection_string": stack.enter_context(redis_server(folder))}
        theirs = stack.enter_context(glue(python, folder / "problem.json", folder / "glue", kind, 7493, mode))
        found["versions"] = json.loads((folder / "problem.log").read_text().splitlines()[-1])
        found["compared"] = compare(7493, allowed)
        ours = stack.enter_context(opportune(folder, 7492))
        sides = {"opportune": (7492, ours), "glue": (7493, theirs)}
        for port, pid in sides.values():
            load.run(port, pid, requests, 8, 1.0)
        for count in CONNECTIONS:
            runs: dict[str, list[load.Load]] = {name: [] for name in sides}
            for _ in range(rounds):
                for name, (port, pid) in sides.items():
                    runs[name].append(load.run(port, pid, requests, count, seconds, NO_ANSWERS))
            found["connections"][count] = {
                name: max(ones, key=lambda one: one.per_second).__dict__ for name, ones in runs.items()
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, required=True, help="folder for the peers' throw-away environment")
    parser.add_argument("--online", choices=("sqlite", "redis"), default="redis", help="Feast's online store")
    parser.add_argument("--mode", choices=("async", "threads"), default="threads", help="how FastAPI runs it")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        python = python_of(options.peers, GLUE_REQUIREMENTS, "glue")
        found = run(python, options.online, options.mode, options.seconds, options.rounds)
    except NoPeers as error:
        sys.exit(f"the glue stack cannot run here: {error}")
    if options.json:
        print(json.dumps(found, indent=1))
        return
    show(found)


def show(found: dict[str, Any]) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    print(f"50 candidates x 20 policies x 40 features; {versions}")
    print(f"Feast on {found['online']}; the glue's endpoint runs {HOW[found['mode']]}")
    print(
        f"{found['compared']} customers compared: the same offers allowed ({found['allowed_mean']:.1f} on average), "
        "the same values"
    )
    for count, sides in found["connections"].items():
        for name, one in sides.items():
            print(
                f"{count:>3} connections {name:>10} {one['per_second']:8.0f}/s  {one['server_cpu_us']:7.0f} µs CPU  "
                f"p50 {one['p50_ms']:8.2f} ms  p99 {one['p99_ms']:8.2f} ms  errors {one['errors']}"
            )
        ours, theirs = sides["opportune"], sides["glue"]
        print(
            f"{'':>15} Opportune has {ours['per_second'] / theirs['per_second']:.1f} times the throughput, at "
            f"{theirs['server_cpu_us'] / ours['server_cpu_us']:.1f} times less CPU per decision"
        )


if __name__ == "__main__":
    main()
