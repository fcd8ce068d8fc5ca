"""How a decision grows with the catalog: 10, 100, 1,000 and 10,000 offers, whole recorded decisions in process.

Each size runs in a process of its own, several times in turn; the lowest CPU time counts.
Run: `python -m benchmarks.catalog [--sizes 10,100,1000,10000] [--eligible 40] [--rounds 3] [--json]`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import catalog_playbook
from opportune.core.decisions.questions import Question, Who
from opportune.core.decisions.records import decode_record
from opportune.core.releases import compile_release, encode_manifest
from opportune.testing.approving import approve_all
from opportune.wiring import open_region

CUSTOMERS = 400
BYTES_PER_MIB = 1 << 20


def measure(offers: int, eligible: float, seconds: float) -> dict[str, float]:
    """One size: compiling, memory, and decisions one at a time, whole and recorded."""
    with tempfile.TemporaryDirectory() as folder:
        region = open_region(Path(folder), "bench", "eu")
        now_ms = region.clock.now_ms()
        book = catalog_playbook.playbook(offers, eligible, now_ms)
        card = catalog_playbook.scorecard(book)
        manifest = encode_manifest(book, [card])
        memory, began = memory_mib(), time.process_time()
        compiled = compile_release(manifest)
        compile_s, memory = time.process_time() - began, memory_mib() - memory
        approve_all(region, [card])
        hash_ = region.release(book, [card]).hash
        region.promote(hash_, "bench", "bench")
        drafts = catalog_playbook.history(CUSTOMERS, now_ms)
        for start in range(0, len(drafts), 500):
            region.ingest.run(drafts[start : start + 500])
        region.start()
        found = decisions(region, seconds)
        region.close()
    return {
        "offers": offers,
        "candidates": len(compiled.brain.candidates),
        "compile_s": compile_s,
        "release_mib": memory,
        "manifest_mib": len(manifest) / BYTES_PER_MIB,
        **found,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def decisions(region: Any, seconds: float) -> dict[str, float]:  # noqa: ANN401 - a Region
    """CPU and wall time per decision, and what the records are like."""
    questions = [
        Question(Who(id=f"c{number}"), catalog_playbook.MOMENT, context={"used": 3}, budget_ms=5000)
        for number in range(CUSTOMERS)
    ]
    for question in questions[:50]:
        region.decide.run(question)
    ids: list[str] = []
    walls: list[float] = []
    cpu, end = time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        ids.append(region.decide.run(questions[len(ids) % CUSTOMERS]).decision_id)
        walls.append(time.perf_counter() - began)
    cpu = time.process_time() - cpu
    stored = [region.records.decision(id_).record for id_ in ids[:CUSTOMERS]]
    records = [decode_record(one) for one in stored]
    offered = [record for record in records if record.result.disposition in ("offered", "escalated", "no_offer")]
    walls.sort()
    return {
        "cpu_us": cpu / len(ids) * 1e6,
        "p50_us": walls[len(walls) // 2] * 1e6,
        "p99_us": walls[int(len(walls) * 0.99)] * 1e6,
        "record_bytes": sum(map(len, stored)) / len(stored),
        "weighed": sum(len(record.result.scored.values) for record in offered) / len(offered),
        "faulty": sum(bool(record.result.degraded) or record not in offered for record in records) / len(records),
    }


def memory_mib() -> float:
    """The resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / BYTES_PER_MIB


def apart(offers: int, eligible: float, seconds: float) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.catalog", "--one", str(offers), "--eligible", str(eligible)]
    ended = subprocess.run([*command, "--seconds", str(seconds)], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{offers} offers: {ended.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10,100,1000,10000")
    parser.add_argument("--eligible", type=float, default=40.0, help="offers a customer is eligible for, about")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.eligible, options.seconds)))
        return
    sizes = [int(size) for size in options.sizes.split(",")]
    rounds = [
        [apart(size, options.eligible, options.seconds) for size in sizes] for _ in range(options.rounds)
    ]
    best = [min(runs, key=lambda run: run["cpu_us"]) for runs in zip(*rounds, strict=True)]
    if options.json:
        print(json.dumps({"best": best, "rounds": rounds}, indent=1))
        return
    print(f"whole decisions, recorded, one at a time; a customer is eligible for about {options.eligible:g} offers")
    print("  offers  candidates  weighed   CPU µs   p50 µs   p99 µs  record B  compile s  release MiB  peak MiB")
    for run in best:
        print(
            f"{run['offers']:8.0f}  {run['candidates']:10.0f}  {run['weighed']:7.1f}  {run['cpu_us']:7.0f}  "
            f"{run['p50_us']:7.0f}  {run['p99_us']:7.0f}  {run['record_bytes']:8.0f}  {run['compile_s']:9.2f}  "
            f"{run['release_mib']:11.1f}  {run['peak_mib']:8.0f}"
        )
    by_size = {run["offers"]: run for run in best}
    if 1000 in by_size and 10_000 in by_size:
        ratio = by_size[10_000]["cpu_us"] / by_size[1000]["cpu_us"]
        print(f"10,000 offers cost {ratio:.2f} times 1,000 (aim: at most 3)")
    faulty = max(run["faulty"] for run in best)
    print(f"degraded or without a real answer: {faulty:.1%}")


if __name__ == "__main__":
    main()
