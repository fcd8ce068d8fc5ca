"""Three and ten times the load that can be decided: who is still decided, who is shed, and how soon it is over.

The model takes some milliseconds per decision in places of its own, as one over the network does, so that one machine
can make ten times the load. Run: `python -m benchmarks.overload [--seconds 10] [--cost-ms 40] [--budget-ms 200]
[--json]`; where others work too, with longer times and so less load: `--cost-ms 400 --budget-ms 2000`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from bisect import bisect_left
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from benchmarks import load, synthetic
from benchmarks.open_loop import Arrival, Kind, percentile, run
from benchmarks.serving import serve_app
from opportune.core.catalog import Moment, PriorityClass
from opportune.core.playbook import Playbook
from opportune.doors.http.app import build_app
from opportune.doors.http.keys import ALL_SCOPES, Keyring
from opportune.flows.admission import SHARES
from opportune.flows.guarded import with_model
from opportune.flows.region import Region
from opportune.testing.approving import approve_all
from opportune.testing.faults import FaultyModel, Switch
from opportune.wiring import open_region

CUSTOMERS = 2_000
PORT = 7493
ALLOWED_MS = 20
"""An answer later than its budget and this counts as late."""
MIX: dict[PriorityClass, float] = {"critical": 0.05, "interactive": 0.15, "standard": 0.30, "batch": 0.50}
BASE = 0.5
"""The load before and after, of what can be decided."""
RECOVERY_S = 8.0
WINDOW_S = 0.5


def book(budget_ms: int) -> Playbook:
    """The synthetic playbook with a moment of each class."""
    made = synthetic.playbook()
    moments = tuple(
        Moment(moment=name, title=name, channels=("in_app",), priority=name, budget_ms=budget_ms) for name in SHARES
    )
    return msgspec.structs.replace(made, app=msgspec.structs.replace(made.app, moments=moments))


def prepare(folder: Path, budget_ms: int) -> Region:
    """A region with the synthetic model and customers."""
    region = open_region(folder, "bench", "eu")
    made = book(budget_ms)
    approve_all(region, [card := synthetic.scorecard(made)])
    region.promote(region.release(made, [card]).hash, "bench", "bench")
    drafts = synthetic.history(CUSTOMERS, now_ms=region.clock.now_ms())
    for start in range(0, len(drafts), 500):
        region.ingest.run(drafts[start : start + 500])
    region.start()
    return region


def serve(folder: str, cost_s: float, budget_ms: int, ready: Event) -> None:
    """The server process: the application of `opportune serve`, with a model that takes its time."""
    region = prepare(Path(folder), budget_ms)
    brain = region.releases.brain()
    assert brain.model is not None
    slow = with_model(brain, FaultyModel(Switch(), brain.model, cost_s))
    region.decide = msgspec.structs.replace(region.decide, brain=lambda: slow)
    serve_app(build_app(lambda: region, Keyring({"bench": ALL_SCOPES})), PORT, ready)


def kinds() -> list[Kind]:
    def messages(moment: str) -> list[bytes]:
        bodies = [{"customer": {"id": f"c{number}"}, "moment": moment} for number in range(CUSTOMERS)]
        return [load.request("/v1/decisions", msgspec.json.encode(body)) for body in bodies]

    return [Kind(name, share, messages(name)) for name, share in MIX.items()]


def by_class(arrivals: Sequence[Arrival], budget_ms: int) -> dict[str, dict[str, float]]:
    """What became of each class."""
    found: dict[str, dict[str, float]] = {}
    for name in SHARES:
        own = [one for one in arrivals if one.kind == name]
        count = len(own) or 1
        found[name] = {
            "sent": len(own),
            "real": sum(one.real for one in own) / count,
            "degraded": sum(one.decided and not one.real for one in own) / count,
            "shed": sum(one.said is not None and one.said.disposition == "shed" for one in own) / count,
            "safe_default": sum(one.said is not None and one.said.disposition == "fallback" for one in own) / count,
            "errors": sum(one.status != 200 for one in own),
            "late": sum(one.ms > budget_ms + ALLOWED_MS for one in own),
            "p50_ms": percentile([one.ms for one in own], 0.5),
            "p99_ms": percentile([one.ms for one in own], 0.99),
        }
    return found


def inversions(arrivals: Sequence[Arrival]) -> int:
    """Who was shed although somebody of a lower class came later and was decided before that."""
    ranks: dict[str, int] = {name: rank for rank, name in enumerate(SHARES)}
    served = [[one for one in arrivals if one.real and ranks[one.kind] == rank] for rank in range(len(ranks))]
    times = [[one.sent_s for one in row] for row in served]
    count = 0
    for one in arrivals:
        if one.said is None or one.said.disposition != "shed":
            continue
        overtaken = False
        for rank in range(ranks[one.kind] + 1, len(ranks)):
            place = bisect_left(times[rank], one.sent_s)
            while place < len(times[rank]) and times[rank][place] <= one.answered_s:
                overtaken |= served[rank][place].answered_s <= one.answered_s
                place += 1
        count += overtaken
    return count


def recovered_after(arrivals: Sequence[Arrival], budget_ms: int) -> float:
    """Seconds until everybody is decided, and in time, from then on."""
    bad = [one.sent_s for one in arrivals if not one.real or one.ms > budget_ms]
    return (int(max(bad) / WINDOW_S) + 1) * WINDOW_S if bad else 0.0


async def measured(seconds: float, budget_ms: int) -> dict[str, Any]:
    every = kinds()
    found: dict[str, Any] = {"budget_ms": budget_ms}
    await run(PORT, every, 20, 2.0, seed=1)
    capacity = await capacity_of(every)
    found["per_second"] = capacity
    for times in (1, 3, 10):
        before = await run(PORT, every, capacity * BASE, 3.0, seed=times)
        spike = await run(PORT, every, capacity * times, seconds, seed=times + 100)
        after = await run(PORT, every, capacity * BASE, RECOVERY_S, seed=times + 200)
        found[f"{times}x"] = {
            "per_second": len(spike) / seconds,
            "goodput": sum(one.real for one in spike) / seconds,
            "classes": by_class(spike, budget_ms),
            "inversions": inversions(spike),
            "base_p99_ms": percentile([one.ms for one in before], 0.99),
            "recovered_after_s": recovered_after(after, budget_ms),
        }
    return found


async def capacity_of(every: Sequence[Kind]) -> float:
    """Decisions per second when more is asked than can be answered: the best of a rising load."""
    best, rate = 0.0, 10.0
    while True:
        arrivals = await run(PORT, every, rate, 3.0, seed=int(rate))
        real = sum(one.real for one in arrivals) / 3.0
        best = max(best, real)
        if real < rate * 0.7:
            return best
        rate *= 1.5


def lines(found: dict[str, Any]) -> list[str]:
    said = [f"can decide {found['per_second']:.0f} per second; budget {found['budget_ms']} ms"]
    best = max(found[name]["goodput"] for name in found if name.endswith("x"))
    for name in (name for name in found if name.endswith("x")):
        one = found[name]
        said.append(
            f"{name:>3}: {one['per_second']:.0f} asked, {one['goodput']:.0f} decided per second "
            f"({one['goodput'] / best:.0%} of the best); {one['inversions']} inversions; "
            f"recovered {one['recovered_after_s']:.1f} s after"
        )
        for kind, row in one["classes"].items():
            said.append(
                f"     {kind:<12} {row['sent']:>6.0f} sent  {row['real']:8.2%} real  {row['degraded']:7.2%} degraded  "
                f"{row['shed']:7.2%} shed  {row['safe_default']:6.2%} safe default  {row['errors']:.0f} errors  "
                f"{row['late']:.0f} late  p50 {row['p50_ms']:.0f} ms  p99 {row['p99_ms']:.0f} ms"
            )
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--cost-ms", type=float, default=40.0)
    parser.add_argument("--budget-ms", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ready = context.Event()
        served = (folder, options.cost_ms / 1e3, options.budget_ms, ready)
        process = context.Process(target=serve, args=served, daemon=True)
        process.start()
        assert ready.wait(120), "the server did not start"
        try:
            found = uvloop.run(measured(options.seconds, options.budget_ms))
        finally:
            process.terminate()
            process.join(10)
    print(json.dumps(found, indent=1) if options.json else "\n".join(lines(found)))


if __name__ == "__main__":
    main()
